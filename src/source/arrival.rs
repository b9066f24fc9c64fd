//! How an alert comes into a lane: its charge, its place, its answers as far as they are there, and its turn to leave.
//!
//! Contract: the ledger is charged before anything else happens; an alert that waits for nothing leaves at once, inline; what
//! waits is composed when it leaves, not before. Nothing here waits.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::message::{BorrowedMessage, Message};

use crate::compose::headers;
use crate::config::Order;
use crate::pipeline::{Begun, Origin};
use crate::sink::dead_letter::Cause;
use crate::sink::{Token, input_headers};
use crate::source::LaneError;
use crate::source::core::Core;
use crate::source::mailbox::Event;
use crate::source::slots::{self, Owed, Product, State};

impl Core {
    /// Takes one record from the consumer. `now` is when the first of those was polled that come one after another without a
    /// wait: a look at the clock for each would cost a good part of what the alert does; `first` is that one.
    ///
    /// # Errors
    /// [`LaneError`] ends the process.
    pub fn take(&mut self, record: &BorrowedMessage<'_>, now: Instant, first: bool) -> Result<(), LaneError> {
        let topic = self.topic(record.topic());
        let Some(index) = topic.and_then(|topic| self.assignments.find(topic, record.partition())) else {
            return Ok(());
        };
        let Some(assignment) = self.assignments.get_mut(index).filter(|a| a.ours) else {
            return Ok(());
        };
        let charge = assignment.charge(record.offset())?;
        self.span = self.span.max(assignment.span());
        let token = self.slots.take(now);
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        slot.assignment = index;
        slot.epoch = assignment.epoch;
        slot.charge = Some(charge);
        slot.offset = record.offset();
        slot.timestamp = record.timestamp().to_millis();
        // Zero means now to librdkafka: it leaves with the time of now, and says so.
        slot.now_instead = slot.timestamp == Some(0);
        let kept = record.headers().map(input_headers::keep).unwrap_or_default();
        (slot.headers, slot.header_bytes, slot.redriven) = (kept.headers, kept.bytes, kept.redriven);
        slot.has_key = record.key().is_some();
        slot.key.extend_from_slice(record.key().unwrap_or_default());
        slot.tombstone = record.payload().is_none();
        slot.value.extend_from_slice(record.payload().unwrap_or_default());
        slot.group = match self.settings.order {
            // A transaction commits the oldest alerts of a partition: they leave in its order, whatever was asked.
            _ if self.transactions.is_some() => Some(0),
            Order::Partition => Some(0),
            Order::Key if slot.has_key => Some(hash(&slot.key)),
            Order::Key => Some(0),
            Order::None => None,
        };
        if let Some(group) = slot.group {
            assignment.lines.admit(group, token.slot);
        }
        self.counts.consumed.inc();
        self.begin(token, now);
        if first {
            self.counts.begin.observe(now.elapsed().as_secs_f64());
        }
        self.settle(token, now)?;
        if let Some(slot) = self.slots.get(token).filter(|slot| !matches!(slot.state, State::Sent(_))) {
            // It waits for answers, for others, or for room in the producer's queue.
            slot.output.shrink_to_fit();
            self.slots.count(token);
        }
        Ok(())
    }

    /// Runs an alert as far as it goes without waiting.
    fn begin(&mut self, token: Token, now: Instant) {
        let Some(slot) = self.slots.get(token) else { return };
        if slot.tombstone {
            slot.state = State::Ready(Product::Tombstone);
            return;
        }
        let Some(topic) = self.assignments.get(slot.assignment).and_then(|a| self.topics.get(a.topic)) else {
            return;
        };
        let overhead = slot.key.len() + slot.header_bytes + headers::RESERVED + topic.name.len() + 32;
        let origin = Origin { topic: &topic.name, select: topic.select, overhead };
        let post = &self.post;
        let waker = || -> Box<dyn Fn() + Send + Sync> {
            let post = post.clone();
            Box::new(move || {
                post.send(Event::Landed(token));
            })
        };
        // A transaction is sent again from our copy, which is then its own.
        let keeps = self.transactions.is_some();
        let mut output = if keeps { std::mem::take(&mut slot.output) } else { self.spares.take() };
        slot.state =
            match self.pipeline.begin(&slot.value, origin, now, &mut self.scratch, &mut output, waker) {
                Ok(Begun::Composed(summary)) => {
                    slot.output = output;
                    State::Ready(Product::Enriched(summary))
                }
                Ok(Begun::Waiting(pending)) => {
                    self.spares.give(output);
                    slot.waiting = pending.bytes();
                    let until = now + self.pipeline.deadline;
                    // At the end, but where a reload has made deadlines shorter.
                    let place = self.deadlines.partition_point(|(at, _)| *at <= until);
                    self.deadlines.insert(place, (until, token));
                    State::Waiting(pending)
                }
                Err(error) => {
                    self.spares.give(output);
                    State::Ready(Product::Dead(Cause {
                        reason: error.label(),
                        message: error.to_string(),
                        stage: "VALUE_CONVERTER",
                    }))
                }
            };
    }

    /// Lets leave what may: the alert of `token` if it waits for nobody, else the front of its line.
    pub(super) fn settle(&mut self, token: Token, now: Instant) -> Result<(), LaneError> {
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        let (assignment, group) = (slot.assignment, slot.group);
        match group {
            None => {
                if self.may_leave(token) {
                    self.outbox.push_back(token);
                }
            }
            Some(group) => {
                while let Some(front) = self.assignments.get(assignment).and_then(|a| a.lines.front(group))
                    && let Some(token) = self.slots.at(front).map(|(token, _)| token)
                    && self.may_leave(token)
                {
                    self.outbox.push_back(token);
                    if let Some(assignment) = self.assignments.get_mut(assignment) {
                        assignment.lines.advance(group);
                    }
                }
            }
        }
        self.dispatch(now)
    }

    /// Whether nothing of an alert is awaited any more.
    fn may_leave(&mut self, token: Token) -> bool {
        self.slots.get(token).is_some_and(|slot| matches!(slot.state, State::Ready(_) | State::Answered(_)))
    }

    /// Composes an alert that is answered, unless so much is held already that it waits for deliveries; whether it can
    /// be sent.
    pub(super) fn compose(&mut self, token: Token, now: Instant) -> bool {
        let Some(slot) = self.slots.get(token) else { return true };
        let State::Answered(pending) = &slot.state else { return true };
        let pending = Arc::clone(pending);
        if self.slots.bytes() >= slots::most(self.settings.in_flight_bytes) && self.slots.any_sent() {
            return false;
        }
        if let Some(slot) = self.slots.get(token) {
            let summary = pending.finish(&slot.value, now, &mut slot.output);
            slot.state = State::Ready(Product::Enriched(summary));
            slot.waiting = 0;
            if self.updates.is_some() && pending.is_owed() {
                slot.waiting = pending.bytes();
                slot.owed = Some(Owed { token, pending });
            }
        }
        self.slots.count(token);
        true
    }
}

fn hash(key: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    thread_local! {
        static KEYS: ahash::RandomState = ahash::RandomState::new();
    }
    let mut hasher = KEYS.with(BuildHasher::build_hasher);
    hasher.write(key);
    // Zero is the line of alerts without a key.
    hasher.finish() | 1
}
