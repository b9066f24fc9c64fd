//! Storing frontiers with librdkafka, which commits what is stored.
//!
//! Contract: at least once, only stored offsets are ever committed; there is no manual commit beside them (mixing the two
//! made thousands of duplicates in a rebalance). A list that went through `store_offsets` must not outlive this call:
//! one that is alive when the consumer is dropped hangs the drop.

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

/// Stores frontiers, given as (topic, partition, next offset to read); `mark` is what the commit says of a topic.
///
/// # Errors
/// When librdkafka does not take one; the caller may try again, nothing is lost by a later commit.
pub fn store<'m, C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    frontiers: &[(&str, i32, i64)],
    mark: impl Fn(&str) -> Option<&'m str>,
) -> Result<(), KafkaError> {
    if frontiers.is_empty() {
        return Ok(());
    }
    consumer.store_offsets(&list(frontiers.iter().copied(), mark)?)
}

/// A list of offsets to commit, each with its mark.
///
/// # Errors
/// A topic or offset that librdkafka does not take.
pub fn list<'o, 'm>(
    offsets: impl ExactSizeIterator<Item = (&'o str, i32, i64)>,
    mark: impl Fn(&str) -> Option<&'m str>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (topic, partition, offset) in offsets {
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset))?;
        if let Some(mark) = mark(topic) {
            element.set_metadata(mark);
        }
    }
    Ok(list)
}
