//! `riskstream dlq` on the embedded broker: dead letters listed, shown and sent again.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::kafka::{NewRecord, Record, Stage};
use crate::harness::letters::{Ran, dlq, headers, put};
use crate::harness::service::{BINARY, Service, Settings, config};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check};

/// Runs the service until it is done with what the input holds.
fn serve(stage: &Stage, settings: &str, total: usize) {
    let mut service = Service::start(settings);
    service.assigned(stage.partitions.into());
    stage.wait_for(total, Duration::from_secs(60));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}

fn plain(stage: &Stage) -> String {
    Settings::of(stage, "", "").text()
}

/// An alert of about `bytes`.
fn alert(n: usize, bytes: usize) -> Vec<u8> {
    let mut text = String::from_utf8(alerts::of("datadog", &alerts::entity("datadog", n), n)).unwrap();
    text.insert_str(1, &format!("\"noise\":\"{}\",", "x".repeat(bytes)));
    text.into_bytes()
}

fn record(partition: i32, key: &str, value: impl Into<Vec<u8>>) -> NewRecord {
    let headers = vec![
        ("traceparent".to_owned(), b"00-1".to_vec()),
        ("risk-score".to_owned(), b"forged".to_vec()),
        ("no \u{fffd} text".to_owned(), b"\xff".to_vec()),
    ];
    NewRecord { key: Some(key.as_bytes().to_vec()), headers, ..NewRecord::value(partition, value) }
}

/// Some alerts that are good and some that are poison, of each kind, through the service.
fn poisoned(stage: &Stage) -> Vec<Record> {
    let inputs = stage.produce(vec![
        record(0, "a", alert(0, 1)),
        record(0, "b", "{cut"),
        record(1, "c", ""),
        record(1, "d", "[]"),
        record(1, "e", alert(1, 3000)),
        record(0, "f", "{}{}"),
        record(1, "g", "{cut \u{1b}[2J"),
    ]);
    serve(stage, &limited(stage), inputs.len());
    inputs
}

/// Alerts of more than 2 KiB are too large.
fn limited(stage: &Stage) -> String {
    Settings::of(stage, "max_alert_bytes: 2KiB", "").text()
}

#[test]
fn list_tells_every_dead_letter_and_filters_narrow_it() {
    let stage = Stage::embedded(2);
    poisoned(&stage);
    let settings = plain(&stage);
    let all = dlq(&settings, "list", &[]).ended(0);
    let mut reasons = all.all("reason");
    reasons.sort_unstable();
    assert_eq!(reasons, ["empty", "not_an_object", "not_json", "not_json", "too_large", "trailing_bytes"]);
    let places: Vec<_> = all.lines.iter().map(|line| line["offset"].as_i64().unwrap()).collect();
    assert_eq!(places, [0, 1, 2, 3, 4, 5], "in the order of the topic");
    let large = all.lines.iter().find(|line| line["reason"] == "too_large").unwrap();
    assert_eq!(
        (&large["source"], &large["format"]),
        (&json!("alerts/1/2"), &json!("aws_cloudtrail")),
        "{large}"
    );
    assert_eq!((&large["redriven"], &large["came_back"]), (&json!("no"), &json!(0)), "{large}");
    assert!(large["bytes"].as_u64().unwrap() > 3000, "{large}");
    let summary = all.summary();
    assert_eq!(
        (&summary["dead_letters"], &summary["by_reason"]["not_json"]),
        (&json!(6), &json!(2)),
        "{summary}"
    );

    let count = |arguments: &[&str]| dlq(&settings, "list", arguments).ended(0).lines.len();
    assert_eq!(count(&["--reason", "not_json,empty"]), 3);
    assert_eq!(count(&["--reason", "not_json", "--reason", "empty"]), 3);
    assert_eq!(count(&["--partition", "1"]), 4);
    assert_eq!(count(&["--partition", "1", "--reason", "not_json"]), 1);
    assert_eq!(count(&["--topic", "alerts"]), 6);
    assert_eq!(count(&["--topic", "others"]), 0);
    assert_eq!(count(&["--format", "aws_cloudtrail"]), 1);
    assert_eq!(count(&["--format", "unknown"]), 5);
    assert_eq!(count(&["--until", "1h"]), 0);
    assert_eq!(count(&["--until", "2100-01-01T00:00:00Z"]), 6);
    assert_eq!(count(&["--at", "0/2,0/4"]), 2);
    let limited = dlq(&settings, "list", &["--limit", "2"]).ended(0);
    assert_eq!((limited.lines.len(), &limited.summary()["more"]), (2, &json!(true)));
    assert_eq!(dlq(&settings, "list", &["--limit", "6"]).summary()["more"], json!(false));
    let by_pattern = settings.replace("topics: [alerts]", "topics: ['^alerts$']");
    assert_ne!(by_pattern, settings);
    assert_eq!(dlq(&by_pattern, "list", &[]).ended(0).lines.len(), 6);

    for (wrong, words) in [
        (["--reason", "not_jsno"], "not_json"),
        (["--format", "oscf"], "ocsf"),
        (["--since", "yesterday"], "2h"),
        (["--at", "7"], "PARTITION/OFFSET"),
    ] {
        let ran = dlq(&settings, "list", &wrong).ended(2);
        assert!(ran.errors.contains(words), "{}", ran.errors);
    }
    assert!(stage.committed().values().all(|offset| *offset > 0), "the service's offsets are as they were");
}

#[test]
fn show_gives_one_letter_whole() {
    let stage = Stage::embedded(2);
    poisoned(&stage);
    let settings = plain(&stage);
    let at =
        dlq(&settings, "list", &["--partition", "1", "--reason", "not_json"]).lines[0]["offset"].to_string();
    let shown = dlq(&settings, "show", &[&format!("0/{at}")]).ended(0).lines.remove(0);
    assert_eq!((&shown["key"], &shown["value"]), (&json!("g"), &json!("{cut \u{1b}[2J")), "{shown}");
    let header =
        |name: &str| shown["headers"].as_array().unwrap().iter().find(|h| h["name"] == name).cloned();
    assert_eq!(header("traceparent").unwrap()["value"], "00-1");
    assert_eq!(header("no \u{fffd} text").unwrap()["value_base64"], "/w==", "{shown}");
    assert_eq!(header("risk-source").unwrap()["value"], "alerts/1/3");
    assert_eq!(shown["redriven"], "no");
    let missing = dlq(&settings, "show", &["0/99"]).ended(1);
    assert!(missing.errors.contains("no dead letter stands at dead/0/99"), "{}", missing.errors);
}

#[test]
fn what_was_too_large_is_redriven_to_the_input_once_the_limit_is_raised() {
    let stage = Stage::embedded(2);
    let inputs = poisoned(&stage);
    let large = inputs.iter().find(|input| input.key == Some(b"e".to_vec())).unwrap();
    let settings = plain(&stage);

    let dry = dlq(&settings, "redrive", &["--dry-run"]).ended(0);
    assert_eq!(dry.all("outcome"), ["would_redrive"; 6]);
    let would = |reason: &str| dry.lines.iter().find(|line| line["reason"] == reason).unwrap()["why"].clone();
    assert_eq!(would("too_large"), json!(null));
    assert!(would("empty").as_str().unwrap().contains("it would come back"), "{dry:?}");
    assert_eq!((stage.count("alerts"), stage.count("dead.redriven")), (7, 0), "nothing was written");

    let asked = dlq(&settings, "redrive", &[]).ended(2);
    let words = ["6 dead letters would be sent", "5 cannot be read", "--yes"];
    assert!(words.iter().all(|words| asked.errors.contains(words)), "{asked:?}");
    assert_eq!(stage.count("alerts"), 7);

    let sent = dlq(&settings, "redrive", &["--reason", "too_large"]).ended(0);
    assert_eq!(sent.all("outcome"), ["redriven"], "one letter needs no word");
    assert_eq!(sent.lines[0]["to"], "alerts/1/4", "the partition it came from");
    let again = stage.read("alerts").into_iter().find(|r| r.partition == 1 && r.offset == 4).unwrap();
    assert_eq!((&again.key, &again.value, again.timestamp), (&large.key, &large.value, large.timestamp));
    let foreign: Vec<_> = large.headers.iter().filter(|(name, _)| name != "risk-score").cloned().collect();
    let counter = ("risk-redriven".to_owned(), b"1".to_vec());
    assert_eq!(again.headers, [foreign, vec![counter]].concat());

    serve(&stage, &settings, inputs.len() + 1);
    let outputs = stage.outputs();
    let output = outputs.iter().find(|output| output.header("risk-source") == Some("alerts/1/4")).unwrap();
    assert_eq!(check::same(&again, output).unwrap()["status"], "no_entities");
    assert_eq!(output.header("risk-redriven"), None, "the counter is for dead letters");
    check::all_committed(&stage);

    let twice = dlq(&settings, "redrive", &["--reason", "too_large"]).ended(0);
    assert_eq!(twice.all("outcome"), ["skipped"]);
    assert!(twice.lines[0]["why"].as_str().unwrap().contains("alerts/1/4"), "{twice:?}");
    assert_eq!(stage.count("alerts"), 8);
    let listed = dlq(&settings, "list", &["--reason", "too_large"]).ended(0);
    assert_eq!((listed.all("redriven"), listed.all("redriven_to")), (vec!["yes"], vec!["alerts/1/4"]));
    let again = dlq(&settings, "redrive", &["--reason", "too_large", "--again"]).ended(0);
    assert_eq!(again.all("to"), ["alerts/1/5"]);
}

#[test]
fn a_redrive_to_the_output_goes_through_the_pipeline() {
    let stage = Stage::embedded(2);
    let inputs = poisoned(&stage);
    let large = inputs.iter().find(|input| input.key == Some(b"e".to_vec())).unwrap();
    let vendors = Vendors::start(5);
    let providers = format!("providers:\n{}", vendors.provider("datadog", ""));
    let settings = Settings::of(&stage, "", providers).text();
    let before = stage.outputs().len();
    let dry = dlq(&settings, "redrive", &["--to", "output", "--dry-run"]).ended(1);
    assert_eq!(dry.summary()["would_redrive"], 1);
    assert_eq!(dry.summary()["failed"], 5, "what is no alert cannot be enriched");
    assert_eq!(vendors.requests(), 0, "nobody is asked");

    let sent = dlq(&settings, "redrive", &["--to", "output", "--yes"]).ended(1);
    assert_eq!((&sent.summary()["redriven"], &sent.summary()["failed"]), (&json!(1), &json!(5)));
    let bad = sent.lines.iter().find(|line| line["reason"] == "trailing_bytes").unwrap();
    assert!(bad["why"].as_str().unwrap().contains("bytes after the object"), "{bad}");
    let outputs = stage.outputs();
    assert_eq!(outputs.len(), before + 1);
    let output = outputs.iter().find(|output| output.header("risk-source") == Some("alerts/1/2")).unwrap();
    assert_eq!(output.partition, 1);
    assert_eq!(check::same(large, output).unwrap()["status"], "complete");
    assert_eq!(output.header("risk-redriven"), Some("1"));
    // In and out add up: every input is published or still a dead letter that nobody redrove.
    let listed = dlq(&settings, "list", &[]).ended(0);
    let open = listed.all("redriven").iter().filter(|redriven| **redriven == "no").count();
    assert_eq!(outputs.len() + open, inputs.len());
    // What failed is not on record as redriven and may be tried again.
    assert_eq!(dlq(&settings, "redrive", &["--to", "output", "--yes"]).ended(1).summary()["skipped"], 1);
}

#[test]
fn no_header_leads_to_a_topic_that_is_not_configured() {
    let stage = Stage::embedded(1);
    put(&stage, "dead", Some("k"), Some(b"{}"), &headers("secrets", "0", "0", "riskstream.not_json"));
    put(&stage, "dead", Some("k"), Some(b"{}"), &headers("enriched", "0", "0", "riskstream.not_json"));
    put(&stage, "dead", None, Some(b"{}"), &[]);
    let settings = plain(&stage);
    let sent = dlq(&settings, "redrive", &["--yes"]).ended(1);
    assert_eq!(sent.all("outcome"), ["refused"; 3]);
    assert!(sent.lines[0]["why"].as_str().unwrap().contains("\"secrets\""), "{sent:?}");
    assert_eq!((stage.count("alerts"), stage.count("enriched"), stage.count("dead.redriven")), (0, 0, 0));

    let wrong = dlq(&settings, "redrive", &["--topic-to", "secrets"]).ended(2);
    assert!(wrong.errors.contains("write one of: alerts"), "{}", wrong.errors);
    let named = dlq(&settings, "redrive", &["--topic-to", "alerts", "--at", "0/0"]).ended(0);
    assert_eq!(named.all("to"), ["alerts/0/0"]);
}

#[test]
fn a_letter_that_comes_back_stops_at_the_counter() {
    let stage = Stage::embedded(1);
    let inputs = stage.produce(vec![record(0, "k", alert(0, 3000))]);
    let settings = limited(&stage);
    serve(&stage, &settings, inputs.len());
    // The last letter each time, as a person with a script would do it.
    for round in 1..=2 {
        let sent = dlq(&settings, "redrive", &["--yes", "--max-redrives", "2"]).ended(0);
        assert_eq!(sent.summary()["redriven"], 1, "round {round}: {sent:?}");
        assert_eq!(sent.summary()["skipped"], round - 1, "{sent:?}");
        serve(&stage, &settings, round + 1);
    }
    let last = dlq(&settings, "redrive", &["--yes", "--max-redrives", "2"]).ended(1);
    assert_eq!((&last.summary()["redriven"], &last.summary()["refused"]), (&json!(0), &json!(1)), "{last:?}");
    let why = last.lines.iter().find(|line| line["outcome"] == "refused").unwrap()["why"].clone();
    assert!(why.as_str().unwrap().contains("redriven 2 times"), "{why}");
    assert_eq!(stage.count("alerts"), 3);
}

#[test]
fn the_counter_stops_a_letter_also_where_nothing_is_remembered() {
    let stage = Stage::embedded(1);
    let inputs = stage.produce(vec![record(0, "k", alert(0, 3000))]);
    let settings = limited(&stage);
    serve(&stage, &settings, inputs.len());
    let redrive = |letter: usize| {
        let at = format!("0/{letter}");
        dlq(&settings, "redrive", &["--no-markers", "--max-redrives", "2", "--at", &at])
    };
    for round in 0..2 {
        redrive(round).ended(0);
        serve(&stage, &settings, round + 2);
    }
    assert_eq!(redrive(2).ended(1).all("outcome"), ["refused"]);
    let counters: Vec<_> =
        stage.dead_letters().iter().map(|letter| letter.header("risk-redriven").map(str::to_owned)).collect();
    assert_eq!(counters, [None, Some("1".to_owned()), Some("2".to_owned())]);
    assert_eq!(stage.count("alerts"), 3);
}

#[test]
fn a_redrive_that_died_between_sending_and_noting_is_noticed() {
    let stage = Stage::embedded(2);
    poisoned(&stage);
    let settings = plain(&stage);
    let letter = dlq(&settings, "list", &["--reason", "too_large"]).lines.remove(0);
    let place = format!("0/{}", letter["offset"]);
    let time: jiff::Timestamp = letter["time"].as_str().unwrap().parse().unwrap();
    let mut intent = json!({
        "schema": "riskstream/redriven/v1", "state": "intent", "at": "2026-05-29T14:00:00Z", "to": "input",
        "topic": "alerts", "source": "alerts/1/2", "letter_time": time.as_millisecond(), "count": 1,
        "run": "another", "command": "riskstream"
    });
    let key = format!("dead/{place}");
    put(&stage, "dead.redriven", Some(&key), Some(intent.to_string().as_bytes()), &[]);
    let redrive = |more: &[&str]| dlq(&settings, "redrive", &[&["--at", place.as_str()], more].concat());
    let told = redrive(&[]).ended(1);
    assert_eq!(told.all("outcome"), ["unsure"]);
    assert!(
        told.lines[0]["why"].as_str().unwrap().contains("may have been redriven at 2026-05-29T14:00:00Z"),
        "{told:?}"
    );
    assert_eq!(dlq(&settings, "list", &["--at", &place]).all("redriven"), ["perhaps"]);
    assert_eq!(stage.count("alerts"), 7);

    // Another letter that stood at the same place once: the topic was made anew.
    intent["letter_time"] = json!(5);
    put(&stage, "dead.redriven", Some(&key), Some(intent.to_string().as_bytes()), &[]);
    assert_eq!(redrive(&["--dry-run"]).ended(0).all("outcome"), ["would_redrive"]);

    intent["letter_time"] = json!(time.as_millisecond());
    put(&stage, "dead.redriven", Some(&key), Some(intent.to_string().as_bytes()), &[]);
    assert_eq!(redrive(&["--again"]).ended(0).all("outcome"), ["redriven"]);
    assert_eq!(redrive(&[]).ended(0).all("outcome"), ["skipped"]);
    let forgotten = dlq(&settings, "redrive", &["--at", &place, "--no-markers"]).ended(0);
    assert_eq!(forgotten.all("outcome"), ["redriven"], "declined in writing");
    assert!(forgotten.errors.contains("--no-markers"), "{forgotten:?}");
}

#[test]
fn a_redrive_that_nobody_reads_any_more_stops_and_says_so() {
    let stage = Stage::embedded(2);
    poisoned(&stage);
    let (_folder, file) = config(&plain(&stage));
    let file = file.to_str().unwrap();
    let mut child = Command::new(BINARY)
        .args(["dlq", "redrive", "--config", file, "--yes", "--rate", "1/s"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{errors}");
    assert!(errors.contains("the rest was not sent"), "{errors}");
    assert_eq!(stage.count("alerts"), 8, "the one that was told to nobody");
    let redriven =
        dlq(&plain(&stage), "list", &[]).all("redriven").iter().filter(|told| **told == "yes").count();
    assert_eq!(redriven, 1, "it is remembered");
}

#[test]
fn a_pointer_leads_to_the_original_only_where_it_still_stands_unchanged() {
    let stage = Stage::embedded(1);
    let inputs = stage.produce(vec![record(0, "k", alert(0, 100)), record(0, "l", alert(1, 100))]);
    let pointer = |offset: i64, value: &[u8]| {
        let pointer = riskstream::sink::dead_letter::pointer(
            riskstream::sink::dead_letter::Coordinates { topic: "alerts", partition: 0, offset },
            value,
        );
        let offset = offset.to_string();
        let mut headers = headers("alerts", "0", &offset, "riskstream.too_large");
        headers.push(("risk-truncated", "pointer"));
        put(&stage, "dead", None, Some(&pointer), &headers);
    };
    pointer(0, inputs[0].value.as_deref().unwrap());
    pointer(1, inputs[0].value.as_deref().unwrap());
    pointer(7, inputs[0].value.as_deref().unwrap());
    let sent = dlq(&plain(&stage), "redrive", &["--yes"]).ended(1);
    assert_eq!(sent.all("outcome"), ["failed", "failed", "redriven"], "{sent:?}");
    let why: Vec<_> = sent.all("why");
    assert!(why[0].contains("another record") && why[1].contains("no longer at alerts/0/7"), "{why:?}");
    let again = stage.read("alerts").pop().unwrap();
    assert_eq!(
        (&again.key, &again.value, again.timestamp),
        (&inputs[0].key, &inputs[0].value, inputs[0].timestamp)
    );
    assert_eq!(again.header("risk-redriven"), Some("1"));
    assert!(check::foreign(&again).iter().any(|(name, _)| name == "traceparent"));
}

#[test]
fn limit_and_rate_bound_what_is_sent() {
    let stage = Stage::embedded(2);
    poisoned(&stage);
    let settings = plain(&stage);
    let some = |more: &[&str]| -> Ran { dlq(&settings, "redrive", &[&["--yes"], more].concat()).ended(0) };
    assert_eq!(some(&["--limit", "4"]).summary()["redriven"], 4);
    let rest = some(&["--limit", "4", "--rate", "5/s"]);
    assert_eq!((&rest.summary()["redriven"], &rest.summary()["skipped"]), (&json!(2), &json!(4)), "{rest:?}");
    assert!(
        rest.summary()["seconds"].as_f64().unwrap() >= 0.2,
        "the second one waits for its turn: {rest:?}"
    );
}

#[test]
fn without_the_topic_there_is_a_clear_word() {
    let stage = Stage::embedded(1);
    let missing = plain(&stage).replace("topic: dead}", "topic: nowhere}");
    for (subcommand, rest) in [("list", vec![]), ("show", vec!["0/0"]), ("redrive", vec!["--dry-run"])] {
        let ran = dlq(&missing, subcommand, &rest).ended(1);
        assert!(ran.errors.contains("dead_letters.topic nowhere: no such topic"), "{}", ran.errors);
    }
    put(&stage, "dead", None, Some(b"{}"), &headers("alerts", "0", "0", "riskstream.not_json"));
    let unmarked = plain(&stage).replace("topic: dead}", "topic: dead, markers: unmade}");
    let ran = dlq(&unmarked, "redrive", &[]).ended(1);
    assert!(
        ran.errors.contains("cleanup.policy=compact") && ran.errors.contains("--no-markers"),
        "{}",
        ran.errors
    );
    assert_eq!(stage.count("alerts"), 0, "nothing is sent that is not remembered");
}
