//! What Kafka's ACLs must allow us, what they do, and how to grant the rest.
//!
//! | file | owns |
//! |---|---|
//! | this one | the needs of each mode, the comparison, the `kafka-acls` lines (pure) |
//! | [`ask`] | what the broker says that we may do |
//! | [`demand`] | the question at a start, and the one that only a try can answer |
//!
//! Contract: the list is the one of docs/operating.md, and a test on a real broker takes each entry away in turn. A
//! broker that does not tell keeps nobody from working.

pub mod ask;
pub mod demand;

use std::fmt;

use rdkafka::metadata::Metadata;

use crate::config::{Config, Delivery, Sasl, Security};

/// Something that may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fetching, and being a member of a group.
    Read,
    /// Producing.
    Write,
    /// Seeing that it is there.
    Describe,
    /// Seeing its settings.
    DescribeConfigs,
}

impl Operation {
    /// As `kafka-acls` calls it.
    pub const fn label(self) -> &'static str {
        match self {
            Operation::Read => "Read",
            Operation::Write => "Write",
            Operation::Describe => "Describe",
            Operation::DescribeConfigs => "DescribeConfigs",
        }
    }
}

/// What ACLs are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// Every transactional id that begins so.
    TransactionalId,
}

impl Resource {
    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Resource::Topic => "topic",
            Resource::Group => "group",
            Resource::TransactionalId => "transactional id",
        }
    }

    /// The argument of `kafka-acls`.
    const fn argument(self) -> &'static str {
        match self {
            Resource::Topic => "--topic",
            Resource::Group => "--group",
            Resource::TransactionalId => "--resource-pattern-type prefixed --transactional-id",
        }
    }
}

/// What we need of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What it is to us: `input`, `output`, ...
    pub role: &'static str,
    /// What it is to Kafka.
    pub resource: Resource,
    /// Its name.
    pub name: String,
    /// Without these nothing works.
    pub operations: &'static [Operation],
    /// Without this one, something is lost.
    pub wanted: Option<Wanted>,
}

/// An operation that it goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The operation.
    pub operation: Operation,
    /// What is lost without it.
    pub lost: &'static str,
}

/// Largest batches are asked for at a start.
const SETTINGS: Wanted = Wanted {
    operation: Operation::DescribeConfigs,
    lost: "the topic's max.message.bytes is not known: an output that is too large is found only when it is refused, and \
           with it the others of its batch are sent again",
};

/// Everything that the service needs as `config` is, when `matched` are the topics that its patterns match.
pub fn needs(config: &Config, matched: &[String]) -> Vec<Need> {
    use Operation::{Describe, Read, Write};
    let topic = |role, name: &str, operations, wanted| Need {
        role,
        resource: Resource::Topic,
        name: name.to_owned(),
        operations,
        wanted,
    };
    let plain = config.input.topics.iter().filter(|topic| topic.pattern.is_none()).map(|topic| &topic.name);
    let inputs = plain.chain(matched).map(|name| topic("input", name, &[Read, Describe], None));
    let mut needs: Vec<Need> = inputs.collect();
    needs.push(topic("output", &config.output.topic, &[Write, Describe], Some(SETTINGS)));
    needs.push(topic("dead-letter", &config.dead_letters.topic, &[Write, Describe], Some(SETTINGS)));
    let updates = config.output.updates.iter();
    needs.extend(updates.map(|name| topic("update", name, &[Write, Describe], None)));
    needs.push(Need {
        role: "consumer",
        resource: Resource::Group,
        name: config.input.group.clone(),
        operations: &[Read],
        wanted: None,
    });
    needs
}

/// Topics whose rights are asked about, of those that patterns match: there may be thousands.
const MOST: usize = 200;

/// The topics of `metadata` that patterns of `config` match. One that may not even be seen is not among them.
pub fn matched(config: &Config, metadata: &Metadata) -> Vec<String> {
    let plain =
        |name: &str| config.input.topics.iter().any(|topic| topic.pattern.is_none() && topic.name == name);
    let meant = |name: &str| {
        let mut patterns = config.input.topics.iter().filter(|topic| topic.pattern.is_some());
        patterns.any(|topic| topic.matches(name)) && !plain(name)
    };
    let names = metadata.topics().iter().map(|topic| topic.name());
    names.filter(|name| meant(name)).take(MOST).map(str::to_owned).collect()
}

/// Whether `config` has patterns.
pub fn has_patterns(config: &Config) -> bool {
    config.input.topics.iter().any(|topic| topic.pattern.is_some())
}

/// Whether transactions come on top: their ids are asked about by [`demand::transactions`].
pub const fn uses_transactions(delivery: Delivery) -> bool {
    match delivery {
        Delivery::AtLeastOnce => false,
        Delivery::ExactlyOnce => true,
    }
}

/// What transactions need whose ids begin with the name of the group.
pub fn transactional(group: &str) -> Need {
    Need {
        role: "transactions",
        resource: Resource::TransactionalId,
        name: format!("{group}-"),
        operations: &[Operation::Write, Operation::Describe],
        wanted: None,
    }
}

/// What the broker says of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What is allowed, as far as it concerns us.
    Allowed(Vec<Operation>),
    /// It may not even be seen.
    Closed,
    /// The broker does not tell, and why.
    Silent(String),
}

/// A need, and how far it is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is needed.
    pub need: Need,
    /// What the broker says.
    pub answer: Answer,
}

impl Finding {
    /// What is needed and not allowed. Nothing when the broker does not tell.
    pub fn missing(&self) -> Vec<Operation> {
        let wants = self.need.operations.iter().copied();
        match &self.answer {
            Answer::Allowed(allowed) => wants.filter(|operation| !allowed.contains(operation)).collect(),
            Answer::Closed => wants.collect(),
            Answer::Silent(_) => Vec::new(),
        }
    }

    /// What is lost since something that is only wanted is not allowed.
    pub fn lost(&self) -> Option<Wanted> {
        let allowed = match &self.answer {
            Answer::Allowed(allowed) => allowed.as_slice(),
            Answer::Closed => &[],
            Answer::Silent(_) => return None,
        };
        self.need.wanted.filter(|wanted| !allowed.contains(&wanted.operation))
    }

    /// What to do about it: a command for whoever may grant it.
    pub fn cure(&self, principal: &Principal) -> Option<String> {
        let missing = self.missing();
        let lost = self.lost().map(|wanted| wanted.operation);
        if missing.is_empty() && lost.is_none() {
            return None;
        }
        let operations = missing.into_iter().chain(lost);
        let Principal::Named { name, brokers } = principal else {
            let labels: Vec<_> = operations.map(Operation::label).collect();
            let Need { resource, name, .. } = &self.need;
            return Some(format!(
                "allow what {} on {} {name} is in IAM, in the policy of our role",
                labels.join(" and "),
                resource.label()
            ));
        };
        let operations: String =
            operations.map(|operation| format!(" --operation {}", operation.label())).collect();
        Some(format!(
            "kafka-acls --bootstrap-server {brokers} --add --allow-principal {}{operations} {} {}",
            quoted(&format!("User:{name}")),
            self.need.resource.argument(),
            quoted(&self.need.name)
        ))
    }
}

/// Who we are to the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Somebody whom ACLs name.
    Named {
        /// The name.
        name: String,
        /// Where the ACLs are changed.
        brokers: String,
    },
    /// A role of AWS, whose policies stand for ACLs.
    Aws,
}

impl Principal {
    /// Who `config` says that we are; `token` is whom the token names, where there is one.
    pub fn of(config: &Config, token: Option<String>) -> Principal {
        let name = match &config.kafka.security {
            Security::SaslTls(_, Sasl::MskIam(_)) | Security::SaslPlaintext(Sasl::MskIam(_)) => {
                return Principal::Aws;
            }
            Security::SaslTls(_, Sasl::Password(sasl)) | Security::SaslPlaintext(Sasl::Password(sasl)) => {
                sasl.username.clone()
            }
            Security::SaslTls(_, Sasl::Oidc(oidc)) | Security::SaslPlaintext(Sasl::Oidc(oidc)) => {
                token.unwrap_or_else(|| oidc.client_id.clone())
            }
            Security::Tls(tls) if tls.certificate.is_some() => "SUBJECT-OF-OUR-CERTIFICATE".to_owned(),
            Security::Tls(_) | Security::Plaintext => "ANONYMOUS".to_owned(),
        };
        Principal::Named { name, brokers: config.kafka.brokers.join(",") }
    }
}

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@=,".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Everything that keeps us from working, in one sentence for each.
#[derive(Debug, thiserror::Error)]
pub struct Denied {
    /// What is missing, with the cure of each.
    pub lines: Vec<String>,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kafka's ACLs do not allow what we need: {}", self.lines.join("; "))
    }
}

impl Denied {
    /// What of `findings` keeps us from working; `None` when nothing does.
    pub fn of(findings: &[Finding], principal: &Principal) -> Option<Denied> {
        let line = |finding: &Finding| {
            let missing: Vec<_> = finding.missing().into_iter().map(Operation::label).collect();
            let Need { role, resource, name, .. } = &finding.need;
            let cure = finding.cure(principal).filter(|_| !missing.is_empty())?;
            Some(format!(
                "{} on {role} {} {name} is missing. Grant it: {cure}",
                missing.join(" and "),
                resource.label()
            ))
        };
        let lines: Vec<String> = findings.iter().filter_map(line).collect();
        (!lines.is_empty()).then_some(Denied { lines })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use Operation::{Describe, DescribeConfigs, Read, Write};

    fn finding(answer: Answer) -> Finding {
        let need = needs(&Config::default(), &[]).into_iter().find(|need| need.role == "output").unwrap();
        Finding { need, answer }
    }

    fn bob() -> Principal {
        Principal::Named { name: "bob".to_owned(), brokers: "kafka:9093".to_owned() }
    }

    #[test]
    fn at_least_once_needs_its_topics_and_its_group() {
        let needs = needs(&Config::default(), &[]);
        let table: Vec<_> =
            needs.iter().map(|need| (need.role, need.resource.label(), need.operations)).collect();
        assert_eq!(
            table,
            [
                ("input", "topic", &[Read, Describe][..]),
                ("output", "topic", &[Write, Describe]),
                ("dead-letter", "topic", &[Write, Describe]),
                ("consumer", "group", &[Read]),
            ]
        );
    }

    #[test]
    fn what_is_missing_comes_with_the_command_that_grants_it() {
        let some = finding(Answer::Allowed(vec![Describe]));
        assert_eq!(some.missing(), [Write]);
        assert_eq!(
            some.cure(&bob()).unwrap(),
            "kafka-acls --bootstrap-server kafka:9093 --add --allow-principal User:bob --operation Write --operation \
             DescribeConfigs --topic security.alerts.enriched"
        );
        let closed = finding(Answer::Closed);
        assert_eq!(closed.missing(), [Write, Describe]);
        let ids = Finding { need: transactional("o'group"), answer: Answer::Closed };
        assert!(
            ids.cure(&bob())
                .unwrap()
                .ends_with(r"--resource-pattern-type prefixed --transactional-id 'o'\''group-'")
        );
        assert!(ids.cure(&Principal::Aws).unwrap().contains("IAM"));
    }

    #[test]
    fn what_is_only_wanted_keeps_nobody_from_working() {
        let wanting = finding(Answer::Allowed(vec![Write, Describe]));
        assert!(wanting.missing().is_empty() && wanting.lost().is_some_and(|wanted| !wanted.lost.is_empty()));
        assert!(wanting.cure(&bob()).unwrap().contains("--operation DescribeConfigs --topic"));
        assert!(Denied::of(&[wanting], &bob()).is_none());
        let all = finding(Answer::Allowed(vec![Write, Describe, DescribeConfigs]));
        assert_eq!((all.lost(), all.cure(&bob())), (None, None));
    }

    #[test]
    fn a_broker_that_does_not_tell_keeps_nobody_from_working() {
        let silent = finding(Answer::Silent("it is old".to_owned()));
        assert!(silent.missing().is_empty() && silent.lost().is_none() && silent.cure(&bob()).is_none());
        assert!(
            Denied::of(&[silent, finding(Answer::Closed)], &bob())
                .is_some_and(|denied| denied.lines.len() == 1)
        );
    }
}
