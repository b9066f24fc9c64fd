//! The summary, for people and as JSON, and the JSON lines while the demo runs in a pipe.
//!
//! Contract: the counts are checked, not assumed: what went in is what the broker acknowledged, what came out is
//! what was read from the topics.

use std::collections::BTreeMap;
use std::time::Instant;

use console::Style;
use serde_json::{Value, json};

use super::super::output::level_style;
use super::gauges::Gauges;
use super::locked;
use super::view::{Phase, State, grouped, percent};
use crate::score::Level;
use crate::simulator::calls::Calls;

/// One look as a JSON object.
pub fn line_of(state: &State) -> Value {
    let [sent, out, dead] = &state.flows;
    let vendors: serde_json::Map<String, Value> = state
        .vendors
        .iter()
        .map(|vendor| {
            let line = json!({
                "requests": vendor.requests,
                "requests_per_second": vendor.rate.round(),
                "median_ms": vendor.median.map(|median| median.as_millis() as u64),
                "hit_ratio": vendor.hit_ratio.map(rounded),
                "unknown": vendor.unknown,
                "failed": vendor.failed,
                "breaker": vendor.breaker.label(),
            });
            (vendor.name.clone(), line)
        })
        .collect();
    json!({
        "seconds": rounded(state.uptime.as_secs_f64()),
        "admin": format!("http://{}", state.admin),
        "in": sent.total,
        "out": out.total,
        "dead_lettered": dead.total,
        "in_per_second": sent.rate.round(),
        "out_per_second": out.rate.round(),
        "in_flight": state.in_flight,
        "latency_ms": state.latency.map(|(p50, p99)| json!({"p50": p50, "p99": p99})),
        "cache": {"hit_ratio": state.hit_ratio.map(rounded), "entries": state.cached},
        "vendors": vendors,
    })
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// How it ended.
pub struct Summary {
    state: State,
    lost: u64,
    unreadable: u64,
    calls: u64,
    asked: usize,
    latency: Option<(u64, u64)>,
    levels: Vec<(Option<Level>, u64)>,
}

impl Summary {
    /// Reads the counts for the last time; `calls` is what the vendors counted.
    pub fn new(gauges: &mut Gauges, calls: &BTreeMap<String, Calls>) -> Summary {
        let state = gauges.look(Instant::now(), Phase::Draining, None);
        let tally = locked(&gauges.tally);
        let levels =
            Level::ALL.into_iter().zip(tally.levels).rev().map(|(level, count)| (Some(level), count));
        Summary {
            state,
            lost: gauges.lost(),
            unreadable: tally.unreadable,
            calls: calls.values().map(|calls| calls.total).sum(),
            asked: calls.values().map(|calls| calls.by_entity.len()).sum(),
            latency: tally.latency(),
            levels: levels.chain([(None, tally.without_level)]).collect(),
        }
    }

    fn counts(&self) -> [u64; 3] {
        [0, 1, 2].map(|i| self.state.flows.get(i).map_or(0, |flow| flow.total))
    }

    /// Whether everything that went in came out, once, and could be read.
    pub fn is_balanced(&self) -> bool {
        let [sent, out, dead] = self.counts();
        sent == out + dead && self.lost == 0 && self.unreadable == 0
    }

    fn calls_per_entity(&self) -> f64 {
        self.calls as f64 / self.asked.max(1) as f64
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let [sent, out, dead] = self.counts();
        let levels: serde_json::Map<String, Value> = self
            .levels
            .iter()
            .map(|(level, count)| (level.map_or("none", Level::label).to_owned(), (*count).into()))
            .collect();
        json!({"summary": {
            "seconds": rounded(self.state.uptime.as_secs_f64()),
            "in": sent,
            "out": out,
            "dead_lettered": dead,
            "balanced": self.is_balanced(),
            "refused_by_the_broker": self.lost,
            "unreadable_outputs": self.unreadable,
            "distinct_entities": self.state.distinct,
            "vendor_calls": self.calls,
            "calls_per_distinct_entity": rounded(self.calls_per_entity()),
            "hit_ratio": self.state.hit_ratio.map(rounded),
            "latency_ms": self.latency.map(|(p50, p99)| json!({"p50": p50, "p99": p99})),
            "levels": levels,
        }})
    }

    /// As lines for people.
    pub fn for_people(&self) -> Vec<String> {
        let [sent, out, dead] = self.counts();
        let bold = Style::new().bold();
        let verdict = if self.is_balanced() {
            Style::new().green().bold().apply_to("✓ everything that went in came out".to_owned())
        } else {
            let what = match (sent.checked_sub(out + dead), self.lost + self.unreadable) {
                (Some(0), _) => {
                    format!("{} refused by the broker or unreadable", grouped(self.lost + self.unreadable))
                }
                (Some(missing), _) => format!("{} missing", grouped(missing)),
                (None, _) => format!("{} too many", grouped((out + dead).saturating_sub(sent))),
            };
            Style::new().red().bold().apply_to(format!("✗ the counts do not add up: {what}"))
        };
        let mut lines = vec![
            format!(
                "{} in = {} out + {} dead-lettered   {verdict}",
                bold.apply_to(grouped(sent)),
                bold.apply_to(grouped(out)),
                bold.apply_to(grouped(dead)),
            ),
            String::new(),
        ];
        let latency = self.latency.map_or("-".to_owned(), |(p50, p99)| {
            format!("p50 {p50} ms, p99 {p99} ms, in and out through Kafka")
        });
        for (what, value) in [
            ("time", format!("{:.1} s", self.state.uptime.as_secs_f64())),
            ("latency", latency),
            ("distinct entities", grouped(self.state.distinct as u64)),
            (
                "vendor calls",
                format!(
                    "{}, that is {:.2} for each distinct entity",
                    grouped(self.calls),
                    self.calls_per_entity()
                ),
            ),
            ("answered by the cache", self.state.hit_ratio.map_or("-".to_owned(), percent)),
        ] {
            lines.push(format!("{} {value}", Style::new().dim().apply_to(format!("{what:22}"))));
        }
        lines.push(String::new());
        lines.extend(histogram(&self.levels));
        lines
    }
}

/// A bar for each level.
fn histogram(levels: &[(Option<Level>, u64)]) -> Vec<String> {
    const WIDTH: u64 = 40;
    let most = levels.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    levels
        .iter()
        .map(|(level, count)| {
            let name = level.map_or("no score", Level::label);
            let filled = (count * WIDTH).div_ceil(most);
            let colour = match level {
                Some(Level::Critical) => Style::new().red().bold(),
                level => level_style(*level),
            };
            let bar = "█".repeat(usize::try_from(filled).unwrap_or_default());
            format!("{name:>9} {} {}", colour.apply_to(bar), grouped(*count))
        })
        .collect()
}
