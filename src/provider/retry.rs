//! Whether a failed attempt is made again, and when.
//!
//! Pure: the clock and the random number are passed in. Contract: only what [`FailureKind::retryable`] allows,
//! at most `attempts` in all, never beyond the time that is left, and never so many retries that a vendor in
//! trouble gets noticeably more load from us than one that is well.
//!
//! [`FailureKind::retryable`]: super::FailureKind::retryable

use std::time::{Duration, Instant};

use super::Failure;
use crate::config::provider::Retry;

/// How long to wait before the next attempt, after `made` attempts of which the last ended in `failure`;
/// `None`: it is the last word. `random` is in 0..1; `left` is the time that the look-up still has.
pub fn wait(
    policy: &Retry,
    made: u32,
    failure: &Failure,
    random: f64,
    left: Option<Duration>,
) -> Option<Duration> {
    if !failure.kind.retryable() || made >= policy.attempts {
        return None;
    }
    let doubled = policy.backoff.saturating_mul(1 << made.saturating_sub(1).min(20));
    // Full jitter: callers that failed together do not come back together.
    let backoff = doubled.min(policy.max_backoff).mul_f64(random.clamp(0.0, 1.0));
    let wait = failure.retry_after.map_or(backoff, |asked| asked.saturating_add(backoff));
    left.is_none_or(|left| wait < left).then_some(wait)
}

/// Tokens that a full budget holds: retries in a burst.
const BURST: f64 = 20.0;
/// What a call brings in: one retry for ten calls.
const PER_CALL: f64 = 0.1;
/// What a second brings in, so that a provider that is seldom asked has retries as well.
const PER_SECOND: f64 = 0.2;

/// The retries that one provider may still make.
#[derive(Debug)]
pub struct Budget {
    tokens: f64,
    counted: Instant,
}

impl Budget {
    /// A full budget.
    pub fn new(now: Instant) -> Self {
        Budget { tokens: BURST, counted: now }
    }

    /// A call is made for the first time.
    pub fn call(&mut self, now: Instant) {
        self.earn(now);
        self.tokens = (self.tokens + PER_CALL).min(BURST);
    }

    /// Takes a retry out of the budget; `false` when there is none.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> bool {
        self.earn(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    fn earn(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.counted).as_secs_f64();
        self.tokens = (self.tokens + seconds * PER_SECOND).min(BURST);
        self.counted = self.counted.max(now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::provider::FailureKind;
    use proptest::prelude::*;

    const POLICY: Retry =
        Retry { attempts: 3, backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2) };

    fn failure(kind: FailureKind, retry_after: Option<Duration>) -> Failure {
        Failure { retry_after, ..Failure::new(kind, "") }
    }

    #[test]
    fn it_doubles_up_to_its_bound_and_stops_after_the_last_attempt() {
        let failed = failure(FailureKind::ServerError, None);
        let patient = Retry { attempts: 10, ..POLICY };
        let waits: Vec<_> = (1..=10).map(|made| wait(&patient, made, &failed, 1.0, None)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits[..6], [ms(100), ms(200), ms(400), ms(800), ms(1600), ms(2000)]);
        assert_eq!(waits[9], None);
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        for kind in FailureKind::ALL {
            let again = wait(&POLICY, 1, &failure(kind, None), 0.5, None).is_some();
            assert_eq!(again, kind.retryable(), "{kind}");
        }
    }

    #[test]
    fn the_vendors_own_wait_is_kept_or_the_answer_is_no() {
        let asked = Duration::from_secs(3);
        let failed = failure(FailureKind::RateLimited, Some(asked));
        assert!(wait(&POLICY, 1, &failed, 0.0, None).unwrap() >= asked);
        assert_eq!(wait(&POLICY, 1, &failed, 0.0, Some(Duration::from_secs(2))), None);
    }

    proptest! {
        #[test]
        fn no_wait_outlasts_the_look_up(
            made in 1u32..12, random in 0.0f64..1.0, left in 0u64..5000, asked in proptest::option::of(0u64..5000)
        ) {
            let left = Duration::from_millis(left);
            let failed = failure(FailureKind::Timeout, asked.map(Duration::from_millis));
            if let Some(wait) = wait(&POLICY, made, &failed, random, Some(left)) {
                prop_assert!(wait < left && made < POLICY.attempts);
                prop_assert!(wait >= failed.retry_after.unwrap_or_default());
            }
        }

        #[test]
        fn retries_are_a_tenth_of_the_calls_beside_a_small_floor(
            steps in proptest::collection::vec((any::<bool>(), 0u64..50), 0..2000)
        ) {
            let start = Instant::now();
            let (mut now, mut calls, mut retries) = (start, 0u32, 0u32);
            let mut budget = Budget::new(start);
            for (call, pause) in steps {
                now += Duration::from_millis(pause);
                if call {
                    budget.call(now);
                    calls += 1;
                } else if budget.take(now) {
                    retries += 1;
                }
            }
            let floor = BURST + (now - start).as_secs_f64() * PER_SECOND;
            prop_assert!(f64::from(retries) <= f64::from(calls) * PER_CALL + floor + 1e-6);
        }
    }
}
