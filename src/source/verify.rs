//! What librdkafka says of our properties, asked before the service depends on it.
//!
//! Contract: clients are made as a lane makes them, but without a broker's address: nothing is contacted. Everything
//! that is refused is found at once, under the key that a person would correct. No property's value is shown, as any of
//! them may be a secret.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, NoCustomPartitioner, ProducerContext};
use rdkafka::types::RDKafkaConfRes;
use secrecy::ExposeSecret;

use super::client;
use crate::config::{Config, Property};

/// How long is waited for a client's threads to end; they go on ending by themselves.
const END: Duration = Duration::from_secs(2);

/// A property that librdkafka does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where it is set: `kafka.consumer.NAME`, say; `kafka` where it follows from other keys.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub cure: &'static str,
}

/// Everything that keeps a lane from making its clients.
pub fn verify(config: &Config) -> Vec<Refused> {
    let (kafka, lanes) = (&config.kafka, config.pipeline.threads.max(1));
    let consumer = errors(client::consumer(config, 0, lanes), |properties| {
        BaseConsumer::from_config_and_context(properties, Silent)
    });
    let producer = errors(client::producer(config, lanes, None), |properties| {
        BaseProducer::<Silent>::from_config_and_context(properties, Silent)
    });
    let consumer = consumer
        .iter()
        .map(|error| (error, [("consumer", &kafka.consumer), ("properties", &kafka.properties)]));
    let producer = producer
        .iter()
        .map(|error| (error, [("producer", &kafka.producer), ("properties", &kafka.properties)]));
    let mut all: Vec<Refused> = Vec::new();
    for (error, set) in consumer.chain(producer) {
        let refused = refused(error, &set);
        // What both clients are given is refused by both.
        if !all.contains(&refused) {
            all.push(refused);
        }
    }
    all
}

/// A client's error without the value of the property that it is about, unlike its own `Display`.
pub fn without_value(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(..) => match property(error) {
            Some((name, why)) => format!("{name}: {why}"),
            None => "a property was refused".to_owned(),
        },
        other => other.to_string(),
    }
}

/// The property that is refused by itself, and why. librdkafka's own words quote the value, so they are not used.
fn property(error: &KafkaError) -> Option<(&str, String)> {
    let KafkaError::ClientConfig(result, words, name, _) = error else { return None };
    let range = words.rsplit_once("outside allowed range ").map(|(_, range)| range);
    let why = match (result, range) {
        (RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _) => "librdkafka has no such property".to_owned(),
        (_, Some(range)) => format!("librdkafka takes only values in {range}"),
        (_, None) if words.contains("not supported in this build") => {
            "not supported by the librdkafka that is built in".to_owned()
        }
        (_, None) => "librdkafka does not take this value".to_owned(),
    };
    Some((name, why))
}

/// Under which of the user's keys an error belongs, and what to say.
fn refused(error: &KafkaError, set: &[(&str, &BTreeMap<String, Property>)]) -> Refused {
    let key = |name: &str| {
        let map = set.iter().find(|(_, properties)| properties.contains_key(name));
        map.map(|(map, _)| format!("kafka.{map}.{name}"))
    };
    if let Some((name, what)) = property(error) {
        return match key(name) {
            Some(key) => Refused { key, what, cure: "librdkafka's CONFIGURATION.md lists names and values" },
            None => Refused {
                key: "kafka".to_owned(),
                what: format!("{name}: {what}"),
                cure: "it follows from input, output, pipeline, kafka.tls or kafka.sasl: correct it there",
            },
        };
    }
    let mut what = match error {
        KafkaError::ClientCreation(words) => words.clone(),
        other => without_value(other),
    };
    for property in set.iter().flat_map(|(_, properties)| properties.values()) {
        if let Property::Secret(secret) = property
            && let value = secret.current()
            && !value.expose_secret().is_empty()
        {
            what = what.replace(value.expose_secret(), "***");
        }
    }
    let names = set.iter().flat_map(|(_, properties)| properties.keys());
    // A name may be the beginning of another one.
    let named = names.filter(|name| what.contains(name.as_str())).max_by_key(|name| name.len());
    let (key, cure) = match named.and_then(|name| key(name)) {
        Some(key) => (key, "change or remove it: the other one may be a default of ours"),
        None if what.contains("ssl") => ("kafka.tls".to_owned(), "correct the file that it names"),
        None if what.contains("sasl") => {
            ("kafka.sasl".to_owned(), "correct mechanism, username and password")
        }
        None => ("kafka".to_owned(), "correct what it names"),
    };
    Refused { key, what, cure }
}

/// What is wrong with `properties`: each of those that are refused by themselves, then what is wrong with the rest.
fn errors<C: Send + 'static>(
    mut properties: ClientConfig,
    create: impl Fn(&ClientConfig) -> KafkaResult<C>,
) -> Vec<KafkaError> {
    properties.remove("bootstrap.servers");
    let mut errors = Vec::new();
    loop {
        match create(&properties) {
            Ok(client) => {
                end(client);
                return errors;
            }
            Err(error) => {
                let name = property(&error).map(|(name, _)| name.to_owned());
                errors.push(error);
                match name.filter(|name| properties.get(name).is_some()) {
                    Some(name) => properties.remove(&name),
                    None => return errors,
                };
            }
        }
    }
}

/// Ends a client, and waits for that for a while.
fn end<C: Send + 'static>(client: C) {
    let (tell, ended) = mpsc::channel();
    let ending = thread::Builder::new().name("verify".to_owned()).spawn(move || {
        drop(client);
        let _ = tell.send(());
    });
    if ending.is_ok() {
        let _ = ended.recv_timeout(END);
    }
}

/// Says nothing: that there is no broker is no news here.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ConsumerContext for Silent {}

impl ProducerContext<NoCustomPartitioner> for Silent {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;

    fn verified(kafka: &str) -> Vec<Refused> {
        let text = format!("allow_literal_secrets: true\nkafka: {{{kafka}}}\n");
        verify(
            &Config::parse("test", &text, Path::new(""), []).unwrap_or_else(|problems| panic!("{problems}")),
        )
    }

    fn keys(refused: &[Refused]) -> Vec<&str> {
        refused.iter().map(|refused| refused.key.as_str()).collect()
    }

    #[test]
    fn what_is_right_is_not_refused_and_nobody_is_contacted() {
        let broker = TcpListener::bind("127.0.0.1:0").unwrap();
        broker.set_nonblocking(true).unwrap();
        let brokers = format!("brokers: ['{}'], security: plaintext", broker.local_addr().unwrap());
        assert_eq!(verified(&brokers), []);
        assert!(broker.accept().is_err(), "a connection came");
    }

    #[test]
    fn every_refused_property_is_named_once_with_the_map_it_stands_in() {
        let refused = verified(
            "properties: {no.such.name: s3cr3t}, consumer: {check.crcs: s3cr3t}, producer: {linger.ms: 99999999}",
        );
        let mut keys = keys(&refused);
        keys.sort_unstable();
        let expected =
            ["kafka.consumer.check.crcs", "kafka.producer.linger.ms", "kafka.properties.no.such.name"];
        assert_eq!(keys, expected);
        let words = format!("{refused:?}");
        assert!(!words.contains("s3cr3t") && words.contains("0..900000"), "{words}");
    }

    #[test]
    fn properties_that_do_not_go_together_are_found_where_they_are_set() {
        for (kafka, key) in [
            ("consumer: {max.poll.interval.ms: 30000}", "kafka.consumer.max.poll.interval.ms"),
            ("properties: {message.max.bytes: 20000000}", "kafka.properties.message.max.bytes"),
            ("properties: {fetch.max.bytes: 2000000000}", "kafka.properties.fetch.max.bytes"),
        ] {
            assert_eq!(keys(&verified(kafka)), [key]);
        }
    }

    #[test]
    fn a_file_that_is_no_certificate_is_found_under_tls() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nonsense").unwrap();
        let refused = verified(&format!("security: tls, tls: {{ca: '{}'}}", file.path().display()));
        assert_eq!(keys(&refused), ["kafka.tls"], "{refused:?}");
    }

    #[test]
    fn an_error_is_told_without_the_value() {
        let mut properties = ClientConfig::new();
        for (name, value) in [("ssl.key.pem.nmae", "s3cr3t"), ("linger.ms", "s3cr3t")] {
            properties.set(name, value);
            let Err(error) = BaseConsumer::from_config_and_context(&properties, Silent) else { panic!() };
            assert!(error.to_string().contains("s3cr3t"), "else this test shows nothing");
            let told = without_value(&error);
            assert!(told.starts_with(name) && !told.contains("s3cr3t"), "{told}");
            properties.remove(name);
        }
    }
}
