//! The embedded broker: librdkafka's own mock cluster, for the demo and for tests.
//!
//! Contract: the topics asked for exist with their partitions from the start; everything ends with the value.
//! It keeps 5 MiB of each partition and drops the oldest beyond that without a word, so whoever writes must not
//! be far ahead of whoever reads. It has no transactions that mean anything, no administration of topics, and is
//! slow to rebalance: for those there is Apache Kafka. It can be told to refuse, to be slow and to be away, which a real
//! one cannot; it does not check the sequence of idempotent batches, so that one which is refused while another is on
//! its way is overtaken by that one. Never a part of the service.

use std::ffi::c_int;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings;
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
pub use rdkafka::types::{RDKafkaApiKey as Request, RDKafkaRespErr as Refusal};

/// How long a group waits for further members when its first one joins, in milliseconds. Three seconds, as in
/// Apache Kafka, would be most of a test and of the first impression.
const FIRST_JOIN_MS: i32 = 100;

/// A Kafka broker in this process, on a port of its own, or several. Dropping it ends them.
pub struct Broker {
    /// The client that carries the cluster. It produces nothing.
    carrier: BaseProducer,
    bootstrap: String,
}

impl Broker {
    /// One broker with `topics`: the name and the number of partitions of each.
    ///
    /// # Errors
    /// When no port can be opened, or a topic is named twice.
    pub fn start(topics: &[(&str, i32)]) -> Result<Broker, KafkaError> {
        Self::nodes(1, topics)
    }

    /// Several, whose node ids begin at 1; each partition is led by one of them.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn nodes(count: i32, topics: &[(&str, i32)]) -> Result<Broker, KafkaError> {
        let carrier: BaseProducer =
            ClientConfig::new().set("test.mock.num.brokers", count.to_string()).create()?;
        let mut broker = Broker { carrier, bootstrap: String::new() };
        for (name, partitions) in topics {
            broker.cluster()?.create_topic(name, *partitions, 1)?;
        }
        let bootstrap = broker.cluster()?.bootstrap_servers();
        broker.bootstrap = bootstrap;
        // SAFETY: the cluster lives as long as its carrier; the call writes a field under the cluster's own lock.
        unsafe { bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(broker.native(), FIRST_JOIN_MS) };
        Ok(broker)
    }

    /// Where it listens, as `bootstrap.servers` takes it.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// Lets `node` answer the next requests of a kind with `refusals`, one each. `RD_KAFKA_RESP_ERR__TRANSPORT` closes
    /// the connection instead, after the request was carried out.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn refuse(&self, node: i32, request: Request, refusals: &[Refusal]) -> Result<(), KafkaError> {
        self.refuse_after(node, request, refusals, Duration::ZERO)
    }

    /// As [`refuse`](Self::refuse), each this long after its request.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn refuse_after(
        &self,
        node: i32,
        request: Request,
        refusals: &[Refusal],
        after: Duration,
    ) -> Result<(), KafkaError> {
        let after = c_int::try_from(after.as_millis()).unwrap_or(c_int::MAX);
        for refusal in refusals {
            // SAFETY: as above; the variable arguments are one pair of an error code and a delay in milliseconds, as
            // the count says.
            taken(unsafe {
                bindings::rd_kafka_mock_broker_push_request_error_rtts(
                    self.native(),
                    node,
                    i16::from(request),
                    1,
                    *refusal as c_int,
                    after,
                )
            })?;
        }
        Ok(())
    }

    /// Refusals that `node` has still to give to requests of a kind.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn refusals_left(&self, node: i32, request: Request) -> Result<usize, KafkaError> {
        let mut count = 0;
        // SAFETY: as above; the count is written before the call returns.
        taken(unsafe {
            bindings::rd_kafka_mock_broker_error_stack_cnt(
                self.native(),
                node,
                i16::from(request),
                &mut count,
            )
        })?;
        Ok(count)
    }

    /// Lets all nodes say this of a topic when they are asked about it; `RD_KAFKA_RESP_ERR_NO_ERROR` ends it.
    ///
    /// # Errors
    /// When the name is none.
    pub fn refuse_topic(&self, topic: &str, refusal: Refusal) -> Result<(), KafkaError> {
        self.cluster()?.topic_error(topic, refusal)
    }

    /// Lets `node` lead the partitions of a topic. (A partition without a leader would end the process: the broker
    /// looks for it when it is asked.)
    ///
    /// # Errors
    /// When there is no such topic, partition or node.
    pub fn lead(&self, topic: &str, partitions: i32, node: i32) -> Result<(), KafkaError> {
        (0..partitions)
            .try_for_each(|partition| self.cluster()?.partition_leader(topic, partition, Some(node)))
    }

    /// Lets `node` coordinate a group.
    ///
    /// # Errors
    /// When the name is none.
    pub fn coordinate(&self, group: &str, node: i32) -> Result<(), KafkaError> {
        self.cluster()?.coordinator(MockCoordinator::Group(group.to_owned()), node)
    }

    /// Lets `node` answer after this time.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn delay(&self, node: i32, time: Duration) -> Result<(), KafkaError> {
        self.cluster()?.broker_round_trip_time(node, time)
    }

    /// Ends the connections of `node` and takes no new ones, until [`up`](Self::up).
    ///
    /// # Errors
    /// When there is no such node.
    pub fn down(&self, node: i32) -> Result<(), KafkaError> {
        self.cluster()?.broker_down(node)
    }

    /// Lets `node` take connections again.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn up(&self, node: i32) -> Result<(), KafkaError> {
        self.cluster()?.broker_up(node)
    }

    /// librdkafka's own handle, for what is not offered here.
    ///
    /// # Errors
    /// When the client that carries it is gone.
    pub fn cluster(&self) -> Result<MockCluster<'_, DefaultProducerContext>, KafkaError> {
        self.carrier.client().mock_cluster().ok_or(KafkaError::MockCluster(RDKafkaErrorCode::Fail))
    }

    fn native(&self) -> *mut bindings::rd_kafka_mock_cluster_t {
        // SAFETY: the carrier is alive and was made with a cluster.
        unsafe { bindings::rd_kafka_handle_mock_cluster(self.carrier.client().native_ptr()) }
    }
}

fn taken(answer: Refusal) -> Result<(), KafkaError> {
    if answer.is_error() { Err(KafkaError::MockCluster(answer.into())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::{Offset, TopicPartitionList};

    use super::*;

    #[test]
    fn its_topics_have_their_partitions_and_no_topic_is_made_twice() {
        let broker = Broker::start(&[("in", 3), ("out", 1)]).unwrap();
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
        let all = client.fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let mut topics: Vec<_> = all.topics().iter().map(|t| (t.name(), t.partitions().len())).collect();
        topics.sort_unstable();
        assert_eq!(topics, [("in", 3), ("out", 1)]);
        assert!(Broker::start(&[("in", 1), ("in", 2)]).is_err());
    }

    #[test]
    fn refusals_are_counted_and_given_by_their_node_alone() {
        let broker = Broker::nodes(2, &[("in", 1)]).unwrap();
        broker.lead("in", 1, 2).unwrap();
        broker
            .refuse(2, Request::ListOffsets, &[Refusal::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED])
            .unwrap();
        let left = |node| broker.refusals_left(node, Request::ListOffsets).unwrap();
        assert_eq!((left(1), left(2)), (0, 1));
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
        let end = || {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset("in", 0, Offset::End).unwrap();
            client
                .offsets_for_times(asked, Duration::from_secs(10))
                .map(|told| told.elements().first().unwrap().offset())
        };
        assert!(end().is_err());
        assert_eq!((left(1), left(2)), (0, 0));
        assert_eq!(end(), Ok(Offset::Offset(0)));
        assert!(broker.refuse(3, Request::Fetch, &[Refusal::RD_KAFKA_RESP_ERR_UNKNOWN]).is_err());
    }
}
