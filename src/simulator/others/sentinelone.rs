//! SentinelOne: identities of the asset inventory, by user principal name.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::{page, signed, word};
use crate::simulator::World;

const NAME: &str = "sentinelone";

/// The page.
pub fn router(world: Arc<World>) -> Router {
    Router::new().route("/web/api/v2.1/xdr/assets/identity", get(identities)).with_state(world)
}

async fn identities(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    if !signed(&headers, "ApiToken") {
        let error = json!({"code": 4_010_010, "detail": null, "title": "Authentication Failed"});
        return page(StatusCode::UNAUTHORIZED, json!({"errors": [error]}));
    }
    let Some((_, name)) = query.iter().find(|(key, _)| key == "userPrincipalName") else {
        let error = json!({"code": 4_000_010, "detail": "Invalid filter", "title": "Bad Request"});
        return page(StatusCode::BAD_REQUEST, json!({"errors": [error]}));
    };
    world.asked(NAME, name);
    let data: Vec<Value> = world
        .profile(name)
        .map(|profile| {
            json!({
                "id": "1a2b3c",
                "category": "Identity",
                "userPrincipalName": name,
                "domain": "contoso.com",
                "riskFactors": ["Unresolved Alerts"],
                "infectionStatus": word(profile.score, &["Healthy", "Infected"]),
                "assetCriticality": "high",
                "privileged": profile.pick(1, 2) == 1,
                "lastActiveDt": profile.last_seen.to_string(),
            })
        })
        .into_iter()
        .collect();
    page(
        StatusCode::OK,
        json!({"pagination": {"totalCount": data.len(), "limit": 10, "skip": 0}, "data": data}),
    )
}
