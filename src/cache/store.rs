//! Where answers are kept: bounded by bytes, resistant to scans, with a share for what is not known.
//!
//! Contract: the weight of all answers stays below the configured capacity. Entities that no vendor knows (and
//! failures) fill at most a quarter of it, so that random identifiers in alerts cannot wash the known ones out.
//! Reading never waits for a vendor. Takes `now`; never looks at a clock.

use std::sync::Arc;
use std::time::Instant;

use quick_cache::sync::Cache as Bounded;
use quick_cache::{OptionsBuilder, Weighter};

use super::key::{Key, Prehashed, Question};
use super::ttl::Times;
use crate::compose::Rendered;
use crate::provider::FailureKind;

/// Part of the capacity for what is unknown or failed: one in this many bytes.
const UNKNOWN_SHARE: u64 = 4;

/// Bytes of an entry beside its text: the entry itself, its reference counts, its key, and what the table and
/// the allocator add (measured by the `cache_memory` bench).
const OVERHEAD: usize = 176;

/// One answer, or a failure that is remembered.
#[derive(Debug)]
pub struct Entry {
    /// What was answered.
    pub content: Content,
    /// When it is to be asked again.
    pub times: Times,
}

/// What a question brought.
#[derive(Debug)]
pub enum Content {
    /// An answer, rendered.
    Answer(Rendered),
    /// None, and why.
    Failure(FailureKind),
}

impl Entry {
    fn is_known(&self) -> bool {
        matches!(&self.content, Content::Answer(rendered) if !rendered.is_unknown())
    }
}

/// What the cache says to a question.
#[derive(Debug)]
pub enum Found {
    /// A fresh answer.
    Fresh(Arc<Entry>),
    /// A fresh answer that should be asked again in the background.
    Ageing(Arc<Entry>),
    /// The question failed a moment ago; an old answer may stand in.
    Failed(FailureKind, Option<Arc<Entry>>),
    /// It has to be asked; an old answer may stand in if that fails.
    Miss(Option<Arc<Entry>>),
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        let text = match &entry.content {
            Content::Answer(rendered) => rendered.bytes(),
            Content::Failure(_) => 0,
        };
        (OVERHEAD + key.id.len() + text) as u64
    }
}

type Shelf = Bounded<Key, Arc<Entry>, ByBytes, Prehashed>;

/// The answers.
pub struct Cache {
    known: Shelf,
    other: Shelf,
}

impl Cache {
    /// A cache of at most `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let other = capacity / UNKNOWN_SHARE;
        Cache { known: shelf(capacity - other), other: shelf(other) }
    }

    /// What is known of a question.
    pub fn get(&self, question: &Question<'_>, now: Instant) -> Found {
        let known = self.known.get(question);
        if let Some(entry) = &known
            && now < entry.times.fresh_until()
        {
            return fresh(Arc::clone(entry), now);
        }
        let standby = known.filter(|entry| now < entry.times.stale_until());
        match self.other.get(question) {
            Some(entry) if now < entry.times.fresh_until() => match &entry.content {
                Content::Answer(_) => fresh(entry, now),
                Content::Failure(kind) => Found::Failed(*kind, standby),
            },
            Some(entry) if now < entry.times.stale_until() => Found::Miss(standby.or(Some(entry))),
            _ => Found::Miss(standby),
        }
    }

    /// Keeps an answer. It takes the place of what was known before; a failure leaves an old answer beside it.
    pub fn insert(&self, key: Key, entry: Arc<Entry>) {
        match entry.content {
            Content::Answer(_) if entry.is_known() => {
                self.other.remove(&key.question());
                self.known.insert(key, entry);
            }
            Content::Answer(_) => {
                self.known.remove(&key.question());
                self.other.insert(key, entry);
            }
            Content::Failure(_) => self.other.insert(key, entry),
        }
    }

    /// Forgets what is known of a question; whether there was anything.
    pub fn forget(&self, question: &Question<'_>) -> bool {
        let known = self.known.remove(question).is_some();
        self.other.remove(question).is_some() || known
    }

    /// Answers held.
    pub fn entries(&self) -> usize {
        self.known.len() + self.other.len()
    }

    /// Bytes held, by the estimate that bounds them.
    pub fn bytes(&self) -> u64 {
        self.known.weight() + self.other.weight()
    }
}

fn fresh(entry: Arc<Entry>, now: Instant) -> Found {
    if now < entry.times.refresh_at() { Found::Fresh(entry) } else { Found::Ageing(entry) }
}

fn shelf(capacity: u64) -> Shelf {
    // A guess for the table's first size only: it grows with what is inserted.
    let items = (capacity / (OVERHEAD as u64 + 400)).clamp(64, 1 << 20) as usize;
    match OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(capacity).build() {
        Ok(options) => Bounded::with_options(options, ByBytes, Prehashed::default(), Default::default()),
        Err(_) => Bounded::with(items, capacity, ByBytes, Prehashed::default(), Default::default()),
    }
}
