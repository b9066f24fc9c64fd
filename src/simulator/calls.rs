//! What was asked: how often, about whom, how many at once, and when.
//!
//! Counts every request that arrives below a vendor's prefix, also one that a fault spoils. Bounded: at most
//! [`KEPT`] paths, entities and arrival times are kept apart for each vendor; the totals stay exact.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// How many different paths, entities and arrivals are kept for each vendor.
pub const KEPT: usize = 1_000_000;

/// What was asked of one vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Requests that arrived.
    pub total: u64,
    /// Requests under way.
    pub concurrent: u64,
    /// The most requests that were under way at once.
    pub peak_concurrent: u64,
    /// Requests by method, path and query: `GET /datadog/api/v2/...`.
    pub by_path: BTreeMap<String, u64>,
    /// Questions by entity, as the vendor's page read it from the request. A call that a fault answers is
    /// not here: nobody read it.
    pub by_entity: BTreeMap<String, u64>,
    /// When each request arrived, since the start of the simulator.
    #[serde(skip)]
    pub arrivals: Vec<Duration>,
}

impl Calls {
    /// The most requests that arrived within any window of this length.
    pub fn peak_arrivals(&self, window: Duration) -> usize {
        let mut start = 0;
        let mut peak = 0;
        for (end, &last) in self.arrivals.iter().enumerate() {
            while self.arrivals.get(start).is_some_and(|&first| first + window <= last) {
                start += 1;
            }
            peak = peak.max(end + 1 - start);
        }
        peak
    }

    /// Requests in each second since the start in which there were any.
    pub fn per_second(&self) -> BTreeMap<u64, u64> {
        self.arrivals.iter().fold(BTreeMap::new(), |mut seconds, arrival| {
            *seconds.entry(arrival.as_secs()).or_default() += 1;
            seconds
        })
    }

    pub(super) fn begin(&mut self, path: String, arrival: Duration) {
        self.total += 1;
        self.concurrent += 1;
        self.peak_concurrent = self.peak_concurrent.max(self.concurrent);
        count(&mut self.by_path, path);
        if self.arrivals.len() < KEPT {
            self.arrivals.push(arrival);
        }
    }

    pub(super) fn end(&mut self) {
        self.concurrent = self.concurrent.saturating_sub(1);
    }

    pub(super) fn asked(&mut self, entity: &str) {
        count(&mut self.by_entity, entity.to_owned());
    }

    /// Forgets everything but what is under way.
    pub(super) fn forget(&mut self) {
        *self = Calls { concurrent: self.concurrent, peak_concurrent: self.concurrent, ..Calls::default() };
    }
}

fn count(counts: &mut BTreeMap<String, u64>, key: String) {
    if let Some(count) = counts.get_mut(&key) {
        *count += 1;
    } else if counts.len() < KEPT {
        counts.insert(key, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_found_in_any_window_not_only_in_calendar_seconds() {
        let calls = Calls {
            arrivals: [100, 900, 950, 1000, 1050, 2500].map(Duration::from_millis).to_vec(),
            ..Calls::default()
        };
        assert_eq!(calls.peak_arrivals(Duration::from_secs(1)), 5);
        assert_eq!(calls.peak_arrivals(Duration::from_millis(100)), 2);
        assert_eq!(calls.per_second(), BTreeMap::from([(0, 3), (1, 2), (2, 1)]));
    }

    #[test]
    fn concurrency_has_a_peak_that_outlives_it() {
        let mut calls = Calls::default();
        calls.begin("GET /a".into(), Duration::ZERO);
        calls.begin("GET /a".into(), Duration::ZERO);
        calls.end();
        assert_eq!((calls.total, calls.concurrent, calls.peak_concurrent), (2, 1, 2));
        assert_eq!(calls.by_path, BTreeMap::from([("GET /a".to_owned(), 2)]));
        calls.forget();
        assert_eq!((calls.total, calls.concurrent, calls.peak_concurrent), (0, 1, 1));
    }
}
