//! One table of a vendor's scores, and how it is built from pages.
//!
//! Pure. Contract: what is found under a name was read under that name; a table never weighs more than its capacity, and one
//! that had no room for everybody says so and says nothing of who is absent.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Listing, Row};
use crate::cache::entry::{Content, Entry};
use crate::cache::key::{Prehashed, ProviderId, Question};
use crate::cache::store::allocated;
use crate::cache::ttl::{Moment, Times};
use crate::compose::Rendered;
use crate::entity::EntityKind;
use crate::provider::{Answer, FailureKind};

/// Bytes that the map takes for an entry beside the entry itself: 25 for each of 8/7 to 16/7 places, and while it grows for those
/// of its old size as well.
const PLACE: u64 = 88;

/// An entry and its rank among rows of the same name.
type Ranked = (i64, Entry);

/// A vendor's list as it was read from beginning to end.
#[derive(Debug)]
pub struct Table {
    rows: HashMap<u64, Ranked, Prehashed>,
    /// What is said of whoever is not in it, where that is anything.
    absent: Option<Entry>,
    full: bool,
    cut: bool,
    bytes: u64,
    begun: Moment,
    as_of: Timestamp,
    believed_until: Moment,
    usable_until: Moment,
}

impl Table {
    /// What it says of the entity of that name, which may be that it is unknown.
    pub fn find(&self, name: &str) -> Option<Entry> {
        let question = question(name);
        let found = self.rows.get(&question.number()).filter(|(_, entry)| entry.is_about(&question));
        found.map(|(_, entry)| entry).or(self.absent.as_ref()).cloned()
    }

    /// Entities in it.
    pub fn entities(&self) -> usize {
        self.rows.len()
    }

    /// Bytes, by the estimate that bounds them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there was no room for everybody.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether it is less than what the vendor's list should be: there was no room, or the vendor gave less than it said.
    pub fn is_cut(&self) -> bool {
        self.full || self.cut
    }

    /// Whether absence from it means something.
    pub fn is_complete(&self) -> bool {
        self.absent.is_some()
    }

    /// When reading it began: nothing in it is older.
    pub fn begun(&self) -> Moment {
        self.begun
    }

    /// The same by the wall clock.
    pub fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// Until here it speaks for the vendor.
    pub fn believed_until(&self) -> Moment {
        self.believed_until
    }

    /// Until here it may stand in, marked, when the vendor cannot be asked.
    pub fn usable_until(&self) -> Moment {
        self.usable_until
    }
}

/// A table under construction.
#[derive(Debug)]
pub struct Builder {
    rows: HashMap<u64, Ranked, Prehashed>,
    bytes: u64,
    capacity: u64,
    full: bool,
    begun: Instant,
    as_of: Timestamp,
}

impl Builder {
    /// An empty one of at most `capacity` bytes, whose reading begins now.
    pub fn new(capacity: u64, now: Instant, as_of: Timestamp) -> Self {
        Builder { rows: HashMap::default(), bytes: 0, capacity, full: false, begun: now, as_of }
    }

    /// Whether somebody found no room.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Entities so far.
    pub fn entities(&self) -> usize {
        self.rows.len()
    }

    /// Adds what a page says, which came `now`.
    pub fn add(&mut self, rows: &[Row], now: Instant, as_of: Timestamp) {
        for row in rows {
            let question = question(&row.name);
            let entry = entry(&question, row.answer.as_ref(), now, as_of);
            let old = self.rows.get(&question.number());
            if old
                .is_some_and(|(rank, old)| *rank > row.rank || (*rank == row.rank && !is_above(&entry, old)))
            {
                continue;
            }
            let bytes = self.bytes - old.map_or(0, |(_, old)| weight(old)) + weight(&entry);
            if bytes > self.capacity {
                self.full = true;
                return;
            }
            self.bytes = bytes;
            self.rows.insert(question.number(), (row.rank, entry));
        }
    }

    /// The table of a `listing` that may be `cut`: less than the vendor says it is. It is believed for `believed` from now, and may
    /// stand in for `stale` longer.
    pub fn finish(
        self,
        listing: Listing,
        cut: bool,
        now: Instant,
        believed: Duration,
        stale: Duration,
    ) -> Table {
        let Builder { mut rows, bytes, full, begun, as_of, .. } = self;
        let everybody = listing == Listing::Everybody;
        rows.shrink_to_fit();
        let unknown = Answer::Unknown { detail: None };
        let until = |distance: Duration| {
            now.checked_add(distance).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)))
        };
        Table {
            rows,
            absent: (everybody && !cut && !full).then(|| entry(&question(""), Ok(&unknown), begun, as_of)),
            full,
            cut: everybody && cut,
            bytes,
            begun: begun.into(),
            as_of,
            believed_until: until(believed).into(),
            usable_until: until(believed.saturating_add(stale)).into(),
        }
    }
}

/// A name as a question: a table is one provider's, and its names are of one kind.
fn question(name: &str) -> Question<'_> {
    Question::new(ProviderId(0), EntityKind::User, name)
}

/// How long it is used is the table's business.
fn entry(
    question: &Question<'_>,
    answer: Result<&Answer, &FailureKind>,
    now: Instant,
    as_of: Timestamp,
) -> Entry {
    let times = Times::new(now, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    match answer {
        Ok(answer) => Entry::new(question, Content::Answer(Rendered::of(answer, as_of).get()), times),
        Err(kind) => Entry::new(question, Content::Failure(*kind), times),
    }
}

fn is_above(entry: &Entry, other: &Entry) -> bool {
    let verdict = |entry: &Entry| match entry.content() {
        Content::Answer(answer) => answer.score().zip(answer.level()),
        Content::Failure(_) => None,
    };
    verdict(entry) > verdict(other)
}

fn weight(entry: &Entry) -> u64 {
    PLACE + allocated(entry.bytes() as u64)
}
