//! How many look-ups the alerts of one topic and format may cause: whoever can write alerts must not be able to spend a vendor's
//! quota on identifiers that they made up.
//!
//! Contract: in the long run no topic and format causes more than its rate, and at once no more than what the rate gives in
//! one span. What is cached, and what is under way already, costs nothing. Takes `now`; never looks at a clock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::alert::format::FormatId;
use crate::config::Rate;

/// The budgets of all topics and formats.
#[derive(Debug)]
pub struct Budgets {
    rate: Option<Rate>,
    left: Mutex<HashMap<(u64, Option<FormatId>), Left>>,
    hasher: ahash::RandomState,
}

/// What is left of one.
#[derive(Clone, Copy, Debug)]
struct Left {
    look_ups: f64,
    counted: Instant,
}

impl Budgets {
    /// All of `rate`; without one there is no end to them.
    pub fn new(rate: Option<Rate>) -> Self {
        Budgets { rate, left: Mutex::default(), hasher: ahash::RandomState::new() }
    }

    /// What each of them has.
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Takes one look-up out of the budget of a topic and format; `false` when there is none.
    #[must_use]
    pub fn take(&self, topic: &str, format: Option<FormatId>, now: Instant) -> bool {
        let Some(Rate { requests, per }) = self.rate else { return true };
        let whole = f64::from(requests);
        // Topics and formats are as many as are configured, or match a pattern.
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.hasher.hash_one(topic), format);
        let left = all.entry(key).or_insert(Left { look_ups: whole, counted: now });
        let earned = now.saturating_duration_since(left.counted).as_secs_f64() / per.as_secs_f64() * whole;
        left.look_ups = (left.look_ups + earned).min(whole);
        left.counted = left.counted.max(now);
        let enough = left.look_ups >= 1.0;
        if enough {
            left.look_ups -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { requests: 10, per: Duration::from_secs(1) };

    #[test]
    fn each_topic_and_format_has_a_budget_of_its_own() {
        let (budgets, now) = (Budgets::new(Some(RATE)), Instant::now());
        for (topic, format) in [("a", None), ("a", Some(FormatId(1))), ("b", None)] {
            let taken = (0..100).filter(|_| budgets.take(topic, format, now)).count();
            assert_eq!(taken, 10, "{topic} {format:?}");
        }
        assert!(!budgets.take("a", None, now));
        let later = now + Duration::from_millis(250);
        assert_eq!((0..100).filter(|_| budgets.take("a", None, later)).count(), 2);
    }

    #[test]
    fn without_a_rate_there_is_no_end_to_it() {
        let (budgets, now) = (Budgets::new(None), Instant::now());
        assert!((0..100_000).all(|_| budgets.take("a", None, now)));
    }

    proptest! {
        #[test]
        fn no_span_has_more_than_its_rate_and_what_was_saved(pauses in proptest::collection::vec(0u64..400, 1..300)) {
            let (budgets, start) = (Budgets::new(Some(RATE)), Instant::now());
            let mut now = start;
            let mut taken = 0u32;
            for pause in pauses {
                now += Duration::from_millis(pause);
                taken += (0..3).filter(|_| budgets.take("a", None, now)).count() as u32;
                prop_assert!(f64::from(taken) <= 10.0 + (now - start).as_secs_f64() * 10.0 + 1e-6);
            }
        }
    }
}
