//! What happens when partitions come and go, and what librdkafka tells us while we poll.
//!
//! Contract: partitions that are taken away are drained within a bound, their frontiers stored, their ledgers
//! forgotten, in this order and before they go; partitions that were lost are forgotten without a word to the
//! broker. A partition without a committed offset starts where the configuration says; one whose committed
//! offset is gone, or of a topic that is gone, is an error that stops the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, config::RDKafkaLogLevel};

use crate::admin::health::LaneHealth;
use crate::commit::committer;
use crate::config::{Input, OffsetReset};
use crate::metrics::Metrics;
use crate::source::core::Core;
use crate::source::startup::Reasons;
use crate::source::topics::{self, Inputs};
use crate::source::transaction::Start;
use crate::source::{LaneError, client, lane, recreated, refusal};
use crate::supervisor::Stop;

/// Bound of asking the broker for committed offsets during a rebalance.
const COMMITTED: Duration = Duration::from_secs(5);
/// Bound of seeing that the broker has what is committed of partitions that go.
const CONFIRMED: Duration = Duration::from_secs(2);
/// Before it is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// Where partitions start that are assigned.
struct Starts {
    /// All of them.
    from: TopicPartitionList,
    /// Those that start at their end.
    at_end: Vec<Start>,
    /// A topic that cannot be read, since all that is committed is of an older one.
    recreated: Option<String>,
}

/// The consumer's callbacks, which run on the lane's thread inside its poll.
pub struct Context {
    core: Mutex<Core>,
    drain: Duration,
    input: Input,
    transactional: bool,
    inputs: Inputs,
    stop: Stop,
    starts: Mutex<BTreeMap<(String, i32), i64>>,
    metrics: Arc<Metrics>,
    health: Arc<LaneHealth>,
    voice: client::Voice,
}

impl Context {
    /// Callbacks around `core`.
    pub fn new(
        core: Core,
        drain: Duration,
        input: Input,
        inputs: Inputs,
        stop: Stop,
        metrics: Arc<Metrics>,
        health: Arc<LaneHealth>,
    ) -> Self {
        let transactional = core.transactions.is_some();
        let (core, starts, voice) = (Mutex::new(core), Mutex::default(), client::Voice::default());
        Context { core, drain, input, transactional, inputs, stop, starts, metrics, health, voice }
    }

    /// Says an error that the consumer goes on from.
    pub fn note(&self, error: &KafkaError) {
        self.voice.error("consumer", error, "the consumer reports an error and goes on");
    }

    /// The lane's state. Never held across a poll.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where partitions were committed when they were assigned.
    fn starts(&self) -> MutexGuard<'_, BTreeMap<(String, i32), i64>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares partitions that become ours: where each is read from, and the frontiers of those that start at the
    /// end.
    fn assigned(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> (TopicPartitionList, Vec<Start>) {
        let mut partitions = named(list);
        tracing::info!(partitions = partitions.len(), "partitions assigned");
        let learnt = topics::learn(consumer, &mut self.core(), &self.inputs, &partitions, &self.health);
        if let Err(error) = learnt {
            self.health.fail(error);
        }
        let starts = self.known_starts(consumer, list);
        if let Some(topic) = &starts.recreated {
            // Not taken: nothing of it may be committed.
            partitions.retain(|(name, _)| name != topic);
            self.health.fail(LaneError::Recreated(topic.clone()));
        }
        self.core().assign(&partitions);
        (starts.from, starts.at_end)
    }

    /// Where partitions start, once it is known, or nothing of it when we are to stop.
    ///
    /// librdkafka would ask for committed offsets by itself, but it gives up when the coordinator refuses (it may just
    /// have moved) and then never reads the partition, without a word. So they are asked for here until they are known.
    fn known_starts(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Starts {
        loop {
            let error = match self.start_offsets(consumer, list) {
                Ok(known) => {
                    self.health.well();
                    return known;
                }
                Err(error) => error,
            };
            let end = match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::TopicAuthorizationFailed,
                ) => Err(LaneError::Consumer(format!(
                    "{error}. Grant our principal Read on the group and on the input topics"
                ))),
                _ => {
                    self.health.trouble(format!("waiting for committed offsets: {error}"));
                    self.health.beat();
                    self.core().wait(AGAIN)
                }
            };
            let ended = end.is_err();
            if let Err(error) = end {
                self.health.fail(error);
            }
            if ended || self.stop.requested() {
                return Starts { from: list.clone(), at_end: Vec::new(), recreated: None };
            }
        }
    }

    /// Where partitions are read from: where they were committed, unless that is of a topic that is gone, else where
    /// the configuration says.
    ///
    /// One that starts at its end gets that offset in figures and stored as its frontier, so that what arrives
    /// before the first commit is not passed over by a second start.
    fn start_offsets(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> Result<Starts, KafkaError> {
        let committed = consumer.committed_offsets(list.clone(), COMMITTED)?;
        let marks = recreated::marks(&committed);
        let core = self.core();
        let mut starts = Starts { from: committed.clone(), at_end: Vec::new(), recreated: None };
        for (element, was) in committed.elements().iter().zip(marks) {
            let (topic, partition) = (element.topic(), element.partition());
            element.error()?;
            let known = core.topic_named(topic);
            let worthless = known
                .and_then(|known| known.mark.as_deref())
                .is_some_and(|mark| recreated::is_of_another(&was, mark));
            if let (Offset::Offset(offset), false) = (element.offset(), worthless) {
                self.starts().insert((topic.to_owned(), partition), offset);
                continue;
            }
            let is_new = self.inputs.is_new(topic, partition) || known.is_some_and(|known| known.reborn);
            let reset = match (worthless, self.input.out_of_range) {
                (true, None) => {
                    starts.recreated = Some(topic.to_owned());
                    continue;
                }
                (true, Some(reset)) => {
                    tracing::warn!(topic, partition, ?reset, "the topic was deleted and created again");
                    reset
                }
                // All of it came after the group had begun.
                (false, _) if is_new => OffsetReset::Earliest,
                (false, _) => self.input.offset_reset,
            };
            let start = match reset {
                OffsetReset::Earliest => Offset::Beginning,
                OffsetReset::Latest => {
                    let (_, end) = consumer.fetch_watermarks(topic, partition, COMMITTED)?;
                    starts.at_end.push((topic.to_owned(), partition, end));
                    Offset::Offset(end)
                }
            };
            starts.from.set_partition_offset(topic, partition, start)?;
        }
        Ok(starts)
    }

    /// Commits where partitions start.
    fn start(&self, consumer: &BaseConsumer<Self>, starts: Vec<Start>) -> Result<(), KafkaError> {
        if self.transactional {
            self.core().start(starts, Instant::now());
            return Ok(());
        }
        let starts: Vec<(&str, i32, i64)> = starts.iter().map(|(t, p, o)| (t.as_str(), *p, *o)).collect();
        let core = self.core();
        committer::store(consumer, &starts, |topic| core.mark(topic))
    }

    /// Commits once more what is committed of the topics that we read, which the broker forgot when one of them was
    /// deleted: whoever starts next must not take the new one for one that the group has never read.
    ///
    /// At least once, what was stored is committed by the end of the consumer.
    pub fn recommit(&self, consumer: &BaseConsumer<Self>) {
        if !self.transactional {
            return;
        }
        let core = self.core();
        let mut known = self.starts().clone();
        known.extend(
            core.progress().into_iter().map(|(topic, partition, at)| ((topic.to_owned(), partition), at)),
        );
        let named = known.iter().map(|((topic, partition), at)| (topic.as_str(), *partition, *at));
        let committed = committer::list(named, |topic| core.mark(topic))
            .and_then(|list| consumer.commit(&list, CommitMode::Sync));
        if let Err(error) = committed {
            tracing::warn!(%error, "could not commit what the next start would have to know");
        }
    }

    /// Takes leave of partitions: what is left of them is done, committed and forgotten.
    fn let_go(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        self.revoked(consumer, list);
        // A pause outlives the assignment: the partition would come back and never be read.
        lane::resume(consumer, &named(list));
        self.core().unheld(&named(list));
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = named(list);
        self.starts().retain(|place, _| !partitions.contains(place));
        let mut core = self.core();
        if consumer.assignment_lost() {
            tracing::warn!(partitions = partitions.len(), "partitions lost; their alerts will be read again");
            core.forget(&partitions);
            return;
        }
        let until = Instant::now() + self.drain;
        while core.open(&partitions) > 0 && Instant::now() < until {
            let served = core.wait(Duration::from_millis(10)).and_then(|()| core.transact(consumer, true));
            if let Err(error) = served {
                self.health.fail(error);
                break;
            }
            self.health.beat();
        }
        let open = core.open(&partitions);
        if open > 0 {
            tracing::warn!(
                open,
                "the drain's bound is over; these alerts will be read again by their new owner"
            );
        }
        match committer::store(consumer, &core.frontiers(), |topic| core.mark(topic)) {
            Ok(()) => core.stored(),
            Err(error) => {
                tracing::warn!(%error, "could not store offsets; the new owner repeats a few alerts")
            }
        }
        let until = Instant::now() + CONFIRMED;
        let on = |tried| {
            self.health.beat();
            tried < committer::LEAST || Instant::now() < until
        };
        if !committer::confirm(consumer, &core.done(&partitions), on) {
            tracing::warn!(
                "the broker does not confirm the last offsets; the new owner may repeat a few alerts"
            );
        }
        core.forget(&partitions);
        tracing::info!(partitions = partitions.len(), "partitions revoked");
    }
}

/// Where a partition stands: behind the last record that we took, and behind what is no record (the markers of
/// transactions, and what they took back) once nothing is left to take.
fn position(partition: &Partition, committed: i64, paused: bool) -> i64 {
    // A pause throws away what was fetched, and not how far.
    let fetched = (partition.fetchq_cnt == 0 && partition.fetch_state == "active" && !paused)
        .then_some(partition.next_offset);
    // Before its first record it stands where it was committed.
    partition.app_offset.max(committed).max(fetched.unwrap_or(-1))
}

fn named(list: &TopicPartitionList) -> Vec<(String, i32)> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}

impl Reasons for Context {
    fn why(&self, error: &KafkaError) -> String {
        self.voice.why(&error.to_string())
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let result = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                // librdkafka joins anew without taking partitions away when a topic grows before it was told where they start.
                // They are the group's all the same, and what another member has of them now is not ours.
                let replaced = if cooperative { Vec::new() } else { self.core().assigned() };
                if !replaced.is_empty() {
                    self.let_go(consumer, &lane::list(&replaced));
                }
                let (from, starts) = self.assigned(consumer, list);
                let result =
                    if cooperative { consumer.incremental_assign(&from) } else { consumer.assign(&from) };
                // Those that stay may be paused; which is forgotten now.
                let mut core = self.core();
                core.shares.clear();
                lane::resume(consumer, &core.assigned());
                drop(core);
                result.and_then(|()| self.start(consumer, starts))
            }
            _ => {
                self.let_go(consumer, list);
                if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
            }
        };
        if let Err(error) = result {
            tracing::error!(%error, "the rebalance failed; the group will try again");
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error("consumer", &error, reason);
        // A refusal may come when it has been said already that all brokers are away.
        let refused = refusal::judge(&error, reason).is_some() && self.health.current_trouble().is_some();
        if refused || error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.health.trouble(format!("no Kafka broker can be reached: {}", self.voice.why(reason)));
        }
    }

    fn stats(&self, statistics: Statistics) {
        // Node ids below zero are the addresses of the configuration, not brokers that answered.
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            self.health.well();
        }
        let (starts, core) = (self.starts(), self.core());
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values().filter(|p| p.partition >= 0 && p.desired) {
                let number = partition.partition.to_string();
                let labels = [topic.topic.as_str(), number.as_str()];
                let start = starts.get(&(topic.topic.clone(), partition.partition));
                let committed = start.map_or(-1, |offset| *offset).max(partition.committed_offset);
                let paused = core.is_paused(&topic.topic, partition.partition);
                let position = position(partition, committed, paused);
                if position >= 0 && partition.hi_offset >= 0 {
                    let lag = (partition.hi_offset - position).max(0);
                    self.metrics.lag.with_label_values(&labels).set(lag);
                }
                if committed >= 0 {
                    self.metrics.committed.with_label_values(&labels).set(committed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_stands_behind_markers_once_everything_that_was_fetched_is_taken() {
        let of = |fetchq_cnt, next_offset, app_offset| Partition {
            fetch_state: "active".to_owned(),
            fetchq_cnt,
            next_offset,
            app_offset,
            ..Partition::default()
        };
        let none = -1001;
        assert_eq!(position(&of(0, 12, 11), 9, false), 12, "a marker at 11");
        assert_eq!(position(&of(3, 12, 9), 9, false), 9, "three are fetched and not taken");
        assert_eq!(position(&of(0, 12, 9), 9, true), 9, "a pause threw them away");
        assert_eq!(position(&of(0, none, none), 9, false), 9, "nothing was read yet");
        assert!(position(&of(0, none, none), none, false) < 0);
        let starting = Partition { fetch_state: "offset-query".to_owned(), ..of(0, 12, 9) };
        assert_eq!(position(&starting, 9, false), 9);
    }
}
