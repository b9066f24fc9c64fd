//! Late answers on a real broker: behind real transactions, to a topic that refuses them, and across a rebalance.

use std::time::Duration;

use riskstream::simulator::{Fault, Latency};

use crate::harness::kafka::Stage;
use crate::harness::late::{alert, dropped, one_each, published, started};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{check, wait};
use crate::{DEFAULT, broker};

/// A stage, and a topic of updates that takes batches of so many bytes.
fn stage(max_bytes: u32) -> (Stage, String) {
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let updates = format!("{}-updates", stage.output);
    stage.create(&updates, 2, Some(max_bytes));
    (stage, updates)
}

fn slow() -> Vendors {
    let vendors = Vendors::start(0);
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(4_000)));
    vendors
}

#[test]
fn an_update_follows_its_committed_output_and_both_stand_once() {
    let Some(_broker) = broker() else { return };
    for delivery in ["at_least_once", "exactly_once"] {
        let ((stage, updates), vendors) = (stage(DEFAULT), slow());
        let mut service = started(&stage, &vendors, &format!("delivery: {delivery}"), Some(&updates));
        stage.produce((0..40).map(|n| alert(n as i32 % 2, n)).collect());
        stage.wait_for(40, Duration::from_secs(10));
        assert_eq!(published(&mut service), 0.0, "an answer was early");
        wait("the updates", Duration::from_secs(20), || published(&mut service) == 40.0);
        service.ends_well();
        one_each(&stage.outputs(), &stage.read(&updates));
        check::all_committed(&stage);
    }
}

#[test]
fn a_topic_that_refuses_updates_takes_back_no_transaction() {
    let Some(_broker) = broker() else { return };
    let ((stage, updates), vendors) = (stage(100), slow());
    let mut service = started(&stage, &vendors, "delivery: exactly_once", Some(&updates));
    stage.produce((0..40).map(|n| alert(n as i32 % 2, n)).collect());
    stage.wait_for(40, Duration::from_secs(10));
    let aborted = |service: &mut Service| service.metric("riskstream_transactions_total{result=\"aborted\"}");
    let before = aborted(&mut service);
    wait("the refusals", Duration::from_secs(20), || dropped(&mut service, "refused") == 40.0);
    stage.produce((0..40).map(|n| alert(n as i32 % 2, n)).collect());
    stage.wait_for(80, Duration::from_secs(10));
    assert_eq!((published(&mut service), aborted(&mut service)), (0.0, before));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0));
    assert!(ended.log.contains("an update was refused"), "{}", ended.log);
    assert_eq!((stage.outputs().len(), stage.read(&updates).len()), (80, 0));
    check::all_committed(&stage);
}

#[test]
fn who_gave_its_partitions_away_still_sends_the_updates_of_what_it_published() {
    let Some(_broker) = broker() else { return };
    let ((stage, updates), vendors) = (stage(DEFAULT), Vendors::start(0));
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(12_000)));
    let mut first = started(&stage, &vendors, "delivery: at_least_once", Some(&updates));
    stage.produce((0..20).map(|n| alert(n as i32 % 2, n)).collect());
    stage.wait_for(20, Duration::from_secs(10));
    // Another member of the group: one partition goes to it.
    let rest = format!("providers:\n{}", vendors.provider("datadog", ""));
    let mut second = Service::start(&Settings::of(&stage, "", rest).text());
    second.assigned(1);
    first.assigned(1);
    wait("the updates", Duration::from_secs(20), || published(&mut first) == 20.0);
    for service in [first, second] {
        service.ends_well();
    }
    one_each(&stage.outputs(), &stage.read(&updates));
    check::all_committed(&stage);
}

#[test]
fn a_topic_of_updates_that_is_not_there_ends_the_start_and_is_named() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    let vendors = Vendors::start(0);
    let mut settings = Settings::of(&stage, "", vendors.providers(""));
    let output = format!("output: {{topic: {}", stage.output);
    settings.topics = settings.topics.replace(&output, &format!("{output}, updates: nowhere"));
    let ended = Service::start(&settings.text()).ended(Duration::from_secs(30));
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("update topic \\\"nowhere\\\""), "{}", ended.log);
}
