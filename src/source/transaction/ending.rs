//! How a transaction ends: its records are waited for, its offsets added, then it is committed; or it is taken back.
//!
//! Contract: each call takes a moment, and says by its stage where the next one goes on. What is committed is what the
//! window holds, and where partitions start; a lane that is no member of its group any more commits nothing.

use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use crate::commit::committer;
use crate::sink;
use crate::sink::transaction::{Step, TransactionError};
use crate::source::LaneError;
use crate::source::core::Core;
use crate::source::membership::Membership;

use super::{HOLD, MISSED, OUTAGE, SLICE, Stage, Start, WINDOW};

impl Core {
    /// Ends the open transaction when it is time, as far as that goes in a moment. `closing`: it is time as soon as
    /// nothing more can leave.
    ///
    /// # Errors
    /// [`LaneError`] ends the process.
    pub fn transact<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        closing: bool,
    ) -> Result<(), LaneError> {
        loop {
            let now = Instant::now();
            let Some(t) = &self.transactions else { return Ok(()) };
            let on = match t.stage {
                Stage::Open if !self.is_due(closing, now) => false,
                Stage::Open => self.close(now)?,
                Stage::Flushing(since) => self.flush(since, now)?,
                Stage::Adding(since) => self.add_offsets(consumer, since, now)?,
                Stage::Committing(since) => self.commit(since, now)?,
                Stage::Aborting(since) => self.abort(since, now)?,
                Stage::Broken => self.renew()?,
                Stage::Renewing => self.init(now)?,
                Stage::Releasing => self.release(now)?,
                Stage::Asking => self.ask(consumer, now)?,
            };
            if !on {
                return Ok(());
            }
        }
    }

    fn is_due(&self, closing: bool, now: Instant) -> bool {
        let Some(t) = &self.transactions else { return false };
        let Some(opened) = t.window.opened() else { return t.begun && t.window.is_refused() };
        t.window.is_refused()
            || now >= opened + WINDOW
            || t.window.len() >= (self.settings.in_flight / 2).max(1)
            || self.is_full() && t.window.len() >= self.settings.in_flight / 4
            || closing && self.outbox.is_empty()
    }

    fn close(&mut self, now: Instant) -> Result<bool, LaneError> {
        let Some(t) = &mut self.transactions else { return Ok(false) };
        if !t.begun {
            // Only starts: no record has opened it.
            if let Err(error) = self.sink.begin() {
                self.failed(error, now)?;
                return Ok(true);
            }
            t.begun = true;
        }
        t.stage = Stage::Flushing(now);
        Ok(true)
    }

    fn flush(&mut self, since: Instant, now: Instant) -> Result<bool, LaneError> {
        let flushed = self.sink.flush(SLICE);
        self.collect(now)?;
        let Some(t) = &mut self.transactions else { return Ok(false) };
        if t.stage != Stage::Flushing(since) {
            return Ok(true);
        }
        if t.window.is_refused() {
            t.stage = Stage::Aborting(now);
            return Ok(true);
        }
        if flushed == Step::Done && t.window.is_acknowledged() {
            // Every partition of it has a leader now, which hears of an abort.
            t.cleanses = !t.window.places().is_subset(&t.clean);
            t.stage = if t.cleanses { Stage::Aborting(now) } else { Stage::Adding(now) };
            return Ok(true);
        }
        if self.transactions.as_ref().is_some_and(|t| now >= since + t.timeout) {
            self.look_for_topics()?;
        }
        self.overdue(since, "its records were not acknowledged in time", now)
    }

    /// Ends the process when a topic of ours is gone: each producer waits for it, and none for long enough to say so.
    fn look_for_topics(&mut self) -> Result<(), LaneError> {
        let topics = [&self.settings.output, &self.settings.dead_letters];
        let gone = topics.into_iter().find(|topic| self.sink.partitions(topic, SLICE) == Ok(0));
        let Some(t) = &mut self.transactions else { return Ok(()) };
        t.missed = if gone.is_some() { t.missed + 1 } else { 0 };
        match gone {
            Some(topic) if t.missed >= MISSED => Err(sink::gone(topic).into()),
            _ => Ok(()),
        }
    }

    fn add_offsets<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        since: Instant,
        now: Instant,
    ) -> Result<bool, LaneError> {
        // A partition of it was lost meanwhile: whether its offsets are in it is not known.
        if let Some(t) = &mut self.transactions
            && t.window.is_refused()
        {
            t.stage = Stage::Aborting(now);
            return Ok(true);
        }
        let offsets = self.offsets()?;
        let step = {
            let named =
                offsets.iter().map(|(topic, partition, offset)| (topic.as_str(), *partition, *offset));
            let list = committer::list(named, |topic| self.mark(topic))
                .map_err(|error| LaneError::Consumer(error.to_string()))?;
            match Membership::of(consumer).filter(|_| !consumer.assignment_lost()) {
                Some(membership) => self.sink.add_offsets(&list, &membership, SLICE),
                None => Err(TransactionError::Abort("we are no member of the group".to_owned())),
            }
        };
        match step {
            Ok(Step::Done) => {
                if let Some(t) = &mut self.transactions {
                    t.stage = Stage::Committing(now);
                    t.added = offsets;
                }
                Ok(true)
            }
            Ok(Step::Again) => self.overdue(since, "its offsets were not taken in time", now),
            Err(error) => {
                if let (TransactionError::Abort(_), Some(t)) = (&error, &mut self.transactions) {
                    t.hold(now + HOLD);
                }
                self.failed(error, now)?;
                Ok(true)
            }
        }
    }

    /// What the open transaction commits, as (topic, partition, next offset to read).
    fn offsets(&self) -> Result<Vec<Start>, LaneError> {
        let Some(t) = &self.transactions else { return Ok(Vec::new()) };
        let mut offsets = Vec::new();
        for (index, run) in t.window.runs() {
            let Some(assignment) = self.assignments.get(index) else { continue };
            let Some(topic) = self.topics.get(assignment.topic) else { continue };
            let offset = assignment.frontier_after(run.count, run.last)?;
            offsets.push((topic.name.clone(), assignment.partition, offset));
        }
        for start in &t.starts {
            if !offsets.iter().any(|(topic, partition, _)| (topic, partition) == (&start.0, &start.1)) {
                offsets.push(start.clone());
            }
        }
        Ok(offsets)
    }

    fn commit(&mut self, since: Instant, now: Instant) -> Result<bool, LaneError> {
        match self.sink.commit(SLICE) {
            Ok(Step::Done) => {
                self.metrics.transactions.committed.inc();
                let Some(t) = &mut self.transactions else { return Ok(false) };
                let opened = t.window.opened().unwrap_or(since);
                self.metrics.transaction_seconds.observe(now.saturating_duration_since(opened).as_secs_f64());
                let (alerts, added) = (t.reset(), std::mem::take(&mut t.added));
                for (topic, partition, _) in &added {
                    t.settle(topic, *partition);
                }
                self.committed(&added);
                for token in alerts {
                    self.complete(token, now)?;
                }
                self.dispatch(now)?;
                Ok(false)
            }
            Ok(Step::Again) => self.overdue(since, "it was not committed in time", now),
            Err(error) => {
                self.failed(error, now)?;
                Ok(true)
            }
        }
    }

    fn committed(&self, offsets: &[Start]) {
        for (topic, partition, offset) in offsets {
            let partition = partition.to_string();
            self.metrics.processed.with_label_values(&[topic, &partition]).set(*offset);
            self.metrics.committed.with_label_values(&[topic, &partition]).set(*offset);
        }
    }

    fn abort(&mut self, since: Instant, now: Instant) -> Result<bool, LaneError> {
        match self.sink.abort(SLICE) {
            Ok(Step::Done) => {
                self.metrics.transactions.aborted.inc();
                if let Some(t) = &mut self.transactions {
                    // When it was begun on purpose, every partition was there a moment ago.
                    let begun = if t.cleanses { Some(since) } else { t.window.opened() };
                    if begun.is_some_and(|begun| now > begun + OUTAGE) {
                        t.clean.clear();
                    } else if t.cleanses {
                        t.clean.extend(t.window.places());
                    }
                }
                self.send_again(now)?;
                Ok(false)
            }
            Ok(Step::Again) => self.overdue(since, "it was not aborted in time", now),
            // There is nothing gentler than a new producer.
            Err(TransactionError::Abort(why)) => {
                self.failed(TransactionError::Renew(why), now)?;
                Ok(true)
            }
            Err(error) => {
                self.failed(error, now)?;
                Ok(true)
            }
        }
    }

    /// Whether the coordinator has ended the transaction by itself; then only a new producer helps.
    fn overdue(&mut self, since: Instant, why: &str, now: Instant) -> Result<bool, LaneError> {
        let Some(t) = &self.transactions else { return Ok(false) };
        if now < since + t.timeout {
            return Ok(false);
        }
        self.failed(TransactionError::Renew(why.to_owned()), now)?;
        Ok(true)
    }
}
