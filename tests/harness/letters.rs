//! The command `dlq` as a script runs it, and records put into topics by hand.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::kafka::Stage;
use super::service::{command, config};

/// What a run of `dlq` came to.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// The lines of stdout.
    pub lines: Vec<Value>,
    /// Stderr whole.
    pub errors: String,
}

impl Ran {
    /// The summary: the last line of stderr that is JSON.
    pub fn summary(&self) -> Value {
        let found = self.errors.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        found.unwrap_or_else(|| panic!("no summary in {}", self.errors))
    }

    /// A member of every line.
    pub fn all(&self, member: &str) -> Vec<&str> {
        self.lines.iter().map(|line| line[member].as_str().unwrap_or("null")).collect()
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{}\n{:#?}", self.errors, self.lines);
        self
    }
}

/// Runs `riskstream dlq SUBCOMMAND --config ... REST` with these settings, in a pipe.
pub fn dlq(settings: &str, subcommand: &str, rest: &[&str]) -> Ran {
    let (_folder, file) = config(settings);
    let arguments = [&["dlq", subcommand, "--config", file.to_str().unwrap()], rest].concat();
    let out = command(&arguments, b"", &[]);
    let text = String::from_utf8(out.stdout).unwrap();
    let errors = String::from_utf8(out.stderr).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    Ran { code: out.status.code(), lines: lines.collect(), errors }
}

/// Writes one record to any topic.
pub fn put(stage: &Stage, topic: &str, key: Option<&str>, value: Option<&[u8]>, headers: &[(&str, &str)]) {
    let mut client = ClientConfig::new();
    let producer: BaseProducer = client
        .set("bootstrap.servers", &stage.brokers)
        .set("message.max.bytes", "20000000")
        .create()
        .unwrap();
    let all = headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).headers(all);
    record.key = key.map(str::as_bytes);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// The headers of a dead letter that came from `topic/partition/offset`.
pub fn headers<'h>(
    topic: &'h str,
    partition: &'h str,
    offset: &'h str,
    reason: &'h str,
) -> Vec<(&'h str, &'h str)> {
    vec![
        ("__connect.errors.topic", topic),
        ("__connect.errors.partition", partition),
        ("__connect.errors.offset", offset),
        ("__connect.errors.exception.class.name", reason),
    ]
}
