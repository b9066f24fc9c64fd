//! How often a vendor may be asked with one credential.
//!
//! Owns the sliding window, "blocked until", the ramp after a block, and what the vendor's headers say is
//! left. Pure: `now` is passed in. Contract: in no window of `per` does the vendor count more than `requests * share`
//! requests, as far as answers tell when it may have; a block ends every taking until it is over. Who waits for a slot, and in
//! which order, is [`super::gate`]'s.
//!
//! When a request was counted is not known: after it left, before its answer came. A first one may take longer to arrive, as it
//! opens a connection, than the next ones; counted from when it left, both would be counted by the vendor within one window. So a
//! slot is held from the moment at which the request would have left if all that its answer took beyond the quickest answer had
//! been spent on the way there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::quota::{LONGEST, Quota};
use crate::config::provider::Limit;

/// Who is asking, most urgent first: a person or playbook that waits, an alert, a refresh of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// The look-up API or the command line.
    Question,
    /// An alert on its way.
    Alert,
    /// A background refresh or snapshot. Leaves a tenth of every window to the others.
    Refresh,
}

impl Priority {
    /// Every priority, most urgent first.
    pub const ALL: [Priority; 3] = [Priority::Question, Priority::Alert, Priority::Refresh];
}

/// By so much the quickest answer may have been slower than the quickest way there and the quickest way back together. More
/// would cost replicas that share a quota what rounding leaves of it.
const UNSURE: Duration = Duration::from_millis(5);
/// The quickest of fewer answers than this says nothing.
const BELIEVED: u32 = 200;
/// A window is remembered in at most about this many pieces, whatever the quota, to bound memory.
const PIECES: u32 = 1024;
/// The window in which an unlimited provider is counted while it recovers from a block, and how many
/// requests it may have in it when the ramp ends.
const UNLIMITED: (Duration, u32) = (Duration::from_secs(1), 100);
/// The first block when a refusal does not say how long it lasts; doubles with each further one.
const FIRST_BLOCK: Duration = Duration::from_secs(1);
/// The longest block that we choose ourselves.
const LONGEST_OWN_BLOCK: Duration = Duration::from_secs(60);

/// The requests of one credential.
#[derive(Debug)]
pub struct Limiter {
    window: Duration,
    /// Slots in any window; `None`: as many as are wanted.
    allowed: Option<u32>,
    /// Our part of what headers say is left, as they speak of all replicas.
    share: (u32, u32),
    /// When those left that have no answer yet and are within the window, oldest first.
    open: VecDeque<Instant>,
    /// All that have no answer yet.
    under_way: u64,
    quickest: Quickest,
    /// Slots of answered requests within the last window, oldest first, in pieces.
    taken: VecDeque<Piece>,
    taken_sum: u32,
    blocked_until: Option<Instant>,
    /// Refusals in a row.
    refusals: u32,
    hint: Option<Hint>,
}

/// Slots taken close together; they leave the window when the last of them does.
#[derive(Debug)]
struct Piece {
    first: Instant,
    last: Instant,
    count: u32,
}

/// The quickest answer of the last ten to twenty minutes: what passes between leaving and answer in any case. A slower way takes
/// so long to be believed, and costs some of the quota until then.
#[derive(Debug, Default)]
struct Quickest {
    current: Option<Duration>,
    before: Option<Duration>,
    since: Option<Instant>,
    answers: u32,
}

impl Quickest {
    /// How long one of the two spans is over which it is looked for.
    const SPAN: Duration = Duration::from_secs(600);

    fn see(&mut self, took: Duration, now: Instant) {
        self.answers = self.answers.saturating_add(1);
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= Self::SPAN {
            (self.before, self.current, self.since) = (self.current, None, Some(now));
        }
        self.current = Some(self.current.map_or(took, |current| current.min(took)));
    }

    /// What passes at least; nothing while that is not known.
    fn get(&self) -> Duration {
        let quickest = self.current.into_iter().chain(self.before).min().filter(|_| self.answers >= BELIEVED);
        quickest.unwrap_or_default().saturating_sub(UNSURE)
    }
}

/// What the vendor says is left until a moment: the least that it said, since answers overtake each other.
/// Every request is counted once: while it is under way by us, from its answer on by the vendor.
#[derive(Debug)]
struct Hint {
    left: u64,
    until: Instant,
}

impl Limiter {
    /// A limiter of the configured quota; `None` only obeys the vendor.
    pub fn new(limit: Option<Limit>) -> Self {
        let mut limiter = Limiter {
            window: UNLIMITED.0,
            allowed: None,
            share: (1, 1),
            open: VecDeque::new(),
            under_way: 0,
            quickest: Quickest::default(),
            taken: VecDeque::new(),
            taken_sum: 0,
            blocked_until: None,
            refusals: 0,
            hint: None,
        };
        limiter.configure(limit);
        limiter
    }

    /// Changes the quota and keeps what happened so far.
    pub fn configure(&mut self, limit: Option<Limit>) {
        let share = limit.map_or((1, 1), |limit| (limit.share.0.max(1), limit.share.1.max(1)));
        let (allowed, window) = match limit {
            None => (None, UNLIMITED.0),
            Some(limit) => {
                let slots = u64::from(limit.requests.max(1)) * u64::from(share.0);
                let parts = u64::from(share.1);
                let per = limit.per.max(Duration::from_millis(1));
                // Less than one slot in a window: one slot in a longer window.
                let (allowed, per) = match slots / parts {
                    0 => (1, per.saturating_mul(u32::try_from(parts.div_ceil(slots)).unwrap_or(u32::MAX))),
                    some => (u32::try_from(some).unwrap_or(u32::MAX), per),
                };
                (Some(allowed), per)
            }
        };
        (self.allowed, self.window, self.share) = (allowed, window, share);
    }

    /// Takes a slot for a request that leaves at `now`. [`land`](Limiter::land) it, or [`cancel`](Limiter::cancel) it.
    ///
    /// # Errors
    /// The earliest moment, after `now`, at which it may be worth trying again if no answer comes before.
    pub fn take(&mut self, now: Instant, priority: Priority) -> Result<(), Instant> {
        self.forget(now);
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Err(until);
        }
        if let Some(hint) = &self.hint {
            if hint.until <= now {
                self.hint = None;
            } else if hint.left <= self.under_way {
                return Err(hint.until);
            }
        }
        if let Some(allowed) = self.allowed_at(now) {
            let reserve = if priority == Priority::Refresh { allowed / 10 } else { 0 };
            let open = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
            if self.taken_sum.saturating_add(open).saturating_add(reserve) >= allowed {
                return Err(self.next_change(now));
            }
        }
        self.open.push_back(now);
        self.under_way += 1;
        Ok(())
    }

    /// The request that left at `left` is over at `now`, with an answer or without.
    pub fn land(&mut self, left: Instant, now: Instant, answered: bool) {
        self.cancel(left);
        let took = now.saturating_duration_since(left);
        let counted = if answered {
            self.quickest.see(took, now);
            // At least `left`, as the quickest is no slower than this one.
            now.checked_sub(self.quickest.get()).unwrap_or(left)
        } else {
            now
        };
        if counted + self.window > now {
            self.remember(counted);
        }
    }

    /// The request that was to leave at `left` never did.
    pub fn cancel(&mut self, left: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Ok(place) = self.open.binary_search(&left) {
            self.open.remove(place);
        }
    }

    /// Until when the vendor gets nothing, where that is later than `now`: it asked for it, or nothing is left.
    pub fn closed_until(&self, now: Instant) -> Option<Instant> {
        let empty = self.hint.as_ref().filter(|hint| hint.left == 0).map(|hint| hint.until);
        self.blocked_until.max(empty).filter(|until| *until > now)
    }

    fn blocked(&self, now: Instant) -> bool {
        self.blocked_until.is_some_and(|until| until > now)
    }

    /// Learns from a response: its status and what its headers say.
    pub fn observe(&mut self, status: u16, quota: &Quota, now: Instant) {
        let refused = status == 429 || (status == 503 && quota.retry_after.is_some());
        if refused {
            let wait = quota.wait_after_refusal().filter(|wait| !wait.is_zero());
            // Answers to requests that left before the block do not prolong it unless they say so.
            if wait.is_none() && self.blocked(now) {
                return;
            }
            let own = FIRST_BLOCK.saturating_mul(1 << self.refusals.min(6)).min(LONGEST_OWN_BLOCK);
            self.refusals = self.refusals.saturating_add(1);
            self.block(now + wait.unwrap_or(own).min(LONGEST));
            self.hint = None;
            return;
        }
        if !self.blocked(now) {
            self.refusals = 0;
        }
        for window in &quota.windows {
            let Some(reset) = window.reset.filter(|reset| !reset.is_zero()) else { continue };
            let ours = window.remaining.saturating_mul(u64::from(self.share.0)) / u64::from(self.share.1);
            // A small rest that cannot be divided among replicas still lets each of them go on.
            let left = if window.remaining > 0 { ours.max(1) } else { 0 };
            let until = now + reset;
            let tighter = self.hint.as_ref().is_none_or(|hint| hint.until <= now || left <= hint.left);
            if tighter {
                self.hint = Some(Hint { left, until });
            }
        }
    }

    fn block(&mut self, until: Instant) {
        self.blocked_until = Some(self.blocked_until.map_or(until, |old| old.max(until)));
    }

    /// Slots that a window may hold at `now`. After a block it grows from a tenth to all of it over one
    /// window, at most a minute, so that the vendor does not get everything that waited at once.
    fn allowed_at(&self, now: Instant) -> Option<u32> {
        let ramp = self.ramp();
        let since = self.blocked_until.map(|until| now.saturating_duration_since(until));
        match (since.filter(|since| *since < ramp), self.allowed) {
            (None, allowed) => allowed,
            (Some(since), allowed) => {
                let all = f64::from(allowed.unwrap_or(UNLIMITED.1));
                let part = 0.1 + 0.9 * since.as_secs_f64() / ramp.as_secs_f64();
                Some(((all * part) as u32).max(1))
            }
        }
    }

    fn ramp(&self) -> Duration {
        self.window.clamp(Duration::from_secs(5), Duration::from_secs(60))
    }

    /// When the window next has room: its oldest piece leaves, or the ramp has grown.
    fn next_change(&self, now: Instant) -> Instant {
        let oldest = [
            self.taken.front().map(|piece| piece.last),
            self.open.front().copied().filter(|_| self.forgets_open()),
        ];
        let leaves =
            oldest.into_iter().flatten().min().map_or(now + self.window, |oldest| oldest + self.window);
        let ramping = self.blocked_until.is_some_and(|until| now < until + self.ramp());
        let next = if ramping { leaves.min(now + self.ramp() / 20) } else { leaves };
        next.max(now + Duration::from_micros(100))
    }

    fn remember(&mut self, counted: Instant) {
        self.taken_sum = self.taken_sum.saturating_add(1);
        let width = self.window / PIECES;
        match self.taken.back_mut() {
            Some(piece) if counted.saturating_duration_since(piece.first) < width => {
                piece.count = piece.count.saturating_add(1);
                piece.last = piece.last.max(counted);
            }
            _ => self.taken.push_back(Piece { first: counted, last: counted, count: 1 }),
        }
    }

    /// Whether a request without an answer is forgotten a window after it left: where every answer takes longer than a window,
    /// holding its slot until then would cost most of the quota.
    fn forgets_open(&self) -> bool {
        self.quickest.get() >= self.window
    }

    /// Whether a request or a refusal of before still counts.
    pub fn remembers(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.taken_sum > 0 || self.under_way > 0 || self.closed_until(now).is_some()
    }

    fn forget(&mut self, now: Instant) {
        while let Some(piece) = self.taken.front().filter(|piece| piece.last + self.window <= now) {
            self.taken_sum = self.taken_sum.saturating_sub(piece.count);
            self.taken.pop_front();
        }
        if self.forgets_open() {
            while self.open.front().is_some_and(|left| *left + self.window <= now) {
                self.open.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests;
