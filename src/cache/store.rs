//! Where answers are kept: bounded by bytes, resistant to scans, with a share for what is not known.
//!
//! Contract: the weight of all answers stays below the configured capacity. Entities that no vendor knows (and
//! failures) fill at most a quarter of it, so that random identifiers in alerts cannot wash the known ones out.
//! Reading never waits for a vendor. Takes `now`; never looks at a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quick_cache::sync::Cache as Bounded;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::entry::{Content, Entry};
use super::key::{Prehashed, Question};
use super::ttl::{Moment, Times};
use crate::provider::FailureKind;

/// Part of the capacity for what is unknown or failed: one in this many bytes.
const UNKNOWN_SHARE: u64 = 4;

/// Bytes that the table takes for an entry beside the entry itself: 40 in its list, and in its index 5 for each of
/// 8/7 to 16/7 places. It takes as many for an entry that it let go of and still remembers.
const PLACE: u64 = 52;

/// Bytes of an entry as they are mostly; for the table's first size and what it remembers, which need no more.
const MOSTLY: u64 = 560;

/// Entries let go of that are remembered, of all that there is room for: one in this many.
const REMEMBERED: u64 = 2;

/// What the cache says to a question.
#[derive(Debug)]
pub enum Found {
    /// A fresh answer.
    Fresh(Entry),
    /// A fresh answer that should be asked again in the background.
    Ageing(Entry),
    /// The question failed a moment ago; an old answer may stand in.
    Failed(FailureKind, Option<Entry>),
    /// It has to be asked; an old answer may stand in if that fails.
    Miss(Option<Entry>),
    /// The vendor's list answers, which is not the cache's word but that of who looks into both.
    Listed(Entry),
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<u64, Entry> for ByBytes {
    fn weight(&self, _number: &u64, entry: &Entry) -> u64 {
        PLACE + allocated(entry.bytes() as u64)
    }
}

/// What the allocator takes for so many bytes: mimalloc's sizes are four to each doubling, and multiples of 16. A
/// thirty-second part more is for what lies idle between pieces of different sizes.
pub(crate) fn allocated(bytes: u64) -> u64 {
    let step = bytes.next_power_of_two() / 8;
    let bytes = bytes.next_multiple_of(step.max(16));
    bytes + bytes / 32
}

/// Counts what had to go to make room.
#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<u64, Entry> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _number: u64, _entry: Entry) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Entries by the number of their question, which the list holds beside them: only the entry that is meant is touched.
type Shelf = Bounded<u64, Entry, ByBytes, Prehashed, Evictions>;

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
        let now = Moment::from(now);
        let standby = match get(&self.known, question) {
            Some(entry) if now < entry.times().fresh_until() => return fresh(entry, now),
            old => old.filter(|entry| now < entry.times().stale_until()),
        };
        match get(&self.other, question) {
            Some(entry) if now < entry.times().fresh_until() => match entry.failure() {
                None => fresh(entry, now),
                Some(kind) => Found::Failed(kind, standby),
            },
            Some(entry) if now < entry.times().stale_until() => Found::Miss(standby.or(Some(entry))),
            _ => Found::Miss(standby),
        }
    }

    /// The answer that may stand in when the question fails: fresh or stale, but no older.
    pub fn standby(&self, question: &Question<'_>, now: Instant) -> Option<Entry> {
        let now = Moment::from(now);
        [&self.known, &self.other]
            .into_iter()
            .filter_map(|shelf| peek(shelf, question))
            .find(|entry| entry.failure().is_none() && now < entry.times().stale_until())
    }

    /// Keeps what `question` brought, and hands it back. It takes the place of what was known before; a failure leaves
    /// an old answer beside it, and is not kept where a fresh "unknown" stands.
    pub fn insert(&self, question: &Question<'_>, content: Content<'_>, times: Times) -> Entry {
        let entry = Entry::new(question, content, times);
        let keep = match content {
            Content::Answer(_) if entry.is_known() => {
                remove(&self.other, question);
                &self.known
            }
            Content::Answer(_) => {
                remove(&self.known, question);
                &self.other
            }
            Content::Failure(_) => {
                let fresh = peek(&self.other, question).is_some_and(|old| {
                    old.failure().is_none() && times.written() < old.times().fresh_until()
                });
                if fresh {
                    return entry;
                }
                &self.other
            }
        };
        keep.insert(question.number(), entry.clone());
        entry
    }

    /// Forgets what is known of a question; whether there was anything.
    pub fn forget(&self, question: &Question<'_>) -> bool {
        let known = remove(&self.known, question);
        remove(&self.other, question) || known
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

fn get(shelf: &Shelf, question: &Question<'_>) -> Option<Entry> {
    shelf.get(&question.number()).filter(|entry| entry.is_about(question))
}

fn peek(shelf: &Shelf, question: &Question<'_>) -> Option<Entry> {
    shelf.peek(&question.number()).filter(|entry| entry.is_about(question))
}

fn remove(shelf: &Shelf, question: &Question<'_>) -> bool {
    shelf.remove_if(&question.number(), |entry| entry.is_about(question)).is_some()
}

fn fresh(entry: Entry, now: Moment) -> Found {
    if now < entry.times().refresh_at() { Found::Fresh(entry) } else { Found::Ageing(entry) }
}

fn shelf(capacity: u64, evictions: Evictions) -> Shelf {
    let items = (capacity / MOSTLY).clamp(1, 1 << 20);
    // The table weighs what it holds, not what it only remembers.
    let capacity = capacity.saturating_sub(items / REMEMBERED * PLACE);
    let options = OptionsBuilder::new()
        .estimated_items_capacity(items as usize)
        .ghost_allocation(1.0 / REMEMBERED as f64)
        .weight_capacity(capacity)
        .build();
    match options {
        Ok(options) => Bounded::with_options(options, ByBytes, Prehashed::default(), evictions),
        Err(_) => Bounded::with(items as usize, capacity, ByBytes, Prehashed::default(), evictions),
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
    use crate::compose::Rendered;
    use crate::entity::EntityKind;
    use crate::provider::{Answer, Raw, Scored};
    use crate::score::{Level, Score};

    fn scored(score: f64, reason: usize) -> Rendered {
        let answer = Answer::Scored(Box::new(Scored {
            score: Score::clamped(score).unwrap(),
            level: Level::High,
            raw: Raw { score: None, level: None, scale: "0-100".into() },
            delta: None,
            signals: None,
            first_seen: None,
            last_seen: None,
            reasons: vec!["r".repeat(reason)],
            attributes: serde_json::Map::new(),
        }));
        Rendered::of(&answer, Timestamp::UNIX_EPOCH)
    }

    fn unknown() -> Rendered {
        Rendered::of(&Answer::Unknown { detail: None }, Timestamp::UNIX_EPOCH)
    }

    fn put(
        cache: &Cache,
        question: &Question<'_>,
        answer: &Rendered,
        now: Instant,
        lives: (u64, u64),
    ) -> Entry {
        cache.insert(question, Content::Answer(answer.get()), times(now, lives))
    }

    fn fail(cache: &Cache, question: &Question<'_>, now: Instant) {
        cache.insert(question, Content::Failure(FailureKind::Timeout), times(now, (30, 0)));
    }

    /// Fresh and then stale for so many seconds.
    fn times(now: Instant, (fresh, stale): (u64, u64)) -> Times {
        let [refresh, fresh, stale] = [fresh * 4 / 5, fresh, fresh + stale].map(Duration::from_secs);
        Times::new(now, refresh, fresh, stale)
    }

    fn label(found: &Found) -> &'static str {
        match found {
            Found::Fresh(_) => "fresh",
            Found::Ageing(_) => "ageing",
            Found::Failed(_, None) => "failed",
            Found::Failed(_, Some(_)) => "failed, stale",
            Found::Miss(None) => "miss",
            Found::Miss(Some(_)) => "miss, stale",
            Found::Listed(_) => "listed",
        }
    }

    #[test]
    fn an_answer_ages_goes_stale_and_is_gone_whoever_reads_it() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let question = Question::new(ProviderId(0), EntityKind::User, "a");
        put(&cache, &question, &scored(50.0, 1), now, (100, 50));
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
        put(&cache, &question, &scored(50.0, 1), now, (10, 1000));
        let later = now + Duration::from_secs(20);
        fail(&cache, &question, later);
        assert_eq!(label(&cache.get(&question, later)), "failed, stale");
        assert_eq!(label(&cache.get(&question, later + Duration::from_secs(31))), "miss, stale");
        put(&cache, &question, &unknown(), later, (100, 0));
        assert_eq!(label(&cache.get(&question, later)), "fresh");
        assert_eq!(cache.entries(), 1, "what the vendor no longer knows has no old score left");
        assert!(cache.forget(&question));
        assert!(!cache.forget(&question));
    }

    #[test]
    fn a_failed_refresh_leaves_a_fresh_unknown_where_it_is() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let question = Question::new(ProviderId(0), EntityKind::User, "a");
        put(&cache, &question, &unknown(), now, (100, 50));
        let later = now + Duration::from_secs(90);
        fail(&cache, &question, later);
        assert_eq!(label(&cache.get(&question, later)), "ageing");
        assert!(cache.standby(&question, later).is_some());
        assert!(cache.standby(&question, now + Duration::from_secs(151)).is_none());
    }

    #[test]
    fn two_questions_of_one_number_are_told_apart() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let of = |id| Question::hashed(ProviderId(0), EntityKind::User, id, 7);
        let (first, second) = (of("first"), of("second"));
        put(&cache, &first, &scored(50.0, 1), now, (100, 0));
        assert_eq!(label(&cache.get(&second, now)), "miss");
        assert!(cache.standby(&second, now).is_none() && !cache.forget(&second));
        assert_eq!(label(&cache.get(&first, now)), "fresh");
        put(&cache, &second, &scored(60.0, 1), now, (100, 0));
        assert_eq!((label(&cache.get(&first, now)), label(&cache.get(&second, now))), ("miss", "fresh"));
    }

    #[test]
    fn random_unknown_identifiers_do_not_wash_the_known_ones_out() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let names: Vec<String> = (0..200).map(|n| format!("known-{n}")).collect();
        for name in &names {
            let question = Question::new(ProviderId(0), EntityKind::User, name);
            put(&cache, &question, &scored(50.0, 100), now, (100, 0));
        }
        for n in 0..100_000 {
            let name = format!("random-{n}");
            let question = Question::new(ProviderId(0), EntityKind::User, &name);
            put(&cache, &question, &unknown(), now, (100, 0));
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
            let mut model: HashMap<String, Entry> = HashMap::new();
            for (who, what, at, size) in steps {
                let (name, now) = (format!("e{who}"), start + Duration::from_secs(at));
                let question = Question::new(ProviderId(0), EntityKind::Host, &name);
                match what {
                    0 => match cache.get(&question, now) {
                        Found::Fresh(found) | Found::Ageing(found) => {
                            prop_assert!(Moment::from(now) < found.times().fresh_until());
                            prop_assert!(found.is(&model[&name]), "an older answer came back");
                        }
                        Found::Failed(..) => prop_assert!(false, "nothing failed"),
                        Found::Miss(_) | Found::Listed(_) => {}
                    },
                    _ => {
                        let answer = if what == 1 { scored(1.0, size) } else { unknown() };
                        model.insert(name.clone(), put(&cache, &question, &answer, now, (60, 60)));
                    }
                }
                prop_assert!(cache.bytes() <= capacity, "{} bytes", cache.bytes());
            }
        }
    }
}
