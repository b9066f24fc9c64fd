//! The embedded broker: librdkafka's own mock cluster, for the demo and for tests.
//!
//! Contract: the topics asked for exist with their partitions from the start; everything ends with the value.
//! It keeps 5 MiB of each partition and drops the oldest beyond that without a word, so whoever writes must not
//! be far ahead of whoever reads. It has no transactions that mean anything, no administration of topics, and is
//! slow to rebalance: for those there is Apache Kafka. Never a part of the service.

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A Kafka broker in this process, on a port of its own. Dropping it ends it.
pub struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Broker {
    /// One broker with `topics`: the name and the number of partitions of each.
    ///
    /// # Errors
    /// When no port can be opened, or a topic is named twice.
    pub fn start(topics: &[(&str, i32)]) -> Result<Broker, KafkaError> {
        let cluster = MockCluster::new(1)?;
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions, 1)?;
        }
        Ok(Broker { cluster })
    }

    /// Where it listens, as `bootstrap.servers` takes it.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// The cluster itself, to script errors, delays and outages.
    pub fn cluster(&self) -> &MockCluster<'static, DefaultProducerContext> {
        &self.cluster
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use rdkafka::ClientConfig;
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
