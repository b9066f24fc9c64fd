//! How long an answer lives: by outcome, with jitter, counted from when it was written.
//!
//! Pure: `now` and the random number are parameters. Times are on the monotonic clock, so a wall clock that
//! jumps changes nothing. A hot answer is not kept alive by being read.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::config;
use crate::config::Ttl;
use crate::entity::EntityKind;
use crate::provider::FailureKind;

/// What kind of answer it is, as far as its lifetime goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The vendor gave a score.
    Scored,
    /// The vendor does not know the entity.
    Unknown,
    /// The question failed.
    Failed(FailureKind),
}

/// A moment on the monotonic clock in half the bytes of an [`Instant`]: nanoseconds from the first instant that became
/// one in this process, before it below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// How long after `earlier` it is; nothing when it is before that.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn after(self, millis: u32) -> Moment {
        Moment(self.0.saturating_add(i64::from(millis) * 1_000_000))
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Moment {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = *ORIGIN.get_or_init(|| at);
        let nanos = |distance: Duration| i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
        match at.checked_duration_since(origin) {
            Some(distance) => Moment(nanos(distance)),
            None => Moment(-nanos(origin.saturating_duration_since(at))),
        }
    }
}

/// When an answer is to be asked again. Every cached answer has one, so the later times are kept as the distance from
/// the first, in milliseconds (a distance above 49 days counts as 49 days), and nothing lies idle behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(4))]
pub struct Times {
    written: Moment,
    refresh: u32,
    fresh: u32,
    stale: u32,
}

impl Times {
    /// The times of an answer written at `written`, as distances from there.
    pub fn new(written: Instant, refresh: Duration, fresh: Duration, stale: Duration) -> Self {
        Times {
            written: written.into(),
            refresh: millis(refresh),
            fresh: millis(fresh),
            stale: millis(stale),
        }
    }

    /// When it was written.
    pub fn written(self) -> Moment {
        self.written
    }

    /// From here a reader should have it asked again in the background.
    pub fn refresh_at(self) -> Moment {
        self.written().after(self.refresh)
    }

    /// Until here it is used without asking.
    pub fn fresh_until(self) -> Moment {
        self.written().after(self.fresh)
    }

    /// Until here it may be used, marked as stale, when the vendor cannot be asked.
    pub fn stale_until(self) -> Moment {
        self.written().after(self.stale)
    }
}

fn millis(distance: Duration) -> u32 {
    u32::try_from(distance.as_millis()).unwrap_or(u32::MAX)
}

/// The lifetimes of one provider's answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lifetimes {
    ttl: Ttl,
    stale: Duration,
    jitter: f64,
    refresh_ahead: f64,
}

impl Lifetimes {
    /// From the provider's `ttl` and what `cache` says for all.
    pub fn new(ttl: Ttl, cache: &config::Cache) -> Self {
        Lifetimes { ttl, stale: cache.stale, jitter: cache.jitter, refresh_ahead: cache.refresh_ahead }
    }

    /// The times of an answer about an entity of `kind`, written `now`. `random` is uniform in 0..1 and spreads lifetimes over
    /// `1 - jitter ..= 1 + jitter`, so that what was written together does not expire together.
    pub fn times(&self, outcome: Outcome, kind: EntityKind, now: Instant, random: f64) -> Times {
        let base = match outcome {
            Outcome::Scored => self.ttl.of(kind).scored,
            Outcome::Unknown => self.ttl.of(kind).unknown,
            Outcome::Failed(failure) => self.ttl.failed(kind, failure),
        };
        let life = base.mul_f64(1.0 + self.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0));
        let stale = match outcome {
            Outcome::Scored | Outcome::Unknown => self.stale,
            // An old failure is no answer.
            Outcome::Failed(_) => Duration::ZERO,
        };
        let refresh = match outcome {
            Outcome::Scored | Outcome::Unknown => life.mul_f64(self.refresh_ahead),
            Outcome::Failed(_) => life,
        };
        Times::new(now, refresh, life, life.saturating_add(stale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Lives;
    use proptest::prelude::*;

    const FAILED: Outcome = Outcome::Failed(FailureKind::Timeout);

    fn lifetimes(jitter: f64) -> Lifetimes {
        Lifetimes {
            ttl: Ttl::new(Lives {
                scored: Duration::from_secs(900),
                unknown: Duration::from_secs(300),
                failed: Duration::from_secs(30),
            }),
            stale: Duration::from_secs(86_400),
            jitter,
            refresh_ahead: 0.8,
        }
    }

    #[test]
    fn each_outcome_has_its_own_lifetime() {
        let now = Instant::now();
        for (outcome, seconds) in [(Outcome::Scored, 900), (Outcome::Unknown, 300), (FAILED, 30)] {
            let times = lifetimes(0.0).times(outcome, EntityKind::User, now, 0.3);
            assert_eq!(times.fresh_until().since(now.into()), Duration::from_secs(seconds), "{outcome:?}");
        }
        let failed = lifetimes(0.0).times(FAILED, EntityKind::User, now, 0.5);
        assert_eq!(failed.stale_until(), failed.fresh_until(), "a failure is never served stale");
    }

    #[test]
    fn moments_are_as_far_apart_as_the_instants_and_in_their_order() {
        let middle = Instant::now();
        let (early, late) = (middle - Duration::from_nanos(1_234_567_891), middle + Duration::from_secs(7));
        let [first, second, third] = [early, middle, late].map(Moment::from);
        assert!(first < second && second < third);
        assert_eq!(second.since(first), middle - early);
        assert_eq!(third.since(first), late - early);
        assert_eq!(first.since(third), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_bounds_and_times_in_their_order(jitter in 0.0f64..0.5, random in 0.0f64..1.0) {
            let now = Instant::now();
            let times = lifetimes(jitter).times(Outcome::Scored, EntityKind::User, now, random);
            let life = times.fresh_until().since(now.into()).as_secs_f64();
            prop_assert!(life >= 900.0 * (1.0 - jitter) - 0.001 && life <= 900.0 * (1.0 + jitter) + 0.001);
            prop_assert!(times.refresh_at() <= times.fresh_until() && times.fresh_until() <= times.stale_until());
        }
    }
}
