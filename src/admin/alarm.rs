//! The alarm for a flood of dead letters: looks at the counters and says what it sees.
//!
//! Contract: at the begin and at the end of a flood one line in the log; while it lasts, the metric is 1 and readiness
//! has a word about it, without being unready. Holds nobody up: it only reads counters. What follows is the caller's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::health::Health;
use crate::config::Flood;
use crate::metrics::Metrics;
use crate::sink::flood::{Change, Counts, Detector};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// The note that it keeps in readiness.
const FLOOD: &str = "dead-letters";

/// The alarm of a process.
pub struct Alarm {
    rule: Flood,
    detector: Detector,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    next: Instant,
}

impl Alarm {
    /// An alarm that counts from now on.
    pub fn new(rule: Flood, metrics: Arc<Metrics>, health: Arc<Health>, now: Instant) -> Alarm {
        let detector = Detector::new(rule, now, counts(&metrics));
        Alarm { rule, detector, metrics, health, next: now + EVERY }
    }

    /// Looks when it is time to; what it counted when a flood has just begun.
    pub fn look(&mut self, now: Instant) -> Option<Counts> {
        if now < self.next {
            return None;
        }
        self.next = now + EVERY;
        match self.detector.look(now, counts(&self.metrics))? {
            Change::Began(Counts { read, dead }) => {
                let per = self.rule.per;
                self.metrics.flood.set(1);
                let what = format!(
                    "a flood of dead letters: {dead} of {read} alerts within {per:?} when it began; alerts that can be \
                     read go on. `riskstream dlq list` shows them, riskstream_dead_letters_total their reasons"
                );
                self.health.notes().set(FLOOD, Some(what));
                Some(Counts { read, dead })
            }
            Change::Ended(Counts { read, dead }, took) => {
                self.metrics.flood.set(0);
                self.health.notes().set(FLOOD, None);
                tracing::warn!(
                    dead_letters = dead,
                    alerts = read,
                    seconds = took.as_secs(),
                    "the flood of dead letters is over"
                );
                None
            }
        }
    }
}

fn counts(metrics: &Metrics) -> Counts {
    Counts { read: metrics.consumed.get(), dead: metrics.dead_letters() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::FloodAction;

    #[test]
    fn a_flood_is_seen_in_the_metric_and_in_readiness_which_stays_ready() {
        let metrics = Arc::new(Metrics::new(&[]).unwrap());
        let health = Arc::new(Health::new(vec![], Duration::from_secs(1)));
        let rule = Flood { share: 0.5, per: 10 * EVERY, at_least: 10, action: FloodAction::Report };
        let start = Instant::now();
        let mut alarm = Alarm::new(rule, Arc::clone(&metrics), Arc::clone(&health), start);
        metrics.consumed.inc_by(12);
        for _ in 0..12 {
            metrics.dead_lettered("not_json");
        }
        assert_eq!(alarm.look(start), None, "only once a second");
        assert_eq!(metrics.flood.get(), 0);
        assert_eq!(alarm.look(start + EVERY), Some(Counts { read: 12, dead: 12 }));
        assert_eq!(metrics.flood.get(), 1);
        let readiness = health.readiness();
        assert!(readiness.ready && readiness.reasons.is_empty(), "{readiness:?}");
        assert!(
            readiness.notes.iter().any(|alarm| alarm.contains("12 of 12 alerts within 10s")),
            "{readiness:?}"
        );
        for second in 2..30 {
            assert_eq!(alarm.look(start + second * EVERY), None, "a flood begins once");
        }
        assert_eq!(metrics.flood.get(), 0);
        assert!(health.readiness().notes.is_empty());
    }
}
