//! The question at a start whether all is allowed that will be needed, and the one about transactions, which only a
//! try can answer.
//!
//! Contract: what is missing ends a start within `PATIENCE`, with the commands that grant it: better than at the
//! first dead letter in a year. A broker that does not tell keeps nobody from starting.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer, ThreadedProducer};

use super::{Answer, Denied, Finding, Principal, ask, has_patterns, matched, needs, transactional};
use crate::admin::health::LaneHealth;
use crate::config::Config;
use crate::source::identity::{Identity, Supplied};
use crate::source::startup::Unheard;
use crate::source::{LaneError, client};
use crate::supervisor::Stop;

/// Bound of one question.
const ASK: Duration = Duration::from_secs(5);
/// How long something may be missing: ACLs that are just made take a moment to reach every broker.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions.
const AGAIN: Duration = Duration::from_millis(250);

/// Asks with `asking`, in a thread of its own, so that a start does not wait for it, whether all is allowed that
/// `config` needs. What is missing ends the lane of `health`.
pub fn ask(
    asking: Supplied<ThreadedProducer<Unheard>>,
    config: Arc<Config>,
    identity: Identity,
    health: Arc<LaneHealth>,
    stop: Stop,
) -> io::Result<()> {
    let name = "access".to_owned();
    let run = move || {
        if let Err(denied) = demand(&asking, &config, &identity, &stop) {
            health.fail(LaneError::Denied(denied));
        }
    };
    thread::Builder::new().name(name).spawn(run).map(drop)
}

fn demand(
    client: &Supplied<ThreadedProducer<Unheard>>,
    config: &Config,
    identity: &Identity,
    stop: &Stop,
) -> Result<(), Denied> {
    let principal = Principal::of(config, identity.principal());
    let until = Instant::now() + PATIENCE;
    let all = || client.client().fetch_metadata(None, ASK).ok();
    let matched = if has_patterns(config) { all().map(|all| matched(config, &all)) } else { None };
    let matched = matched.unwrap_or_default();
    loop {
        let findings = ask::findings(client, needs(config, &matched), ASK);
        let Some(denied) = Denied::of(&findings, &principal) else {
            for Finding { need, answer } in &findings {
                if let Answer::Silent(why) = answer {
                    tracing::debug!(resource = need.name, why, "what Kafka's ACLs allow is not known");
                }
            }
            return Ok(());
        };
        if Instant::now() >= until {
            return Err(denied);
        }
        if stop.wait(AGAIN) {
            return Ok(());
        }
    }
}

/// Whether transactions are allowed whose ids begin with the name of the group. There is no question for that: an id of
/// the same beginning is tried that no lane uses.
///
/// Blocks for `bound` at most.
pub fn transactions(config: &Config, identity: &Identity, bound: Duration) -> Finding {
    let group = &config.input.group;
    let need = transactional(group);
    let mut properties = client::common(&config.kafka);
    properties.set("transactional.id", format!("{group}-check"));
    let context = Unheard::new(&config.kafka, identity);
    let producer: Result<ThreadedProducer<Unheard>, _> =
        ThreadedProducer::from_config_and_context(&properties, context);
    let answer = match producer {
        Err(error) => Answer::Silent(error.to_string()),
        Ok(producer) => match Supplied::new(producer, identity).init_transactions(bound) {
            Ok(()) => Answer::Allowed(need.operations.to_vec()),
            Err(error) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => Answer::Closed,
                _ => Answer::Silent(error.to_string()),
            },
        },
    };
    Finding { need, answer }
}
