//! Topics that come, grow and go while the service runs.

use std::time::Duration;

use crate::harness::kafka::{Record, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};
use crate::{DEFAULT, broker};

/// Settings that read what `topics` (YAML) says instead of the stage's input.
fn reading(stage: &Stage, topics: &str, kafka: &str, vendors: &Vendors) -> Settings {
    let mut settings = Settings::of(stage, "deadline: 10s", vendors.providers(""));
    settings.topics =
        settings.topics.replace(&format!("topics: [{}]", stage.input), &format!("topics: {topics}"));
    settings.kafka += kafka;
    settings
}

/// Writes `count` alerts to the input of a view.
fn feed(stage: &Stage, count: usize) -> Vec<Record> {
    stage.produce((0..count).map(|n| alerts::mixed(n, 500, stage.partitions)).collect())
}

fn later(protocol: &str) {
    let stage = Stage::real(3, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let source = |name: &str| format!("{}.{name}", stage.input);
    let pattern = format!(r"^{}\.[a-z]+$", stage.input);
    let kafka = format!(", consumer: {{group.protocol: {protocol}}}");
    let settings = reading(&stage, &format!("['{pattern}']"), &kafka, &vendors);
    let mut service = Service::start(&settings.text());
    service.ready();
    let note = |service: &mut Service| service.get("/readyz").1.contains("no topic matches");
    wait("readiness says that nothing matches", Duration::from_secs(20), || note(&mut service));
    assert_eq!(service.get("/readyz").0, 200, "that is no reason not to be ready");
    let mut all = Vec::new();
    for (name, partitions) in [("first", 3), ("second", 1), ("third", 3)] {
        stage.create(&source(name), partitions, None);
        let view = stage.view(&source(name), partitions);
        let inputs = feed(&view, 3_000);
        let before: usize = all.iter().map(|(_, inputs): &(Stage, Vec<Record>)| inputs.len()).sum();
        let took = stage.wait_for(before + inputs.len(), Duration::from_secs(90));
        say(&format!(
            "{protocol}: {name} was read whole {:.1} s after it was created and fed",
            took.as_secs_f64()
        ));
        all.push((view, inputs));
    }
    // One that the pattern does not match whole, and our own topics: not read.
    stage.create(&source("fourth-not"), 1, None);
    feed(&stage.view(&source("fourth-not"), 1), 10);
    let assigned = service.metric("riskstream_assigned_partitions");
    assert_eq!(assigned, Some(7.0));
    wait("the note goes", Duration::from_secs(60), || !note(&mut service));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for (view, _) in &all {
        check::all_committed(view);
    }
    let found = check::compare_all(&all, check::Order::None);
    assert_eq!((found.published, found.repeated, found.dead), (9_000, 0, 0));
}

#[test]
fn a_topic_that_is_created_later_and_matches_is_read_without_a_restart() {
    let Some(_broker) = broker() else { return };
    later("classic");
}

#[test]
fn the_same_with_the_brokers_own_protocol() {
    let Some(_broker) = broker() else { return };
    later("consumer");
}
