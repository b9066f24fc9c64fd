//! Writes records and waits for each one's delivery.
//!
//! Contract: the producer is idempotent and `acks` is `all`. Every record that was taken is reported once: where it stands, or why it does not; a
//! record of which nobody can say is told apart from one that was certainly refused.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};

use super::Site;
use super::letter::{Named, Origin, Place};
use super::reader::Heard;
use crate::sink::input_headers;
use crate::source::client;
use crate::source::identity::Supplied;

/// How long a record may take: a person waits, so an outage is told after a while.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where to.
    pub topic: String,
    /// Which partition; `None` is by key.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Unix time in milliseconds; `None` is now.
    pub timestamp: Option<i64>,
    /// Its headers, in order.
    pub headers: Vec<Named>,
}

/// Why a record was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Its timestamp is out of the range that the topic takes.
    #[error("topic {0} refuses its timestamp")]
    Timestamp(String),
    /// It was refused.
    #[error("topic {topic} does not take it: {why}")]
    Refused {
        /// The topic.
        topic: String,
        /// The broker's words, and the cure where there is one.
        why: String,
    },
    /// Nobody knows: there was no answer.
    #[error("no answer of topic {topic} within {TIMEOUT:?}, so it may be there: {why}")]
    Unsure {
        /// The topic.
        topic: String,
        /// What is known.
        why: String,
    },
}

type Word = (usize, Result<Origin, Undelivered>);

/// The producer's callbacks.
struct Told {
    post: Sender<Word>,
    heard: Heard,
}

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.heard.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.error(error, reason);
    }
}

impl ProducerContext for Told {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, number: usize) {
        let result = match delivery {
            Ok(record) => Ok(Origin {
                topic: record.topic().to_owned(),
                place: Place { partition: record.partition(), offset: record.offset() },
            }),
            Err((error, record)) => Err(undelivered(record.topic(), error)),
        };
        // Nobody waits for it any more when the command is ending.
        let _ = self.post.send((number, result));
    }
}

/// How records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batches {
    /// Each alone, so that a refusal is about it and nothing else.
    Single,
    /// Together.
    Full,
}

/// Writes records.
pub struct Writer {
    producer: Supplied<ThreadedProducer<Told>>,
    mail: Receiver<Word>,
    heard: Heard,
    next: usize,
}

impl Writer {
    /// A writer with the configuration's connection.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn new(config: &Site, batches: Batches) -> anyhow::Result<Writer> {
        let mut properties = client::producer(config, 1, None);
        if batches == Batches::Single {
            properties.set("batch.num.messages", "1").set("linger.ms", "0");
        }
        properties.set("message.timeout.ms", TIMEOUT.as_millis().to_string());
        let (post, mail) = channel();
        let heard = Heard::default();
        let context = Told { post, heard: heard.clone() };
        let producer = ThreadedProducer::from_config_and_context(&properties, context)
            .context("cannot set up a Kafka producer")?;
        let producer = Supplied::new(producer, &config.identity);
        Ok(Writer { producer, mail, heard, next: 0 })
    }

    /// Writes `records` in their order and waits for all of them. `go` is asked before each one; what it says no to is
    /// not written, nor anything behind it, and has no result.
    ///
    /// # Errors
    /// The producer is of no use any more.
    pub fn write(
        &mut self,
        records: &[&Record],
        mut go: impl FnMut() -> bool,
    ) -> anyhow::Result<Vec<Result<Origin, Undelivered>>> {
        let first = self.next;
        let mut waiting = 0;
        let mut results = HashMap::new();
        for record in records {
            if !go() {
                break;
            }
            match self.send(record, self.next) {
                Ok(()) => waiting += 1,
                Err(error) => {
                    results.insert(self.next, Err(undelivered(&record.topic, &error)));
                }
            }
            self.next += 1;
        }
        let until = Instant::now() + TIMEOUT * 2;
        while waiting > 0 {
            let left = until.saturating_duration_since(Instant::now());
            let (number, result) = self.mail.recv_timeout(left).map_err(|_| {
                anyhow!("the producer does not say what became of {waiting} records{}", self.heard.why())
            })?;
            // An earlier call that failed may have left some behind.
            if number >= first {
                results.insert(number, result);
                waiting -= 1;
            }
        }
        Ok((first..self.next).filter_map(|number| results.remove(&number)).collect())
    }

    fn send(&self, record: &Record, number: usize) -> Result<(), KafkaError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            // Names come from records, where they have no zero byte.
            input_headers::add(&mut headers, name, value.as_deref());
        }
        let mut base =
            BaseRecord::<'_, [u8], [u8], usize>::with_opaque_to(&record.topic, number).headers(headers);
        base.partition = record.partition;
        base.key = record.key.as_deref();
        base.payload = record.value.as_deref();
        base.timestamp = record.timestamp;
        let until = Instant::now() + TIMEOUT;
        loop {
            match self.producer.send(base) {
                Err((error, back))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
                        && Instant::now() < until =>
                {
                    base = back;
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }
}

/// What an error means for the record.
fn undelivered(topic: &str, error: &KafkaError) -> Undelivered {
    use RDKafkaErrorCode as Code;
    let topic = topic.to_owned();
    let refused = |cure: &str| Undelivered::Refused { topic: topic.clone(), why: format!("{error}{cure}") };
    match error.rdkafka_error_code() {
        Some(Code::InvalidTimestamp) => Undelivered::Timestamp(topic),
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => {
            refused(". Raise the topic's max.message.bytes, or let it be")
        }
        Some(Code::TopicAuthorizationFailed) => refused(". Grant our principal Write and Describe on it"),
        Some(Code::ClusterAuthorizationFailed) => {
            refused(". Grant our principal IdempotentWrite on the cluster")
        }
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            refused(". Create the topic, or correct its name in the configuration")
        }
        Some(
            Code::InvalidMessage
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::InvalidTopic
            | Code::MessageBatchTooLarge
            | Code::QueueFull,
        ) => refused(""),
        _ => Undelivered::Unsure { topic, why: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_broker_refused_is_certainly_not_there() {
        let of = |code| undelivered("t", &KafkaError::MessageProduction(code));
        assert!(matches!(of(RDKafkaErrorCode::MessageSizeTooLarge), Undelivered::Refused { .. }));
        assert!(matches!(of(RDKafkaErrorCode::InvalidTimestamp), Undelivered::Timestamp(_)));
        for code in [
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::BrokerTransportFailure,
            RDKafkaErrorCode::RequestTimedOut,
            RDKafkaErrorCode::Fatal,
            RDKafkaErrorCode::OutOfOrderSequenceNumber,
            RDKafkaErrorCode::NotEnoughReplicasAfterAppend,
        ] {
            assert!(matches!(of(code), Undelivered::Unsure { .. }), "{code:?}");
        }
    }
}
