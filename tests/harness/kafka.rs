//! Topics, records in, records out, and what a group has committed, on either broker.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use riskstream::simulator::broker::Broker;
use riskstream::sink::input_headers;

const BOUND: Duration = Duration::from_secs(30);

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
    _embedded: Option<Broker>,
}

impl Stage {
    /// On an embedded broker of its own.
    pub fn embedded(partitions: i32) -> Stage {
        // The last one it cannot create when asked to.
        let topics = [("alerts", partitions), ("enriched", partitions), ("dead", 1), ("dead.redriven", 1)];
        let broker = Broker::start(&topics).unwrap();
        Stage {
            brokers: broker.bootstrap(),
            input: "alerts".into(),
            output: "enriched".into(),
            dead: "dead".into(),
            group: "it".into(),
            partitions,
            _embedded: Some(broker),
        }
    }

    /// On the broker of `KAFKA_BROKERS`, with topics of its own; the input may take `input_bytes`, the output `output_bytes`.
    pub fn real(partitions: i32, input_bytes: u32, output_bytes: u32) -> Stage {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |what: &str| format!("e2e-{}-{number}-{what}", std::process::id());
        let stage = Stage {
            brokers: std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS"),
            input: name("alerts"),
            output: name("enriched"),
            dead: name("dead"),
            group: name("group"),
            partitions,
            _embedded: None,
        };
        stage.create(&stage.input, partitions, Some(input_bytes));
        stage.create(&stage.output, partitions, Some(output_bytes));
        stage.create(&stage.dead, 1, None);
        stage
    }

    /// Creates a topic on a real broker.
    pub fn create(&self, name: &str, partitions: i32, max_bytes: Option<u32>) {
        let admin: AdminClient<DefaultClientContext> = client(&self.brokers).create().unwrap();
        let bytes = max_bytes.map(|bytes| bytes.to_string());
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        if let Some(bytes) = &bytes {
            topic = topic.set("max.message.bytes", bytes);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(BOUND));
        let results = runtime.block_on(admin.create_topics([&topic], &options)).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        // Created is not yet led: the metadata says when it is.
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

    /// Appends records to the input and returns them with their offsets, in the order given.
    pub fn produce(&self, records: Vec<NewRecord>) -> Vec<Record> {
        let mut producer = Feeder::new(self);
        for record in records {
            producer.send(record);
        }
        producer.end()
    }

    /// Everything in the output topic.
    pub fn outputs(&self) -> Vec<Record> {
        self.read(&self.output)
    }

    /// Everything in the dead-letter topic.
    pub fn dead_letters(&self) -> Vec<Record> {
        self.read(&self.dead)
    }

    /// Records in a topic, by its watermarks.
    pub fn count(&self, topic: &str) -> i64 {
        let consumer: BaseConsumer = client(&self.brokers).create().unwrap();
        watermarks(&consumer, topic).into_values().map(|(low, high)| high - low).sum()
    }

    /// Waits until output and dead letters together hold `total` records; how long that took.
    pub fn wait_for(&self, total: usize, bound: Duration) -> Duration {
        let consumer: BaseConsumer = client(&self.brokers).create().unwrap();
        let started = Instant::now();
        loop {
            let found: i64 = [&self.output, &self.dead]
                .into_iter()
                .flat_map(|topic| watermarks(&consumer, topic).into_values())
                .map(|(low, high)| high - low)
                .sum();
            if found >= total as i64 {
                return started.elapsed();
            }
            assert!(started.elapsed() < bound, "{found} of {total} came out within {bound:?}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Everything in `topic`, by partition and offset.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let consumer: BaseConsumer = client(&self.brokers)
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("receive.message.max.bytes", "200000000")
            .set("fetch.wait.max.ms", "10")
            .set("fetch.queue.backoff.ms", "10")
            .create()
            .unwrap();
        let ends = watermarks(&consumer, topic);
        let mut list = TopicPartitionList::new();
        for (partition, (low, _)) in &ends {
            list.add_partition_offset(topic, *partition, Offset::Offset(*low)).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut open: BTreeMap<i32, i64> =
            ends.into_iter().filter(|(_, (low, high))| high > low).map(|(p, (_, high))| (p, high)).collect();
        let mut records = Vec::new();
        let started = Instant::now();
        while !open.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(120), "could not read {topic} whole: {open:?}");
            let message = match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    super::say(&format!("reading {topic}: {error}"));
                    continue;
                }
                None => continue,
            };
            if open.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                open.remove(&message.partition());
            }
            records.push(Record::of(&message));
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// What the group has committed, by partition.
    pub fn committed(&self) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = client(&self.brokers).set("group.id", &self.group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.input, 0, self.partitions - 1);
        let committed = consumer.committed_offsets(list, BOUND).unwrap();
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

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("reconnect.backoff.max.ms", "500");
    config
}

fn watermarks(consumer: &BaseConsumer, topic: &str) -> BTreeMap<i32, (i64, i64)> {
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
}

impl NewRecord {
    /// A record without key and headers.
    pub fn value(partition: i32, value: impl Into<Vec<u8>>) -> Self {
        NewRecord { partition, value: Some(value.into()), ..Self::default() }
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
    fn of(message: &BorrowedMessage<'_>) -> Record {
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

/// Writes to the input while the service runs.
pub struct Feeder<'s> {
    stage: &'s Stage,
    producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
    sent: Vec<Record>,
    next: BTreeMap<i32, i64>,
    /// Timestamp of the first record.
    first: i64,
}

impl<'s> Feeder<'s> {
    /// A writer that is the only one of its topic.
    pub fn new(stage: &'s Stage) -> Self {
        let producer = client(&stage.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("message.max.bytes", "20000000")
            .set("queue.buffering.max.messages", "1000000")
            .set("message.timeout.ms", "0")
            .create()
            .unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let first = now - 3_600_000;
        Feeder { stage, producer, sent: Vec::new(), next: stage.ends(), first }
    }

    /// Hands one record to the producer.
    pub fn send(&mut self, record: NewRecord) {
        let NewRecord { partition, key, value, headers } = record;
        // Not older than a topic's retention: the broker deletes by these.
        let timestamp = Some(self.first + self.sent.len() as i64);
        loop {
            let mut owned = OwnedHeaders::new();
            for (key, value) in &headers {
                // The replacement character stands for a byte that is no text.
                let mut name = Vec::new();
                for character in key.chars() {
                    match character {
                        '\u{fffd}' => name.push(0xff),
                        _ => name.extend_from_slice(character.to_string().as_bytes()),
                    }
                }
                assert!(input_headers::add(&mut owned, &CString::new(name).unwrap(), Some(value)));
            }
            let mut base =
                BaseRecord::<[u8], [u8]>::to(&self.stage.input).partition(partition).headers(owned);
            base.key = key.as_deref();
            base.payload = value.as_deref();
            base.timestamp = timestamp;
            match self.producer.send(base) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("the harness could not write its input: {error}"),
            }
        }
        let next = self.next.entry(partition).or_default();
        self.sent.push(Record { partition, offset: *next, key, value, headers, timestamp });
        *next += 1;
    }

    /// Waits until the broker has everything, and returns it.
    pub fn end(self) -> Vec<Record> {
        self.producer.flush(Duration::from_secs(120)).unwrap();
        let ends = self.stage.ends();
        assert_eq!(ends, self.next, "the input holds what was written");
        self.sent
    }
}
