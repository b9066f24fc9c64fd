//! What is looked at beside the way of alerts, every half a minute: what the broker holds of our commits, which topics
//! patterns match, what topics allow, and whether transactions hold readers up that nobody ends.
//!
//! Contract: a thread of its own, with clients that never join the group. Nothing waits for it: without a broker it
//! learns nothing and tries again. What it finds is a figure, a line in the log, told once, and a note in readiness that goes
//! when it is over.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::admin::health::Notes;
use crate::config::{Config, InputTopic};
use crate::metrics::Metrics;
use crate::source::audit::{Audit, Partition};
use crate::source::identity::{Identity, Supplied};
use crate::source::limits::{Latest, TopicLimits};
use crate::source::offsets::offsets;
use crate::source::standstill::Standstill;
use crate::source::startup::Unheard;
use crate::source::{client, limits, startup, topics};
use crate::supervisor::Stop;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(30);
/// What topics allow is asked for in every so many rounds.
const SELDOM: u32 = 2;
/// Bound of one question.
const ASK: Duration = Duration::from_secs(10);
/// Input topics whose limits are looked at: patterns may match thousands.
const MOST: usize = 200;

/// The watch of a process.
pub struct Watch {
    /// The configuration.
    pub config: Arc<Config>,
    /// Who we are to the brokers, where that is a token.
    pub identity: Identity,
    /// What the lanes have stored, and where figures go.
    pub metrics: Arc<Metrics>,
    /// Where people are told.
    pub notes: Arc<Notes>,
    /// Where lanes learn what output and dead-letter topic allow now.
    pub limits: Arc<Latest>,
    /// When to end.
    pub stop: Stop,
}

/// What one round leaves for the next.
#[derive(Default)]
struct Memory {
    rounds: u32,
    audit: Audit,
    standstill: Standstill,
    /// Partitions whose figures are shown.
    shown: BTreeSet<Partition>,
    told: BTreeSet<String>,
}

impl Watch {
    /// Watches until the process stops.
    pub fn run(self) {
        let client = |isolation: &str| {
            let context = Unheard::new(&self.config.kafka, &self.identity);
            let mut properties = client::watch(&self.config);
            BaseConsumer::from_config_and_context(properties.set("isolation.level", isolation), context)
                .map(|consumer| Supplied::new(consumer, &self.identity))
        };
        let (consumer, beyond) = match (client("read_committed"), client("read_uncommitted")) {
            (Ok(consumer), Ok(beyond)) => (consumer, beyond),
            (Err(error), _) | (_, Err(error)) => {
                let error = super::verify::without_value(&error);
                tracing::warn!(error, "the watch could not be set up");
                return;
            }
        };
        let mut memory = Memory::default();
        while !self.stop.requested() {
            let done = self
                .audit(&consumer, &mut memory)
                .and_then(|()| self.look(&consumer, &mut memory))
                .and_then(|inputs| self.readers([&consumer, &beyond], &inputs, &mut memory.standstill));
            if let Err(error) = done {
                tracing::debug!(%error, "the watch has learnt nothing");
            }
            // Errors of the connections wait here until somebody takes them.
            for client in [&consumer, &beyond] {
                while client.poll(Duration::ZERO).is_some() {}
            }
            self.stop.wait(INTERVAL);
        }
    }

    /// Asks what the broker holds of what was stored.
    fn audit(&self, consumer: &BaseConsumer<Unheard>, memory: &mut Memory) -> Result<(), KafkaError> {
        let stored = self.metrics.stored();
        let mut list = TopicPartitionList::with_capacity(stored.len());
        for (topic, partition) in stored.keys() {
            list.add_partition(topic, *partition);
        }
        let mut answers: HashMap<Partition, Option<i64>> = HashMap::new();
        if !stored.is_empty() {
            for element in consumer.committed_offsets(list, ASK)?.elements() {
                let committed = match element.offset() {
                    _ if element.error().is_err() => continue,
                    Offset::Offset(offset) => Some(offset),
                    Offset::Invalid => None,
                    _ => continue,
                };
                answers.insert((element.topic().to_owned(), element.partition()), committed);
            }
        }
        let findings = memory.audit.round(&stored, &answers);
        // It may have gone while the broker was asked; its new owner shows it.
        let ours = self.metrics.stored();
        for (topic, partition) in std::mem::take(&mut memory.shown) {
            if !ours.contains_key(&(topic.clone(), partition)) {
                self.metrics.audited(&topic, partition, None);
            }
        }
        for finding in findings.into_iter().filter(|finding| ours.contains_key(&finding.partition)) {
            let (topic, partition) = &finding.partition;
            self.metrics.audited(topic, *partition, Some((finding.committed, finding.behind)));
            memory.shown.insert(finding.partition);
        }
        self.notes.set("commits", memory.audit.alarm());
        Ok(())
    }

    /// Asks how far topics can be read, by a client that reads what is committed and one that reads beyond.
    fn readers(
        &self,
        clients: [&BaseConsumer<Unheard>; 2],
        inputs: &[String],
        standstill: &mut Standstill,
    ) -> Result<(), KafkaError> {
        let names = inputs.iter().take(MOST).map(String::as_str).chain([self.config.output.topic.as_str()]);
        let mut ends: [HashMap<Partition, i64>; 2] = Default::default();
        for name in names {
            let [consumer, _] = clients;
            let Some(count) = topics::count(&consumer.fetch_metadata(Some(name), ASK)?, name) else {
                continue;
            };
            // What is readable first: it only grows, and must not seem to be behind what was written later.
            for (client, ends) in clients.into_iter().zip(&mut ends) {
                let told = offsets(client, name, 0..count, Offset::End, ASK)?;
                let told =
                    (0..).zip(told).filter_map(|(number, end)| Some(((name.to_owned(), number), end?)));
                ends.extend(told);
            }
        }
        let [readable, written] = &ends;
        standstill.round(readable, written);
        self.notes.set("readers", standstill.alarm());
        Ok(())
    }

    /// Looks at topics; those that we read.
    fn look(&self, consumer: &BaseConsumer<Unheard>, memory: &mut Memory) -> Result<Vec<String>, KafkaError> {
        let inputs = self.matching(consumer)?;
        let due = memory.rounds.is_multiple_of(SELDOM);
        memory.rounds = memory.rounds.wrapping_add(1);
        if !due {
            return Ok(inputs);
        }
        let (output, dead_letters) = (&self.config.output, &self.config.dead_letters);
        let names: Vec<&str> = [output.topic.as_str(), dead_letters.topic.as_str()]
            .into_iter()
            .chain(output.updates.as_deref())
            .chain(inputs.iter().take(MOST).map(String::as_str))
            .collect();
        let lanes = self.config.pipeline.threads.max(1);
        let compressed = client::compresses(&client::producer(&self.config, lanes, None));
        let mut all = startup::limits(&self.config.kafka, &self.identity, compressed, &names);
        if let [output_limits, dead_limits, rest @ ..] = all.as_mut_slice() {
            self.limits.set(output_limits, dead_limits);
            let updates = usize::from(output.updates.is_some()).min(rest.len());
            let (update_limits, input_limits) = rest.split_at_mut(updates);
            for limits in [&mut *output_limits, &mut *dead_limits].into_iter().chain(&mut *update_limits) {
                count_copies(consumer, limits)?;
            }
            let notices = limits::notices(output_limits, dead_limits, input_limits, output.max_bytes);
            for notice in notices.into_iter().chain(update_limits.iter().flat_map(limits::update_notices)) {
                if memory.told.insert(notice.clone()) {
                    tracing::warn!("{notice}");
                }
            }
        }
        Ok(inputs)
    }

    /// The input topics that there are, those that patterns match among them.
    fn matching(&self, consumer: &BaseConsumer<Unheard>) -> Result<Vec<String>, KafkaError> {
        let inputs = &self.config.input.topics;
        let (patterns, plain): (Vec<&InputTopic>, Vec<_>) =
            inputs.iter().partition(|topic| topic.pattern.is_some());
        let mut names: Vec<String> = plain.iter().map(|topic| topic.name.clone()).collect();
        if patterns.is_empty() {
            return Ok(names);
        }
        let metadata = consumer.fetch_metadata(None, ASK)?;
        for pattern in patterns {
            let there =
                metadata.topics().iter().map(|topic| topic.name()).filter(|name| pattern.matches(name));
            let there: Vec<&str> = there.collect();
            let name = &pattern.name;
            let missing = there.is_empty().then(|| {
                format!(
                    "no topic matches {name} (input.topics); one that is created is read without a restart. Topics that we \
                     may not describe are not seen"
                )
            });
            self.notes.set(&format!("pattern {name}"), missing);
            for name in there {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        Ok(names)
    }
}

/// Counts the copies of a topic, where there are brokers for more than one.
fn count_copies(consumer: &BaseConsumer<Unheard>, limits: &mut TopicLimits) -> Result<(), KafkaError> {
    let metadata = consumer.fetch_metadata(Some(&limits.topic), ASK)?;
    let found = metadata.topics().iter().find(|topic| topic.name() == limits.topic);
    let fewest = found.and_then(|topic| topic.partitions().iter().map(|p| p.replicas().len()).min());
    limits.copies =
        fewest.filter(|_| metadata.brokers().len() > 1).and_then(|count| i32::try_from(count).ok());
    Ok(())
}
