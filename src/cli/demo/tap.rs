//! The consumers at the other end: of enriched alerts and of dead letters, a thread each.
//!
//! Contract: every record is counted once, in [`Counts`]; the tally is told what is in it. They belong to no group:
//! they read all partitions from the start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::locked;
use super::tally::{Enriched, Tally};
use super::traffic::Counts;
use super::world::{DEAD_LETTERS, OUTPUT, PARTITIONS};

const POLL: Duration = Duration::from_millis(50);
/// Polls without a record, after the service has stopped, that mean that there is none.
const QUIET: u32 = 4;

/// Both consumers.
pub struct Taps {
    threads: Vec<JoinHandle<()>>,
    finish: Arc<AtomicBool>,
}

impl Taps {
    /// Ends them once there is nothing more to read.
    pub fn finish(self) {
        self.finish.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A panic in there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

/// Starts them.
///
/// # Errors
/// When a consumer or its thread cannot be made.
pub fn start(brokers: &str, counts: &Arc<Counts>, tally: &Arc<Mutex<Tally>>) -> anyhow::Result<Taps> {
    let mut taps = Taps { threads: Vec::new(), finish: Arc::default() };
    for topic in [OUTPUT, DEAD_LETTERS] {
        let consumer = consumer(brokers, topic)?;
        let (counts, tally, finish) = (Arc::clone(counts), Arc::clone(tally), Arc::clone(&taps.finish));
        let thread = thread::Builder::new().name(format!("tap {topic}")).spawn(move || {
            let mut quiet = 0;
            while quiet < QUIET || !finish.load(Ordering::Relaxed) {
                match consumer.poll(POLL) {
                    None => quiet += 1,
                    Some(Err(error)) => tracing::warn!(%error, topic, "cannot read what came out"),
                    Some(Ok(record)) => {
                        quiet = 0;
                        let value = record.payload().unwrap_or_default();
                        let sent = record.timestamp().to_millis();
                        if topic == OUTPUT {
                            enriched(&tally, value, sent);
                            counts.out.fetch_add(1, Ordering::Relaxed);
                        } else {
                            counts.dead.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        })?;
        taps.threads.push(thread);
    }
    Ok(taps)
}

fn enriched(tally: &Mutex<Tally>, value: &[u8], sent: Option<i64>) {
    let now = Timestamp::now();
    let sent = sent.and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or(now);
    // Parsed before the lock is taken: the view waits for it.
    let alert = Enriched::parse(value);
    locked(tally).add(alert, sent, now);
}

fn consumer(brokers: &str, topic: &str) -> Result<BaseConsumer, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "riskstream-demo-view")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "5")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    Ok(consumer)
}
