//! What a lane asks the broker before it starts: are the topics there, and how many partitions have they.
//!
//! Contract: waits for a broker for as long as it takes (that is an outage, and said so in readiness), but a
//! missing or closed topic ends the process with what to do about it, and so do refusals that last.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaRespErr;

use crate::admin::health::LaneHealth;
use crate::config::Kafka;
use crate::sink::Sink;
use crate::sink::transaction::{Step, TransactionError};
use crate::source::identity::{Identity, Supplied};
use crate::source::limits::TopicLimits;
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
}

/// What a client knows of why it has no answer.
pub trait Reasons {
    /// The reason, as far as it is known; `error` is the client's own word.
    fn why(&self, error: &KafkaError) -> String;

    /// What only a person can cure, once it has lasted for long enough. Nothing is final while alerts flow.
    fn overdue(&self) -> Option<LaneError> {
        None
    }
}

impl Reasons for Unheard {
    fn why(&self, error: &KafkaError) -> String {
        let now = Instant::now();
        let blocked =
            self.identity.trouble(now).filter(|trouble| trouble.blocked).map(|trouble| trouble.what);
        blocked.or_else(|| self.refusals.why(now)).unwrap_or_else(|| error.to_string())
    }

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

impl ConsumerContext for Unheard {}

impl ProducerContext for Unheard {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

/// What each of `topics` takes and keeps, in their order. Nothing is known of a topic whose configuration the broker does
/// not tell. `compressed` says whether the batches that we send are.
pub fn limits(kafka: &Kafka, identity: &Identity, compressed: bool, topics: &[&str]) -> Vec<TopicLimits> {
    let described = describe(kafka, identity, topics).unwrap_or_default();
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

fn describe(kafka: &Kafka, identity: &Identity, topics: &[&str]) -> Option<Vec<ConfigResource>> {
    let context = Unheard::new(kafka, identity);
    let admin = AdminClient::from_config_and_context(&client::common(kafka), context).ok()?;
    let admin = Supplied::new(admin, identity);
    let options = AdminOptions::new().request_timeout(Some(ASK));
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let described = runtime.block_on(admin.describe_configs(&resources, &options)).ok()?;
    Some(described.into_iter().flatten().collect())
}

/// Partitions of `topic`; `None` when the process is to stop before the broker answered.
///
/// # Errors
/// [`LaneError::Topic`] when the broker answers that the topic is missing or closed to us, [`LaneError::Refused`] and
/// [`LaneError::Token`] when it is we who are refused.
pub fn partitions<C: ClientContext + Reasons>(
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
