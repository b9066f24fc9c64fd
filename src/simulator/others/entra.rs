//! Microsoft Entra ID Protection: the tenant's token end point, and risky users by a filter (Graph v1.0, "List riskyUsers").

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;

use super::{form, page, signed, word};
use crate::simulator::World;

const NAME: &str = "entra";

/// The pages: Graph's, and the end point of the identity platform.
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/v1.0/identityProtection/riskyUsers", get(users))
        .route("/tenant/oauth2/v2.0/token", post(token))
        .with_state(world)
}

async fn token(body: String) -> Response {
    let form = form(&body);
    if form.get("scope").is_none_or(|scope| !scope.ends_with("/.default")) {
        return page(StatusCode::BAD_REQUEST, json!({"error": "invalid_scope", "error_codes": [70011]}));
    }
    super::token(&form, StatusCode::OK)
}

async fn users(
    State(world): State<Arc<World>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    if !signed(&headers, "Bearer") {
        return page(StatusCode::UNAUTHORIZED, error("InvalidAuthenticationToken", "Access token is empty."));
    }
    let filter = query.iter().find(|(key, _)| key == "$filter").map(|(_, value)| value.as_str());
    let Some(user) = filter.and_then(user_in) else {
        return page(StatusCode::BAD_REQUEST, error("BadRequest", "Invalid filter clause"));
    };
    world.asked(NAME, &user);
    let rows = world.profile(&user).map(|profile| {
        // One in five was at risk and is no more.
        let state = if profile.pick(1, 5) == 0 { "remediated" } else { "atRisk" };
        json!({
            "id": "d1d4a5d4-a5d4-41d4-84a5-d4d1d4a5d4d1",
            "isDeleted": false,
            "isProcessing": false,
            "riskLevel": word(profile.score, &["low", "medium", "high"]),
            "riskState": state,
            "riskDetail": "none",
            "riskLastUpdatedDateTime": profile.last_seen.to_string(),
            "userDisplayName": user,
            "userPrincipalName": user.to_uppercase(),
        })
    });
    let context = "https://graph.microsoft.com/v1.0/$metadata#identityProtection/riskyUsers";
    page(StatusCode::OK, json!({"@odata.context": context, "value": rows.into_iter().collect::<Vec<_>>()}))
}

/// The user that a filter asks about; `None` when it is no filter of this one form, its quotes included.
fn user_in(filter: &str) -> Option<String> {
    let quoted = filter.strip_prefix("userPrincipalName eq '")?.strip_suffix('\'')?;
    let doubled = quoted.replace("''", "\0");
    (!doubled.contains('\'')).then(|| doubled.replace('\0', "'"))
}

fn error(code: &str, message: &str) -> serde_json::Value {
    json!({"error": {"code": code, "message": message, "innerError": {"request-id": "1"}}})
}
