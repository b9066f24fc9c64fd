//! Whether there are too many dead letters: of the alerts of the last while, so many and such a share.
//!
//! Pure: counters and the time are passed in. Contract: a flood begins when, within `per`, both bounds of the rule are
//! reached, and ends when less than half of either is left, so that it does not flicker around a bound; fewer than
//! `at_least` never begin one. Remembers a fixed number of samples, whatever `per` is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Flood;

/// Samples that a span is divided into: how exact its beginning is.
const STEPS: u32 = 60;

/// What was counted since the process began; it only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Alerts read.
    pub read: u64,
    /// Dead letters written.
    pub dead: u64,
}

impl Counts {
    fn since(self, before: Counts) -> Counts {
        Counts { read: self.read.saturating_sub(before.read), dead: self.dead.saturating_sub(before.dead) }
    }
}

/// What a look at the counters found to be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A flood has begun: what was counted within the span.
    Began(Counts),
    /// It is over: what was counted while it lasted, and how long that was.
    Ended(Counts, Duration),
}

/// Looks at the counters now and then.
#[derive(Debug)]
pub struct Detector {
    rule: Flood,
    /// Oldest first; the first one is where the span begins.
    samples: VecDeque<(Instant, Counts)>,
    began: Option<(Instant, Counts)>,
}

impl Detector {
    /// A detector that begins with these counts.
    pub fn new(rule: Flood, now: Instant, counts: Counts) -> Detector {
        Detector { rule, samples: VecDeque::from([(now, counts)]), began: None }
    }

    /// Takes the counts of now.
    pub fn look(&mut self, now: Instant, counts: Counts) -> Option<Change> {
        let within = self.within(now, counts);
        let enough = |bound: f64| {
            within.dead as f64 >= self.rule.at_least as f64 * bound
                && within.dead as f64 >= self.rule.share * bound * within.read as f64
        };
        match self.began {
            None if enough(1.0) => {
                self.began = Some(self.samples.front().copied().unwrap_or((now, counts)));
                Some(Change::Began(within))
            }
            Some((since, before)) if !enough(0.5) => {
                self.began = None;
                Some(Change::Ended(counts.since(before), now.saturating_duration_since(since)))
            }
            _ => None,
        }
    }

    /// What was counted within the span that ends now.
    fn within(&mut self, now: Instant, counts: Counts) -> Counts {
        let old = |at: Instant| now.saturating_duration_since(at) >= self.rule.per;
        while self.samples.get(1).is_some_and(|(at, _)| old(*at)) {
            self.samples.pop_front();
        }
        let within = counts.since(self.samples.front().map_or(counts, |(_, before)| *before));
        let due = |(at, _): &(Instant, Counts)| now.saturating_duration_since(*at) >= self.rule.per / STEPS;
        if self.samples.back().is_none_or(due) {
            self.samples.push_back((now, counts));
        }
        within
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;
    use crate::config::FloodAction;

    const SECOND: Duration = Duration::from_secs(1);

    fn rule(share: f64, at_least: u64) -> Flood {
        Flood { share, per: 60 * SECOND, at_least, action: FloodAction::Report }
    }

    /// Looks once a second at what `steps` add, and says what was found after how many seconds.
    fn watch(rule: Flood, steps: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, Change)> {
        let start = Instant::now();
        let mut counts = Counts::default();
        let mut detector = Detector::new(rule, start, counts);
        let mut changes = Vec::new();
        for (second, (read, dead)) in (1..).zip(steps) {
            counts.read += read;
            counts.dead += dead;
            changes.extend(detector.look(start + second as u32 * SECOND, counts).map(|c| (second, c)));
            assert!(detector.samples.len() <= STEPS as usize + 2, "memory is bounded");
        }
        changes
    }

    #[test]
    fn a_flood_begins_with_enough_dead_letters_of_enough_share_and_ends_when_they_stop() {
        let quiet = std::iter::repeat_n((100, 1), 100);
        let flood = std::iter::repeat_n((100, 50), 30);
        let changes = watch(rule(0.1, 100), quiet.clone().chain(flood).chain(quiet));
        assert_eq!(changes.len(), 2, "{changes:?}");
        let (began, Change::Began(within)) = changes[0] else { unreachable!("{changes:?}") };
        assert!((112..116).contains(&began), "a tenth of the last minute: {began}");
        assert!(within.dead * 10 >= within.read && within.dead >= 100, "{within:?}");
        let (ended, Change::Ended(all, took)) = changes[1] else { unreachable!("{changes:?}") };
        assert!((180..192).contains(&ended), "a minute after the last of them: {ended}");
        assert!(all.dead >= 30 * 50 && took >= 60 * SECOND, "{all:?} in {took:?}");
    }

    #[test]
    fn few_dead_letters_are_no_flood_though_everything_is_one() {
        assert_eq!(watch(rule(0.1, 100), std::iter::repeat_n((1, 1), 99).take(90)), []);
    }

    #[test]
    fn many_dead_letters_among_very_many_alerts_are_no_flood() {
        assert_eq!(watch(rule(0.1, 100), std::iter::repeat_n((10_000, 900), 300)), []);
    }

    #[test]
    fn around_the_bound_it_does_not_flicker() {
        let steps = (0..600).map(|second| if second % 7 < 4 { (100, 12) } else { (100, 7) });
        let changes = watch(rule(0.1, 100), steps);
        assert!(changes.len() <= 1, "{changes:?}");
    }

    proptest! {
        /// Against the sums of the whole history.
        #[test]
        fn it_begins_only_within_its_bounds_and_always_when_all_is_dead(
            steps in prop::collection::vec((0u64..40, 0u64..40), 1..300),
            at_least in 1u64..600,
        ) {
            let all_dead: Vec<_> = steps.iter().map(|(_, dead)| (*dead, *dead)).collect();
            let rule = rule(0.25, at_least);
            let sum = |steps: &[(u64, u64)], second: usize, span: usize| {
                steps[second.saturating_sub(span)..second].iter().map(|(_, dead)| dead).sum::<u64>()
            };
            for steps in [&steps, &all_dead] {
                let mut flooding = false;
                for (second, change) in watch(rule, steps.iter().copied()) {
                    let second = second as usize;
                    match change {
                        Change::Began(within) => {
                            prop_assert!(!flooding);
                            prop_assert!(within.dead >= at_least);
                            prop_assert!(sum(steps, second, 62) >= at_least, "counted what was not there");
                            prop_assert!(within.dead as f64 >= 0.25 * within.read as f64);
                        }
                        Change::Ended(..) => prop_assert!(flooding),
                    }
                    flooding = !flooding;
                }
            }
            let first = (1..=all_dead.len()).find(|second| sum(&all_dead, *second, 60) >= at_least);
            let began = watch(rule, all_dead.iter().copied()).first().map(|(second, _)| *second as usize);
            if let Some(first) = first {
                prop_assert!(began.is_some_and(|began| began <= first), "{began:?} after {first}");
            }
        }

        #[test]
        fn after_a_quiet_span_there_is_no_flood(
            steps in prop::collection::vec((0u64..40, 0u64..40), 1..100),
            at_least in 1u64..200,
        ) {
            let quiet = std::iter::repeat_n((5, 0), 130);
            let changes = watch(rule(0.1, at_least), steps.into_iter().chain(quiet));
            prop_assert!(!matches!(changes.last(), Some((_, Change::Began(_)))), "{changes:?}");
        }
    }
}
