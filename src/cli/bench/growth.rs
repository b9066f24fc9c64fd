//! What more entities, partitions, lanes and bytes cost: CPU for an alert, against the least of each in the same run.
//!
//! Contract: one thing is changed at a time; each variant works off a backlog of its own, with every answer in the cache
//! from the start, put there by the child itself. Variants take turns, and ratios are those of one run. What does not
//! fit into memory is left out, and said to be.

use std::fs;

use serde_json::json;

use super::backlog::{BYTES, Run, work_off};
use super::figures::{grouped, median, ratios};
use super::kafka::Topics;
use super::recipe::{Recipe, Who};
use super::report::{Column, number, rounded, text};
use super::stand::{Load, Stand};
use crate::simulator::sample;

/// Entities, all of them cached. The second one is what the others are held against.
const ENTITIES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, sample::ENTITIES];
/// Partitions of a topic; the second one, again.
const PARTITIONS: [i32; 4] = [1, 12, 100, 500];
/// Bytes of an alert; the first one.
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Bytes that a cached answer of the sample takes of a process, and room to spare.
const ANSWER: usize = 1_000;
/// Alerts of the largest size, at least.
const FEW: u64 = 500;

const COLUMNS: [Column; 9] = [
    text("what", "what", 11),
    number("value", "value", 11, 0),
    text("run", "run", 6),
    number("alerts", "alerts", 11, 0),
    number("alerts_a_second", "alerts/s", 10, 0),
    number("cpu_seconds_a_million", "CPU s/million", 13, 2),
    number("cpu_us_a_kilobyte", "CPU us/KB", 9, 2),
    number("peak_mib", "peak MiB", 8, 0),
    number("cpu_ratio", "CPU ratio", 9, 2),
];

/// One thing that is changed.
struct Dimension {
    name: &'static str,
    /// Which of the variants the others are held against.
    base: usize,
    variants: Vec<Variant>,
}

/// And to what.
struct Variant {
    value: u64,
    load: Load,
    threads: usize,
    /// Alerts and outputs larger than the defaults allow.
    is_large: bool,
}

/// Runs all of them.
pub fn run(stand: &Stand<'_>) -> anyhow::Result<()> {
    let title = "growth: CPU of the service, at least once, all answers cached (ratio: to the base, by run)";
    stand.report.part("growth", title, &COLUMNS)?;
    let common = Load {
        alerts: stand.arguments.alerts,
        entities: stand.arguments.entities as usize,
        bytes: BYTES,
        partitions: stand.partitions(),
    };
    let threads = usize::from(stand.arguments.threads);
    for dimension in [
        entities(stand, common, threads)?,
        partitions(common, threads),
        lanes(common),
        sizes(common, threads),
    ] {
        measure(stand, &dimension)?;
    }
    Ok(())
}

fn entities(stand: &Stand<'_>, common: Load, threads: usize) -> anyhow::Result<Dimension> {
    // The broker and its page cache want the rest.
    let room = available().map_or(usize::MAX, |bytes| bytes / 10 * 7 / ANSWER);
    let (fit, left_out): (Vec<usize>, Vec<usize>) = ENTITIES.into_iter().partition(|count| *count <= room);
    for count in left_out {
        stand.report.remark(&format!(
            "left out: {} entities, for which this machine has too little memory",
            grouped(count as u64)
        ))?;
    }
    let variant = |count: usize| Variant {
        value: count as u64,
        load: Load { entities: count, ..common },
        threads,
        is_large: false,
    };
    Ok(Dimension { name: "entities", base: 1, variants: fit.into_iter().map(variant).collect() })
}

fn partitions(common: Load, threads: usize) -> Dimension {
    let variant = |count: i32| Variant {
        value: u64::from(count.unsigned_abs()),
        load: Load { partitions: count, ..common },
        threads,
        is_large: false,
    };
    Dimension { name: "partitions", base: 1, variants: PARTITIONS.map(variant).into() }
}

fn lanes(common: Load) -> Dimension {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let variant =
        |count: usize| Variant { value: count as u64, load: common, threads: count, is_large: false };
    Dimension { name: "lanes", base: 0, variants: (1..=cores).map(variant).collect() }
}

fn sizes(common: Load, threads: usize) -> Dimension {
    // As many bytes of each, as far as that is enough alerts.
    let variant = |bytes: usize| Variant {
        value: bytes as u64,
        load: Load { bytes, alerts: (common.alerts * BYTES as u64 / bytes as u64).max(FEW), ..common },
        threads,
        is_large: true,
    };
    Dimension { name: "bytes", base: 0, variants: SIZES.map(variant).into() }
}

/// The service for alerts of any size here: by default an output of a megabyte would leave without its scores.
pub fn sized(input: &str, output: &str) -> Recipe {
    Recipe {
        pipeline: ", max_alert_bytes: 2MiB",
        published: ", max_bytes: 2MiB",
        ..Recipe::new(Who::AtLeastOnce, input, output, 1)
    }
}

fn measure(stand: &Stand<'_>, dimension: &Dimension) -> anyhow::Result<()> {
    let mut backlogs: Vec<(String, Topics<'_>)> = Vec::new();
    for variant in &dimension.variants {
        backlogs.push(stand.backlog(&variant.load)?);
    }
    let mut runs: Vec<Vec<Run>> = dimension.variants.iter().map(|_| Vec::new()).collect();
    for number in 1..=stand.arguments.runs {
        for ((variant, (input, _)), runs) in dimension.variants.iter().zip(&backlogs).zip(&mut runs) {
            let step = format!(
                "growth, run {number} of {}: {} {}",
                stand.arguments.runs,
                grouped(variant.value),
                dimension.name
            );
            stand.report.progress.step(&step);
            let output = stand.name("out");
            let plain = if variant.is_large {
                sized(input, &output)
            } else {
                Recipe::new(Who::AtLeastOnce, input, &output, 1)
            };
            let recipe = Recipe { threads: variant.threads, prefill: variant.load.entities, ..plain };
            let run = work_off(stand, &recipe, &variant.load)?;
            row(stand, dimension.name, variant, &number.to_string(), &run, None)?;
            runs.push(run);
        }
    }
    let cpu = |runs: &Vec<Run>| runs.iter().map(|run| run.cpu_seconds_a_million).collect::<Vec<f64>>();
    let base = runs.get(dimension.base).map(cpu).unwrap_or_default();
    let mut verdicts = Vec::new();
    for (variant, runs) in dimension.variants.iter().zip(&runs) {
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(value)).unwrap_or(f64::NAN);
        let middle = Run {
            alerts: variant.load.alerts,
            alerts_a_second: of(|run| run.alerts_a_second),
            cpu_seconds_a_million: of(|run| run.cpu_seconds_a_million),
            peak_mib: of(|run| run.peak_mib),
            ready_ms: None,
            complete: None,
        };
        let ratio = median(ratios(&cpu(runs), &base));
        row(stand, dimension.name, variant, "median", &middle, ratio)?;
        verdicts.push(json!({"value": variant.value, "cpu": rounded(ratio, 3)}));
    }
    let to = dimension.variants.get(dimension.base).map(|variant| variant.value);
    let sentence = format!("CPU ratios of {} are to {}", dimension.name, to.map(grouped).unwrap_or_default());
    stand
        .report
        .verdict(&sentence, json!({"growth": {"what": dimension.name, "to": to, "ratios": verdicts}}))?;
    Ok(())
}

fn row(
    stand: &Stand<'_>,
    name: &str,
    variant: &Variant,
    number: &str,
    run: &Run,
    ratio: Option<f64>,
) -> std::io::Result<()> {
    let kilobytes = variant.load.bytes as f64 / 1000.0;
    stand.report.row([
        name.into(),
        variant.value.into(),
        number.into(),
        run.alerts.into(),
        run.alerts_a_second.into(),
        run.cpu_seconds_a_million.into(),
        (run.cpu_seconds_a_million / kilobytes).into(),
        run.peak_mib.into(),
        ratio.into(),
    ])
}

/// Bytes that processes can still have.
fn available() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}
