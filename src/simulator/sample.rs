//! Alerts and answers of a given size, for `bench` and the benches.
//!
//! Contract: deterministic, so that two runs measure the same work. Unlike [`super::alerts`], which look like those of a
//! day, an alert is about exactly the entities that were asked for, and answers are put into a cache directly: vendors
//! are no part of what is measured with them. Never in the way of a real alert.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::alert::{Entities, Found};
use crate::cache::key::ProviderId;
use crate::cache::ttl::Outcome;
use crate::cache::{Cache, Content, Lifetimes, Question};
use crate::compose::{self, EntityOutcome, Rendered, Source};
use crate::entity::EntityKind;
use crate::provider::{Answer, Raw, Scored};
use crate::score::{Level, Score};

/// What all identifiers are the same up to; the number of the entity follows.
const BEFORE: &str = "arn:aws:iam::123456789012:user/person.";

/// Digits of the number of an entity.
const DIGITS: usize = 7;

/// Entities that can be told apart.
pub const ENTITIES: usize = 10_000_000;

/// The identifier of an entity: all are equally long below [`ENTITIES`].
pub fn arn(number: usize) -> String {
    format!("{BEFORE}{number:0DIGITS$}")
}

/// An OCSF finding of `bytes` bytes (or little more, where the entities need them) about the entities
/// `first..first + entities`.
pub fn finding(first: usize, entities: usize, bytes: usize) -> String {
    let resources: Vec<String> = (first..first + entities)
        .map(|number| format!(r#"{{"type":"AWS::IAM::User","uid":"{}"}}"#, arn(number)))
        .collect();
    let mut alert = format!(
        r#"{{"class_uid":2004,"category_uid":2,"activity_id":1,"type_uid":200401,"severity_id":4,"time":1780064607000,"metadata":{{"version":"1.5.0","product":{{"name":"Detector","vendor_name":"Example"}},"uid":"5c1d0f3a"}},"finding_info":{{"uid":"f-{first:07}","title":"Unusual API activity","types":["credential_access"]}},"resources":[{}],"unmapped":{{"#,
        resources.join(",")
    );
    let end = r#""end":true}}"#;
    for number in 0.. {
        let member = format!(r#""detail_{number:03}":"value {number} of some length","#);
        if alert.len() + member.len() + end.len() > bytes {
            break;
        }
        alert.push_str(&member);
    }
    // To the byte.
    let rest = bytes.saturating_sub(alert.len() + end.len() + r#""p":"","#.len());
    if rest > 0 {
        let _ = write!(alert, r#""p":"{}","#, "x".repeat(rest));
    }
    alert.push_str(end);
    alert
}

/// A finding whose entities can be changed without writing it anew.
#[derive(Clone, Debug)]
pub struct Finding {
    text: Vec<u8>,
    /// Where the number of each entity stands.
    places: Vec<usize>,
}

impl Finding {
    /// A [`finding`] about the first entities.
    pub fn new(entities: usize, bytes: usize) -> Finding {
        let text = finding(0, entities, bytes);
        let places = text.match_indices(BEFORE).map(|(at, _)| at + BEFORE.len()).collect();
        Finding { text: text.into_bytes(), places }
    }

    /// The alert about the entities `number(0)`, `number(1)` and so on, each below [`ENTITIES`].
    pub fn about(&mut self, number: impl Fn(usize) -> usize) -> &[u8] {
        for (index, place) in self.places.iter().enumerate() {
            let mut rest = number(index);
            let digits = self.text.get_mut(*place..place + DIGITS).unwrap_or_default();
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        &self.text
    }
}

/// An answer of about 400 bytes as it is written into alerts.
pub fn answer(number: usize) -> Rendered {
    answer_of(number, 0)
}

/// What is composed when each of `entities` has `answer` in the cache.
pub fn hits<'a>(entities: Entities<'a>, answer: &'a Rendered) -> Vec<EntityOutcome<'a>> {
    let hit = compose::Outcome::Answered {
        answer: answer.get(),
        age: Duration::from_secs(12),
        source: Source::Cache,
    };
    let outcome = |found: Found<'a>| EntityOutcome {
        kind: found.kind,
        value: found.value,
        paths: found.paths,
        provider: Some("datadog"),
        outcome: hit,
    };
    entities.iter().map(outcome).collect()
}

/// An answer that is `more` bytes longer than [`answer`].
pub fn answer_of(number: usize, more: usize) -> Rendered {
    let attributes = json!({"is_privileged": number.is_multiple_of(7), "is_publicly_accessible": false, "team": "payments"});
    let attributes = match attributes {
        serde_json::Value::Object(members) => members,
        _ => serde_json::Map::new(),
    };
    let scored = Scored {
        score: Score::clamped((number % 101) as f64).unwrap_or(Score::ZERO),
        level: Level::High,
        raw: Raw {
            score: Some((number % 240).into()),
            level: Some("high".to_owned()),
            scale: "sum of signal impacts, unbounded".into(),
        },
        delta: Some(12.into()),
        signals: Some(15),
        first_seen: Some(Timestamp::UNIX_EPOCH),
        last_seen: Some(Timestamp::UNIX_EPOCH),
        reasons: vec!["Suspicious API call detected".to_owned(), format!("New country{}", "!".repeat(more))],
        attributes,
    };
    Rendered::of(&Answer::Scored(Box::new(scored)), Timestamp::UNIX_EPOCH)
}

/// Puts an answer about each of the entities `0..entities` into the cache, as if the first provider had given it.
pub fn fill(cache: &Cache, lifetimes: &Lifetimes, entities: usize) {
    let times = lifetimes.times(Outcome::Scored, EntityKind::CloudIdentity, Instant::now(), 0.5);
    for number in 0..entities {
        let id = arn(number);
        let question = Question::new(ProviderId(0), EntityKind::CloudIdentity, &id);
        cache.insert(&question, Content::Answer(answer(number).get()), times);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_finding_has_its_size_and_is_about_whom_it_is_asked_to_be() {
        for (entities, bytes) in [(1, 1_000), (3, 4_000), (10, 20_000)] {
            let mut finding = Finding::new(entities, bytes);
            let text = String::from_utf8(finding.about(|index| 9_999_999 - index).to_vec()).unwrap();
            assert!(text.len().abs_diff(bytes) < 10, "{}", text.len());
            let alert: serde_json::Value = serde_json::from_str(&text).unwrap();
            let named: Vec<&str> = alert
                .pointer("/resources")
                .and_then(|resources| resources.as_array())
                .into_iter()
                .flatten()
                .filter_map(|resource| resource.pointer("/uid")?.as_str())
                .collect();
            let expected: Vec<String> = (0..entities).map(|index| arn(9_999_999 - index)).collect();
            assert_eq!(named, expected);
        }
    }
}
