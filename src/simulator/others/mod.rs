//! Pages of vendors that have no provider of their own: the worked examples of `generic_http` are tested against them.
//!
//! Each is as strict as that vendor's public documentation lets it be about address, credentials and quoting, and knows the
//! same population as all others.

pub mod crowdstrike;
pub mod elastic;
pub mod entra;
pub mod okta;
pub mod sentinelone;
pub mod splunk;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::World;
use super::google_secops::form;

/// Their path prefixes.
pub const OTHERS: [&str; 6] = ["okta", "entra", "crowdstrike", "elastic", "splunk", "sentinelone"];

/// What every token, password and client secret of theirs is.
pub const SECRET: &str = "simulated-secret";

/// Their pages below their prefixes.
pub fn router(world: &Arc<World>) -> axum::Router {
    axum::Router::new()
        .nest("/okta", okta::router(Arc::clone(world)))
        .nest("/entra", entra::router(Arc::clone(world)))
        .nest("/crowdstrike", crowdstrike::router(Arc::clone(world)))
        .nest("/elastic", elastic::router(Arc::clone(world)))
        .nest("/splunk", splunk::router(Arc::clone(world)))
        .nest("/sentinelone", sentinelone::router(Arc::clone(world)))
}

/// Whether the header `Authorization` is `scheme` and the secret.
fn signed(headers: &HeaderMap, scheme: &str) -> bool {
    let expected = format!("{scheme} {SECRET}");
    headers.get("authorization").is_some_and(|value| value.as_bytes() == expected.as_bytes())
}

fn page(status: StatusCode, body: Value) -> Response {
    (status, axum::Json(body)).into_response()
}

/// What a token end point answers to a client: a token that is the secret, or a refusal (RFC 6749, 5.1 and 5.2).
fn token(form: &BTreeMap<String, String>, granted: StatusCode) -> Response {
    let field = |name: &str| form.get(name).map(String::as_str);
    if field("grant_type").is_some_and(|grant| grant != "client_credentials") {
        return page(StatusCode::BAD_REQUEST, serde_json::json!({"error": "unsupported_grant_type"}));
    }
    if field("client_secret") != Some(SECRET) {
        return page(StatusCode::UNAUTHORIZED, serde_json::json!({"error": "invalid_client"}));
    }
    page(granted, serde_json::json!({"token_type": "Bearer", "expires_in": 1799, "access_token": SECRET}))
}

/// A word for a score, by where it falls among `words`, lowest first.
fn word<'w>(score: f64, words: &[&'w str]) -> &'w str {
    let place = (score / 100.0 * words.len() as f64) as usize;
    words.get(place.min(words.len().saturating_sub(1))).copied().unwrap_or_default()
}
