//! Reads a topic from a place to its end, as it stands when that is asked, or one record of it.
//!
//! Contract: no group is joined and nothing is committed; what a transaction did not commit is not seen. Partitions are
//! read one after another, so that two passes see the same records in the same order. The end of a partition is where
//! it was when the command began, or what the broker calls the end: markers of transactions take offsets that no record
//! has. Memory is bounded by what librdkafka prefetches and one record.

use std::ffi::CStr;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::Site;
use super::letter::{Letter, Named, Place};
use crate::sink::input_headers;
use crate::source::client;
use crate::source::identity::Supplied;
use crate::source::offsets::offsets;

/// Bound of one question to the broker.
const ASK: Duration = Duration::from_secs(15);
/// How long a partition may be silent: neither a record nor its end.
const SILENCE: Duration = Duration::from_secs(30);
/// One poll.
const POLL: Duration = Duration::from_millis(100);

/// What a client says beside its answers: the last of it explains a silence.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Option<String>>>);

impl Heard {
    /// `: why`, if anything was heard.
    pub fn why(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map(|last| format!(": {last}")).unwrap_or_default()
    }
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "{reason}");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ConsumerContext for Heard {}

/// A part of a partition: from an offset to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last one.
    pub end: i64,
}

/// Reads topics.
pub struct Reader {
    consumer: Supplied<BaseConsumer<Heard>>,
    heard: Heard,
}

impl Reader {
    /// A reader with the configuration's connection.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn new(config: &Site) -> anyhow::Result<Reader> {
        // As the service reads, but for itself: the group's name is only there because librdkafka asks for one.
        let mut properties = client::consumer(config, 0, 1);
        properties.remove("group.instance.id");
        // The service's patterns must not match our topics; here they are read.
        properties.remove("topic.blacklist");
        properties
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("statistics.interval.ms", "0")
            .set("auto.offset.reset", "error");
        let heard = Heard::default();
        let consumer = BaseConsumer::from_config_and_context(&properties, heard.clone())
            .context("cannot set up a Kafka consumer")?;
        let consumer = Supplied::new(consumer, &config.identity);
        Ok(Reader { consumer, heard })
    }

    /// How many partitions a topic has; `None` when there is no such topic.
    ///
    /// # Errors
    /// The broker does not answer, or we may not ask.
    pub fn partitions(&self, topic: &str) -> anyhow::Result<Option<i32>> {
        let metadata = self.consumer.fetch_metadata(Some(topic), ASK).map_err(|error| {
            // What the client has to say of it is heard in a poll.
            let _ = self.consumer.poll(POLL);
            anyhow!(
                "no Kafka broker answers: {error}{}. Check kafka.brokers, kafka.security and that the port is open to us",
                self.heard.why()
            )
        })?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error() {
            None => {
                Ok(Some(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX))
                    .filter(|count| *count > 0))
            }
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(None),
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
                bail!("topic {topic}: access denied. Grant our principal Read and Describe on it")
            }
            Some(error) => bail!("topic {topic}: {}", RDKafkaErrorCode::from(error)),
        }
    }

    /// What there is to read of a topic now, from the first record that is not older than `since`: one span for each
    /// partition, also where there is nothing.
    ///
    /// # Errors
    /// The topic does not exist, or the broker does not answer.
    pub fn spans(&self, topic: &str, role: &str, since: Option<i64>) -> anyhow::Result<Vec<Span>> {
        let Some(count) = self.partitions(topic)? else {
            bail!("{role} {topic}: no such topic. Create it, or correct its name in the configuration");
        };
        self.between(topic, 0..count, since)
    }

    fn between(&self, topic: &str, partitions: Range<i32>, since: Option<i64>) -> anyhow::Result<Vec<Span>> {
        let first = since.map_or(Offset::Beginning, |time| Offset::Offset(time.max(0)));
        let ends = self.offsets(topic, partitions.clone(), Offset::End)?;
        let firsts = self.offsets(topic, partitions.clone(), first)?;
        let span = |partition, end: i64, first: Option<i64>| Span {
            partition,
            from: first.map_or(end, |first| first.min(end)),
            end,
        };
        let ends = ends.into_iter().map(Option::unwrap_or_default);
        Ok(partitions
            .zip(ends)
            .zip(firsts)
            .map(|((partition, end), first)| span(partition, end, first))
            .collect())
    }

    fn offsets(
        &self,
        topic: &str,
        partitions: Range<i32>,
        which: Offset,
    ) -> anyhow::Result<Vec<Option<i64>>> {
        offsets(&self.consumer, topic, partitions, which, ASK)
            .with_context(|| format!("cannot ask for the offsets of {topic}{}", self.heard.why()))
    }

    /// Hands every record of `spans` to `take`, until it breaks.
    ///
    /// # Errors
    /// The broker refuses or is silent for too long, and what `take` returns.
    pub fn each(
        &self,
        topic: &str,
        spans: &[Span],
        mut take: impl FnMut(Letter) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        for span in spans.iter().filter(|span| span.from < span.end) {
            let flow = self.span(topic, *span, &mut take);
            self.consumer.unassign()?;
            if flow?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn span(
        &self,
        topic: &str,
        span: Span,
        take: &mut impl FnMut(Letter) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<ControlFlow<()>> {
        self.assign(topic, [span])?;
        let mut next = span.from;
        let mut heard = Instant::now();
        while next < span.end {
            match self.next(topic, &mut heard)? {
                Next::Nothing => {}
                Next::End(partition) if partition == span.partition => break,
                Next::End(_) => {}
                Next::Letter(letter) if letter.partition != span.partition => {}
                Next::Letter(letter) if letter.offset >= span.end => break,
                Next::Letter(letter) => {
                    next = letter.offset + 1;
                    if take(letter)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    // What was done with it took its own time.
                    heard = Instant::now();
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The record at one place; `None` when it is no longer there, or not yet.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn one(&self, topic: &str, at: Place) -> anyhow::Result<Option<Letter>> {
        if self.partitions(topic)?.is_none_or(|count| at.partition >= count) {
            return Ok(None);
        }
        let held = self.between(topic, at.partition..at.partition + 1, None)?;
        if !held.iter().any(|span| (span.from..span.end).contains(&at.offset)) {
            return Ok(None);
        }
        let mut found = None;
        let span = Span { partition: at.partition, from: at.offset, end: at.offset + 1 };
        self.each(topic, &[span], |letter| {
            found = Some(letter).filter(|letter| letter.offset == at.offset);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Follows all of `spans` at once, for [`Reader::follow`].
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn assign(&self, topic: &str, spans: impl IntoIterator<Item = Span>) -> anyhow::Result<()> {
        // In a small scope: a list that is alive when the consumer is dropped hangs the drop.
        let mut list = TopicPartitionList::new();
        for span in spans {
            list.add_partition_offset(topic, span.partition, Offset::Offset(span.from))?;
        }
        Ok(self.consumer.assign(&list)?)
    }

    /// Hands what comes of the assigned partitions to `take` until it breaks, for at most `bound`; whether it broke.
    ///
    /// # Errors
    /// The broker refuses or is silent for too long.
    pub fn follow(
        &self,
        topic: &str,
        bound: Duration,
        mut take: impl FnMut(Letter) -> ControlFlow<()>,
    ) -> anyhow::Result<bool> {
        let until = Instant::now() + bound;
        let mut heard = Instant::now();
        while Instant::now() < until {
            if let Next::Letter(letter) = self.next(topic, &mut heard)?
                && take(letter).is_break()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next(&self, topic: &str, heard: &mut Instant) -> anyhow::Result<Next> {
        use RDKafkaErrorCode as Code;
        let error = match self.consumer.poll(POLL) {
            Some(Ok(record)) => {
                *heard = Instant::now();
                return Ok(Next::Letter(letter(&record)));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                *heard = Instant::now();
                return Ok(Next::End(partition));
            }
            Some(Err(error)) => Some(error),
            None => None,
        };
        if let Some(error) = error {
            match error.rdkafka_error_code() {
                Some(Code::TopicAuthorizationFailed) => {
                    bail!("topic {topic}: {error}. Grant our principal Read on it");
                }
                Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => bail!("topic {topic}: {error}"),
                Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                    bail!("topic {topic}: {error}: retention has deleted records meanwhile. Start again");
                }
                _ => {
                    // It reconnects by itself, and we are in no group.
                    tracing::debug!(%error, "reading {topic}");
                }
            }
        }
        if heard.elapsed() > SILENCE {
            bail!("topic {topic}: neither a record nor its end within {SILENCE:?}{}", self.heard.why());
        }
        Ok(Next::Nothing)
    }
}

enum Next {
    Nothing,
    End(i32),
    Letter(Letter),
}

fn letter(record: &BorrowedMessage<'_>) -> Letter {
    // Not rdkafka's own iterator, which panics at a name that is no text.
    let named = |(name, value): (&CStr, Option<&[u8]>)| -> Named {
        (name.to_bytes().to_vec(), value.map(<[u8]>::to_vec))
    };
    Letter {
        partition: record.partition(),
        offset: record.offset(),
        time: record.timestamp().to_millis(),
        key: record.key().map(<[u8]>::to_vec),
        value: record.payload().map(<[u8]>::to_vec),
        headers: record
            .headers()
            .map(|all| input_headers::iter(all).map(named).collect())
            .unwrap_or_default(),
    }
}
