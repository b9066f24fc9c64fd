//! Topics, records in them, and how far a topic is: what is asked of the cluster.
//!
//! Contract: topics are deleted with their handle, whatever ended it. Nothing is asked while somebody is measured: a
//! question costs the broker processor time that is then missing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::runtime::Handle;

/// Bound of one request.
const ASK: Duration = Duration::from_secs(10);
/// Bound of everything that a cluster does by and by: leaders for new topics, the last records of a backlog.
const SETTLE: Duration = Duration::from_secs(120);
/// Bytes of the largest record.
pub const LARGEST: usize = 4 << 20;

/// The last that a client said about trouble.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl ClientContext for Heard {
    fn error(&self, _error: KafkaError, reason: &str) {
        reason.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ConsumerContext for Heard {}

/// The cluster.
pub struct Cluster {
    /// Its address.
    pub brokers: String,
    config: ClientConfig,
    runtime: Handle,
}

impl Cluster {
    /// The cluster at `brokers`, which must answer.
    ///
    /// # Errors
    /// It does not.
    pub fn new(brokers: &str, runtime: Handle) -> anyhow::Result<Cluster> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", "riskstream-bench")
            .set("reconnect.backoff.max.ms", "500");
        let cluster = Cluster { brokers: brokers.to_owned(), config, runtime };
        let heard = Heard::default();
        let client: BaseConsumer<Heard> =
            BaseConsumer::from_config_and_context(&cluster.config, heard.clone()).context("--brokers")?;
        client.fetch_metadata(None, ASK).map_err(|error| {
            // What the client heard is told while it is polled.
            client.poll(Duration::from_millis(100));
            let heard = heard.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let why = if heard.is_empty() { error.to_string() } else { heard };
            anyhow!(
                "--brokers {brokers}: no Kafka cluster answered within {} s: {why}. Name one that is reached in the clear, \
                 or start one: tests/kafka/broker.sh start, then eval \"$(tests/kafka/broker.sh env)\" and \
                 --brokers $KAFKA_BROKERS",
                ASK.as_secs()
            )
        })?;
        Ok(cluster)
    }

    /// Creates topics, with as many replicas as the cluster gives by itself, and waits until they have leaders.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn create(&self, topics: &[(&str, i32)]) -> anyhow::Result<Topics<'_>> {
        let largest = LARGEST.to_string();
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|(name, partitions)| {
                NewTopic::new(name, *partitions, TopicReplication::Fixed(-1))
                    .set("max.message.bytes", &largest)
            })
            .collect();
        // From here on what was made is deleted again.
        let names = topics.iter().map(|(name, _)| (*name).to_owned()).collect();
        let made = Topics { cluster: self, names };
        let options = AdminOptions::new().request_timeout(Some(SETTLE)).operation_timeout(Some(SETTLE));
        let results = self.runtime.block_on(self.admin()?.create_topics(&new, &options));
        for result in results.context("cannot create topics")? {
            result.map_err(|(name, code)| {
                anyhow!("cannot create topic {name}: {code}. The bench needs the right to create and delete topics")
            })?;
        }
        let client: BaseConsumer = self.config.create()?;
        let until = Instant::now() + SETTLE;
        for (name, partitions) in topics {
            while !has_leaders(&client, name, *partitions) {
                if Instant::now() > until {
                    bail!("topic {name} has no leaders after {} s: look at the cluster", SETTLE.as_secs());
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        Ok(made)
    }

    fn admin(&self) -> anyhow::Result<AdminClient<rdkafka::client::DefaultClientContext>> {
        self.config.create().context("cannot set up an admin client")
    }

    /// Where each partition of a topic ends, added up: the records in it, but for markers of transactions.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub fn end(&self, name: &str, partitions: i32) -> anyhow::Result<u64> {
        // A client of its own for each question: one that has seen a topic go knows new ones late.
        let client: BaseConsumer = self.config.create()?;
        let ends = (0..partitions).map(|partition| client.fetch_watermarks(name, partition, ASK));
        ends.map(|end| Ok(u64::try_from(end?.1).unwrap_or(0))).sum()
    }

    /// A producer.
    ///
    /// # Errors
    /// librdkafka refuses a property: a bug.
    pub fn producer(&self, linger_ms: u32) -> anyhow::Result<BaseProducer> {
        let mut config = self.config.clone();
        config
            .set("linger.ms", linger_ms.to_string())
            .set("queue.buffering.max.messages", "200000")
            .set("message.max.bytes", LARGEST.to_string());
        config.create().context("cannot set up a producer")
    }

    /// A reader of a whole topic, from its first record on, without a group.
    ///
    /// # Errors
    /// librdkafka refuses a property: a bug.
    pub fn reader(&self, topic: &str, partitions: i32) -> anyhow::Result<BaseConsumer> {
        let mut config = self.config.clone();
        config
            .set("group.id", "riskstream-bench")
            .set("enable.auto.commit", "false")
            .set("fetch.queue.backoff.ms", "10");
        let consumer: BaseConsumer = config.create().context("cannot set up a consumer")?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }
}

fn has_leaders(client: &BaseConsumer, name: &str, partitions: i32) -> bool {
    let Ok(metadata) = client.fetch_metadata(Some(name), ASK) else { return false };
    let led = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .filter(|partition| partition.leader() >= 0 && partition.error().is_none());
    led.count() == usize::try_from(partitions).unwrap_or(0)
}

/// Topics of ours.
pub struct Topics<'c> {
    cluster: &'c Cluster,
    names: Vec<String>,
}

impl Drop for Topics<'_> {
    fn drop(&mut self) {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let options = AdminOptions::new().request_timeout(Some(ASK));
        // What is left behind is nobody's loss: names are not used twice.
        if let Ok(admin) = self.cluster.admin() {
            let _ = self.cluster.runtime.block_on(admin.delete_topics(&names, &options));
        }
    }
}

/// Hands a record to a producer, waiting for room.
///
/// # Errors
/// The producer takes none any more.
pub fn send(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    key: &[u8],
    payload: &[u8],
) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(payload);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => bail!("cannot produce to {topic}: {error}"),
        }
    }
}

/// Waits until everything has left.
///
/// # Errors
/// It has not within two minutes.
pub fn flush(producer: &BaseProducer) -> anyhow::Result<()> {
    producer.flush(SETTLE).context("the cluster does not take what is produced")
}
