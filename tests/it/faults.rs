//! Refusals that a real broker cannot be asked for: whatever it answers to whatever we ask, nothing is lost, the first
//! outputs keep their order, and the service goes on, or ends with a clear error and goes on when it is started again.
//!
//! The embedded broker rebalances slowly and repeats what a real one does not: repetitions are not counted here.

use std::time::Duration;

use riskstream::simulator::broker::{Refusal, Request};
use riskstream::simulator::{Answer, Fault};

use crate::harness::kafka::{DEAD, GROUP, INPUT, NewRecord, OUTPUT, Record, Stage};
use crate::harness::service::{Ended, Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};

use Refusal::*;

const PARTITIONS: i32 = 2;
const WAVE: usize = 40;
const BOUND: Duration = Duration::from_secs(60);

/// A stage, a service on it, and what was written.
struct Trial {
    stage: Stage,
    settings: String,
    inputs: Vec<Record>,
}

impl Trial {
    fn new() -> Trial {
        let stage = Stage::apart(PARTITIONS);
        let mut settings = Settings::of(&stage, "drain: 5s, shutdown: 10s", "");
        // The embedded broker takes a batch whose predecessor it refused: a long linger keeps a wave in one batch of
        // each partition, so that nothing is on its way behind it. Heartbeats are frequent, so that tests are short.
        settings.kafka += ", consumer: {heartbeat.interval.ms: 200, session.timeout.ms: 2000, topic.metadata.refresh.interval.ms: 500}, producer: {linger.ms: 500}";
        Trial { settings: settings.text(), stage, inputs: Vec::new() }
    }

    fn start(&self) -> Service {
        Service::start(&self.settings)
    }

    /// Appends alerts to the input.
    fn wave(&mut self) {
        self.alerts(WAVE);
    }

    fn alerts(&mut self, count: usize) {
        let first = self.inputs.len();
        let records = (first..first + count).map(|n| alerts::mixed(n, 10, PARTITIONS)).collect();
        self.inputs.extend(self.stage.produce(records));
    }

    fn refuse(&self, node: i32, request: Request, refusals: &[Refusal]) {
        self.stage.broker().refuse(node, request, refusals).unwrap();
    }

    /// Waits until the refusals were given.
    fn refused(&self, service: &mut Service, node: i32, request: Request) {
        wait("the refusals were given", BOUND, || {
            assert!(!service.has_ended(), "it ended:\n{}", service.log());
            self.stage.broker().refusals_left(node, request).unwrap() == 0
        });
    }

    /// Waits until everything is out.
    fn out(&self, service: &mut Service) {
        wait("all alerts to come out", BOUND, || {
            assert!(!service.has_ended(), "it ended:\n{}", service.log());
            self.stage.count(&self.stage.output) >= self.inputs.len() as i64
        });
    }

    /// Everything is committed, the service stops well, and what came out is right.
    fn end(self, mut service: Service) -> Ended {
        wait("everything committed", BOUND, || {
            assert!(!service.has_ended(), "it ended:\n{}", service.log());
            self.stage.committed() == self.stage.ends()
        });
        assert_eq!(service.get("/livez").0, 200);
        let ended = service.terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        let found = check::compare(&self.stage, &self.inputs, true);
        assert_eq!(found.dead, 0);
        say(&format!("{} in, {} repeated", found.inputs, found.repeated));
        ended
    }
}

/// Each of `cases` is refused while alerts flow, and the service goes on by itself.
fn goes_on(node: i32, request: Request, cases: &[&[Refusal]]) {
    let mut trial = Trial::new();
    let mut service = trial.start();
    service.assigned(PARTITIONS.into());
    trial.wave();
    trial.out(&mut service);
    for refusals in cases {
        say(&format!("{request:?}: {refusals:?}"));
        trial.refuse(node, request, refusals);
        trial.wave();
        trial.refused(&mut service, node, request);
        trial.out(&mut service);
    }
    trial.end(service);
}

/// Each of `cases` is refused when the service joins its group, the first one at its start, and it gets to work by itself.
fn joins(cases: &[(Request, &[Refusal])]) {
    let mut trial = Trial::new();
    let mut service = None;
    for (request, refusals) in cases {
        say(&format!("{request:?}: {refusals:?}"));
        trial.wave();
        trial.refuse(GROUP, *request, refusals);
        if service.is_some() {
            trial.refuse(GROUP, Request::Heartbeat, &[RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
        }
        let service = service.get_or_insert_with(|| trial.start());
        trial.refused(service, GROUP, *request);
        trial.wave();
        trial.out(service);
    }
    trial.end(service.unwrap());
}

/// Each of `cases` is refused while alerts flow; the service ends with an error that holds `words`, and when it is started
/// again it goes on.
fn ends(node: i32, request: Request, cases: &[(&[Refusal], &[&str])]) {
    for (refusals, words) in cases {
        say(&format!("{request:?}: {refusals:?}"));
        let mut trial = Trial::new();
        let mut service = trial.start();
        service.assigned(PARTITIONS.into());
        trial.wave();
        trial.out(&mut service);
        trial.refuse(node, request, refusals);
        trial.wave();
        let ended = service.ended(BOUND);
        assert_eq!(ended.code, Some(1), "{}", ended.log);
        let error = ended.log.lines().rfind(|line| line.contains("\"ERROR\"")).expect("an error is logged");
        say(error);
        for word in *words {
            assert!(error.contains(word), "{word} in {error}");
        }
        let service = trial.start();
        trial.wave();
        trial.end(service);
    }
}

#[test]
fn an_output_that_is_refused_for_a_while_is_sent_again_in_its_order() {
    goes_on(
        OUTPUT,
        Request::Produce,
        &[
            &[RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3],
            &[RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3],
            &[RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND; 2],
            &[RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT; 3],
            &[RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 3],
            &[RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART; 3],
            &[RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE; 3],
            &[RD_KAFKA_RESP_ERR__TRANSPORT; 2],
            &[RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID; 1],
        ],
    );
}

#[test]
fn a_producer_that_lost_its_sequence_ends_the_process_and_nothing_else() {
    ends(
        OUTPUT,
        Request::Produce,
        &[
            (&[RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 1], &[""]),
            (&[RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH; 1], &[""]),
            (&[RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED; 1], &[""]),
        ],
    );
}

#[test]
fn what_stands_behind_a_refusal_that_ends_the_process_stays_behind() {
    let mut trial = Trial::new();
    // Behind the first alert, which the broker thinks about for a second, others wait in the producer.
    trial.settings = trial.settings.replace("linger.ms: 500", "linger.ms: 2000");
    let mut service = trial.start();
    service.assigned(PARTITIONS.into());
    let late = Duration::from_secs(1);
    let refusals = [RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH; 1];
    trial.stage.broker().refuse_after(OUTPUT, Request::Produce, &refusals, late).unwrap();
    trial.alerts(1);
    trial.refused(&mut service, OUTPUT, Request::Produce);
    trial.wave();
    let ended = service.ended(BOUND);
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert_eq!(trial.stage.count(&trial.stage.output), 0, "later alerts overtook:\n{}", ended.log);
    let service = trial.start();
    trial.end(service);
}

#[test]
fn a_fetch_that_is_refused_for_a_while_is_repeated() {
    goes_on(
        INPUT,
        Request::Fetch,
        &[
            &[RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3],
            &[RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR; 3],
            &[RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART; 3],
            &[RD_KAFKA_RESP_ERR__TRANSPORT; 2],
        ],
    );
}

#[test]
fn an_offset_that_is_out_of_range_stops_the_service_loudly() {
    ends(
        INPUT,
        Request::Fetch,
        &[(&[RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE; 1], &["no longer exists", "input.out_of_range"])],
    );
}

#[test]
fn a_commit_that_is_refused_is_repeated() {
    goes_on(
        GROUP,
        Request::OffsetCommit,
        &[
            &[RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 2],
            &[RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 2],
            &[RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 1],
            &[RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE; 1],
            &[RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION; 1],
            &[RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID; 1],
        ],
    );
}

#[test]
fn the_last_commit_of_a_stop_is_repeated_until_the_broker_has_it() {
    let mut trial = Trial::new();
    let mut service = trial.start();
    service.assigned(PARTITIONS.into());
    trial.wave();
    trial.out(&mut service);
    // More than are committed until then, once a second.
    trial.refuse(GROUP, Request::OffsetCommit, &[RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 15]);
    trial.wave();
    trial.out(&mut service);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(trial.stage.committed(), trial.stage.ends(), "{}", ended.log);
    check::compare(&trial.stage, &trial.inputs, true);
}

#[test]
fn a_lane_that_has_ended_leaves_the_group_when_the_others_offsets_are_committed() {
    let stage = Stage::apart(2);
    let vendors = Vendors::start(0);
    vendors.world.fault(Fault::new("/datadog", Answer::Hang));
    let pipeline = "threads: 2, deadline: 3s, drain: 10s, shutdown: 20s";
    let providers = vendors.providers(", timeout: 9s");
    let mut service = Service::start(&Settings::of(&stage, pipeline, providers).text());
    service.divided(2, 2);
    // Its lane ends at the deadline, the other one at once; a group in a rebalance may take no offsets.
    let alert = alerts::of("datadog", &alerts::entity("datadog", 1), 1);
    let inputs = stage.produce(vec![NewRecord::value(0, alert)]);
    wait("the alert is in flight", BOUND, || service.metric("riskstream_in_flight_alerts") == Some(1.0));
    service.ends_well();
    check::all_committed(&stage);
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.repeated), (1, 0));
}

#[test]
fn a_group_that_turns_its_member_out_takes_it_again() {
    goes_on(
        GROUP,
        Request::Heartbeat,
        &[
            &[RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION; 1],
            &[RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 1],
            &[RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID; 1],
            &[RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 2],
        ],
    );
}

#[test]
fn committed_offsets_that_a_coordinator_does_not_tell_are_asked_for_until_it_does() {
    joins(&[
        (Request::OffsetFetch, &[RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 3]),
        (Request::OffsetFetch, &[RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 5]),
        (Request::OffsetFetch, &[RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT; 5]),
        (Request::OffsetFetch, &[RD_KAFKA_RESP_ERR__TRANSPORT; 2]),
    ]);
}

#[test]
fn a_stop_ends_waiting_for_committed_offsets() {
    let mut trial = Trial::new();
    trial.wave();
    trial.refuse(GROUP, Request::OffsetFetch, &[RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 2_000]);
    let mut service = trial.start();
    wait("readiness says what is missing", BOUND, || {
        let (code, body) = service.get("/readyz");
        code == 503 && body.contains("waiting for committed offsets")
    });
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(trial.stage.count(&trial.stage.output), 0);
}

#[test]
fn joining_outlasts_a_coordinator_that_is_not_ready() {
    joins(&[
        (Request::JoinGroup, &[RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 2]),
        (Request::JoinGroup, &[RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 2]),
        (Request::JoinGroup, &[RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID; 1]),
        (Request::SyncGroup, &[RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 1]),
        (Request::SyncGroup, &[RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 1]),
        (Request::SyncGroup, &[RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION; 1]),
    ]);
}

#[test]
fn a_start_outlasts_brokers_that_know_neither_coordinator_nor_producer_nor_offsets_yet() {
    let mut trial = Trial::new();
    trial.wave();
    // The client asks whichever node it likes.
    let nodes = [INPUT, OUTPUT, GROUP, DEAD];
    for node in nodes {
        trial.refuse(node, Request::FindCoordinator, &[RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 2]);
        trial.refuse(node, Request::InitProducerId, &[RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 2]);
    }
    trial.refuse(INPUT, Request::ListOffsets, &[RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 2]);
    trial.stage.broker().refuse_topic(&trial.stage.input, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE).unwrap();
    let mut service = trial.start();
    wait("readiness says what is missing", BOUND, || {
        let (code, body) = service.get("/readyz");
        code == 503 && body.contains("input topic")
    });
    trial.stage.broker().refuse_topic(&trial.stage.input, RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    trial.refused(&mut service, INPUT, Request::ListOffsets);
    for request in [Request::FindCoordinator, Request::InitProducerId] {
        let left = |node| trial.stage.broker().refusals_left(node, request).unwrap();
        wait("some refusals were given", BOUND, || nodes.map(left).iter().sum::<usize>() < 2 * nodes.len());
    }
    trial.out(&mut service);
    trial.end(service);
}

#[test]
fn a_partition_that_gets_another_leader_is_followed() {
    let mut trial = Trial::new();
    let mut service = trial.start();
    service.assigned(PARTITIONS.into());
    trial.wave();
    trial.out(&mut service);
    for topic in [trial.stage.input.clone(), trial.stage.output.clone()] {
        trial.stage.broker().lead(&topic, PARTITIONS, DEAD).unwrap();
        trial.wave();
        trial.out(&mut service);
    }
    trial.end(service);
}

#[test]
fn an_input_topic_that_is_gone_ends_the_process_with_its_cure() {
    let mut trial = Trial::new();
    let mut service = trial.start();
    service.assigned(PARTITIONS.into());
    trial.wave();
    trial.out(&mut service);
    let say_of_input = |what| trial.stage.broker().refuse_topic(&trial.stage.input, what).unwrap();
    say_of_input(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    let ended = service.ended(BOUND);
    say_of_input(RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains("Create it, or correct its name in the configuration"), "{}", ended.log);
    trial.wave();
    let service = trial.start();
    trial.end(service);
}

#[test]
fn leaving_a_group_that_does_not_know_us_is_no_failure() {
    let trial = Trial::new();
    let mut service = trial.start();
    service.assigned(PARTITIONS.into());
    trial.refuse(GROUP, Request::LeaveGroup, &[RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID; 1]);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(trial.stage.broker().refusals_left(GROUP, Request::LeaveGroup).unwrap(), 0);
}

/// Alerts go on behind a dead letter that nobody acknowledges, but not for ever: what would be repeated after a crash,
/// and remembered until then, is bounded.
#[test]
fn a_dead_letter_that_is_not_acknowledged_holds_its_partition_up_in_the_end() {
    const IN_FLIGHT: i64 = 100;
    let mut trial = Trial::new();
    trial.settings = trial.settings.replace("pipeline: {", "pipeline: {in_flight: 100, ");
    trial.settings = trial.settings.replace("linger.ms: 500", "linger.ms: 5");
    trial.stage.broker().down(DEAD).unwrap();
    let mut service = trial.start();
    service.assigned(PARTITIONS.into());
    trial.inputs.extend(trial.stage.produce(vec![NewRecord::value(0, "no alert")]));
    // In steps, as the embedded broker keeps little.
    let mut before = -1;
    wait("reading to stop", BOUND, || {
        trial.alerts(200);
        let consumed = service.metric("riskstream_alerts_consumed_total").unwrap() as i64;
        std::mem::replace(&mut before, consumed) == consumed && consumed > IN_FLIGHT
    });
    let held = service.metric("riskstream_alerts_consumed_total").unwrap() as i64;
    say(&format!("{held} alerts were read behind a dead letter, of {}", trial.inputs.len()));
    // Two partitions, one of which is held up; and what was on its way when it was.
    assert!(held < 2 * 6 * IN_FLIGHT, "{held} alerts were read behind it");
    assert_eq!(service.get("/livez").0, 200);
    trial.stage.broker().up(DEAD).unwrap();
    wait("everything committed", BOUND, || trial.stage.committed() == trial.stage.ends());
    service.ends_well();
    let found = check::compare(&trial.stage, &trial.inputs, true);
    assert_eq!((found.dead, found.repeated), (1, 0));
}

#[test]
fn a_broker_that_acknowledges_late_pauses_reading_and_costs_no_place_in_the_group() {
    let mut trial = Trial::new();
    trial.settings = trial.settings.replace("pipeline: {", "pipeline: {in_flight: 50, ");
    trial.settings = trial.settings.replace("linger.ms: 500", "linger.ms: 5");
    // Silence for longer than a lane may go without a poll.
    trial.settings = trial.settings.replace("consumer: {", "consumer: {max.poll.interval.ms: 6000, ");
    let mut service = trial.start();
    service.assigned(PARTITIONS.into());
    trial.wave();
    trial.out(&mut service);
    trial.stage.broker().delay(OUTPUT, Duration::from_secs(8)).unwrap();
    trial.alerts(2_000);
    wait("partitions to pause", BOUND, || service.metric("riskstream_pauses_total") == Some(1.0));
    // Nothing was acknowledged yet; what was read is what may be in flight.
    let mut most: f64 = 0.0;
    wait("the first acknowledgement", BOUND, || {
        assert_eq!(service.get("/livez").0, 200);
        assert_eq!(service.metric("riskstream_assigned_partitions"), Some(f64::from(PARTITIONS)));
        most = most.max(service.metric("riskstream_in_flight_alerts").unwrap());
        service.metric("riskstream_alerts_published_total") > Some(WAVE as f64)
    });
    assert_eq!(most, 50.0);
    trial.stage.broker().delay(OUTPUT, Duration::ZERO).unwrap();
    trial.out(&mut service);
    let ended = trial.end(service);
    assert_eq!(ended.log.matches("\"partitions assigned\"").count(), 1, "it kept its place:\n{}", ended.log);
}
