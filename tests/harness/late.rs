//! What the tests of late answers share: a service that is impatient, and what an update must look like.

use super::alerts;
use super::kafka::{NewRecord, Record, Stage};
use super::service::{Service, Settings};
use super::vendors::Vendors;

/// A service with a deadline of half a second, whose vendor may take fifteen.
pub fn started(stage: &Stage, vendors: &Vendors, pipeline: &str, updates: Option<&str>) -> Service {
    let guards = ", timeout: 15s, concurrency: 400, retry: {attempts: 1}, breaker: {minimum: 100000}";
    let rest = format!("providers:\n{}", vendors.provider("datadog", guards));
    let mut settings = Settings::of(stage, &format!("deadline: 500ms, {pipeline}"), rest);
    settings.kafka += ", instance: it-0";
    if let Some(updates) = updates {
        let output = format!("output: {{topic: {}", stage.output);
        settings.topics = settings.topics.replace(&output, &format!("{output}, updates: {updates}"));
    }
    let mut service = Service::start(&settings.text());
    service.assigned(stage.partitions.into());
    service
}

/// An alert about an entity of its own.
pub fn alert(partition: i32, n: usize) -> NewRecord {
    let value = alerts::of("datadog", &alerts::entity("datadog", n), n);
    NewRecord { key: Some(format!("key-{n}").into_bytes()), ..NewRecord::value(partition, value) }
}

/// Alerts that got no update for this reason.
pub fn dropped(service: &mut Service, reason: &str) -> f64 {
    service.metric(&format!("riskstream_updates_dropped_total{{reason=\"{reason}\"}}")).unwrap()
}

/// Updates that their topic has.
pub fn published(service: &mut Service) -> f64 {
    service.metric("riskstream_updates_published_total").unwrap()
}

/// Each output left as `failed: deadline`, and each has one update, about the same alert, with what the vendor says.
pub fn one_each(outputs: &[Record], updates: &[Record]) {
    assert_eq!(updates.len(), outputs.len());
    for output in outputs {
        let source = output.header("risk-source").unwrap();
        let entity = output.json()["risk"]["entities"][0].clone();
        assert_eq!((&entity["status"], &entity["reason"]), (&"failed".into(), &"deadline".into()));
        let of_it: Vec<_> = updates.iter().filter(|u| u.header("risk-source") == Some(source)).collect();
        let [update] = of_it.as_slice() else { panic!("{} updates of {source}", of_it.len()) };
        let json = update.json();
        assert_eq!(json["schema"], "riskstream/update/v1");
        assert_eq!(json["risk_source"], source);
        assert_eq!(json["status"], "complete");
        assert_eq!((update.partition, &update.key), (output.partition, &output.key), "beside its output");
        let [new] = json["entities"].as_array().unwrap().as_slice() else { panic!("{json}") };
        for same in ["kind", "value", "paths", "provider"] {
            assert_eq!(new[same], entity[same], "{same}");
        }
        assert_eq!(new["source"], "provider");
        assert_eq!(new["score"], json["score"], "the only entity's is the alert's");
        assert_eq!(update.header("risk-schema"), Some("riskstream/update/v1"));
        assert_eq!(update.header("risk-status"), Some("complete"));
        let score = json["score"].as_number().map(ToString::to_string);
        assert_eq!(score.is_some(), new["status"] == "scored", "{new}");
        assert_eq!(update.header("risk-score"), score.as_deref());
        assert_eq!(update.header("risk-level"), json["level"].as_str());
    }
    assert!(updates.iter().any(|update| update.json()["score"].is_number()), "some are scored");
}
