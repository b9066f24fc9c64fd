//! What came out: latencies, levels, answers by provider, distinct entities, and a few alerts to look at.
//!
//! Pure: times are passed in. Bounded, whatever comes out: what is kept of an alert is a few words, and of an
//! entity its hash.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;
use serde::Deserialize;

use crate::entity::{EntityKind, canonical};
use crate::score::Level;

/// Latencies that count as recent.
const RECENT: usize = 1000;
/// Alerts that are kept to be looked at.
const LATEST: usize = 60;
/// Longer identifiers are cut before they are kept.
const LONGEST: usize = 200;

/// What the demo reads of an enriched alert.
#[derive(Debug, Deserialize)]
pub struct Enriched {
    risk: Risk,
}

#[derive(Debug, Deserialize)]
struct Risk {
    level: Option<String>,
    format: String,
    entities: Vec<Answered>,
}

#[derive(Debug, Deserialize)]
struct Answered {
    kind: String,
    value: String,
    provider: Option<String>,
    status: String,
    score: Option<f64>,
    level: Option<String>,
}

impl Enriched {
    /// `None` when it is no alert of ours: a bug, and counted.
    pub fn parse(value: &[u8]) -> Option<Enriched> {
        serde_json::from_slice(value).ok()
    }
}

/// One alert to look at: its most telling entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When it was raised.
    pub time: Timestamp,
    /// Its format.
    pub format: String,
    /// The identifier, as the alert spells it: hostile until it is drawn.
    pub entity: String,
    /// Who was asked about it.
    pub provider: String,
    /// `scored`, `unknown`, `failed` or `unrouted`.
    pub status: String,
    /// The entity's score.
    pub score: Option<f64>,
    /// The entity's level.
    pub level: Option<Level>,
}

/// What one provider said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Entities that it does not know.
    pub unknown: u64,
    /// Entities about which it could not be asked.
    pub failed: u64,
}

/// What is counted of all alerts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Enriched alerts.
    pub alerts: u64,
    /// Records of the output topic that could not be read.
    pub unreadable: u64,
    /// Alerts at each level, in the order of [`Level::ALL`].
    pub levels: [u64; Level::ALL.len()],
    /// Alerts without a level.
    pub without_level: u64,
    /// What each provider said.
    pub answers: BTreeMap<String, Answers>,
    distinct: HashSet<u64>,
    hasher: RandomState,
    recent: VecDeque<u64>,
    latencies: BTreeMap<u64, u64>,
    latest: VecDeque<Row>,
    candidate: Option<Row>,
}

impl Tally {
    /// Counts an alert that was raised at `sent` and read at `now`.
    pub fn add(&mut self, alert: Option<Enriched>, sent: Timestamp, now: Timestamp) {
        let Some(Enriched { risk }) = alert else {
            self.unreadable += 1;
            return;
        };
        self.alerts += 1;
        let millis = u64::try_from(now.as_millisecond() - sent.as_millisecond()).unwrap_or_default();
        *self.latencies.entry(millis).or_default() += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(millis);
        let level = risk.level.as_deref().and_then(|word| word.parse::<Level>().ok());
        match level.and_then(|level| self.levels.get_mut(level as usize)) {
            Some(count) => *count += 1,
            None => self.without_level += 1,
        }
        for entity in &risk.entities {
            self.answered(entity);
        }
        self.look_at(risk, sent);
    }

    fn answered(&mut self, entity: &Answered) {
        let Some(provider) = &entity.provider else { return };
        if let Ok(kind) = entity.kind.parse::<EntityKind>() {
            self.distinct.insert(self.hasher.hash_one((provider, kind, canonical(kind, &entity.value))));
        }
        if !self.answers.contains_key(provider) {
            self.answers.insert(provider.clone(), Answers::default());
        }
        if let Some(answers) = self.answers.get_mut(provider) {
            match entity.status.as_str() {
                "unknown" => answers.unknown += 1,
                "failed" => answers.failed += 1,
                _ => {}
            }
        }
    }

    /// Keeps the alert if it is worse than what is to be shown next.
    fn look_at(&mut self, risk: Risk, time: Timestamp) {
        let Some(worst) = risk
            .entities
            .into_iter()
            .max_by(|a, b| a.score.unwrap_or(-1.0).total_cmp(&b.score.unwrap_or(-1.0)))
        else {
            return;
        };
        if self.candidate.as_ref().is_some_and(|row| row.score >= worst.score) {
            return;
        }
        self.candidate = Some(Row {
            time,
            format: risk.format,
            entity: worst.value.chars().take(LONGEST).collect(),
            provider: worst.provider.unwrap_or_default(),
            status: worst.status,
            score: worst.score,
            level: worst.level.and_then(|word| word.parse().ok()),
        });
    }

    /// Takes the worst alert since the last call into [`Tally::latest`], so that a person can follow.
    pub fn turn(&mut self) {
        if let Some(row) = self.candidate.take() {
            self.latest.truncate(LATEST - 1);
            self.latest.push_front(row);
        }
    }

    /// Alerts to look at, newest first.
    pub fn latest(&self) -> impl Iterator<Item = &Row> {
        self.latest.iter()
    }

    /// Entities that somebody was asked about.
    pub fn distinct(&self) -> usize {
        self.distinct.len()
    }

    /// The 50th and 99th percentile of recent latencies, in milliseconds.
    pub fn recent_latency(&self) -> Option<(u64, u64)> {
        let mut sorted: Vec<u64> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let at =
            |percent: usize| sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)));
        Some((*at(50)?, *at(99)?))
    }

    /// The same of all.
    pub fn latency(&self) -> Option<(u64, u64)> {
        let total: u64 = self.latencies.values().sum();
        let at = |percent: u64| {
            let mut left = total * percent / 100;
            self.latencies.iter().find_map(|(millis, count)| match left.checked_sub(*count) {
                Some(rest) => {
                    left = rest;
                    None
                }
                None => Some(*millis),
            })
        };
        Some((at(50)?, at(99)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn alert(level: &str, scores: &[(&str, f64)]) -> Option<Enriched> {
        let entities: Vec<_> = scores
            .iter()
            .map(|(value, score)| {
                serde_json::json!({"kind": "host", "value": value, "provider": "p", "status": "scored", "score": score, "level": level})
            })
            .collect();
        let text =
            serde_json::json!({"risk": {"level": level, "format": "ecs", "entities": entities}}).to_string();
        Enriched::parse(text.as_bytes())
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn spellings_of_one_entity_count_once() {
        let mut tally = Tally::default();
        tally.add(alert("low", &[("WS-1", 30.0), ("ws-1.", 30.0)]), at(0), at(1));
        tally.add(alert("low", &[("ws-2", 30.0)]), at(0), at(1));
        assert_eq!((tally.alerts, tally.distinct()), (2, 2));
    }

    #[test]
    fn the_worst_alert_of_a_turn_is_shown_by_its_worst_entity() {
        let mut tally = Tally::default();
        tally.add(alert("low", &[("a", 10.0)]), at(0), at(1));
        tally.add(alert("high", &[("b", 5.0), ("c", 80.0)]), at(0), at(1));
        tally.add(alert("medium", &[("d", 50.0)]), at(0), at(1));
        tally.turn();
        tally.turn();
        let shown: Vec<_> = tally.latest().map(|row| row.entity.as_str()).collect();
        assert_eq!(shown, ["c"]);
    }

    #[test]
    fn percentiles_are_those_of_the_latencies() {
        let mut tally = Tally::default();
        assert_eq!((tally.latency(), tally.recent_latency()), (None, None));
        for millis in 0..100 {
            tally.add(alert("low", &[]), at(0), at(millis));
        }
        assert_eq!(tally.latency(), Some((50, 99)));
        assert_eq!(tally.recent_latency(), Some((50, 99)));
    }

    #[test]
    fn what_is_no_enriched_alert_is_counted_apart() {
        let mut tally = Tally::default();
        tally.add(Enriched::parse(b"{}"), at(0), at(0));
        assert_eq!((tally.alerts, tally.unreadable), (0, 1));
    }
}
