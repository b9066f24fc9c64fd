//! Cortex XDR's answer to ours.
//!
//! Pure. Contract: a score or a level that was not understood never becomes one of ours, an answer about another
//! id is never taken for this one, and no failure's detail repeats the vendor's words, which may repeat the id.
//!
//! The vendor answers 500 to four different things; [`answer`] tells them apart by their words.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::identifier::{fold, same};
use super::wire::{ApiError, Body, Reason, Risk};
use crate::entity::EntityKind;
use crate::provider::snapshot::{Page, Row};
use crate::provider::{Answer, Failure, FailureKind, Raw, Scored, lenient};
use crate::score::{Level, Scale, Score};

/// In the error of an id that the vendor does not know: `id 'X' was not found`.
const NOT_FOUND: &str = "was not found";
/// In the error of a tenant without the Identity Threat Module.
const NO_MODULE: &str = "no identity threat";
/// How the vendor's web server answers a wrong path or body, in plain text.
const WRONG_CALL: &[u8] = b"Internal Server Error";

/// What was asked, in the form in which it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The kind of the entity.
    pub kind: EntityKind,
    /// The id that was sent.
    pub id: &'a str,
}

/// Reads the vendor's answer to `asked`.
///
/// # Errors
/// Every way in which the vendor says no, and `malformed_response` for what is neither an answer nor an error.
pub fn answer(asked: Question<'_>, status: u16, body: &[u8], scale: &Scale) -> Result<Answer, Failure> {
    let read = Body::read(body);
    let error = read.as_ref().and_then(Body::error);
    if !(200..300).contains(&status) {
        if matches!(status, 401..=403) && lenient::is_markup(body) {
            let cure = "a page that Cortex XDR did not write: is there a proxy on the way?";
            return Err(Failure::malformed(format!("HTTP {status}: {cure}")));
        }
        let wrong_call = status == 500 && read.is_none() && body.trim_ascii_start().starts_with(WRONG_CALL);
        return if wrong_call { Err(not_json()) } else { refusal(asked, status, error.as_ref()) };
    }
    let read = read.ok_or_else(|| Failure::malformed("the body is not a JSON object"))?;
    match (read.risk(), error) {
        (Ok(risk), _) if risk.is_rated() => found(asked, &risk, scale),
        (_, Some(error)) => refusal(asked, code(&error).unwrap_or(500), Some(&error)),
        (risk, None) => found(asked, &risk.map_err(Failure::malformed)?, scale),
    }
}

/// Reads the vendor's list of its riskiest entities of `kind`.
///
/// # Errors
/// Every way in which the vendor says no, and `malformed_response` for what is no list.
pub fn list(kind: EntityKind, status: u16, body: &[u8], scale: &Scale) -> Result<Page, Failure> {
    let read = Body::read(body).filter(|_| (200..300).contains(&status));
    let Some(Ok(risks)) = read.as_ref().map(Body::risks) else {
        // Not a list: what a look-up says to it, but that nobody was asked about.
        return match answer(Question { kind, id: "" }, status, body, scale) {
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::malformed("the answer to a list is not a list")),
        };
    };
    let row = |risk: Risk| {
        let id = risk.id.as_ref().and_then(lenient::text)?;
        let answer = found(Question { kind, id: &id }, &risk, scale).map_err(|failure| failure.kind);
        Some(Row { name: fold(&id), rank: 0, answer })
    };
    Page::of(risks.into_iter().map(row))
}

fn not_json() -> Failure {
    let detail =
        "HTTP 500: without JSON, as Cortex XDR answers a wrong path or body: check `fqdn` or `base_url`";
    Failure::new(FailureKind::BadRequest, detail)
}

/// The status that an error names itself.
fn code(error: &ApiError) -> Option<u16> {
    let code = lenient::number(error.code.as_ref()?)?.as_u64()?;
    u16::try_from(code).ok().filter(|code| (400..600).contains(code))
}

fn refusal(asked: Question<'_>, status: u16, error: Option<&ApiError>) -> Result<Answer, Failure> {
    let words = error.map(|error| words(asked, error)).unwrap_or_default();
    if matches!(status, 404 | 500) && words.contains(NOT_FOUND) {
        return Ok(Answer::Unknown { detail: None });
    }
    let (kind, cure) = match status {
        402 => (FailureKind::Unlicensed, "the tenant has no licence for this call (Identity Threat Module)"),
        _ if words.contains(NO_MODULE) => {
            (FailureKind::Unlicensed, "the tenant has no Identity Threat Module, which risk scores need")
        }
        401 => (
            FailureKind::Unauthorised,
            "the API key is refused: check `key_id`, `key` and `key_type` (standard or advanced), and for an \
             advanced key this machine's clock",
        ),
        403 => (FailureKind::Forbidden, "the role of the API key lacks the permission for risk scores"),
        404 if error.is_none() => {
            (FailureKind::MalformedResponse, "not Cortex XDR's own \"not found\": check `fqdn` or `base_url`")
        }
        429 => (FailureKind::RateLimited, "Cortex XDR wants fewer requests: set `limit`"),
        408 | 504 => (FailureKind::Timeout, "Cortex XDR gave up waiting for itself"),
        500..=599 => (FailureKind::ServerError, "Cortex XDR failed"),
        400..=499 => (FailureKind::BadRequest, "Cortex XDR refuses the request"),
        _ => (FailureKind::MalformedResponse, "not a status of this API: check `fqdn` or `base_url`"),
    };
    Err(Failure::new(kind, format!("HTTP {status}: {cure}")))
}

/// The words of an error without the id, where that holds a phrase that we look for: whoever names an account
/// shall not speak for the vendor.
fn words(asked: Question<'_>, error: &ApiError) -> String {
    let id = asked.id.to_lowercase();
    if [NOT_FOUND, NO_MODULE].iter().any(|phrase| id.contains(phrase)) {
        error.words.replace(&id, "").replace(&id.replace('/', "\\"), "")
    } else {
        error.words.clone()
    }
}

fn found(asked: Question<'_>, risk: &Risk, scale: &Scale) -> Result<Answer, Failure> {
    is_about(asked, risk)?;
    let norm = risk.norm_risk_score.as_ref().and_then(lenient::number);
    let sum = risk.score.as_ref().and_then(lenient::number);
    let meaning = match norm {
        Some(_) => "norm_risk_score, the vendor's normalised score, range undocumented",
        None => "score, the sum of the points of the reasons, range undocumented",
    };
    let raw_score = norm.or(sum);
    let raw_level = risk.risk_level.as_ref().and_then(lenient::text);
    let score = raw_score.as_ref().and_then(|number| Score::clamped(number.as_f64()?));
    let level = raw_level.as_deref().and_then(level);
    let (score, level) = match (score, level) {
        (Some(score), Some(level)) => (score, level),
        (Some(score), None) => (score, scale.levels.level(score)),
        (None, Some(level)) => (scale.points.score(level), level),
        (None, None) => return without_score(risk),
    };
    let mut reasons = risk.reasons();
    // Stable, so that equal points keep the vendor's order.
    reasons.sort_by(|a, b| points(b).total_cmp(&points(a)));
    let dates = || reasons.iter().filter_map(date);
    Ok(Answer::Scored(Box::new(Scored {
        score,
        level,
        raw: Raw { score: raw_score, level: raw_level, scale: meaning.into() },
        delta: None,
        signals: risk.reasons.as_ref().and_then(Value::as_array).map(|reasons| reasons.len() as u64),
        first_seen: dates().min(),
        last_seen: dates().max(),
        reasons: reasons.iter().filter_map(sentence).collect(),
        attributes: attributes(risk, &reasons),
    })))
}

/// The vendor knows the id, or so it seems, and gives neither number nor level.
fn without_score(risk: &Risk) -> Result<Answer, Failure> {
    if risk.is_rated() {
        Err(Failure::malformed("neither score nor risk_level can be understood"))
    } else if risk.id.is_some() {
        Ok(Answer::Unknown { detail: Some("no_level") })
    } else {
        Err(Failure::malformed("reply has none of id, score and risk_level"))
    }
}

fn is_about(asked: Question<'_>, risk: &Risk) -> Result<(), Failure> {
    if let Some(id) = &risk.id
        && !lenient::text(id).is_some_and(|id| same(&id, asked.id))
    {
        return Err(Failure::malformed("the answer is about another id"));
    }
    let word = risk.entity_type.as_ref().and_then(lenient::text).unwrap_or_default();
    let other = match asked.kind {
        EntityKind::User => ["host", "endpoint"].iter().any(|other| word.eq_ignore_ascii_case(other)),
        EntityKind::Endpoint | EntityKind::Host => word.eq_ignore_ascii_case("user"),
        _ => false,
    };
    if other { Err(Failure::malformed("the answer is about another type of entity")) } else { Ok(()) }
}

fn level(word: &str) -> Option<Level> {
    Some(match word.to_ascii_uppercase().as_str() {
        "LOW" => Level::Low,
        "MED" | "MEDIUM" => Level::Medium,
        "HIGH" => Level::High,
        "CRITICAL" => Level::Critical,
        _ => return None,
    })
}

fn points(reason: &Reason) -> f64 {
    let points = reason.points.as_ref().and_then(lenient::number);
    points.and_then(|points| points.as_f64()).unwrap_or_default()
}

fn date(reason: &Reason) -> Option<Timestamp> {
    reason.date_created.as_ref().and_then(lenient::moment)
}

/// A reason for people: `Suspicious sign-in (high, 40 points)`.
fn sentence(reason: &Reason) -> Option<String> {
    let description = reason.description.as_ref().and_then(lenient::text)?;
    let severity = reason.severity.as_ref().and_then(lenient::text).map(|severity| {
        // SEV_040_HIGH
        severity.rsplit('_').next().unwrap_or_default().to_lowercase()
    });
    let points = reason.points.as_ref().and_then(lenient::number).map(|points| format!("{points} points"));
    let more: Vec<_> = severity.into_iter().chain(points).collect();
    Some(if more.is_empty() { description } else { format!("{description} ({})", more.join(", ")) })
}

fn attributes(risk: &Risk, reasons: &[Reason]) -> Map<String, Value> {
    let mut attributes = lenient::present([
        ("type", risk.entity_type.clone()),
        ("id", risk.id.clone()),
        ("email", risk.email.clone()),
        ("score", risk.score.as_ref().map(lenient::numeric)),
        ("norm_risk_score", risk.norm_risk_score.as_ref().map(lenient::numeric)),
        ("risk_level", risk.risk_level.clone()),
    ]);
    match &risk.reasons {
        Some(Value::Array(_)) => {
            let reasons = reasons.iter().map(|reason| {
                Value::Object(lenient::present([
                    ("date_created", reason.date_created.clone()),
                    ("description", reason.description.clone()),
                    ("severity", reason.severity.clone()),
                    ("status", reason.status.clone()),
                    ("points", reason.points.as_ref().map(lenient::numeric)),
                ]))
            });
            attributes.insert("reasons".to_owned(), json!(reasons.collect::<Vec<_>>()));
        }
        Some(other) => drop(attributes.insert("reasons".to_owned(), other.clone())),
        None => {}
    }
    attributes
}
