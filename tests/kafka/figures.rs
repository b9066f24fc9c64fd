//! Figures about partitions: what they say on a real broker.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::harness::kafka::Stage;
use crate::harness::letters::put;
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, until, wait};
use crate::{DEFAULT, broker};

/// A series of partition 0 of the input.
fn series(stage: &Stage, name: &str) -> String {
    format!("{name}{{partition=\"0\",topic=\"{}\"}}", stage.input)
}

type Writer = ThreadedProducer<DefaultProducerContext>;

/// Who writes alerts in transactions, which may take long.
fn writer(stage: &Stage) -> Writer {
    let producer: Writer = ClientConfig::new()
        .set("bootstrap.servers", &stage.brokers)
        .set("transactional.id", format!("{}-writer", stage.group))
        .set("transaction.timeout.ms", "600000")
        .create()
        .unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    producer
}

/// Writes so many alerts to the input.
fn write(producer: &Writer, stage: &Stage, count: usize) {
    for n in 0..count {
        let value = alerts::of("datadog", &alerts::entity("datadog", n), n);
        let record = BaseRecord::<[u8], [u8]>::to(&stage.input).partition(0).payload(value.as_slice());
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

#[test]
fn markers_of_transactions_in_the_input_do_not_show_as_lag() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let mut service = Service::start(&Settings::of(&stage, "", vendors.providers("")).text());
    service.assigned(1);
    let bound = Duration::from_secs(30);
    let producer = writer(&stage);
    for transaction in 0..10 {
        producer.begin_transaction().unwrap();
        write(&producer, &stage, 20);
        // Every third takes back what it wrote; the last one, too.
        match transaction % 3 {
            0 => producer.abort_transaction(bound).unwrap(),
            _ => producer.commit_transaction(bound).unwrap(),
        }
    }
    stage.wait_for(6 * 20, Duration::from_secs(60));
    let end = stage.ends()[&0];
    assert!(end >= 6 * 20 + 10, "there are markers");
    wait("no lag", Duration::from_secs(30), || {
        service.metric(&series(&stage, "riskstream_consumer_lag_records")) == Some(0.0)
    });
    let (committed, _) = until("committed", Duration::from_secs(30), || {
        service.metric(&series(&stage, "riskstream_committed_offset"))
    });
    assert!(
        (committed as i64) < end,
        "what is committed is behind the last alert, not behind the last marker"
    );
    service.ends_well();
    assert_eq!(stage.count(&stage.output), 6 * 20);
}

#[test]
fn what_the_broker_holds_of_our_commits_is_told_and_agrees() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let mut service = Service::start(&Settings::of(&stage, "", vendors.providers("")).text());
    service.assigned(1);
    stage.produce((0..500).map(|n| alerts::mixed(n, 500, 1)).collect());
    let held = series(&stage, "riskstream_broker_committed_offset");
    wait("the broker's word", Duration::from_secs(70), || service.metric(&held) == Some(500.0));
    assert_eq!(service.metric(&series(&stage, "riskstream_commit_behind")), Some(0.0));
    assert_eq!(service.metric(&series(&stage, "riskstream_processed_offset")), Some(500.0));
    service.ends_well();
}

/// On the embedded broker, since a real one takes commits.
#[test]
fn commits_that_do_not_reach_the_broker_are_noticed_and_told_until_they_do() {
    use riskstream::simulator::broker::{Refusal, Request};
    let Some(_broker) = broker() else { return };
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(5);
    let mut service = Service::start(&Settings::of(&stage, "", vendors.providers("")).text());
    service.assigned(1);
    stage.produce((0..100).map(|n| alerts::mixed(n, 100, 1)).collect());
    wait("the first alerts are committed", Duration::from_secs(30), || {
        stage.committed().get(&0) == Some(&100)
    });
    let refuse = || {
        let refused = [Refusal::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 5];
        let left = stage.broker().refusals_left(1, Request::OffsetCommit).unwrap();
        if left < refused.len() {
            stage.broker().refuse(1, Request::OffsetCommit, &refused).unwrap();
        }
    };
    refuse();
    stage.produce((0..100).map(|n| alerts::mixed(n, 100, 1)).collect());
    let behind = series(&stage, "riskstream_commit_behind");
    let note = |service: &mut Service| service.get("/readyz").1.contains("does not hold what was committed");
    wait("the figure", Duration::from_secs(100), || {
        refuse();
        service.metric(&behind) == Some(100.0)
    });
    assert!(!note(&mut service), "once may be an outage");
    wait("readiness says it", Duration::from_secs(60), || {
        refuse();
        note(&mut service)
    });
    assert_eq!(service.get("/readyz").0, 200, "alerts go on");
    stage.produce((0..100).map(|n| alerts::mixed(n, 100, 1)).collect());
    wait("it is over", Duration::from_secs(70), || {
        !note(&mut service) && service.metric(&behind) == Some(0.0)
    });
    service.ends_well();
}

/// As an outage of a broker can leave one: nobody reads beyond it, and no lag shows.
#[test]
fn a_transaction_that_nobody_ends_is_told_until_somebody_does() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    let vendors = Vendors::start(5);
    let mut service = Service::start(&Settings::of(&stage, "", vendors.providers("")).text());
    service.assigned(1);
    let bound = Duration::from_secs(30);
    let producer = writer(&stage);
    producer.begin_transaction().unwrap();
    write(&producer, &stage, 1);
    // The harness itself reads only what is committed: it would not find them.
    for n in 0..10 {
        put(&stage, &stage.input, None, alerts::mixed(n, 10, 1).value.as_deref(), &[]);
    }
    let told = format!("nobody reads beyond offset 0 of {}/0", stage.input);
    wait("readiness says it", Duration::from_secs(180), || service.get("/readyz").1.contains(&told));
    assert_eq!(service.metric("riskstream_alerts_consumed_total"), Some(0.0), "they are held up");
    producer.abort_transaction(bound).unwrap();
    stage.wait_for(10, bound);
    wait("it is over", Duration::from_secs(60), || !service.get("/readyz").1.contains(&told));
    service.ends_well();
}
