//! Chance: a sequence of numbers that a seed determines, and what is drawn with it.

use super::cast;
use crate::simulator::population::{fraction, mix};

/// How steeply popularity falls: the exponent of Zipf's law.
const STEEPNESS: f64 = 1.0;
/// The largest population that [`Draw::popular`] takes.
const LARGEST: usize = 4096;

/// A source of chance, and the clock of the alerts.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    seed: u64,
    drawn: u64,
    alerts: u64,
    /// At each rank: the weights of this one and all before it.
    weights: Vec<f64>,
    members: Vec<String>,
}

impl Draw {
    pub fn new(seed: u64) -> Self {
        let weights = (1..=LARGEST).scan(0.0, |sum, rank| {
            *sum += (rank as f64).powf(-STEEPNESS);
            Some(*sum)
        });
        Draw { seed: mix(seed), drawn: 0, alerts: 0, weights: weights.collect(), members: cast::members() }
    }

    /// Begins another alert; its number.
    pub fn next_alert(&mut self) -> u64 {
        self.alerts += 1;
        self.alerts
    }

    fn bits(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.seed ^ mix(self.drawn))
    }

    /// A number below `bound` (0 when that is 0), all equally likely.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits().checked_rem(bound).unwrap_or(0)
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `words`; empty only where there are none.
    pub fn word<'w>(&mut self, words: &[&'w str]) -> &'w str {
        let index = self.below(words.len() as u64) as usize;
        words.get(index).copied().unwrap_or_default()
    }

    /// A rank below `population`, the lower the likelier.
    pub fn popular(&mut self, population: usize) -> usize {
        let weights = self.weights.get(..population.min(LARGEST)).unwrap_or_default();
        let total = weights.last().copied().unwrap_or_default();
        let point = fraction(mix(self.seed ^ mix(self.drawn + 1))) * total;
        self.drawn += 1;
        weights.partition_point(|sum| *sum <= point)
    }

    /// The e-mail of somebody on Cloudflare's lists.
    pub fn member(&mut self) -> String {
        let rank = self.popular(self.members.len());
        self.members.get(rank).cloned().unwrap_or_default()
    }

    /// So many random hexadecimal digits.
    pub fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.bits()));
        }
        text.truncate(digits);
        text
    }

    /// A random UUID.
    pub fn uuid(&mut self) -> String {
        uuid::Uuid::from_u64_pair(self.bits(), self.bits()).to_string()
    }

    /// When this alert was raised, in Unix milliseconds. Its own clock, so that a seed says every byte.
    pub fn millis(&self) -> i64 {
        1_780_064_607_500 + (self.alerts as i64) * 2
    }

    /// The same as RFC 3339.
    pub fn time(&self) -> String {
        jiff::Timestamp::from_millisecond(self.millis()).unwrap_or_default().to_string()
    }
}
