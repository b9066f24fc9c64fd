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
use crate::app::Engine;
use crate::cache::ttl::Times;
use crate::compose::Rendered;
use crate::config::Config;
use crate::provider::{Answer, Raw, Scored};
use crate::score::{Level, Score};

const ALERT: &[u8] = br#"{"eventVersion":"1.11","eventSource":"iam.amazonaws.com","eventName":"CreateUser",
    "userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::123456789012:user/a"}}"#;

/// The risk of the one entity of [`ALERT`], composed at once although the vendor has said nothing.
fn at_the_deadline(engine: &Engine) -> Value {
    let pipeline = &engine.pipeline;
    let origin = Origin { topic: "", select: Select::Auto, overhead: 0 };
    let (now, mut out) = (Instant::now(), Vec::new());
    let begun = pipeline.begin(ALERT, origin, now, &mut Scratch::default(), &mut out, || Box::new(|| ()));
    let Ok(Begun::Waiting(pending)) = begun else { panic!("there is nothing to wait for") };
    pipeline.finish(&pending, ALERT, now, &mut out);
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
    let flights = &engine.pipeline.flights;
    let id = canonical(EntityKind::CloudIdentity, "arn:aws:iam::123456789012:user/a");
    let question = Question::new(provider_id(0), EntityKind::CloudIdentity, &id);
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

const TWO: &[u8] = br#"{"eventVersion":"1.11","eventSource":"iam.amazonaws.com","eventName":"CreateUser",
    "userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::123456789012:assumed-role/a/b",
        "sessionContext":{"sessionIssuer":{"arn":"arn:aws:iam::123456789012:role/a"}}}}"#;

/// [`TWO`], composed before any of its answers was there, and how often it was woken.
fn left(engine: &Engine) -> (Arc<Pending>, Arc<AtomicUsize>) {
    let (origin, now) = (Origin { topic: "", select: Select::Auto, overhead: 0 }, Instant::now());
    let (woken, mut out) = (Arc::<AtomicUsize>::default(), Vec::new());
    let waker = || {
        let woken = Arc::clone(&woken);
        Box::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
        }) as Box<dyn Fn() + Send + Sync>
    };
    let begun = engine.pipeline.begin(TWO, origin, now, &mut Scratch::default(), &mut out, waker);
    let Ok(Begun::Waiting(pending)) = begun else { panic!("there is nothing to wait for") };
    assert_eq!(pending.entities.len(), 2);
    engine.pipeline.finish(&pending, TWO, now, &mut out);
    (pending, woken)
}

fn landing(score: f64, source: Source) -> Landing {
    let scored = Scored {
        score: Score::clamped(score).unwrap(),
        level: Level::High,
        raw: Raw { score: None, level: None, scale: "0-100".into() },
        delta: None,
        signals: None,
        first_seen: None,
        last_seen: None,
        reasons: Vec::new(),
        attributes: serde_json::Map::new(),
    };
    let cache = crate::cache::Cache::new(1 << 20);
    let rendered = Rendered::of(&Answer::Scored(Box::new(scored)), Timestamp::UNIX_EPOCH);
    let id = canonical(EntityKind::CloudIdentity, "any");
    let question = Question::new(provider_id(0), EntityKind::CloudIdentity, &id);
    let hour = Duration::from_secs(3600);
    let times = Times::new(Instant::now(), hour, hour, hour);
    Landing::Answer(cache.insert(&question, Content::Answer(rendered.get()), times), source)
}

#[tokio::test]
async fn an_alert_that_left_is_woken_once_by_its_last_answer_and_told_what_is_new() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "allow_literal_secrets: true\nproviders:\n  datadog: {{type: datadog, base_url: 'http://{}', api_key: a, \
         application_key: b}}\n",
        silent.local_addr().unwrap()
    );
    let config = Config::parse("test", &text, Path::new(""), []).unwrap();
    let update = |engine: &Engine, pending: &Pending| {
        let mut out = Vec::new();
        let summary = engine.pipeline.update(pending, "t/0/1", 0, Instant::now(), &mut out);
        summary.map(|_| serde_json::from_slice::<Value>(&out).unwrap())
    };
    let engine = Engine::build(&config, Handle::current()).unwrap();

    let (pending, woken) = left(&engine);
    assert!(pending.is_owed() && !pending.wait_on());
    pending.land(0, landing(40.0, Source::Provider));
    assert_eq!(woken.load(Ordering::SeqCst), 0, "another answer is under way");
    pending.land(1, Landing::Failed(FailureKind::ServerError));
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    let told = update(&engine, &pending).unwrap();
    assert_eq!((&told["status"], &told["score"]), (&"partial".into(), &40.into()), "{told}");
    assert_eq!(told["entities"].as_array().unwrap().len(), 1, "what failed is no news");

    let (pending, woken) = left(&engine);
    pending.land(0, landing(40.0, Source::Provider));
    pending.land(1, landing(80.0, Source::Provider));
    assert!(pending.wait_on(), "all have landed before anybody waited on");
    assert_eq!(woken.load(Ordering::SeqCst), 0, "and nobody was woken");
    let told = update(&engine, &pending).unwrap();
    assert_eq!((&told["status"], &told["score"]), (&"complete".into(), &80.into()), "{told}");
    assert_eq!(told["entities"].as_array().unwrap().len(), 2);

    let (pending, _) = left(&engine);
    pending.land(0, Landing::Failed(FailureKind::ServerError));
    pending.land(1, landing(80.0, Source::Stale(FailureKind::ServerError)));
    assert_eq!(update(&engine, &pending), Err(late::NoUpdate::NoAnswer));
}
