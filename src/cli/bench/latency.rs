//! How long an alert takes from the producer to a consumer of the output, at shares of what the service reached.
//!
//! Contract: service and copy loop get the same rate, one after the other; what the service adds is the difference.
//! Each promise has its own rates, by what it reached itself. The producer and the consumer are in this process, and take
//! processors where those are few: what a copy loop shows is what the machine and they cost.

use serde_json::json;

use super::backlog::{self, Reached};
use super::recipe::{Recipe, Who};
use super::report::{Column, number, rounded, text};
use super::stand::Stand;
use super::traffic::{self, Seen, Shown, Traffic};

/// Shares of what was reached.
const LOADS: [f64; 3] = [0.1, 0.5, 0.9];

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
    let title = format!(
        "latency: from the producer to a consumer, {} s each, at shares of the throughput that was reached (late: the \
         producer itself, at worst)",
        stand.arguments.seconds
    );
    stand.report.part("latency", &title, &COLUMNS)?;
    for who in stand.promises() {
        let known = reached.iter().find(|(one, _)| *one == who).map(|(_, rate)| *rate);
        let most = match known {
            Some(rate) => rate,
            None => backlog::glance(stand, who)?,
        };
        for load in LOADS {
            let rate = ((most * load) as u64).max(1);
            let copy = measure(stand, Who::CopyLoop, load, rate)?;
            let service = measure(stand, who, load, rate)?;
            added(stand, who, load, &copy, &service)?;
        }
    }
    Ok(())
}

fn measure(stand: &Stand<'_>, who: Who, load: f64, rate: u64) -> anyhow::Result<Seen> {
    let percent = load * 100.0;
    stand.report.progress.step(&format!("latency of {} at {percent:.0} %: {rate} alerts/s", who.name()));
    let arguments = stand.arguments;
    let entities = arguments.entities as usize;
    let (input, output) = (stand.name("in"), stand.name("out"));
    let recipe = Recipe::new(who, &input, &output, usize::from(arguments.threads));
    let recipe = Recipe { prefill: entities, ..recipe };
    let _input = stand.cluster.create(&[(&input, stand.partitions())])?;
    let _outputs = stand.outputs(&recipe, stand.partitions())?;
    let (mut child, _) = stand.start(&recipe)?;
    let alert = |number: u64| (0, number as usize % entities);
    let traffic = Traffic { input: &input, output: &output, rate, alert: &alert };
    let Shown { mut sorts, cpu_seconds_a_million, late_ms } = traffic::run(stand, &mut child, &traffic, 1)?;
    let seen = sorts.pop().unwrap_or_default();
    stand.report.row([
        who.name().into(),
        percent.into(),
        rate.into(),
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
fn added(stand: &Stand<'_>, who: Who, load: f64, copy: &Seen, service: &Seen) -> std::io::Result<()> {
    let added = |share| Some(service.ms(share)? - copy.ms(share)?);
    let (p50, p99) = (added(0.5), added(0.99));
    let percent = load * 100.0;
    let sentence = format!(
        "{} adds at {percent:.0} %: p50 {:+.1} ms, p99 {:+.1} ms",
        who.name(),
        p50.unwrap_or(f64::NAN),
        p99.unwrap_or(f64::NAN)
    );
    let added = json!({
        "who": who.name(), "load_percent": percent.round() as i64, "p50_ms": rounded(p50, 2), "p99_ms": rounded(p99, 2),
    });
    stand.report.verdict(&sentence, json!({"added": added}))
}
