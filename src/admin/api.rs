//! `/v1`: a playbook's questions, answered from the same cache and guards as the stream.
//!
//! Contract: every request carries the bearer token; a question counts before waiting alerts. An identifier may
//! come in a POST's body, so that proxies do not log it. Answers have the form of `risk.entities[]`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use crate::alert::{Scratch, Select};
use crate::config::Secret;
use crate::entity::EntityKind;
use crate::pipeline::live::Live;
use crate::pipeline::{Begun, Origin};

#[derive(Deserialize)]
struct Question {
    kind: String,
    id: String,
    provider: Option<String>,
}

/// The routes under `/v1`, behind `token`.
pub fn router(live: Arc<Live>, token: Secret) -> Router {
    Router::new()
        .route("/v1/risk", get(|state, Query(question): Query<Question>| risk(state, question)))
        .route("/v1/risk", post(|state, Json(question): Json<Question>| risk(state, question)))
        .route("/v1/enrich", post(enrich))
        .route("/v1/cache", delete(forget))
        .with_state(live)
        .layer(middleware::from_fn_with_state(token, authorise))
}

async fn authorise(State(token): State<Secret>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    let expected = token.current();
    // Both are hashed, so that the comparison takes the same time whatever was given.
    let digest = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    if digest(given).as_ref() == digest(expected.expose_secret().as_bytes()).as_ref() {
        next.run(request).await
    } else {
        problem(StatusCode::UNAUTHORIZED, "send the token of admin.token as `Authorization: Bearer TOKEN`")
    }
}

async fn risk(State(live): State<Arc<Live>>, question: Question) -> Response {
    let kind: EntityKind = match question.kind.parse() {
        Ok(kind) => kind,
        Err(error) => return problem(StatusCode::BAD_REQUEST, format!("kind: {error}")),
    };
    match live.get().look_up(kind, &question.id, question.provider.as_deref()).await {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn enrich(State(live): State<Arc<Live>>, alert: Bytes) -> Response {
    let (landed, told) = tokio::sync::oneshot::channel();
    let landed = std::sync::Mutex::new(Some(landed));
    let waker = move || -> Box<dyn Fn() + Send + Sync> {
        Box::new(move || {
            let waiting = landed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            if let Some(landed) = waiting {
                let _ = landed.send(());
            }
        })
    };
    let origin = Origin { topic: "", select: Select::Auto, overhead: 0 };
    let mut out = Vec::new();
    match live.get().begin(&alert, origin, Instant::now(), &mut Scratch::default(), &mut out, waker) {
        Ok(Begun::Composed(_)) => {}
        Ok(Begun::Waiting(pending)) => {
            let _ = told.await;
            pending.finish(&alert, Instant::now(), &mut out);
        }
        Err(error) => return problem(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
    }
    ([(header::CONTENT_TYPE, "application/json")], out).into_response()
}

async fn forget(State(live): State<Arc<Live>>, Query(question): Query<Question>) -> Response {
    match question.kind.parse() {
        Ok(kind) => {
            let forgotten = live.get().forget(kind, &question.id);
            // A pod's host name is its own name.
            let replica = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            Json(json!({ "forgotten": forgotten, "replica": replica.trim() })).into_response()
        }
        Err(error) => problem(StatusCode::BAD_REQUEST, format!("kind: {error}")),
    }
}

fn problem(status: StatusCode, what: impl Into<String>) -> Response {
    (status, Json(json!({ "error": what.into() }))).into_response()
}
