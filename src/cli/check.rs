//! `riskstream check`: what is wrong with a configuration, and what leaves the network for where.
//!
//! Contract: without `--connect` nothing is contacted. With it, the broker is asked about our topics and rights, and every
//! vendor about its credentials; what fails is said with its cure, and the exit code is 1.

mod broker;

use std::path::Path;

use serde_json::json;

use super::memory::{self, Part};
use super::output::{line, table};
use super::{End, engine_problem, for_people, load, verify};
use crate::config::Config;
use crate::engine::Engine;
use crate::entity::EntityKind;
use crate::pipeline::Pipeline;
use crate::routing::Decision;

/// Runs the command.
pub fn run(path: &Path, connect: bool, json: bool) -> Result<(), End> {
    let config = load(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let engine =
        Engine::build(&config, runtime.handle().clone()).map_err(|error| engine_problem(path, &error))?;
    verify(path, &config)?;
    let people = for_people(json);
    let egress = egress(&engine, &config);
    let memory = memory::ceiling(&config);
    if people {
        line(&format!("{} is correct\n", path.display()))?;
        line("Which identifiers go where")?;
        let rows: Vec<Vec<String>> = egress.iter().map(Flow::row).collect();
        line(&table(&["kind", "in alerts of", "asked of", "host"], &rows))?;
        line("\nMemory, at most")?;
        let row = |part: &Part| vec![part.what.to_owned(), mib(part.bytes), part.by.to_owned()];
        let rows: Vec<Vec<String>> = memory.iter().map(row).collect();
        line(&table(&["what", "MiB", "decided by"], &rows))?;
    } else {
        for flow in &egress {
            line(&flow.json().to_string())?;
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
            let answer = guard.provider().probe().await;
            results.push((
                format!("{} ({})", guard.name(), guard.provider().host()),
                answer.map_err(|failure| failure.to_string()),
            ));
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

/// One row of the egress table.
struct Flow {
    kind: EntityKind,
    /// `None`: every other format.
    format: Option<String>,
    provider: Option<(String, String)>,
    rule: Option<String>,
}

impl Flow {
    fn row(&self) -> Vec<String> {
        let (provider, host) = self.provider.clone().unwrap_or_else(|| {
            (console::style("nobody: several know it, add a route").yellow().to_string(), String::new())
        });
        vec![
            self.kind.label().to_owned(),
            self.rule.clone().or(self.format.clone()).unwrap_or_else(|| "any other format".to_owned()),
            provider,
            host,
        ]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "kind": self.kind.label(),
            "format": self.format,
            "route": self.rule,
            "provider": self.provider.as_ref().map(|(name, _)| name),
            "host": self.provider.as_ref().map(|(_, host)| host),
        })
    }
}

/// Which kinds go to which host: the routes first, then what holds without one.
fn egress(engine: &Engine, config: &Config) -> Vec<Flow> {
    let pipeline = engine.pipeline();
    let Pipeline { routing, roster, formats, .. } = &*pipeline;
    let target = |decision: Decision| match decision {
        Decision::Ask(provider) => roster
            .get(provider)
            .map(|seat| (seat.name().to_owned(), seat.carrier.guard.provider().host().to_owned())),
        Decision::Unrouted | Decision::Ignored => None,
    };
    let mut flows = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        let guard =
            route.provider.as_ref().and_then(|name| roster.guards().find(|guard| guard.name() == name));
        let known = guard.map(|guard| guard.provider().kinds().to_vec()).unwrap_or_default();
        let kinds = if route.kinds.is_empty() { &known } else { &route.kinds };
        for &kind in kinds {
            flows.push(Flow {
                kind,
                format: None,
                provider: guard
                    .map(|guard| (guard.name().to_owned(), guard.provider().host().to_owned()))
                    .or_else(|| Some(("nobody".to_owned(), String::new()))),
                rule: Some(format!("routes[{index}]")),
            });
        }
    }
    for kind in EntityKind::ALL {
        let other = routing.without_route(None, kind);
        for name in formats.names() {
            let decision = routing.without_route(formats.id(name), kind);
            if decision != other && decision != Decision::Ignored {
                flows.push(Flow {
                    kind,
                    format: Some(name.to_owned()),
                    provider: target(decision),
                    rule: None,
                });
            }
        }
        if other != Decision::Ignored {
            flows.push(Flow { kind, format: None, provider: target(other), rule: None });
        }
    }
    flows
}

fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}
