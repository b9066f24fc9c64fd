//! Elasticsearch: a search in the index of the latest risk scores of users.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::{page, signed, word};
use crate::simulator::World;

const NAME: &str = "elastic";

/// The page.
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/risk-score.risk-score-latest-default/_search", post(search))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "index_not_found_exception", "no such index") })
        .with_state(world)
}

async fn search(State(world): State<Arc<World>>, headers: HeaderMap, body: String) -> Response {
    if !signed(&headers, "ApiKey") {
        return error(StatusCode::UNAUTHORIZED, "security_exception", "unable to authenticate");
    }
    let asked: Value = serde_json::from_str(&body).unwrap_or_default();
    let place = "/query/bool/filter/0/term/user.name/value";
    let Some(name) = asked.pointer(place).and_then(Value::as_str) else {
        return error(StatusCode::BAD_REQUEST, "parsing_exception", "unknown query");
    };
    world.asked(NAME, name);
    let hits: Vec<Value> = world
        .profile(name)
        .map(|profile| {
            let risk = json!({
                "id_field": "user.name",
                "id_value": name,
                "calculated_level": word(profile.score, &["Unknown", "Low", "Moderate", "High", "Critical"]),
                "calculated_score": profile.score * 1.7,
                "calculated_score_norm": profile.score,
                "category_1_count": profile.pick(1, 20),
                "criticality_level": "high_impact",
                "inputs": [{"id": "91a9", "description": "Alert from Rule: Malware Prevention Alert", "risk_score": 73.0}],
            });
            let source = json!({"@timestamp": profile.last_seen.to_string(), "user": {"name": name, "risk": risk}});
            json!({"_index": "risk-score.risk-score-latest-default", "_id": "a4cf", "_source": source})
        })
        .into_iter()
        .collect();
    let shards = json!({"total": 1, "successful": 1, "skipped": 0, "failed": 0});
    page(StatusCode::OK, json!({"took": 3, "timed_out": false, "_shards": shards, "hits": {"hits": hits}}))
}

fn error(status: StatusCode, kind: &str, reason: &str) -> Response {
    let cause = json!({"type": kind, "reason": reason});
    page(
        status,
        json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status.as_u16()}),
    )
}
