//! The limiter under every pattern of arrivals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::quota::Window;
use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn limit(requests: u32, per: Duration, share: (u32, u32)) -> Limit {
    Limit { requests, per, share }
}

/// Takes a slot for a request that is answered at once.
fn ask(limiter: &mut Limiter, now: Instant, priority: Priority) -> Result<(), Instant> {
    limiter.take(now, priority)?;
    limiter.land(now, now, true);
    Ok(())
}

/// Takes as many slots as there are at `now`.
fn drain(limiter: &mut Limiter, now: Instant) -> u32 {
    std::iter::repeat_with(|| ask(limiter, now, Priority::Alert))
        .take(10_000)
        .take_while(Result::is_ok)
        .count() as u32
}

/// Takes slots from `now` on for so long, always as soon as they come; returns when each was taken.
fn saturate(limiter: &mut Limiter, mut now: Instant, time: Duration, priority: Priority) -> Vec<Instant> {
    let end = now + time;
    let mut taken = Vec::new();
    while now < end {
        match ask(limiter, now, priority) {
            Ok(()) => taken.push(now),
            Err(at) => {
                assert!(at > now, "a wait must end later than now");
                now = at;
            }
        }
    }
    taken
}

fn most_in_a_window(taken: &[Instant], per: Duration) -> usize {
    taken
        .iter()
        .enumerate()
        .map(|(first, from)| taken[first..].iter().take_while(|at| **at < *from + per).count())
        .max()
        .unwrap_or_default()
}

fn remaining(remaining: u64, reset: u64) -> Quota {
    let reset = Some(Duration::from_secs(reset));
    Quota { retry_after: None, windows: vec![Window { remaining, reset }] }
}

fn retry_after(seconds: u64) -> Quota {
    Quota { retry_after: Some(Duration::from_secs(seconds)), windows: Vec::new() }
}

#[test]
fn a_share_divides_the_quota_and_stretches_what_cannot_be_divided() {
    let now = Instant::now();
    assert_eq!(drain(&mut Limiter::new(Some(limit(50, SECOND, (1, 3)))), now), 16);
    let mut slow = Limiter::new(Some(limit(1, SECOND, (1, 3))));
    let taken = saturate(&mut slow, now, 30 * SECOND, Priority::Alert);
    assert_eq!(most_in_a_window(&taken, 3 * SECOND), 1);
    assert!(taken.len() >= 9, "{}", taken.len());
}

#[test]
fn without_a_limit_everything_leaves_at_once() {
    assert_eq!(drain(&mut Limiter::new(None), Instant::now()), 10_000);
}

#[test]
fn a_refusal_blocks_for_as_long_as_the_vendor_says() {
    let now = Instant::now();
    let mut limiter = Limiter::new(None);
    limiter.observe(429, &retry_after(300), now);
    let until = now + 300 * SECOND;
    assert_eq!(ask(&mut limiter, now, Priority::Question), Err(until));
    assert_eq!(limiter.closed_until(now), Some(until));
    assert_eq!(ask(&mut limiter, until, Priority::Question), Ok(()));
}

#[test]
fn on_a_refusal_remaining_is_not_believed() {
    let now = Instant::now();
    let mut limiter = Limiter::new(None);
    limiter.observe(429, &remaining(9, 3), now);
    assert_eq!(ask(&mut limiter, now, Priority::Alert), Err(now + 3 * SECOND));
}

#[test]
fn refusals_without_a_word_block_longer_each_time_until_an_answer_comes() {
    let mut now = Instant::now();
    let mut limiter = Limiter::new(None);
    let mut blocked = |limiter: &mut Limiter, status| {
        limiter.observe(status, &Quota::default(), now);
        let wait = limiter.closed_until(now).map(|until| until - now);
        now += wait.unwrap_or_default();
        wait.unwrap_or_default().as_secs()
    };
    let waits: Vec<_> = (0..8).map(|_| blocked(&mut limiter, 429)).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    blocked(&mut limiter, 200);
    assert_eq!(blocked(&mut limiter, 429), 1);
}

#[test]
fn refusals_of_one_burst_count_once() {
    let now = Instant::now();
    let mut limiter = Limiter::new(None);
    for _ in 0..64 {
        limiter.observe(429, &Quota::default(), now);
    }
    assert_eq!(limiter.closed_until(now), Some(now + SECOND));
}

#[test]
fn a_late_answer_does_not_end_a_block() {
    let now = Instant::now();
    let mut limiter = Limiter::new(None);
    limiter.observe(429, &retry_after(30), now);
    limiter.observe(200, &remaining(100, 1), now);
    assert!(ask(&mut limiter, now + SECOND, Priority::Alert).is_err());
}

#[test]
fn after_a_block_it_starts_with_a_tenth_and_grows() {
    let now = Instant::now();
    for configured in [Some(limit(1000, 10 * SECOND, (1, 1))), None] {
        let mut limiter = Limiter::new(configured);
        limiter.observe(429, &retry_after(5), now);
        let end = now + 5 * SECOND;
        let all = configured.map_or(UNLIMITED.1, |limit| limit.requests);
        assert_eq!(drain(&mut limiter, end), all / 10);
        let half = limiter.ramp() / 2;
        let halfway = drain(&mut limiter, end + half);
        assert!(halfway > all / 4 && halfway < all * 3 / 5, "{halfway}");
    }
    let mut limiter = Limiter::new(None);
    limiter.observe(429, &retry_after(5), now);
    let over = now + 5 * SECOND + limiter.ramp();
    assert_eq!(drain(&mut limiter, over), 10_000);
}

#[test]
fn what_the_vendor_says_is_left_is_not_exceeded_before_its_reset() {
    let now = Instant::now();
    let reset = now + 30 * SECOND;
    let mut limiter = Limiter::new(Some(limit(1000, SECOND, (1, 1))));
    limiter.observe(200, &remaining(5, 30), now);
    assert_eq!(while_under_way(&mut limiter, now), 5);
    (0..5).for_each(|_| limiter.land(now, now, true));
    // Their answers come, one that was overtaken last: it does not open the window again.
    limiter.observe(200, &remaining(0, 30), now);
    limiter.observe(200, &remaining(4, 30), now);
    assert_eq!(ask(&mut limiter, now, Priority::Question), Err(reset));
    assert_eq!(limiter.closed_until(now), Some(reset));
    assert!(ask(&mut limiter, reset, Priority::Question).is_ok());
}

#[test]
fn answers_give_back_what_was_held_for_them() {
    let now = Instant::now();
    let mut limiter = Limiter::new(None);
    (0..64).for_each(|_| limiter.take(now, Priority::Alert).unwrap());
    // The vendor has counted all 64 that are under way when it answers the first.
    limiter.observe(200, &remaining(36, 30), now);
    limiter.land(now, now, true);
    assert!(limiter.take(now, Priority::Alert).is_err());
    (0..63).for_each(|_| limiter.land(now, now, true));
    assert_eq!(while_under_way(&mut limiter, now), 36);
}

/// Takes as many slots as there are while no answer comes.
fn while_under_way(limiter: &mut Limiter, now: Instant) -> usize {
    (0..10_000).take_while(|_| limiter.take(now, Priority::Alert).is_ok()).count()
}

#[test]
fn a_new_quota_does_not_forget_a_block() {
    let now = Instant::now();
    let mut limiter = Limiter::new(None);
    limiter.observe(429, &retry_after(30), now);
    limiter.configure(Some(limit(10, SECOND, (1, 1))));
    assert!(ask(&mut limiter, now, Priority::Alert).is_err());
}

#[test]
fn a_replica_takes_only_its_part_of_what_is_left() {
    let now = Instant::now();
    let mut limiter = Limiter::new(Some(limit(1000, SECOND, (1, 4))));
    limiter.observe(200, &remaining(40, 30), now);
    assert_eq!(while_under_way(&mut limiter, now), 10);
}

#[test]
fn a_refresh_leaves_a_tenth_to_what_is_urgent() {
    let now = Instant::now();
    let mut limiter = Limiter::new(Some(limit(100, SECOND, (1, 1))));
    let taken = std::iter::repeat_with(|| ask(&mut limiter, now, Priority::Refresh))
        .take_while(Result::is_ok)
        .count();
    assert_eq!(taken, 90);
    assert_eq!(drain(&mut limiter, now), 10);
}

/// Has it see what an answer takes at least, and gives the time after that.
fn taught(limiter: &mut Limiter, mut now: Instant, least: Duration) -> Instant {
    for _ in 0..BELIEVED {
        limiter.take(now, Priority::Alert).unwrap();
        limiter.land(now, now + least, true);
        now += limiter.window + least;
    }
    now
}

#[test]
fn a_request_that_took_long_to_arrive_is_not_forgotten_a_window_after_it_left() {
    let mut limiter = Limiter::new(Some(limit(2, SECOND, (1, 1))));
    let now = taught(&mut limiter, Instant::now(), Duration::from_millis(20));
    let at = |millis| now + Duration::from_millis(millis);
    // One on a connection that is open, and one that opens another.
    limiter.take(now, Priority::Alert).unwrap();
    limiter.take(now, Priority::Alert).unwrap();
    limiter.land(now, at(20), true);
    limiter.land(now, at(320), true);
    assert_eq!(limiter.take(at(1_000), Priority::Alert), Err(at(1_005)), "less what is unsure");
    limiter.take(at(1_005), Priority::Alert).unwrap();
    limiter.land(at(1_005), at(1_025), true);
    // Of the second, 300 ms may have been spent on the way there.
    assert_eq!(limiter.take(at(1_100), Priority::Alert), Err(at(1_305)));
    limiter.take(at(1_305), Priority::Alert).unwrap();
}

#[test]
fn what_an_answer_takes_at_least_is_believed_after_some() {
    let mut limiter = Limiter::new(Some(limit(1, SECOND, (1, 1))));
    let now = Instant::now();
    limiter.take(now, Priority::Alert).unwrap();
    limiter.land(now, now + SECOND / 2, true);
    assert_eq!(limiter.take(now + SECOND, Priority::Alert), Err(now + SECOND * 3 / 2));
}

#[test]
fn a_request_without_an_answer_is_held_until_it_is_over() {
    let now = Instant::now();
    let mut limiter = Limiter::new(Some(limit(1, SECOND, (1, 1))));
    limiter.take(now, Priority::Alert).unwrap();
    let late = now + 5 * SECOND;
    assert!(limiter.take(late, Priority::Alert).is_err());
    limiter.land(now, late, false);
    assert!(limiter.take(late, Priority::Alert).is_err());
    assert!(limiter.take(late + 2 * SECOND, Priority::Alert).is_ok());
    // One that never left takes nothing.
    limiter.cancel(late + 2 * SECOND);
    assert!(limiter.take(late + 2 * SECOND, Priority::Alert).is_ok());
}

#[test]
fn a_vendor_whose_every_answer_takes_longer_than_a_window_gets_its_whole_quota() {
    let start = Instant::now();
    let mut limiter = Limiter::new(Some(limit(10, SECOND, (1, 1))));
    let (mut now, mut under_way, mut taken) = (start, VecDeque::new(), 0);
    while now < start + 200 * SECOND {
        if now < start + 100 * SECOND {
            // Until it is known how long an answer takes.
            taken = 0;
        }
        while under_way.front().is_some_and(|left| *left + 3 * SECOND <= now) {
            let left: Instant = under_way.pop_front().unwrap();
            limiter.land(left, now, true);
        }
        while limiter.take(now, Priority::Alert).is_ok() {
            under_way.push_back(now);
            taken += 1;
        }
        now += Duration::from_millis(5);
    }
    assert!((950..=1000).contains(&taken), "{taken}");
}

#[test]
fn memory_does_not_grow_with_the_quota() {
    let mut limiter = Limiter::new(Some(limit(1_000_000, 3600 * SECOND, (1, 1))));
    let mut now = Instant::now();
    for _ in 0..200_000 {
        ask(&mut limiter, now, Priority::Alert).unwrap();
        now += Duration::from_millis(17);
    }
    assert!(limiter.taken.len() <= PIECES as usize + 1, "{}", limiter.taken.len());
}

fn limits() -> impl Strategy<Value = Limit> {
    (1u32..60, 50u64..5_000, 1u32..4, 0u32..3).prop_map(|(requests, per, numerator, more)| {
        limit(requests, Duration::from_millis(per), (numerator, numerator + more))
    })
}

proptest! {
    #[test]
    fn no_window_ever_has_more_than_is_allowed(
        limit in limits(),
        arrivals in proptest::collection::vec((0u64..400, 1u8..20, any::<bool>()), 1..200),
        refused_at in proptest::collection::vec(0usize..200, 0..3),
    ) {
        let mut limiter = Limiter::new(Some(limit));
        let mut now = Instant::now();
        let mut taken = Vec::new();
        for (number, (pause, burst, urgent)) in arrivals.into_iter().enumerate() {
            now += Duration::from_millis(pause);
            if refused_at.contains(&number) {
                limiter.observe(429, &Quota::default(), now);
            }
            let priority = if urgent { Priority::Question } else { Priority::Refresh };
            for _ in 0..burst {
                if ask(&mut limiter, now, priority).is_ok() {
                    taken.push(now);
                }
            }
        }
        let share = limit.requests * limit.share.0 / limit.share.1;
        prop_assert!(most_in_a_window(&taken, limit.per) <= share.max(1) as usize);
    }

    #[test]
    fn under_saturation_the_quota_is_used(limit in limits()) {
        let mut limiter = Limiter::new(Some(limit));
        let time = limit.per * 200;
        let taken = saturate(&mut limiter, Instant::now(), time, Priority::Alert);
        let whole = limit.requests * limit.share.0 / limit.share.1;
        if whole > 0 {
            prop_assert!(taken.len() as f64 >= 0.95 * f64::from(whole) * 200.0, "{} of {}", taken.len(), whole * 200);
            prop_assert!(most_in_a_window(&taken, limit.per) <= whole as usize);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a request spends on the way, beside what every one does: the vendor counts it when it arrives.
    #[test]
    fn no_window_of_the_vendors_ever_has_more_than_is_allowed(
        (requests, per) in (1u32..30, 50u64..1_000),
        ways in proptest::collection::vec((0u64..400, 0u64..200), 20..100),
        (there, back) in (0u64..50, 0u64..100),
    ) {
        let millis = Duration::from_millis;
        let limit = limit(requests, millis(per), (1, 1));
        let mut limiter = Limiter::new(Some(limit));
        // Some that meet no delay at all, so that the quickest is known.
        let mut now = taught(&mut limiter, Instant::now(), millis(there + back));
        let mut arrivals = Vec::new();
        let mut landings: Vec<(Instant, Instant)> = Vec::new();
        for (late_there, late_back) in ways {
            // Twenty connections, and as soon as there is a slot.
            while landings.len() >= 20 || limiter.take(now, Priority::Alert).is_err() {
                now += millis(1);
                landings.sort();
                while landings.first().is_some_and(|(landing, _)| *landing <= now) {
                    let (landing, left) = landings.remove(0);
                    limiter.land(left, landing, true);
                }
            }
            let arrival = now + millis(there + late_there);
            arrivals.push(arrival);
            landings.push((arrival + millis(back + late_back), now));
        }
        arrivals.sort();
        // Where every answer takes longer than a window, what is late is known too late.
        let quick = millis(there + back) < limit.per;
        prop_assert!(!quick || most_in_a_window(&arrivals, limit.per) <= requests as usize);
    }
}
