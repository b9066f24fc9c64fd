//! librdkafka's clients: our configuration as its properties, its log lines as ours.
//!
//! Contract: properties that carry our guarantees are set here and nowhere else; the user's properties come
//! first, so that they cannot undo them (the configuration refuses them with a message anyway). Every buffer has
//! a size, as together they are the process's memory ceiling.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use secrecy::ExposeSecret;

use crate::config::{Config, Delivery, Input, Kafka, OffsetReset, Property, Sasl, Security, Tls};
use crate::source::quiet::Quiet;
use crate::source::refusal::{self, Refusals};
use crate::source::slots;

/// Bytes that the consumers of all lanes together may prefetch, in KiB, and the least that one may.
const PREFETCH_KIB: (usize, usize) = (32 * 1024, 4 * 1024);

/// Records that the consumer of a lane prefetches at least, if they are small.
const PREFETCH: usize = 10_000;

/// Bytes of one fetch. From every broker one comes on top of the prefetch, unpacked.
const FETCH_BYTES: usize = 1 << 20;

/// What a dead process left open blocks `read_committed` readers for this long, and until the broker's next look, which
/// it has every 10 s by default: 15 s together at most.
const TRANSACTION_TIMEOUT_MS: u64 = 5_000;

/// Properties of the consumer of lane `lane` of `lanes`.
pub fn consumer(config: &Config, lane: usize, lanes: usize) -> ClientConfig {
    let kafka = &config.kafka;
    let Input { group, .. } = &config.input;
    let mut c = common(kafka);
    apply(&mut c, &kafka.consumer);
    if let Some(id) = c.get("group.instance.id").map(str::to_owned)
        && lanes > 1
    {
        // Every lane is a member of its own.
        c.set("group.instance.id", format!("{id}-{lane}"));
    }
    let share = |(all, least): (usize, usize)| (all / lanes.max(1)).max(least).to_string();
    let patterns = config.input.topics.iter().any(|topic| topic.pattern.is_some());
    let broker_protocol = c.get("group.protocol").is_some_and(|p| p.eq_ignore_ascii_case("consumer"));
    defaults(
        &mut c,
        &[
            ("queued.max.messages.kbytes", share(PREFETCH_KIB).as_str()),
            ("queued.min.messages", &PREFETCH.to_string()),
            ("fetch.max.bytes", &FETCH_BYTES.to_string()),
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.wait.max.ms", "100"),
            // What a pattern matches is learnt from these; partitions that were added are, too.
            ("topic.metadata.refresh.interval.ms", if patterns { "15000" } else { "60000" }),
            ("max.poll.interval.ms", "300000"),
        ],
    );
    if !broker_protocol {
        // `range` goes topic by topic, always from the first member on: many topics of few partitions would all be the
        // first one's. A group uses what all its members know: the second word lets them change one after another.
        let assignor = if patterns || config.input.topics.len() > 1 { "roundrobin,range" } else { "range" };
        defaults(&mut c, &[("partition.assignment.strategy", assignor), ("session.timeout.ms", "45000")]);
    }
    if patterns {
        // Beside the configuration, which refuses patterns that match them.
        let ours = [&config.output.topic, &config.dead_letters.topic, &config.dead_letters.markers]
            .into_iter()
            .chain(&config.output.updates)
            .map(|topic| format!("^{}$", topic.replace('.', "[.]")));
        let ignored = c.get("topic.blacklist").into_iter().map(str::to_owned).chain(ours).collect::<Vec<_>>();
        c.set("topic.blacklist", ignored.join(","));
    }
    let largest = (config.pipeline.max_alert_bytes * 2).max(100_000_000) + (1 << 20);
    defaults(
        &mut c,
        &[("fetch.message.max.bytes", "1048576"), ("receive.message.max.bytes", &largest.to_string())],
    );
    c.set("group.id", group)
        // In exactly once, transactions commit.
        .set("enable.auto.commit", (config.pipeline.delivery == Delivery::AtLeastOnce).to_string())
        .set("auto.commit.interval.ms", "1000")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("isolation.level", "read_committed")
        // Lag and the health of connections are read from these.
        .set("statistics.interval.ms", "5000")
        // Where a new group starts is decided when partitions are assigned; here it is only what happens when a
        // committed offset is gone, and that is loud unless the user says otherwise.
        .set(
            "auto.offset.reset",
            match config.input.out_of_range {
                None => "error",
                Some(OffsetReset::Earliest) => "earliest",
                Some(OffsetReset::Latest) => "latest",
            },
        );
    c
}

/// The transactional id of lane `lane`; `None` without transactions.
pub fn transactional_id(config: &Config, lane: usize) -> Option<String> {
    let instance = config.kafka.instance.as_ref()?;
    let wanted = config.pipeline.delivery == Delivery::ExactlyOnce;
    wanted.then(|| format!("{}-{instance}-{lane}", config.input.group))
}

/// When the coordinator ends a transaction that nobody ends, as a property of a producer's says.
pub fn transaction_timeout(producer: &ClientConfig) -> Duration {
    let set = producer.get("transaction.timeout.ms").and_then(|millis| millis.parse().ok());
    Duration::from_millis(set.unwrap_or(TRANSACTION_TIMEOUT_MS))
}

/// Makes a producer's properties those of a transactional one.
pub fn transactional(c: &mut ClientConfig, id: &str) {
    defaults(c, &[("transaction.timeout.ms", &TRANSACTION_TIMEOUT_MS.to_string())]);
    c.set("transactional.id", id);
}

/// Properties of the producer of one of `lanes`, to topics that take batches of `largest_batch` bytes.
pub fn producer(config: &Config, lanes: usize, largest_batch: Option<usize>) -> ClientConfig {
    let mut c = common(&config.kafka);
    apply(&mut c, &config.kafka.producer);
    let in_flight = config.pipeline.in_flight.div_ceil(lanes);
    let kbytes = producer_kib(config, lanes);
    let largest = largest(config);
    // A topic refuses a batch whole, and with one alert that is too large every other in it.
    let batch = config.output.max_bytes.clamp(16 * 1024, 1_000_000).min(largest_batch.unwrap_or(usize::MAX));
    defaults(
        &mut c,
        &[
            // Under load batches fill while the one before is under way. Without load nothing fills them, and more would
            // only keep each alert waiting.
            ("linger.ms", "1"),
            ("batch.num.messages", "10000"),
            ("batch.size", &batch.to_string()),
            ("partitioner", "murmur2_random"),
            ("queue.buffering.max.messages", &(in_flight * 2).max(1000).to_string()),
            ("queue.buffering.max.kbytes", &kbytes.to_string()),
            ("message.max.bytes", &largest.to_string()),
        ],
    );
    c.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0");
    c
}

/// How long an update may take until its topic has it.
const UPDATE_TIMEOUT_MS: u64 = 30_000;

/// Updates that may wait for the broker.
pub const UPDATES: usize = 10_000;

/// Their KiB.
pub const UPDATES_KIB: usize = 8 * 1024;

/// Properties of the producer of updates. It is no lane's: what becomes of an update must be nothing to alerts. So it
/// gives up, has a small queue of its own, and is in no transaction.
pub fn updates(config: &Config) -> ClientConfig {
    let mut c = common(&config.kafka);
    apply(&mut c, &config.kafka.producer);
    defaults(
        &mut c,
        &[
            ("linger.ms", "5"),
            ("partitioner", "murmur2_random"),
            ("message.max.bytes", &largest(config).to_string()),
        ],
    );
    c.set("enable.idempotence", "true")
        .set("acks", "all")
        .set("queue.buffering.max.messages", UPDATES.to_string())
        .set("queue.buffering.max.kbytes", UPDATES_KIB.to_string())
        .set("message.timeout.ms", UPDATE_TIMEOUT_MS.to_string());
    c
}

/// Whether a producer of these properties compresses what it sends.
pub fn compresses(producer: &ClientConfig) -> bool {
    ["compression.type", "compression.codec"]
        .iter()
        .any(|name| producer.get(name).is_some_and(|codec| codec != "none"))
}

/// Bytes of the largest record that we may have to send: a dead letter carries an alert that was too large.
fn largest(config: &Config) -> usize {
    (config.pipeline.max_alert_bytes * 2).max(config.output.max_bytes).max(16 << 20) + 64 * 1024
}

/// KiB that the producer of one lane may queue: what its lane may hold, and the largest record.
fn producer_kib(config: &Config, lanes: usize) -> usize {
    (slots::most(config.pipeline.in_flight_bytes / lanes.max(1)) + largest(config)) / 1024 + 1024
}

/// Properties of the client that watches: of the group, and never in it.
pub fn watch(config: &Config) -> ClientConfig {
    let mut c = common(&config.kafka);
    c.set("group.id", &config.input.group).set("enable.auto.commit", "false");
    c
}

/// Properties of a client that only asks questions: `check --connect`.
pub fn common(kafka: &Kafka) -> ClientConfig {
    let mut c = ClientConfig::new();
    c.set("bootstrap.servers", kafka.brokers.join(","))
        .set("client.id", "riskstream")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        // Asking about a topic must not make it: a wrong name would become an empty topic that is read for ever.
        .set("allow.auto.create.topics", "false");
    match &kafka.security {
        Security::Plaintext => c.set("security.protocol", "plaintext"),
        Security::Tls(tls) => tls_properties(c.set("security.protocol", "ssl"), tls),
        Security::SaslTls(tls, sasl) => {
            sasl_properties(tls_properties(c.set("security.protocol", "sasl_ssl"), tls), sasl)
        }
        Security::SaslPlaintext(sasl) => sasl_properties(c.set("security.protocol", "sasl_plaintext"), sasl),
    };
    apply(&mut c, &kafka.properties);
    c.set_log_level(RDKafkaLogLevel::Info);
    c
}

fn tls_properties<'c>(c: &'c mut ClientConfig, tls: &Tls) -> &'c mut ClientConfig {
    for (key, path) in [
        ("ssl.ca.location", &tls.ca),
        ("ssl.certificate.location", &tls.certificate),
        ("ssl.key.location", &tls.key),
    ] {
        if let Some(path) = path {
            c.set(key, path.display().to_string());
        }
    }
    if let Some(password) = &tls.key_password {
        c.set("ssl.key.password", password.current().expose_secret());
    }
    c.set("ssl.endpoint.identification.algorithm", if tls.verify_hostname { "https" } else { "none" })
}

fn sasl_properties<'c>(c: &'c mut ClientConfig, sasl: &Sasl) -> &'c mut ClientConfig {
    match sasl {
        Sasl::Password(sasl) => c
            .set("sasl.mechanism", &sasl.mechanism)
            .set("sasl.username", &sasl.username)
            .set("sasl.password", sasl.password.current().expose_secret()),
        // The token itself is handed over by `source::identity`.
        Sasl::Oidc(_) | Sasl::MskIam(_) => c.set("sasl.mechanism", "OAUTHBEARER"),
    }
}

fn apply(c: &mut ClientConfig, properties: &std::collections::BTreeMap<String, Property>) {
    for (key, value) in properties {
        match value {
            Property::Text(text) => c.set(key, text),
            Property::Secret(secret) => c.set(key, secret.current().expose_secret()),
        };
    }
}

/// Sets what the user has not.
fn defaults(c: &mut ClientConfig, values: &[(&str, &str)]) {
    for (key, value) in values {
        if c.get(key).is_none() {
            c.set(*key, *value);
        }
    }
}

/// What one client says while it works: librdkafka's log lines, and errors that it goes on from, since it reconnects
/// by itself. In an outage both repeat with every attempt.
#[derive(Default)]
pub struct Voice {
    quiet: Mutex<Quiet>,
    refusals: Refusals,
}

impl Voice {
    /// Logs an error, unless it was told a moment ago.
    pub fn error(&self, client: &str, error: &KafkaError, reason: &str) {
        self.refusals.note(error, reason, Instant::now());
        if let Some(untold) = self.untold(&error.to_string()) {
            let cure = refusal::judge(error, reason).map(|refusal| refusal.cure);
            tracing::warn!(target: "riskstream::kafka", client, %error, untold, cure, "{reason}");
        }
    }

    /// What the client has heard last, with the cure where there is one; `reason` is librdkafka's word.
    pub fn why(&self, reason: &str) -> String {
        self.refusals.why(Instant::now()).unwrap_or_else(|| reason.to_owned())
    }

    /// Logs a line of librdkafka; of those about trouble, one of a facility is enough for a while.
    pub fn line(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "riskstream::kafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "riskstream::kafka", facility, "{message}"),
            _ => {
                if let Some(untold) = self.untold(facility) {
                    tracing::warn!(target: "riskstream::kafka", facility, untold, "{message}");
                }
            }
        }
    }

    fn untold(&self, what: &str) -> Option<u64> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner).tell(what, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use std::path::Path;

    use super::*;

    #[test]
    fn many_topics_are_shared_out_evenly_and_a_group_can_change_one_member_after_another() {
        let of = |yaml: &str| {
            let config = Config::parse("test", yaml, Path::new(""), [])
                .unwrap_or_else(|problems| panic!("{problems}"));
            consumer(&config, 0, 1)
        };
        let assignor = |yaml: &str| of(yaml).get("partition.assignment.strategy").map(str::to_owned);
        assert_eq!(assignor("").as_deref(), Some("range"));
        for many in ["input: {topics: [a, b]}", "input: {topics: ['^a']}"] {
            assert_eq!(assignor(many).as_deref(), Some("roundrobin,range"));
        }
        let chosen = "{input: {topics: [a, b]}, kafka: {consumer: {partition.assignment.strategy: range}}}";
        assert_eq!(assignor(chosen).as_deref(), Some("range"));
        assert_eq!(
            assignor("kafka: {consumer: {group.protocol: consumer}}"),
            None,
            "the broker decides then"
        );
        let ignored = of("{input: {topics: ['^a']}, kafka: {consumer: {topic.blacklist: ^b}}}");
        let expected = "^b,^security[.]alerts[.]enriched$,^security[.]alerts[.]dead-letters$,\
                        ^security[.]alerts[.]dead-letters[.]redriven$";
        assert_eq!(ignored.get("topic.blacklist"), Some(expected));
    }
}
