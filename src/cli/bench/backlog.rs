//! Throughput, CPU and memory while a backlog is worked off, beside a bare copy loop.
//!
//! Contract: all read the same backlog, in groups of their own, one after the other; the next run goes the other way round,
//! so that nobody is always the first one. What is measured is from the first tenth of the output to its end, when
//! connections are open. Answers are in the cache from the start. What counts as output is what the broker has
//! acknowledged (and, exactly once, what is committed), not what stands in the topic beside alerts.

use std::time::{Duration, Instant};

use serde_json::json;

use super::child::Sample;
use super::figures::{median, per, ratios};
use super::recipe::{Recipe, Who};
use super::report::{Column, number, rounded, text};
use super::stand::{Load, Stand};

/// Between two questions to who is measured: an answer costs it some microseconds.
const LOOK: Duration = Duration::from_millis(5);

/// Bytes of an alert.
pub const BYTES: usize = 1_000;

/// What a run showed.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Alerts that came out.
    pub alerts: u64,
    /// Each second, after the first tenth.
    pub alerts_a_second: f64,
    /// User and system time, for as many alerts.
    pub cpu_seconds_a_million: f64,
    /// The most that was ever resident.
    pub peak_mib: f64,
    /// From the start of the process to ready.
    pub ready_ms: Option<f64>,
    /// Share of alerts whose every entity was answered.
    pub complete: Option<f64>,
}

/// Who reached how many alerts a second.
pub type Reached = Vec<(Who, f64)>;

const COLUMNS: [Column; 8] = [
    text("who", "", 14),
    text("run", "run", 6),
    number("alerts", "alerts", 11, 0),
    number("alerts_a_second", "alerts/s", 10, 0),
    number("cpu_seconds_a_million", "CPU s/million", 13, 2),
    number("peak_mib", "peak MiB", 8, 0),
    number("ready_ms", "ready ms", 8, 0),
    number("complete", "complete", 8, 2),
];

/// Runs all of them; what each reached.
pub fn run(stand: &Stand<'_>) -> anyhow::Result<Reached> {
    let arguments = stand.arguments;
    let load = load(stand);
    let title = format!(
        "backlog: {} alerts of 1 KB about {} cached entities, {} partitions, {} lane(s)",
        arguments.alerts, arguments.entities, arguments.partitions, arguments.threads
    );
    stand.report.part("backlog", &title, &COLUMNS)?;
    let (input, _topics) = stand.backlog(&load)?;
    let all: Vec<Who> = [Who::CopyLoop].into_iter().chain(stand.promises()).collect();
    let mut runs: Vec<Vec<Run>> = all.iter().map(|_| Vec::new()).collect();
    for number in 1..=arguments.runs {
        let mut order: Vec<(Who, &mut Vec<Run>)> = all.iter().copied().zip(&mut runs).collect();
        if number.is_multiple_of(2) {
            order.reverse();
        }
        for (who, runs) in order {
            stand.report.progress.step(&format!("run {number} of {}: {}", arguments.runs, who.name()));
            let recipe = recipe(stand, who, &input);
            let run = work_off(stand, &recipe, &load)?;
            row(stand, who, &number.to_string(), &run)?;
            runs.push(run);
        }
    }
    let all: Vec<(Who, Vec<Run>)> = all.into_iter().zip(runs).collect();
    verdict(stand, &all)
}

/// What the service reaches in one run, for who needs to know no more.
pub fn glance(stand: &Stand<'_>, who: Who) -> anyhow::Result<f64> {
    let load = Load { alerts: stand.arguments.alerts.min(300_000), ..load(stand) };
    let (input, _topics) = stand.backlog(&load)?;
    stand.report.progress.step(&format!("what {} reaches", who.name()));
    Ok(work_off(stand, &recipe(stand, who, &input), &load)?.alerts_a_second)
}

fn load(stand: &Stand<'_>) -> Load {
    Load {
        alerts: stand.arguments.alerts,
        entities: stand.arguments.entities as usize,
        bytes: BYTES,
        partitions: stand.partitions(),
    }
}

fn recipe(stand: &Stand<'_>, who: Who, input: &str) -> Recipe {
    let threads = usize::from(stand.arguments.threads);
    let recipe = Recipe::new(who, input, &stand.name("out"), threads);
    Recipe { prefill: stand.arguments.entities as usize, ..recipe }
}

/// Lets one of them work off the backlog in its input.
pub fn work_off(stand: &Stand<'_>, recipe: &Recipe, load: &Load) -> anyhow::Result<Run> {
    let _topics = stand.outputs(recipe, load.partitions)?;
    let (mut child, ready_ms) = stand.start(recipe)?;
    let mut mark = |count: u64| -> anyhow::Result<(u64, Instant, Sample)> {
        let done = stand.reach(&mut child, count, LOOK)?;
        Ok((done, Instant::now(), child.sample()?))
    };
    let first = mark(load.alerts / 10)?;
    let last = mark(load.alerts)?;
    let counted = (last.0 - first.0) as f64;
    let complete = match recipe.who {
        Who::CopyLoop => None,
        _ => {
            let complete = child.metric("riskstream_alerts_by_status_total{status=\"complete\"}")?;
            Some(complete / load.alerts as f64)
        }
    };
    drop(child);
    Ok(Run {
        alerts: last.0,
        alerts_a_second: per(counted, (last.1 - first.1).as_secs_f64()).unwrap_or(f64::NAN),
        cpu_seconds_a_million: per((last.2.cpu - first.2.cpu) * 1e6, counted).unwrap_or(f64::NAN),
        peak_mib: last.2.peak_mib,
        ready_ms,
        complete,
    })
}

fn row(stand: &Stand<'_>, who: Who, number: &str, run: &Run) -> std::io::Result<()> {
    stand.report.row([
        who.name().into(),
        number.into(),
        run.alerts.into(),
        run.alerts_a_second.into(),
        run.cpu_seconds_a_million.into(),
        run.peak_mib.into(),
        run.ready_ms.into(),
        run.complete.into(),
    ])
}

/// Medians, and how the ones compare with the others run by run.
fn verdict(stand: &Stand<'_>, all: &[(Who, Vec<Run>)]) -> anyhow::Result<Reached> {
    let mut reached = Reached::new();
    for (who, runs) in all {
        let of = |value: fn(&Run) -> Option<f64>| median(runs.iter().filter_map(value));
        let alerts_a_second = of(|run| Some(run.alerts_a_second));
        stand.report.row([
            who.name().into(),
            "median".into(),
            of(|run| Some(run.alerts as f64)).into(),
            alerts_a_second.into(),
            of(|run| Some(run.cpu_seconds_a_million)).into(),
            of(|run| Some(run.peak_mib)).into(),
            of(|run| run.ready_ms).into(),
            of(|run| run.complete).into(),
        ])?;
        reached.extend(alerts_a_second.map(|rate| (*who, rate)));
    }
    let runs = |who: Who| all.iter().find(|(one, _)| *one == who).map(|(_, runs)| runs.as_slice());
    for (of, to) in [
        (Who::AtLeastOnce, Who::CopyLoop),
        (Who::ExactlyOnce, Who::CopyLoop),
        (Who::ExactlyOnce, Who::AtLeastOnce),
    ] {
        let (Some(one), Some(other)) = (runs(of), runs(to)) else { continue };
        let each = |value: fn(&Run) -> f64| {
            let values = |runs: &[Run]| runs.iter().map(value).collect::<Vec<f64>>();
            ratios(&values(one), &values(other))
        };
        let (cpu, speed) = (each(|run| run.cpu_seconds_a_million), each(|run| run.alerts_a_second));
        let (middle, faster) = (median(cpu.clone()), median(speed.clone()));
        let list: Vec<String> = cpu.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let sentence = format!(
            "{} : {}   CPU {:.2} (runs: {}), alerts/s {:.2}",
            of.name(),
            to.name(),
            middle.unwrap_or(f64::NAN),
            list.join(", "),
            faster.unwrap_or(f64::NAN)
        );
        let runs: Vec<_> = cpu.iter().map(|ratio| rounded(Some(*ratio), 3)).collect();
        let ratio = json!({
            "of": of.name(), "to": to.name(), "cpu": rounded(middle, 3), "cpu_by_run": runs,
            "alerts_a_second": rounded(faster, 3),
        });
        stand.report.verdict(&sentence, json!({"ratio": ratio}))?;
    }
    Ok(reached)
}
