//! Cloudflare's pages: a user's risk level, the summary, and the account's users.
//!
//! Everything stands below `/accounts/...`, as it does below `/client/v4` at the vendor. The account has
//! [`USERS`] users with e-mails ([`email`]) and a few with names ([`PEOPLE`]), whose ids are a function of the e-mail
//! ([`user_id`]); other UUIDs may be known, too, but are on no list.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};
use uuid::Uuid;

use super::population::Profile;
use super::world::{Quota, World};

/// The account.
pub const ACCOUNT_ID: &str = "0123456789abcdef0123456789abcdef";
/// The API token of `Authorization: Bearer`.
pub const TOKEN: &str = "simulated-cloudflare-token";
/// What `X-Auth-Email` must be where there is no token.
pub const EMAIL: &str = "admin@example.com";
/// What `X-Auth-Key` must be where there is no token.
pub const KEY: &str = "simulated-cloudflare-key";
/// How many users are on the account's lists beside [`PEOPLE`], as far as they are known.
pub const USERS: u32 = 250;
/// Users whom the alerts in `config/examples` name, each with a risk that gives a level, so that whoever tries them
/// sees scores. One more e-mail in those alerts is of nobody here: `admin@example.org` cannot be resolved.
pub const PEOPLE: [(&str, f64); 2] = [("alice.meyer@example.com", 83.4), ("amy.chen@example.com", 46.0)];

const NAME: &str = "cloudflare";

/// The e-mail of one of the account's users; `number` is below [`USERS`].
pub fn email(number: u32) -> String {
    format!("user{number}@example.com")
}

/// The Zero Trust id of a user (version 5, as the vendor's are).
pub fn user_id(email: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("mailto:{email}").as_bytes())
}

struct Pages {
    world: Arc<World>,
    /// The account's known users by e-mail.
    users: Vec<(String, Profile)>,
    emails: BTreeMap<Uuid, String>,
}

impl Pages {
    fn new(world: Arc<World>) -> Self {
        let members = || (0..USERS).map(email).chain(PEOPLE.map(|(email, _)| email.to_owned()));
        let known = |email: String| profile(&world, &email).map(|profile| (email, profile));
        let users = members().filter_map(known).collect();
        let emails = members().map(|email| (user_id(&email), email)).collect();
        Pages { world, users, emails }
    }
}

/// What the account knows of an e-mail or id.
fn profile(world: &World, id: &str) -> Option<Profile> {
    let profile = world.profile(id)?;
    let named = PEOPLE.into_iter().find(|(email, _)| *email == id);
    Some(named.map_or(profile, |(_, score)| Profile { score, ..profile }))
}

/// The pages.
pub fn router(world: Arc<World>) -> Router {
    Router::new().route("/accounts/{*path}", any(answer)).with_state(Arc::new(Pages::new(world)))
}

async fn answer(State(pages): State<Arc<Pages>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if let Some(refusal) = refused(&headers) {
        return refusal;
    }
    let (response, quota) = match pages.world.admit(NAME) {
        Ok(quota) => (pages.page(&method, &uri), quota),
        Err(quota) => {
            let wait = "Please wait and consider throttling your request speed";
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, 971, wait);
            response.headers_mut().insert(header::RETRY_AFTER, quota.reset_seconds.into());
            (response, quota)
        }
    };
    with_quota(response, quota)
}

/// What the API's gateway says to a request without one of the two ways to sign in.
fn refused(headers: &HeaderMap) -> Option<Response> {
    let is = |name: &str, expected: &str| headers.get(name).is_some_and(|value| value == expected);
    let bearer = format!("Bearer {TOKEN}");
    let (status, code, what) = match headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes) {
        Some(value) if value == bearer.as_bytes() => return None,
        None if is("x-auth-email", EMAIL) && is("x-auth-key", KEY) => return None,
        Some(value) if value.starts_with(b"Bearer ") => {
            (StatusCode::UNAUTHORIZED, 9109, "Invalid access token")
        }
        Some(_) => (StatusCode::BAD_REQUEST, 6003, "Invalid request headers"),
        None if headers.contains_key("x-auth-key") => {
            (StatusCode::BAD_REQUEST, 9103, "Unknown X-Auth-Key or X-Auth-Email")
        }
        None => (StatusCode::BAD_REQUEST, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization"),
    };
    Some(refuse(status, code, what))
}

fn with_quota(mut response: Response, quota: Quota) -> Response {
    if quota.is_limited() {
        let left = format!("\"default\";r={};t={}", quota.remaining, quota.reset_seconds);
        let policy = format!("\"default\";q={};w={}", quota.limit, quota.period_seconds);
        for (name, value) in [("ratelimit", left), ("ratelimit-policy", policy)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

impl Pages {
    fn page(&self, method: &Method, uri: &Uri) -> Response {
        let mut segments = uri.path().trim_start_matches('/').split('/').skip(1);
        let account = segments.next().unwrap_or_default();
        if account.len() != 32 || !account.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let what = "Could not route to the account, perhaps your object identifier is invalid?";
            return refuse(StatusCode::NOT_FOUND, 7003, what);
        }
        if account != ACCOUNT_ID {
            return refuse(StatusCode::FORBIDDEN, 10000, "Authentication error");
        }
        if method != Method::GET {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, 10405, "Method not allowed");
        }
        match segments.collect::<Vec<_>>().as_slice() {
            ["zt_risk_scoring", "summary"] => self.summary(),
            // Sibling routes of the users: whoever asks them for a user has mistaken a word for an id.
            ["zt_risk_scoring", "behaviors"] => found(json!({"behaviors": {}}), Value::Null),
            ["zt_risk_scoring", "integrations"] => found(json!([]), Value::Null),
            ["zt_risk_scoring", id] => self.user(id),
            ["access", "users"] => self.list(uri.query().unwrap_or_default()),
            _ => refuse(StatusCode::NOT_FOUND, 7000, "No route for that URI"),
        }
    }

    fn user(&self, written: &str) -> Response {
        let Ok(id) = Uuid::try_parse(written) else {
            return refuse(StatusCode::BAD_REQUEST, 1000, "user_id is not a UUID");
        };
        self.world.asked(NAME, written);
        let email = self.emails.get(&id);
        let Some(profile) = profile(&self.world, email.map_or(written, String::as_str)) else {
            return refuse(StatusCode::NOT_FOUND, 1000, "user not found");
        };
        let email = email.cloned().unwrap_or_else(|| format!("{}@example.org", id.simple()));
        let mut user = json!({
            "email": email,
            "name": email.split('@').next(),
            "events": events(&profile),
            "last_reset_time": null,
        });
        if let (Some(level), Some(members)) = (level(&profile), user.as_object_mut()) {
            members.insert("risk_level".to_owned(), level.into());
        }
        found(user, Value::Null)
    }

    fn summary(&self) -> Response {
        let listed = self.world.listed(NAME);
        let with_level = listed.as_ref().unwrap_or(&self.users).iter().filter_map(|(name, profile)| {
            // Who was listed by id has the e-mail that their own page has.
            let listed = Uuid::try_parse(name).ok();
            let email = &listed.map_or_else(|| name.clone(), |id| format!("{}@example.org", id.simple()));
            Some(json!({
                "user_id": listed.unwrap_or_else(|| user_id(email)).to_string(),
                "email": email,
                "name": email.split('@').next(),
                "event_count": events(profile).len(),
                "last_event": profile.last_seen.to_string(),
                "max_risk_level": level(profile)?,
            }))
        });
        found(json!({"users": with_level.collect::<Vec<_>>()}), Value::Null)
    }

    fn list(&self, query: &str) -> Response {
        let number = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<usize>().ok())
        };
        let page = number("page").unwrap_or(1).max(1);
        let per_page = number("per_page").unwrap_or(25).clamp(1, 100);
        let shown = self.users.iter().skip((page - 1).saturating_mul(per_page)).take(per_page);
        let rows: Vec<Value> = shown
            .map(|(email, profile)| {
                let id = user_id(email).to_string();
                json!({
                    "id": id,
                    "uid": id,
                    "seat_uid": id,
                    "email": email,
                    "name": email.split('@').next(),
                    "access_seat": true,
                    "gateway_seat": true,
                    "active_device_count": profile.pick(1, 4),
                    "created_at": profile.first_seen.to_string(),
                    "updated_at": profile.last_seen.to_string(),
                })
            })
            .collect();
        let info = json!({
            "count": rows.len(),
            "page": page,
            "per_page": per_page,
            "total_count": self.users.len(),
            "total_pages": self.users.len().div_ceil(per_page),
        });
        found(rows.into(), info)
    }
}

/// The highest level of the user's events; most users have none.
fn level(profile: &Profile) -> Option<&'static str> {
    match profile.score {
        70.0.. => Some("high"),
        40.0.. => Some("medium"),
        10.0.. => Some("low"),
        _ => None,
    }
}

fn events(profile: &Profile) -> Vec<Value> {
    let Some(highest) = level(profile) else { return Vec::new() };
    let behaviours = [
        (profile.first_seen, "High number of DLP policies triggered", "low"),
        (profile.last_seen, "Impossible travel", highest),
    ];
    let event = |(moment, name, level): (jiff::Timestamp, &str, &str)| {
        let id = Uuid::from_u64_pair(profile.seed, profile.pick(moment.as_second().unsigned_abs(), u64::MAX));
        json!({
            "id": id.to_string(),
            "name": name,
            "risk_level": level,
            "timestamp": moment.to_string(),
            "event_details": {"country": "AQ"},
        })
    };
    behaviours.into_iter().map(event).collect()
}

fn found(result: Value, info: Value) -> Response {
    let mut body = json!({"success": true, "errors": [], "messages": [], "result": result});
    if let (false, Some(members)) = (info.is_null(), body.as_object_mut()) {
        members.insert("result_info".to_owned(), info);
    }
    axum::Json(body).into_response()
}

fn refuse(status: StatusCode, code: u32, message: &str) -> Response {
    let error = json!({"code": code, "message": message});
    let body = json!({"success": false, "errors": [error], "messages": [], "result": null});
    (status, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::simulator::world::{Limit, Options};

    fn pages() -> Arc<Pages> {
        let limits = [(NAME.to_owned(), Limit { requests: 3, per_ms: 60_000, sliding: true })].into();
        let world = Arc::new(World::new(Options { known: 1.0, limits, ..Options::default() }));
        Arc::new(Pages::new(world))
    }

    async fn get(
        pages: &Arc<Pages>,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> (u16, HeaderMap, Value) {
        let headers =
            headers.iter().map(|(name, key)| (name.parse().unwrap(), key.parse().unwrap())).collect();
        let response = answer(State(Arc::clone(pages)), Method::GET, path.parse().unwrap(), headers).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).unwrap())
    }

    fn path(rest: &str) -> String {
        format!("/accounts/{ACCOUNT_ID}/{rest}")
    }

    const BEARER: [(&str, &str); 1] = [("authorization", "Bearer simulated-cloudflare-token")];

    #[tokio::test]
    async fn there_are_two_ways_to_sign_in_and_no_third() {
        let summary = path("zt_risk_scoring/summary");
        for (headers, status, code) in [
            (vec![], 400, 9106),
            (vec![("authorization", "simulated-cloudflare-token")], 400, 6003),
            (vec![("authorization", "Bearer wrong")], 401, 9109),
            (vec![("x-auth-email", EMAIL), ("x-auth-key", "wrong")], 400, 9103),
            (vec![("x-auth-key", KEY)], 400, 9103),
        ] {
            let (given, _, body) = get(&pages(), &summary, &headers).await;
            assert_eq!((given, body["errors"][0]["code"].as_i64()), (status, Some(code)), "{headers:?}");
        }
        assert_eq!(get(&pages(), &summary, &BEARER).await.0, 200);
        assert_eq!(get(&pages(), &summary, &[("x-auth-email", EMAIL), ("x-auth-key", KEY)]).await.0, 200);
    }

    #[tokio::test]
    async fn the_list_of_users_has_pages() {
        let pages = pages();
        let (_, _, first) = get(&pages, &path("access/users?page=1&per_page=100"), &BEARER).await;
        let (_, _, third) = get(&pages, &path("access/users?page=3&per_page=1000"), &BEARER).await;
        assert_eq!(first["result"].as_array().unwrap().len(), 100);
        assert_eq!(third["result"].as_array().unwrap().len(), USERS as usize + PEOPLE.len() - 200);
        assert_eq!(
            (&third["result_info"]["total_pages"], &third["result_info"]["page"]),
            (&json!(3), &json!(3))
        );
    }

    #[tokio::test]
    async fn people_of_the_examples_have_a_level_and_one_of_them_is_nobody_here() {
        let pages = pages();
        let (_, _, summary) = get(&pages, &path("zt_risk_scoring/summary"), &BEARER).await;
        let emails: Vec<_> =
            summary["result"]["users"].as_array().unwrap().iter().map(|user| &user["email"]).collect();
        assert!(!emails.contains(&&json!("admin@example.org")));
        for ((email, _), level) in PEOPLE.into_iter().zip(["high", "medium"]) {
            assert!(emails.contains(&&json!(email)));
            let examples = include_str!("../../config/examples/alerts.ndjson").to_lowercase();
            assert!(examples.contains(email) && examples.contains("admin@example.org"));
            let score = path(&format!("zt_risk_scoring/{}", user_id(email)));
            assert_eq!(get(&pages, &score, &BEARER).await.2["result"]["risk_level"], level);
        }
    }

    #[tokio::test]
    async fn beyond_the_quota_everything_waits() {
        let pages = pages();
        for left in ["\"default\";r=2;t=", "\"default\";r=1;t=", "\"default\";r=0;t="] {
            let (status, headers, _) = get(&pages, &path("access/users"), &BEARER).await;
            assert_eq!(status, 200);
            assert!(headers["ratelimit"].to_str().unwrap().starts_with(left), "{headers:?}");
        }
        let (status, headers, body) = get(&pages, &path("access/users"), &BEARER).await;
        assert_eq!((status, &body["success"]), (429, &json!(false)));
        assert!(headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 50);
    }

    #[tokio::test]
    async fn siblings_of_the_users_are_other_pages() {
        let (status, _, body) = get(&pages(), &path("zt_risk_scoring/behaviors"), &BEARER).await;
        assert_eq!((status, body["result"]["risk_level"].is_null()), (200, true));
        assert_eq!(get(&pages(), &path("zt_risk_scoring/nobody"), &BEARER).await.0, 400);
        let (status, _, body) = get(&pages(), "/accounts/short/access/users", &BEARER).await;
        assert_eq!((status, &body["errors"][0]["code"]), (404, &json!(7003)));
    }
}
