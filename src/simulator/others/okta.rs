//! Okta: users, and their risk by id (API reference, "User Risk").

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::{page, signed, word};
use crate::simulator::World;

const NAME: &str = "okta";
const PREFIX: &str = "00u";

/// The pages.
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/api/v1/users/{login}", get(user))
        .route("/api/v1/users/{id}/risk", get(risk))
        .with_state(world)
}

async fn user(State(world): State<Arc<World>>, Path(login): Path<String>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    match world.profile(&login) {
        Some(_) => {
            page(StatusCode::OK, json!({"id": id(&login), "status": "ACTIVE", "profile": {"login": login}}))
        }
        None => not_found(),
    }
}

async fn risk(State(world): State<Arc<World>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    let Some(login) = login(&id) else { return not_found() };
    world.asked(NAME, &login);
    let Some(profile) = world.profile(&login) else { return not_found() };
    let body = match word(profile.score, &["NONE", "LOW", "MEDIUM", "HIGH"]) {
        // Without a reason then.
        "NONE" => json!({"riskLevel": "NONE", "_links": {}}),
        level => {
            json!({"riskLevel": level, "reason": "Session influenced by suspicious activity", "_links": {}})
        }
    };
    page(StatusCode::OK, body)
}

fn refusal(headers: &HeaderMap) -> Option<Response> {
    let body = || error("E0000011", "Invalid token provided");
    (!signed(headers, "SSWS")).then(|| page(StatusCode::UNAUTHORIZED, body()))
}

fn not_found() -> Response {
    page(StatusCode::NOT_FOUND, error("E0000007", "Not found: Resource not found (User)"))
}

fn error(code: &str, summary: &str) -> Value {
    json!({"errorCode": code, "errorSummary": summary, "errorLink": code, "errorId": "oae1", "errorCauses": []})
}

/// Okta's own id of a user, which holds the login so that the page needs no memory.
fn id(login: &str) -> String {
    login.bytes().fold(PREFIX.to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

fn login(id: &str) -> Option<String> {
    let digits = id.strip_prefix(PREFIX)?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(digits.chunks(2).map(byte).collect::<Option<_>>()?).ok()
}
