//! Where answers are kept: bounded by bytes, resistant to scans, with a share for what is not known.
//!
//! Contract: the weight of all answers stays below the configured capacity. Entities that no vendor knows (and
//! failures) fill at most a quarter of it, so that random identifiers in alerts cannot wash the known ones out.
//! Reading never waits for a vendor. Takes `now`; never looks at a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use quick_cache::sync::Cache as Bounded;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::key::{Key, Prehashed, Question};
use super::ttl::Times;
use crate::compose::Rendered;
use crate::provider::FailureKind;

/// Part of the capacity for what is unknown or failed: one in this many bytes.
const UNKNOWN_SHARE: u64 = 4;

/// Bytes of an entry beside its text: the entry itself, its reference counts, its key, and what the table and
/// the allocator add (measured by the `cache_memory` bench).
const OVERHEAD: usize = 184;

/// One answer, or a failure that is remembered.
#[derive(Debug)]
pub struct Entry {
    /// What was answered.
    pub content: Content,
    /// When it is to be asked again.
    pub times: Times,
    /// Seconds from `times.written` before which no refresh is to start; [`UNDER_WAY`] while one is.
    not_before: AtomicU32,
}

/// A refresh is under way.
const UNDER_WAY: u32 = u32::MAX;

/// What a question brought.
#[derive(Debug)]
pub enum Content {
    /// An answer, rendered.
    Answer(Rendered),
    /// None, and why.
    Failure(FailureKind),
}

impl Entry {
    /// What a question brought, to be asked again at `times`.
    pub fn new(content: Content, times: Times) -> Self {
        Entry { content, times, not_before: AtomicU32::new(0) }
    }

    /// Whether the caller is to refresh it: one of all who find it ageing, and after a refresh that failed nobody
    /// for a while.
    pub fn claim_refresh(&self, now: Instant) -> bool {
        let age = self.seconds(now);
        let claim = |not_before| (not_before <= age).then_some(UNDER_WAY);
        self.not_before.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_ok()
    }

    /// Its refresh failed: the next one may start at `at`, to the second above.
    pub fn put_off_refresh(&self, at: Instant) {
        self.not_before.store((self.seconds(at) + 1).min(UNDER_WAY - 1), Ordering::Relaxed);
    }

    fn seconds(&self, at: Instant) -> u32 {
        let age = at.saturating_duration_since(self.times.written).as_secs();
        u32::try_from(age).unwrap_or(UNDER_WAY).min(UNDER_WAY - 1)
    }

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

/// Counts what had to go to make room.
#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Arc<Entry>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _key: Key, _entry: Arc<Entry>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Shelf = Bounded<Key, Arc<Entry>, ByBytes, Prehashed, Evictions>;

/// The answers.
pub struct Cache {
    known: Shelf,
    other: Shelf,
    evictions: Evictions,
}

impl Cache {
    /// A cache of at most `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let other = capacity / UNKNOWN_SHARE;
        let evictions = Evictions::default();
        Cache {
            known: shelf(capacity - other, evictions.clone()),
            other: shelf(other, evictions.clone()),
            evictions,
        }
    }

    /// What is known of a question.
    pub fn get(&self, question: &Question<'_>, now: Instant) -> Found {
        let standby = match self.known.get(question) {
            Some(entry) if now < entry.times.fresh_until() => return fresh(entry, now),
            old => old.filter(|entry| now < entry.times.stale_until()),
        };
        match self.other.get(question) {
            Some(entry) if now < entry.times.fresh_until() => match &entry.content {
                Content::Answer(_) => fresh(entry, now),
                Content::Failure(kind) => Found::Failed(*kind, standby),
            },
            Some(entry) if now < entry.times.stale_until() => Found::Miss(standby.or(Some(entry))),
            _ => Found::Miss(standby),
        }
    }

    /// The answer that may stand in when the question fails: fresh or stale, but no older.
    pub fn standby(&self, question: &Question<'_>, now: Instant) -> Option<Arc<Entry>> {
        [&self.known, &self.other]
            .into_iter()
            .filter_map(|shelf| shelf.peek(question))
            .find(|entry| matches!(entry.content, Content::Answer(_)) && now < entry.times.stale_until())
    }

    /// Keeps an answer. It takes the place of what was known before; a failure leaves an old answer beside it, and
    /// is not kept where a fresh "unknown" stands.
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
            Content::Failure(_) => {
                let fresh = self.other.peek(&key.question()).is_some_and(|old| {
                    matches!(old.content, Content::Answer(_)) && entry.times.written < old.times.fresh_until()
                });
                if !fresh {
                    self.other.insert(key, entry);
                }
            }
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

    /// Answers that had to go to make room, since the start.
    pub fn evictions(&self) -> u64 {
        self.evictions.0.load(Ordering::Relaxed)
    }

    /// Bytes held, by the estimate that bounds them.
    pub fn bytes(&self) -> u64 {
        self.known.weight() + self.other.weight()
    }
}

fn fresh(entry: Arc<Entry>, now: Instant) -> Found {
    if now < entry.times.refresh_at() { Found::Fresh(entry) } else { Found::Ageing(entry) }
}

fn shelf(capacity: u64, evictions: Evictions) -> Shelf {
    // A guess for the table's first size only: it grows with what is inserted.
    let items = (capacity / (OVERHEAD as u64 + 400)).clamp(64, 1 << 20) as usize;
    match OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(capacity).build() {
        Ok(options) => Bounded::with_options(options, ByBytes, Prehashed::default(), evictions),
        Err(_) => Bounded::with(items, capacity, ByBytes, Prehashed::default(), evictions),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use std::collections::HashMap;
    use std::time::Duration;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::key::ProviderId;
    use super::*;
    use crate::entity::EntityKind;
    use crate::provider::{Answer, Raw, Scored};
    use crate::score::{Level, Score};

    fn scored(score: f64, reason: usize) -> Content {
        let answer = Answer::Scored(Box::new(Scored {
            score: Score::clamped(score).unwrap(),
            level: Level::High,
            raw: Raw { score: None, level: None, scale: "0-100" },
            delta: None,
            signals: None,
            first_seen: None,
            last_seen: None,
            reasons: vec!["r".repeat(reason)],
            attributes: serde_json::Map::new(),
        }));
        Content::Answer(Rendered::of(&answer, Timestamp::UNIX_EPOCH))
    }

    fn unknown() -> Content {
        Content::Answer(Rendered::of(&Answer::Unknown { detail: None }, Timestamp::UNIX_EPOCH))
    }

    fn entry(content: Content, now: Instant, fresh: u64, stale: u64) -> Arc<Entry> {
        let [refresh, fresh, stale] = [fresh * 4 / 5, fresh, fresh + stale].map(Duration::from_secs);
        let times = Times::new(now, refresh, fresh, stale);
        Arc::new(Entry::new(content, times))
    }

    fn label(found: &Found) -> &'static str {
        match found {
            Found::Fresh(_) => "fresh",
            Found::Ageing(_) => "ageing",
            Found::Failed(_, None) => "failed",
            Found::Failed(_, Some(_)) => "failed, stale",
            Found::Miss(None) => "miss",
            Found::Miss(Some(_)) => "miss, stale",
        }
    }

    #[test]
    fn an_answer_ages_goes_stale_and_is_gone_whoever_reads_it() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let question = Question::new(ProviderId(0), EntityKind::User, "a");
        cache.insert(question.to_key(), entry(scored(50.0, 1), now, 100, 50));
        for (after, expected) in
            [(0, "fresh"), (79, "fresh"), (81, "ageing"), (100, "miss, stale"), (151, "miss")]
        {
            // Read often: a hot answer must not live longer.
            for _ in 0..3 {
                let found = cache.get(&question, now + Duration::from_secs(after));
                assert_eq!(label(&found), expected, "after {after} s");
            }
        }
    }

    #[test]
    fn a_failure_stands_beside_the_old_answer_and_a_new_answer_removes_both() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let question = Question::new(ProviderId(0), EntityKind::User, "a");
        cache.insert(question.to_key(), entry(scored(50.0, 1), now, 10, 1000));
        let later = now + Duration::from_secs(20);
        cache.insert(question.to_key(), entry(Content::Failure(FailureKind::Timeout), later, 30, 0));
        assert_eq!(label(&cache.get(&question, later)), "failed, stale");
        assert_eq!(label(&cache.get(&question, later + Duration::from_secs(31))), "miss, stale");
        cache.insert(question.to_key(), entry(unknown(), later, 100, 0));
        assert_eq!(label(&cache.get(&question, later)), "fresh");
        assert_eq!(cache.entries(), 1, "what the vendor no longer knows has no old score left");
        assert!(cache.forget(&question));
        assert!(!cache.forget(&question));
    }

    #[test]
    fn a_failed_refresh_leaves_a_fresh_unknown_where_it_is() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let question = Question::new(ProviderId(0), EntityKind::User, "a");
        cache.insert(question.to_key(), entry(unknown(), now, 100, 50));
        let later = now + Duration::from_secs(90);
        cache.insert(question.to_key(), entry(Content::Failure(FailureKind::Timeout), later, 30, 0));
        assert_eq!(label(&cache.get(&question, later)), "ageing");
        assert!(cache.standby(&question, later).is_some());
        assert!(cache.standby(&question, now + Duration::from_secs(151)).is_none());
    }

    #[test]
    fn one_reader_refreshes_and_after_a_failure_nobody_for_a_while() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let entry = entry(unknown(), now, 100, 50);
        assert!(entry.claim_refresh(at(80)));
        assert!(!entry.claim_refresh(at(80)) && !entry.claim_refresh(at(140)), "one is under way");
        entry.put_off_refresh(at(90));
        assert!(!entry.claim_refresh(at(90)));
        assert!(entry.claim_refresh(at(91)) && !entry.claim_refresh(at(91)));
    }

    #[test]
    fn random_unknown_identifiers_do_not_wash_the_known_ones_out() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let names: Vec<String> = (0..200).map(|n| format!("known-{n}")).collect();
        for name in &names {
            let question = Question::new(ProviderId(0), EntityKind::User, name);
            cache.insert(question.to_key(), entry(scored(50.0, 100), now, 100, 0));
        }
        for n in 0..100_000 {
            let name = format!("random-{n}");
            let question = Question::new(ProviderId(0), EntityKind::User, &name);
            cache.insert(question.to_key(), entry(unknown(), now, 100, 0));
        }
        let kept = names.iter().filter(|name| {
            let question = Question::new(ProviderId(0), EntityKind::User, name);
            label(&cache.get(&question, now)) == "fresh"
        });
        assert_eq!(kept.count(), names.len());
        assert!(cache.evictions() > 0);
    }

    proptest! {
        /// Against a map that never forgets: the cache may lose, but never says anything else.
        #[test]
        fn what_is_found_is_what_was_last_put_there_and_bytes_stay_within_the_bound(
            steps in prop::collection::vec((0u8..20, 0u8..3, 0u64..200, 0usize..2000), 1..300),
        ) {
            let capacity = 64 << 10;
            let (cache, start) = (Cache::new(capacity), Instant::now());
            let mut model: HashMap<String, Arc<Entry>> = HashMap::new();
            for (who, what, at, size) in steps {
                let (name, now) = (format!("e{who}"), start + Duration::from_secs(at));
                let question = Question::new(ProviderId(0), EntityKind::Host, &name);
                match what {
                    0 => match cache.get(&question, now) {
                        Found::Fresh(found) | Found::Ageing(found) => {
                            prop_assert!(now < found.times.fresh_until());
                            prop_assert!(Arc::ptr_eq(&found, &model[&name]), "an older answer came back");
                        }
                        Found::Failed(..) => prop_assert!(false, "nothing failed"),
                        Found::Miss(_) => {}
                    },
                    _ => {
                        let content = if what == 1 { scored(1.0, size) } else { unknown() };
                        let put = entry(content, now, 60, 60);
                        model.insert(name.clone(), Arc::clone(&put));
                        cache.insert(question.to_key(), put);
                    }
                }
                prop_assert!(cache.bytes() <= capacity, "{} bytes", cache.bytes());
            }
        }
    }
}
