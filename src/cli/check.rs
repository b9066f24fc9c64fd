//! `riskstream check`: what is wrong with a configuration, and what leaves the network for where.
//!
//! Contract: without `--connect` nothing is contacted. With it, the broker is asked about our topics and rights, and every
//! vendor about its credentials, and for the first page of its list where that is to be read; what fails is said with its cure,
//! and the exit code is 1.

mod broker;
mod egress;

use std::path::Path;

use serde_json::json;

use self::egress::{Flow, Other};
use super::memory::{self, Part};
use super::output::{line, table};
use super::{End, engine_problem, for_people, load, verify};
use crate::engine::Engine;
use crate::provider::Failure;
use crate::provider::limiter::Priority;

/// Runs the command.
pub fn run(path: &Path, connect: bool, json: bool) -> Result<(), End> {
    let config = load(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let engine =
        Engine::build(&config, runtime.handle().clone()).map_err(|error| engine_problem(path, &error))?;
    verify(path, &config)?;
    let people = for_people(json);
    let (flows, others) = (egress::flows(&engine, &config), egress::others(&engine, &config));
    let memory = memory::ceiling(&config);
    if people {
        line(&format!("{} is correct\n", path.display()))?;
        line("Which identifiers go where")?;
        let rows: Vec<Vec<String>> = flows.iter().map(Flow::row).collect();
        line(&table(&["kind", "in alerts of", "asked of", "host"], &rows))?;
        line("\nWho else is sent something")?;
        let rows: Vec<Vec<String>> = others.iter().map(Other::row).collect();
        line(&table(&["what", "for", "host"], &rows))?;
        line("\nMemory, at most")?;
        let row = |part: &Part| vec![part.what.to_owned(), mib(part.bytes), part.by.to_owned()];
        let rows: Vec<Vec<String>> = memory.iter().map(row).collect();
        line(&table(&["what", "MiB", "decided by"], &rows))?;
    } else {
        for flow in &flows {
            line(&flow.json().to_string())?;
        }
        for other in &others {
            line(&other.json().to_string())?;
        }
        for Part { what, by, bytes } in &memory {
            line(&json!({ "memory": what, "bytes": bytes, "by": by }).to_string())?;
        }
    }
    if !connect {
        return Ok(());
    }
    let kafka = broker::ask(&config, runtime.handle());
    let mut results = kafka.topics.clone();
    runtime.block_on(async {
        for guard in engine.pipeline().roster.guards() {
            let mut result = |what: &str, answer: Result<(), Failure>| {
                let who = format!("{}{what} ({})", guard.name(), guard.provider().host());
                results.push((who, answer.map_err(|failure| failure.to_string())));
            };
            result("", guard.provider().probe().await);
            if let Some((snapshot, bulk)) = guard.snapshot().zip(guard.provider().bulk()) {
                let page = guard.page(bulk, None, Priority::Question, snapshot.timeout()).await;
                result(", its list", page.map(drop));
            }
        }
    });
    if people {
        line("\nConnections")?;
        let rows: Vec<Vec<String>> =
            results.iter().map(|(who, result)| vec![who.clone(), verdict(result)]).collect();
        line(&table(&["to", "result"], &rows))?;
    } else {
        for (who, result) in &results {
            let error = result.as_ref().err();
            line(&json!({ "connection": who, "ok": error.is_none(), "error": error }).to_string())?;
        }
    }
    kafka.print_access(people)?;
    let fine = kafka.is_fine() && results.iter().all(|(_, result)| result.is_ok());
    if fine { Ok(()) } else { Err(End::Quiet) }
}

fn verdict(result: &Result<(), String>) -> String {
    match result {
        Ok(()) => console::style("ok").green().to_string(),
        Err(why) => console::style(why).red().to_string(),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}
