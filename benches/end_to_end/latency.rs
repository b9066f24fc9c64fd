//! How long an alert takes from the producer to a consumer of the output, at a given rate.
//!
//! Contract: the producer keeps to its rate whatever comes back, so that a stall shows as latency and not as fewer
//! alerts. The time sent travels as the record's key. The first seconds, in which the cache fills, do not count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::kafka::{Cluster, now, send, texts};

/// Not counted at the start.
const WARM_UP: Duration = Duration::from_secs(4);

/// What was seen, in milliseconds.
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// One in a hundred takes longer.
    pub p99: f64,
    /// The longest.
    pub worst: f64,
    /// Alerts sent, the first seconds included.
    pub sent: u64,
}

/// Sends `rate` alerts a second for `seconds` (and a warm-up) and watches them come out.
pub fn measure(
    cluster: &Cluster,
    input: &str,
    output: &str,
    rate: u64,
    entities: usize,
    seconds: u64,
) -> Latency {
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let mut nanos: Vec<u64> = std::thread::scope(|scope| {
        let seen = scope.spawn(|| watch(cluster, output, &stop));
        let producer = cluster.producer(1);
        let texts = texts(entities);
        let started = Instant::now();
        let end = WARM_UP + Duration::from_secs(seconds);
        let mut number = 0;
        while started.elapsed() < end {
            let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
            while number < due {
                let partition = (number % cluster.partitions as u64) as i32;
                send(&producer, input, partition, &texts[number as usize % texts.len()]);
                number += 1;
            }
            producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_millis(1));
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        sent.store(number, Ordering::Relaxed);
        // The last ones come out.
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        seen.join().unwrap()
    });
    nanos.sort_unstable();
    let at = |share: f64| {
        nanos
            .get(((nanos.len() as f64 * share) as usize).min(nanos.len().saturating_sub(1)))
            .map_or(f64::NAN, |n| *n as f64 / 1e6)
    };
    Latency { p50: at(0.5), p99: at(0.99), worst: at(1.0), sent: sent.into_inner() }
}

fn watch(cluster: &Cluster, output: &str, stop: &AtomicBool) -> Vec<u64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &cluster.brokers)
        .set("group.id", "bench-watch")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "10")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..cluster.partitions {
        list.add_partition_offset(output, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let from = now() + WARM_UP.as_nanos() as u64;
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let sent = record.key().and_then(|key| key.try_into().ok()).map(u64::from_be_bytes);
        if let Some(sent) = sent.filter(|sent| *sent >= from) {
            seen.push(now().saturating_sub(sent));
        }
    }
    seen
}
