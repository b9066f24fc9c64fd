//! What becomes of answers that come too late for their alert: its update.
//!
//! Contract: an alert is owed an answer when it left with `failed: deadline` for an entity whose flight goes on. Once all
//! its flights have landed there is one [`update`](Pending::update) for all that they brought, or none when that is
//! nothing. What an alert waits with here is what it waited with before; whoever holds it bounds that.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Each, Pending, PendingEntity, Pipeline, Place, outcome};
use crate::cache::Landing;
use crate::compose::update::Late;
use crate::compose::{EntityOutcome, Input, Outcome, Source, Summary};

/// Why there is no update of an alert that was owed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUpdate {
    /// No flight ended with an answer.
    NoAnswer,
    /// It is larger than `output.max_bytes` allows.
    TooLarge,
}

impl PendingEntity {
    /// What is said of it where nothing has landed; and that it is owed an answer, where that is nothing.
    pub(super) fn left(&self, now: Instant) -> Outcome<'_> {
        let outcome = outcome(&self.overdue, now);
        if matches!(outcome, Outcome::Failed(_)) {
            self.owed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// The answer that it was owed, once it is there.
    fn news(&self) -> Option<&Landing> {
        if !self.owed.load(Ordering::Relaxed) {
            return None;
        }
        match self.landing.get()? {
            // An old answer would have stood in at the deadline already.
            Place::Landed(Landing::Answer(_, Source::Stale(_)) | Landing::Failed(_)) | Place::Unrouted => {
                None
            }
            Place::Landed(landing) => Some(landing),
        }
    }
}

impl Pending {
    /// Whether the alert left without an answer that may still come. To be asked after [`Pending::finish`].
    pub fn is_owed(&self) -> bool {
        self.entities.iter().any(|entity| entity.owed.load(Ordering::Relaxed))
    }

    /// Waits on for what is owed: the last landing wakes as it would have before the alert left. Whether it was there
    /// already; it may wake all the same then.
    pub fn wait_on(&self) -> bool {
        // The last landing counts itself, then looks whether it is to wake; here it is the other way round. So one of the
        // two sees the other.
        self.abandoned.store(false, Ordering::SeqCst);
        self.missing.load(Ordering::SeqCst) == 0
    }

    /// Composes what an alert was owed, into `out`, which is cleared first. `source` is its `risk-source`, `overhead` the
    /// bytes of the record's key and headers.
    ///
    /// # Errors
    /// [`NoUpdate`].
    pub fn update(
        &self,
        source: &str,
        overhead: usize,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Summary, NoUpdate> {
        let pipeline = &self.pipeline;
        let entities: Each<EntityOutcome<'_>> = self
            .entities
            .iter()
            .map(|entity| match entity.landing.get() {
                Some(Place::Landed(landing)) => pipeline.entity(entity, outcome(landing, now)),
                Some(Place::Unrouted) => pipeline.entity(entity, Outcome::Unrouted),
                None => pipeline.entity(entity, outcome(&entity.overdue, now)),
            })
            .collect();
        let news: Each<EntityOutcome<'_>> = self
            .entities
            .iter()
            .filter_map(|entity| Some(pipeline.entity(entity, outcome(entity.news()?, now))))
            .collect();
        if news.is_empty() {
            return Err(NoUpdate::NoAnswer);
        }
        let input = Input {
            original: b"",
            shape: &self.shape,
            format: self.format.map(|format| pipeline.formats.name(format)),
            entities_cut: self.entities_cut,
            key_and_header_bytes: overhead,
        };
        let late = Late { source, input, entities: &entities, news: &news };
        pipeline.composer.update(&late, out).ok_or(NoUpdate::TooLarge)
    }
}

impl Pipeline {
    /// An entity of a waiting alert and what became of it.
    pub(super) fn entity<'a>(&'a self, entity: &'a PendingEntity, outcome: Outcome<'a>) -> EntityOutcome<'a> {
        EntityOutcome {
            kind: entity.kind,
            value: &entity.value,
            paths: entity.paths.get(),
            provider: self.name(entity.provider),
            outcome,
        }
    }
}
