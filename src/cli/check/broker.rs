//! What `check --connect` asks of the brokers: are our topics there, and do Kafka's ACLs allow what the service needs.
//!
//! Contract: read-only, but for one transactional id that no lane uses, where there are transactions. A connection that
//! cannot be made is told once for all topics, with what to do about it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{Producer, ThreadedProducer};
use serde_json::json;
use tokio::runtime::Handle;

use crate::cli::output::{line, table};
use crate::config::{Config, InputTopic};
use crate::source::access::{self, Answer, Finding, Need, Operation, Principal, ask, demand};
use crate::source::identity::{Identity, Supplied};
use crate::source::startup::{Reasons, Unheard};
use crate::source::verify::without_value;
use crate::source::{certificate, client, topics};

/// Bound of reaching a broker.
const BOUND: Duration = Duration::from_secs(10);
/// Bound of one question on the way there: a refusal is known long before.
const ASK: Duration = Duration::from_secs(2);

/// What the brokers say.
pub struct Found {
    /// Topic by topic.
    pub topics: Vec<(String, Result<(), String>)>,
    /// What ACLs allow; empty when no broker answered.
    pub access: Vec<Finding>,
    /// Whom they allow it.
    pub principal: Principal,
}

/// Asks about every topic of ours, and about our rights.
pub fn ask(config: &Config, runtime: &Handle) -> Found {
    let mut found = Found { topics: Vec::new(), access: Vec::new(), principal: Principal::of(config, None) };
    let failed = |what: String| ("kafka".to_owned(), Err(what));
    let identity = match Identity::new(&config.kafka) {
        Ok(identity) => identity,
        Err(error) => {
            found.topics.push(failed(format!("kafka.sasl: {error}")));
            return found;
        }
    };
    identity.start(runtime, None);
    let context = Unheard::new(&config.kafka, &identity);
    let asking = ThreadedProducer::from_config_and_context(&client::common(&config.kafka), context);
    let asking: Supplied<ThreadedProducer<Unheard>> = match asking {
        Ok(asking) => Supplied::new(asking, &identity),
        Err(error) => {
            found.topics.push(failed(without_value(&error)));
            return found;
        }
    };
    let named = config.input.topics.iter().filter(|topic| topic.pattern.is_none());
    let ours = named.map(|topic| ("input", topic.name.as_str())).chain([
        ("output", config.output.topic.as_str()),
        ("dead-letter", config.dead_letters.topic.as_str()),
    ]);
    let ours = ours.chain(config.output.updates.iter().map(|topic| ("update", topic.as_str())));
    let mut unreachable: Option<String> = None;
    let mut counts = HashMap::new();
    for (role, topic) in ours {
        let result = match &unreachable {
            Some(why) => Err(why.clone()),
            None => match reach(&asking, topic) {
                Ok(result) => result,
                Err(why) => Err(unreachable.insert(why).clone()),
            },
        };
        let result = result.map(|count| {
            counts.insert(topic, count);
        });
        found.topics.push((format!("{role} topic {topic}"), result));
    }
    let output = &config.output;
    if let Some(outputs) = counts.get(output.topic.as_str()) {
        let inputs = config.input.topics.iter().filter_map(|topic| counts.get_key_value(topic.name.as_str()));
        for (name, inputs) in inputs {
            if let Err(error) = topics::chooser(output.partition, name, *inputs, &output.topic, *outputs) {
                found.topics.push((format!("partitions of {}", output.topic), Err(error.to_string())));
            }
        }
    }
    if unreachable.is_none() {
        let mut matched = Vec::new();
        if access::has_patterns(config) {
            match asking.client().fetch_metadata(None, BOUND) {
                Ok(all) => {
                    matched = access::matched(config, &all);
                    found.topics.extend(patterns(config, &all));
                }
                Err(error) => found.topics.push(("input topics".to_owned(), Err(error.to_string()))),
            }
        }
        found.principal = Principal::of(config, identity.principal());
        found.access = ask::findings(&asking, access::needs(config, &matched), BOUND);
        if access::uses_transactions(config.pipeline.delivery) {
            found.access.push(demand::transactions(config, &identity, BOUND));
        }
    }
    found
}

/// How many topics each pattern matches. None is no fault: topics may come later.
fn patterns(config: &Config, all: &Metadata) -> Vec<(String, Result<(), String>)> {
    let row = |pattern: &InputTopic| {
        let count = all.topics().iter().filter(|topic| pattern.matches(topic.name())).count();
        (format!("input topics {} ({count} match)", pattern.name), Ok(()))
    };
    config.input.topics.iter().filter(|topic| topic.pattern.is_some()).map(row).collect()
}

/// What a broker says of `topic`, how many partitions it has; an error is that none says anything.
fn reach(asking: &ThreadedProducer<Unheard>, topic: &str) -> Result<Result<i32, String>, String> {
    let until = Instant::now() + BOUND;
    loop {
        let error = match asking.client().fetch_metadata(Some(topic), ASK) {
            Ok(metadata) => {
                let found = metadata.topics().iter().find(|found| found.name() == topic);
                return Ok(match found.map(|found| (found.error(), found.partitions().len())) {
                    Some((None, count)) if count > 0 => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
                    Some((Some(error), _)) => Err(match RDKafkaErrorCode::from(error) {
                        RDKafkaErrorCode::TopicAuthorizationFailed => {
                            "access denied, or it does not exist. Create it, or grant us access as told below"
                                .to_owned()
                        }
                        error => format!("{error}. Create it, or correct its name"),
                    }),
                    _ => Err("no such topic. Create it".to_owned()),
                });
            }
            Err(error) => error,
        };
        let context = asking.client().context();
        if let Some(refusal) = context.refusal() {
            return Err(certificate::explain(refusal, context.kafka()).to_string());
        }
        if context.is_refused_a_token() || Instant::now() >= until {
            return Err(format!(
                "{}. Check kafka.brokers, kafka.security and that the broker's port is open to us",
                context.why(&error).trim_end_matches('.')
            ));
        }
    }
}

impl Found {
    /// Whether all is there and allowed.
    pub fn is_fine(&self) -> bool {
        self.topics.iter().all(|(_, result)| result.is_ok())
            && self.access.iter().all(|finding| finding.missing().is_empty())
    }

    /// Prints what ACLs allow.
    ///
    /// # Errors
    /// Nobody reads it.
    pub fn print_access(&self, people: bool) -> anyhow::Result<()> {
        if !people {
            for finding in &self.access {
                line(&self.json(finding).to_string())?;
            }
            return Ok(());
        }
        if self.access.is_empty() {
            return Ok(());
        }
        line("\nAccess")?;
        let rows: Vec<Vec<String>> = self.access.iter().map(row).collect();
        line(&table(&["to", "needed", "verdict"], &rows))?;
        for finding in &self.access {
            if let Some(lost) = finding.lost() {
                line(&format!(
                    "\nWithout {} on {}: {}.",
                    lost.operation.label(),
                    finding.need.name,
                    lost.lost
                ))?;
            }
        }
        let cures: Vec<_> = self.access.iter().filter_map(|finding| finding.cure(&self.principal)).collect();
        if !cures.is_empty() {
            line("\nTo grant it, as somebody who may")?;
            cures.iter().try_for_each(|cure| line(&format!("  {cure}")))?;
        }
        Ok(())
    }

    fn json(&self, finding: &Finding) -> serde_json::Value {
        let Need { role, resource, name, operations, .. } = &finding.need;
        let labels = |operations: &[Operation]| operations.iter().map(|o| o.label()).collect::<Vec<_>>();
        json!({
            "access": resource.label(),
            "role": role,
            "name": name,
            "needed": labels(operations),
            "missing": labels(&finding.missing()),
            "lost": finding.lost().map(|wanted| json!({ "without": wanted.operation.label(), "what": wanted.lost })),
            "unknown": match &finding.answer {
                Answer::Silent(why) => Some(why),
                Answer::Allowed(_) | Answer::Closed => None,
            },
            "cure": finding.cure(&self.principal),
        })
    }
}

fn row(finding: &Finding) -> Vec<String> {
    let Need { role, resource, name, operations, .. } = &finding.need;
    let labels = |operations: &[Operation]| {
        operations.iter().map(|operation| operation.label()).collect::<Vec<_>>().join(", ")
    };
    let missing = finding.missing();
    let verdict = match &finding.answer {
        Answer::Silent(why) => console::style(format!("not known: {why}")).yellow(),
        _ if !missing.is_empty() => console::style(format!("missing: {}", labels(&missing))).red(),
        _ if finding.lost().is_some() => console::style("ok, with a loss: see below".to_owned()).yellow(),
        _ => console::style("ok".to_owned()).green(),
    };
    vec![format!("{role} {} {name}", resource.label()), labels(operations), verdict.to_string()]
}
