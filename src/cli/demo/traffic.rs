//! The producer of alerts, at a rate, but never far ahead of what has come out.
//!
//! Contract: [`Counts::sent`] are alerts that the broker acknowledged, and nothing else. As the embedded broker
//! drops what it has no room for without a word, at most [`AHEAD`] alerts are between here and the other end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, config::FromClientConfigAndContext};

use super::world::INPUT;
use crate::simulator::alerts::{Alert, Alerts};
use crate::supervisor::Stop;

/// Alerts that may be under way: a kilobyte or two each, spread over all partitions.
const AHEAD: u64 = 4000;
/// Between two handfuls.
const TICK: Duration = Duration::from_millis(5);
/// How long the last ones may take to reach the broker.
const FLUSH: Duration = Duration::from_secs(10);

/// What went in and came out.
#[derive(Debug, Default)]
pub struct Counts {
    /// Alerts that the input topic holds.
    pub sent: AtomicU64,
    /// Alerts handed to the producer.
    handed: AtomicU64,
    /// Alerts that the input topic refused.
    pub lost: AtomicU64,
    /// Enriched alerts read.
    pub out: AtomicU64,
    /// Dead letters read.
    pub dead: AtomicU64,
    /// Set to end the traffic.
    pub stop: AtomicBool,
}

impl Counts {
    fn done(&self) -> u64 {
        self.out.load(Ordering::Relaxed) + self.dead.load(Ordering::Relaxed)
    }

    /// Whether as much came out as went in.
    pub fn is_out(&self) -> bool {
        self.done() >= self.sent.load(Ordering::Relaxed)
    }

    fn is_far_ahead(&self) -> bool {
        self.handed.load(Ordering::Relaxed).saturating_sub(self.done()) >= AHEAD
    }
}

struct Deliveries(Arc<Counts>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        let count = if delivery.is_ok() { &self.0.sent } else { &self.0.lost };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts the traffic; it ends with `counts.stop` or `end`, when everything has reached the broker.
///
/// # Errors
/// When the producer or its thread cannot be made.
pub fn start(brokers: &str, rate: u64, counts: &Arc<Counts>, end: &Stop) -> anyhow::Result<JoinHandle<()>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("partitioner", "murmur2_random");
    let producer: ThreadedProducer<Deliveries> =
        ThreadedProducer::from_config_and_context(&config, Deliveries(Arc::clone(counts)))?;
    let (counts, end) = (Arc::clone(counts), end.clone());
    let body = move || {
        produce(&producer, rate, &counts, &end);
        if producer.flush(FLUSH).is_err() {
            tracing::warn!("not every alert reached the embedded broker in time");
        }
    };
    Ok(thread::Builder::new().name("traffic".to_owned()).spawn(body)?)
}

fn produce(producer: &ThreadedProducer<Deliveries>, rate: u64, counts: &Counts, end: &Stop) {
    let over = || counts.stop.load(Ordering::Relaxed) || end.requested();
    let mut alerts = Alerts::new(1);
    let mut due = 0.0;
    let mut last = Instant::now();
    while !over() {
        let now = Instant::now();
        // What could not be sent in time is not made up for: a rate, not a debt.
        due = (due + (now - last).as_secs_f64() * rate as f64).min(rate as f64 / 4.0 + 1.0);
        last = now;
        while due >= 1.0 && !over() {
            if counts.is_far_ahead() {
                break;
            }
            let Some(alert) = alerts.next() else { return };
            if !send(producer, &alert, &over) {
                return;
            }
            counts.handed.fetch_add(1, Ordering::Relaxed);
            due -= 1.0;
        }
        thread::park_timeout(TICK);
    }
}

/// Hands an alert over, waiting for room; false when that is not possible any more.
fn send(producer: &ThreadedProducer<Deliveries>, alert: &Alert, over: &dyn Fn() -> bool) -> bool {
    loop {
        let record = BaseRecord::to(INPUT).key(alert.key.as_str()).payload(alert.value.as_slice());
        match producer.send(record) {
            Ok(()) => return true,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) if !over() => {
                thread::park_timeout(TICK);
            }
            Err((error, _)) => {
                tracing::warn!(%error, "no more alerts can be produced");
                return false;
            }
        }
    }
}
