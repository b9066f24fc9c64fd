//! Instances that die, join and leave under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::kafka::{Record, Stage};
use crate::harness::scenarios::{Drip, report};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};
use crate::{DEFAULT, broker_alone};

/// A machine that stands still for a second makes no look-up fail.
const PATIENT: &str = ", timeout: 20s";

/// Feeds alerts at `rate` while `meanwhile` runs, and returns what was written.
pub fn under_load(stage: &Stage, entities: usize, rate: usize, meanwhile: impl FnOnce()) -> Vec<Record> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let mut drip = Drip::new(stage, entities);
            while !over.load(Ordering::Relaxed) {
                drip.send(rate / 10, rate);
            }
            drip.end()
        });
        // Also when it panics, so that the feeder ends and the failure is told.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        over.store(true, Ordering::Relaxed);
        let inputs = feeder.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        inputs
    })
}

#[test]
fn a_kill_in_the_middle_loses_nothing_and_repeats_little() {
    let Some(_broker) = broker_alone() else { return };
    let (alerts, entities) = (200_000, 10_000);
    let stage = Stage::real(12, DEFAULT, DEFAULT);
    let vendors = Vendors::start(50);
    let inputs = stage.produce((0..alerts).map(|n| alerts::mixed(n, entities, stage.partitions)).collect());
    let pipeline = "deadline: 30s, drain: 40s, shutdown: 50s";
    let mut settings = Settings::of(&stage, pipeline, vendors.providers(PATIENT));
    // As the chart does: without a name of its own, a killed member keeps its partitions for 45 s.
    settings.kafka += ", consumer: {group.instance.id: e2e-0}";
    let service = Service::start(&settings.text());
    stage.wait_for(alerts / 3, Duration::from_secs(120));
    let killed = service.kill();
    assert_eq!(killed.code, None);
    let before = stage.count(&stage.output);
    assert!(before < alerts as i64, "killed too late to show anything");
    let mut service = Service::start(&settings.text());
    service.assigned(12);
    // The end is when everything is committed: with repetitions there is no count to wait for.
    wait("everything committed", Duration::from_secs(300), || stage.committed() == stage.ends());
    service.ends_well();
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead), (alerts, 0));
    assert_eq!(found.statuses, [("complete".to_owned(), alerts)].into());
    let questions = vendors.questions();
    assert_eq!(questions.len(), entities);
    assert!(questions.iter().all(|count| *count <= 2), "asked once by each process at most");
    report("kill -9", &found, &vendors);
    say(&format!("kill -9 came after {before} outputs"));
}

#[test]
fn a_stop_in_the_middle_loses_and_repeats_nothing() {
    let Some(_broker) = broker_alone() else { return };
    let (alerts, entities) = (100_000, 20_000);
    let stage = Stage::real(12, DEFAULT, DEFAULT);
    let vendors = Vendors::start(50);
    let inputs = stage.produce((0..alerts).map(|n| alerts::mixed(n, entities, stage.partitions)).collect());
    let settings =
        Settings::of(&stage, "deadline: 30s, drain: 40s, shutdown: 50s", vendors.providers(PATIENT)).text();
    let service = Service::start(&settings);
    stage.wait_for(alerts / 4, Duration::from_secs(120));
    let stopped = service.terminate();
    assert_eq!(stopped.code, Some(0), "{}", stopped.log);
    let before = stage.count(&stage.output);
    assert!(before < alerts as i64, "stopped too late to show anything");
    let committed: i64 = stage.committed().values().sum();
    assert_eq!(committed, before, "what came out is committed, and nothing else:\n{}", stopped.log);
    let mut service = Service::start(&settings);
    service.assigned(12);
    stage.wait_for(alerts, Duration::from_secs(120));
    service.ends_well();
    check::all_committed(&stage);
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.repeated, found.dead), (alerts, 0, 0));
    report("stop and start", &found, &vendors);
    say(&format!("the stop took {:?} with alerts in flight, after {before} outputs", stopped.took));
}

#[test]
fn an_instance_joins_and_leaves_under_load_without_loss_or_repetition() {
    let Some(_broker) = broker_alone() else { return };
    let stage = Stage::real(12, DEFAULT, DEFAULT);
    let vendors = Vendors::start(20);
    let settings = Settings::of(&stage, "deadline: 10s, threads: 2", vendors.providers("")).text();
    let mut first = Service::start(&settings);
    first.assigned(12);
    let mut ended = None;
    let inputs = under_load(&stage, 5_000, 3_000, || {
        wait("the load to flow", Duration::from_secs(30), || stage.count(&stage.output) > 3_000);
        let mut second = Service::start(&settings);
        second.assigned(6);
        first.assigned(6);
        let shared = stage.count(&stage.output);
        wait("both to work", Duration::from_secs(30), || stage.count(&stage.output) > shared + 6_000);
        assert!(second.metric("riskstream_alerts_published_total").unwrap() > 0.0);
        ended = Some(second.terminate());
        first.assigned(12);
        let alone = stage.count(&stage.output);
        wait("the first to go on", Duration::from_secs(60), || stage.count(&stage.output) > alone + 3_000);
    });
    let ended = ended.unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    wait("everything committed", Duration::from_secs(60), || stage.committed() == stage.ends());
    first.ends_well();
    let found = check::compare(&stage, &inputs, true);
    report("join and leave, two lanes each", &found, &vendors);
    assert_eq!((found.repeated, found.dead), (0, 0));
}
