//! What a lane asks the broker before it starts: are the topics there, and how many partitions have they.
//!
//! Contract: waits for a broker for as long as it takes (that is an outage, and said so in readiness), but a
//! missing or closed topic ends the process with what to do about it, and so do refusals that last.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaRespErr;

use crate::admin::health::LaneHealth;
use crate::config::Kafka;
use crate::source::identity::{Identity, Supplied};
use crate::source::refusal::{Refusal, Refusals};
use crate::source::{LaneError, certificate, client};
use crate::supervisor::Stop;

/// Bound of one question.
const ASK: Duration = Duration::from_secs(2);
/// How long a topic may be missing: one that is being created has no leader at first.
const MISSING: Duration = Duration::from_secs(5);
/// Between two questions about a topic that is missing.
const AGAIN: Duration = Duration::from_millis(250);

/// A client whose only answer is the one that it is asked for: what it says beside repeats the lane's own, but for what
/// keeps it from being answered.
pub struct Unheard {
    kafka: Kafka,
    identity: Identity,
    refusals: Refusals,
}

impl Unheard {
    /// For a client of this cluster, with this identity.
    pub fn new(kafka: &Kafka, identity: &Identity) -> Self {
        Unheard { kafka: kafka.clone(), identity: identity.clone(), refusals: Refusals::default() }
    }

    /// Why there was no answer, as far as that is known; `error` is the client's own word.
    pub fn why(&self, error: &KafkaError) -> String {
        let now = Instant::now();
        let blocked =
            self.identity.trouble(now).filter(|trouble| trouble.blocked).map(|trouble| trouble.what);
        blocked.or_else(|| self.refusals.why(now)).unwrap_or_else(|| error.to_string())
    }

    /// What a broker refuses, if one does.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusals.current(Instant::now())
    }

    /// Whether the identity provider refuses us.
    pub fn is_refused_a_token(&self) -> bool {
        self.identity.is_refused()
    }

    /// The cluster that is asked.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// What only a person can cure, once it has lasted for long enough.
    fn overdue(&self) -> Option<LaneError> {
        let now = Instant::now();
        let token = self.identity.overdue(now).map(LaneError::Token);
        let refused = || self.refusals.overdue(now).map(|refusal| certificate::explain(refusal, &self.kafka));
        token.or_else(|| refused().map(LaneError::Refused))
    }
}

impl ClientContext for Unheard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.refusals.hear(message);
        }
        tracing::debug!(?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.refusals.note(&error, reason, Instant::now());
        tracing::debug!(%error, "{reason}");
    }
}

impl ProducerContext for Unheard {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

/// The largest batch that all of `topics` take (`max.message.bytes` is of a batch, whatever its name says); `None`
/// when the broker does not tell: it may be too old, or we may lack DescribeConfigs.
pub fn largest_batch(kafka: &Kafka, identity: &Identity, topics: &[&str]) -> Option<usize> {
    let context = Unheard::new(kafka, identity);
    let admin = AdminClient::from_config_and_context(&client::common(kafka), context).ok()?;
    let admin = Supplied::new(admin, identity);
    let options = AdminOptions::new().request_timeout(Some(ASK));
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let described = runtime.block_on(admin.describe_configs(&resources, &options)).ok()?;
    let sizes = described.iter().flatten().filter_map(|topic| {
        let entry = topic.entries.iter().find(|entry| entry.name == "max.message.bytes")?;
        entry.value.as_ref()?.parse().ok()
    });
    sizes.min()
}

/// Partitions of `topic`; `None` when the process is to stop before the broker answered.
///
/// # Errors
/// [`LaneError::Topic`] when the broker answers that the topic is missing or closed to us, [`LaneError::Refused`] and
/// [`LaneError::Token`] when it is we who are refused.
pub fn partitions(
    client: &Client<Unheard>,
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
                if let Some(error) = client.context().overdue() {
                    return Err(error);
                }
                health.trouble(format!("waiting for a Kafka broker: {}", client.context().why(&error)));
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
                                "Grant our principal Read and Describe on it; `riskstream check --connect` says how"
                            } else {
                                "Grant our principal Write and Describe on it; `riskstream check --connect` says how"
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
