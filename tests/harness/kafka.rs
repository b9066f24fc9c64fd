//! Topics, records in, and what a group has committed, on either broker. What comes out is read in `reader`.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use riskstream::simulator::broker::Broker;
use riskstream::sink::input_headers;

use super::reader::Counted;

const BOUND: Duration = Duration::from_secs(30);

/// Nodes of [`Stage::apart`].
pub const INPUT: i32 = 1;
/// Leads the output.
pub const OUTPUT: i32 = 2;
/// Coordinates the group.
pub const GROUP: i32 = 3;
/// Leads the dead letters.
pub const DEAD: i32 = 4;
/// The topic of updates on embedded brokers, for services that are told to write some.
pub const UPDATES: &str = "updates";
/// As many as the brokers say.
const REPLICAS: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// The topics and the group of one test.
pub struct Stage {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Input topic.
    pub input: String,
    /// Output topic.
    pub output: String,
    /// Dead-letter topic.
    pub dead: String,
    /// Consumer group.
    pub group: String,
    /// Partitions of input and output.
    pub partitions: i32,
    /// How far each topic has been counted.
    pub(super) counted: Mutex<BTreeMap<String, Counted>>,
    embedded: Option<Broker>,
}

impl Stage {
    /// On an embedded broker of its own.
    pub fn embedded(partitions: i32) -> Stage {
        Self::nodes(1, partitions)
    }

    /// On four embedded brokers of its own: [`INPUT`], [`OUTPUT`] and [`DEAD`] lead a topic each, [`GROUP`] coordinates
    /// the group. So each can be made to fail alone, and the harness is not in its way.
    pub fn apart(partitions: i32) -> Stage {
        let stage = Self::nodes(4, partitions);
        let broker = stage.broker();
        broker.lead(&stage.input, partitions, INPUT).unwrap();
        broker.lead(&stage.output, partitions, OUTPUT).unwrap();
        broker.lead(&stage.dead, 1, DEAD).unwrap();
        broker.coordinate(&stage.group, GROUP).unwrap();
        stage
    }

    /// The embedded broker.
    pub fn broker(&self) -> &Broker {
        self.embedded.as_ref().expect("an embedded broker")
    }

    fn nodes(count: i32, partitions: i32) -> Stage {
        // The last one it cannot create when asked to.
        let updates = (UPDATES, partitions);
        let topics =
            [("alerts", partitions), ("enriched", partitions), ("dead", 1), ("dead.redriven", 1), updates];
        let broker = Broker::nodes(count, &topics).unwrap();
        Stage {
            brokers: broker.bootstrap(),
            input: "alerts".into(),
            output: "enriched".into(),
            dead: "dead".into(),
            group: "it".into(),
            partitions,
            counted: Mutex::default(),
            embedded: Some(broker),
        }
    }

    /// On the broker of `KAFKA_BROKERS`, with topics of its own; the input may take `input_bytes`, the output `output_bytes`.
    pub fn real(partitions: i32, input_bytes: u32, output_bytes: u32) -> Stage {
        Self::on(
            &std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS"),
            partitions,
            input_bytes,
            output_bytes,
        )
    }

    /// The same on the brokers given.
    pub fn on(brokers: &str, partitions: i32, input_bytes: u32, output_bytes: u32) -> Stage {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |what: &str| format!("e2e-{}-{number}-{what}", std::process::id());
        let stage = Stage {
            brokers: brokers.to_owned(),
            input: name("alerts"),
            output: name("enriched"),
            dead: name("dead"),
            group: name("group"),
            partitions,
            counted: Mutex::default(),
            embedded: None,
        };
        stage.create(&stage.input, partitions, Some(input_bytes));
        stage.create(&stage.output, partitions, Some(output_bytes));
        stage.create(&stage.dead, 1, None);
        stage
    }

    /// The same stage with another input topic of `partitions`, which must exist before it is written to.
    pub fn view(&self, input: &str, partitions: i32) -> Stage {
        Stage {
            brokers: self.brokers.clone(),
            input: input.to_owned(),
            output: self.output.clone(),
            dead: self.dead.clone(),
            group: self.group.clone(),
            partitions,
            counted: Mutex::default(),
            embedded: None,
        }
    }

    /// Raises the number of partitions of a topic on a real broker.
    pub fn grow(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = client(&self.brokers).create().unwrap();
        let grown = NewPartitions::new(name, partitions as usize);
        let options = AdminOptions::new().operation_timeout(Some(BOUND));
        for result in runtime().block_on(admin.create_partitions([&grown], &options)).unwrap() {
            result.unwrap();
        }
        self.led(name, partitions);
    }

    /// Deletes what stands before `offset` in a partition of the input.
    pub fn delete_before(&self, partition: i32, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = client(&self.brokers).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.input, partition, Offset::Offset(offset)).unwrap();
        let options = AdminOptions::new().operation_timeout(Some(BOUND));
        runtime().block_on(admin.delete_records(&list, &options)).unwrap();
    }

    /// Creates a topic on a real broker.
    pub fn create(&self, name: &str, partitions: i32, max_bytes: Option<u32>) {
        let bytes = max_bytes.map(|bytes| bytes.to_string());
        self.create_with(
            name,
            partitions,
            &bytes.iter().map(|b| ("max.message.bytes", b.as_str())).collect::<Vec<_>>(),
        );
    }

    /// Creates a topic with these settings on a real broker.
    pub fn create_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = client(&self.brokers).create().unwrap();
        let mut topic = NewTopic::new(name, partitions, REPLICAS);
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(BOUND));
        let results = runtime().block_on(admin.create_topics([&topic], &options)).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        self.led(name, partitions);
    }

    /// Waits until each of `partitions` has a leader: created is not yet led.
    fn led(&self, name: &str, partitions: i32) {
        let consumer: BaseConsumer = client(&self.brokers).create().unwrap();
        super::wait("a new topic has leaders", BOUND, || {
            consumer.fetch_metadata(Some(name), BOUND).is_ok_and(|metadata| {
                metadata.topics().iter().all(|topic| {
                    topic.error().is_none()
                        && topic.partitions().len() == partitions as usize
                        && topic.partitions().iter().all(|partition| partition.leader() >= 0)
                })
            })
        });
    }

    /// Deletes a topic, and waits until nobody knows it any more.
    pub fn delete(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = client(&self.brokers).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(BOUND));
        let results = runtime.block_on(admin.delete_topics(&[name], &options)).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        let consumer: BaseConsumer =
            client(&self.brokers).set("allow.auto.create.topics", "false").create().unwrap();
        super::wait("a deleted topic is gone", BOUND, || {
            consumer
                .fetch_metadata(Some(name), BOUND)
                .is_ok_and(|metadata| metadata.topics().iter().all(|topic| topic.partitions().is_empty()))
        });
    }

    /// Whether every replica of our topics has what its leader has.
    pub fn is_replicated(&self) -> bool {
        let consumer: BaseConsumer = client(&self.brokers).create().unwrap();
        [&self.input, &self.output, &self.dead].into_iter().all(|topic| {
            consumer.fetch_metadata(Some(topic), BOUND).is_ok_and(|metadata| {
                let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                partitions.into_iter().all(|p| p.leader() >= 0 && p.isr().len() == p.replicas().len())
            })
        })
    }

    /// Appends records to the input and returns them with their offsets, in the order given.
    pub fn produce(&self, records: Vec<NewRecord>) -> Vec<Record> {
        let mut producer = Feeder::new(self);
        for record in records {
            producer.send(record);
        }
        producer.end()
    }

    /// What the group has committed, by partition.
    pub fn committed(&self) -> BTreeMap<i32, i64> {
        // Read-committed, a client waits for offsets that a transaction holds open.
        let consumer: BaseConsumer = client(&self.brokers)
            .set("group.id", &self.group)
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.input, 0, self.partitions - 1);
        let ask = || consumer.committed_offsets(list.clone(), BOUND).ok();
        let (committed, _) = super::until("the committed offsets", Duration::from_secs(120), ask);
        committed
            .elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            })
            .collect()
    }

    /// The end of each partition of the input that holds anything.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = client(&self.brokers).create().unwrap();
        let all = watermarks(&consumer, &self.input).into_iter().map(|(p, (_, high))| (p, high));
        all.filter(|(_, high)| *high > 0).collect()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What every client of the harness begins with.
pub(super) fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("reconnect.backoff.max.ms", "500");
    config
}

/// Unix milliseconds of a time that is past, and within what a topic keeps.
pub(super) fn hour_ago() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 - 3_600_000
}

/// First and next offset of each partition.
pub(super) fn watermarks(consumer: &BaseConsumer, topic: &str) -> BTreeMap<i32, (i64, i64)> {
    let metadata = consumer.fetch_metadata(Some(topic), BOUND).unwrap();
    let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
    // A broker that has just come back does not lead its partitions at once.
    let marks = |id| {
        super::until("the ends of a partition", BOUND, || consumer.fetch_watermarks(topic, id, BOUND).ok()).0
    };
    partitions.map(|id| (id, marks(id))).collect()
}

/// A record to be written.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// Which partition.
    pub partition: i32,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its timestamp; `None` is one of the last hour, rising.
    pub timestamp: Option<i64>,
}

impl NewRecord {
    /// A record without key and headers.
    pub fn value(partition: i32, value: impl Into<Vec<u8>>) -> Self {
        NewRecord { partition, value: Some(value.into()), ..Self::default() }
    }

    /// As it is read once it was written.
    pub fn at(self, offset: i64, timestamp: i64) -> Record {
        let NewRecord { partition, key, value, headers, timestamp: _ } = self;
        Record { partition, offset, key, value, headers, timestamp: Some(timestamp) }
    }
}

/// A record as it was read, or as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Unix milliseconds.
    pub timestamp: Option<i64>,
}

impl Record {
    /// A copy of what was read.
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Record {
        let headers = message.headers().map(|headers| {
            // Not rdkafka's own iterator, which panics at a name that is not text.
            let text = |(name, value): (&CStr, Option<&[u8]>)| {
                (name.to_string_lossy().into_owned(), value.unwrap_or_default().to_vec())
            };
            input_headers::iter(headers).map(text).collect()
        });
        Record {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
            timestamp: message.timestamp().to_millis(),
        }
    }

    /// The only header of that name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(key, _)| key == name);
        let first = all.next();
        assert!(all.next().is_none(), "the header {name} stands twice in {:?}", self.headers);
        first.map(|(_, value)| std::str::from_utf8(value).unwrap())
    }

    /// The value as JSON; a parser that takes the last of two members of one name.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.value.as_deref().unwrap()).unwrap()
    }
}

/// Writes to the input while the service runs, and keeps nothing.
pub struct Writer<'s> {
    stage: &'s Stage,
    producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
    written: i64,
    next: BTreeMap<i32, i64>,
    /// Timestamp of the first record; each is a millisecond after the one before.
    first: i64,
}

impl<'s> Writer<'s> {
    /// The only one of its topic.
    pub fn new(stage: &'s Stage) -> Self {
        let producer = client(&stage.brokers)
            .set("enable.idempotence", "true")
            // With more, librdkafka may write a record twice when a broker dies: a request behind one that was lost is out of
            // sequence, all partitions then get a new epoch, and what another partition has, but did not acknowledge, is
            // sent again under it.
            .set("max.in.flight.requests.per.connection", "1")
            .set("linger.ms", "2")
            .set("message.max.bytes", "20000000")
            .set("queue.buffering.max.messages", "1000000")
            .set("message.timeout.ms", "0")
            .create()
            .unwrap();
        Writer { stage, producer, written: 0, next: stage.ends(), first: hour_ago() }
    }

    /// Hands one record to the producer; its offset and timestamp.
    pub fn send(&mut self, record: &NewRecord) -> (i64, i64) {
        let NewRecord { partition, key, value, headers, timestamp } = record;
        // Not older than a topic's retention: the broker deletes by these.
        let timestamp = timestamp.unwrap_or(self.first + self.written);
        loop {
            let mut owned = OwnedHeaders::new();
            for (key, value) in headers {
                // The replacement character stands for a byte that is no text.
                let mut name = Vec::new();
                for character in key.chars() {
                    match character {
                        '\u{fffd}' => name.push(0xff),
                        _ => name.extend_from_slice(character.to_string().as_bytes()),
                    }
                }
                assert!(input_headers::add(&mut owned, &name, Some(value)));
            }
            let mut base =
                BaseRecord::<[u8], [u8]>::to(&self.stage.input).partition(*partition).headers(owned);
            base.key = key.as_deref();
            base.payload = value.as_deref();
            base.timestamp = Some(timestamp);
            match self.producer.send(base) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("the harness could not write its input: {error}"),
            }
        }
        let next = self.next.entry(*partition).or_default();
        *next += 1;
        self.written += 1;
        (*next - 1, timestamp)
    }

    /// Waits until the broker has everything.
    pub fn end(self) {
        self.producer.flush(Duration::from_secs(120)).unwrap();
        let ends = self.stage.ends();
        assert_eq!(ends, self.next, "the input holds what was written");
    }
}

/// A writer that keeps what it has written.
pub struct Feeder<'s> {
    writer: Writer<'s>,
    sent: Vec<Record>,
}

impl<'s> Feeder<'s> {
    /// The only one of its topic.
    pub fn new(stage: &'s Stage) -> Self {
        Feeder { writer: Writer::new(stage), sent: Vec::new() }
    }

    /// Hands one record to the producer.
    pub fn send(&mut self, record: NewRecord) {
        let (offset, timestamp) = self.writer.send(&record);
        self.sent.push(record.at(offset, timestamp));
    }

    /// Waits until the broker has everything, and returns it.
    pub fn end(self) -> Vec<Record> {
        self.writer.end();
        self.sent
    }
}
