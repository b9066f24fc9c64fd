//! The simulated Oracle CASB tenant: the token exchange and the user risk report.
//!
//! Answers as the vendor's page and recorded answers of 2020 say: every value of a row is a string, a user has a
//! row per application instance, and an unknown user is an empty report. Tokens are issued, end, and can be
//! revoked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Profile, World};

/// The access key of the pair that may read reports.
pub const ACCESS_KEY: &str = "simulated-casb-access-key";
/// Its secret.
pub const ACCESS_SECRET: &str = "simulated-casb-access-secret";
/// The access key of a pair that gets tokens, for a tenant whose APIs are not enabled: 403.
pub const DISABLED_ACCESS_KEY: &str = "simulated-casb-disabled-key";
/// Its secret.
pub const DISABLED_ACCESS_SECRET: &str = "simulated-casb-disabled-secret";
/// What `X-Apprity-Tenant-Id` must hold.
pub const TENANT_ID: &str = "e6d29a75-cdaf-4dfa-b35d-90c77899eb10";

/// The applications: type, name and id of the instance.
pub const APPLICATIONS: [(&str, &str, &str); 3] = [
    ("SFDC", "publiceventsapi", "bd4716ef-d9b3-4348-8793-347134edce7a"),
    ("O365", "corporate", "5b0f3b6e-6d5e-4b52-9f1c-7d8f0a1c2e3d"),
    ("AWS", "production", "c1a7f0de-2f7b-4f0a-8a35-6d1d3b5f9e21"),
];

const VENDOR: &str = "oracle_casb";
/// The most rows of a page.
const MAX_COUNT: usize = 100;
/// Users in the report about everybody.
const EVERYBODY: usize = 250;
const REPORT: &str = "/api/v1/reports/details/{report}";

/// The tenant's tokens.
#[derive(Debug)]
pub struct Tokens {
    life: Duration,
    issued: Mutex<Issued>,
}

#[derive(Debug, Default)]
struct Issued {
    count: u64,
    /// Tokens that are good, with their end and whether reports may be read with them.
    good: HashMap<String, (Instant, bool)>,
}

impl Tokens {
    /// Tokens that end after `life`.
    pub fn new(life: Duration) -> Self {
        Tokens { life, issued: Mutex::default() }
    }

    /// Makes every token issued until now useless.
    pub fn revoke_all(&self) {
        self.issued().good.clear();
    }

    /// How many were issued.
    pub fn count(&self) -> u64 {
        self.issued().count
    }

    fn issue(&self, enabled: bool) -> String {
        let mut issued = self.issued();
        issued.count += 1;
        let token = format!("v2.simulated-{}", issued.count);
        let now = Instant::now();
        issued.good.retain(|_, (end, _)| now < *end);
        issued.good.insert(token.clone(), (now + self.life, enabled));
        token
    }

    /// Whether reports may be read with `token`; `None` when it is not good.
    fn check(&self, token: &str) -> Option<bool> {
        let (end, enabled) = self.issued().good.get(token).copied()?;
        (Instant::now() < end).then_some(enabled)
    }

    fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Tenant {
    world: Arc<World>,
    tokens: Arc<Tokens>,
}

/// The vendor's pages, with tokens that live for an hour.
pub fn router(world: Arc<World>) -> Router {
    router_with(world, Arc::new(Tokens::new(Duration::from_secs(3600))))
}

/// The vendor's pages with these tokens, for tests that revoke them or let them end.
pub fn router_with(world: Arc<World>, tokens: Arc<Tokens>) -> Router {
    Router::new()
        .route("/api/v1/token", post(token))
        .route(REPORT, get(report))
        .with_state(Arc::new(Tenant { world, tokens }))
}

async fn token(State(tenant): State<Arc<Tenant>>, body: axum::body::Bytes) -> Response {
    let Ok(pair) = serde_json::from_slice::<Value>(&body) else {
        return error(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let text = |name: &str| pair.get(name).and_then(Value::as_str).unwrap_or_default();
    let enabled = match (text("accessKey"), text("accessSecret")) {
        (ACCESS_KEY, ACCESS_SECRET) => true,
        (DISABLED_ACCESS_KEY, DISABLED_ACCESS_SECRET) => false,
        _ => return error(StatusCode::UNAUTHORIZED, "unknown access key or wrong secret"),
    };
    let life = SignedDuration::try_from(tenant.tokens.life).unwrap_or(SignedDuration::MAX);
    let expires_at = Timestamp::now().checked_add(life).unwrap_or(Timestamp::MAX).to_string();
    let grant =
        json!({"accessToken": tenant.tokens.issue(enabled), "expiresAt": expires_at, "tenantId": TENANT_ID});
    (StatusCode::CREATED, Json(grant)).into_response()
}

async fn report(
    State(tenant): State<Arc<Tenant>>,
    axum::extract::Path(report): axum::extract::Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bearer = text(header::AUTHORIZATION.as_str()).strip_prefix("Bearer ");
    let enabled = bearer.and_then(|token| tenant.tokens.check(token));
    match enabled.filter(|_| text("x-apprity-tenant-id") == TENANT_ID) {
        None => return error(StatusCode::UNAUTHORIZED, "Unauthorized get API call"),
        Some(false) => return error(StatusCode::FORBIDDEN, "CASB APIs are not enabled for the tenant"),
        Some(true) => {}
    }
    if let Err(quota) = tenant.world.admit(VENDOR) {
        let wait = [(header::RETRY_AFTER, quota.reset_seconds.to_string())];
        return (wait, error(StatusCode::TOO_MANY_REQUESTS, "too many requests")).into_response();
    }
    if !report.eq_ignore_ascii_case("userrisk") {
        return error(StatusCode::NOT_FOUND, "Requested Resource is not present");
    }
    let number = |name: &str| query.get(name).map(|text| text.parse::<usize>().ok());
    let Some(size @ 1..=MAX_COUNT) = number("pagesize").flatten() else {
        return error(StatusCode::BAD_REQUEST, "pagesize must be from 1 to 100");
    };
    let Some(start) = number("markerPosition").unwrap_or(Some(0)) else {
        return error(StatusCode::BAD_REQUEST, "markerPosition must be from the previous response");
    };
    let only = |name: &str, at: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        let wanted = query.get(name).cloned();
        move |application: &&_| wanted.as_ref().is_none_or(|wanted| wanted == at(application))
    };
    let applications: Vec<_> = APPLICATIONS
        .iter()
        .filter(only("applicationType", |application| application.0))
        .filter(only("applicationInstanceName", |application| application.1))
        .collect();
    if applications.is_empty() {
        return error(StatusCode::NOT_FOUND, "Requested Resource(instance ID) is not present.");
    }
    let users = match query.get("userName") {
        Some(user) => {
            tenant.world.asked(VENDOR, user);
            vec![user.clone()]
        }
        None => match tenant.world.listed(VENDOR) {
            Some(listed) => listed.into_iter().map(|(user, _)| user).collect(),
            None => (0..EVERYBODY).map(|n| format!("user{n}@example.com")).collect(),
        },
    };
    let rows: Vec<_> = users
        .iter()
        .filter_map(|user| Some((user, tenant.world.profile(user)?)))
        .flat_map(|(user, profile)| {
            // The first application knows everybody; each further one a part of them.
            let knows = move |n: &usize| *n == 0 || profile.pick(*n as u64, 3) == 0;
            let applications = applications.iter().enumerate();
            applications.filter(move |(n, _)| knows(n)).map(move |(n, app)| row(user, &profile, n, app))
        })
        .collect();
    Json(page(&rows, start, size)).into_response()
}

fn page(rows: &[Value], start: usize, size: usize) -> Value {
    let shown: Vec<_> = rows.iter().skip(start).take(size).collect();
    let mut page = json!({
        "type": "ReportResponse",
        "tenantName": TENANT_ID,
        "reportId": "userrisk",
        "maxCount": MAX_COUNT,
        "totalCount": rows.len(),
        "size": shown.len(),
        "title": "Users at risk",
        "description": "User risk scores based on LORIC's analysis of suspicious activity patterns",
        "userRiskScores": shown,
    });
    let next = start.saturating_add(size);
    if next < rows.len()
        && let Some(members) = page.as_object_mut()
    {
        members.insert("nextMarkerPosition".to_owned(), json!(next.to_string()));
    }
    page
}

fn row(user: &str, profile: &Profile, n: usize, application: &(&str, &str, &str)) -> Value {
    let (app, instance, id) = application;
    // The first row has the score, the others something below it.
    let score = if n == 0 { profile.score } else { (profile.score / (n as f64 + 1.0)).floor() };
    let level = match score {
        70.0.. => "High",
        40.0.. => "Medium",
        20.0.. => "Low",
        _ => "Normal",
    };
    let events = profile.pick(7, 50).to_string();
    let time = profile.last_seen.to_string();
    let day = profile.last_seen.strftime("%Y-%m-%dT00:00:00Z").to_string();
    let (factors, counts, averages) = if level == "Normal" {
        (json!({"No risk factors": "No risk factors"}), json!({}), json!({}))
    } else {
        (
            json!({"NETWRK_PREFIX_EVENTS": "Total IP network prefix for all events"}),
            json!({"NETWRK_PREFIX_EVENTS": events}),
            json!({"NETWRK_PREFIX_EVENTS": "1"}),
        )
    };
    let details = [
        ("Risk Level", level.to_owned()),
        ("User name", user.to_owned()),
        ("Maximum Risk Score", format!("{score:.1}")),
        ("Peer Group", json!({"peergroup": "other"}).to_string()),
        ("Reasons", json!([id, time, factors]).to_string()),
        ("Detected Date", day.clone()),
        ("ReasonsAverage", averages.to_string()),
        ("ReasonsCounts", counts.to_string()),
        ("Detected Date ISOFormat", day),
    ];
    let details = details.map(|(name, value)| json!({"displayname": name, "value": value}));
    json!({
        "rowId": format!("{:016x}", profile.pick(8 + n as u64, u64::MAX)),
        "appname": app,
        "appinstance": instance,
        "appInstanceId": id,
        "userRiskDetails": details,
    })
}

/// The error of the token call; that of the report is not documented.
fn error(status: StatusCode, message: &str) -> Response {
    let body = json!({"entity": {"message": message}, "metadata": {}, "status": status.as_u16()});
    (status, Json(body)).into_response()
}
