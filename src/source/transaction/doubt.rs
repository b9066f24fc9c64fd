//! A transaction of which nobody knows whether it was committed: a call took too long, or its producer died.
//!
//! Contract: a new producer makes itself known first, which ends what the old one left; only then do the committed
//! offsets say whether it counts, and they say it for good. Nothing is sent before they have.

use std::time::Instant;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::{SLICE, Stage};
use crate::sink::transaction::Step;
use crate::source::LaneError;
use crate::source::core::Core;

impl Core {
    /// Takes another producer.
    pub(super) fn renew(&mut self) -> Result<bool, LaneError> {
        self.metrics.transactions.renewed.inc();
        self.sink.renew().map_err(LaneError::Client)?;
        if let Some(t) = &mut self.transactions {
            t.stage = Stage::Renewing;
        }
        Ok(true)
    }

    /// Makes it known.
    pub(super) fn init(&mut self, now: Instant) -> Result<bool, LaneError> {
        match self.sink.init(SLICE) {
            Ok(Step::Done) => {
                if let Some(t) = &mut self.transactions {
                    t.stage = Stage::Releasing;
                }
                Ok(true)
            }
            Ok(Step::Again) => Ok(false),
            Err(error) => {
                self.failed(error, now)?;
                Ok(false)
            }
        }
    }

    /// Has its offsets released, which a coordinator that comes back may have forgotten: they would be in doubt for ever.
    pub(super) fn release(&mut self, now: Instant) -> Result<bool, LaneError> {
        // Any topic does: what is released is all that the producer left with the group.
        let released = match self.topics.first() {
            Some(topic) => self.sink.release(&self.settings.group, &topic.name, SLICE),
            None => Ok(Step::Done),
        };
        match released {
            Ok(Step::Done) => {
                if let Some(t) = &mut self.transactions {
                    t.stage = Stage::Asking;
                }
                Ok(true)
            }
            Ok(Step::Again) => Ok(false),
            Err(error) => {
                self.failed(error, now)?;
                Ok(false)
            }
        }
    }

    /// Asks whether the last transaction of the producer before counts.
    pub(super) fn ask<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        now: Instant,
    ) -> Result<bool, LaneError> {
        let doubtful = self.doubtful();
        let held = if doubtful.is_empty() {
            Vec::new()
        } else {
            match held(consumer, &doubtful) {
                Ok(held) => held,
                // The broker is away, or another's transaction keeps the offsets: ask again.
                Err(error) => {
                    tracing::debug!(%error, "could not ask for committed offsets");
                    return Ok(false);
                }
            }
        };
        self.collect(now)?;
        let mut counted = 0;
        for doubt in doubtful {
            let offset = held.iter().find(|(index, _)| *index == doubt.assignment).and_then(|held| held.1);
            match offset {
                Some(offset) if offset == doubt.after => {
                    counted += 1;
                    self.count(&doubt, now)?;
                }
                Some(offset) if offset > doubt.first => self.moved(consumer, &doubt, offset),
                // As before the transaction: it does not count.
                Some(_) | None => {}
            }
        }
        tracing::info!(
            partitions = counted,
            "the transaction in doubt is decided; going on with a new producer"
        );
        if let Some(t) = &mut self.transactions {
            t.doubt = None;
            if counted > 0 {
                // Its records count: where its end was not heard of, the next one to be committed makes them seen.
                t.clean.extend(t.window.places());
            } else {
                t.clean.clear();
            }
        }
        self.send_again(now)?;
        Ok(false)
    }

    /// The partitions of the transaction in doubt.
    fn doubtful(&self) -> Vec<Doubt> {
        let Some(t) = &self.transactions else { return Vec::new() };
        let doubts = t.window.runs().filter_map(|(index, run)| {
            let assignment = self.assignments.get(index)?;
            Some(Doubt {
                assignment: index,
                topic: self.topics.get(assignment.topic)?.name.clone(),
                partition: assignment.partition,
                first: assignment.oldest()?,
                after: run.last + 1,
            })
        });
        doubts.collect()
    }

    /// The alerts of a partition in the transaction count: they are complete.
    fn count(&mut self, doubt: &Doubt, now: Instant) -> Result<(), LaneError> {
        let Some(t) = &mut self.transactions else { return Ok(()) };
        t.settle(&doubt.topic, doubt.partition);
        let slots = &mut self.slots;
        let ours = |token| slots.get(token).is_some_and(|slot| slot.assignment == doubt.assignment);
        for token in t.window.extract(doubt.assignment, ours) {
            self.complete(token, now)?;
        }
        Ok(())
    }

    /// Somebody else has committed: what we hold of the partition is theirs.
    fn moved<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, doubt: &Doubt, offset: i64) {
        tracing::warn!(
            topic = doubt.topic,
            partition = doubt.partition,
            "another member has committed beyond our alerts; going on from there"
        );
        // A new ledger begins, but a pause of the partition goes on.
        let paused = self.paused;
        self.assign(&[(doubt.topic.clone(), doubt.partition)]);
        self.paused = paused;
        // It fails when the partition is no longer ours, which a poll is about to tell.
        let _ = consumer.seek(&doubt.topic, doubt.partition, Offset::Offset(offset), SLICE);
    }
}

/// A partition of a transaction of which nobody knows whether it was committed.
struct Doubt {
    assignment: usize,
    topic: String,
    partition: i32,
    /// Offset of its first alert.
    first: i64,
    /// What it would have committed.
    after: i64,
}

/// What the broker holds for the partitions, by position of the assignment.
fn held<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    doubtful: &[Doubt],
) -> Result<Vec<(usize, Option<i64>)>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(doubtful.len());
    for doubt in doubtful {
        list.add_partition(&doubt.topic, doubt.partition);
    }
    let committed = consumer.committed_offsets(list, SLICE * 2)?;
    let mut held = Vec::with_capacity(doubtful.len());
    for doubt in doubtful {
        let found = committed.find_partition(&doubt.topic, doubt.partition);
        if let Some(found) = &found {
            // An answer with an error says nothing about a commit.
            found.error()?;
        }
        let offset = found.and_then(|found| match found.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        });
        held.push((doubt.assignment, offset));
    }
    Ok(held)
}
