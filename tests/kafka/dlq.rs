//! Dead letters sent again on a real broker: markers, several commands at once, a command that is killed, transactions,
//! timestamps, and a fix after which everything adds up.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::json;

use crate::harness::kafka::{NewRecord, Record, Stage};
use crate::harness::letters::{dlq, headers, put};
use crate::harness::service::{Service, Settings, config};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};
use crate::{DEFAULT, broker};

const BINARY: &str = env!("CARGO_BIN_EXE_riskstream");

fn plain(stage: &Stage) -> String {
    Settings::of(stage, "", "").text()
}

fn markers(stage: &Stage) -> String {
    format!("{}.redriven", stage.dead)
}

/// Puts `count` dead letters of alerts that were never in the input, with numbers.
fn letters(stage: &Stage, count: usize) {
    let mut client = ClientConfig::new();
    let producer: BaseProducer =
        client.set("bootstrap.servers", &stage.brokers).set("linger.ms", "50").create().unwrap();
    for n in 0..count {
        let offset = n.to_string();
        let value = format!("{{\"number\":{n}}}");
        let all = headers(&stage.input, "0", &offset, "riskstream.output_refused");
        let all = all
            .into_iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        let mut record = BaseRecord::<str, str>::to(&stage.dead).payload(&value).headers(all);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// How often each number stands in the input.
fn numbers(stage: &Stage) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for record in stage.read(&stage.input) {
        *found.entry(record.json()["number"].as_u64().unwrap()).or_default() += 1;
    }
    found
}

#[test]
fn what_was_redriven_is_on_record_in_a_compacted_topic_and_twice_by_mistake_is_noticed() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(3, DEFAULT, DEFAULT);
    letters(&stage, 2_000);
    let settings = plain(&stage);
    let started = Instant::now();
    let first = dlq(&settings, "redrive", &["--yes"]).ended(0);
    let took = started.elapsed();
    assert_eq!(first.summary()["redriven"], 2_000);
    assert_eq!(numbers(&stage).into_values().collect::<BTreeSet<_>>(), [1].into());
    assert_eq!(numbers(&stage).len(), 2_000);

    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &stage.brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let markers = markers(&stage);
    let described =
        runtime.block_on(admin.describe_configs(&[ResourceSpecifier::Topic(&markers)], &AdminOptions::new()));
    let described = described.unwrap().remove(0).unwrap();
    assert_eq!(described.get("cleanup.policy").unwrap().value.as_deref(), Some("compact"));
    let last: BTreeMap<_, _> = stage.read(&markers).into_iter().map(|r| (r.key.clone(), r.json())).collect();
    assert_eq!(last.len(), 2_000);
    assert!(last.values().all(|marker| marker["state"] == "done" && marker["landed"].is_string()));

    let twice = dlq(&settings, "redrive", &["--yes"]).ended(0);
    assert_eq!((&twice.summary()["redriven"], &twice.summary()["skipped"]), (&json!(0), &json!(2_000)));
    assert_eq!(numbers(&stage).len(), 2_000);
    assert_eq!(stage.count(&stage.input), 2_000);
    say(&format!(
        "redrive: 2000 letters with markers in {took:.1?}, {:.0}/s",
        2_000.0 / first.summary()["seconds"].as_f64().unwrap()
    ));
}

#[test]
fn of_two_redrives_at_once_each_letter_is_sent_by_one() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(3, DEFAULT, DEFAULT);
    letters(&stage, 1_500);
    let settings = plain(&stage);
    let (a, b) = std::thread::scope(|scope| {
        let run = || scope.spawn(|| dlq(&settings, "redrive", &["--yes"]));
        let (a, b) = (run(), run());
        (a.join().unwrap(), b.join().unwrap())
    });
    let counts = numbers(&stage);
    assert_eq!(counts.len(), 1_500, "none is left out");
    assert!(counts.values().all(|count| *count == 1), "none is sent twice");
    let sum = |outcome: &str| a.summary()[outcome].as_u64().unwrap() + b.summary()[outcome].as_u64().unwrap();
    assert_eq!(sum("redriven"), 1_500, "{:?} {:?}", a.summary(), b.summary());
    assert!(a.summary()["redriven"] != 0 || b.summary()["redriven"] != 0);
    // Whoever looks later finds every one of them done.
    assert_eq!(dlq(&settings, "redrive", &["--yes"]).ended(0).summary()["skipped"], 1_500);
    say(&format!("two redrives at once: {} and {}", a.summary()["redriven"], b.summary()["redriven"]));
}

/// Thousands of letters take this long that a starved machine, which looks seconds late, still finds most of them unsent.
const SLOWLY: &str = "75/s";

#[test]
fn a_redrive_that_is_killed_leaves_few_in_doubt_and_the_next_one_sends_the_rest() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    letters(&stage, 3_000);
    let settings = plain(&stage);
    let (_folder, file) = config(&settings);
    let mut child = Command::new(BINARY)
        .args(["dlq", "redrive", "--yes", "--rate", SLOWLY, "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait("some are sent", Duration::from_secs(60), || stage.count(&stage.input) > 250);
    child.kill().unwrap();
    child.wait().unwrap();
    let sent = numbers(&stage).len();
    assert!(sent < 3_000, "killed too late to show anything");

    let rest = dlq(&settings, "redrive", &["--yes"]);
    let count = |outcome: &str| rest.summary()[outcome].as_u64().unwrap() as usize;
    // It may have died between two windows.
    assert_eq!(rest.code, Some(i32::from(count("unsure") > 0)), "{}", rest.errors);
    assert!(count("unsure") <= 200, "at most one window is in doubt: {}", rest.summary());
    assert_eq!(count("redriven") + count("skipped") + count("unsure"), 3_000);
    let after = numbers(&stage);
    assert!(after.values().all(|count| *count == 1), "none is sent twice");
    let doubt: BTreeSet<u64> = rest
        .lines
        .iter()
        .filter(|line| line["outcome"] == "unsure")
        .map(|line| line["source"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap())
        .collect();
    let missing: BTreeSet<u64> = (0..3_000).filter(|number| !after.contains_key(number)).collect();
    assert!(missing.is_subset(&doubt), "what is missing is told: {missing:?} of {doubt:?}");
    say(&format!(
        "redrive killed after {sent}: {} in doubt, {} of them were there; the next one sent {}",
        doubt.len(),
        doubt.len() - missing.len(),
        count("redriven")
    ));
}

#[test]
fn a_redrive_that_is_told_to_stop_leaves_none_in_doubt() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    letters(&stage, 2_000);
    let settings = plain(&stage);
    let (_folder, file) = config(&settings);
    let mut child = Command::new(BINARY)
        .args(["dlq", "redrive", "--yes", "--rate", SLOWLY, "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait("some are sent", Duration::from_secs(60), || stage.count(&stage.input) > 250);
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let sent = numbers(&stage).len() as u64;
    assert!(sent < 2_000, "stopped too late to show anything");
    let rest = dlq(&settings, "redrive", &["--yes"]).ended(0);
    assert_eq!(rest.summary()["skipped"], sent);
    assert_eq!(rest.summary()["redriven"], 2_000 - sent);
    assert!(numbers(&stage).values().all(|count| *count == 1));
}

/// An alert of about `bytes`.
fn alert(n: usize, bytes: usize) -> NewRecord {
    let mut text = String::from_utf8(alerts::of("datadog", &alerts::entity("datadog", n), n)).unwrap();
    text.insert_str(1, &format!("\"noise\":\"{}\",", "x".repeat(bytes)));
    NewRecord { key: Some(format!("k{n}").into_bytes()), ..NewRecord::value((n % 3) as i32, text) }
}

#[test]
fn after_a_fix_everything_adds_up_and_what_fails_again_stops_at_the_counter() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(3, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let with = |pipeline: &str| Settings::of(&stage, pipeline, vendors.providers("")).text();
    // Every tenth is too large for now, every fiftieth is broken for ever.
    let inputs = stage.produce(
        (0..500)
            .map(|n| match n {
                n if n % 50 == 7 => NewRecord::value((n % 3) as i32, format!("{{cut {n}")),
                n if n % 10 == 3 => alert(n, 5_000),
                n => alert(n, 10),
            })
            .collect(),
    );
    let serve = |settings: &str, total: usize| {
        let mut service = Service::start(settings);
        service.assigned(3);
        stage.wait_for(total, Duration::from_secs(60));
        wait("everything committed", Duration::from_secs(30), || stage.committed() == stage.ends());
        service.ends_well();
    };
    serve(&with("max_alert_bytes: 4KiB"), 500);
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead), (440, 60));

    let fixed = with("max_alert_bytes: 1MiB");
    let dry = dlq(&fixed, "redrive", &["--dry-run"]).ended(0);
    assert_eq!(dry.lines.iter().filter(|line| line["why"].is_null()).count(), 50);
    // Ten of them will come back. Twice is enough for those.
    for round in 1..=2u64 {
        let sent = dlq(&fixed, "redrive", &["--yes", "--max-redrives", "2"]).ended(0);
        assert_eq!(sent.summary()["redriven"], if round == 1 { 60 } else { 10 }, "{}", sent.summary());
        serve(&fixed, if round == 1 { 560 } else { 570 });
    }
    let last = dlq(&fixed, "redrive", &["--yes", "--max-redrives", "2"]).ended(1);
    assert_eq!((&last.summary()["redriven"], &last.summary()["refused"]), (&json!(0), &json!(10)));

    // Every input is published once, or is a dead letter that is not on record as redriven.
    let content = |record: &Record| -> Vec<u8> { record.value.clone().unwrap() };
    let all: BTreeSet<_> = inputs.iter().map(content).collect();
    let published: Vec<_> =
        stage.outputs().iter().map(|o| check::without_risk(o.value.as_deref().unwrap()).unwrap().0).collect();
    let letters = stage.dead_letters();
    let listed = dlq(&fixed, "list", &[]).ended(0);
    let open = letters.iter().zip(&listed.lines).filter(|(_, line)| line["redriven"] == "no");
    let open: Vec<_> = open.map(|(letter, _)| content(letter)).collect();
    assert_eq!((published.len(), open.len()), (490, 10));
    assert_eq!(
        published.iter().chain(&open).cloned().collect::<BTreeSet<_>>(),
        all,
        "in = out + dead letters"
    );
    check::all_committed(&stage);
    say("redrive after a fix: 500 in, 490 out, 10 dead letters that stay; 50 redriven once, 10 twice");
}

#[test]
fn only_what_is_younger_is_read_and_only_what_a_transaction_committed() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    let settings = plain(&stage);
    let mut client = ClientConfig::new();
    let producer: ThreadedProducer<DefaultProducerContext> = client
        .set("bootstrap.servers", &stage.brokers)
        .set("transactional.id", format!("{}-writer", stage.dead))
        .create()
        .unwrap();
    let bound = Duration::from_secs(30);
    producer.init_transactions(bound).unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    let transaction = |value: &str, ago: i64, commit: bool| {
        producer.begin_transaction().unwrap();
        let record = BaseRecord::<str, str>::to(&stage.dead).payload(value).timestamp(now - ago);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        // Else it is aborted before it was ever written.
        producer.flush(bound).unwrap();
        if commit {
            producer.commit_transaction(bound).unwrap()
        } else {
            producer.abort_transaction(bound).unwrap()
        }
    };
    let hour = 3_600_000;
    transaction("old", 5 * hour, true);
    transaction("never", 2 * hour, false);
    transaction("young", hour, true);
    let count = |arguments: &[&str]| dlq(&settings, "list", arguments).ended(0).all("time").len();
    assert_eq!(count(&[]), 2, "neither markers nor what was aborted");
    assert_eq!(count(&["--since", "3h"]), 1);
    assert_eq!(count(&["--since", "30m"]), 0);
    assert_eq!(count(&["--since", "6h", "--until", "3h"]), 1);
    assert_eq!(dlq(&settings, "show", &["0/0"]).ended(0).lines[0]["value"], "old");
    dlq(&settings, "show", &["0/1"]).ended(1);
    dlq(&settings, "show", &["0/2"]).ended(1);
}

#[test]
fn a_timestamp_that_the_topic_would_refuse_or_delete_at_once_becomes_now() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    let now = jiff::Timestamp::now().as_millisecond();
    let day = 86_400_000;
    // A week is what a topic keeps by default, an hour ahead is what it takes.
    for time in [now - 30 * day, now - day, now + 30 * day] {
        let time = time.to_string();
        let mut headers = headers(&stage.input, "0", "0", "riskstream.too_large");
        headers.push(("risk-timestamp", &time));
        put(&stage, &stage.dead, None, Some(b"{}"), &headers);
    }
    let sent = dlq(&plain(&stage), "redrive", &["--yes"]).ended(0);
    let by_place: BTreeMap<_, _> =
        sent.lines.iter().map(|line| (line["offset"].as_u64().unwrap(), line["timestamp"].clone())).collect();
    assert_eq!(by_place, [(0, json!("now")), (1, json!("original")), (2, json!("now"))].into());
    let times: Vec<_> = stage.read(&stage.input).into_iter().map(|r| r.timestamp.unwrap()).collect();
    assert_eq!(times.iter().filter(|time| **time == now - day).count(), 1, "{times:?}");
    assert_eq!(times.iter().filter(|time| (now..now + day).contains(*time)).count(), 2, "{times:?}");
}

#[test]
fn a_counter_on_an_alert_reaches_its_dead_letter_and_no_output() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    put(&stage, &stage.input, None, Some(b"{\"a\":1}"), &[("risk-redriven", "2")]);
    put(&stage, &stage.input, None, Some(b"{cut"), &[("risk-redriven", "2"), ("risk-redriven", "999")]);
    let mut service = Service::start(&plain(&stage));
    service.assigned(1);
    stage.wait_for(2, Duration::from_secs(30));
    service.ends_well();
    assert_eq!(stage.outputs()[0].header("risk-redriven"), None);
    assert_eq!(stage.dead_letters()[0].header("risk-redriven"), Some("2"));
}
