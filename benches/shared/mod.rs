//! What the benches share: alerts of a given size, answers of a given size, and the steps with a warm cache.
//!
//! Everything is deterministic, so that two runs measure the same work. Answers are put into the cache directly:
//! vendors are no part of what is measured here.

#![allow(dead_code, reason = "each bench uses a part")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use riskstream::alert::Select;
use riskstream::app::Engine;
use riskstream::cache::key::ProviderId;
use riskstream::cache::ttl::Outcome;
use riskstream::cache::{Content, Lifetimes, Question};
use riskstream::compose::Rendered;
use riskstream::config::Config;
use riskstream::entity::EntityKind;
use riskstream::pipeline::{Origin, Pipeline};
use riskstream::provider::{Answer, Raw, Scored};
use riskstream::score::{Level, Score};
use serde_json::json;

/// The alerts that the product shows its formats with: one or more of each.
pub const SAMPLES: &str = include_str!("../../config/examples/alerts.ndjson");

/// The sizes and numbers of entities that are measured.
pub const SIZES: [usize; 3] = [1_000, 4_000, 20_000];
/// Entities of one alert.
pub const ENTITIES: [usize; 3] = [1, 3, 10];

/// The identifier of an entity.
pub fn arn(number: usize) -> String {
    format!("arn:aws:iam::123456789012:user/person.{number:07}")
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

/// An answer of about 400 bytes as it is written into alerts.
pub fn answer(number: usize) -> Rendered {
    answer_of(number, 0)
}

/// An answer whose reasons are `more` bytes longer than those of [`answer`].
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
            scale: "sum of signal impacts, unbounded",
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

/// A configuration with one vendor that knows cloud identities; `more` is more YAML.
pub fn config(more: &str) -> Config {
    let text = format!(
        "allow_literal_secrets: true\n\
         providers:\n  datadog:\n    type: datadog\n    base_url: http://127.0.0.1:9\n    allow_http: true\n    \
         api_key: k\n    application_key: k\n{more}\n"
    );
    Config::parse("bench.yaml", &text, Path::new(""), [])
        .unwrap_or_else(|problems| panic!("{}", problems.json_lines()))
}

/// The parts, and the runtime that look-ups would run on.
pub struct Bench {
    /// The steps.
    pub pipeline: Arc<Pipeline>,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// The steps with the answers about the entities `0..entities` in the cache.
    pub fn warm(entities: usize) -> Bench {
        let config = config("cache: {capacity: 1GiB}");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let engine = Engine::build(&config, runtime.handle().clone()).unwrap();
        let lifetimes = Lifetimes::new(config.cache.ttl, &config.cache);
        let flights = &engine.pipeline.flights;
        for number in 0..entities {
            let id = arn(number);
            let question = Question::new(ProviderId(0), EntityKind::CloudIdentity, &id);
            let times = lifetimes.times(Outcome::Scored, Instant::now(), 0.5);
            flights.cache().insert(&question, Content::Answer(answer(number).get()), times);
        }
        Bench { pipeline: engine.pipeline, _runtime: runtime }
    }
}

/// Where an alert of a stream comes from.
pub const ORIGIN: Origin<'static> = Origin { topic: "security.alerts", select: Select::Auto, overhead: 200 };
