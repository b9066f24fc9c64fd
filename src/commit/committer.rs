//! Storing frontiers with librdkafka, which commits what is stored.
//!
//! Contract: only stored offsets are ever committed; there is no manual commit beside them (mixing the two made
//! thousands of duplicates in a rebalance). A list that went through `store_offsets` must not outlive this call:
//! one that is alive when the consumer is dropped hangs the drop.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

/// Stores frontiers, given as (topic, partition, next offset to read).
///
/// # Errors
/// When librdkafka does not take one; the caller may try again, nothing is lost by a later commit.
pub fn store<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    frontiers: &[(&str, i32, i64)],
) -> Result<(), KafkaError> {
    if frontiers.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(frontiers.len());
    for (topic, partition, offset) in frontiers {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    consumer.store_offsets(&list)
}
