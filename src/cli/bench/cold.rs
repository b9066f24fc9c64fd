//! Entities that nobody asked about before: how close look-ups come to what the vendor's own time allows.
//!
//! Contract: every alert is about another entity, none of them cached; the vendor is simulated, in a process of its own,
//! over plain HTTP/1.1, and has no quota; connections are open, from alerts about others. The limit is the number of
//! entities by those in flight by the vendor's time, and nobody can be faster. CPU of service and vendor is told apart, as
//! they share the machine.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::backlog::BYTES;
use super::figures::median;
use super::kafka::{flush, send};
use super::recipe::{Recipe, Who};
use super::report::{Column, number, text};
use super::stand::Stand;
use crate::simulator::sample::{ENTITIES, Finding};

/// Entities that are asked about.
const COLD: usize = 20_000;
/// Others, to open connections with.
const WARM: usize = 4_096;
/// Requests under way at once.
const IN_FLIGHT: usize = 512;
/// What the vendor takes for each.
const LATENCY_MS: u64 = 50;
/// Between two questions to the service: what the result may be off by.
const LOOK: Duration = Duration::from_millis(2);

const COLUMNS: [Column; 9] = [
    text("who", "", 14),
    text("run", "run", 6),
    number("entities", "entities", 9, 0),
    number("seconds", "seconds", 8, 3),
    number("limit_seconds", "limit", 6, 2),
    number("times_limit", "times", 6, 2),
    number("complete", "complete", 8, 2),
    number("service_cpu_seconds", "CPU s service", 13, 2),
    number("vendor_cpu_seconds", "CPU s vendor", 12, 2),
];

/// The service as it is measured here. An alert waits as long as it takes: one that left without its answer would make
/// the service look faster.
pub fn recipe(input: &str, output: &str, vendor: SocketAddr, threads: usize) -> Recipe {
    Recipe {
        vendor: Some(vendor),
        pipeline: ", deadline: 30s, drain: 30s, shutdown: 40s",
        provider: ", concurrency: 512, queue: 100000, max_wait: 30s, timeout: 10s",
        ..Recipe::new(Who::AtLeastOnce, input, output, threads)
    }
}

/// What one run showed.
struct Run {
    seconds: f64,
    complete: f64,
    service_cpu: f64,
    vendor_cpu: f64,
}

/// Runs it as often as was asked for.
pub fn run(stand: &Stand<'_>) -> anyhow::Result<()> {
    let limit = COLD as f64 / IN_FLIGHT as f64 * LATENCY_MS as f64 / 1000.0;
    let title = format!(
        "cold: {COLD} entities that nobody asked about, a vendor that takes {LATENCY_MS} ms, {IN_FLIGHT} requests at once"
    );
    stand.report.part("cold", &title, &COLUMNS)?;
    let mut runs = Vec::new();
    for number in 1..=stand.arguments.runs {
        stand.report.progress.step(&format!("cold: run {number} of {}", stand.arguments.runs));
        let run = measure(stand)?;
        row(stand, &number.to_string(), &run, limit)?;
        runs.push(run);
    }
    let of = |value: fn(&Run) -> f64| median(runs.iter().map(value)).unwrap_or(f64::NAN);
    let middle = Run {
        seconds: of(|run| run.seconds),
        complete: of(|run| run.complete),
        service_cpu: of(|run| run.service_cpu),
        vendor_cpu: of(|run| run.vendor_cpu),
    };
    row(stand, "median", &middle, limit)?;
    Ok(())
}

fn row(stand: &Stand<'_>, number: &str, run: &Run, limit: f64) -> std::io::Result<()> {
    stand.report.row([
        Who::AtLeastOnce.name().into(),
        number.into(),
        (COLD as u64).into(),
        run.seconds.into(),
        limit.into(),
        (run.seconds / limit).into(),
        run.complete.into(),
        run.service_cpu.into(),
        run.vendor_cpu.into(),
    ])
}

fn measure(stand: &Stand<'_>) -> anyhow::Result<Run> {
    let vendor = stand.vendors(LATENCY_MS)?;
    let (input, output) = (stand.name("in"), stand.name("out"));
    let address = vendor.address.context("the simulated vendors did not say where they are: a bug")?;
    let recipe = recipe(&input, &output, address, usize::from(stand.arguments.threads));
    let _input = stand.cluster.create(&[(&input, stand.partitions())])?;
    let _outputs = stand.outputs(&recipe, stand.partitions())?;
    let (mut child, _) = stand.start(&recipe)?;
    let producer = stand.cluster.producer(1)?;
    let mut finding = Finding::new(1, BYTES);
    let partitions = stand.partitions().unsigned_abs().max(1) as usize;
    let mut produce = |entities: std::ops::Range<usize>| -> anyhow::Result<()> {
        for entity in entities {
            let partition = (entity % partitions) as i32;
            send(&producer, &input, partition, &entity.to_be_bytes(), finding.about(|_| entity))?;
        }
        flush(&producer)
    };
    produce(ENTITIES - WARM..ENTITIES)?;
    stand.reach(&mut child, WARM as u64, Duration::from_millis(20))?;

    let before = (child.sample()?.cpu, vendor.sample()?.cpu);
    let (seconds, done) = std::thread::scope(|scope| {
        // The first one comes out while others are still on their way in.
        let produced = scope.spawn(|| produce(0..COLD));
        stand.reach(&mut child, WARM as u64 + 1, LOOK)?;
        let first = Instant::now();
        let done = stand.reach(&mut child, (WARM + COLD) as u64, LOOK)?;
        let seconds = first.elapsed().as_secs_f64();
        produced.join().map_err(|_| anyhow!("the producer ended: a bug"))??;
        Ok::<_, anyhow::Error>((seconds, done))
    })?;
    let after = (child.sample()?.cpu, vendor.sample()?.cpu);
    let complete = child.metric("riskstream_alerts_by_status_total{status=\"complete\"}")?;
    asked(&vendor.call("GET", "/_simulator/calls", "")?.1, done)?;
    Ok(Run {
        seconds,
        complete: (complete - WARM as f64) / COLD as f64,
        service_cpu: after.0 - before.0,
        vendor_cpu: after.1 - before.1,
    })
}

/// Each entity must have been asked about, or something else was measured.
fn asked(calls: &str, alerts: u64) -> anyhow::Result<()> {
    let calls: Value = serde_json::from_str(calls).context("the simulated vendors' counts: a bug")?;
    let total = calls.pointer("/datadog/total").and_then(Value::as_u64).unwrap_or(0);
    if total < alerts {
        bail!("the vendor was asked {total} times for {alerts} alerts: a bug")
    } else {
        Ok(())
    }
}
