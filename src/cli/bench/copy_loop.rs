//! The yardstick: what any consumer that produces again must cost on this machine, at least once.
//!
//! Contract: the clients have the service's own settings, a pair of them for each lane, on a thread of its own; an offset
//! is stored only when its copy is acknowledged. librdkafka is as it is distributed, without the mend that the service has
//! ([`crate::sink::wakeups`]), unless that is asked for: what anybody else gets. It reads nothing, looks nothing up, adds
//! nothing, and counts nothing that it does not need for its offsets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};

use super::inside::{answer, read};
use crate::cli::End;
use crate::config::Config;
use crate::source::client;

/// Partitions that it can copy.
const PARTITIONS: usize = 4096;
/// Bits of a token that say which offset it is; those above say of which partition.
const OFFSET: u32 = 48;
/// Between two times that offsets are stored.
const STORE: Duration = Duration::from_millis(200);

/// How far each partition is acknowledged, by all lanes together.
struct Done {
    partitions: Vec<AtomicI64>,
    has_failed: AtomicBool,
}

impl Done {
    /// Copies that were acknowledged: every partition is copied from its beginning.
    fn count(&self) -> u64 {
        self.partitions.iter().map(|offset| offset.load(Ordering::Relaxed).max(0).cast_unsigned()).sum()
    }
}

/// What a lane's producer reports to.
struct Reports(Arc<Done>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        match self.0.partitions.get(token >> OFFSET) {
            // An idempotent producer acknowledges a partition's records in their order.
            Some(done) if result.is_ok() => {
                done.store((token & ((1 << OFFSET) - 1)) as i64 + 1, Ordering::Release);
            }
            _ => self.0.has_failed.store(true, Ordering::Release),
        }
    }
}

/// Copies until it is ended.
pub fn run(file: &Path, is_mended: bool) -> Result<(), End> {
    #[cfg(wraps)]
    if !is_mended {
        crate::sink::wakeups::unmend();
    }
    #[cfg(not(wraps))]
    let _ = is_mended;
    let config = read(file)?;
    let done = Arc::new(Done {
        partitions: (0..PARTITIONS).map(|_| AtomicI64::new(0)).collect(),
        has_failed: AtomicBool::new(false),
    });
    let counted = Arc::clone(&done);
    answer(move || counted.count())?;
    let lanes = config.pipeline.threads.max(1);
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|lane| {
                let (config, done) = (&config, Arc::clone(&done));
                scope.spawn(move || copy(config, lane, lanes, &done))
            })
            .collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| anyhow!("a lane ended: a bug"))?)
    })?;
    Ok(())
}

fn copy(config: &Config, lane: usize, lanes: usize, done: &Arc<Done>) -> anyhow::Result<()> {
    let input = config.input.topics.first().map(|topic| topic.name.as_str()).context("no input topic")?;
    let output = &config.output.topic;
    let mut settings = client::consumer(config, lane, lanes);
    // The service decides where a new group starts when partitions are assigned.
    settings.set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = settings.create()?;
    consumer.subscribe(&[input])?;
    let producer: ThreadedProducer<Reports> = ThreadedProducer::from_config_and_context(
        &client::producer(config, lanes, None),
        Reports(Arc::clone(done)),
    )?;
    let mut mine = [false; PARTITIONS];
    let mut store_at = Instant::now() + STORE;
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message?;
            let token = (message.partition() as usize) << OFFSET | message.offset() as usize;
            if let Some(mine) = mine.get_mut(message.partition() as usize) {
                *mine = true;
            }
            let mut record = BaseRecord::with_opaque_to(output, token)
                .partition(message.partition())
                .key(message.key().unwrap_or_default())
                .payload(message.payload().unwrap_or_default())
                .timestamp(message.timestamp().to_millis().unwrap_or_default());
            while let Err((error, back)) = producer.send(record) {
                if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                    bail!("cannot produce to {output}: {error}");
                }
                record = back;
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        let now = Instant::now();
        if store_at < now {
            store_at = now + STORE;
            if done.has_failed.load(Ordering::Acquire) {
                bail!("{output} does not take a copy");
            }
            store(&consumer, input, &mine, done)?;
        }
    }
}

/// Stores how far the partitions of this lane are acknowledged.
fn store(consumer: &BaseConsumer, input: &str, mine: &[bool; PARTITIONS], done: &Done) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::new();
    for (partition, (offset, mine)) in done.partitions.iter().zip(mine).enumerate() {
        let offset = offset.load(Ordering::Acquire);
        if *mine && offset > 0 {
            list.add_partition_offset(input, partition as i32, Offset::Offset(offset))?;
        }
    }
    match consumer.store_offsets(&list) {
        // A partition that another lane has got meanwhile is that lane's.
        Ok(()) | Err(KafkaError::StoreOffset(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
