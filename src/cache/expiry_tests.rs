//! Answers that were written together, and how their ends are spread: seconds of a vendor's life, in no time of ours.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::flight::random;
use super::key::ProviderId;
use super::ttl::{Moment, Outcome};
use super::{Cache, Content, Found, Lifetimes, Question};
use crate::compose::Rendered;
use crate::config::{Config, provider::Limit};
use crate::entity::EntityKind;
use crate::provider::Answer;
use crate::provider::limiter::{Limiter, Priority};

const ENTITIES: usize = 100_000;
const SECOND: Duration = Duration::from_secs(1);

/// The lifetimes that a configuration without any has, of a jitter of a tenth.
fn lifetimes() -> Lifetimes {
    let config = Config::parse("test", "", Path::new(""), []).unwrap();
    assert_eq!(config.cache.jitter, 0.1);
    Lifetimes::new(config.cache.ttl, &config.cache)
}

/// When each of [`ENTITIES`] was written, within one second from `start` on.
fn written(start: Instant) -> impl Iterator<Item = Instant> {
    (0..ENTITIES).map(move |n| start + SECOND.mul_f64(n as f64 / ENTITIES as f64))
}

#[test]
fn a_hundred_thousand_answers_of_one_second_end_over_a_tenth_of_their_lifetime_and_evenly() {
    let (start, lifetimes) = (Instant::now(), lifetimes());
    for (outcome, life) in [(Outcome::Scored, 900.0), (Outcome::Unknown, 300.0)] {
        let mut ends: Vec<f64> = written(start)
            .map(|at| lifetimes.times(outcome, EntityKind::User, at, random()).fresh_until())
            .map(|end| end.since(Moment::from(start)).as_secs_f64())
            .collect();
        ends.sort_by(f64::total_cmp);
        // The first and the last hundredth may lie as they will.
        let span = ends[ENTITIES * 99 / 100] - ends[ENTITIES / 100];
        assert!(span >= 0.1 * life, "{outcome:?}: {span} s of {life} s");
        let mut seconds = std::collections::HashMap::<u64, usize>::new();
        ends.iter().for_each(|end| *seconds.entry(*end as u64).or_default() += 1);
        let (most, even) = (*seconds.values().max().unwrap(), ENTITIES as f64 / (0.2 * life));
        assert!((most as f64) < 1.5 * even, "{outcome:?}: {most} within a second, {even} if it were even");
    }
}

#[test]
fn a_cache_full_of_answers_of_one_second_runs_dry_slowly() {
    let (start, lifetimes, cache) = (Instant::now(), lifetimes(), Cache::new(1 << 30));
    let unknown = Rendered::of(&Answer::Unknown { detail: None }, Timestamp::UNIX_EPOCH);
    let names: Vec<String> = (0..ENTITIES).map(|n| format!("user-{n}")).collect();
    fn question(name: &str) -> Question<'_> {
        Question::new(ProviderId(0), EntityKind::User, name)
    }
    for (name, at) in names.iter().zip(written(start)) {
        let times = lifetimes.times(Outcome::Unknown, EntityKind::User, at, random());
        cache.insert(&question(name), Content::Answer(unknown.get()), times);
    }
    let there = |after: u64| {
        let now = start + Duration::from_secs(after);
        let fresh =
            |name: &&String| matches!(cache.get(&question(name), now), Found::Fresh(_) | Found::Ageing(_));
        names.iter().filter(fresh).count() as f64 / ENTITIES as f64
    };
    // A lifetime of 300 s, more or less a tenth: 270 s to 331 s.
    assert_eq!(there(269), 1.0, "all that was put in is there");
    for (after, share) in [(280, 0.83), (290, 0.67), (300, 0.5), (310, 0.33), (320, 0.17)] {
        let found = there(after);
        assert!((found - share).abs() < 0.03, "{found} after {after} s, and {share} was to be expected");
    }
    assert_eq!(there(332), 0.0);
}

#[test]
fn the_vendor_sees_no_peak_above_its_quota_when_they_end_and_all_are_asked_again() {
    let (start, lifetimes) = (Instant::now(), lifetimes());
    let mut ends: Vec<Duration> = written(start)
        .map(|at| lifetimes.times(Outcome::Scored, EntityKind::User, at, random()).refresh_at())
        .map(|at| at.since(Moment::from(start)))
        .collect();
    ends.sort();
    // Enough for the demand of a second if that is even, and not if it is not: 100,000 over 144 s are 694 a second.
    for quota in [200_usize, 750] {
        let limit = Limit { requests: quota as u32, per: SECOND, share: (1, 1) };
        let mut limiter = Limiter::new(Some(limit));
        let (mut sent, mut longest) = (Vec::new(), Duration::ZERO);
        let mut now = start;
        for due in ends.iter().map(|end| start + *end) {
            now = now.max(due);
            while let Err(at) = limiter.take(now, Priority::Alert) {
                assert!(at > now);
                now = at;
            }
            limiter.land(now, now, true);
            sent.push(now);
            longest = longest.max(now - due);
        }
        let peak = sent.windows(quota + 1).filter(|calls| calls[quota] - calls[0] < SECOND).count();
        assert_eq!((sent.len(), peak), (ENTITIES, 0), "more than {quota} calls within a second");
        if quota == 750 {
            assert!(longest < 10 * SECOND, "the demand is spread: nobody waits for long, {longest:?}");
        }
    }
}
