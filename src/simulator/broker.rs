//! The embedded broker: librdkafka's own mock cluster, for the demo and for tests.
//!
//! Contract: the topics asked for exist with their partitions from the start; everything ends with the value.
//! It keeps 5 MiB of each partition and drops the oldest beyond that without a word, so whoever writes must not
//! be far ahead of whoever reads. It has no transactions that mean anything, no administration of topics, and is
//! slow to rebalance: for those there is Apache Kafka. Never a part of the service.

use rdkafka::ClientConfig;
use rdkafka::bindings;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};

/// How long a group waits for further members when its first one joins, in milliseconds. Three seconds, as in
/// Apache Kafka, would be most of a test and of the first impression.
const FIRST_JOIN_MS: i32 = 100;

/// A Kafka broker in this process, on a port of its own. Dropping it ends it.
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
        let carrier: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create()?;
        let mut broker = Broker { carrier, bootstrap: String::new() };
        let cluster = broker.cluster().ok_or(KafkaError::MockCluster(RDKafkaErrorCode::Fail))?;
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions, 1)?;
        }
        let bootstrap = cluster.bootstrap_servers();
        drop(cluster);
        broker.bootstrap = bootstrap;
        let client = broker.carrier.client().native_ptr();
        // SAFETY: the client is alive, so that its cluster is (it was found above); both calls only read and
        // write fields under the cluster's own lock.
        unsafe {
            let cluster = bindings::rd_kafka_handle_mock_cluster(client);
            bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, FIRST_JOIN_MS);
        }
        Ok(broker)
    }

    /// Where it listens, as `bootstrap.servers` takes it.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// The cluster itself, to script errors, delays and outages; there always is one.
    pub fn cluster(&self) -> Option<MockCluster<'_, DefaultProducerContext>> {
        self.carrier.client().mock_cluster()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use rdkafka::consumer::{BaseConsumer, Consumer};

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
}
