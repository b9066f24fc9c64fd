//! One alert, from bytes to outcome: the only file that knows all the steps.
//!
//! Contract: [`Pipeline::begin`] runs decode, extract, route and cache without waiting, and composes at once
//! when every answer is there. Otherwise it returns a [`Pending`], which flights fill from their own threads;
//! [`Pending::finish`] composes it with whatever is known by then, as the pipeline that began it would: another one may be in
//! use meanwhile. An alert always has an outcome: a vendor
//! can delay or mark it, never drop it. Knows nothing of Kafka: `run` and `enrich` drive the very same code.

pub mod budget;
pub mod late;
pub mod live;
pub mod roster;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::alert::decode::{Decoded, Decoder, Scratch, Select};
use crate::alert::format::{FormatId, Formats};
use crate::alert::{DecodeError, OwnedPaths, Paths, Shape};
use crate::cache::flight::stand_in;
use crate::cache::key::ProviderId;
use crate::cache::ttl::Moment;
use crate::cache::{Content, Entry, Flights, Found, Landing, Question, Waiter};
use crate::compose::{Composer, EntityOutcome, Input, Outcome, Source, Summary};
use crate::entity::{EntityKind, canonical};
use crate::metrics::Metrics;
use crate::provider::FailureKind;
use crate::provider::limiter::Priority;
use crate::routing::{Decision, Routing};
use budget::Budgets;
use roster::{Roster, Seat};

/// What an alert brings beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The topic it came from; empty for a file.
    pub topic: &'a str,
    /// How its format is found.
    pub select: Select,
    /// Bytes of its key and headers, which share the output's bound with the value.
    pub overhead: usize,
}

/// How far an alert has come.
pub enum Begun {
    /// It is composed; the enriched event is in `out`.
    Composed(Summary),
    /// Some answers are under way.
    Waiting(Arc<Pending>),
}

/// An alert whose answers are not all there yet.
pub struct Pending {
    pipeline: Arc<Pipeline>,
    entities: Vec<PendingEntity>,
    shape: Shape,
    format: Option<FormatId>,
    entities_cut: usize,
    overhead: usize,
    /// Answers under way, plus one while `begin` is still joining flights.
    missing: AtomicUsize,
    abandoned: AtomicBool,
    waker: Box<dyn Fn() + Send + Sync>,
}

struct PendingEntity {
    kind: EntityKind,
    value: Box<str>,
    /// [`crate::entity::hash`] of kind and canonical spelling.
    hash: u64,
    paths: OwnedPaths,
    provider: Option<ProviderId>,
    landing: OnceLock<Place>,
    /// What is said of it at the deadline when nothing has landed: an old answer, where there is one.
    overdue: Landing,
    /// Whether the alert left without an answer to it that was under way.
    owed: AtomicBool,
}

/// Where an entity of an alert stands.
enum Place {
    Landed(Landing),
    Unrouted,
}

/// Bytes that a question under way takes beside its alert, and the answer that it brings, which is some hundred bytes:
/// measured, by `benches/memory.rs`.
pub const QUESTION: usize = 5 * 1024;

impl Pending {
    /// Bytes that an alert waits with: about its entities and the questions about them.
    pub fn bytes(&self) -> usize {
        let entity = |entity: &PendingEntity| {
            let question = if entity.landing.get().is_none() { QUESTION } else { 0 };
            size_of::<PendingEntity>() + entity.value.len() + entity.paths.bytes() + question
        };
        size_of::<Self>() + self.entities.iter().map(entity).sum::<usize>()
    }

    /// Nobody waits any more: landings from here on wake no one.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    /// Composes the alert, of which these are the bytes, with what is known by now; what has not landed is an old answer,
    /// marked, or `failed: deadline`.
    pub fn finish(&self, alert: &[u8], now: Instant, out: &mut Vec<u8>) -> Summary {
        self.abandon();
        self.pipeline.compose_pending(self, alert, now, out)
    }

    /// Counts one answer; whether it was the last.
    fn arrived(&self) -> bool {
        self.missing.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

impl Waiter for Pending {
    fn land(&self, index: u32, landing: Landing) {
        if let Some(entity) = self.entities.get(index as usize) {
            // Each question is joined once, so nothing is there yet.
            let _ = entity.landing.set(Place::Landed(landing));
        }
        if self.arrived() && !self.abandoned.load(Ordering::SeqCst) {
            (self.waker)();
        }
    }
}

/// Why a question about one entity cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum LookUpError {
    /// The provider is not configured.
    #[error("no provider is named {0:?}; there are: {1}")]
    NoSuchProvider(String, String),
    /// Several providers know the kind and no route says which.
    #[error("several providers know {0}: name the one to ask as `provider`, or add a route for it")]
    Ambiguous(EntityKind),
    /// None does.
    #[error("no configured provider can be asked about {0}")]
    NobodyKnows(EntityKind),
}

/// One for each entity of an alert: on the stack for as many as alerts mostly have.
type Each<T> = SmallVec<[T; 12]>;

/// What routing and the cache say of one entity, before any flight.
enum First {
    Ready(ProviderId, Landing),
    Unrouted,
    /// To be asked, with an old answer that may stand in.
    Ask(ProviderId, Option<Entry>),
}

/// The steps, with all that they need.
pub struct Pipeline {
    /// The alert formats.
    pub formats: Arc<Formats>,
    /// Step 2 and 3.
    pub decoder: Decoder,
    /// Step 4.
    pub routing: Routing,
    /// Steps 5 and 6.
    pub flights: Arc<Flights>,
    /// What alerts may ask of vendors.
    pub budgets: Arc<Budgets>,
    /// The providers.
    pub roster: Roster,
    /// How long an alert waits for its answers.
    pub deadline: Duration,
    /// Step 8.
    pub composer: Composer,
    /// What is counted on the way.
    pub metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Takes an alert as far as it goes without waiting.
    ///
    /// `out` receives the enriched event when it is composed at once. `waker` makes what is called, from any
    /// thread and at most once, when the last answer of a waiting alert has landed.
    ///
    /// # Errors
    /// A [`DecodeError`] is the reason of a dead letter.
    pub fn begin(
        self: &Arc<Self>,
        alert: &[u8],
        origin: Origin<'_>,
        now: Instant,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        waker: impl FnOnce() -> Box<dyn Fn() + Send + Sync>,
    ) -> Result<Begun, DecodeError> {
        let decoded = self.decoder.decode(alert, origin.select, scratch)?;
        let mut firsts = Each::new();
        let mut missing = 0;
        for (index, found) in decoded.found.iter().enumerate() {
            let first = match self.routing.decide(origin.topic, decoded.format, found.kind, found.id) {
                Decision::Ignored => continue,
                Decision::Unrouted => First::Unrouted,
                Decision::Ask(provider) => {
                    self.look(provider, &Question::hashed(provider, found.kind, found.id, found.hash), now)
                }
            };
            missing += usize::from(matches!(first, First::Ask(..)));
            firsts.push((index, first));
        }
        if missing == 0 {
            return Ok(Begun::Composed(self.compose_hits(alert, &decoded, origin, &firsts, now, out)));
        }
        let pending = Arc::new(self.pending(&decoded, origin, firsts, missing, waker()));
        self.depart(&pending, origin.topic, now);
        if pending.arrived() {
            return Ok(Begun::Composed(pending.finish(alert, now, out)));
        }
        Ok(Begun::Waiting(pending))
    }

    fn compose_pending(&self, pending: &Pending, alert: &[u8], now: Instant, out: &mut Vec<u8>) -> Summary {
        let outcomes: Each<EntityOutcome<'_>> = pending
            .entities
            .iter()
            .map(|entity| {
                let outcome = match entity.landing.get() {
                    Some(Place::Landed(landing)) => outcome(landing, now),
                    Some(Place::Unrouted) => Outcome::Unrouted,
                    None => entity.left(now),
                };
                self.entity(entity, outcome)
            })
            .collect();
        let input = Input {
            original: alert,
            shape: &pending.shape,
            format: pending.format.map(|format| self.formats.name(format)),
            entities_cut: pending.entities_cut,
            key_and_header_bytes: pending.overhead,
        };
        self.compose(input, &outcomes, out)
    }

    /// Answers one question about an entity, as JSON in the form of `risk.entities[]`: a playbook's or a person's.
    ///
    /// # Errors
    /// [`LookUpError`] when it is not clear who is to be asked.
    pub async fn look_up(
        &self,
        kind: EntityKind,
        value: &str,
        provider: Option<&str>,
    ) -> Result<Vec<u8>, LookUpError> {
        let id = canonical(kind, value);
        let seat = match provider {
            Some(name) => self.roster.named(name).ok_or_else(|| {
                let names: Vec<&str> = self.roster.iter().map(Seat::name).collect();
                LookUpError::NoSuchProvider(name.to_owned(), names.join(", "))
            })?,
            None => match self.routing.decide("", None, kind, &id) {
                Decision::Ask(provider) => self.roster.get(provider).ok_or(LookUpError::NobodyKnows(kind))?,
                Decision::Unrouted => return Err(LookUpError::Ambiguous(kind)),
                Decision::Ignored => return Err(LookUpError::NobodyKnows(kind)),
            },
        };
        let question = Question::new(seat.id, kind, &id);
        let landing = self.flights.ask(&question, &seat.carrier, Priority::Question).await;
        let mut out = Vec::new();
        self.composer.one(
            &EntityOutcome {
                kind,
                value: value.trim(),
                paths: Paths::NONE,
                provider: Some(seat.name()),
                outcome: outcome(&landing, Instant::now()),
            },
            &mut out,
        );
        Ok(out)
    }

    /// Forgets what any provider said of an entity; whether there was anything.
    pub fn forget(&self, kind: EntityKind, value: &str) -> bool {
        let id = canonical(kind, value);
        let questions = self.roster.iter().map(|seat| Question::new(seat.id, kind, &id));
        questions.filter(|question| self.flights.cache().forget(question)).count() > 0
    }

    /// Asks the cache, and the vendor's list where that is kept; a failure that is remembered counts as an answer.
    fn look(&self, provider: ProviderId, question: &Question<'_>, now: Instant) -> First {
        // Routes lead to those that are there.
        let Some(Seat { carrier, queries, .. }) = self.roster.get(provider) else { return First::Unrouted };
        match self.flights.find(question, carrier, now) {
            Found::Fresh(entry) => {
                queries.hit.inc();
                First::Ready(provider, Landing::Answer(entry, Source::Cache))
            }
            Found::Ageing(entry) => {
                queries.hit.inc();
                if self.flights.refresh(question, carrier, &entry) {
                    queries.refresh.inc();
                }
                First::Ready(provider, Landing::Answer(entry, Source::Cache))
            }
            Found::Listed(entry) => {
                queries.snapshot.inc();
                First::Ready(provider, Landing::Answer(entry, Source::Snapshot))
            }
            Found::Failed(kind, standby) => {
                queries.failed.inc();
                First::Ready(provider, stand_in(kind, standby))
            }
            Found::Miss(standby) => {
                queries.miss.inc();
                First::Ask(provider, standby)
            }
        }
    }

    /// Joins a flight for everything that is missing.
    fn depart(&self, pending: &Arc<Pending>, topic: &str, now: Instant) {
        let waiter: Arc<dyn Waiter> = Arc::clone(pending) as Arc<dyn Waiter>;
        for (index, entity) in pending.entities.iter().enumerate() {
            let (None, Some(provider)) = (entity.landing.get(), entity.provider) else {
                continue;
            };
            let Some(seat) = self.roster.get(provider) else { continue };
            let id = canonical(entity.kind, &entity.value);
            let question = Question::hashed(provider, entity.kind, &id, entity.hash);
            let index = index as u32;
            let admit = || {
                let admitted = self.budgets.take(topic, pending.format, now);
                if !admitted {
                    self.metrics.over_budget.inc();
                }
                admitted
            };
            let boarding = (&waiter, index);
            if let Some(landing) =
                self.flights.join(&question, &seat.carrier, Priority::Alert, boarding, admit)
            {
                let _ = entity.landing.set(Place::Landed(landing));
                pending.arrived();
            }
        }
    }

    fn compose_hits(
        &self,
        alert: &[u8],
        decoded: &Decoded<'_>,
        origin: Origin<'_>,
        firsts: &[(usize, First)],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Summary {
        let outcomes: Each<EntityOutcome<'_>> = firsts
            .iter()
            .filter_map(|(index, first)| {
                let found = decoded.found.get(*index)?;
                let (provider, outcome) = match first {
                    First::Ready(provider, landing) => (Some(*provider), outcome(landing, now)),
                    First::Unrouted => (None, Outcome::Unrouted),
                    First::Ask(provider, _) => (Some(*provider), Outcome::Failed(FailureKind::Deadline)),
                };
                Some(EntityOutcome {
                    kind: found.kind,
                    value: found.value,
                    paths: found.paths,
                    provider: self.name(provider),
                    outcome,
                })
            })
            .collect();
        let input = Input {
            original: alert,
            shape: &decoded.shape,
            format: decoded.format.map(|format| self.formats.name(format)),
            entities_cut: decoded.entities_cut,
            key_and_header_bytes: origin.overhead,
        };
        self.compose(input, &outcomes, out)
    }

    fn compose(&self, input: Input<'_>, outcomes: &[EntityOutcome<'_>], out: &mut Vec<u8>) -> Summary {
        let summary = self.composer.compose(input, outcomes, out);
        self.metrics.composed(summary.status);
        summary
    }

    fn name(&self, provider: Option<ProviderId>) -> Option<&str> {
        provider.and_then(|id| self.roster.get(id)).map(Seat::name)
    }

    fn pending(
        self: &Arc<Self>,
        decoded: &Decoded<'_>,
        origin: Origin<'_>,
        firsts: Each<(usize, First)>,
        missing: usize,
        waker: Box<dyn Fn() + Send + Sync>,
    ) -> Pending {
        let entities = firsts
            .into_iter()
            .filter_map(|(index, first)| {
                let found = decoded.found.get(index)?;
                let (provider, place, standby) = match first {
                    First::Ready(provider, landing) => (Some(provider), Some(Place::Landed(landing)), None),
                    First::Unrouted => (None, Some(Place::Unrouted), None),
                    First::Ask(provider, standby) => (Some(provider), None, standby),
                };
                Some(PendingEntity {
                    kind: found.kind,
                    value: found.value.into(),
                    hash: found.hash,
                    paths: found.paths.iter().collect(),
                    provider,
                    landing: place.map(OnceLock::from).unwrap_or_default(),
                    overdue: stand_in(FailureKind::Deadline, standby),
                    owed: AtomicBool::new(false),
                })
            })
            .collect();
        Pending {
            pipeline: Arc::clone(self),
            entities,
            shape: decoded.shape.clone(),
            format: decoded.format,
            entities_cut: decoded.entities_cut,
            overhead: origin.overhead,
            missing: AtomicUsize::new(missing + 1),
            abandoned: AtomicBool::new(false),
            waker,
        }
    }
}

fn outcome(landing: &Landing, now: Instant) -> Outcome<'_> {
    match landing {
        Landing::Answer(entry, source) => match entry.content() {
            Content::Answer(answer) => Outcome::Answered {
                answer,
                age: Moment::from(now).since(entry.times().written()),
                source: *source,
            },
            Content::Failure(kind) => Outcome::Failed(kind),
        },
        Landing::Failed(kind) => Outcome::Failed(*kind),
    }
}

#[cfg(test)]
mod tests;
