//! Cloudflare's answer on the common scale. Pure.
//!
//! Owns what each status, envelope and error code means. Cloudflare gives a level and no number: the number comes
//! from `points`. Never derives a level from events: a user whose risk was reset still has them.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::directory::uuid;
use super::wire::{self, Envelope, Event, Summary, SummaryUser, User};
use crate::entity::is_email;
use crate::provider::lenient::{self, is_markup, present};
use crate::provider::snapshot::{Page, Row};
use crate::provider::{Answer, Failure, FailureKind, Raw, Scored};
use crate::score::{Level, Scale};

/// What Cloudflare's level means.
pub const SCALE: &str = "highest level of the user's risk behaviours: low, medium or high";

/// Reasons beyond this many are left out; the events are all in the attributes.
const MOST_REASONS: usize = 10;

/// Codes that speak of credentials. Undocumented for this API; these are what the API's gateway was seen to answer
/// on others: 10000 "Authentication error" and 9109 "Invalid access token" (both also when only a permission is
/// missing), 9103 and 9106 for an unknown or missing key, 6003 for a malformed header.
const CREDENTIAL_CODES: [i64; 6] = [6003, 9103, 9106, 9107, 9109, 10000];

/// Codes that speak of the path: 7000 "no route for that URI", 7003 "could not route, perhaps your object identifier
/// is invalid". They come with 404 and are not about the user.
const ROUTE_CODES: [i64; 2] = [7000, 7003];

/// What `status` and `body` say about the user that was asked about; `wait` is how long the vendor wants to be left
/// alone.
///
/// # Errors
/// Everything but a success and a 404 in Cloudflare's envelope, and a level that is not one of its own words.
pub fn answer(status: u16, body: &[u8], wait: Option<Duration>, scale: &Scale) -> Result<Answer, Failure> {
    let envelope = match opened(status, body, wait) {
        Ok(envelope) => envelope,
        Err(_) if is_no_such_user(status, body) => return Ok(Answer::Unknown { detail: None }),
        Err(failure) => return Err(failure),
    };
    match envelope.result {
        None => Ok(Answer::Unknown { detail: None }),
        Some(Value::Object(result)) if result.is_empty() => Ok(Answer::Unknown { detail: None }),
        Some(result @ Value::Object(_)) => {
            let user = serde_json::from_value(result)
                .map_err(|_| Failure::malformed("`result` is not a user's risk score"))?;
            scored(user, scale)
        }
        Some(_) => Err(Failure::malformed("`result` is not a user's risk score")),
    }
}

/// The envelope of a request that did what it asked for.
///
/// # Errors
/// What the status, or the errors in the envelope, stand for.
pub fn opened(status: u16, body: &[u8], wait: Option<Duration>) -> Result<Envelope, Failure> {
    match wire::envelope(body) {
        Some(envelope) if envelope.success && status == 200 => Ok(envelope),
        envelope => Err(refusal(status, envelope.as_ref(), body, wait)),
    }
}

fn is_no_such_user(status: u16, body: &[u8]) -> bool {
    let speaks_of =
        |envelope: &Envelope, codes: &[i64]| envelope.errors.iter().any(|error| codes.contains(&error.code));
    status == 404
        && wire::envelope(body).is_some_and(|envelope| {
            !envelope.success
                && !speaks_of(&envelope, &CREDENTIAL_CODES)
                && !speaks_of(&envelope, &ROUTE_CODES)
        })
}

fn refusal(status: u16, envelope: Option<&Envelope>, body: &[u8], wait: Option<Duration>) -> Failure {
    let codes: Vec<i64> = envelope.iter().flat_map(|e| &e.errors).map(|error| error.code).collect();
    let credentials = codes.iter().any(|code| CREDENTIAL_CODES.contains(code));
    let (kind, cure) = match status {
        // A firewall's or proxy's page: not the API's word about our credentials, so it must not count as one.
        401 | 403 if is_markup(body) => (
            FailureKind::MalformedResponse,
            "a page that the API did not write: is there a proxy on the way?",
        ),
        403 => (
            FailureKind::Forbidden,
            "the token needs the permission `Zero Trust: PII Read` on this account; check `account_id`",
        ),
        401 => (FailureKind::Unauthorised, "check `token`, or `email` and `key`"),
        402 => (FailureKind::Unlicensed, "risk scores belong to Cloudflare's Enterprise plan"),
        408 | 504 | 522 | 524 => (FailureKind::Timeout, "Cloudflare gave up waiting for itself"),
        429 => (FailureKind::RateLimited, "Cloudflare's quota is used up and blocks all of it: set `limit`"),
        500..=599 => (FailureKind::ServerError, "Cloudflare failed"),
        200 | 400..=499 if credentials => {
            (FailureKind::Unauthorised, "check `token`, or `email` and `key`, and that it is of this account")
        }
        200 | 404 if envelope.is_none() => {
            (FailureKind::MalformedResponse, "not Cloudflare's JSON: check `base_url`")
        }
        200 | 400..=499 => {
            (FailureKind::BadRequest, "Cloudflare takes the request for wrong: check `account_id`")
        }
        _ => (FailureKind::MalformedResponse, "not a status of this API: check `base_url`"),
    };
    let codes: String = codes.iter().map(|code| format!(", code {code}")).take(3).collect();
    Failure { retry_after: wait, ..Failure::new(kind, format!("HTTP {status}{codes}: {cure}")) }
}

fn scored(user: User, scale: &Scale) -> Result<Answer, Failure> {
    let Some(word) = user.risk_level.clone().filter(|word| !word.is_empty()) else {
        return Ok(Answer::Unknown { detail: Some("no_level") });
    };
    let level = level(&word).ok_or_else(|| {
        Failure::malformed("`risk_level` is none of low, medium, high: riskstream must learn it")
    })?;
    let seen = || user.events.iter().filter_map(|event| event.timestamp.as_ref()?.parse::<Timestamp>().ok());
    Ok(Answer::Scored(Box::new(Scored {
        score: scale.points.score(level),
        level,
        raw: Raw { score: None, level: Some(word), scale: SCALE.into() },
        delta: None,
        signals: Some(user.events.len() as u64),
        first_seen: seen().min(),
        last_seen: seen().max(),
        reasons: reasons(&user.events),
        attributes: attributes(user),
    })))
}

/// What the summary says of each of its users, once by id and once by e-mail.
///
/// # Errors
/// A summary without its list, or with users of whom none has an id or e-mail.
pub fn listed(summary: Summary, scale: &Scale) -> Result<Page, Failure> {
    let users = summary.users.ok_or_else(|| Failure::malformed("a summary without `users`"))?;
    let mut rows = Vec::with_capacity(2 * users.len());
    for user in users {
        let id = user.user_id.as_deref().and_then(uuid).map(|id| id.hyphenated().to_string());
        let email = user.email.as_deref().map(str::to_lowercase).filter(|email| is_email(email));
        let answer = of_summary(user, scale);
        let names: Vec<String> = id.into_iter().chain(email).collect();
        if names.is_empty() {
            rows.push(None);
        }
        rows.extend(names.into_iter().map(|name| Some(Row { name, rank: 0, answer: answer.clone() })));
    }
    Page::of(rows)
}

fn of_summary(user: SummaryUser, scale: &Scale) -> Result<Answer, FailureKind> {
    let Some(word) = user.max_risk_level.filter(|word| !word.is_empty()) else {
        return Ok(Answer::Unknown { detail: Some("no_level") });
    };
    let level = level(&word).ok_or(FailureKind::MalformedResponse)?;
    let email = user.email.map(Value::String);
    Ok(Answer::Scored(Box::new(Scored {
        score: scale.points.score(level),
        level,
        raw: Raw { score: None, level: Some(word), scale: SCALE.into() },
        delta: None,
        signals: user.event_count.as_ref().and_then(serde_json::Number::as_u64),
        first_seen: None,
        last_seen: user.last_event.as_ref().and_then(lenient::moment),
        reasons: Vec::new(),
        attributes: present([("email", email), ("name", user.name.filter(|name| !name.is_null()))]),
    })))
}

/// One of Cloudflare's words, in any case.
pub fn level(word: &str) -> Option<Level> {
    word.to_ascii_lowercase().parse().ok()
}

/// Names of the behaviours, highest level first, among equals the latest first.
fn reasons(events: &[Event]) -> Vec<String> {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| {
        let moment = event.timestamp.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
        Reverse((event.risk_level.as_deref().and_then(level), moment))
    });
    let mut names: Vec<String> = Vec::new();
    for name in events.into_iter().filter_map(|event| event.name.as_ref()) {
        if names.len() == MOST_REASONS {
            break;
        }
        if !name.is_empty() && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn attributes(user: User) -> Map<String, Value> {
    let events = serde_json::to_value(&user.events).ok();
    present([
        ("email", user.email),
        ("name", user.name),
        ("last_reset_time", user.last_reset_time),
        ("events", events),
    ])
}
