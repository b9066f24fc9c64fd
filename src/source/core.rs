//! What a lane knows and does between two polls: alerts in flight, their order, their deliveries, the ledgers.
//!
//! Contract: an offset is completed only by the acknowledgement of its output or dead letter; an alert leaves in
//! its order; no alert waits for its answers beyond its deadline; a refusal by the broker becomes a dead letter, a
//! pointer, or the end of the process, never a loss. Runs on the lane's thread only; flights and the producer
//! reach it through the mailbox.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::error::KafkaError;

use crate::alert::decode::Scratch;
use crate::config::{OnFailure, Order};
use crate::metrics::{LaneMetrics, Metrics};
use crate::pipeline::Pipeline;
use crate::sink::{Returned, Sink, SinkError, Token};
use crate::source::LaneError;
use crate::source::assignments::Assignments;
use crate::source::departure::{After, RETRY};
use crate::source::lateness::Lateness;
use crate::source::limits::{Latest, TopicLimits, Wall};
use crate::source::mailbox::{Event, Mail, Post};
use crate::source::quiet::Quiet;
use crate::source::share::Shares;
use crate::source::slots::{Slots, Spares, State};
use crate::source::topics::Topic;
use crate::source::transaction::Transactions;

/// What a lane is told once.
pub struct Settings {
    /// Bound of alerts in flight in this lane.
    pub in_flight: usize,
    /// Bound of bytes in flight in this lane.
    pub in_flight_bytes: usize,
    /// Which order outputs keep.
    pub order: Order,
    /// The consumer group.
    pub group: String,
    /// The output topic.
    pub output: String,
    /// The dead-letter topic.
    pub dead_letters: String,
    /// What happens when that does not take one.
    pub on_failure: OnFailure,
    /// What the output topic takes.
    pub output_limits: TopicLimits,
    /// What the dead-letter topic takes.
    pub dead_limits: TopicLimits,
}

/// The state of a lane.
pub struct Core {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) metrics: Arc<Metrics>,
    /// What is counted for every alert.
    pub(super) counts: LaneMetrics,
    pub(super) sink: Sink,
    mail: Mail,
    /// What was taken out of the mailbox and not looked at yet.
    letters: VecDeque<Event>,
    pub(super) post: Post,
    pub(super) settings: Settings,
    pub(super) wall: Wall,
    pub(super) topics: Vec<Topic>,
    pub(super) assignments: Assignments,
    pub(super) slots: Slots,
    /// Where outputs are composed.
    pub(super) spares: Spares,
    pub(super) deadlines: VecDeque<(Instant, Token)>,
    /// What may leave, in its order; stands still while the producer's queue is full.
    pub(super) outbox: VecDeque<Token>,
    pub(super) retries: VecDeque<(Instant, Token)>,
    /// Exactly once; `None` is at least once.
    pub(super) transactions: Option<Transactions>,
    pub(super) scratch: Scratch,
    /// Where the record that leaves came from, as its header says. Reused.
    pub(super) source: String,
    reported: (usize, usize),
    /// Whether an alert was acknowledged since the metric of it was set.
    pub(super) progressed: bool,
    assigned_before: i64,
    /// Whether our partitions are paused. Those that are assigned later are not, so it is then false again.
    pub paused: bool,
    /// Those of them that are paused alone.
    pub shares: Shares,
    voice: Quiet,
    /// When a dead letter was refused last, and why.
    refusal: Option<(Instant, String)>,
    /// The longest of our ledgers when it was last looked: it grows while alerts overtake one that is not done, be it a
    /// dead letter that is not taken or an alert of another key that waits.
    pub(super) span: usize,
    held_back: bool,
    /// Answers that come after their alert has left; `None` is nothing to anybody.
    pub(super) updates: Option<Lateness>,
}

impl Core {
    /// A lane without assignments.
    pub fn new(
        pipeline: Arc<Pipeline>,
        sink: Sink,
        (post, mail): (Post, Mail),
        settings: Settings,
        mut topics: Vec<Topic>,
        transactions: Option<Transactions>,
    ) -> Self {
        topics.iter_mut().for_each(|topic| topic.select(&pipeline.formats));
        Core {
            metrics: Arc::clone(&pipeline.metrics),
            counts: LaneMetrics::new(&pipeline.metrics),
            pipeline,
            sink,
            mail,
            letters: VecDeque::new(),
            post,
            settings,
            wall: Wall::default(),
            topics,
            assignments: Assignments::default(),
            slots: Slots::default(),
            spares: Spares::default(),
            deadlines: VecDeque::new(),
            outbox: VecDeque::new(),
            retries: VecDeque::new(),
            transactions,
            scratch: Scratch::default(),
            source: String::new(),
            reported: (0, 0),
            progressed: false,
            assigned_before: 0,
            paused: false,
            shares: Shares::default(),
            voice: Quiet::default(),
            refusal: None,
            span: 0,
            held_back: false,
            updates: None,
        }
    }

    /// Goes on with another pipeline: what waits is composed by the one that began it.
    pub fn adopt(&mut self, pipeline: Arc<Pipeline>) {
        for topic in &mut self.topics {
            topic.select(&pipeline.formats);
        }
        // It is shaped for what the old formats look for.
        self.scratch = Scratch::default();
        self.pipeline = pipeline;
    }

    /// Notes that partitions were paused.
    pub fn count_pause(&self) {
        self.metrics.paused.inc();
    }

    /// Takes over what the topics allow now.
    pub fn take_over(&mut self, limits: &Latest) {
        if let Some(latest) = limits.get()
            && let [output, dead_letters] = &*latest
            && (&self.settings.output_limits, &self.settings.dead_limits) != (output, dead_letters)
        {
            tracing::info!(?output, ?dead_letters, "the topics' limits have changed");
            (self.settings.output_limits, self.settings.dead_limits) = (output.clone(), dead_letters.clone());
        }
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
        self.paused = false;
        // One that was never taken away has alerts in flight that belong to its old ledger.
        let again: Vec<_> = self.assigned().into_iter().filter(|ours| partitions.contains(ours)).collect();
        if !again.is_empty() {
            self.forget(&again);
        }
        for (topic, partition) in self.resolve(partitions) {
            self.assignments.assign(topic, partition);
        }
        self.count_assigned();
    }

    /// Lets go of partitions: what is in flight of them no longer counts.
    pub fn forget(&mut self, partitions: &[(String, i32)]) {
        for (topic, partition) in self.resolve(partitions) {
            self.assignments.forget(topic, partition);
        }
        for token in self.slots.used() {
            let Some(slot) = self.slots.get(token) else { continue };
            // What the producer has comes back with its delivery; in a transaction, all of it goes.
            let comes_back = self.transactions.is_none() && matches!(slot.state, State::Sent(_));
            if comes_back || self.assignments.counts(slot.assignment, slot.epoch) {
                continue;
            }
            if let State::Waiting(pending) | State::Answered(pending) = &slot.state {
                pending.abandon();
            }
            self.slots.release(token);
        }
        self.retries.retain(|(_, token)| self.slots.get(*token).is_some());
        for (topic, partition) in partitions {
            let index = self.topic(topic).and_then(|topic| self.assignments.find(topic, *partition));
            if let (Some(transactions), Some(index)) = (&mut self.transactions, index) {
                transactions.forget(index, topic, *partition, |token| !self.slots.has(token));
            }
            self.metrics.forget_partition(topic, *partition);
        }
        self.count_assigned();
    }

    /// The input topics that were met.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// Notes a topic, or what is new about it.
    pub fn learn(&mut self, mut topic: Topic) {
        topic.select(&self.pipeline.formats);
        match self.topics.iter_mut().find(|known| known.name == topic.name) {
            Some(known) => (known.chooser, known.inputs) = (topic.chooser, topic.inputs),
            None => self.topics.push(topic),
        }
    }

    /// Notes which topic a name stands for.
    pub fn identify(&mut self, name: &str, mark: String) {
        if let Some(topic) = self.topics.iter_mut().find(|topic| topic.name == name) {
            topic.reborn |= topic.mark.as_ref().is_some_and(|known| *known != mark);
            topic.mark = Some(mark);
        }
    }

    /// The topics of partitions that are ours.
    pub fn read(&self) -> Vec<&str> {
        let ours: HashSet<usize> = self.assignments.ours().map(|(topic, _)| topic).collect();
        ours.into_iter().filter_map(|topic| Some(self.topics.get(topic)?.name.as_str())).collect()
    }

    /// What commits say of a topic.
    pub fn mark(&self, name: &str) -> Option<&str> {
        self.topic_named(name)?.mark.as_deref()
    }

    /// A topic by its name.
    pub fn topic_named(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// Partitions of the output topic now.
    ///
    /// # Errors
    /// No answer within `bound`.
    pub fn outputs(&self, bound: Duration) -> Result<i32, KafkaError> {
        self.sink.partitions(&self.settings.output, bound)
    }

    /// The partitions that are ours.
    pub fn assigned(&self) -> Vec<(String, i32)> {
        self.assignments
            .ours()
            .filter_map(|(topic, partition)| Some((self.topics.get(topic)?.name.clone(), partition)))
            .collect()
    }

    /// Alerts of these partitions that are not done.
    pub fn open(&self, partitions: &[(String, i32)]) -> usize {
        self.resolve(partitions)
            .into_iter()
            .map(|(topic, partition)| self.assignments.open(topic, partition))
            .sum()
    }

    /// Frontiers of partitions of ours that have moved since they were stored, as (topic, partition, offset). None
    /// where transactions commit them.
    pub fn frontiers(&self) -> Vec<(&str, i32, i64)> {
        if self.transactions.is_some() { Vec::new() } else { self.progress() }
    }

    /// How far partitions are since they were stored last, however offsets are committed.
    pub fn progress(&self) -> Vec<(&str, i32, i64)> {
        self.assignments
            .frontiers()
            .filter_map(|(topic, partition, offset)| {
                Some((self.topics.get(topic)?.name.as_str(), partition, offset))
            })
            .collect()
    }

    /// How far these partitions of ours are, as (topic, partition, offset). None where transactions commit them.
    pub fn done(&self, partitions: &[(String, i32)]) -> Vec<(&str, i32, i64)> {
        if self.transactions.is_some() {
            return Vec::new();
        }
        let ours = |topic: &str, partition: i32| {
            partitions.iter().any(|(name, number)| (name.as_str(), *number) == (topic, partition))
        };
        let done = self.assignments.done().filter_map(|(topic, partition, offset)| {
            Some((self.topics.get(topic)?.name.as_str(), partition, offset))
        });
        done.filter(|(topic, partition, _)| ours(topic, *partition)).collect()
    }

    /// Notes that all frontiers were stored.
    pub fn stored(&mut self) {
        for (topic, partition, offset) in self.frontiers() {
            self.metrics.processed.with_label_values(&[topic, &partition.to_string()]).set(offset);
        }
        self.assignments.stored();
    }

    /// Everything that waits for this thread: the mailbox, deadlines, retries, the outbox.
    ///
    /// # Errors
    /// [`LaneError`] ends the process.
    pub fn serve(&mut self, now: Instant) -> Result<(), LaneError> {
        self.collect(now)?;
        while let Some((at, token)) = self.deadlines.front().copied()
            && at <= now
        {
            self.deadlines.pop_front();
            self.answered(token, now)?;
        }
        // Alerts that were answered in time leave the front of the list before their deadline.
        while let Some((_, token)) = self.deadlines.front().copied()
            && !self.slots.get(token).is_some_and(|slot| matches!(slot.state, State::Waiting(_)))
        {
            self.deadlines.pop_front();
        }
        // And those behind one that waits, once there are many of them.
        if self.deadlines.len() > 2 * self.settings.in_flight {
            let slots = &mut self.slots;
            self.deadlines.retain(|(_, token)| {
                slots.get(*token).is_some_and(|slot| matches!(slot.state, State::Waiting(_)))
            });
        }
        while let Some((at, token)) = self.retries.front().copied()
            && at <= now
        {
            self.retries.pop_front();
            self.outbox.push_back(token);
        }
        self.dispatch(now)?;
        self.serve_late(now);
        self.span = self.assignments.longest();
        if std::mem::take(&mut self.progressed) {
            // Once for all that was acknowledged together: a look at the clock for each would cost more than it says.
            self.metrics.progressed(SystemTime::now());
        }
        self.counts.flush();
        let held = (self.slots.len(), self.slots.bytes());
        if held != self.reported {
            self.metrics.in_flight.add(held.0 as i64 - self.reported.0 as i64);
            self.metrics.in_flight_bytes.add(held.1 as i64 - self.reported.1 as i64);
            self.reported = held;
        }
        Ok(())
    }

    /// Waits for one word, at most `bound`, then serves.
    ///
    /// # Errors
    /// [`LaneError`] ends the process.
    pub fn wait(&mut self, bound: Duration) -> Result<(), LaneError> {
        self.mail.wait(1, bound);
        self.serve(Instant::now())
    }

    /// Waits for room, at most `bound`, then serves. Room for a single alert is not worth waking up for: in a backlog the
    /// lane is always nearly full, and what is acknowledged comes in batches.
    ///
    /// # Errors
    /// [`LaneError`] ends the process.
    pub fn wait_for_room(&mut self, bound: Duration) -> Result<(), LaneError> {
        self.mail.wait(self.settings.in_flight / 8, bound);
        self.serve(Instant::now())
    }

    /// Looks at everything in the mailbox.
    pub(super) fn collect(&mut self, now: Instant) -> Result<(), LaneError> {
        self.mail.take(&mut self.letters);
        // An error ends the lane, but not its drain: what was not looked at stays.
        while let Some(event) = self.letters.pop_front() {
            self.handle(event, now)?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event, now: Instant) -> Result<(), LaneError> {
        match event {
            Event::Landed(token) => self.answered(token, now),
            Event::Delivered(token, result) if self.transactions.is_some() => {
                self.reported(token, result.map_err(|returned| returned.error), now)
            }
            Event::Delivered(token, Ok(_)) => self.complete(token, now),
            Event::Delivered(token, Err(returned)) => self.returned(token, *returned, now),
            Event::Broken(producer, why) => self.broken(producer, why, now),
        }
    }

    /// What becomes of a record that the producer gives back, at least once.
    fn returned(&mut self, token: Token, returned: Returned, now: Instant) -> Result<(), LaneError> {
        let Returned { error, value } = returned;
        let withdrawn = self.held_back && matches!(error, SinkError::Withdrawn { .. });
        if let Some(slot) = self.slots.get(token) {
            // Either its offset stays open, and it is read again, or its partition has a new owner, who sends it.
            if withdrawn || !self.assignments.counts(slot.assignment, slot.epoch) {
                self.slots.release(token);
                return Ok(());
            }
            slot.take_back(value);
        }
        match self.refused(token, error, now)? {
            After::Again => self.outbox.push_back(token),
            After::Later => self.retries.push_back((now + RETRY, token)),
        }
        Ok(())
    }

    /// Waits no longer for the answers of an alert: they are there, or its deadline is over.
    fn answered(&mut self, token: Token, now: Instant) -> Result<(), LaneError> {
        let Some(slot) = self.slots.get(token) else {
            self.landed_late(token, now);
            return Ok(());
        };
        slot.state = match std::mem::replace(&mut slot.state, State::Free) {
            State::Waiting(pending) => State::Answered(pending),
            other => {
                slot.state = other;
                return Ok(());
            }
        };
        self.settle(token, now)
    }

    /// Says what repeats, once in a while.
    pub(super) fn say(&mut self, error: &SinkError, now: Instant) {
        self.refusal = Some((now, error.to_string()));
        if let Some(untold) = self.voice.tell(&error.to_string(), now) {
            tracing::error!(%error, untold, "a dead letter was refused; it is sent again until it is taken");
        }
    }

    /// Why dead letters are not taken, while they are not.
    pub fn refusal(&self, now: Instant) -> Option<&str> {
        let (last, why) = self.refusal.as_ref()?;
        (now < *last + 5 * RETRY).then_some(why.as_str())
    }

    /// Lets go of what has not left: after an error that ends the lane, so that later alerts do not overtake.
    pub fn hold_back(&mut self) {
        self.held_back = true;
        self.sink.withdraw();
        self.outbox.clear();
        self.retries.clear();
        if let Some(transactions) = &mut self.transactions {
            transactions.refuse();
        }
        for token in self.slots.used() {
            // What the producer has may still be acknowledged; in a transaction, all of it is taken back.
            let is_sent = self.slots.get(token).is_some_and(|slot| matches!(slot.state, State::Sent(_)));
            if self.transactions.is_some() || !is_sent {
                self.slots.release(token);
            }
        }
    }

    pub(super) fn topic(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.name == name)
    }

    pub(super) fn resolve(&self, partitions: &[(String, i32)]) -> Vec<(usize, i32)> {
        let known = |(topic, partition): &(String, i32)| Some((self.topic(topic)?, *partition));
        partitions.iter().filter_map(known).collect()
    }

    fn count_assigned(&mut self) {
        let ours = self.assignments.ours().count() as i64;
        // Lanes add up to the process.
        let before = std::mem::replace(&mut self.assigned_before, ours);
        self.metrics.assigned.add(ours - before);
    }
}
