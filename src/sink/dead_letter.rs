//! Dead letters: an alert that cannot be enriched, as it came, with why.
//!
//! Contract: original key, value and headers; beside them the headers that Kafka Connect writes, so that existing
//! tools show and redrive them. One that the topic does not take is written as a pointer to the record instead.
//! Headers of those names that came with the input are gone by then ([`super::input_headers`]): nobody else speaks
//! for us.

use base64::Engine;
use rdkafka::message::{Header, OwnedHeaders};
use serde_json::json;

use crate::compose::headers;

/// Bytes of the original that a pointer shows.
const HEAD: usize = 1024;

/// Where a record stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordinates<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl Coordinates<'_> {
    /// Writes `topic/partition/offset`, as in the header `risk-source`, into `text`, which is cleared first.
    pub fn source(&self, text: &mut String) {
        text.clear();
        text.push_str(self.topic);
        // For every output: not through the formatter, which takes longer than all the rest of a header.
        for number in [i64::from(self.partition), self.offset] {
            text.push('/');
            text.push_str(itoa::Buffer::new().format(number));
        }
    }
}

/// Why a record is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The reason as metrics spell it.
    pub reason: &'static str,
    /// For people: what, where, and the cure. Holds nothing of the alert.
    pub message: String,
    /// The step that failed, in Kafka Connect's words: `VALUE_CONVERTER` (it could not be read) or `TASK_PUT` (the
    /// output topic refused it).
    pub stage: &'static str,
}

/// The headers of a dead letter: the input's (`original`, ours stripped already), then Kafka Connect's.
pub fn error_headers(
    original: Option<&OwnedHeaders>,
    at: Coordinates<'_>,
    timestamp: Option<i64>,
    cause: &Cause,
) -> OwnedHeaders {
    let base = original.cloned().unwrap_or_else(|| OwnedHeaders::new_with_capacity(8));
    let partition = at.partition.to_string();
    let offset = at.offset.to_string();
    let class = format!("riskstream.{}", cause.reason);
    let mut source = String::new();
    at.source(&mut source);
    let mut all = base;
    for (key, value) in [
        ("__connect.errors.topic", at.topic),
        ("__connect.errors.partition", &partition),
        ("__connect.errors.offset", &offset),
        ("__connect.errors.stage", cause.stage),
        ("__connect.errors.exception.class.name", &class),
        ("__connect.errors.exception.message", &cause.message),
        (headers::SOURCE, &source),
    ] {
        all = all.insert(Header { key, value: Some(value) });
    }
    if let Some(timestamp) = timestamp {
        let timestamp = timestamp.to_string();
        all = all.insert(Header { key: headers::TIMESTAMP, value: Some(timestamp.as_str()) });
    }
    all
}

/// The headers of a dead letter with the count of [`headers::REDRIVEN`], where there is one: what was sent again and
/// fails again must not go in circles.
pub fn counted(headers: OwnedHeaders, redriven: u8) -> OwnedHeaders {
    if redriven == 0 {
        return headers;
    }
    headers.insert(Header { key: headers::REDRIVEN, value: Some(redriven.to_string().as_str()) })
}

/// What stands in for a value that the dead-letter topic does not take.
pub fn pointer(at: Coordinates<'_>, value: &[u8]) -> Vec<u8> {
    let head = value.get(..HEAD).unwrap_or(value);
    json!({
        "schema": "riskstream/pointer/v1",
        "topic": at.topic,
        "partition": at.partition,
        "offset": at.offset,
        "bytes": value.len(),
        "sha256": sha256(value),
        "head_base64": base64::engine::general_purpose::STANDARD.encode(head),
    })
    .to_string()
    .into_bytes()
}

/// The digest of a pointer: SHA-256 in hexadecimal digits.
pub fn sha256(value: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, value);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use rdkafka::message::Headers;

    fn text(headers: &OwnedHeaders) -> Vec<(String, String)> {
        headers
            .iter()
            .map(|h| (h.key.to_owned(), String::from_utf8_lossy(h.value.unwrap_or_default()).into_owned()))
            .collect()
    }

    #[test]
    fn a_dead_letter_says_where_it_came_from_and_why() {
        let cause = Cause { reason: "not_json", message: "line 1".into(), stage: "DECODE" };
        let at = Coordinates { topic: "t", partition: 3, offset: 9 };
        let all = text(&error_headers(None, at, Some(5), &cause));
        for (key, value) in [
            ("__connect.errors.topic", "t"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "9"),
            ("__connect.errors.exception.class.name", "riskstream.not_json"),
            ("risk-source", "t/3/9"),
            ("risk-timestamp", "5"),
        ] {
            assert!(all.contains(&(key.into(), value.into())), "{key} in {all:?}");
        }
    }

    #[test]
    fn a_dead_letter_of_what_was_sent_again_carries_the_count() {
        assert!(text(&counted(OwnedHeaders::new(), 0)).is_empty());
        assert_eq!(text(&counted(OwnedHeaders::new(), 2)), [("risk-redriven".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_pointer_identifies_the_record_it_stands_for() {
        let value = vec![b'x'; 5000];
        let at = Coordinates { topic: "t", partition: 0, offset: 1 };
        let pointer: serde_json::Value = serde_json::from_slice(&pointer(at, &value)).unwrap();
        assert_eq!(pointer["bytes"], 5000);
        assert_eq!(pointer["sha256"].as_str().unwrap().len(), 64);
    }
}
