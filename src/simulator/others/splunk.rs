//! Splunk: a oneshot search for the entity risk score of a user. Every value of a result is a string.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::{form, page, signed};
use crate::simulator::World;

const NAME: &str = "splunk";

/// The page.
pub fn router(world: Arc<World>) -> Router {
    Router::new().route("/services/search/v2/jobs", post(search)).with_state(world)
}

async fn search(State(world): State<Arc<World>>, headers: HeaderMap, body: String) -> Response {
    if !signed(&headers, "Bearer") {
        let text = "call not properly authenticated";
        return page(StatusCode::UNAUTHORIZED, json!({"messages": [{"type": "WARN", "text": text}]}));
    }
    let form = form(&body);
    let whole = form.get("exec_mode").is_some_and(|mode| mode == "oneshot")
        && form.get("output_mode").is_some_and(|mode| mode == "json");
    let Some(user) = form.get("search").filter(|_| whole).and_then(|text| user_in(text)) else {
        let text = "Error in 'search' command: unable to parse the search";
        return page(StatusCode::BAD_REQUEST, json!({"messages": [{"type": "FATAL", "text": text}]}));
    };
    world.asked(NAME, &user);
    let result = |score: f64, at: i64| json!({"normalized_risk_object": user, "score": score.to_string(), "at": at.to_string()});
    let results: Vec<Value> = world
        .profile(&user)
        .map(|profile| result(profile.score, profile.last_seen.as_second()))
        .into_iter()
        .collect();
    page(
        StatusCode::OK,
        json!({"preview": false, "init_offset": 0, "messages": [], "results": results, "highlighted": {}}),
    )
}

/// The user that a search asks about, as SPL reads its quotes; `None` when the search is not of this one form.
fn user_in(search: &str) -> Option<String> {
    let rest = search.strip_prefix("search index=ers risk_object_type=user normalized_risk_object=\"")?;
    let (mut user, mut chars) = (String::new(), rest.chars());
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => user.push(chars.next()?),
            c => user.push(c),
        }
    }
    let tail = " earliest=-2h | stats latest(ers) AS score latest(_time) AS at BY normalized_risk_object";
    (chars.as_str() == tail).then_some(user)
}
