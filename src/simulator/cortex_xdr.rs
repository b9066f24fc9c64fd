//! The simulated Cortex XDR tenant: `get_risk_score` with standard and advanced keys.
//!
//! Answers as the vendor's page and its recorded traps say: an unknown id and a missing licence are both 500,
//! told apart by their words, and a wrong path or body is 500 in plain text. An advanced signature is
//! recomputed, its time must be near ours, and a nonce is taken once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Profile, World};
use crate::provider::cortex_xdr::sign;

/// An API key of the tenant.
#[derive(Clone, Copy, Debug)]
pub struct ApiKey {
    /// What `x-xdr-auth-id` holds.
    pub id: &'static str,
    /// The key.
    pub key: &'static str,
    advanced: bool,
    grant: Grant,
}

#[derive(Clone, Copy, Debug)]
enum Grant {
    Full,
    NoRole,
    NoModule,
}

/// A standard key.
pub const STANDARD: ApiKey =
    ApiKey { id: "11", key: "simulated-cortex-standard-key", advanced: false, grant: Grant::Full };
/// An advanced key.
pub const ADVANCED: ApiKey =
    ApiKey { id: "12", key: "simulated-cortex-advanced-key", advanced: true, grant: Grant::Full };
/// A key whose role may not read risk scores: 403.
pub const NO_ROLE: ApiKey =
    ApiKey { id: "13", key: "simulated-cortex-key-without-role", advanced: false, grant: Grant::NoRole };
/// A key as if the tenant had no Identity Threat Module: 500 with its words.
pub const NO_MODULE: ApiKey =
    ApiKey { id: "14", key: "simulated-cortex-key-without-module", advanced: false, grant: Grant::NoModule };

const KEYS: [ApiKey; 4] = [STANDARD, ADVANCED, NO_ROLE, NO_MODULE];
const VENDOR: &str = "cortex_xdr";
/// The most entities that a list of the riskiest shows.
const TOP: usize = 100;
/// Whom the lists show, as far as they are known.
const USERS: [&str; 3] = ["ACME/jdoe", "ACME/asmith", "ACME/svc-backup"];
const HOSTS: [&str; 2] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];
/// How far a signature's time may be from ours, in milliseconds. The vendor does not say.
const SKEW: u64 = 5 * 60 * 1000;

struct Tenant {
    world: Arc<World>,
    nonces: Mutex<Nonces>,
}

/// Nonces that were used, for as long as their signatures' time would still be taken. What a call costs does not grow
/// with how many there are.
#[derive(Default)]
struct Nonces {
    used: HashSet<Arc<str>>,
    /// The same with when they came, in milliseconds; oldest first.
    arrivals: VecDeque<(i64, Arc<str>)>,
}

impl Nonces {
    /// Whether `nonce` was not used before; from now on it is.
    fn is_first(&mut self, nonce: &str, now: i64) -> bool {
        // A signature's time was at most `SKEW` ahead when it came, and is refused when it is `SKEW` ago.
        while let Some((arrival, _)) = self.arrivals.front()
            && arrival.abs_diff(now) > 2 * SKEW
        {
            self.arrivals.pop_front().map(|(_, nonce)| self.used.remove(&nonce));
        }
        let nonce: Arc<str> = nonce.into();
        let first = self.used.insert(Arc::clone(&nonce));
        if first {
            self.arrivals.push_back((now, nonce));
        }
        first
    }
}

/// The vendor's pages.
pub fn router(world: Arc<World>) -> Router {
    let tenant = Tenant { world, nonces: Mutex::default() };
    Router::new()
        .route("/public_api/v1/get_risk_score", post(get_risk_score))
        .route("/public_api/v1/get_risk_score/", post(get_risk_score))
        .route("/public_api/v1/get_risky_users", post(get_risky_users))
        .route("/public_api/v1/get_risky_hosts", post(get_risky_hosts))
        .method_not_allowed_fallback(wrong_call)
        .fallback(wrong_call)
        .with_state(Arc::new(tenant))
}

async fn get_risk_score(State(tenant): State<Arc<Tenant>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = tenant.refusal(&headers) {
        return refusal;
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        let message = json!({"line": 1, "column": 1, "message": "no viable alternative at input"});
        return error(StatusCode::BAD_REQUEST, message, Value::Null);
    };
    let Some(id) = body.pointer("/request_data/id").and_then(Value::as_str) else {
        return wrong_call().await;
    };
    tenant.world.asked(VENDOR, id);
    match tenant.world.profile(id) {
        Some(profile) => Json(json!({"reply": reply(id, &profile)})).into_response(),
        None => failed(json!(format!("id '{id}' was not found"))),
    }
}

async fn get_risky_users(State(tenant): State<Arc<Tenant>>, headers: HeaderMap, body: Bytes) -> Response {
    tenant.riskiest(&headers, &body, &USERS, |id| id.contains('/')).await
}

async fn get_risky_hosts(State(tenant): State<Arc<Tenant>>, headers: HeaderMap, body: Bytes) -> Response {
    tenant.riskiest(&headers, &body, &HOSTS, |id| !id.contains('/')).await
}

impl Tenant {
    /// The riskiest of those who are listed, the highest score first.
    async fn riskiest(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        shown: &[&str],
        is_one: fn(&str) -> bool,
    ) -> Response {
        if let Some(refusal) = self.refusal(headers) {
            return refusal;
        }
        // With `request_data` in it, as other calls have it, this one fails.
        if serde_json::from_slice::<Value>(body).ok() != Some(json!({})) {
            return wrong_call().await;
        }
        let known = |id: &&str| self.world.profile(id).map(|profile| ((*id).to_owned(), profile));
        let listed = self.world.listed(VENDOR).unwrap_or_else(|| shown.iter().filter_map(known).collect());
        let mut rows: Vec<_> = listed.into_iter().filter(|(id, _)| is_one(id)).collect();
        rows.sort_by(|(_, one), (_, other)| other.score.total_cmp(&one.score));
        let rows: Vec<Value> = rows.iter().take(TOP).map(|(id, profile)| reply(id, profile)).collect();
        Json(json!({"reply": rows})).into_response()
    }

    /// What a request without a right, or above the quota, gets.
    fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        let Some(key) = self.key(headers, Timestamp::now().as_millisecond()) else {
            return Some(error(StatusCode::UNAUTHORIZED, "Public API request unauthorized", Value::Null));
        };
        if self.world.admit(VENDOR).is_err() {
            return Some(error(StatusCode::TOO_MANY_REQUESTS, "Too many requests", json!("retry later")));
        }
        match key.grant {
            Grant::Full => None,
            Grant::NoRole => {
                Some(error(StatusCode::FORBIDDEN, "Forbidden", json!("missing RBAC permission")))
            }
            Grant::NoModule => Some(failed(json!("No identity threat"))),
        }
    }

    /// The key that a request proves to have.
    fn key(&self, headers: &HeaderMap, now: i64) -> Option<ApiKey> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let id = text("x-xdr-auth-id")?;
        let key = KEYS.into_iter().find(|key| key.id == id)?;
        let proof = text(header::AUTHORIZATION.as_str())?;
        if !key.advanced {
            return (proof == key.key).then_some(key);
        }
        let (nonce, timestamp) = (text("x-xdr-nonce")?, text("x-xdr-timestamp")?);
        let formed =
            nonce.len() == sign::NONCE_LENGTH && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let timely = timestamp.parse::<i64>().is_ok_and(|time| time.abs_diff(now) <= SKEW);
        let signed = timely && formed && proof == sign::signature(key.key, nonce, timestamp);
        (signed && self.nonces().is_first(nonce, now)).then_some(key)
    }

    fn nonces(&self) -> MutexGuard<'_, Nonces> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reply(id: &str, profile: &Profile) -> Value {
    let score = profile.score.round() as u64;
    let level = match score {
        70.. => "HIGH",
        40.. => "MED",
        _ => "LOW",
    };
    let mut reply = json!({
        "type": "host",
        "id": id,
        "score": score,
        "norm_risk_score": score,
        "risk_level": level,
        "reasons": reasons(score, profile),
    });
    if let (Some((domain, account)), Some(members)) = (id.split_once('/'), reply.as_object_mut()) {
        let email = format!("{account}@{domain}.example").to_lowercase();
        members.insert("type".to_owned(), json!("user"));
        members.insert("email".to_owned(), json!(email));
    }
    reply
}

/// Up to three incidents whose points add up to `score`.
fn reasons(score: u64, profile: &Profile) -> Vec<Value> {
    const INCIDENTS: [&str; 4] = [
        "Suspicious authentication from an unusual location",
        "Possible credential dumping",
        "Multiple failed sign-ins followed by a success",
        "Rare process created a scheduled task",
    ];
    let count = score.min(1 + profile.pick(1, 3));
    let mut left = score;
    let reason = |n| {
        let points = if n + 1 == count { left } else { left.div_ceil(2) };
        left -= points;
        let severity = match points {
            40.. => "SEV_040_HIGH",
            15.. => "SEV_030_MEDIUM",
            _ => "SEV_020_LOW",
        };
        let incident = usize::try_from((profile.pick(2, 4) + n) % 4).unwrap_or_default();
        let date = if n == 0 { profile.last_seen } else { profile.first_seen };
        json!({
            "date created": date.strftime("%Y-%m-%d").to_string(),
            "description": INCIDENTS.get(incident),
            "severity": severity,
            "status": "STATUS_010_NEW",
            "points": points,
        })
    };
    (0..count).map(reason).collect()
}

fn failed(extra: Value) -> Response {
    error(StatusCode::INTERNAL_SERVER_ERROR, "An error occurred while processing XDR public API", extra)
}

fn error(status: StatusCode, message: impl Into<Value>, extra: Value) -> Response {
    let reply = json!({"err_code": status.as_u16(), "err_msg": message.into(), "err_extra": extra});
    (status, Json(json!({"reply": reply}))).into_response()
}

async fn wrong_call() -> Response {
    let text = "Internal Server Error\r\n\r\nThe server encountered an unexpected internal server error\r\n\r\n\
                (generated by waitress)";
    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_taken_once_for_as_long_as_its_time_is_and_forgotten_after() {
        let (mut nonces, skew) = (Nonces::default(), SKEW as i64);
        assert!(nonces.is_first("a", 0));
        assert!(nonces.is_first("b", 1));
        assert!(!nonces.is_first("a", 2 * skew), "its time may have been ahead by all of it");
        assert!(nonces.is_first("c", 2 * skew + 1));
        assert!(!nonces.is_first("b", 2 * skew + 1));
        assert_eq!((nonces.used.len(), nonces.arrivals.len()), (2, 2), "a is forgotten");
    }
}
