//! Alerts about cached entities while the vendor hangs for all others, in the order of keys.
//!
//! Contract: one alert in ten is about an entity that nobody asked about before, and every question about one is never
//! answered. What counts is how long the other nine take: they have nothing to wait for. Time-outs, retries and the deadline
//! are the defaults. The breaker is kept from opening, since it would end within a second what is to be measured.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::json;

use super::recipe::{Recipe, Who};
use super::report::{Column, number, text};
use super::stand::Stand;
use super::traffic::{self, Seen, Traffic};
use crate::simulator::sample::ENTITIES;

/// Alerts a second.
const RATE: u64 = 500;
/// One alert in so many is about a new entity.
const NEW: u64 = 10;

const COLUMNS: [Column; 7] = [
    text("alerts", "alerts about", 16),
    number("p50_ms", "p50 ms", 9, 1),
    number("p99_ms", "p99 ms", 9, 1),
    number("p999_ms", "p99.9 ms", 9, 1),
    number("worst_ms", "worst ms", 9, 1),
    number("counted", "counted", 9, 0),
    number("missing", "missing", 8, 0),
];

/// The service as it is measured here.
pub fn recipe(input: &str, output: &str, vendor: SocketAddr, threads: usize) -> Recipe {
    Recipe {
        vendor: Some(vendor),
        pipeline: ", order: key",
        provider: ", breaker: {minimum: 100000}",
        ..Recipe::new(Who::AtLeastOnce, input, output, threads)
    }
}

/// Runs it.
pub fn run(stand: &Stand<'_>) -> anyhow::Result<()> {
    let title = format!(
        "hanging: {RATE} alerts/s, order: key, one in {NEW} about an entity for which the vendor hangs"
    );
    stand.report.part("hanging", &title, &COLUMNS)?;
    stand.report.progress.step("a vendor that hangs");
    let vendor = stand.vendors(0)?;
    let script = json!([{"at": "/datadog", "answer": "hang"}]).to_string();
    let (status, said) = vendor.call("PUT", "/_simulator/faults", &script)?;
    if status != 204 {
        bail!("the simulated vendors do not hang: {status} {said}: a bug");
    }
    let (input, output) = (stand.name("in"), stand.name("out"));
    let address = vendor.address.context("the simulated vendors did not say where they are: a bug")?;
    let cached = stand.arguments.entities as usize;
    let recipe =
        Recipe { prefill: cached, ..recipe(&input, &output, address, usize::from(stand.arguments.threads)) };
    let _input = stand.cluster.create(&[(&input, stand.partitions())])?;
    let _outputs = stand.outputs(&recipe, stand.partitions())?;
    let (mut child, _) = stand.start(&recipe)?;
    // In turn over all partitions, whatever their number: every tenth would always be in the same ones.
    let alert = |number: u64| match (number + number / NEW).is_multiple_of(NEW) {
        true => (1, ENTITIES - 1 - number as usize % (ENTITIES / 2)),
        false => (0, number as usize % cached),
    };
    let traffic = Traffic { input: &input, output: &output, rate: RATE, alert: &alert };
    let shown = traffic::run(stand, &mut child, &traffic, 2)?;
    for (about, seen) in ["cached entities", "new entities"].into_iter().zip(&shown.sorts) {
        row(stand, about, seen)?;
    }
    Ok(())
}

fn row(stand: &Stand<'_>, about: &str, seen: &Seen) -> std::io::Result<()> {
    stand.report.row([
        about.into(),
        seen.ms(0.5).into(),
        seen.ms(0.99).into(),
        seen.ms(0.999).into(),
        seen.ms(1.0).into(),
        seen.count().into(),
        seen.missing.into(),
    ])
}
