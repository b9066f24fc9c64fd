//! Asking the broker where partitions begin and end.
//!
//! Contract: one request to each leader, and an answer only when it is whole. Not with librdkafka's watermarks: of two
//! requests, one of which fails, these may give the other's offset as both.

use std::ops::Range;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

/// An offset of each partition: the first, the end, or that of the first record of a time, which may be none.
///
/// # Errors
/// The broker does not answer for all of them.
pub fn offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: Range<i32>,
    which: Offset,
    bound: Duration,
) -> Result<Vec<Option<i64>>, KafkaError> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition_offset(topic, partition, which)?;
    }
    let told = consumer.offsets_for_times(asked, bound)?;
    let offset = |element: TopicPartitionListElem<'_>| {
        element.error()?;
        Ok(if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None })
    };
    told.elements().into_iter().map(offset).collect()
}
