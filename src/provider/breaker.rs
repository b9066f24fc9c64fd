//! When a vendor is not asked for a while, because it is not well or refuses us.
//!
//! Closed until too many of the calls in a window were unhealthy or slow, or so many in a row, or one was refused; then open
//! for a time; then half-open: one call may try, and decides. Pure: `now` is passed in. Never decides what a
//! failure means: that is [`FailureKind::verdict`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::error::{FailureKind, Verdict};
use crate::config::provider::Breaker as Settings;

/// The window is counted in so many pieces.
const PIECES: u32 = 10;

/// Whether the vendor is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Every question is asked.
    Closed,
    /// None is.
    Open,
    /// One is, to see whether the vendor is well again.
    HalfOpen,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Condition; 3] = [Condition::Closed, Condition::Open, Condition::HalfOpen];

    /// The word in metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Condition::Closed => "closed",
            Condition::Open => "open",
            Condition::HalfOpen => "half_open",
        }
    }
}

/// Why the breaker is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The last of too many failures was of this kind.
    Failed(FailureKind),
    /// Too many calls were slow.
    Slow,
}

/// How a call that was let through ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer, after so long.
    Answered(Duration),
    /// With a failure, after so long.
    Failed(FailureKind, Duration),
    /// It says nothing: it was abandoned, or never left.
    Untold,
}

/// What [`Breaker::record`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It opened, or opened again after a probe, for so long.
    Opened(Reason, Duration),
    /// It closed.
    Closed,
}

/// Leave to make one call. Hand it back to [`Breaker::record`].
#[derive(Debug, PartialEq, Eq)]
pub struct Leave {
    /// The closed or half-open period that it was given in; it says nothing about a later one.
    period: u64,
}

/// The breaker of one provider.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    period: u64,
    calls: VecDeque<Piece>,
    /// Bad calls since the last good one: a vendor that stops answering is known by them long before the window has forgotten
    /// how well it was.
    in_a_row: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant, reason: Reason },
    HalfOpen { reason: Reason, probing: bool },
}

#[derive(Debug)]
struct Piece {
    since: Instant,
    calls: u32,
    bad: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: Settings) -> Self {
        Breaker { settings, state: State::Closed, period: 0, calls: VecDeque::new(), in_a_row: 0 }
    }

    /// Asks for leave to make a call at `now`.
    ///
    /// # Errors
    /// How long it stays open; zero while the one probe of a half-open breaker is under way.
    pub fn admit(&mut self, now: Instant) -> Result<Leave, Duration> {
        match &mut self.state {
            State::Closed => {}
            State::Open { until, .. } if now < *until => return Err(*until - now),
            State::Open { reason, .. } => {
                self.state = State::HalfOpen { reason: *reason, probing: true };
                self.period += 1;
            }
            State::HalfOpen { probing: true, .. } => return Err(Duration::ZERO),
            State::HalfOpen { probing, .. } => *probing = true,
        }
        Ok(Leave { period: self.period })
    }

    /// Learns how a call ended.
    pub fn record(&mut self, leave: Leave, ended: Ended, now: Instant) -> Option<Change> {
        if leave.period != self.period {
            return None;
        }
        let bad = self.judge(ended);
        match &mut self.state {
            State::Open { .. } => None,
            State::HalfOpen { probing, .. } => match bad {
                Judgement::Nothing => {
                    *probing = false;
                    None
                }
                Judgement::Well => {
                    self.enter(State::Closed);
                    Some(Change::Closed)
                }
                Judgement::Bad(reason) | Judgement::Refused(reason) => Some(self.open(reason, now)),
            },
            State::Closed => match bad {
                Judgement::Nothing => None,
                Judgement::Refused(reason) => Some(self.open(reason, now)),
                Judgement::Well => {
                    self.count(false, now);
                    None
                }
                Judgement::Bad(reason) => {
                    self.count(true, now);
                    self.too_many().then(|| self.open(reason, now))
                }
            },
        }
    }

    /// Whether the vendor is asked at `now`.
    pub fn condition(&self, now: Instant) -> Condition {
        match self.state {
            State::Closed => Condition::Closed,
            State::Open { until, .. } if now < until => Condition::Open,
            State::Open { .. } | State::HalfOpen { .. } => Condition::HalfOpen,
        }
    }

    /// Why it is not closed.
    pub fn reason(&self) -> Option<Reason> {
        match self.state {
            State::Closed => None,
            State::Open { reason, .. } | State::HalfOpen { reason, .. } => Some(reason),
        }
    }

    fn judge(&self, ended: Ended) -> Judgement {
        let (kind, elapsed) = match ended {
            Ended::Untold => return Judgement::Nothing,
            Ended::Answered(elapsed) => (None, elapsed),
            Ended::Failed(kind, elapsed) => (Some(kind), elapsed),
        };
        match kind.map(|kind| (kind, kind.verdict())) {
            Some((kind, Verdict::Refused)) => Judgement::Refused(Reason::Failed(kind)),
            Some((kind, Verdict::Unhealthy)) => Judgement::Bad(Reason::Failed(kind)),
            Some((_, Verdict::Neutral)) => Judgement::Nothing,
            None if elapsed > self.settings.slow => Judgement::Bad(Reason::Slow),
            None => Judgement::Well,
        }
    }

    fn open(&mut self, reason: Reason, now: Instant) -> Change {
        let refused = matches!(reason, Reason::Failed(kind) if kind.verdict() == Verdict::Refused);
        let time = if refused { self.settings.refused_for } else { self.settings.open_for };
        self.enter(State::Open { until: now + time, reason });
        Change::Opened(reason, time)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.period += 1;
        self.calls.clear();
        self.in_a_row = 0;
    }

    fn count(&mut self, bad: bool, now: Instant) {
        self.in_a_row = if bad { self.in_a_row.saturating_add(1) } else { 0 };
        let window = self.settings.window;
        while self.calls.front().is_some_and(|piece| piece.since + window <= now) {
            self.calls.pop_front();
        }
        match self.calls.back_mut() {
            Some(piece) if now.saturating_duration_since(piece.since) < window / PIECES => {
                piece.calls = piece.calls.saturating_add(1);
                piece.bad = piece.bad.saturating_add(u32::from(bad));
            }
            _ => self.calls.push_back(Piece { since: now, calls: 1, bad: u32::from(bad) }),
        }
    }

    fn too_many(&self) -> bool {
        if self.in_a_row >= self.settings.minimum {
            return true;
        }
        let calls: u64 = self.calls.iter().map(|piece| u64::from(piece.calls)).sum();
        let bad: u64 = self.calls.iter().map(|piece| u64::from(piece.bad)).sum();
        calls >= u64::from(self.settings.minimum) && bad as f64 >= self.settings.ratio * calls as f64
    }
}

enum Judgement {
    Nothing,
    Well,
    Bad(Reason),
    Refused(Reason),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const SETTINGS: Settings = Settings {
        ratio: 0.5,
        minimum: 4,
        window: Duration::from_secs(10),
        slow: Duration::from_secs(1),
        open_for: Duration::from_secs(5),
        refused_for: Duration::from_secs(60),
    };
    const WELL: Ended = Ended::Answered(MS);
    const BAD: Ended = Ended::Failed(FailureKind::ServerError, MS);
    const REFUSED: Ended = Ended::Failed(FailureKind::Forbidden, MS);

    fn call(breaker: &mut Breaker, ended: Ended, now: Instant) -> Option<Change> {
        let leave = breaker.admit(now).expect("the breaker is open");
        breaker.record(leave, ended, now)
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..3 {
            assert_eq!(call(&mut breaker, BAD, now), None);
        }
        let change = call(&mut breaker, BAD, now).unwrap();
        assert_eq!(change, Change::Opened(Reason::Failed(FailureKind::ServerError), SETTINGS.open_for));
        breaker
    }

    #[test]
    fn it_opens_at_the_ratio_and_not_before_the_minimum() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        for ended in [WELL, WELL, WELL, BAD, BAD] {
            assert_eq!(call(&mut breaker, ended, now), None);
        }
        assert!(call(&mut breaker, BAD, now).is_some());
        assert_eq!(breaker.admit(now + 4 * SETTINGS.open_for / 5), Err(SETTINGS.open_for / 5));
    }

    #[test]
    fn so_many_in_a_row_open_it_however_well_the_window_was() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        for ended in [WELL; 100].into_iter().chain([BAD, BAD, BAD, WELL, BAD, BAD, BAD]) {
            assert_eq!(call(&mut breaker, ended, now), None);
        }
        // What says nothing about the vendor ends no row.
        assert_eq!(call(&mut breaker, Ended::Failed(FailureKind::RateLimited, MS), now), None);
        assert!(call(&mut breaker, BAD, now).is_some());
    }

    #[test]
    fn slow_answers_count_as_bad() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        let slow = Ended::Answered(SETTINGS.slow + MS);
        let changes: Vec<_> = (0..4).filter_map(|_| call(&mut breaker, slow, now)).collect();
        assert_eq!(changes, [Change::Opened(Reason::Slow, SETTINGS.open_for)]);
    }

    #[test]
    fn a_refusal_opens_it_at_once_and_for_longer() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        let reason = Reason::Failed(FailureKind::Forbidden);
        assert_eq!(call(&mut breaker, REFUSED, now), Some(Change::Opened(reason, SETTINGS.refused_for)));
        assert_eq!(breaker.reason(), Some(reason));
        assert!(breaker.admit(now + SETTINGS.open_for).is_err());
        assert_eq!(breaker.condition(now + SETTINGS.refused_for), Condition::HalfOpen);
    }

    #[test]
    fn one_probe_decides_and_the_others_wait_for_it() {
        let now = Instant::now() + SETTINGS.open_for;
        let mut breaker = opened(now - SETTINGS.open_for);
        let probe = breaker.admit(now).unwrap();
        assert_eq!(breaker.admit(now), Err(Duration::ZERO));
        assert!(matches!(breaker.record(probe, BAD, now), Some(Change::Opened(..))));
        let now = now + SETTINGS.open_for;
        let probe = breaker.admit(now).unwrap();
        assert_eq!(breaker.record(probe, WELL, now), Some(Change::Closed));
        assert_eq!(breaker.condition(now), Condition::Closed);
    }

    #[test]
    fn an_abandoned_probe_makes_room_for_another() {
        let now = Instant::now() + SETTINGS.open_for;
        let mut breaker = opened(now - SETTINGS.open_for);
        for ended in [Ended::Untold, Ended::Failed(FailureKind::RateLimited, MS)] {
            let probe = breaker.admit(now).unwrap();
            assert_eq!(breaker.record(probe, ended, now), None);
        }
        assert!(breaker.admit(now).is_ok());
    }

    #[test]
    fn calls_from_before_it_opened_decide_nothing_later() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        let (early, earlier) = (breaker.admit(now).unwrap(), breaker.admit(now).unwrap());
        call(&mut breaker, REFUSED, now);
        assert_eq!(breaker.record(earlier, WELL, now), None);
        let now = now + SETTINGS.refused_for;
        let probe = breaker.admit(now).unwrap();
        assert_eq!(breaker.record(early, WELL, now), None);
        assert_eq!(breaker.record(probe, WELL, now), Some(Change::Closed));
    }

    #[test]
    fn failures_older_than_the_window_are_forgotten() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        for (second, ended) in
            [(0, BAD), (2, BAD), (4, WELL), (15, BAD), (17, BAD), (19, BAD), (19, WELL), (31, BAD)]
        {
            assert_eq!(call(&mut breaker, ended, now + Duration::from_secs(second)), None, "{second}");
        }
    }

    fn endings() -> impl Strategy<Value = Ended> {
        let failed = (0..FailureKind::ALL.len()).prop_map(|n| Ended::Failed(FailureKind::ALL[n], MS));
        let answered = (0u64..2000).prop_map(|ms| Ended::Answered(Duration::from_millis(ms)));
        prop_oneof![failed, answered, Just(Ended::Untold)]
    }

    proptest! {
        #[test]
        fn whatever_happens_it_lets_calls_through_again(
            steps in proptest::collection::vec((endings(), 0u64..4000), 1..200)
        ) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(SETTINGS);
            for (ended, pause) in steps {
                if let Ok(leave) = breaker.admit(now) {
                    if breaker.condition(now) == Condition::HalfOpen {
                        prop_assert!(breaker.admit(now).is_err(), "two probes at once");
                    }
                    breaker.record(leave, ended, now);
                }
                now += Duration::from_millis(pause);
            }
            let leave = breaker.admit(now + SETTINGS.refused_for).unwrap();
            breaker.record(leave, WELL, now + SETTINGS.refused_for);
            prop_assert_eq!(breaker.condition(now + SETTINGS.refused_for), Condition::Closed);
        }

        #[test]
        fn a_vendor_that_is_well_is_always_asked(pauses in proptest::collection::vec(0u64..4000, 1..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(SETTINGS);
            for pause in pauses {
                prop_assert_eq!(call(&mut breaker, WELL, now), None);
                now += Duration::from_millis(pause);
            }
        }
    }
}
