//! Snapshots: a vendor's whole list of scores, read at an interval and kept beside the cache.
//!
//! | file | owns |
//! |---|---|
//! | this one | what a vendor's list looks like ([`Bulk`]), and the table in use with what follows from it ([`Snapshot`]) |
//! | `table` | one table: who is in it, since when, for how long it is believed. Pure |
//! | `walk` | when the next page is due, and where an interrupted reading goes on. Pure |
//! | `reader` | the task that reads |
//!
//! Contract: a table comes into use whole or not at all, and the old one serves until then. Whoever is absent from a list that
//! is complete is unknown to the vendor; whoever is absent from a top list, or from a table that was cut, is not spoken of. A table is
//! believed for two intervals; an older one only stands in, marked, for as long as `cache.stale` says. Never asks about one entity.

pub mod reader;
mod table;
mod walk;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use self::table::Table;
use self::walk::Rules;
use super::error::Verdict;
use super::{Answer, Asking, Failure, FailureKind};
use crate::cache::Entry;
use crate::cache::ttl::Moment;
use crate::config::snapshot::{Mode, Snapshots};
use crate::entity::EntityKind;

/// What a vendor's list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Everybody whom the vendor has a score for: who is absent is unknown to it.
    Everybody,
    /// The riskiest only: absence says nothing.
    Riskiest,
}

/// A vendor whose scores can be read as a list.
///
/// What a caller may rely on, beside what [`super::Provider`] promises:
/// - [`page`](Bulk::page) is **one** attempt at one page: no retry, no waiting but for limiter and time-out.
/// - A list ends: the last page has no [`next`](Page::next). One whose cursors go round in a circle is the caller's to notice.
/// - A row that was not understood is there all the same, with what is wrong; one that names nobody makes its page
///   [`cut`](Page::cut).
pub trait Bulk: Send + Sync {
    /// Reads the first page, or the one at a cursor that an earlier one gave.
    fn page<'a>(&'a self, cursor: Option<&'a str>) -> Asking<'a, Page>;

    /// What rows call the entity, which is not always what alerts call it; `None` for one that the vendor cannot know, as its
    /// identifier has another form.
    fn name<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>>;

    /// What the list holds.
    fn listing(&self) -> Listing {
        Listing::Everybody
    }
}

/// A part of a vendor's list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// What it says of whom.
    pub rows: Vec<Row>,
    /// Where the next one begins; `None` on the last.
    pub next: Option<String>,
    /// Whether the vendor says that there is more than it gives.
    pub cut: bool,
    /// How many entities the vendor says are on all pages, where each has one name.
    pub promised: Option<u64>,
}

impl Page {
    /// A page of what was read from its rows, `None` where one names nobody: the list is then not all that it could be.
    ///
    /// # Errors
    /// None of them names anybody.
    pub fn of(read: impl IntoIterator<Item = Option<Row>>) -> Result<Self, Failure> {
        let mut page = Page::default();
        for row in read {
            match row {
                Some(row) => page.rows.push(row),
                None => page.cut = true,
            }
        }
        if page.cut && page.rows.is_empty() {
            return Err(Failure::malformed("no row of the vendor's list says whom it is about"));
        }
        Ok(page)
    }
}

/// What a list says of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// As [`Bulk::name`] spells it.
    pub name: String,
    /// Of several rows of one name the highest rank counts, of equal ones the highest score.
    pub rank: i64,
    /// The same as a look-up would have brought.
    pub answer: Result<Answer, FailureKind>,
}

/// What a snapshot says to a question.
#[derive(Clone, Debug)]
pub enum Told {
    /// The answer, whatever else is known.
    Only(Entry),
    /// The answer, unless the vendor said something later.
    Answer(Entry),
    /// None, and nobody else is to be asked; an old answer may stand in.
    Failed(FailureKind, Option<Entry>),
    /// The vendor is to be asked; an old answer may stand in if that fails.
    Ask(Option<Entry>),
}

/// One provider's snapshot: the table in use, and how reading it goes.
#[derive(Debug)]
pub struct Snapshot {
    mode: Mode,
    rules: Rules,
    timeout: Duration,
    table: RwLock<Option<Arc<Table>>>,
    trouble: Mutex<Option<(Failure, Timestamp)>>,
}

impl Snapshot {
    /// Nothing read yet; `None` where look-ups are all that is configured. An old table stands in for `stale`.
    ///
    /// After a refusal it is left alone for `refused_for` at least.
    pub fn new(config: &Snapshots, stale: Duration, refused_for: Duration) -> Option<Self> {
        let rules = Rules { interval: config.interval, capacity: config.capacity, stale, refused_for };
        (config.mode != Mode::Lookup).then(|| Snapshot {
            mode: config.mode,
            rules,
            timeout: config.timeout,
            table: RwLock::default(),
            trouble: Mutex::default(),
        })
    }

    /// Whether the vendor is asked about those of whom the snapshot says nothing.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Bound of the request for a page.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The table in use.
    pub fn table(&self) -> Option<Arc<Table>> {
        // No code panics while it holds the lock, so a poisoned one holds what it should.
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it says of the entity that `bulk` has in its list.
    pub fn tell(&self, bulk: &dyn Bulk, kind: EntityKind, id: &str, now: Instant) -> Told {
        let Some(name) = bulk.name(kind, id) else {
            return match self.mode {
                Mode::Snapshot => Told::Failed(FailureKind::InvalidIdentifier, None),
                // Its own words for that are the vendor's code's.
                Mode::Both | Mode::Lookup => Told::Ask(None),
            };
        };
        let now = Moment::from(now);
        let Some(table) = self.table() else { return self.without(None) };
        match table.find(&name) {
            // It is in the list, and the row was not understood.
            Some(entry) if entry.failure().is_some() => match (self.mode, entry.failure()) {
                (Mode::Snapshot, Some(kind)) => Told::Failed(kind, None),
                _ => Told::Ask(None),
            },
            Some(entry) if now < table.believed_until() => match self.mode {
                Mode::Snapshot => Told::Only(entry),
                Mode::Both | Mode::Lookup => Told::Answer(entry),
            },
            entry => self.without(entry.filter(|_| now < table.usable_until())),
        }
    }

    fn without(&self, old: Option<Entry>) -> Told {
        match self.mode {
            Mode::Snapshot => {
                let kind = self.trouble().map_or(FailureKind::NoSnapshot, |(failure, _)| failure.kind);
                Told::Failed(kind, old)
            }
            Mode::Both | Mode::Lookup => Told::Ask(old),
        }
    }

    /// What is wrong with it at `now`, in words for people; `None` when it is as it should be.
    pub fn problem(&self, now: Instant) -> Option<String> {
        let trouble = self.trouble();
        let why = trouble.as_ref().map(|(failure, since)| format!(" ({failure}, since {since:.0})"));
        let why = why.unwrap_or_default();
        let Some(table) = self.table() else {
            // With look-ups beside it nothing is missing until something is wrong.
            return (trouble.is_some() || self.mode == Mode::Snapshot)
                .then(|| format!("no snapshot yet{why}"));
        };
        let age = Moment::from(now).since(table.begun()).as_secs();
        if Moment::from(now) >= table.believed_until() {
            return Some(format!("the snapshot is {age} s old{why}"));
        }
        // A vendor that stumbles gets up by itself, long before the table is too old.
        if trouble.is_some_and(|(failure, _)| needs_people(failure.kind)) {
            return Some(format!(
                "reading the vendor's list again failed{why}; that of {age} s ago is in use"
            ));
        }
        let problem = if table.is_complete() && table.entities() == 0 {
            "the vendor's list is empty: check site, account or end point"
        } else if table.is_full() {
            "the vendor's list is longer than `snapshot.capacity` holds, so that absence from it says nothing"
        } else if table.is_cut() {
            "the vendor gave less than its whole list, so that absence from it says nothing"
        } else {
            return None;
        };
        Some(problem.to_owned())
    }

    /// Begins with the table that `before` has in use, where there is one.
    pub fn inherit(&self, before: &Snapshot) {
        if let Some(table) = before.table() {
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(table);
        }
    }

    fn trouble(&self) -> Option<(Failure, Timestamp)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, table: Table) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(table));
    }

    /// Notes that a page was not read; whether that is news.
    fn failed(&self, failure: &Failure) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let news = trouble.as_ref().is_none_or(|(before, _)| before.kind != failure.kind);
        let since = trouble.take().map_or_else(Timestamp::now, |(_, since)| since);
        *trouble = Some((failure.clone(), since));
        news
    }
}

/// Whether a list that failed so is read no sooner for being asked for again.
fn needs_people(kind: FailureKind) -> bool {
    kind.verdict() == Verdict::Refused
        || matches!(kind, FailureKind::BadRequest | FailureKind::MalformedResponse)
}

#[cfg(test)]
mod tests;
