//! `riskstream lookup`: one answer, as in the enriched event.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::output::{level_style, line, note, table, visible};
use super::{End, engine_problem, for_people, load};
use crate::engine::Engine;
use crate::entity::EntityKind;
use crate::pipeline::LookUpError;
use crate::telemetry;

/// Between two words about an answer that is not there yet.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let pipeline = engine.pipeline();
    let answer = runtime.block_on(async {
        engine.read_once(note).await;
        let mut asking = std::pin::pin!(pipeline.look_up(kind, identifier, provider));
        loop {
            match tokio::time::timeout(PATIENCE, &mut asking).await {
                Ok(answer) => break answer,
                Err(_) => waiting(&engine),
            }
        }
    });
    let answer = answer.map_err(|error| match error {
        LookUpError::Ambiguous(_) => End::Usage(format!("{error} (--provider NAME)")),
        LookUpError::NoSuchProvider(..) | LookUpError::NobodyKnows(_) => End::Usage(error.to_string()),
    })?;
    let value: Value = serde_json::from_slice(&answer)?;
    if for_people(json) {
        line(&readable(&value))?
    } else {
        line(&String::from_utf8(answer)?)?
    }
    let failed = value.get("status").and_then(Value::as_str) == Some("failed");
    if !failed {
        return Ok(());
    }
    if !config.log.level.contains("debug") && !config.log.level.contains("trace") {
        note("what exactly was wrong is told with RISKSTREAM__LOG__LEVEL=riskstream=debug");
    }
    Err(End::Quiet)
}

/// Says that there is no answer yet, and what is known of the reason.
fn waiting(engine: &Engine) {
    let pipeline = engine.pipeline();
    let problems: Vec<String> =
        pipeline.roster.guards().filter_map(|guard| guard.state().problem()).collect();
    let why = if problems.is_empty() { "the vendor takes its time".to_owned() } else { problems.join("; ") };
    note(&format!("no answer yet ({why}); ctrl-c ends the wait"));
}

/// The answer as rows; lists and objects as their JSON.
fn readable(answer: &Value) -> String {
    let level = answer.get("level").and_then(Value::as_str).and_then(|word| word.parse().ok());
    let rows = answer
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = visible(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let text = match name.as_str() {
                "level" | "score" => level_style(level).apply_to(text).to_string(),
                _ => text,
            };
            vec![name.clone(), text]
        })
        .collect::<Vec<_>>();
    table(&["member", "value"], &rows)
}
