//! Step 9: outputs and dead letters to Kafka, and word of their delivery back to the lane.
//!
//! Contract: a record that [`Sink::send`] took is reported exactly once, by its [`Token`], when the broker has
//! acknowledged or finally refused it. The producer is idempotent and never gives up on its own: an outage of
//! the broker is silence, not a failure. Nothing is retried here: what a refusal means is the lane's to say.

pub mod dead_letter;
pub mod flood;
pub mod input_headers;
mod outlet;
pub mod partition;
pub mod transaction;
pub mod updates;
#[cfg(wraps)]
pub mod wakeups;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{Producer, ProducerContext, PurgeConfig, ThreadedProducer};

use self::outlet::Outlet;
use crate::source::client;
use crate::source::identity::{Identity, Supplied};

/// What a delivery is told apart by: the lane's slot, and which of its users it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Position in the lane's table of alerts in flight.
    pub slot: u32,
    /// How often that position had been used.
    pub generation: u32,
}

impl Token {
    fn pack(self) -> usize {
        (self.generation as usize) << 32 | self.slot as usize
    }

    fn unpack(packed: usize) -> Self {
        Token { slot: packed as u32, generation: (packed >> 32) as u32 }
    }
}

/// Why a record was not taken or not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The producer's own queue is full: try again after deliveries.
    #[error("the producer's queue is full")]
    Full,
    /// The record is larger than the topic takes.
    #[error(
        "the record is larger than topic {0} takes; lower output.max_bytes or raise the topic's max.message.bytes"
    )]
    TooLarge(String),
    /// The record was in a batch with one that the broker does not take: alone it may pass.
    #[error("topic {0} refused the record's batch because of another record in it")]
    Batch(String),
    /// The broker does not take the record's timestamp.
    #[error("topic {0} refuses the record's timestamp as out of range")]
    Timestamp(String),
    /// The broker does not take this record; another one it might.
    #[error("topic {topic} refuses the record: {why}")]
    Record {
        /// The topic.
        topic: String,
        /// The broker's words.
        why: String,
    },
    /// The producer cannot go on and gave the record up, or took it back with its transaction: nothing is wrong with
    /// the record.
    #[error(
        "the producer gave up a record for topic {topic}: {why}. What was not acknowledged is not committed: a restart \
         sends it again"
    )]
    Withdrawn {
        /// The topic.
        topic: String,
        /// librdkafka's words.
        why: String,
    },
    /// The broker takes no record of ours at all, and waiting does not help.
    #[error("cannot produce to topic {topic}: {why}. {cure}")]
    Topic {
        /// The topic.
        topic: String,
        /// The broker's words.
        why: String,
        /// What to do.
        cure: &'static str,
    },
}

/// A record that comes back, finally refused.
#[derive(Debug)]
pub struct Returned {
    /// Why.
    pub error: SinkError,
    /// Its value, which the producer alone had; empty where that is of no more use ([`SinkError::Withdrawn`]).
    pub value: Vec<u8>,
}

/// Told of every delivery, from the producer's own thread. Must not block for long.
pub trait Deliveries: Send + Sync + 'static {
    /// The record of `token` was acknowledged, in this partition of its topic, or finally refused.
    fn delivered(&self, token: Token, result: Result<i32, Returned>);
    /// The producer of this number cannot go on.
    fn broken(&self, producer: u32, why: String);
}

/// The producer's callbacks.
pub struct Context {
    /// Which of the sink's producers this is: word of an earlier one changes nothing.
    number: u32,
    deliveries: Arc<dyn Deliveries>,
    voice: client::Voice,
}

impl ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.deliveries.broken(self.number, reason.to_owned());
        } else {
            self.voice.error("producer", &error, reason);
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, token: usize) {
        use rdkafka::Message;
        let result = match delivery {
            Ok(message) => Ok(message.partition()),
            Err((error, message)) => {
                let error = refusal(message.topic(), error);
                // A producer that gives up gives all up at once: nobody sends those again, so nobody needs copies.
                let value = match error {
                    SinkError::Withdrawn { .. } => Vec::new(),
                    _ => message.payload().unwrap_or_default().to_vec(),
                };
                Err(Returned { error, value })
            }
        };
        self.deliveries.delivered(Token::unpack(token), result);
    }
}

/// A record to send.
pub struct Outgoing<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Which partition; `None` is by key.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Unix time in milliseconds; `None` is now.
    pub timestamp: Option<i64>,
    /// Its headers.
    pub headers: OwnedHeaders,
    /// How its delivery is reported.
    pub token: Token,
    /// Whether it goes in a batch of its own, so that a refusal is about it and nothing else.
    pub alone: bool,
}

/// One lane's producer.
pub struct Sink {
    producer: Outlet,
    /// How many producers there were before.
    number: u32,
    config: rdkafka::ClientConfig,
    deliveries: Arc<dyn Deliveries>,
    identity: Identity,
    /// For records that go alone; made when the first one does.
    single: Option<Outlet>,
}

impl Sink {
    /// A producer from `config`, reporting to `deliveries`.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn new(
        config: &rdkafka::ClientConfig,
        deliveries: Arc<dyn Deliveries>,
        identity: &Identity,
    ) -> Result<Self, KafkaError> {
        let producer = producer(config, 0, &deliveries, identity)?;
        let identity = identity.clone();
        Ok(Sink { producer, number: 0, config: config.clone(), deliveries, identity, single: None })
    }

    /// Whether the producer of this number is the one in use.
    pub fn is(&self, number: u32) -> bool {
        self.number == number
    }

    /// Hands a record to the producer.
    ///
    /// # Errors
    /// [`SinkError`]; the record is not reported then.
    pub fn send(&mut self, record: Outgoing<'_>) -> Result<(), SinkError> {
        let topic = record.topic;
        let producer = if record.alone { self.single(topic)? } else { &mut self.producer };
        producer.send(record).map_err(|code| refusal(topic, &KafkaError::MessageProduction(code)))
    }

    /// Partitions of `topic` now; what is sent from now on may name any of them.
    ///
    /// # Errors
    /// No answer within `bound`.
    pub fn partitions(&self, topic: &str, bound: Duration) -> Result<i32, KafkaError> {
        let mut count = 0;
        // Each client knows a topic as it was when it last asked.
        for producer in std::iter::once(&self.producer).chain(&self.single) {
            let metadata = producer.client().fetch_metadata(Some(topic), bound)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            count = found.map_or(0, |found| found.partitions().len());
        }
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Takes back what was not sent yet: each such record is reported as [`SinkError::Withdrawn`].
    pub fn withdraw(&self) {
        for producer in std::iter::once(&self.producer).chain(&self.single) {
            producer.purge(PurgeConfig::default().queue());
        }
    }

    /// The producer whose batches hold one record.
    fn single(&mut self, topic: &str) -> Result<&mut Outlet, SinkError> {
        let made = match self.single.take() {
            Some(made) => made,
            None => {
                let mut config = self.config.clone();
                config.set("batch.num.messages", "1").set("linger.ms", "0");
                producer(&config, self.number, &self.deliveries, &self.identity)
                    .map_err(|error| refusal(topic, &error))?
            }
        };
        Ok(self.single.insert(made))
    }
}

fn producer(
    config: &rdkafka::ClientConfig,
    number: u32,
    deliveries: &Arc<dyn Deliveries>,
    identity: &Identity,
) -> Result<Outlet, KafkaError> {
    let context = Context { number, deliveries: Arc::clone(deliveries), voice: client::Voice::default() };
    let client = ThreadedProducer::from_config_and_context(config, context)?;
    Ok(Outlet::new(Supplied::new(client, identity)))
}

/// Kafka before 2.8 wants a right of its own for an idempotent producer; since then that to write anywhere is enough.
const IDEMPOTENCE: &str = "Grant our principal Write on the output and dead-letter topics, and on a cluster before Kafka \
     2.8 IdempotentWrite on the cluster; `riskstream check --connect` says how";

/// What it means that a topic is not there.
pub fn gone(topic: &str) -> SinkError {
    refusal(topic, &KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopicOrPartition))
}

/// What an error means for the record.
fn refusal(topic: &str, error: &KafkaError) -> SinkError {
    use RDKafkaErrorCode as Code;
    let why = error.to_string();
    let topic = topic.to_owned();
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => SinkError::Full,
        Some(
            Code::PurgeQueue
            | Code::PurgeInflight
            | Code::State
            | Code::Fatal
            | Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidTransactionalState,
        ) => SinkError::Withdrawn { topic, why },
        Some(Code::OutOfOrderSequenceNumber | Code::UnknownProducerId | Code::InvalidProducerEpoch) => {
            let lost =
                "The broker lost track of what this producer has sent: its log was cut, or it has a fault";
            SinkError::Withdrawn { topic, why: format!("{why}. {lost}") }
        }
        Some(Code::MessageSizeTooLarge) => SinkError::TooLarge(topic),
        Some(Code::InvalidDifferentRecord) => SinkError::Batch(topic),
        Some(Code::InvalidTimestamp) => SinkError::Timestamp(topic),
        Some(Code::TopicAuthorizationFailed) => SinkError::Topic {
            topic,
            why,
            cure: "Grant our principal Write and Describe on it; `riskstream check --connect` says how",
        },
        Some(Code::ClusterAuthorizationFailed) => SinkError::Topic { topic, why, cure: IDEMPOTENCE },
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            SinkError::Topic {
                topic,
                why,
                cure: "Create the topic, or correct its name in the configuration",
            }
        }
        Some(
            Code::InvalidMessage | Code::InvalidMessageSize | Code::PolicyViolation | Code::InvalidRecord,
        ) => SinkError::Record { topic, why },
        _ => SinkError::Topic {
            topic,
            why,
            cure: "See the broker's log; what was not acknowledged is not committed",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_packing() {
        for token in [Token { slot: 0, generation: 0 }, Token { slot: u32::MAX, generation: u32::MAX }] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
