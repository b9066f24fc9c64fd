//! The routes of the admin port.
//!
//! Contract: nothing here stops an alert. `/metrics`, `/livez` and `/readyz` are open, since they hold no alert
//! content, no identifier and no secret; `/v1` exists only with a token and answers only to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::api;
use super::health::Health;
use crate::config::Admin;
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::pipeline::live::Live;
use crate::provider::snapshot::Snapshot;

/// What the routes need.
#[derive(Clone)]
struct Parts {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// The server while it runs.
pub struct Running {
    /// Where it listens; the system chose the port if 0 was asked for.
    pub address: SocketAddr,
    end: oneshot::Receiver<std::io::Result<()>>,
}

impl Running {
    /// The server at `address`, which tells its end through the other half of `end`.
    pub fn new(address: SocketAddr, end: oneshot::Receiver<std::io::Result<()>>) -> Self {
        Running { address, end }
    }

    /// Why it ended, once it has; it is meant to live as long as the process.
    pub fn ended(&mut self) -> Option<String> {
        match self.end.try_recv() {
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some("its task is gone; this is a bug".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Ok(Ok(())) => Some("it takes no more connections".to_owned()),
        }
    }
}

/// Opens the port; the server lives as long as the runtime.
///
/// # Errors
/// The port cannot be opened.
pub async fn start(admin: &Admin, engine: &Engine, health: Arc<Health>) -> std::io::Result<Running> {
    let parts = Parts { live: engine.live(), metrics: Arc::clone(&engine.metrics), health };
    let mut router = Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(parts);
    if let Some(token) = &admin.token {
        router = router.merge(api::router(engine.live(), token.clone()));
    }
    let listener = tokio::net::TcpListener::bind(admin.listen).await?;
    let address = listener.local_addr()?;
    let (tell, end) = oneshot::channel();
    tokio::spawn(async move {
        // Nobody listens any more when the service is being stopped.
        let _ = tell.send(axum::serve(listener, router).await);
    });
    Ok(Running::new(address, end))
}

async fn metrics(State(parts): State<Parts>) -> Response {
    let pipeline = parts.live.get();
    let flights = &pipeline.flights;
    parts.metrics.cache_entries.set(flights.cache().entries() as i64);
    parts.metrics.cache_bytes.set(flights.cache().bytes() as i64);
    parts.metrics.evicted(flights.cache().evictions());
    parts.metrics.flights.set(flights.open() as i64);
    parts.metrics.oldest_flight.set(flights.oldest(Instant::now()).as_secs_f64());
    for seat in pipeline.roster.iter() {
        if let Some(table) = seat.carrier.guard.snapshot().and_then(Snapshot::table) {
            let taken = table.as_of().as_millisecond() as f64 / 1000.0;
            parts.metrics.provider(seat.name()).snapshot(table.entities(), table.bytes(), taken);
        }
    }
    match parts.metrics.render() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn livez(State(parts): State<Parts>) -> Response {
    let silent = parts.health.silent();
    let code = if silent.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(serde_json::json!({ "alive": silent.is_empty(), "reasons": silent }))).into_response()
}

async fn readyz(State(parts): State<Parts>) -> Response {
    let readiness = parts.health.readiness();
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(readiness)).into_response()
}

async fn page(State(parts): State<Parts>) -> Html<String> {
    let readiness = parts.health.readiness();
    let m = &parts.metrics;
    let state = if readiness.ready { "ready" } else { "not ready" };
    let notes: String = readiness
        .reasons
        .iter()
        .chain(&readiness.kafka)
        .chain(&readiness.providers)
        .chain(&readiness.notes)
        .map(|note| format!("<li>{}</li>", escape(note)))
        .collect();
    let pipeline = parts.live.get();
    let rows: String = [
        ("alerts consumed", m.consumed.get()),
        ("alerts published", m.published.get()),
        ("dead letters", m.dead_letters()),
        ("in flight", m.in_flight.get().max(0) as u64),
        ("partitions assigned", m.assigned.get().max(0) as u64),
        ("answers cached", pipeline.flights.cache().entries() as u64),
        ("questions under way", pipeline.flights.open() as u64),
    ]
    .into_iter()
    .map(|(name, value)| format!("<tr><td>{name}</td><td class=n>{value}</td></tr>"))
    .collect();
    Html(format!(
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=5><title>riskstream: {state}</title>\
         <style>body{{font:15px system-ui;margin:2rem;max-width:40rem}}td{{padding:.2rem 1rem .2rem 0}}\
         .n{{text-align:right;font-variant-numeric:tabular-nums}}</style>\
         <h1>riskstream <small>{version}</small></h1><p>{state}</p><ul>{notes}</ul><table>{rows}</table>\
         <p><a href=/metrics>metrics</a> <a href=/readyz>readyz</a> <a href=/livez>livez</a></p>",
        version = env!("CARGO_PKG_VERSION"),
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
