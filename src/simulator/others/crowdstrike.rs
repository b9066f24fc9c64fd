//! CrowdStrike Falcon: the token end point, and Identity Protection's GraphQL page as far as one look-up needs it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::{form, page, signed, word};
use crate::simulator::World;

const NAME: &str = "crowdstrike";

/// The pages.
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/oauth2/token", post(token))
        .route("/identity-protection/combined/graphql/v1", post(graphql))
        .with_state(world)
}

async fn token(body: String) -> Response {
    super::token(&form(&body), StatusCode::CREATED)
}

async fn graphql(State(world): State<Arc<World>>, headers: HeaderMap, body: String) -> Response {
    if !signed(&headers, "Bearer") {
        let errors = json!([{"code": 401, "message": "access denied, invalid bearer token"}]);
        return page(StatusCode::UNAUTHORIZED, json!({"meta": {}, "resources": [], "errors": errors}));
    }
    let Ok(asked) = serde_json::from_str::<Value>(&body) else {
        return page(StatusCode::BAD_REQUEST, json!({"errors": [{"code": 400, "message": "not JSON"}]}));
    };
    let query = asked.get("query").and_then(Value::as_str).unwrap_or_default();
    let name = asked.pointer("/variables/names/0").and_then(Value::as_str);
    let (Some(name), true, true) = (name, query.contains("emailAddresses: $names"), query.contains("first:"))
    else {
        // Errors of GraphQL come with status 200.
        let error = json!({"message": "Validation error", "path": ["entities"], "extensions": {}});
        return page(StatusCode::OK, json!({"data": null, "errors": [error]}));
    };
    world.asked(NAME, name);
    let nodes: Vec<Value> = world
        .profile(name)
        .map(|profile| {
            json!({
                "entityId": "095b6929-44b9-4525-a0cc-9ef4552011f3",
                "primaryDisplayName": name,
                "secondaryDisplayName": format!("CORP\\{name}"),
                "riskScore": (profile.score).round() / 100.0,
                "riskScoreSeverity": word(profile.score, &["NORMAL", "MEDIUM", "HIGH"]),
                "riskFactors": [{"type": "WEAK_PASSWORD_POLICY", "severity": "MEDIUM"}, {"type": "STALE_ACCOUNT", "severity": "NORMAL"}],
            })
        })
        .into_iter()
        .collect();
    let extensions = json!({"runTime": 21, "remainingPoints": 499_998, "reset": 9995, "consumedPoints": 2});
    page(StatusCode::OK, json!({"data": {"entities": {"nodes": nodes}}, "extensions": extensions}))
}
