//! Alerts whose vendor does not answer in time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Handle;

use super::*;
use crate::alert::Scratch;
use crate::cache::ttl::Times;
use crate::compose::Rendered;
use crate::config::Config;
use crate::engine::Engine;
use crate::provider::{Answer, Raw, Scored};
use crate::score::{Level, Score};

const ALERT: &[u8] = br#"{"eventVersion":"1.11","eventSource":"iam.amazonaws.com","eventName":"CreateUser",
    "userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::123456789012:user/a"}}"#;

/// The risk of the one entity of [`ALERT`], composed at once although the vendor has said nothing.
fn at_the_deadline(engine: &Engine) -> Value {
    let pipeline = &engine.pipeline();
    let origin = Origin { topic: "", select: Select::Auto, overhead: 0 };
    let (now, mut out) = (Instant::now(), Vec::new());
    let begun = pipeline.begin(ALERT, origin, now, &mut Scratch::default(), &mut out, || Box::new(|| ()));
    let Ok(Begun::Waiting(pending)) = begun else { panic!("there is nothing to wait for") };
    pending.finish(ALERT, now, &mut out);
    let composed: Value = serde_json::from_slice(&out).unwrap();
    composed["risk"]["entities"][0].clone()
}

#[tokio::test]
async fn at_the_deadline_an_old_answer_stands_in_and_says_so() {
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "allow_literal_secrets: true\nproviders:\n  datadog: {{type: datadog, base_url: 'http://{}', api_key: a, \
         application_key: b}}\n",
        silent.local_addr().unwrap()
    );
    let config = Config::parse("test", &text, Path::new(""), []).unwrap();
    let engine = Engine::build(&config, Handle::current()).unwrap();
    let entity = at_the_deadline(&engine);
    assert_eq!((&entity["status"], &entity["reason"]), (&"failed".into(), &"deadline".into()), "{entity}");

    let engine = Engine::build(&config, Handle::current()).unwrap();
    let flights = &engine.pipeline().flights;
    let id = canonical(EntityKind::CloudIdentity, "arn:aws:iam::123456789012:user/a");
    let question = Question::new(ProviderId(0), EntityKind::CloudIdentity, &id);
    let (written, hour) = (Instant::now(), Duration::from_secs(3600));
    let times = Times::new(written, Duration::ZERO, Duration::ZERO, hour);
    let answer = Answer::Scored(Box::new(Scored {
        score: Score::clamped(77.0).unwrap(),
        level: Level::High,
        raw: Raw { score: None, level: None, scale: "0-100".into() },
        delta: None,
        signals: None,
        first_seen: None,
        last_seen: None,
        reasons: Vec::new(),
        attributes: serde_json::Map::new(),
    }));
    let old = Rendered::of(&answer, Timestamp::UNIX_EPOCH);
    flights.cache().insert(&question, Content::Answer(old.get()), times);
    let entity = at_the_deadline(&engine);
    assert_eq!((&entity["status"], &entity["score"]), (&"scored".into(), &77.into()), "{entity}");
    assert_eq!(
        (&entity["source"], &entity["stale_reason"]),
        (&"stale".into(), &"deadline".into()),
        "{entity}"
    );
}
