//! Reading a list from page to page: what is due when, and where it goes on after an error.
//!
//! Pure: `now` is passed in. Contract: a page that failed is asked for again at the same cursor, after a pause that doubles until
//! reading gets further than it was, and is never shorter than the vendor wants; from the beginning only where the vendor refuses
//! the cursor, or the last page is longer ago than an interval. A table is given out when its last page is in it, and then nothing
//! is due until an interval after its reading began.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::table::{Builder, Table};
use super::{Listing, Page};
use crate::provider::error::Verdict;
use crate::provider::{Failure, FailureKind};

/// The pause after a first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that we choose ourselves.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Pages of one list: a vendor that gives more of them leads us on.
const MOST_PAGES: usize = 100_000;
/// Pages in a row that name nobody new.
const MOST_BARREN: usize = 100;
/// A table is believed for so many intervals.
const BELIEVED: u32 = 2;

/// How a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// From the beginning of one reading to that of the next.
    pub interval: Duration,
    /// Bytes of a table.
    pub capacity: u64,
    /// How long a table that is no longer believed may stand in.
    pub stale: Duration,
    /// The shortest pause after a refusal: it would be repeated, and some vendors lock who insists.
    pub refused_for: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'w> {
    /// Nothing, for so long.
    Wait(Duration),
    /// The page at this cursor is to be read; `None` is the first one.
    Read(Option<&'w str>),
}

/// How the reading of a list goes.
#[derive(Debug)]
pub struct Walk {
    rules: Rules,
    listing: Listing,
    due: Instant,
    /// Failures since reading last got further than ever before in this list.
    failures: u32,
    /// How many pages that was.
    reached: usize,
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    builder: Builder,
    cursor: String,
    /// Every cursor so far: one for each page but the last.
    seen: HashSet<String>,
    /// When the last page came.
    paged: Instant,
    begun: Instant,
    cut: bool,
    promised: Option<u64>,
    /// Pages in a row that named nobody new.
    barren: usize,
}

impl Walk {
    /// Before the first page, which is due at `due`.
    pub fn new(rules: Rules, listing: Listing, due: Instant) -> Self {
        Walk { rules, listing, due, failures: 0, reached: 0, under_way: None }
    }

    /// What is to be done at `now`.
    pub fn next(&mut self, now: Instant) -> Step<'_> {
        if now < self.due {
            return Step::Wait(self.due - now);
        }
        // A vendor's cursor does not live for ever, and what it leads through has changed.
        let old = |walk: &UnderWay| now.saturating_duration_since(walk.paged) > self.rules.interval;
        if self.under_way.as_ref().is_some_and(old) {
            self.under_way = None;
        }
        Step::Read(self.under_way.as_ref().map(|walk| walk.cursor.as_str()))
    }

    /// How often in a row reading failed without getting any further.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes the page that was to be read; gives the table when it was the last one.
    ///
    /// # Errors
    /// No row is understood, or the list has no end. It is begun anew, after a pause, and one without an end not before it is due
    /// again: it would cost the vendor as many pages each time.
    pub fn took(&mut self, page: Page, now: Instant, as_of: Timestamp) -> Result<Option<Table>, Failure> {
        let rules = self.rules;
        let mut walk = self.under_way.take().unwrap_or_else(|| UnderWay {
            builder: Builder::new(rules.capacity, now, as_of),
            cursor: String::new(),
            seen: HashSet::new(),
            paged: now,
            begun: now,
            cut: false,
            promised: None,
            barren: 0,
        });
        let before = walk.builder.entities();
        if before == 0 && !page.rows.is_empty() && page.rows.iter().all(|row| row.answer.is_err()) {
            let failure = Failure::malformed("no row of the vendor's list was understood");
            self.failed(&failure, now);
            return Err(failure);
        }
        walk.builder.add(&page.rows, now, as_of);
        walk.barren = if walk.builder.entities() > before { 0 } else { walk.barren + 1 };
        walk.cut |= page.cut;
        walk.promised = page.promised.or(walk.promised);
        walk.paged = now;
        // Whoever found no room makes the rest worthless.
        if let Some(next) = page.next.filter(|_| !walk.builder.is_full()) {
            let long = walk.seen.len() >= MOST_PAGES || walk.barren >= MOST_BARREN;
            if long || !walk.seen.insert(next.clone()) {
                let failure = Failure::malformed(
                    "the vendor's list has no end: a cursor came twice, or page after page names nobody new",
                );
                self.failed(&failure, now);
                self.due = self.due.max(walk.begun + rules.interval);
                return Err(failure);
            }
            // A list that is begun again and again, and never gets any further, is no progress.
            if walk.seen.len() > self.reached {
                (self.reached, self.failures) = (walk.seen.len(), 0);
            }
            walk.cursor = next;
            self.under_way = Some(walk);
            return Ok(None);
        }
        (self.reached, self.failures) = (0, 0);
        self.due = (walk.begun + rules.interval).max(now);
        // Where rows come twice, somebody else's did not come.
        let missing = walk.promised.is_some_and(|promised| promised > walk.builder.entities() as u64);
        let (cut, believed) = (walk.cut || missing, rules.interval.saturating_mul(BELIEVED));
        Ok(Some(walk.builder.finish(self.listing, cut, now, believed, rules.stale)))
    }

    /// The page that was to be read was not.
    pub fn failed(&mut self, failure: &Failure, now: Instant) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let mut pause = doubled.min(LONGEST_PAUSE).max(failure.retry_after.unwrap_or_default());
        if failure.kind.verdict() == Verdict::Refused {
            pause = pause.max(self.rules.refused_for);
        }
        self.due = now + pause;
        if failure.kind == FailureKind::BadRequest {
            self.under_way = None;
        }
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
