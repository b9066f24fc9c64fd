//! What a lane knows and does between two polls: alerts in flight, their order, their deliveries, the ledgers.
//!
//! Contract: an offset is completed only by the acknowledgement of its output or dead letter; an alert leaves in
//! its order; no alert waits for its answers beyond its deadline; a refusal by the broker becomes a dead letter, a
//! pointer, or the end of the process, never a loss. Runs on the lane's thread only; flights and the producer
//! reach it through the mailbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::message::{Header, Message, OwnedHeaders};

use crate::alert::decode::{Scratch, Select};
use crate::commit::ledger::Ledger;
use crate::compose::{AlertStatus, headers};
use crate::config::{OnFailure, Order};
use crate::metrics::{Metrics, Refusal};
use crate::pipeline::{Begun, Origin, Pipeline};
use crate::sink::dead_letter::{self, Cause, Coordinates};
use crate::sink::partition::Chooser;
use crate::sink::{Deliveries, Outgoing, Sink, SinkError, Token};
use crate::source::LaneError;
use crate::source::order::Lines;
use crate::source::slots::{Product, Slots, State};

/// Before a dead letter that was refused is sent again.
const RETRY: Duration = Duration::from_secs(1);

/// What reaches a lane from other threads.
#[derive(Debug)]
pub enum Event {
    /// The last answer of a waiting alert has landed.
    Landed(Token),
    /// A record was acknowledged or refused.
    Delivered(Token, Result<(), SinkError>),
    /// The producer cannot go on.
    Broken(String),
}

/// The producer's end of the mailbox.
pub struct Mailbox(pub SyncSender<Event>);

impl Deliveries for Mailbox {
    fn delivered(&self, token: Token, result: Result<(), SinkError>) {
        // The lane is gone when nobody receives; then nothing is committed either.
        let _ = self.0.send(Event::Delivered(token, result));
    }

    fn broken(&self, why: String) {
        let _ = self.0.send(Event::Broken(why));
    }
}

/// What a lane is told once.
pub struct Settings {
    /// Bound of alerts in flight in this lane.
    pub in_flight: usize,
    /// Bound of bytes in flight in this lane.
    pub in_flight_bytes: usize,
    /// Bound of waiting for answers.
    pub deadline: Duration,
    /// Which order outputs keep.
    pub order: Order,
    /// The output topic.
    pub output: String,
    /// The dead-letter topic.
    pub dead_letters: String,
    /// What happens when that does not take one.
    pub on_failure: OnFailure,
}

/// An input topic as a lane sees it.
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How the format of its alerts is found.
    pub select: Select,
    /// Which output partition its alerts go to.
    pub chooser: Chooser,
    /// Where the assignment of each partition stands.
    partitions: Vec<Option<usize>>,
}

impl Topic {
    /// A topic with nothing assigned.
    pub fn new(name: String, select: Select, chooser: Chooser) -> Self {
        Topic { name, select, chooser, partitions: Vec::new() }
    }
}

/// One partition that is or was ours.
struct Assignment {
    topic: usize,
    partition: i32,
    epoch: u64,
    ours: bool,
    ledger: Ledger,
    lines: Lines,
    stored: Option<i64>,
}

/// The state of a lane.
pub struct Core {
    pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
    sink: Sink,
    mail: Receiver<Event>,
    post: SyncSender<Event>,
    settings: Settings,
    topics: Vec<Topic>,
    assignments: Vec<Assignment>,
    slots: Slots,
    deadlines: VecDeque<(Instant, Token)>,
    /// What may leave, in its order; stands still while the producer's queue is full.
    outbox: VecDeque<Token>,
    retries: VecDeque<(Instant, Token)>,
    scratch: Scratch,
    reported: (usize, usize),
    /// Whether an alert was acknowledged since the metric of it was set.
    progressed: bool,
    assigned_before: i64,
}

impl Core {
    /// A lane without assignments.
    pub fn new(
        pipeline: Arc<Pipeline>,
        sink: Sink,
        (post, mail): (SyncSender<Event>, Receiver<Event>),
        settings: Settings,
        topics: Vec<Topic>,
    ) -> Self {
        Core {
            metrics: Arc::clone(&pipeline.metrics),
            pipeline,
            sink,
            mail,
            post,
            settings,
            topics,
            assignments: Vec::new(),
            slots: Slots::default(),
            deadlines: VecDeque::new(),
            outbox: VecDeque::new(),
            retries: VecDeque::new(),
            scratch: Scratch::default(),
            reported: (0, 0),
            progressed: false,
            assigned_before: 0,
        }
    }

    /// Whether no more alerts may be taken.
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.settings.in_flight || self.slots.bytes() >= self.settings.in_flight_bytes
    }

    /// Whether there is room again: half of what makes it full, so that pausing and resuming do not alternate.
    pub fn has_room(&self) -> bool {
        self.slots.len() <= self.settings.in_flight / 2
            && self.slots.bytes() <= self.settings.in_flight_bytes / 2
    }

    /// Whether anything is in flight.
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty()
    }

    /// Alerts in flight.
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// Takes partitions that are ours from now on.
    pub fn assign(&mut self, partitions: &[(String, i32)]) {
        for (topic, partition) in partitions {
            let Some(position) = self.topic(topic) else { continue };
            let index = match self.find(position, *partition) {
                Some(index) => index,
                None => {
                    self.assignments.push(Assignment {
                        topic: position,
                        partition: *partition,
                        epoch: 0,
                        ours: false,
                        ledger: Ledger::new(),
                        lines: Lines::default(),
                        stored: None,
                    });
                    self.place(position, *partition, self.assignments.len() - 1);
                    self.assignments.len() - 1
                }
            };
            if let Some(assignment) = self.assignments.get_mut(index) {
                assignment.epoch += 1;
                assignment.ours = true;
                assignment.ledger = Ledger::new();
                assignment.lines = Lines::default();
                assignment.stored = None;
            }
        }
        self.count_assigned();
    }

    /// Lets go of partitions: what is in flight of them no longer counts.
    pub fn forget(&mut self, partitions: &[(String, i32)]) {
        for (topic, partition) in partitions {
            if let Some(index) = self.topic(topic).and_then(|topic| self.find(topic, *partition))
                && let Some(assignment) = self.assignments.get_mut(index)
            {
                assignment.ours = false;
                assignment.ledger = Ledger::new();
                assignment.lines = Lines::default();
            }
        }
        for token in self.slots.used() {
            let gone = self.slots.get(token).is_some_and(|slot| {
                !matches!(slot.state, State::Sent(_))
                    && self.assignments.get(slot.assignment).is_none_or(|a| !a.ours || a.epoch != slot.epoch)
            });
            if gone {
                if let Some(slot) = self.slots.get(token)
                    && let State::Waiting(pending) = &slot.state
                {
                    pending.abandon();
                }
                self.slots.release(token);
            }
        }
        self.count_assigned();
    }

    /// The partitions that are ours.
    pub fn assigned(&self) -> Vec<(String, i32)> {
        self.assignments
            .iter()
            .filter(|assignment| assignment.ours)
            .filter_map(|a| Some((self.topics.get(a.topic)?.name.clone(), a.partition)))
            .collect()
    }

    /// Alerts of these partitions that are not done.
    pub fn open(&self, partitions: &[(String, i32)]) -> usize {
        partitions
            .iter()
            .filter_map(|(topic, partition)| self.find(self.topic(topic)?, *partition))
            .filter_map(|index| self.assignments.get(index))
            .map(|assignment| assignment.ledger.open())
            .sum()
    }

    /// Frontiers of partitions of ours that have moved since they were stored, as (topic, partition, offset).
    pub fn frontiers(&self) -> Vec<(&str, i32, i64)> {
        self.assignments
            .iter()
            .filter(|a| a.ours && a.ledger.frontier() != a.stored)
            .filter_map(|a| {
                Some((self.topics.get(a.topic)?.name.as_str(), a.partition, a.ledger.frontier()?))
            })
            .collect()
    }

    /// Notes that all frontiers were stored.
    pub fn stored(&mut self) {
        for assignment in self.assignments.iter_mut().filter(|a| a.ours) {
            let frontier = assignment.ledger.frontier();
            if frontier != assignment.stored
                && let (Some(offset), Some(topic)) = (frontier, self.topics.get(assignment.topic))
            {
                let partition = assignment.partition.to_string();
                self.metrics.processed.with_label_values(&[topic.name.as_str(), &partition]).set(offset);
            }
            assignment.stored = frontier;
        }
    }

    /// Takes one record from the consumer.
    ///
    /// # Errors
    /// [`LaneError`] ends the process.
    pub fn take(&mut self, record: &impl Message, now: Instant) -> Result<(), LaneError> {
        let Some(index) = self.topic(record.topic()).and_then(|topic| self.find(topic, record.partition()))
        else {
            return Ok(());
        };
        let Some(assignment) = self.assignments.get_mut(index).filter(|a| a.ours) else {
            return Ok(());
        };
        let charge = assignment.ledger.charge(record.offset())?;
        let token = self.slots.take(now);
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        slot.assignment = index;
        slot.epoch = assignment.epoch;
        slot.charge = Some(charge);
        slot.offset = record.offset();
        slot.timestamp = record.timestamp().to_millis();
        slot.headers = record.headers().and_then(dead_letter::strip_ours);
        slot.has_key = record.key().is_some();
        slot.key.extend_from_slice(record.key().unwrap_or_default());
        slot.tombstone = record.payload().is_none();
        slot.value.extend_from_slice(record.payload().unwrap_or_default());
        let held = slot.value.len();
        slot.group = match self.settings.order {
            Order::Partition => Some(0),
            Order::Key if slot.has_key => Some(hash(&slot.key)),
            Order::Key => Some(0),
            Order::None => None,
        };
        if let Some(group) = slot.group {
            assignment.lines.admit(group, token.slot);
        }
        self.slots.charge_bytes(held);
        self.metrics.consumed.inc();
        self.begin(token, now);
        self.metrics.stage_begin.observe(now.elapsed().as_secs_f64());
        self.settle(token, now)
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
        let overhead = slot.key.len()
            + dead_letter::header_bytes(slot.headers.as_ref())
            + headers::RESERVED
            + topic.name.len()
            + 32;
        let origin = Origin { topic: &topic.name, select: topic.select, overhead };
        let post = &self.post;
        let waker = || -> Box<dyn Fn() + Send + Sync> {
            let post = post.clone();
            Box::new(move || {
                let _ = post.send(Event::Landed(token));
            })
        };
        let mut composed = 0;
        slot.state =
            match self.pipeline.begin(&slot.value, origin, now, &mut self.scratch, &mut slot.output, waker) {
                Ok(Begun::Composed(summary)) => {
                    composed = slot.output.len();
                    State::Ready(Product::Enriched(summary))
                }
                Ok(Begun::Waiting(pending)) => {
                    self.deadlines.push_back((now + self.settings.deadline, token));
                    State::Waiting(pending)
                }
                Err(error) => State::Ready(Product::Dead(Cause {
                    reason: error.label(),
                    message: error.to_string(),
                    stage: "VALUE_CONVERTER",
                })),
            };
        self.slots.charge_bytes(composed);
    }

    /// Lets leave what may: the alert of `token` if it waits for nobody, else the front of its line.
    fn settle(&mut self, token: Token, now: Instant) -> Result<(), LaneError> {
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        let (assignment, group) = (slot.assignment, slot.group);
        match group {
            None => {
                if matches!(slot.state, State::Ready(_)) {
                    self.outbox.push_back(token);
                }
            }
            Some(group) => {
                while let Some(lines) = self.assignments.get_mut(assignment).map(|a| &mut a.lines)
                    && let Some(front) = lines.front(group)
                    && let Some((token, slot)) = self.slots.at(front)
                    && matches!(slot.state, State::Ready(_))
                {
                    self.outbox.push_back(token);
                    lines.advance(group);
                }
            }
        }
        self.dispatch(now)
    }

    /// Hands what may leave to the producer, until its queue is full.
    fn dispatch(&mut self, now: Instant) -> Result<(), LaneError> {
        while let Some(&token) = self.outbox.front() {
            match self.send(token, now) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(SinkError::Full) => return Ok(()),
                Err(error) => {
                    self.outbox.pop_front();
                    self.refused(token, error, now)?;
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
        let key = slot.has_key.then_some(slot.key.as_slice());
        let timestamp = if slot.now_instead { None } else { slot.timestamp };
        let partition = topic.chooser.choose(assignment.partition, slot.has_key);
        let pointer;
        let record = match product {
            Product::Enriched(summary) => {
                let mut all = base(slot.headers.as_ref());
                for (key, value) in headers::of(summary) {
                    all = all.insert(Header { key, value: Some(value.as_ref()) });
                }
                Outgoing {
                    topic: &self.settings.output,
                    partition,
                    key,
                    value: Some(&slot.output),
                    timestamp,
                    headers: mark(all, at, slot.now_instead, slot.timestamp),
                    token,
                }
            }
            Product::Tombstone => {
                let status = Header { key: headers::STATUS, value: Some(AlertStatus::NoEntities.label()) };
                Outgoing {
                    topic: &self.settings.output,
                    partition,
                    key,
                    value: None,
                    timestamp,
                    headers: mark(
                        base(slot.headers.as_ref()).insert(status),
                        at,
                        slot.now_instead,
                        slot.timestamp,
                    ),
                    token,
                }
            }
            Product::Dead(cause) => Outgoing {
                topic: &self.settings.dead_letters,
                partition: None,
                key,
                value: (!slot.tombstone).then_some(slot.value.as_slice()),
                timestamp: None,
                headers: dead_letter::error_headers(slot.headers.as_ref(), at, slot.timestamp, cause),
                token,
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
                    headers: dead_letter::error_headers(None, at, slot.timestamp, cause).insert(mark),
                    token,
                }
            }
        };
        self.sink.send(record)?;
        slot.sent = now;
        slot.state = match std::mem::replace(&mut slot.state, State::Free) {
            State::Ready(product) => State::Sent(product),
            other => other,
        };
        self.metrics.stage_wait.observe(now.saturating_duration_since(slot.polled).as_secs_f64());
        Ok(())
    }

    /// Everything that waits for this thread: the mailbox, deadlines, retries, the outbox.
    ///
    /// # Errors
    /// [`LaneError`] ends the process.
    pub fn serve(&mut self, now: Instant) -> Result<(), LaneError> {
        while let Ok(event) = self.mail.try_recv() {
            self.handle(event, now)?;
        }
        while let Some((at, token)) = self.deadlines.front().copied()
            && at <= now
        {
            self.deadlines.pop_front();
            self.finish(token, now)?;
        }
        // Alerts that were answered in time leave the front of the list before their deadline.
        while let Some((_, token)) = self.deadlines.front().copied()
            && !self.slots.get(token).is_some_and(|slot| matches!(slot.state, State::Waiting(_)))
        {
            self.deadlines.pop_front();
        }
        while let Some((at, token)) = self.retries.front().copied()
            && at <= now
        {
            self.retries.pop_front();
            self.outbox.push_back(token);
        }
        self.dispatch(now)?;
        if std::mem::take(&mut self.progressed) {
            // Once for all that was acknowledged together: a look at the clock for each would cost more than it says.
            self.metrics.progressed(SystemTime::now());
        }
        let held = (self.slots.len(), self.slots.bytes());
        if held != self.reported {
            self.metrics.in_flight.add(held.0 as i64 - self.reported.0 as i64);
            self.metrics.in_flight_bytes.add(held.1 as i64 - self.reported.1 as i64);
            self.reported = held;
        }
        Ok(())
    }

    /// Waits for one event, at most `bound`, then serves.
    ///
    /// # Errors
    /// [`LaneError`] ends the process.
    pub fn wait(&mut self, bound: Duration) -> Result<(), LaneError> {
        if let Ok(event) = self.mail.recv_timeout(bound) {
            self.handle(event, Instant::now())?;
        }
        self.serve(Instant::now())
    }

    fn handle(&mut self, event: Event, now: Instant) -> Result<(), LaneError> {
        match event {
            Event::Landed(token) => self.finish(token, now),
            Event::Delivered(token, Ok(())) => self.complete(token, now),
            Event::Delivered(token, Err(error)) => {
                if let Some(slot) = self.slots.get(token) {
                    slot.state = match std::mem::replace(&mut slot.state, State::Free) {
                        State::Sent(product) => State::Ready(product),
                        other => other,
                    };
                }
                self.refused(token, error, now)
            }
            Event::Broken(why) => Err(LaneError::Producer(why)),
        }
    }

    /// Composes a waiting alert with what is known by now.
    fn finish(&mut self, token: Token, now: Instant) -> Result<(), LaneError> {
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        let State::Waiting(pending) = &slot.state else { return Ok(()) };
        let pending = Arc::clone(pending);
        let summary = self.pipeline.finish(&pending, &slot.value, now, &mut slot.output);
        slot.state = State::Ready(Product::Enriched(summary));
        let composed = slot.output.len();
        self.slots.charge_bytes(composed);
        self.settle(token, now)
    }

    /// The broker has it: the offset counts.
    fn complete(&mut self, token: Token, now: Instant) -> Result<(), LaneError> {
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        self.progressed = true;
        match &slot.state {
            State::Sent(Product::Dead(cause) | Product::Pointer(cause)) => {
                self.metrics.dead_lettered(cause.reason);
            }
            _ => self.metrics.published.inc(),
        }
        self.metrics.stage_deliver.observe(now.saturating_duration_since(slot.sent).as_secs_f64());
        self.metrics.latency.observe(now.saturating_duration_since(slot.polled).as_secs_f64());
        if let Some(assignment) = self.assignments.get_mut(slot.assignment)
            && assignment.ours
            && assignment.epoch == slot.epoch
            && let Some(charge) = slot.charge
        {
            assignment.ledger.complete(charge)?;
        }
        self.slots.release(token);
        Ok(())
    }

    /// The broker does not take it: a dead letter, a pointer, another try, or the end.
    fn refused(&mut self, token: Token, error: SinkError, now: Instant) -> Result<(), LaneError> {
        let Some(slot) = self.slots.get(token) else { return Ok(()) };
        let State::Ready(product) = &slot.state else { return Ok(()) };
        let dead = |refusal: Refusal| {
            Product::Dead(Cause { reason: refusal.label(), message: error.to_string(), stage: "TASK_PUT" })
        };
        let next = match (product, &error) {
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
                SinkError::Record { .. } | SinkError::Timestamp(_),
            ) => Some(dead(Refusal::OutputRefused)),
            (Product::Enriched(_) | Product::Tombstone, SinkError::Topic { .. }) => return Err(error.into()),
            (Product::Dead(cause), SinkError::TooLarge(_)) => Some(Product::Pointer(cause.clone())),
            (Product::Dead(_) | Product::Pointer(_), _) => match self.settings.on_failure {
                OnFailure::Stop => return Err(error.into()),
                OnFailure::Wait => {
                    tracing::error!(%error, "a dead letter was refused; its partition waits until it is taken");
                    self.retries.push_back((now + RETRY, token));
                    return Ok(());
                }
            },
        };
        if let Some(product) = next {
            slot.state = State::Ready(product);
        }
        self.outbox.push_back(token);
        Ok(())
    }

    /// Waits until everything that was handed over is delivered, or `bound` is over.
    pub fn flush(&self, bound: Duration) {
        self.sink.flush(bound);
    }

    fn topic(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.name == name)
    }

    fn find(&self, topic: usize, partition: i32) -> Option<usize> {
        *self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)?
    }

    fn place(&mut self, topic: usize, partition: i32, assignment: usize) {
        if let (Some(topic), Ok(partition)) = (self.topics.get_mut(topic), usize::try_from(partition)) {
            if topic.partitions.len() <= partition {
                topic.partitions.resize(partition + 1, None);
            }
            if let Some(place) = topic.partitions.get_mut(partition) {
                *place = Some(assignment);
            }
        }
    }

    fn count_assigned(&mut self) {
        let ours = self.assignments.iter().filter(|a| a.ours).count() as i64;
        // Lanes add up to the process.
        let before = std::mem::replace(&mut self.assigned_before, ours);
        self.metrics.assigned.add(ours - before);
    }
}

fn base(headers: Option<&OwnedHeaders>) -> OwnedHeaders {
    headers.cloned().unwrap_or_else(|| OwnedHeaders::new_with_capacity(6))
}

/// The headers that depend on the record rather than on its answers.
fn mark(all: OwnedHeaders, at: Coordinates<'_>, now_instead: bool, timestamp: Option<i64>) -> OwnedHeaders {
    let all = all.insert(Header { key: headers::SOURCE, value: Some(at.source().as_str()) });
    match timestamp {
        Some(original) if now_instead => {
            all.insert(Header { key: headers::TIMESTAMP, value: Some(original.to_string().as_str()) })
        }
        _ => all,
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
