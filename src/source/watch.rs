//! What is looked at beside the way of alerts, every half a minute: topics that patterns match, and what topics allow.
//!
//! Contract: a thread of its own, with a client of the group that never joins it. Nothing waits for it: without a broker it
//! learns nothing and tries again. What it finds is a line in the log, told once, and a note in readiness that goes when it
//! is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use crate::admin::health::Notes;
use crate::config::{Config, InputTopic};
use crate::source::identity::{Identity, Supplied};
use crate::source::startup::Unheard;
use crate::source::{client, limits, startup};
use crate::supervisor::Stop;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(30);
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
    /// Where people are told.
    pub notes: Arc<Notes>,
    /// When to end.
    pub stop: Stop,
}

impl Watch {
    /// Watches until the process stops.
    pub fn run(self) {
        let context = Unheard::new(&self.config.kafka, &self.identity);
        let consumer = match BaseConsumer::from_config_and_context(&client::watch(&self.config), context) {
            Ok(consumer) => Supplied::new(consumer, &self.identity),
            Err(error) => {
                let error = super::verify::without_value(&error);
                tracing::warn!(error, "the watch could not be set up");
                return;
            }
        };
        let mut told = BTreeSet::new();
        while !self.stop.requested() {
            if let Err(error) = self.round(&consumer, &mut told) {
                tracing::debug!(%error, "the watch has learnt nothing");
            }
            // Errors of the connection wait here until somebody takes them.
            while consumer.poll(Duration::ZERO).is_some() {}
            self.stop.wait(INTERVAL);
        }
    }

    fn round(&self, consumer: &BaseConsumer<Unheard>, told: &mut BTreeSet<String>) -> Result<(), KafkaError> {
        let topics = self.matching(consumer)?;
        let output = &self.config.output;
        let names: Vec<&str> = [output.topic.as_str(), self.config.dead_letters.topic.as_str()]
            .into_iter()
            .chain(topics.iter().take(MOST).map(String::as_str))
            .collect();
        // Only sizes depend on compression, and these are not asked about here.
        let limits = startup::limits(&self.config.kafka, &self.identity, false, &names);
        if let [output_limits, dead_limits, inputs @ ..] = limits.as_slice() {
            for notice in limits::notices(output_limits, dead_limits, inputs, output.max_bytes) {
                if told.insert(notice.clone()) {
                    tracing::warn!("{notice}");
                }
            }
        }
        Ok(())
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
