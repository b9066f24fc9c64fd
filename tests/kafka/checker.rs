//! The checker is checked: what is wrong is found, and what a transaction took back is not seen.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::harness::check::{self, Found, Order, Progress};
use crate::harness::kafka::Stage;
use crate::harness::load::Load;
use crate::harness::wait;
use crate::{DEFAULT, broker};

const BOUND: Duration = Duration::from_secs(30);

/// A producer of outputs as the service would write them.
struct Hand<'s> {
    stage: &'s Stage,
    load: &'s Load,
    producer: BaseProducer,
}

impl<'s> Hand<'s> {
    fn new(stage: &'s Stage, load: &'s Load, timeout: Duration) -> Hand<'s> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &stage.brokers)
            .set("transactional.id", &stage.group)
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            .create()
            .unwrap();
        producer.init_transactions(BOUND).unwrap();
        Hand { stage, load, producer }
    }

    fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    /// Writes an output, changed by `spoil`.
    fn output(&self, number: usize, spoil: impl FnOnce(&mut String)) {
        let input = self.load.record(number);
        let mut value = String::from_utf8(input.value.unwrap()).unwrap();
        value.pop();
        value.push_str(r#","risk":{"schema":"riskstream/v1","status":"complete"}}"#);
        spoil(&mut value);
        let source = format!("{}/{}/{}", self.stage.input, input.partition, input.offset);
        let headers = input.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let headers = headers.insert(Header { key: "risk-status", value: Some("complete") });
        let record = BaseRecord::to(&self.stage.output)
            .partition(input.partition)
            .key(input.key.as_ref().unwrap())
            .payload(&value)
            .timestamp(input.timestamp.unwrap())
            .headers(headers.insert(Header { key: "risk-source", value: Some(&source) }));
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    fn all(&self, numbers: impl IntoIterator<Item = usize>) {
        numbers.into_iter().for_each(|number| self.output(number, |_| ()));
    }

    fn commit(&self) {
        self.producer.commit_transaction(BOUND).unwrap();
    }
}

#[test]
fn what_a_transaction_took_back_is_neither_read_nor_counted() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(3, DEFAULT, DEFAULT);
    let load = Load::new(&stage, 6, 0).write(&stage, 30);
    let hand = Hand::new(&stage, &load, Duration::from_secs(2));
    hand.begin();
    hand.all(0..12);
    hand.producer.flush(BOUND).unwrap();
    let mut progress = Progress::new(&stage);
    assert_eq!((stage.count(&stage.output), progress.catch_up()), (0, 0), "the transaction is open");
    hand.producer.abort_transaction(BOUND).unwrap();
    for part in [0..15, 15..30] {
        hand.begin();
        hand.all(part);
        hand.commit();
    }
    // A commit returns when the coordinator has it; its partitions are told a moment later.
    stage.wait_for(30, BOUND);
    // Its end is a marker, which has an offset; and one is left open by somebody who never comes back.
    assert_eq!((stage.count(&stage.output), progress.catch_up()), (30, 30));
    hand.begin();
    hand.all(0..3);
    hand.producer.flush(BOUND).unwrap();
    drop(hand);
    assert_eq!((stage.count(&stage.output), progress.catch_up(), progress.repeated()), (30, 30, 0));
    let found = check::judge(&stage, &load, Order::Partition);
    assert!(found.is_whole(), "{found:#?}");
    assert_eq!((found.inputs, found.published, found.repeated, found.dead), (30, 30, 0, 0));
}

#[test]
fn what_is_missing_repeated_out_of_order_or_altered_is_found() {
    let Some(_broker) = broker() else { return };
    let judge = |order: Order, write: &dyn Fn(&Hand<'_>)| -> Found {
        let stage = Stage::real(3, DEFAULT, DEFAULT);
        let load = Load::new(&stage, 6, 400).write(&stage, 30);
        let hand = Hand::new(&stage, &load, Duration::from_secs(10));
        hand.begin();
        write(&hand);
        hand.commit();
        check::judge(&stage, &load, order)
    };
    let found = judge(Order::Partition, &|hand| hand.all((0..30).filter(|number| *number != 7)));
    assert_eq!((found.missing, found.published), (1, 29), "{found:#?}");
    // A crash repeats a suffix, which is no disorder.
    let found = judge(Order::Partition, &|hand| hand.all((0..20).chain(10..30)));
    assert_eq!((found.repeated, found.out_of_order, found.is_whole()), (10, 0, true), "{found:#?}");
    // 0 and 3 are neighbours in a partition, of different keys; 0 and 6 are of one key.
    let neighbours = |hand: &Hand<'_>| hand.all([3, 0, 1, 2].into_iter().chain(4..30));
    assert_eq!(judge(Order::Partition, &neighbours).out_of_order, 1);
    assert_eq!(judge(Order::Key, &neighbours).out_of_order, 0);
    assert_eq!(judge(Order::Key, &|hand| hand.all([6].into_iter().chain(0..6).chain(7..30))).out_of_order, 1);
    let found = judge(Order::Partition, &|hand| {
        hand.all(0..29);
        hand.output(29, |value| *value = value.replacen("1.50E+02", "150", 1));
    });
    assert_eq!((found.altered, found.missing), (1, 0), "{found:#?}");
    let found = judge(Order::Partition, &|hand| hand.all(0..33));
    assert_eq!(found.strangers, 3, "{found:#?}");
}

#[test]
fn a_commit_that_is_ahead_of_the_outputs_is_found() {
    let Some(_broker) = broker() else { return };
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    let stage = Stage::real(3, DEFAULT, DEFAULT);
    let load = Load::new(&stage, 6, 0).write(&stage, 30);
    let hand = Hand::new(&stage, &load, Duration::from_secs(10));
    hand.begin();
    hand.all(0..15);
    hand.commit();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &stage.brokers)
        .set("group.id", &stage.group)
        .create()
        .unwrap();
    let commit = |offset: i64| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&stage.input, 0, Offset::Offset(offset)).unwrap();
        wait("a commit", BOUND, || consumer.commit(&list, CommitMode::Sync).is_ok());
    };
    let mut progress = Progress::new(&stage);
    // Each partition has five outputs.
    for (offset, ahead, beyond) in [(4, 0, 11), (5, 0, 10), (7, 2, 10)] {
        commit(offset);
        let standing = progress.committed(false);
        assert_eq!((standing.ahead, standing.beyond), (ahead, beyond), "{standing:?}");
    }
}
