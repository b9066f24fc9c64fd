//! What a lane asks the broker before it starts: are the topics there, and how many partitions have they.
//!
//! Contract: waits for a broker for as long as it takes (that is an outage, and said so in readiness), but a
//! missing or closed topic ends the process with what to do about it.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaRespErr;

use crate::admin::health::LaneHealth;
use crate::sink::Sink;
use crate::sink::transaction::{Step, TransactionError};
use crate::source::LaneError;
use crate::source::limits::TopicLimits;
use crate::supervisor::Stop;

/// Bound of one question.
const ASK: Duration = Duration::from_secs(2);
/// How long a topic may be missing: one that is being created has no leader at first.
const MISSING: Duration = Duration::from_secs(5);
/// Between two questions about a topic that is missing.
const AGAIN: Duration = Duration::from_millis(250);

/// A client whose only answer is the one that it is asked for: what it says beside repeats the lane's own.
pub struct Unheard;

impl ClientContext for Unheard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "{reason}");
    }
}

impl ConsumerContext for Unheard {}

impl ProducerContext for Unheard {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

/// What each of `topics` takes and keeps, in their order. Nothing is known of a topic whose configuration the broker does
/// not tell. `compressed` says whether the batches that we send are.
pub fn limits(config: &ClientConfig, compressed: bool, topics: &[&str]) -> Vec<TopicLimits> {
    let described = describe(config, topics).unwrap_or_default();
    let limits = |topic: &&str| {
        let known = described
            .iter()
            .find(|known| known.specifier == OwnedResourceSpecifier::Topic((*topic).to_owned()));
        TopicLimits::read(topic, compressed, |name| {
            known?.entries.iter().find(|entry| entry.name == name)?.value.as_deref()
        })
    };
    topics.iter().map(limits).collect()
}

fn describe(config: &ClientConfig, topics: &[&str]) -> Option<Vec<ConfigResource>> {
    let admin = AdminClient::from_config_and_context(config, Unheard).ok()?;
    let options = AdminOptions::new().request_timeout(Some(ASK));
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let described = runtime.block_on(admin.describe_configs(&resources, &options)).ok()?;
    Some(described.into_iter().flatten().collect())
}

/// Partitions of `topic`; `None` when the process is to stop before the broker answered.
///
/// # Errors
/// [`LaneError::Topic`] when the broker answers that the topic is missing or closed to us.
pub fn partitions<C: ClientContext>(
    client: &Client<C>,
    role: &'static str,
    topic: &str,
    health: &LaneHealth,
    stop: &Stop,
) -> Result<Option<i32>, LaneError> {
    let mut missing_since = None;
    loop {
        if stop.requested() {
            return Ok(None);
        }
        health.beat();
        let why = match client.fetch_metadata(Some(topic), ASK) {
            Err(error) => {
                health.trouble(format!("waiting for a Kafka broker: {error}"));
                continue;
            }
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                match found.map(|found| (found.error(), found.partitions().len())) {
                    Some((None, count)) if count > 0 => {
                        health.well();
                        return Ok(Some(i32::try_from(count).unwrap_or(i32::MAX)));
                    }
                    Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED), _)) => {
                        return Err(LaneError::Topic {
                            role,
                            topic: topic.to_owned(),
                            why: "access denied".to_owned(),
                            cure: if role == "input" {
                                "Grant our principal Read and Describe on it"
                            } else {
                                "Grant our principal Write and Describe on it"
                            },
                        });
                    }
                    Some((Some(error), _)) => RDKafkaErrorCode::from(error).to_string(),
                    _ => "no such topic".to_owned(),
                }
            }
        };
        if *missing_since.get_or_insert_with(Instant::now) + MISSING < Instant::now() {
            return Err(LaneError::Topic {
                role,
                topic: topic.to_owned(),
                why,
                cure: "Create it, or correct its name in the configuration",
            });
        }
        health.trouble(format!("{role} topic {topic}: {why}"));
        stop.wait(AGAIN);
    }
}

/// Makes a lane's producer known to the coordinator of its transactions, and releases the offsets that an earlier one of
/// its id may have left in doubt, given the group and a topic of it; `false` when the process is to stop before that is
/// done.
///
/// # Errors
/// [`LaneError::Transaction`] when it refuses us.
pub fn transactions(
    sink: &mut Sink,
    offsets: Option<(&str, &str)>,
    health: &LaneHealth,
    stop: &Stop,
) -> Result<bool, LaneError> {
    let patient = Instant::now() + ASK;
    let mut known = false;
    while !stop.requested() {
        health.beat();
        let step = if known {
            offsets.map_or(Ok(Step::Done), |(group, topic)| sink.release(group, topic, AGAIN))
        } else {
            sink.init(AGAIN)
        };
        match step {
            Ok(Step::Done) if known => {
                health.well();
                return Ok(true);
            }
            Ok(Step::Done) => known = true,
            Err(TransactionError::Renew(_)) => {
                sink.renew().map_err(LaneError::Client)?;
                known = false;
            }
            Err(error) => return Err(LaneError::Transaction(error)),
            Ok(Step::Again) => {
                if Instant::now() > patient {
                    health.trouble("waiting for the coordinator of our transactions".to_owned());
                }
                // It may have answered at once.
                stop.wait(AGAIN);
            }
        }
    }
    Ok(false)
}
