//! Topics, the backlog, and how far an output is: what a bench asks of the broker.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::shared::finding;

/// Bound of one request.
const ASK: Duration = Duration::from_secs(10);

/// The broker.
pub struct Cluster {
    /// Its address.
    pub brokers: String,
    /// Partitions of every topic.
    pub partitions: i32,
    config: ClientConfig,
}

impl Cluster {
    /// The cluster at `brokers`.
    pub fn new(brokers: &str, partitions: i32) -> Cluster {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        Cluster { brokers: brokers.to_owned(), partitions, config }
    }

    /// Creates topics and waits until they have leaders.
    pub fn create(&self, names: &[&str]) {
        let topics: Vec<NewTopic<'_>> = names
            .iter()
            .map(|name| NewTopic::new(name, self.partitions, TopicReplication::Fixed(1)))
            .collect();
        for result in wait(self.admin().create_topics(&topics, &AdminOptions::new())).unwrap() {
            result.unwrap_or_else(|(name, code)| panic!("cannot create topic {name}: {code}"));
        }
        for name in names {
            let watch = self.watch(name);
            for partition in 0..self.partitions {
                while watch.0.fetch_watermarks(name, partition, ASK).is_err() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// Watches how many records are in a topic. A client of its own for each: one that has seen a topic go knows new
    /// ones late.
    pub fn watch(&self, name: &str) -> Watch {
        Watch(self.config.create().unwrap(), name.to_owned(), self.partitions)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config.create().unwrap()
    }

    /// Deletes topics, so that their data is gone from the page cache.
    pub fn delete(&self, names: &[&str]) {
        // What is left behind is nobody's loss: names are not used twice.
        let _ = wait(self.admin().delete_topics(names, &AdminOptions::new()));
    }

    /// A producer with large batches.
    pub fn producer(&self, linger_ms: u32) -> BaseProducer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("linger.ms", linger_ms.to_string())
            .set("queue.buffering.max.messages", "200000")
            .create()
            .unwrap()
    }

    /// Fills a topic with alerts of 1 KB, each about one of `entities`, partitions in turn.
    pub fn produce(&self, topic: &str, alerts: u64, entities: usize) {
        let producer = self.producer(20);
        let texts = texts(entities);
        for number in 0..alerts {
            send(
                &producer,
                topic,
                (number % self.partitions as u64) as i32,
                &texts[number as usize % texts.len()],
            );
        }
        producer.flush(Duration::from_secs(120)).unwrap();
        assert_eq!(self.watch(topic).count(), alerts, "every alert is in the topic");
    }
}

/// How far a topic is.
pub struct Watch(BaseConsumer, String, i32);

impl Watch {
    /// Records in it.
    pub fn count(&self) -> u64 {
        let end =
            |partition| self.0.fetch_watermarks(&self.1, partition, ASK).map_or(0, |(_, high)| high as u64);
        (0..self.2).map(end).sum()
    }
}

/// One alert about each entity.
pub fn texts(entities: usize) -> Vec<String> {
    (0..entities).map(|number| finding(number, 1, 1_000)).collect()
}

/// Sends one alert, keyed by when it is sent: nanoseconds since 1970.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, text: &str) {
    let key = now().to_be_bytes();
    let mut record = BaseRecord::to(topic).partition(partition).key(&key).payload(text);
    loop {
        match producer.send(record) {
            Ok(()) => break,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => panic!("cannot produce: {error}"),
        }
    }
}

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
