//! `riskstream bench`: what this machine makes of it, beside the least that any such service must cost.
//!
//! Contract: whoever is measured is a process of its own, so that its CPU and memory are told apart from those of the
//! clients that produce and watch; service and copy loop read the same records in the same run, one after the other, and
//! ratios are those of one run. Topics have names of their own and are deleted, and no child is left behind, also after
//! an error or ctrl-c. Nothing in the service knows that it is measured.
//!
//! | file | owns |
//! |---|---|
//! | [`stages`] | the steps of the hot path, in this process, without Kafka |
//! | [`backlog`] | throughput, CPU and memory while a backlog is worked off |
//! | [`latency`], [`traffic`] | how long an alert takes at a rate |
//! | [`cold`] | entities that nobody asked about before |
//! | [`growth`] | what more entities, partitions, lanes and bytes cost |
//! | [`hanging`] | alerts about cached entities while a vendor hangs |
//! | [`stand`], [`recipe`] | what all of these share: the cluster, the children, and their configuration |
//! | [`kafka`] | topics, and records in them |
//! | [`child`] | a process that is measured, from outside |
//! | [`inside`], [`copy_loop`] | the same from inside: the hidden command `bench-child` |
//! | [`report`], [`progress`] | results, and what it is doing meanwhile |
//! | [`figures`] | medians, ratios, percentiles (pure) |

mod backlog;
mod child;
mod cold;
mod copy_loop;
mod figures;
mod growth;
mod hanging;
mod inside;
mod kafka;
mod latency;
mod progress;
mod recipe;
mod report;
mod stages;
mod stand;
mod traffic;

use clap::{Args, ValueEnum};

use super::output::note;
use super::{End, for_people};
use crate::simulator::sample;
use crate::supervisor::Stop;
pub use inside::{ChildArguments, run as run_child};
use report::Report;
use stand::Stand;

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// A Kafka cluster that is reached in the clear; topics are created there, and deleted.
    #[arg(long, value_name = "HOST:PORT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    brokers: Option<String>,
    /// What to measure, with commas; without it stages, and with --brokers also backlog, latency and cold.
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Which promise of delivery to measure.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Promise::Both)]
    delivery: Promise,
    /// Alerts of 1 KB in a backlog.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    alerts: u64,
    /// Entities that they are about, all of them cached.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=sample::ENTITIES as u64 / 2))]
    entities: u64,
    /// Runs; what counts is their median.
    #[arg(long, value_name = "R", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Lanes of the service, and threads of the copy loop.
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Partitions of every topic.
    #[arg(long, value_name = "P", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    partitions: u16,
    /// How long each measurement of latency takes, in seconds, beside a warm-up.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Alerts a second at which latency is measured, with commas, instead of 10, 50 and 90 % of what was reached.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rates: Vec<u64>,
    /// Gives the copy loop what the service mends of librdkafka, too; without it, it has librdkafka as it is distributed.
    #[arg(long)]
    mended: bool,
    /// JSON lines, also on a terminal.
    #[arg(long)]
    json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The steps of the hot path on one thread, without Kafka
    Stages,
    /// A backlog worked off, beside a bare copy loop
    Backlog,
    /// From producer to consumer at 10, 50 and 90 % of the throughput that was reached, or at --rates
    Latency,
    /// 20,000 entities that nobody knows yet, at a vendor that takes 50 ms
    Cold,
    /// More entities, partitions, lanes, bytes
    Growth,
    /// Cached entities while a vendor hangs for others
    Hanging,
}

/// What is measured of the two promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Promise {
    /// At least once
    AtLeastOnce,
    /// Exactly once: transactions
    ExactlyOnce,
    /// Both
    Both,
}

/// What is to be measured, in the order in which that is done.
fn parts(only: &[Part], is_there_a_broker: bool) -> Result<Vec<Part>, String> {
    let default: &[Part] = match (only, is_there_a_broker) {
        ([], false) => &[Part::Stages],
        ([], true) => &[Part::Stages, Part::Backlog, Part::Latency, Part::Cold],
        _ => only,
    };
    let parts: Vec<Part> =
        Part::value_variants().iter().copied().filter(|part| default.contains(part)).collect();
    match parts.iter().find(|part| **part != Part::Stages) {
        Some(part) if !is_there_a_broker => {
            let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            Err(format!("--only {name} needs a Kafka cluster: name one with --brokers HOST:PORT"))
        }
        _ => Ok(parts),
    }
}

/// Measures.
pub fn run(arguments: &Arguments) -> Result<(), End> {
    let parts = parts(&arguments.only, arguments.brokers.is_some()).map_err(End::Usage)?;
    let report = Report::new(for_people(arguments.json));
    let stop = Stop::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(stand::end_at_signals(stop.clone()))?;
    let measured = measure(arguments, &parts, &report, &runtime, &stop);
    if stop.requested() {
        note("interrupted: what was started is ended, and its topics are deleted");
        return Err(End::Quiet);
    }
    Ok(measured?)
}

fn measure(
    arguments: &Arguments,
    parts: &[Part],
    report: &Report,
    runtime: &tokio::runtime::Runtime,
    stop: &Stop,
) -> anyhow::Result<()> {
    if parts.contains(&Part::Stages) {
        stages::run(report, stop)?;
    }
    let Some(brokers) = &arguments.brokers else {
        report.remark("end to end, beside a bare copy loop: riskstream bench --brokers HOST:PORT")?;
        return Ok(());
    };
    let needs_more = parts.iter().any(|part| *part != Part::Stages);
    if !needs_more {
        return Ok(());
    }
    let stand = Stand::new(brokers, arguments, report, runtime, stop)?;
    let mut reached = Vec::new();
    for part in parts {
        match part {
            Part::Stages => {}
            Part::Backlog => reached = backlog::run(&stand)?,
            Part::Latency => latency::run(&stand, &reached)?,
            Part::Cold => cold::run(&stand)?,
            Part::Growth => growth::run(&stand)?,
            Part::Hanging => hanging::run(&stand)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_broker_is_refused_without_one_with_the_cure() {
        assert_eq!(parts(&[], false), Ok(vec![Part::Stages]));
        let refused = parts(&[Part::Stages, Part::Cold], false);
        assert!(refused.is_err_and(|error| error.contains("--only cold") && error.contains("--brokers")));
    }

    #[test]
    fn parts_are_measured_once_and_in_their_order_since_later_ones_use_what_earlier_ones_reached() {
        assert_eq!(parts(&[], true), Ok(vec![Part::Stages, Part::Backlog, Part::Latency, Part::Cold]));
        let chosen = [Part::Latency, Part::Backlog, Part::Latency];
        assert_eq!(parts(&chosen, true), Ok(vec![Part::Backlog, Part::Latency]));
    }
}
