//! `riskstream lookup`: one answer, as in the enriched event.

use std::path::Path;

use serde_json::Value;

use super::output::{level_style, line, table};
use super::{End, engine_problem, for_people, load};
use crate::app::Engine;
use crate::entity::EntityKind;
use crate::telemetry;

/// Runs the command. An entity whose look-up failed is an answer too, with exit code 1; when it is not clear who
/// is to be asked, the arguments are at fault.
pub fn run(
    path: &Path,
    provider: Option<&str>,
    kind: EntityKind,
    identifier: &str,
    json: bool,
) -> Result<(), End> {
    let config = load(path)?;
    telemetry::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let engine =
        Engine::patient(&config, runtime.handle().clone()).map_err(|error| engine_problem(path, &error))?;
    let answer = runtime
        .block_on(engine.pipeline.look_up(kind, identifier, provider))
        .map_err(|error| End::Usage(error.to_string()))?;
    let value: Value = serde_json::from_slice(&answer)?;
    if for_people(json) {
        line(&readable(&value))?
    } else {
        line(&String::from_utf8(answer)?)?
    }
    let failed = value.get("status").and_then(Value::as_str) == Some("failed");
    if failed { Err(End::Quiet) } else { Ok(()) }
}

/// The answer as rows; lists and objects as their JSON.
fn readable(answer: &Value) -> String {
    let level = answer.get("level").and_then(Value::as_str).and_then(|word| word.parse().ok());
    let rows = answer
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let text = match name.as_str() {
                "level" | "score" => level_style(level).apply_to(text).to_string(),
                _ => text,
            };
            vec![name.clone(), text]
        })
        .collect::<Vec<_>>();
    table(&["member", "value"], &rows)
}
