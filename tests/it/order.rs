//! Which order outputs keep while their look-ups take very different times.

use std::time::Duration;

use riskstream::simulator::{Fault, Latency};

use crate::harness::kafka::{NewRecord, Record, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check};

/// Runs alerts of two keys through `order`: the first, about a slow entity, has key `a`; then come `a`, `b`, `a`, `b`,
/// about fast ones. Returns the inputs and their offsets in the order in which they came out.
fn run(order: &str) -> Vec<i64> {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(5);
    // Only the very first call is slow; the alerts behind it go on when its look-up has begun.
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(1_500)).times(1));
    let rest = format!("providers:\n{}", vendors.provider("datadog", ", timeout: 10s"));
    let pipeline = format!("deadline: 30s, drain: 40s, shutdown: 50s, order: {order}");
    let mut service = Service::start(&Settings::of(&stage, &pipeline, rest).text());
    service.assigned(1);
    let alert = |key: &str, n: usize| NewRecord {
        key: Some(key.as_bytes().to_vec()),
        ..NewRecord::value(0, alerts::of("datadog", &alerts::entity("datadog", n), n))
    };
    let mut inputs: Vec<Record> = stage.produce(vec![alert("a", 0)]);
    crate::harness::wait("the slow call", Duration::from_secs(10), || vendors.requests() == 1);
    for (n, key) in ["a", "b", "a", "b"].into_iter().enumerate() {
        let mut records = stage.produce(vec![alert(key, n + 1)]);
        inputs.append(&mut records);
        crate::harness::wait("the next call", Duration::from_secs(10), || vendors.requests() == n as u64 + 2);
    }
    stage.wait_for(5, Duration::from_secs(10));
    service.ends_well();
    check::all_committed(&stage);
    check::compare(&stage, &inputs, order == "partition");
    stage.outputs().iter().map(|output| check::source(&stage, output).1).collect()
}

#[test]
fn by_partition_nobody_overtakes() {
    assert_eq!(run("partition"), [0, 1, 2, 3, 4]);
}

#[test]
fn by_key_only_alerts_of_other_keys_overtake() {
    assert_eq!(run("key"), [2, 4, 0, 1, 3]);
}

#[test]
fn without_an_order_whoever_is_ready_leaves() {
    let out = run("none");
    assert_eq!(out.last(), Some(&0), "{out:?}");
    let mut sorted = out.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2, 3, 4]);
}

#[test]
fn a_slow_alert_is_overtaken_within_a_bound_and_then_waited_for() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(5);
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(8_000)).times(1));
    let rest = format!("providers:\n{}", vendors.provider("datadog", ", timeout: 20s"));
    let pipeline = "deadline: 30s, drain: 40s, shutdown: 50s, order: none, in_flight: 50";
    let mut service = Service::start(&Settings::of(&stage, pipeline, rest).text());
    service.assigned(1);
    let alert = |entity: usize, n: usize| {
        NewRecord::value(0, alerts::of("datadog", &alerts::entity("datadog", entity), n))
    };
    let mut inputs = stage.produce(vec![alert(0, 0)]);
    crate::harness::wait("the slow call", Duration::from_secs(10), || vendors.requests() == 1);
    inputs.extend(stage.produce((1..2_000).map(|n| alert(1, n)).collect()));
    // Four times what may be in flight stands behind it in the ledger: a crash now would repeat no more.
    crate::harness::wait("no more is taken", Duration::from_secs(7), || {
        service.metric("riskstream_pauses_total") == Some(1.0)
    });
    assert_eq!(service.metric("riskstream_alerts_consumed_total"), Some(200.0));
    assert_eq!(vendors.requests(), 2, "the slow call has not ended");
    stage.wait_for(2_000, Duration::from_secs(30));
    service.ends_well();
    check::all_committed(&stage);
    check::compare(&stage, &inputs, false);
}
