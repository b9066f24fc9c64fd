//! `kafka`: the cluster, how to reach it, and which librdkafka properties are not for the user to set.
//!
//! Contract: no property that carries one of our guarantees, or that a key of ours sets, comes through.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::raw::{Place, Value};
use crate::config::{Kafka, Property, Sasl, Section, Security, Tls, sasl};

const OFFSETS: &str = "remove it: an offset is committed once its output is acknowledged, never on a timer";
const PRODUCER: &str =
    "remove it: outputs are acknowledged by all replicas, in order, however long that takes";
const MEMORY: &str = "remove it: pipeline.in_flight and pipeline.in_flight_bytes bound the memory";
const GROUP: &str = "use input.group";
const BROKERS: &str = "use kafka.brokers";
const TOKENS: &str = "use kafka.sasl with mechanism: OAUTHBEARER";
const MECHANISM: &str = "use kafka.sasl.mechanism";

/// Properties that are refused, and what to do instead.
const OURS: [(&str, &str); 44] = [
    ("bootstrap.servers", BROKERS),
    ("metadata.broker.list", BROKERS),
    ("security.protocol", "use kafka.security"),
    ("sasl.mechanism", MECHANISM),
    ("sasl.mechanisms", MECHANISM),
    ("sasl.username", "use kafka.sasl.username"),
    ("sasl.password", "use kafka.sasl.password"),
    ("ssl.ca.location", "use kafka.tls.ca"),
    ("ssl.certificate.location", "use kafka.tls.certificate"),
    ("ssl.key.location", "use kafka.tls.key"),
    ("ssl.key.password", "use kafka.tls.key_password"),
    ("ssl.endpoint.identification.algorithm", "use kafka.tls.verify_hostname"),
    ("enable.ssl.certificate.verification", "remove it; name the authority to trust in kafka.tls.ca"),
    ("group.id", GROUP),
    ("auto.offset.reset", "use input.offset_reset"),
    ("enable.auto.commit", OFFSETS),
    ("auto.commit.enable", OFFSETS),
    ("auto.commit.interval.ms", OFFSETS),
    ("enable.auto.offset.store", OFFSETS),
    ("auto.offset.store.enable", OFFSETS),
    ("offset.store.method", OFFSETS),
    ("isolation.level", "remove it: what a producer took back is never read"),
    ("enable.partition.eof", "remove it: the end of a partition is no event here"),
    ("enable.idempotence", PRODUCER),
    ("acks", PRODUCER),
    ("request.required.acks", PRODUCER),
    ("retries", PRODUCER),
    ("message.send.max.retries", PRODUCER),
    ("max.in.flight", PRODUCER),
    ("max.in.flight.requests.per.connection", PRODUCER),
    ("message.timeout.ms", PRODUCER),
    ("delivery.timeout.ms", PRODUCER),
    ("delivery.report.only.error", PRODUCER),
    ("enable.gapless.guarantee", PRODUCER),
    ("transactional.id", "remove it: pipeline.delivery decides whether there are transactions"),
    ("partitioner", "use output.partition"),
    ("queued.min.messages", MEMORY),
    ("queued.max.messages.kbytes", MEMORY),
    ("queue.buffering.max.messages", MEMORY),
    ("queue.buffering.max.kbytes", MEMORY),
    ("queue.buffering.backpressure.threshold", MEMORY),
    ("consume.callback.max.messages", MEMORY),
    ("statistics.interval.ms", "remove it: lag is read from them every 5 seconds"),
    ("allow.auto.create.topics", "remove it: a topic with a wrong name must not be made"),
];

/// librdkafka's default for `max.poll.interval.ms`.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);

/// Reads `kafka`.
pub(super) fn read(mut section: Section<'_>) -> Kafka {
    let brokers = brokers(&mut section);
    let security = security(&mut section, &brokers);
    let instance = section.text("instance");
    let [properties, consumer, producer] = ["properties", "consumer", "producer"]
        .map(|key| section.section(key).map(|section| properties(&section)).unwrap_or_default());
    section.finish();
    let instance = instance.or_else(|| match consumer.get("group.instance.id") {
        Some(Property::Text(id)) => Some(id.clone()),
        Some(Property::Secret(_)) | None => None,
    });
    Kafka { brokers, security, instance, properties, consumer, producer }
}

fn brokers(section: &mut Section<'_>) -> Vec<String> {
    let Some(texts) = section.texts_with_places("brokers") else { return vec!["localhost:9092".to_owned()] };
    if texts.is_empty() {
        section.problem("brokers", "no broker", "write brokers: [host:9092]");
    }
    let mut brokers = Vec::new();
    for text in texts {
        // In librdkafka's own form one string holds them all.
        for broker in text.text.split(',').map(str::trim) {
            match host(broker) {
                Some(_) => brokers.push(broker.to_owned()),
                None => section.problem_at(&text, "not a broker", "write HOST:PORT, without a scheme"),
            }
        }
    }
    brokers
}

/// The host of `host`, `host:port` or `[address]:port`.
fn host(broker: &str) -> Option<&str> {
    let (host, port) = match broker.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => broker.split_at(broker.find(':').unwrap_or(broker.len())),
    };
    let port_fits = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => port.is_empty(),
    };
    let bracketed = broker.starts_with('[');
    let host_fits = if bracketed {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
    };
    (port_fits && host_fits).then_some(host)
}

fn is_loopback(broker: &str) -> bool {
    host(broker).is_some_and(|host| {
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// `security` as it is written.
#[derive(Clone, Copy)]
enum Form {
    Plaintext,
    Tls,
    SaslTls,
    SaslPlaintext,
}

fn security(section: &mut Section<'_>, brokers: &[String]) -> Security {
    let words = [
        ("plaintext", Form::Plaintext),
        ("tls", Form::Tls),
        ("sasl_tls", Form::SaslTls),
        ("sasl_plaintext", Form::SaslPlaintext),
    ];
    let written = section.has("security");
    let form = section.choice("security", &words);
    if !written && !brokers.iter().all(|broker| is_loopback(broker)) {
        section.problem(
            "security",
            "missing, and a broker is not on this machine",
            "write security: sasl_tls (or tls, sasl_plaintext, plaintext)",
        );
    }
    let (tls, sasl) = (section.section("tls").map(tls), section.section("sasl").map(sasl::read));
    // A form that is wrong has been reported; complaints about what belongs to it would only be noise.
    let Some(form) = form.or((!written).then_some(Form::Plaintext)) else { return Security::Plaintext };
    let (uses_tls, uses_sasl) = match form {
        Form::Plaintext => (false, false),
        Form::Tls => (true, false),
        Form::SaslTls => (true, true),
        Form::SaslPlaintext => (false, true),
    };
    for (key, given, used, cure) in [
        ("tls", tls.is_some(), uses_tls, "write security: tls or sasl_tls, or remove it"),
        ("sasl", sasl.is_some(), uses_sasl, "write security: sasl_tls or sasl_plaintext, or remove it"),
    ] {
        if given && !used {
            section.problem(key, "not used by this kafka.security", cure);
        }
    }
    if uses_sasl && !section.has("sasl") {
        let cure = "write sasl: {mechanism: SCRAM-SHA-512, username: NAME, password: {env: NAME}}";
        section.problem("sasl", "missing", cure);
    }
    let sasl = sasl.flatten();
    if matches!((form, &sasl), (Form::SaslPlaintext, Some(Sasl::MskIam(_)))) {
        section.problem("security", "AWS takes its tokens over TLS only", "write security: sasl_tls");
    }
    match (form, sasl) {
        (Form::Tls, _) => Security::Tls(tls.unwrap_or_default()),
        (Form::SaslTls, Some(sasl)) => Security::SaslTls(tls.unwrap_or_default(), sasl),
        (Form::SaslPlaintext, Some(sasl)) => Security::SaslPlaintext(sasl),
        // Without SASL where it is needed a problem is recorded, and this value is never used.
        (Form::Plaintext | Form::SaslTls | Form::SaslPlaintext, _) => Security::Plaintext,
    }
}

fn tls(mut section: Section<'_>) -> Tls {
    let tls = Tls {
        ca: section.file("ca"),
        certificate: section.file("certificate"),
        key: section.file("key"),
        key_password: section.secret("key_password"),
        verify_hostname: section.flag("verify_hostname").unwrap_or(true),
    };
    for (key, other) in [("certificate", "key"), ("key", "certificate")] {
        if section.has(key) && !section.has(other) {
            section.problem(key, format!("needs {other} too"), format!("write {other}: PATH of a PEM file"));
        }
    }
    section.finish();
    tls
}

fn properties(section: &Section<'_>) -> BTreeMap<String, Property> {
    let mut properties = BTreeMap::new();
    for entry in section.entries() {
        // Shells take no dots in a variable's name, and librdkafka's names have no underscores.
        let from_variable = matches!(entry.place, Place::Variable(_));
        let name = if from_variable { entry.key.replace('_', ".") } else { entry.key.clone() };
        let cure = OURS.iter().find(|(ours, _)| *ours == name).map(|(_, cure)| *cure);
        // Tokens are fetched by us: librdkafka's own way is not built in.
        let cure = cure.or_else(|| name.contains("sasl.oauthbearer.").then_some(TOKENS));
        if let Some(cure) = cure {
            section.problem_of_key(entry, "not a property that can be set here", cure);
            continue;
        }
        let property = match entry.value.value {
            Value::Null => continue,
            Value::Map(_) => section.entry_secret(entry).map(Property::Secret),
            _ if is_secret(&name) => section.entry_secret(entry).map(Property::Secret),
            _ => section.entry_text(entry).map(Property::Text),
        };
        properties.extend(property.map(|property| (name, property)));
    }
    properties
}

/// Whether a property's value is nobody's business.
fn is_secret(name: &str) -> bool {
    name.contains("password") || name.contains("secret") || name == "ssl.key.pem"
}

/// How long a consumer may be silent before it loses its partitions.
pub(super) fn max_poll_interval(kafka: &Kafka) -> Duration {
    let name = "max.poll.interval.ms";
    match kafka.consumer.get(name).or_else(|| kafka.properties.get(name)) {
        Some(Property::Text(text)) => text.parse().map_or(MAX_POLL_INTERVAL, Duration::from_millis),
        Some(Property::Secret(_)) | None => MAX_POLL_INTERVAL,
    }
}
