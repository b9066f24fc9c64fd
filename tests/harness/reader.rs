//! What a read-committed consumer sees of a topic.
//!
//! Contract: the end of a partition is where the broker says it is (`enable.partition.eof`). Offsets count nothing:
//! the markers of transactions and what was taken back have some too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::kafka::{Record, Stage, client, watermarks};

/// How long a reader waits for anything to come.
const SILENCE: Duration = Duration::from_secs(120);

/// The next offset to read of each partition; one that is not in it is read from its beginning.
pub type Next = BTreeMap<i32, i64>;

/// How many records were seen, and how far that was.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    records: i64,
    next: Next,
}

/// A consumer of one topic, in no group.
pub struct Reader {
    consumer: BaseConsumer,
    /// Partitions that have not ended since the reader was made.
    open: BTreeSet<i32>,
}

impl Reader {
    /// Of `topic`, from `next` on.
    pub fn new(stage: &Stage, topic: &str, next: &Next) -> Reader {
        let consumer: BaseConsumer = client(&stage.brokers)
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("receive.message.max.bytes", "200000000")
            .set("queued.max.messages.kbytes", "32768")
            .set("fetch.wait.max.ms", "10")
            .set("fetch.queue.backoff.ms", "10")
            .create()
            .unwrap();
        let partitions = || {
            let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).ok()?;
            let topic = metadata.topics().first()?;
            let ids: BTreeSet<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
            (topic.error().is_none() && !ids.is_empty()).then_some(ids)
        };
        let (open, _) = super::until("the partitions of a topic", SILENCE, partitions);
        let mut list = TopicPartitionList::new();
        for partition in &open {
            let start = next.get(partition).map_or(Offset::Beginning, |offset| Offset::Offset(*offset));
            list.add_partition_offset(topic, *partition, start).unwrap();
        }
        consumer.assign(&list).unwrap();
        Reader { consumer, open }
    }

    /// The next record, if one comes within `bound` and no partition ends before.
    pub fn poll(&mut self, bound: Duration) -> Option<BorrowedMessage<'_>> {
        match self.consumer.poll(bound)? {
            Ok(message) => Some(message),
            Err(KafkaError::PartitionEOF(partition)) => {
                self.open.remove(&partition);
                None
            }
            // A broker that is away: the client goes on by itself.
            Err(_) => None,
        }
    }

    /// Whether every partition has ended once.
    pub fn is_over(&self) -> bool {
        self.open.is_empty()
    }
}

impl Stage {
    /// Everything in the output topic.
    pub fn outputs(&self) -> Vec<Record> {
        self.read(&self.output)
    }

    /// Everything in the dead-letter topic.
    pub fn dead_letters(&self) -> Vec<Record> {
        self.read(&self.dead)
    }

    /// Everything in `topic`, by partition and offset.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        self.each(topic, |record| records.push(record));
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// Hands over everything in `topic`, each partition in its order, once no transaction is open in it.
    pub fn each(&self, topic: &str, mut each: impl FnMut(Record)) {
        self.settled(topic);
        self.follow(topic, &mut Next::new(), |message| each(Record::of(message)));
    }

    /// Hands over what stands in `topic` from `next` to the end as it is now, and moves `next` on.
    pub fn follow(&self, topic: &str, next: &mut Next, mut each: impl FnMut(&BorrowedMessage<'_>)) {
        let mut reader = Reader::new(self, topic, next);
        let mut heard = Instant::now();
        while !reader.is_over() {
            assert!(heard.elapsed() < SILENCE, "could not read {topic} whole: {:?}", reader.open);
            let open = reader.open.len();
            if let Some(message) = reader.poll(Duration::from_millis(100)) {
                next.insert(message.partition(), message.offset() + 1);
                each(&message);
                heard = Instant::now();
            } else if reader.open.len() < open {
                heard = Instant::now();
            }
        }
    }

    /// Waits until no transaction is open in `topic`: one that a dead process has left ends by its time-out.
    pub fn settled(&self, topic: &str) {
        let ends = |isolation: &str| {
            let consumer: BaseConsumer =
                client(&self.brokers).set("isolation.level", isolation).create().unwrap();
            watermarks(&consumer, topic)
        };
        super::wait("transactions end", Duration::from_secs(90), || {
            ends("read_committed") == ends("read_uncommitted")
        });
    }

    /// Records that a read-committed consumer sees in a topic, repetitions included.
    pub fn count(&self, topic: &str) -> i64 {
        let mut all = self.counted.lock().unwrap();
        let Counted { records, next } = all.entry(topic.to_owned()).or_default();
        self.follow(topic, next, |_| *records += 1);
        *records
    }

    /// Waits until output and dead letters together hold `total` records; how long that took.
    pub fn wait_for(&self, total: usize, bound: Duration) -> Duration {
        let started = Instant::now();
        let mut all = self.counted.lock().unwrap();
        let mut open: Vec<_> = [&self.output, &self.dead]
            .into_iter()
            .map(|topic| {
                let counted = all.remove(topic).unwrap_or_default();
                (topic, Reader::new(self, topic, &counted.next), counted)
            })
            .collect();
        loop {
            let mut quiet = true;
            for (_, reader, counted) in &mut open {
                while let Some(message) = reader.poll(Duration::ZERO) {
                    counted.next.insert(message.partition(), message.offset() + 1);
                    counted.records += 1;
                    quiet = false;
                }
            }
            let found: i64 = open.iter().map(|(_, _, counted)| counted.records).sum();
            if found >= total as i64 {
                all.extend(open.into_iter().map(|(topic, _, counted)| (topic.clone(), counted)));
                return started.elapsed();
            }
            assert!(started.elapsed() < bound, "{found} of {total} came out within {bound:?}");
            if quiet {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}
