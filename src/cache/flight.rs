//! Single flight: however many alerts wait for one answer, the vendor is asked once.
//!
//! Contract: at most one flight per question at any time. A flight hands its answer to everyone who joined it
//! **and** stores it, in such an order that a question which misses the cache either joins the flight or finds
//! its answer. A flight always lands: when its task is dropped (the process stops) its waiters are told so.
//! A flight to a vendor that is left alone as it hangs lands before it leaves, for alerts: if it is the one call that tries whether
//! the vendor is well again, it goes on without them. A waiter that gave up changes nothing: the flight goes on and fills the cache for the next alert. It is not kept
//! alive for that either: an alert leaves at its deadline with all that it holds, however long its flights take.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::{Entry as Place, VacantEntry};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::entry::{Content, Entry};
use super::key::{Key, Prehashed, Question};
use super::store::{Cache, Found};
use super::ttl::{Lifetimes, Outcome};
use crate::compose::{Rendered, Source};
use crate::entity::Entity;
use crate::provider::guard::Guard;
use crate::provider::limiter::Priority;
use crate::provider::snapshot::Told;
use crate::provider::transport::raisable;
use crate::provider::{Answer, Failure, FailureKind};

/// How a question ended.
#[derive(Clone, Debug)]
pub enum Landing {
    /// With an answer, and where it came from.
    Answer(Entry, Source),
    /// Without one.
    Failed(FailureKind),
}

/// Somebody who waits for answers, for as long as somebody holds it; `index` is its own number for the question.
pub trait Waiter: Send + Sync {
    /// Called once for each question joined, from any thread. Must not block.
    fn land(&self, index: u32, landing: Landing);
}

/// A provider as flights see it.
#[derive(Clone)]
pub struct Carrier {
    /// Breaker, limiter, time-out and retry around the vendor.
    pub guard: Arc<Guard>,
    /// How long its answers live.
    pub lifetimes: Lifetimes,
    /// Whether it keeps its vendor's list.
    listed: bool,
}

impl Carrier {
    /// By `guard`, whose answers live for `lifetimes`.
    pub fn new(guard: Arc<Guard>, lifetimes: Lifetimes) -> Self {
        Carrier { listed: guard.snapshot().is_some(), guard, lifetimes }
    }
}

/// A flight as seen from the ground.
struct Open {
    departed: Instant,
    /// Who waits for it, each with its own number for the question.
    passengers: Vec<Passenger>,
    /// How urgent it is: as the most urgent of those who joined it.
    urgency: watch::Sender<Priority>,
}

/// Somebody who waits, unless they gave up, and their number for the question.
type Passenger = (Weak<dyn Waiter>, u32);

impl Open {
    fn board(&mut self, waiter: &Arc<dyn Waiter>, index: u32) {
        // Before the list grows, whoever gave up leaves it. Then it has room for as many again as wait, so that this is
        // not done for each.
        if self.passengers.len() == self.passengers.capacity() {
            self.passengers.retain(|(waiter, _)| waiter.strong_count() > 0);
            self.passengers.reserve(self.passengers.len().max(1));
        }
        self.passengers.push((Arc::downgrade(waiter), index));
    }
}

/// The flights under way.
pub struct Flights {
    open: DashMap<Key, Open, Prehashed>,
    cache: Arc<Cache>,
    runtime: Handle,
    /// Of one flight.
    bound: Option<Duration>,
}

impl Flights {
    /// Flights that fill `cache`, run on `runtime`. Each ends within `bound`, where there is one.
    pub fn new(cache: Arc<Cache>, runtime: Handle, bound: Option<Duration>) -> Arc<Self> {
        Arc::new(Flights { open: DashMap::with_hasher(Prehashed::default()), cache, runtime, bound })
    }

    /// The answers that flights fill.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// How long one may take; `None` is for ever.
    pub fn bound(&self) -> Option<Duration> {
        self.bound
    }

    /// What is known of a question: what the cache holds, and beside it the vendor's list where that is kept.
    #[inline]
    pub fn find(&self, question: &Question<'_>, carrier: &Carrier, now: Instant) -> Found {
        if carrier.listed { self.find_listed(question, carrier, now) } else { self.cache.get(question, now) }
    }

    /// The later word counts, and of old ones the later one stands in.
    #[inline(never)]
    fn find_listed(&self, question: &Question<'_>, carrier: &Carrier, now: Instant) -> Found {
        let listed = match carrier.guard.listed(question.kind, question.id, now) {
            None => return self.cache.get(question, now),
            Some(Told::Failed(kind, old)) => return Found::Failed(kind, old),
            Some(Told::Only(entry)) => return Found::Listed(entry),
            Some(told) => told,
        };
        match (listed, self.cache.get(question, now)) {
            (Told::Answer(listed), Found::Fresh(entry)) if is_later(&entry, &listed) => Found::Fresh(entry),
            (Told::Answer(listed), Found::Ageing(entry)) if is_later(&entry, &listed) => Found::Ageing(entry),
            (Told::Answer(listed), _) => Found::Listed(listed),
            (Told::Ask(old), Found::Failed(kind, standby)) => Found::Failed(kind, later(old, standby)),
            (Told::Ask(old), Found::Miss(standby)) => Found::Miss(later(old, standby)),
            (_, found) => found,
        }
    }

    /// Flights under way.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// How long the oldest flight has been under way at `now`; nothing when there is none.
    pub fn oldest(&self, now: Instant) -> Duration {
        let departed = self.open.iter().map(|flight| flight.departed).min();
        departed.map_or(Duration::ZERO, |departed| now.saturating_duration_since(departed))
    }

    /// Joins the flight for `question`, starting one by `carrier` when there is none. Returns the landing instead when the
    /// answer has arrived since the caller looked; else `waiter` is told later. `admit` is asked whether one may be started:
    /// where not, the landing is `overloaded`, or an old answer.
    pub fn join(
        self: &Arc<Self>,
        question: &Question<'_>,
        carrier: &Carrier,
        priority: Priority,
        (waiter, index): (&Arc<dyn Waiter>, u32),
        admit: impl FnOnce() -> bool,
    ) -> Option<Landing> {
        match self.open.entry(question.to_key()) {
            Place::Occupied(mut place) => {
                let open = place.get_mut();
                open.board(waiter, index);
                open.urgency.send_if_modified(|urgency| {
                    let raised = priority < *urgency;
                    *urgency = priority.min(*urgency);
                    raised
                });
                None
            }
            Place::Vacant(place) => {
                // A flight stores its answer before it ends, so under this lock the cache knows of any that has.
                let standby = match self.find(question, carrier, Instant::now()) {
                    Found::Fresh(entry) | Found::Ageing(entry) => {
                        return Some(Landing::Answer(entry, Source::Cache));
                    }
                    Found::Listed(entry) => return Some(Landing::Answer(entry, Source::Snapshot)),
                    Found::Failed(kind, standby) => return Some(stand_in(kind, standby)),
                    Found::Miss(standby) => standby,
                };
                if !admit() {
                    return Some(stand_in(FailureKind::Overloaded, standby));
                }
                self.depart(place, carrier, vec![(Arc::downgrade(waiter), index)], standby, priority);
                None
            }
        }
    }

    /// Has `entry`, the ageing answer to `question`, asked again ahead of its expiry by a flight that nobody waits
    /// for; whether this call started it. Everybody who finds the answer ageing may call this: while a refresh is
    /// under way, and for `ttl.failed` after one that failed, it does nothing.
    pub fn refresh(self: &Arc<Self>, question: &Question<'_>, carrier: &Carrier, entry: &Entry) -> bool {
        if !entry.claim_refresh(Instant::now()) {
            return false;
        }
        match self.open.entry(question.to_key()) {
            // Its end brings a new answer, or puts the next refresh off.
            Place::Occupied(_) => false,
            Place::Vacant(place) => {
                self.depart(place, carrier, Vec::new(), None, Priority::Refresh);
                true
            }
        }
    }

    /// Asks one question and waits for its answer: the cache first, then a flight. For people and playbooks.
    pub async fn ask(
        self: &Arc<Self>,
        question: &Question<'_>,
        carrier: &Carrier,
        priority: Priority,
    ) -> Landing {
        match self.find(question, carrier, Instant::now()) {
            Found::Fresh(entry) | Found::Ageing(entry) => return Landing::Answer(entry, Source::Cache),
            Found::Listed(entry) => return Landing::Answer(entry, Source::Snapshot),
            Found::Failed(kind, standby) => return stand_in(kind, standby),
            Found::Miss(_) => {}
        }
        let (told, landed) = tokio::sync::oneshot::channel();
        let waiter: Arc<dyn Waiter> = Arc::new(Alone(Mutex::new(Some(told))));
        match self.join(question, carrier, priority, (&waiter, 0), || true) {
            Some(landing) => landing,
            None => landed.await.unwrap_or(Landing::Failed(FailureKind::Unreachable)),
        }
    }

    fn depart(
        self: &Arc<Self>,
        place: VacantEntry<'_, Key, Open>,
        carrier: &Carrier,
        passengers: Vec<Passenger>,
        standby: Option<Entry>,
        priority: Priority,
    ) {
        let flight = Flight { flights: Arc::clone(self), key: place.key().clone(), standby, landed: false };
        let (urgency, raised) = watch::channel(priority);
        place.insert(Open { departed: Instant::now(), passengers, urgency });
        self.runtime.spawn(flight.fly(carrier.clone(), priority, raised));
    }
}

/// A waiter for a single question.
struct Alone(Mutex<Option<tokio::sync::oneshot::Sender<Landing>>>);

impl Waiter for Alone {
    fn land(&self, _index: u32, landing: Landing) {
        if let Some(told) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may have gone.
            let _ = told.send(landing);
        }
    }
}

/// One flight. Dropping it before it landed tells its waiters that it will not.
struct Flight {
    flights: Arc<Flights>,
    key: Key,
    standby: Option<Entry>,
    landed: bool,
}

impl Flight {
    async fn fly(mut self, carrier: Carrier, priority: Priority, raised: watch::Receiver<Priority>) {
        let Carrier { guard, lifetimes, .. } = carrier;
        let entity = Entity { kind: self.key.kind, id: self.key.id.clone() };
        // Nobody's alert waits for the call that tries whether the vendor is well again: it would take what such calls took
        // when the breaker opened. A person's question does, and so does a command, which has all the time.
        if priority != Priority::Question && self.flights.bound.is_some() && guard.is_avoided() {
            let standby = self.standby(Instant::now());
            self.land(&stand_in(FailureKind::BreakerOpen, standby));
        }
        let result = raisable(raised, guard.ask(&entity, priority, self.flights.bound)).await;
        self.end(result, &lifetimes, Instant::now(), Timestamp::now(), random());
    }

    fn end(
        &mut self,
        result: Result<Answer, Failure>,
        lifetimes: &Lifetimes,
        now: Instant,
        as_of: Timestamp,
        random: f64,
    ) {
        let landing = match result {
            Ok(answer) => {
                let outcome = match &answer {
                    Answer::Scored(_) => Outcome::Scored,
                    Answer::Unknown { .. } => Outcome::Unknown,
                };
                let times = lifetimes.times(outcome, self.key.kind, now, random);
                let rendered = Rendered::of(&answer, as_of);
                let answer = Content::Answer(rendered.get());
                let entry = self.flights.cache.insert(&self.key.question(), answer, times);
                Landing::Answer(entry, Source::Provider)
            }
            Err(failure) => {
                // What exactly was wrong; for people who look for it, as one vendor may fail ten thousand times.
                tracing::debug!(provider = self.key.provider.0, %failure, "a question got no answer");
                let times = lifetimes.times(Outcome::Failed(failure.kind), self.key.kind, now, random);
                // Before the failure takes its place.
                let standby = self.standby(now);
                if let Some(entry) = &standby {
                    entry.put_off_refresh(times.fresh_until());
                }
                if failure.kind.cacheable() {
                    self.flights.cache.insert(&self.key.question(), Content::Failure(failure.kind), times);
                }
                stand_in(failure.kind, standby)
            }
        };
        self.land(&landing);
    }

    /// What may stand in: whoever joined a refresh brought nothing along.
    fn standby(&self, now: Instant) -> Option<Entry> {
        self.standby.clone().or_else(|| self.flights.cache.standby(&self.key.question(), now))
    }

    /// Tells those who wait, once: a flight that lands early is no longer under way for others.
    fn land(&mut self, landing: &Landing) {
        if std::mem::replace(&mut self.landed, true) {
            return;
        }
        if let Some((_, open)) = self.flights.open.remove(&self.key) {
            for (waiter, index) in open.passengers {
                if let Some(waiter) = waiter.upgrade() {
                    waiter.land(index, landing.clone());
                }
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.land(&stand_in(FailureKind::Unreachable, self.standby(Instant::now())));
        }
    }
}

/// Whether `entry` was written after `other`.
fn is_later(entry: &Entry, other: &Entry) -> bool {
    entry.times().written() > other.times().written()
}

fn later(one: Option<Entry>, other: Option<Entry>) -> Option<Entry> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if is_later(&one, &other) { one } else { other }),
        (one, other) => one.or(other),
    }
}

/// What a failed question ends with: an old answer, marked, where there is one.
pub fn stand_in(kind: FailureKind, standby: Option<Entry>) -> Landing {
    match standby {
        Some(entry) => Landing::Answer(entry, Source::Stale(kind)),
        None => Landing::Failed(kind),
    }
}

/// A number in 0..1 for jitter, where nothing depends on its quality.
pub(super) fn random() -> f64 {
    use std::hash::BuildHasher;
    // The standard library seeds every instance differently.
    let bits = std::collections::hash_map::RandomState::new().hash_one(0u8);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;
