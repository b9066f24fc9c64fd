//! A vendor that hangs: alerts leave marked and in time, others are not held up, and the late answer is not lost.

use std::time::Duration;

use riskstream::simulator::{Fault, Latency};

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};

/// A service whose deadline is one second, and whose vendor may take ten.
fn started(stage: &Stage, vendors: &Vendors) -> Service {
    let guards = ", timeout: 10s, breaker: {minimum: 100000}";
    let rest = format!("providers:\n{}", vendors.provider("datadog", guards));
    let mut service = Service::start(&Settings::of(stage, "deadline: 1s", rest).text());
    service.assigned(stage.partitions.into());
    service
}

#[test]
fn an_alert_leaves_at_its_deadline_and_a_late_answer_serves_the_next() {
    let stage = Stage::embedded(2);
    let vendors = Vendors::start(0);
    let mut service = started(&stage, &vendors);
    let entity = |n| alerts::entity("datadog", n);
    let alert = |partition, n| NewRecord::value(partition, alerts::of("datadog", &entity(n), n));

    stage.produce(vec![alert(1, 1)]);
    stage.wait_for(1, Duration::from_secs(10));
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(4_000)));
    // Twenty that must wait, and then ten on the other partition that need not.
    let mut records: Vec<NewRecord> = (100..120).map(|n| alert(0, n)).collect();
    records.extend((0..10).map(|_| alert(1, 1)));
    let inputs = stage.produce(records);
    let cached = stage.wait_for(11, Duration::from_millis(900));
    let all = stage.wait_for(31, Duration::from_secs(2));
    say(&format!(
        "deadline 1 s: alerts about a cached entity out after {cached:?}, all after {:?}",
        cached + all
    ));

    let outputs = stage.outputs();
    let by_source: std::collections::HashMap<_, _> =
        outputs.iter().map(|o| (check::source(&stage, o), o)).collect();
    for input in &inputs {
        let output = by_source[&(input.partition, input.offset)];
        let risk = check::same(input, output).unwrap();
        let entity = &risk["entities"][0];
        if input.partition == 0 {
            assert_eq!(output.header("risk-status"), Some("failed"));
            assert_eq!(
                (&entity["status"], &entity["reason"]),
                (&"failed".into(), &"deadline".into()),
                "{risk}"
            );
        } else {
            assert_eq!(output.header("risk-status"), Some("complete"));
            assert_eq!(entity["source"], "cache");
        }
    }

    // The flights land later and fill the cache: nobody is asked again.
    vendors.world.clear_faults();
    wait("the flights to land", Duration::from_secs(10), || {
        service.metric("riskstream_flights") == Some(0.0)
            && service.metric("riskstream_cache_entries") == Some(21.0)
    });
    let before = vendors.requests();
    stage.produce((100..120).map(|n| alert(0, n)).collect());
    stage.wait_for(51, Duration::from_secs(10));
    assert_eq!(vendors.requests(), before);
    let late = stage.outputs().into_iter().filter(|o| o.partition == 0).skip(20);
    late.for_each(|output| assert_eq!(output.json()["risk"]["entities"][0]["source"], "cache"));
    service.ends_well();
    check::all_committed(&stage);
}
