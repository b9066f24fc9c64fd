//! Google SecOps: `entityRiskScores:query`, and a token end point that checks signatures.
//!
//! | what | how it behaves |
//! |---|---|
//! | `POST /token` | takes a JWT that the key of [`PUBLIC_KEY`] signed, for this address, scope and time |
//! | bearer | a token of that end point, until it ends, or [`TOKEN`] |
//! | spelling | by entity `snake_case` or `camelCase`, numbers as integers or strings; zeros are left out |
//! | rows | one for each window that lies in the filter's; `:` on an e-mail also finds longer ones |
//! | unknown entity | 200 and `{}` |
//! | project `missing` | 404, as for a wrong instance |
//! | paging | a token is good only with the parameters it came with; else it is the first page again |

pub mod filter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Map, Value, json};

use self::filter::Condition;
use super::population::Profile;
use super::world::World;

const VENDOR: &str = "google_secops";

/// A bearer token that is always good, for configurations with `token`.
pub const TOKEN: &str = "simulated-token";

/// Whose signatures the token end point takes: an RSA public key (PKCS#1 DER, base64). The private key belongs to
/// the service account among the test fixtures and to nothing else.
pub const PUBLIC_KEY: &str = "MIIBCgKCAQEArwG9oMAGq358Ai3nQbuKeiPagoO8Iu4C8Y0fwVVmnLiPqfSdnfV0dlxalFwRrShJP1Cgp5ZZVR2ML+Omcn9KWCCZA24LFwAtlOuRUxvAxRNwJD9sBjdyydknnvn1sigA+ehZt/SLB0RMcjLjJWMklz5ESSL6NGbXB9bmZUulpUbn4vGQoJvnuEleo6RaQSc2CdVpPgsWfXpe4b6FecJNlZad2up7tljgoXWtLM1x/4nK4nbDHqAYXd23a/G0atgmqyczzX9RG3N/cCMK4EW4U34Iyxs4OCJeDoOI9boprxaTsL+3tDWGCIr3+6uKX/aEoTXwffq/S/c6/HC55ZZOjQIDAQAB";

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const LIFE: u64 = 3599;

/// The vendor's pages, below its prefix.
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/token", post(token))
        .route(
            "/v1alpha/projects/{project}/locations/{location}/instances/{instance}/entityRiskScores:query",
            get(query),
        )
        .with_state(world)
}

/// Google's error body.
fn error(status: StatusCode, word: &str, message: &str) -> Response {
    let body = json!({"error": {"code": status.as_u16(), "message": message, "status": word}});
    (status, Json(body)).into_response()
}

async fn token(headers: HeaderMap, body: String) -> Response {
    let form = form(&body);
    let oauth_error = |code: &str, what: &str| {
        let body = json!({"error": code, "error_description": what});
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    };
    if form.get("grant_type").is_none_or(|grant| grant != "urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return oauth_error("unsupported_grant_type", "Invalid grant_type");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let audience = format!("http://{host}/{VENDOR}/token");
    match verified(form.get("assertion").map_or("", String::as_str), &audience, unix_now()) {
        Ok(()) => {
            Json(json!({"access_token": issued(unix_now()), "expires_in": LIFE, "token_type": "Bearer"}))
                .into_response()
        }
        Err(what) => oauth_error("invalid_grant", what),
    }
}

/// The fields of an urlencoded form, which is spelled as a query is; none when it is not one.
pub(super) fn form(body: &str) -> BTreeMap<String, String> {
    let as_query = format!("/?{body}").parse().ok();
    as_query.and_then(|uri| Query::try_from_uri(&uri).ok()).map(|Query(form)| form).unwrap_or_default()
}

/// Checks a JWT: algorithm, signature, audience, scope and time.
fn verified(jwt: &str, audience: &str, now: u64) -> Result<(), &'static str> {
    let (signed, signature) = jwt.rsplit_once('.').ok_or("no JWT")?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "bad encoding")?;
    let key = STANDARD.decode(PUBLIC_KEY).map_err(|_| "bad key")?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "Invalid JWT Signature.")?;
    let part =
        |text: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok() };
    let (head, claims) = signed.split_once('.').ok_or("no JWT")?;
    let head = part(head).ok_or("bad header")?;
    let claims = part(claims).ok_or("bad claims")?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (issued, end) = (time("iat"), time("exp"));
    if head.get("alg").and_then(Value::as_str) != Some("RS256") {
        return Err("Invalid JWT algorithm.");
    }
    if text("aud") != audience {
        return Err("Invalid JWT: wrong audience.");
    }
    if !text("scope").split(' ').any(|scope| scope == SCOPE) {
        return Err("Invalid JWT: wrong scope.");
    }
    if issued > now + 60 || end <= now || end.saturating_sub(issued) > 3600 {
        return Err(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
        );
    }
    if text("iss").is_empty() {
        return Err("Invalid JWT: no issuer.");
    }
    Ok(())
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A token that says itself when it ends, so that nothing needs to be kept.
fn issued(now: u64) -> String {
    format!("simulated.{}", now + LIFE)
}

fn is_good(bearer: Option<&str>, now: u64) -> bool {
    let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
    let end = token.strip_prefix("simulated.").and_then(|end| end.parse::<u64>().ok());
    token == TOKEN || end.is_some_and(|end| end > now)
}

async fn query(
    State(world): State<Arc<World>>,
    Path((project, _location, _instance)): Path<(String, String, String)>,
    Query(parameters): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !is_good(bearer, unix_now()) {
        return error(
            StatusCode::UNAUTHORIZED,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
        );
    }
    if let Err(quota) = world.admit(VENDOR) {
        let mut refusal =
            error(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric.");
        refusal.headers_mut().insert(header::RETRY_AFTER, quota.reset_seconds.into());
        return refusal;
    }
    if project == "missing" {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "Requested instance was not found.");
    }
    let filter = parameters.get("filter").map_or("", String::as_str);
    let conditions = match filter::parse(filter) {
        // Everybody.
        _ if filter.is_empty() => Vec::new(),
        Ok(conditions) => conditions,
        Err(what) => {
            let message = format!("Invalid filter: {what}");
            return error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", &message);
        }
    };
    let size = match parameters.get("pageSize").map(|size| size.parse::<usize>()) {
        None | Some(Ok(0)) => 10_000,
        Some(Ok(size)) => size.min(10_000),
        Some(Err(_)) => return error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", "Invalid pageSize."),
    };
    let (rows, camel) = found(&world, &conditions);
    let token = parameters.get("pageToken").map_or("", String::as_str);
    let same = format!("{filter}\n{size}\n{}", parameters.get("orderBy").map_or("", String::as_str));
    let start = match token.split_once('@') {
        Some((offset, digest)) if digest == URL_SAFE_NO_PAD.encode(&same) => offset.parse().unwrap_or(0),
        _ => 0,
    };
    let page: Vec<_> = rows.iter().skip(start).take(size).cloned().collect();
    let mut answer = Map::new();
    if !page.is_empty() {
        answer.insert("entity_risk_scores".to_owned(), Value::Array(page));
    }
    if start + size < rows.len() {
        let next = format!("{}@{}", start + size, URL_SAFE_NO_PAD.encode(&same));
        answer.insert("next_page_token".to_owned(), Value::String(next));
    }
    let answer = Value::Object(answer);
    Json(if camel { camel_case(answer) } else { answer }).into_response()
}

/// The rows that the conditions select, and whether this answer is spelled in `camelCase`.
fn found(world: &World, conditions: &[Condition]) -> (Vec<Value>, bool) {
    let value = |path: &str| {
        let same = |found: &str| found.replace('_', "").eq_ignore_ascii_case(&path.replace('_', ""));
        conditions.iter().find(|condition| same(&condition.path)).map(|condition| condition.value.as_str())
    };
    let time = |path| value(path).and_then(|text| text.parse::<Timestamp>().ok());
    let end = time("risk_window.end_time").unwrap_or_else(Timestamp::now);
    let start = time("risk_window.start_time").unwrap_or(Timestamp::MIN);
    let entity = conditions.iter().find_map(|condition| {
        let member = condition.path.strip_prefix("entity_indicator.")?;
        Some((member, condition.operator.as_str(), condition.value.as_str()))
    });
    let Some((member, operator, id)) = entity else {
        // Without an entity, everybody: here, a few.
        let hosts = (1..=25).map(|number| format!("ws-{number}.corp.example.com"));
        let known = || hosts.filter_map(|host| world.profile(&host).map(|profile| (host, profile))).collect();
        let rows: Vec<(String, Profile)> = world.listed(VENDOR).unwrap_or_else(known);
        return (
            rows.into_iter()
                .flat_map(|(host, profile)| windows(&profile, "hostname", &host, start, end))
                .collect(),
            false,
        );
    };
    world.asked(VENDOR, id);
    let Some(profile) = world.profile(id) else { return (Vec::new(), false) };
    let mut rows = windows(&profile, member, id, start, end);
    if operator == ":" && profile.pick(1, 3) == 0 {
        // "Has" finds more than equals does.
        rows.splice(0..0, windows(&profile, member, &format!("x{id}"), start, end));
    }
    (rows, profile.pick(2, 2) == 0)
}

/// One row for each of the vendor's windows that ends at `end` and begins no earlier than `start`.
fn windows(profile: &Profile, member: &str, id: &str, start: Timestamp, end: Timestamp) -> Vec<Value> {
    let day = (profile.score * 10.0).round() as u64;
    // A week holds more than its last day.
    let week = (day + profile.pick(3, 100)).min(1000);
    [(7, week), (1, day)]
        .into_iter()
        .filter_map(|(days, score)| {
            let begin = end.checked_sub(SignedDuration::from_hours(24 * days)).ok()?;
            (begin >= start).then(|| row(profile, member, id, [begin, end], score))
        })
        .collect()
}

fn row(profile: &Profile, member: &str, id: &str, window: [Timestamp; 2], score: u64) -> Value {
    let text = profile.pick(4, 2) == 0;
    let number = |number: u64| if text { json!(number.to_string()) } else { json!(number) };
    let is_user = matches!(member, "email" | "user_name");
    let noun = match member {
        "email" => json!({"user": {"email_addresses": [id]}}),
        "user_name" => json!({"user": {"userid": id}}),
        "asset_ip_address" => json!({"ip": [id]}),
        _ => json!({"hostname": id}),
    };
    let previous = profile.pick(5, 1001);
    let mut delta = json!({"previous_range_end_time": window[0].to_string()});
    let mut row = json!({
        "entity": {"metadata": {"entity_type": if is_user { "USER" } else { "ASSET" }}, "entity": noun},
        "risk_window": {"start_time": window[0].to_string(), "end_time": window[1].to_string()},
        "entity_indicator": {member: id},
        "entity_id": STANDARD.encode(format!("{id}:{member}:")),
    });
    // A default value is left out.
    let put = |into: &mut Value, name: &str, value: Value, is_default: bool| {
        if let (Some(members), false) = (into.as_object_mut(), is_default) {
            members.insert(name.to_owned(), value);
        }
    };
    let numeric = i64::try_from(score).unwrap_or(0) - i64::try_from(previous).unwrap_or(0);
    let percent =
        if previous == 0 { 100 } else { (numeric * 100 / i64::try_from(previous).unwrap_or(1)).min(200) };
    put(&mut delta, "previous_risk_score", number(previous), previous == 0);
    put(&mut delta, "risk_score_delta", json!(percent), percent == 0);
    put(&mut delta, "risk_score_numeric_delta", json!(numeric), numeric == 0);
    put(&mut row, "risk_delta", delta, false);
    put(&mut row, "risk_score", number(score), score == 0);
    put(&mut row, "raw_risk_score", number(score * 3), score == 0);
    let detections = score.div_ceil(60);
    put(&mut row, "detections_count", number(detections), detections == 0);
    put(&mut row, "first_detection_time", json!(profile.first_seen.to_string()), detections == 0);
    put(&mut row, "last_detection_time", json!(profile.last_seen.to_string()), detections == 0);
    row
}

fn camel_case(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.into_iter().map(|(name, value)| (camel_name(&name), camel_case(value))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(camel_case).collect()),
        other => other,
    }
}

fn camel_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        let head = letters.next().map(|c| c.to_ascii_uppercase());
        name + &head.into_iter().chain(letters).collect::<String>()
    })
}
