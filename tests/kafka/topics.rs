//! Topics that come, grow and go while the service runs.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::kafka::{Record, Stage};
use crate::harness::proxy::{OFFSET_FETCH, Proxy};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};
use crate::{DEFAULT, broker, broker_alone};

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

/// Partitions are added to the input while it is read, from 4 to 8; the output grows to `outputs` before.
fn grows(outputs: i32, offset_reset: &str) -> (Stage, String) {
    let stage = Stage::real(4, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let refresh = ", consumer: {topic.metadata.refresh.interval.ms: 3000}";
    let mut settings =
        reading(&stage, &format!("[{}], offset_reset: {offset_reset}", stage.input), refresh, &vendors);
    settings.pipeline += ", threads: 2";
    let mut service = Service::start(&settings.text());
    service.assigned(4);
    // A group that starts at the end must have said so before there is something.
    wait("the start is committed", Duration::from_secs(20), || {
        offset_reset == "earliest" || stage.committed().len() == 4
    });
    let mut inputs = feed(&stage, 2_000);
    stage.wait_for(2_000, Duration::from_secs(60));
    if outputs > 4 {
        stage.grow(&stage.output, outputs);
    }
    stage.grow(&stage.input, 8);
    let grown = stage.view(&stage.input, 8);
    inputs.extend(feed(&grown, 4_000));
    let took = stage.wait_for(6_000, Duration::from_secs(90));
    say(&format!(
        "4 to 8 partitions, output {outputs}: all read {:.1} s after the new ones were fed",
        took.as_secs_f64()
    ));
    // The old ones were read before they were given again, perhaps.
    service.assigned(8);
    inputs.extend(feed(&grown, 4_000));
    stage.wait_for(10_000, Duration::from_secs(60));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    check::all_committed(&grown);
    // Where the output has not grown, alerts of a key stay together, and those without one within what there is.
    let order = if outputs == 8 { check::Order::Partition } else { check::Order::None };
    let found = check::compare_all(&[(grown, inputs)], order);
    assert_eq!((found.published, found.repeated, found.dead), (10_000, 0, 0));
    (stage, ended.log)
}

#[test]
fn partitions_that_are_added_to_input_and_output_are_read_and_keep_their_numbers() {
    let Some(_broker) = broker() else { return };
    grows(8, "earliest");
}

#[test]
fn partitions_that_are_added_to_the_input_alone_are_placed_by_key() {
    let Some(_broker) = broker() else { return };
    let (stage, log) = grows(4, "earliest");
    assert!(log.contains("input and output have different partition counts"), "{log}");
    assert!(stage.outputs().iter().all(|output| output.partition < 4));
}

#[test]
fn a_partition_that_is_added_is_read_from_its_beginning_also_by_a_group_that_starts_at_the_end() {
    let Some(_broker) = broker() else { return };
    grows(8, "latest");
}

/// librdkafka joins anew without taking partitions away first when a topic grows while we look up where they start: the next
/// assignment replaces the one before. Of that, what another member has now is not ours.
#[test]
fn partitions_of_an_assignment_that_the_next_one_replaces_are_let_go() {
    let Some(_broker) = broker_alone() else { return };
    let [listen, target] = ["KAFKA_PROXY", "KAFKA_PROXIED"].map(|name| std::env::var(name).expect(name));
    let proxy = Proxy::start(&listen, &target);
    let stage = Stage::real(4, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    // By their names the first half is given to `a`.
    let member = |name: &str, brokers: &str| {
        let mut settings = reading(&stage, &format!("[{}]", stage.input), "", &vendors);
        settings.kafka = format!(
            "brokers: ['{brokers}'], security: plaintext, consumer: {{group.instance.id: {name}, \
             topic.metadata.refresh.interval.ms: 500}}"
        );
        settings.text()
    };
    proxy.delay(OFFSET_FETCH, Duration::from_secs(4));
    let mut slow = Service::start(&member("b", &proxy.address.to_string()));
    wait("it is asked where partitions start", Duration::from_secs(60), || {
        slow.log().contains("partitions assigned")
    });
    let mut other = Service::start(&member("a", &stage.brokers));
    stage.grow(&stage.output, 8);
    stage.grow(&stage.input, 8);
    let grown = stage.view(&stage.input, 8);
    other.assigned(4);
    proxy.delay(OFFSET_FETCH, Duration::ZERO);
    wait("the next assignment", Duration::from_secs(60), || {
        slow.log().matches("partitions assigned").count() == 2
    });
    let inputs = feed(&grown, 4_000);
    stage.wait_for(4_000, Duration::from_secs(60));
    slow.assigned(4);
    slow.ends_well();
    other.ends_well();
    check::all_committed(&grown);
    let found = check::compare_all(&[(grown, inputs)], check::Order::Partition);
    assert_eq!((found.published, found.repeated, found.dead), (4_000, 0, 0));
}

/// Writes alerts of these numbers.
fn feed_numbers(stage: &Stage, numbers: std::ops::Range<usize>) {
    stage.produce(numbers.map(|n| alerts::mixed(n, 500, stage.partitions)).collect());
}

/// The numbers of alerts that came out.
fn published(stage: &Stage) -> BTreeSet<u64> {
    stage.outputs().iter().map(|output| output.json()["number"].as_u64().unwrap()).collect()
}

/// Waits until all of these numbers came out.
fn wait_for_numbers(stage: &Stage, numbers: std::ops::Range<u64>, bound: Duration) {
    wait(&format!("alerts {numbers:?}"), bound, || {
        let there = published(stage);
        numbers.clone().all(|number| there.contains(&number))
    });
}

/// The input topic is deleted while it is read, and created again with `fill` alerts in it, more or fewer than the old one
/// had. `pipeline` is said beside.
pub fn recreated(pipeline: &str, fill: usize) {
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let with = |out_of_range: &str| {
        let topics = format!("[{}], out_of_range: {out_of_range}", stage.input);
        let mut settings = reading(&stage, &topics, "", &vendors);
        settings.pipeline += pipeline;
        settings.text()
    };
    let mut service = Service::start(&with("stop"));
    service.assigned(2);
    feed_numbers(&stage, 0..2_000);
    wait("everything committed", Duration::from_secs(60), || stage.committed() == stage.ends());
    stage.delete(&stage.input);
    stage.create(&stage.input, 2, None);
    feed_numbers(&stage, 10_000..10_000 + fill);
    // Whatever the lane makes of the new topic until it knows, it must not stay silent.
    let why = "was deleted and created again";
    let ended = service.ended(Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains(why), "{}", ended.log);
    // The broker has forgotten them with the topic: the next one must not start as if there had never been one.
    assert_eq!(stage.committed().len(), 2, "offsets of the old topic");
    let ended = Service::start(&with("stop")).ended(Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains(why), "{}", ended.log);
    let mut service = Service::start(&with("earliest"));
    service.assigned(2);
    wait_for_numbers(&stage, 10_000..10_000 + fill as u64, Duration::from_secs(60));
    wait("everything committed", Duration::from_secs(60), || stage.committed() == stage.ends());
    service.ends_well();
    // And it is an ordinary topic again.
    let mut service = Service::start(&with("stop"));
    service.assigned(2);
    feed_numbers(&stage, 20_000..20_100);
    wait_for_numbers(&stage, 20_000..20_100, Duration::from_secs(60));
    service.ends_well();
}

#[test]
fn a_topic_that_is_created_again_is_named_also_where_a_start_is_allowed_to_read_all_of_it() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let topics = format!("[{}], out_of_range: earliest", stage.input);
    let settings = reading(&stage, &topics, "", &vendors).text();
    let mut service = Service::start(&settings);
    service.assigned(2);
    feed_numbers(&stage, 0..500);
    wait("everything committed", Duration::from_secs(60), || stage.committed() == stage.ends());
    stage.delete(&stage.input);
    stage.create(&stage.input, 2, None);
    feed_numbers(&stage, 10_000..10_200);
    let ended = service.ended(Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains("was deleted and created again"), "{}", ended.log);
    let mut service = Service::start(&settings);
    service.assigned(2);
    wait_for_numbers(&stage, 10_000..10_200, Duration::from_secs(60));
    service.ends_well();
}

#[test]
fn a_topic_that_is_created_again_and_longer_than_before_is_not_read_past_in_silence() {
    let Some(_broker) = broker() else { return };
    recreated("", 6_000);
}

#[test]
fn a_topic_that_is_created_again_and_shorter_than_before_is_not_read_past_in_silence() {
    let Some(_broker) = broker() else { return };
    recreated("", 500);
}

#[test]
fn a_topic_that_is_deleted_ends_the_service_with_its_name() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let refresh = ", consumer: {topic.metadata.refresh.interval.ms: 3000}";
    let mut service =
        Service::start(&reading(&stage, &format!("[{}]", stage.input), refresh, &vendors).text());
    service.assigned(2);
    feed_numbers(&stage, 0..200);
    wait("everything committed", Duration::from_secs(60), || stage.committed() == stage.ends());
    stage.delete(&stage.input);
    let ended = service.ended(Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let why = format!("input topic \\\"{}\\\": ", stage.input);
    let line = ended.log.lines().find(|line| line.contains("\"ERROR\"") && line.contains(&why));
    assert!(line.is_some_and(|line| line.contains("Create it")), "{why} in {}", ended.log);
}

#[test]
fn of_topics_that_a_pattern_matches_one_may_go_and_come_back() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let [first, second] = ["a", "b"].map(|name| stage.view(&format!("{}.{name}", stage.input), 2));
    for view in [&first, &second] {
        stage.create(&view.input, 2, None);
    }
    let refresh = ", consumer: {topic.metadata.refresh.interval.ms: 3000}";
    let pattern = format!(r"['^{}\.[a-z]$']", stage.input);
    let mut service = Service::start(&reading(&stage, &pattern, refresh, &vendors).text());
    service.assigned(4);
    feed_numbers(&first, 0..1_000);
    feed_numbers(&second, 1_000..2_000);
    wait_for_numbers(&stage, 0..2_000, Duration::from_secs(60));
    stage.delete(&second.input);
    service.assigned(2);
    feed_numbers(&first, 2_000..3_000);
    wait_for_numbers(&stage, 0..3_000, Duration::from_secs(60));
    stage.create(&second.input, 2, None);
    feed_numbers(&second, 3_000..6_000);
    wait_for_numbers(&stage, 0..6_000, Duration::from_secs(60));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for view in [&first, &second] {
        check::all_committed(view);
    }
}

#[test]
fn offsets_that_are_gone_end_the_service_unless_the_configuration_says_how_to_go_on() {
    let Some(_broker) = broker() else { return };
    for (out_of_range, from) in [("stop", None), ("earliest", Some(700)), ("latest", Some(1_000))] {
        let stage = Stage::real(1, DEFAULT, DEFAULT);
        let vendors = Vendors::start(5);
        let topics = format!("[{}], out_of_range: {out_of_range}", stage.input);
        let settings = reading(&stage, &topics, "", &vendors).text();
        let mut service = Service::start(&settings);
        service.assigned(1);
        feed_numbers(&stage, 0..500);
        wait("everything committed", Duration::from_secs(60), || stage.committed() == stage.ends());
        service.ends_well();
        feed_numbers(&stage, 500..1_000);
        stage.delete_before(0, 700);
        let mut service = Service::start(&settings);
        let Some(from) = from else {
            let ended = service.ended(Duration::from_secs(60));
            assert_eq!(ended.code, Some(1), "{}", ended.log);
            assert!(ended.log.contains("the committed offset no longer exists"), "{}", ended.log);
            assert_eq!(stage.committed(), [(0, 500)].into(), "nothing is committed over");
            continue;
        };
        service.assigned(1);
        // At the end it starts when it has asked where that is.
        wait("the position", Duration::from_secs(30), || {
            out_of_range == "earliest" || service.metric(&lag(&stage)) == Some(0.0)
        });
        feed_numbers(&stage, 1_000..1_200);
        wait_for_numbers(&stage, from..1_200, Duration::from_secs(60));
        let ended = service.terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(published(&stage), (0..500).chain(from..1_200).collect());
        check::all_committed(&stage);
    }
}

/// The series of lag of partition 0 of the input.
fn lag(stage: &Stage) -> String {
    format!("riskstream_consumer_lag_records{{partition=\"0\",topic=\"{}\"}}", stage.input)
}
