//! The yardstick: what any consumer that produces again must cost on this machine, at least once.
//!
//! Contract: the clients have the service's own settings; an offset is stored only when its copy is acknowledged.
//! It reads nothing, looks nothing up, adds nothing.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use riskstream::config::Config;
use riskstream::source::client;

use crate::process::Child;

/// The argument that turns this program into the copy loop.
const WORD: &str = "copy-loop";

/// Whether this process is to be the copy loop.
pub fn is_asked_for() -> bool {
    std::env::args().nth(1).is_some_and(|word| word == WORD)
}

/// Starts the copy loop as a process, from and to the topics of a configuration.
pub fn start(config: &Path) -> Child {
    Child::spawn(&std::env::current_exe().unwrap(), &[WORD, config.to_str().unwrap()])
}

/// How far each partition is acknowledged.
struct Done(Vec<AtomicI64>);

impl ClientContext for Done {}

impl ProducerContext for Done {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        assert!(result.is_ok(), "not delivered");
        // An idempotent producer acknowledges a partition's records in their order.
        self.0[token >> 48].store((token & 0xFFFF_FFFF_FFFF) as i64 + 1, Ordering::Release);
    }
}

/// Copies until it is killed.
pub fn run() {
    // What anybody else gets, who has librdkafka as it is distributed.
    #[cfg(target_os = "linux")]
    if std::env::var_os("MENDED").is_none() {
        riskstream::sink::wakeups::unmend();
    }
    let path = std::env::args().nth(2).unwrap();
    let config =
        Config::load(Path::new(&path), []).unwrap_or_else(|problems| panic!("{}", problems.json_lines()));
    let (input, output) = (&config.input.topics[0].name, &config.output.topic);
    let mut settings = client::consumer(&config, 0, 1);
    settings.set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = settings.create().unwrap();
    consumer.subscribe(&[input]).unwrap();
    let done = Done((0..1024).map(|_| AtomicI64::new(0)).collect());
    let producer: ThreadedProducer<Done> =
        ThreadedProducer::from_config_and_context(&client::producer(&config, 1, None), done).unwrap();
    let mut store_at = Instant::now();
    loop {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let token = (message.partition() as usize) << 48 | message.offset() as usize;
        let mut record = BaseRecord::with_opaque_to(output, token)
            .partition(message.partition())
            .key(message.key().unwrap_or_default())
            .payload(message.payload().unwrap_or_default())
            .timestamp(message.timestamp().to_millis().unwrap_or_default());
        while let Err((error, back)) = producer.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        if store_at < Instant::now() {
            store_at = Instant::now() + Duration::from_millis(200);
            let mut list = TopicPartitionList::new();
            for (partition, offset) in producer.context().0.iter().enumerate() {
                match offset.load(Ordering::Acquire) {
                    0 => {}
                    offset => {
                        list.add_partition_offset(input, partition as i32, Offset::Offset(offset)).unwrap()
                    }
                }
            }
            consumer.store_offsets(&list).unwrap();
        }
    }
}
