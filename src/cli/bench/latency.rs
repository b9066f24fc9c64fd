//! How long an alert takes from the producer to a consumer of the output, at shares of what the service reached, or at rates
//! of the user's.
//!
//! Contract: service and copy loop get the same rate, one after the other; what the service adds is the difference.
//! Each promise has its own rates, by what it reached itself. The producer and the consumer are in this process, and take
//! processors where those are few: what a copy loop shows is what the machine and they cost.

use serde_json::json;

use super::backlog::{self, Reached};
use super::figures::grouped;
use super::recipe::{Recipe, Who};
use super::report::{Column, number, rounded, text};
use super::stand::Stand;
use super::traffic::{self, Seen, Shown, Traffic};

/// Shares of what was reached, in percent.
const LOADS: [u64; 3] = [10, 50, 90];

const COLUMNS: [Column; 11] = [
    text("who", "", 14),
    number("load_percent", "load %", 6, 0),
    number("rate", "alerts/s", 10, 0),
    number("p50_ms", "p50 ms", 9, 1),
    number("p99_ms", "p99 ms", 9, 1),
    number("p999_ms", "p99.9 ms", 9, 1),
    number("worst_ms", "worst ms", 9, 1),
    number("counted", "counted", 10, 0),
    number("missing", "missing", 8, 0),
    number("producer_late_ms", "late ms", 8, 1),
    number("cpu_seconds_a_million", "CPU s/million", 13, 2),
];

/// Runs all of them; `reached` is what the backlog showed, if there was one.
pub fn run(stand: &Stand<'_>, reached: &Reached) -> anyhow::Result<()> {
    let rates = &stand.arguments.rates;
    let what = if rates.is_empty() { ", at shares of the throughput that was reached" } else { "" };
    let title = format!(
        "latency: from the producer to a consumer, {} s each{what} (late: the producer itself, at worst)",
        stand.arguments.seconds
    );
    stand.report.part("latency", &title, &COLUMNS)?;
    for who in stand.promises() {
        for load in loads(stand, reached, who)? {
            let copy = measure(stand, Who::CopyLoop, load)?;
            let service = measure(stand, who, load)?;
            added(stand, who, load, &copy, &service)?;
        }
    }
    Ok(())
}

/// How much is sent.
#[derive(Clone, Copy)]
struct Sent {
    /// Alerts a second.
    rate: u64,
    /// What share of the throughput that is, where it was chosen as one.
    percent: Option<u64>,
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} alerts/s", grouped(self.rate))?;
        self.percent.map_or(Ok(()), |percent| write!(f, " ({percent} %)"))
    }
}

fn loads(stand: &Stand<'_>, reached: &Reached, who: Who) -> anyhow::Result<Vec<Sent>> {
    let rates = &stand.arguments.rates;
    if !rates.is_empty() {
        return Ok(rates.iter().map(|rate| Sent { rate: *rate, percent: None }).collect());
    }
    let most = match reached.iter().find(|(one, _)| *one == who) {
        Some((_, rate)) => *rate,
        None => backlog::glance(stand, who)?,
    };
    let share = |percent: u64| Sent { rate: (most as u64 * percent / 100).max(1), percent: Some(percent) };
    Ok(LOADS.map(share).into())
}

fn measure(stand: &Stand<'_>, who: Who, load: Sent) -> anyhow::Result<Seen> {
    stand.report.progress.step(&format!("latency of {} at {load}", who.name()));
    let arguments = stand.arguments;
    let entities = arguments.entities as usize;
    let (input, output) = (stand.name("in"), stand.name("out"));
    let recipe = Recipe::new(who, &input, &output, usize::from(arguments.threads));
    let recipe = Recipe { prefill: entities, ..recipe };
    let _input = stand.cluster.create(&[(&input, stand.partitions())])?;
    let _outputs = stand.outputs(&recipe, stand.partitions())?;
    let (mut child, _) = stand.start(&recipe)?;
    let alert = |number: u64| (0, number as usize % entities);
    let traffic = Traffic { input: &input, output: &output, rate: load.rate, alert: &alert };
    let Shown { mut sorts, cpu_seconds_a_million, late_ms } = traffic::run(stand, &mut child, &traffic, 1)?;
    let seen = sorts.pop().unwrap_or_default();
    stand.report.row([
        who.name().into(),
        load.percent.map(|percent| percent as f64).into(),
        load.rate.into(),
        seen.ms(0.5).into(),
        seen.ms(0.99).into(),
        seen.ms(0.999).into(),
        seen.ms(1.0).into(),
        seen.count().into(),
        seen.missing.into(),
        late_ms.into(),
        cpu_seconds_a_million.into(),
    ])?;
    Ok(seen)
}

/// What the service adds to what copying takes.
fn added(stand: &Stand<'_>, who: Who, load: Sent, copy: &Seen, service: &Seen) -> std::io::Result<()> {
    let added = |share| Some(service.ms(share)? - copy.ms(share)?);
    let (p50, p99) = (added(0.5), added(0.99));
    let sentence = format!(
        "{} adds at {load}: p50 {:+.1} ms, p99 {:+.1} ms",
        who.name(),
        p50.unwrap_or(f64::NAN),
        p99.unwrap_or(f64::NAN)
    );
    let added = json!({
        "who": who.name(), "load_percent": load.percent, "rate": load.rate, "p50_ms": rounded(p50, 2), "p99_ms": rounded(p99, 2),
    });
    stand.report.verdict(&sentence, json!({"added": added}))
}
