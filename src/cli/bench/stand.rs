//! What all parts share that need a cluster: where it is, what was asked for, topics and children with names of their
//! own, and the way to an early end.
//!
//! Contract: everything that it starts ends with its handle; whatever waits looks at the stop.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::child::Child;
use super::kafka::{Cluster, Topics, flush, send};
use super::recipe::{Recipe, Who};
use super::report::Report;
use super::{Arguments, Promise};
use crate::simulator::sample::Finding;
use crate::supervisor::Stop;

/// How long a child may take to be ready, beside what it takes to fill its cache.
const READY: Duration = Duration::from_secs(60);
/// And for every million of answers.
const FILL: Duration = Duration::from_secs(60);
/// Between two looks at a start that is measured.
const LOOK: Duration = Duration::from_millis(2);
/// How long nothing may come out before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// The stand on which children are measured.
pub struct Stand<'a> {
    /// The cluster.
    pub cluster: Cluster,
    /// What was asked for.
    pub arguments: &'a Arguments,
    /// Where results go.
    pub report: &'a Report,
    /// Somebody wants it to end.
    pub stop: &'a Stop,
    folder: Folder,
    number: std::cell::Cell<u32>,
}

/// The files of the children, which go with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Temporary files are the system's to remove, if need be.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl<'a> Stand<'a> {
    /// A stand at the cluster `brokers`, which must answer.
    ///
    /// # Errors
    /// It does not, or there is no place for files.
    pub fn new(
        brokers: &str,
        arguments: &'a Arguments,
        report: &'a Report,
        runtime: &tokio::runtime::Runtime,
        stop: &'a Stop,
    ) -> anyhow::Result<Stand<'a>> {
        report.progress.step("looking for the cluster");
        let cluster = Cluster::new(brokers, runtime.handle().clone())?;
        let folder = std::env::temp_dir().join(format!("riskstream-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot write to {}", folder.display()))?;
        let number = std::cell::Cell::new(0);
        Ok(Stand { cluster, arguments, report, stop, folder: Folder(folder), number })
    }

    /// Who keeps the promises that were chosen.
    pub fn promises(&self) -> Vec<Who> {
        match self.arguments.delivery {
            Promise::AtLeastOnce => vec![Who::AtLeastOnce],
            Promise::ExactlyOnce => vec![Who::ExactlyOnce],
            Promise::Both => vec![Who::AtLeastOnce, Who::ExactlyOnce],
        }
    }

    /// A name that no topic had before.
    pub fn name(&self, what: &str) -> String {
        self.number.set(self.number.get() + 1);
        format!("riskstream-bench-{}-{}-{what}", std::process::id(), self.number.get())
    }

    /// Partitions of a topic, unless they are what is measured.
    pub fn partitions(&self) -> i32 {
        i32::from(self.arguments.partitions)
    }

    /// Fails once somebody wants it to end.
    ///
    /// # Errors
    /// Just that.
    pub fn go_on(&self) -> anyhow::Result<()> {
        if self.stop.requested() { bail!("interrupted") } else { Ok(()) }
    }

    /// Waits a little, but not beyond the stop.
    ///
    /// # Errors
    /// As [`go_on`](Self::go_on).
    pub fn pause(&self, time: Duration) -> anyhow::Result<()> {
        self.stop.wait(time);
        self.go_on()
    }

    /// A topic with so many alerts, partitions in turn, each about one of `entities` in an order that no processor could
    /// guess.
    ///
    /// # Errors
    /// The cluster does not take them.
    pub fn backlog(&self, load: &Load) -> anyhow::Result<(String, Topics<'_>)> {
        let name = self.name("in");
        let topics = self.cluster.create(&[(&name, load.partitions)])?;
        self.report.progress.step(&format!("a backlog of {} alerts of {} bytes", load.alerts, load.bytes));
        let producer = self.cluster.producer(20)?;
        let mut finding = Finding::new(1, load.bytes);
        let stride = stride(load.entities);
        for number in 0..load.alerts {
            if number.is_multiple_of(1024) {
                self.go_on()?;
                self.report.progress.at(number, load.alerts);
            }
            let entity = (number as usize).wrapping_mul(stride) % load.entities;
            let partition = (number % load.partitions.unsigned_abs().max(1) as u64) as i32;
            let key = number.to_be_bytes();
            send(&producer, &name, partition, &key, finding.about(|_| entity))?;
        }
        flush(&producer)?;
        let there = self.cluster.end(&name, load.partitions)?;
        if there != load.alerts {
            bail!("{there} of {} alerts are in topic {name}: the cluster refused the others", load.alerts);
        }
        Ok((name, topics))
    }

    /// The topics that a recipe writes to.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn outputs(&self, recipe: &Recipe, partitions: i32) -> anyhow::Result<Topics<'_>> {
        self.cluster.create(&[(&recipe.output, partitions), (&recipe.dead(), 1)])
    }

    /// Starts who a recipe is for; how long it took until it was ready, in milliseconds, but for filling its cache.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, recipe: &Recipe) -> anyhow::Result<(Child, Option<f64>)> {
        let file = self.folder.0.join(format!("{}.yaml", recipe.output));
        fs::write(&file, recipe.text(&self.cluster.brokers))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let log = file.with_extension("log");
        let config = file.display().to_string();
        let words = |words: &[&str]| {
            ["bench-child"].iter().chain(words).map(|word| (*word).to_owned()).collect::<Vec<_>>()
        };
        if recipe.who == Who::CopyLoop {
            let mended: &[&str] = if self.arguments.mended { &["--mended"] } else { &[] };
            let arguments = words(&[&["copy-loop", config.as_str()], mended].concat());
            return Ok((Child::spawn(recipe.who.name(), &arguments, &log)?, None));
        }
        let prefill = recipe.prefill.to_string();
        let started = Instant::now();
        let mut child =
            Child::spawn(recipe.who.name(), &words(&["service", &config, "--prefill", &prefill]), &log)?;
        let millions = u32::try_from(recipe.prefill / 1_000_000).unwrap_or(u32::MAX);
        let until = started + READY + FILL * millions;
        let hello = child.hello(until - started)?;
        let filled = hello.get("filled_ms").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        while !child.call("GET", "/readyz", "").is_ok_and(|(status, _)| status == 200) {
            self.go_on()?;
            if Instant::now() > until {
                return Err(child.failed("it is not ready"));
            }
            std::thread::park_timeout(LOOK);
        }
        Ok((child, Some(started.elapsed().as_secs_f64() * 1000.0 - filled)))
    }

    /// Starts vendors that take so many milliseconds.
    ///
    /// # Errors
    /// They do not start.
    pub fn vendors(&self, latency_ms: u64) -> anyhow::Result<Child> {
        let log = self.folder.0.join(format!("{}.log", self.name("vendors")));
        let arguments = ["bench-child", "vendors", "--latency", &latency_ms.to_string()].map(str::to_owned);
        let mut child = Child::spawn("simulated vendors", &arguments, &log)?;
        child.hello(READY)?;
        Ok(child)
    }

    /// Waits until a child is through with so many alerts; how many it is through with then.
    ///
    /// # Errors
    /// It is stuck, or has ended.
    pub fn reach(&self, child: &mut Child, count: u64, look: Duration) -> anyhow::Result<u64> {
        let mut last = (0, Instant::now());
        loop {
            let done = child.done()?;
            if done >= count {
                return Ok(done);
            }
            if done > last.0 {
                last = (done, Instant::now());
                self.report.progress.at(done, count);
            } else if last.1.elapsed() > PATIENCE {
                let what = format!("{done} of {count} alerts, and no more for {} s", PATIENCE.as_secs());
                return Err(child.failed(&what));
            }
            self.pause(look)?;
        }
    }
}

/// A backlog.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Alerts.
    pub alerts: u64,
    /// Entities that they are about.
    pub entities: usize,
    /// Bytes of each.
    pub bytes: usize,
    /// Partitions of the topic.
    pub partitions: i32,
}

/// A number of steps that visits all of `count`, far apart from each other: prime to it, about six tenths of it.
fn stride(count: usize) -> usize {
    let divides = |step: usize| {
        let (mut a, mut b) = (count, step);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a > 1
    };
    let mut step = (count as f64 * 0.618) as usize;
    while step > 1 && divides(step) {
        step -= 1;
    }
    step.max(1)
}

/// The first ctrl-c ends what is under way in order, the second one this process; children end with it.
pub async fn end_at_signals(stop: Stop) -> anyhow::Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if stop.requested() {
                    std::process::exit(130);
                }
                stop.request();
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn alerts_are_about_all_entities_in_turn_and_neighbours_are_far_apart() {
        for count in [1, 2, 3, 10, 1_000, 9_973, 10_000] {
            let stride = stride(count);
            let visited: BTreeSet<usize> = (0..count).map(|number| number * stride % count).collect();
            assert_eq!(visited.len(), count);
        }
        assert!(stride(10_000) > 5_000);
    }
}
