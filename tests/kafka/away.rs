//! A broker that is not there: while the service starts, works and stops.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash::under_load;
use crate::harness::kafka::Stage;
use crate::harness::scenarios::report;
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};
use crate::script::script;
use crate::{DEFAULT, broker_alone};

/// Kills the broker and brings it back at the end, also of a test that fails.
struct Away;

impl Away {
    fn kill() -> Away {
        script("kill");
        Away
    }

    /// Brings it back; the moment at which it was ready.
    fn end(self) -> Instant {
        drop(self);
        Instant::now()
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        script("up");
    }
}

#[test]
fn a_broker_killed_under_load_costs_time_and_no_alert() {
    let Some(_broker) = broker_alone() else { return };
    let stage = Stage::real(12, DEFAULT, DEFAULT);
    let vendors = Vendors::start(20);
    let settings = Settings::of(&stage, "deadline: 10s", vendors.providers("")).text();
    let mut service = Service::start(&settings);
    service.assigned(12);
    let mut recovered = Duration::ZERO;
    let inputs = under_load(&stage, 5_000, 3_000, || {
        wait("the load to flow", Duration::from_secs(30), || stage.count(&stage.output) > 3_000);
        let away = Away::kill();
        assert_eq!(service.get("/livez").0, 200, "an outage of the broker is no reason to be restarted");
        let back = away.end();
        let published = service.metric("riskstream_alerts_published_total").unwrap();
        wait("acknowledgements to go on", Duration::from_secs(60), || {
            service.metric("riskstream_alerts_published_total").unwrap() > published
        });
        recovered = back.elapsed();
        let now = stage.count(&stage.output);
        wait("the load to flow again", Duration::from_secs(60), || stage.count(&stage.output) > now + 3_000);
    });
    wait("everything committed", Duration::from_secs(60), || {
        assert!(!service.has_ended(), "the outage ended the service:\n{}", service.log());
        stage.committed() == stage.ends()
    });
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    crate::harness::keep("broker-killed.log", &ended.log);
    let found = check::compare(&stage, &inputs, true);
    report("broker killed under load", &found, &vendors);
    say(&format!("acknowledgements went on {recovered:?} after the broker was ready"));
    assert_eq!((found.repeated, found.dead), (0, 0), "{}", ended.log);
    assert!(complaints(&ended.log) < 50, "an outage is told once:\n{}", ended.log);
}

#[test]
fn a_stop_while_the_broker_is_dead_ends_in_time_with_an_error_and_loses_nothing() {
    let Some(_broker) = broker_alone() else { return };
    let stage = Stage::real(4, DEFAULT, DEFAULT);
    let vendors = Vendors::start(500);
    let pipeline = "deadline: 2s, drain: 3s, shutdown: 5s";
    let mut settings = Settings::of(&stage, pipeline, vendors.providers(""));
    settings.kafka += ", consumer: {group.instance.id: e2e-away}";
    let mut service = Service::start(&settings.text());
    service.assigned(4);
    let inputs = stage.produce((0..2_000).map(|n| alerts::mixed(n, 2_000, 4)).collect());
    wait("alerts in flight", Duration::from_secs(10), || {
        service.metric("riskstream_in_flight_alerts").is_some_and(|alerts| alerts > 100.0)
    });
    let away = Away::kill();
    let ended = service.terminate();
    say(&format!(
        "stop without a broker: {:?} (pipeline.shutdown 5 s), exit code {:?}",
        ended.took, ended.code
    ));
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.took < Duration::from_secs(8), "{:?}", ended.took);
    away.end();
    let mut service = Service::start(&settings.text());
    service.assigned(4);
    wait("everything committed", Duration::from_secs(60), || stage.committed() == stage.ends());
    service.ends_well();
    let found = check::compare(&stage, &inputs, true);
    report("stopped without a broker and started again", &found, &vendors);
    assert_eq!(found.dead, 0);
}

#[test]
fn a_start_without_a_broker_waits_says_why_and_is_ready_within_a_second_of_it() {
    let Some(_broker) = broker_alone() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    let vendors = Vendors::start(1);
    let settings = Settings::of(&stage, "", vendors.providers("")).text();
    let away = Away::kill();
    let mut service = Service::start(&settings);
    let mut said = String::new();
    wait("readiness says what is missing", Duration::from_secs(10), || {
        let (code, body) = service.get("/readyz");
        assert_eq!(code, 503);
        said = body;
        said.contains("waiting for a Kafka broker")
    });
    let reasons: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&reasons["ready"], reasons["reasons"].as_array().unwrap().len()), (&Value::Bool(false), 1));
    assert_eq!(service.get("/livez").0, 200);
    let back = away.end();
    service.ready();
    let ready = back.elapsed();
    say(&format!("ready {ready:?} after the broker was"));
    assert!(ready < Duration::from_secs(1), "{ready:?}");
    let inputs = stage.produce((0..100).map(|n| alerts::mixed(n, 10, 1)).collect());
    stage.wait_for(100, Duration::from_secs(30));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0));
    assert!(complaints(&ended.log) < 50, "an outage is told once:\n{}", ended.log);
    assert_eq!(check::compare(&stage, &inputs, true).repeated, 0);
}

/// Lines about something that is not as it should be.
fn complaints(log: &str) -> usize {
    log.lines().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).count()
}
