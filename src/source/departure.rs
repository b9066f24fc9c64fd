//! How an alert leaves a lane: its record, its delivery, and what a refusal by the broker means.
//!
//! Contract: an offset is completed only by the acknowledgement of its output or dead letter. A refusal becomes
//! another try, a dead letter, a pointer to the record, or the end of the process: never a loss. An alert that is
//! sent again after a refusal may leave behind later ones of its partition, unless in a transaction: the one exception
//! to their order.

use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};

use crate::compose::{AlertStatus, headers};
use crate::config::OnFailure;
use crate::metrics::Refusal;
use crate::sink::dead_letter::{self, Cause, Coordinates};
use crate::sink::input_headers;
use crate::sink::{Outgoing, SinkError, Token};
use crate::source::LaneError;
use crate::source::core::Core;
use crate::source::slots::{Product, Slot, State};

/// More than the bytes that a record has beside what is its alert's: our headers, and the batch's own fields.
const OWN: usize = 4096;

/// Before a dead letter that was refused is sent again.
pub const RETRY: Duration = Duration::from_secs(1);

/// Bound of a flush around a record that goes alone.
const ALONE: Duration = Duration::from_millis(500);

/// When a record that was refused is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// At once: as it is but alone, with another timestamp, as a dead letter, as a pointer.
    Again,
    /// After [`RETRY`]: the dead-letter topic does not take it.
    Later,
}

impl Core {
    /// Hands what may leave to the producer, until its queue is full.
    pub(super) fn dispatch(&mut self, now: Instant) -> Result<(), LaneError> {
        while let Some(&token) = self.outbox.front()
            && self.may_send(now)?
            && self.compose(token, now)
        {
            let error = match self.send(token, now) {
                Ok(()) => {
                    self.outbox.pop_front();
                    continue;
                }
                Err(error) => error,
            };
            if error == SinkError::Full {
                return Ok(());
            }
            if let Some(transactions) = &mut self.transactions
                && matches!(error, SinkError::Withdrawn { .. })
            {
                transactions.refuse();
                return Ok(());
            }
            // It was refused before it was in any batch: as if it had gone alone, but others go on with it.
            let alone = self.slots.get(token).map(|slot| std::mem::replace(&mut slot.alone, true));
            let after = self.refused(token, error, now)?;
            if let (Some(slot), Some(alone)) = (self.slots.get(token), alone) {
                slot.alone = alone;
            }
            match (after, &mut self.transactions) {
                // It stays where it is: nobody has overtaken it.
                (After::Again, _) => {}
                (After::Later, Some(transactions)) => {
                    transactions.hold(now + RETRY);
                    return Ok(());
                }
                (After::Later, None) => {
                    self.outbox.pop_front();
                    self.retries.push_back((now + RETRY, token));
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, token: Token, now: Instant) -> Result<(), SinkError> {
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        let Some(assignment) = self.assignments.get(slot.assignment) else { return Ok(()) };
        let Some(topic) = self.topics.get(assignment.topic) else { return Ok(()) };
        let State::Ready(product) = &slot.state else { return Ok(()) };
        let at = Coordinates { topic: &topic.name, partition: assignment.partition, offset: slot.offset };
        at.source(&mut self.source);
        // In a transaction there is but one producer: the record goes between two flushes.
        let flushes = slot.alone && self.transactions.is_some();
        let alone = slot.alone && !flushes;
        let key = slot.has_key.then_some(slot.key.as_slice());
        let timestamp = if slot.now_instead { None } else { slot.timestamp };
        let partition = topic.chooser.choose(assignment.partition, slot.has_key);
        let pointer;
        let record = match product {
            Product::Enriched(summary) => {
                let mut all = base(slot.headers.as_ref());
                headers::each(summary, |name, value| add(&mut all, name, value));
                mark(&mut all, &self.source, slot);
                Outgoing {
                    topic: &self.settings.output,
                    partition,
                    key,
                    value: Some(&slot.output),
                    timestamp,
                    headers: all,
                    token,
                    alone,
                }
            }
            Product::Tombstone => {
                let mut all = base(slot.headers.as_ref());
                add(&mut all, headers::STATUS, AlertStatus::NoEntities.label());
                mark(&mut all, &self.source, slot);
                Outgoing {
                    topic: &self.settings.output,
                    partition,
                    key,
                    value: None,
                    timestamp,
                    headers: all,
                    token,
                    alone,
                }
            }
            Product::Dead(cause) => Outgoing {
                topic: &self.settings.dead_letters,
                partition: None,
                key,
                value: (!slot.tombstone).then_some(slot.value.as_slice()),
                timestamp: None,
                headers: dead_letter::counted(
                    dead_letter::error_headers(slot.headers.as_ref(), at, slot.timestamp, cause),
                    slot.redriven,
                ),
                token,
                alone,
            },
            Product::Pointer(cause) => {
                pointer = dead_letter::pointer(at, &slot.value);
                let mark = Header { key: headers::TRUNCATED, value: Some("pointer") };
                Outgoing {
                    topic: &self.settings.dead_letters,
                    partition: None,
                    key: key.filter(|key| key.len() <= 1024),
                    value: Some(&pointer),
                    timestamp: None,
                    // The input's headers may be what made it too large.
                    headers: dead_letter::counted(
                        dead_letter::error_headers(None, at, slot.timestamp, cause).insert(mark),
                        slot.redriven,
                    ),
                    token,
                    alone,
                }
            }
        };
        let limits = match product {
            Product::Enriched(_) | Product::Tombstone => &self.settings.output_limits,
            Product::Dead(_) | Product::Pointer(_) => &self.settings.dead_limits,
        };
        let at_most = slot.key.len() + slot.header_bytes + record.value.map_or(0, <[u8]>::len) + OWN;
        if let Some(refused) = limits.refuses(&record, at_most, self.wall.unix(now)) {
            return Err(refused);
        }
        if flushes {
            self.sink.flush(ALONE);
        }
        self.sink.send(record)?;
        if flushes {
            self.sink.flush(ALONE);
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.sent(token, slot.assignment, slot.offset, now);
        }
        slot.sent = now;
        slot.state = match std::mem::replace(&mut slot.state, State::Free) {
            State::Ready(product) => State::Sent(product),
            other => other,
        };
        if self.transactions.is_none() {
            // The producer has its own copy, and gives it back with a refusal. A transaction is sent again from ours.
            slot.given = slot.output.len();
            self.spares.give(std::mem::take(&mut slot.output));
        }
        self.counts.wait.observe(now.saturating_duration_since(slot.polled).as_secs_f64());
        self.slots.count(token);
        Ok(())
    }

    /// The broker has it: the offset counts.
    pub(super) fn complete(&mut self, token: Token, now: Instant) -> Result<(), LaneError> {
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        self.progressed = true;
        match &slot.state {
            State::Sent(Product::Dead(cause) | Product::Pointer(cause)) => {
                self.metrics.dead_lettered(cause.reason);
                slot.owed = None;
            }
            _ => self.counts.published.inc(),
        }
        self.counts.deliver.observe(now.saturating_duration_since(slot.sent).as_secs_f64());
        self.counts.latency.observe(now.saturating_duration_since(slot.polled).as_secs_f64());
        if let Some(assignment) = self.assignments.get_mut(slot.assignment)
            && let Some(charge) = slot.charge
        {
            assignment.complete(slot.epoch, charge)?;
        }
        if slot.owed.is_some() {
            self.owes(token, now);
        }
        self.slots.release(token);
        Ok(())
    }

    /// The broker does not take it: a dead letter, a pointer, another try, or the end.
    pub(super) fn refused(
        &mut self,
        token: Token,
        error: SinkError,
        now: Instant,
    ) -> Result<After, LaneError> {
        let Some(slot) = self.slots.get(token) else { return Ok(After::Again) };
        let State::Ready(product) = &slot.state else { return Ok(After::Again) };
        let dead = |refusal: Refusal| {
            Product::Dead(Cause { reason: refusal.label(), message: error.to_string(), stage: "TASK_PUT" })
        };
        let next = match (product, &error) {
            // The broker refuses batches. What it thinks of this record shows when it goes alone.
            (
                _,
                SinkError::Batch(_)
                | SinkError::TooLarge(_)
                | SinkError::Timestamp(_)
                | SinkError::Record { .. },
            ) if !slot.alone => {
                slot.alone = true;
                None
            }
            (_, SinkError::Full) => None,
            (Product::Enriched(_) | Product::Tombstone, SinkError::Timestamp(_)) if !slot.now_instead => {
                slot.now_instead = true;
                None
            }
            (Product::Enriched(_) | Product::Tombstone, SinkError::TooLarge(_)) => {
                Some(dead(Refusal::OutputTooLarge))
            }
            (
                Product::Enriched(_) | Product::Tombstone,
                SinkError::Record { .. } | SinkError::Timestamp(_) | SinkError::Batch(_),
            ) => Some(dead(Refusal::OutputRefused)),
            (_, SinkError::Withdrawn { .. })
            | (Product::Enriched(_) | Product::Tombstone, SinkError::Topic { .. }) => {
                return Err(error.into());
            }
            (Product::Dead(cause), SinkError::TooLarge(_)) => Some(Product::Pointer(cause.clone())),
            (Product::Dead(_) | Product::Pointer(_), _) => match self.settings.on_failure {
                OnFailure::Stop => return Err(error.into()),
                OnFailure::Wait => {
                    self.say(&error, now);
                    return Ok(After::Later);
                }
            },
        };
        if let Some(product) = next {
            slot.state = State::Ready(product);
        }
        Ok(After::Again)
    }
}

fn base(headers: Option<&OwnedHeaders>) -> OwnedHeaders {
    headers.cloned().unwrap_or_else(|| OwnedHeaders::new_with_capacity(6))
}

fn add(all: &mut OwnedHeaders, name: &str, value: &str) {
    input_headers::add(all, name.as_bytes(), Some(value.as_bytes()));
}

/// The headers that depend on the record rather than on its answers.
fn mark(all: &mut OwnedHeaders, source: &str, slot: &Slot) {
    add(all, headers::SOURCE, source);
    if let (true, Some(original)) = (slot.now_instead, slot.timestamp) {
        add(all, headers::TIMESTAMP, &original.to_string());
    }
}
