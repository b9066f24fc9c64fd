//! Storing frontiers with librdkafka, which commits what is stored, and seeing that the broker has them.
//!
//! Contract: at least once, only stored offsets are ever committed; there is no commit of others beside them (mixing the two
//! made thousands of duplicates in a rebalance). A list that went through `store_offsets` must not outlive this call:
//! one that is alive when the consumer is dropped hangs the drop.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

/// Bound of one question about what is committed.
const ASK: Duration = Duration::from_secs(1);
/// Before what is stored is committed again.
const AGAIN: Duration = Duration::from_millis(50);
/// So often it is to be tried, however late it is: a process that stood still has had no chance yet.
pub const LEAST: u32 = 3;

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

/// Commits what is stored until the broker says that it has at least `frontiers`, which were stored before, or until
/// `on`, which is told how often it was tried, says no; whether it has them.
///
/// librdkafka commits as partitions go, but once: a commit that the group refuses in that moment, or an older one that
/// it repeats behind it, would be the last word, and what was published since would come out again.
pub fn confirm<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    frontiers: &[(&str, i32, i64)],
    mut on: impl FnMut(u32) -> bool,
) -> bool {
    let mut tried = 0;
    loop {
        if has(consumer, frontiers).unwrap_or(false) {
            return true;
        }
        if !on(tried) {
            return false;
        }
        tried += 1;
        // Refused or not: what counts is what the broker says it has.
        let _ = consumer.commit_consumer_state(CommitMode::Async);
        std::thread::park_timeout(AGAIN);
    }
}

/// Whether the broker has at least `frontiers`.
fn has<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    frontiers: &[(&str, i32, i64)],
) -> Result<bool, KafkaError> {
    if frontiers.is_empty() {
        return Ok(true);
    }
    let mut asked = TopicPartitionList::with_capacity(frontiers.len());
    for (topic, partition, _) in frontiers {
        asked.add_partition(topic, *partition);
    }
    let committed = consumer.committed_offsets(asked, ASK)?;
    Ok(frontiers.iter().all(|(topic, partition, offset)| {
        committed
            .find_partition(topic, *partition)
            .is_some_and(|found| matches!(found.offset(), Offset::Offset(committed) if committed >= *offset))
    }))
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
