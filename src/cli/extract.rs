//! `riskstream extract`: what would be looked up, and where. No vendor is called.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::alerts;
use super::enrich::select;
use super::output::{note, visible};
use super::{End, engine_problem};
use crate::alert::{DecodeError, Scratch, Select};
use crate::config::Config;
use crate::engine::Engine;
use crate::pipeline::Pipeline;
use crate::pipeline::roster::Seat;
use crate::routing::Decision;

/// Runs the command.
pub fn run(path: Option<&Path>, format: Option<&str>, files: &[PathBuf]) -> Result<(), End> {
    let config = match path {
        Some(path) => Config::load_offline(path, crate::config::environment()).map_err(End::Configuration)?,
        None => Config::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = Engine::build(&config, runtime.handle().clone())
        .map_err(|error| engine_problem(path.unwrap_or(Path::new("")), &error))?;
    let pipeline = engine.pipeline();
    let select = select(&pipeline.formats, format)?;
    let mut scratch = Scratch::default();
    let mut out = BufWriter::new(std::io::stdout());
    let mut bad = 0;
    alerts::each(files, |item| {
        match line(&pipeline, &item.bytes, select, &mut scratch) {
            Ok(line) => writeln!(out, "{line}")?,
            Err(error) => {
                bad += 1;
                note(&format!("{}: {error}", visible(&item.place)));
            }
        }
        Ok(())
    })?;
    out.flush()?;
    if bad > 0 { Err(End::Quiet) } else { Ok(()) }
}

/// What is printed of one alert.
#[derive(Serialize)]
struct Line<'a> {
    format: &'a str,
    entities: Vec<Asked<'a>>,
}

/// One entity, and who would be asked.
#[derive(Serialize)]
struct Asked<'a> {
    kind: &'static str,
    value: &'a str,
    paths: Vec<&'a str>,
    provider: Option<&'a str>,
}

/// One alert's entities and who would be asked about each.
fn line(
    pipeline: &Pipeline,
    alert: &[u8],
    select: Select,
    scratch: &mut Scratch,
) -> Result<String, DecodeError> {
    let decoded = pipeline.decoder.decode(alert, select, scratch)?;
    let entities = decoded.found.iter().map(|found| {
        let provider = match pipeline.routing.decide("", decoded.format, found.kind, found.id) {
            Decision::Ask(provider) => pipeline.roster.get(provider).map(Seat::name),
            Decision::Unrouted | Decision::Ignored => None,
        };
        let paths = found.paths.iter().collect();
        Asked { kind: found.kind.label(), value: found.value, paths, provider }
    });
    let line = Line {
        entities: entities.collect(),
        format: decoded.format.map_or("unknown", |format| pipeline.formats.name(format)),
    };
    // Strings and lists only: writing them as JSON cannot fail.
    Ok(serde_json::to_string(&line).unwrap_or_default())
}
