//! Updates to Kafka: answers that came after their alert had left.
//!
//! Contract: best effort, and every one counted: an update is published, or dropped for a reason. It has a producer of its
//! own, which is in no lane and in no transaction, gives up after a while and has a small queue: whatever its topic does,
//! no alert, no commit and no stop waits for it. It is handed over only after the alert's output was acknowledged, or
//! committed with its transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};

use crate::compose::{Summary, headers, update};
use crate::config::Config;
use crate::metrics::{Dropped, Metrics};
use crate::sink::input_headers;
use crate::source::client;
use crate::source::identity::{Identity, Supplied};
use crate::source::quiet::Quiet;

type Client = Supplied<ThreadedProducer<Context>>;

/// An update to send.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Which partition; `None` is by key.
    pub partition: Option<i32>,
    /// The alert's key.
    pub key: Option<&'a [u8]>,
    /// What [`crate::pipeline::Pending::update`] composed.
    pub value: &'a [u8],
    /// What it says as a whole.
    pub summary: Summary,
    /// The alert's `risk-source`.
    pub source: &'a str,
}

/// The producer of updates, for all lanes.
pub struct Updates {
    topic: String,
    config: ClientConfig,
    identity: Identity,
    metrics: Arc<Metrics>,
    client: Mutex<Client>,
    /// Whether it cannot go on.
    broken: Arc<AtomicBool>,
    voice: Mutex<Quiet>,
}

impl Updates {
    /// A producer for the topic that `config` names, where it names one.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn new(
        config: &Config,
        identity: &Identity,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<Updates>>, KafkaError> {
        let Some(topic) = config.output.updates.clone() else { return Ok(None) };
        let (properties, broken) = (client::updates(config), Arc::<AtomicBool>::default());
        let client = producer(&properties, identity, metrics, &broken)?;
        Ok(Some(Arc::new(Updates {
            topic,
            config: properties,
            identity: identity.clone(),
            metrics: Arc::clone(metrics),
            client: Mutex::new(client),
            broken,
            voice: Mutex::default(),
        })))
    }

    /// Hands an update to the producer, or drops it. Never waits for the broker.
    pub fn send(&self, update: Update<'_>) {
        let mut all = OwnedHeaders::new_with_capacity(6);
        let mut add = |name: &str, value: &str| {
            input_headers::add(&mut all, name.as_bytes(), Some(value.as_bytes()));
        };
        headers::each_of(update::SCHEMA, &update.summary, &mut add);
        add(headers::SOURCE, update.source);
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&self.topic).payload(update.value).headers(all);
        (record.key, record.partition) = (update.key, update.partition);
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if self.broken.swap(false, Ordering::AcqRel) {
            match producer(&self.config, &self.identity, &self.metrics, &self.broken) {
                // Ending one may take a moment.
                Ok(new) => {
                    let old = std::mem::replace(&mut *client, new);
                    let _ = thread::Builder::new().name("updates".to_owned()).spawn(move || drop(old));
                }
                Err(_) => self.broken.store(true, Ordering::Release),
            }
        }
        if let Err((error, _)) = client.send(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            let reason = if full { Dropped::QueueFull } else { Dropped::Refused };
            self.metrics.updates.dropped(reason, 1);
            let mut voice = self.voice.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(untold) = voice.tell(&error.to_string(), Instant::now()) {
                tracing::warn!(topic = self.topic, %error, untold, "an update was not sent");
            }
        }
    }

    /// Counts alerts that got no update.
    pub fn dropped(&self, reason: Dropped, count: usize) {
        self.metrics.updates.dropped(reason, count);
    }

    /// Waits for `bound` at most until the topic has what was handed over, and drops the rest.
    pub fn close(&self, bound: Duration) {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if client.flush(bound).is_err() {
            client.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

/// The producer's callbacks.
struct Context {
    metrics: Arc<Metrics>,
    broken: Arc<AtomicBool>,
    voice: client::Voice,
    refusals: Mutex<Quiet>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.broken.store(true, Ordering::Release);
        }
        self.voice.error("producer of updates", &error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        let Err((error, _)) = delivery else { return self.metrics.updates.published.inc() };
        self.metrics.updates.dropped(Dropped::Refused, 1);
        let mut voice = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = voice.tell(&error.to_string(), Instant::now()) {
            tracing::warn!(%error, untold, "an update was refused; it is dropped (output.updates)");
        }
    }
}

fn producer(
    config: &ClientConfig,
    identity: &Identity,
    metrics: &Arc<Metrics>,
    broken: &Arc<AtomicBool>,
) -> Result<Client, KafkaError> {
    let context = Context {
        metrics: Arc::clone(metrics),
        broken: Arc::clone(broken),
        voice: client::Voice::default(),
        refusals: Mutex::default(),
    };
    let client = ThreadedProducer::from_config_and_context(config, context)?;
    Ok(Supplied::new(client, identity))
}
