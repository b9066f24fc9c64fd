//! A flood of dead letters: seen from outside, and what follows when that is configured.

use std::time::Duration;

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::{alerts, check, wait};

/// Settings whose flood is `flood`.
fn settings(stage: &Stage, flood: &str) -> String {
    let mut settings = Settings::of(stage, "", "");
    settings.topics = settings.topics.replace("topic: dead}", &format!("topic: dead, flood: {flood}}}"));
    settings.text()
}

/// Poison, and among it a few alerts.
fn poison(count: usize) -> Vec<NewRecord> {
    let good = |n| alerts::of("datadog", &alerts::entity("datadog", n), n);
    (0..count).map(|n| NewRecord::value(0, if n % 5 == 0 { good(n) } else { b"{cut".to_vec() })).collect()
}

#[test]
fn a_flood_is_told_in_metric_readiness_and_log_and_stops_nobody() {
    let stage = Stage::embedded(1);
    let mut inputs = stage.produce(poison(100));
    let mut service = Service::start(&settings(&stage, "{share: 0.5, per: 3s, at_least: 50}"));
    service.assigned(1);
    assert_eq!(service.metric("riskstream_dead_letter_flood"), Some(0.0));
    wait("the flood is seen", Duration::from_secs(30), || {
        service.metric("riskstream_dead_letter_flood") == Some(1.0)
    });
    let (code, body) = service.get("/readyz");
    let readiness: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200, "it is ready all the same: {body}");
    assert!(readiness["notes"][0].as_str().unwrap().contains("flood of dead letters: 80 of 100"), "{body}");
    inputs.extend(stage.produce(poison(5)));
    wait("the flood is over", Duration::from_secs(30), || {
        service.metric("riskstream_dead_letter_flood") == Some(0.0)
    });
    assert!(service.get("/readyz").1.contains("\"notes\":[]"));
    stage.wait_for(inputs.len(), Duration::from_secs(30));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for words in ["a flood of dead letters:", "the flood of dead letters is over"] {
        assert_eq!(ended.log.matches(words).count(), 1, "{words} in\n{}", ended.log);
    }
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead, found.repeated), (21, 84, 0));
}

#[test]
fn where_it_is_configured_a_flood_stops_the_service_and_nothing_is_lost() {
    let stage = Stage::embedded(1);
    let inputs = stage.produce(poison(500));
    let stopping = settings(&stage, "{share: 0.5, per: 1m, at_least: 50, action: stop}");
    let ended = Service::start(&stopping).ended(Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let line = ended.log.lines().rfind(|line| line.contains("\"ERROR\"")).unwrap();
    for words in ["dead_letters.flood", "the action is stop", "riskstream dlq list", "report"] {
        assert!(line.contains(words), "{words} in {line}");
    }
    let mut service = Service::start(&settings(&stage, "{share: 0.5, per: 1m, at_least: 50}"));
    service.assigned(1);
    stage.wait_for(inputs.len(), Duration::from_secs(60));
    service.ends_well();
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead), (100, 400));
    check::all_committed(&stage);
}
