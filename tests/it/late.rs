//! Answers that come after their alert has left: who gets an update, how many, and what they hold up.

use std::time::{Duration, Instant};

use riskstream::simulator::{Fault, Latency};

use crate::harness::kafka::{DEAD, Stage, UPDATES};
use crate::harness::late::{alert, dropped, one_each, published, started};
use crate::harness::vendors::Vendors;
use crate::harness::{check, say, wait};

const AT_LEAST_ONCE: &str = "delivery: at_least_once";
const EXACTLY_ONCE: &str = "delivery: exactly_once";

#[test]
fn an_alert_that_left_at_its_deadline_gets_one_update_with_the_answer() {
    let stage = Stage::embedded(2);
    let vendors = Vendors::start(0);
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(3_000)));
    let mut service = started(&stage, &vendors, AT_LEAST_ONCE, Some(UPDATES));
    let sent = Instant::now();
    let inputs = stage.produce((0..20).map(|n| alert(n as i32 % 2, n)).collect());
    stage.wait_for(20, Duration::from_secs(5));
    let left = sent.elapsed();
    assert!(
        left < Duration::from_millis(2_500),
        "they left at their deadline, not with the answer: {left:?}"
    );
    assert_eq!(service.metric("riskstream_updates_waiting"), Some(20.0));
    assert_eq!(published(&mut service), 0.0, "no update before there is an answer");
    wait("the updates", Duration::from_secs(10), || published(&mut service) == 20.0);
    say(&format!("20 outputs after {left:?}, their updates after {:?}", sent.elapsed()));
    let late = stage.outputs();
    one_each(&late, &stage.read(UPDATES));
    // Those who come now find the answers in the cache: they need no update, and their scores are the updates' scores.
    vendors.world.clear_faults();
    stage.produce((0..20).map(|n| alert(n as i32 % 2, n)).collect());
    stage.wait_for(40, Duration::from_secs(10));
    assert_eq!((published(&mut service), service.metric("riskstream_updates_waiting")), (20.0, Some(0.0)));
    service.ends_well();
    check::all_committed(&stage);
    let updates = stage.read(UPDATES);
    assert_eq!(updates.len(), 20);
    let ready = stage.outputs().into_iter().filter(|output| !late.contains(output));
    for output in ready {
        let update = updates.iter().find(|update| update.key == output.key).unwrap().json();
        let risk = &output.json()["risk"];
        assert_eq!((&update["score"], &update["level"]), (&risk["score"], &risk["level"]));
        assert_eq!(update["entities"][0]["raw"], risk["entities"][0]["raw"]);
    }
    for (input, output) in inputs.iter().filter_map(|i| Some((i, late.iter().find(|o| o.key == i.key)?))) {
        check::same(input, output).unwrap();
    }
}

/// What the embedded broker can show of transactions: its own are never taken back, nor hidden from readers. The rest is in
/// `tests/kafka`.
#[test]
fn in_transactions_an_alert_gets_its_update_once_it_is_committed() {
    let stage = Stage::embedded(2);
    let vendors = Vendors::start(0);
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(3_000)));
    let mut service = started(&stage, &vendors, EXACTLY_ONCE, Some(UPDATES));
    stage.produce((0..20).map(|n| alert(n as i32 % 2, n)).collect());
    wait("their commit", Duration::from_secs(10), || {
        service.metric("riskstream_updates_waiting") == Some(20.0)
    });
    assert_eq!(service.metric("riskstream_alerts_published_total"), Some(20.0));
    wait("the updates", Duration::from_secs(10), || published(&mut service) == 20.0);
    service.ends_well();
    let mut outputs = stage.outputs();
    outputs.retain(|output| output.header("risk-status") == Some("failed"));
    // The first transaction is sent twice, and its first try stays visible here.
    outputs.sort_by_key(|output| output.header("risk-source").map(str::to_owned));
    outputs.dedup_by_key(|output| output.header("risk-source").map(str::to_owned));
    one_each(&outputs, &stage.read(UPDATES));
}

#[test]
fn without_a_topic_for_updates_there_are_none_and_nothing_waits() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(1_500)));
    let mut service = started(&stage, &vendors, AT_LEAST_ONCE, None);
    stage.produce((0..10).map(|n| alert(0, n)).collect());
    stage.wait_for(10, Duration::from_secs(5));
    assert_eq!(service.metric("riskstream_updates_waiting"), Some(0.0));
    wait("the flights to land", Duration::from_secs(10), || {
        service.metric("riskstream_cache_entries") == Some(10.0)
    });
    service.ends_well();
    assert_eq!(stage.read(UPDATES), []);
    assert!(stage.outputs().iter().all(|output| output.header("risk-status") == Some("failed")));
}

#[test]
fn a_vendor_that_fails_in_the_end_or_was_never_asked_leaves_no_update() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let failure = Fault::status("/datadog", 500, "{}");
    vendors.world.fault(Fault { latency: Some(Latency::Fixed(1_500)), ..failure });
    let mut service = started(&stage, &vendors, AT_LEAST_ONCE, Some(UPDATES));
    stage.produce((0..10).map(|n| alert(0, n)).collect());
    stage.wait_for(10, Duration::from_secs(5));
    wait("the flights to fail", Duration::from_secs(10), || dropped(&mut service, "no_answer") == 10.0);
    // Their failure is remembered: these are told so at once, and no flight is under way for them.
    stage.produce((0..10).map(|n| alert(0, n)).collect());
    stage.wait_for(20, Duration::from_secs(5));
    let reasons: Vec<_> =
        stage.outputs().iter().map(|o| o.json()["risk"]["entities"][0]["reason"].clone()).collect();
    assert_eq!(reasons.iter().filter(|reason| *reason == "deadline").count(), 10);
    assert_eq!(reasons.iter().filter(|reason| *reason == "server_error").count(), 10, "{reasons:?}");
    assert_eq!(service.metric("riskstream_updates_waiting"), Some(0.0));
    assert_eq!((published(&mut service), dropped(&mut service, "no_answer")), (0.0, 10.0));
    service.ends_well();
    assert_eq!(stage.read(UPDATES), []);
}

#[test]
fn above_the_bound_no_update_is_promised_and_every_alert_is_accounted_for() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(5_000)));
    let mut service = started(&stage, &vendors, "in_flight: 20", Some(UPDATES));
    stage.produce((0..60).map(|n| alert(0, n)).collect());
    stage.wait_for(60, Duration::from_secs(10));
    assert_eq!(service.metric("riskstream_updates_waiting"), Some(20.0), "as many as may be in flight");
    assert_eq!(dropped(&mut service, "no_room"), 40.0);
    wait("the updates", Duration::from_secs(10), || published(&mut service) == 20.0);
    service.ends_well();
    assert_eq!(stage.read(UPDATES).len(), 20);
    check::all_committed(&stage);
}

#[test]
fn a_stop_does_not_wait_for_late_answers_and_says_how_many_there_were() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(14_000)));
    let mut service = started(&stage, &vendors, AT_LEAST_ONCE, Some(UPDATES));
    stage.produce((0..20).map(|n| alert(0, n)).collect());
    stage.wait_for(20, Duration::from_secs(5));
    assert_eq!(service.metric("riskstream_updates_waiting"), Some(20.0));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0));
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
    assert!(ended.log.contains("\"late\":20"), "{}", ended.log);
    assert_eq!(stage.read(UPDATES), []);
    check::all_committed(&stage);
}

#[test]
fn a_topic_that_takes_no_update_is_nothing_to_alerts() {
    use riskstream::simulator::broker::{Refusal, Request};
    let stage = Stage::apart(1);
    stage.broker().lead(UPDATES, 1, DEAD).unwrap();
    let vendors = Vendors::start(0);
    vendors.world.fault(Fault::slow_answer("/datadog", Latency::Fixed(1_500)));
    let mut service = started(&stage, &vendors, AT_LEAST_ONCE, Some(UPDATES));
    let no = [Refusal::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 20];
    stage.broker().refuse(DEAD, Request::Produce, &no).unwrap();
    stage.produce((0..10).map(|n| alert(0, n)).collect());
    stage.wait_for(10, Duration::from_secs(5));
    wait("the refusals", Duration::from_secs(10), || dropped(&mut service, "refused") == 10.0);
    stage.produce((0..10).map(|n| alert(0, n)).collect());
    stage.wait_for(20, Duration::from_secs(5));
    assert_eq!(service.get("/livez").0, 200);
    service.ends_well();
    assert_eq!(stage.read(UPDATES), []);
    check::all_committed(&stage);
}
