//! `/_simulator`: the world's faults, latency, limits and counts over HTTP, for scripts.
//!
//! | call | body | does |
//! |---|---|---|
//! | `PUT /_simulator/faults` | a list of faults, see [`super::faults`] | replaces the script |
//! | `DELETE /_simulator/faults` | | ends all faults |
//! | `GET /_simulator/calls` | | counts by vendor, see [`super::calls`] |
//! | `DELETE /_simulator/calls` | | starts counting anew |
//! | `PUT /_simulator/latency` | `{"latency_ms": 50}` or `{"latency_ms": [10, 90]}` | of every answer |
//! | `PUT /_simulator/limits` | `{"datadog": {"requests": 50, "per_ms": 1000, "sliding": true}, "cloudflare": null}` | sets or removes quotas; vendors that are not named keep theirs |
//!
//! A change answers 204. A body that is not understood answers 4xx, says why, and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::calls::Calls;
use super::faults::{Fault, Latency};
use super::prefixes;
use super::world::{Limit, World};

pub(super) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/faults", put(put_faults).delete(delete_faults))
        .route("/calls", axum::routing::get(get_calls).delete(delete_calls))
        .route("/latency", put(put_latency))
        .route("/limits", put(put_limits))
        .with_state(world)
}

async fn put_faults(State(world): State<Arc<World>>, Json(faults): Json<Vec<Fault>>) -> StatusCode {
    world.set_faults(faults);
    StatusCode::NO_CONTENT
}

async fn delete_faults(State(world): State<Arc<World>>) -> StatusCode {
    world.clear_faults();
    StatusCode::NO_CONTENT
}

/// [`Calls`] with the arrivals summed up by second.
#[derive(Serialize)]
struct Counted {
    #[serde(flatten)]
    calls: Calls,
    per_second: BTreeMap<u64, u64>,
}

async fn get_calls(State(world): State<Arc<World>>) -> Response {
    let counted: BTreeMap<_, _> = world
        .all_calls()
        .into_iter()
        .map(|(vendor, calls)| {
            let per_second = calls.per_second();
            (vendor, Counted { calls, per_second })
        })
        .collect();
    Json(counted).into_response()
}

async fn delete_calls(State(world): State<Arc<World>>) -> StatusCode {
    world.forget_calls();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLatency {
    latency_ms: Latency,
}

async fn put_latency(State(world): State<Arc<World>>, Json(new): Json<NewLatency>) -> StatusCode {
    world.set_latency(new.latency_ms);
    StatusCode::NO_CONTENT
}

async fn put_limits(
    State(world): State<Arc<World>>,
    Json(limits): Json<BTreeMap<String, Option<Limit>>>,
) -> Response {
    if let Some(vendor) = limits.keys().find(|vendor| prefixes().all(|known| known != vendor.as_str())) {
        let message =
            format!("no vendor {vendor:?}: use one of {}\n", prefixes().collect::<Vec<_>>().join(", "));
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    for (vendor, limit) in limits {
        world.set_limit(&vendor, limit);
    }
    StatusCode::NO_CONTENT.into_response()
}
