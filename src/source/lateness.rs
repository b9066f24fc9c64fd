//! What a lane does about answers that come after their alert has left: it waits on for them, and sends updates.
//!
//! Contract: an alert waits here only once its output counts, acknowledged or committed with its transaction, so that no
//! update precedes its output; a dead letter never does. It waits for no longer than its flights may take, within the
//! bounds of [`late`]. Nothing here delays an alert, a commit or a stop. A partition that goes away takes nothing along:
//! its outputs are there, so their updates are sent by whoever has the answers, and by nobody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compose::headers;
use crate::config::OutputPartition;
use crate::metrics::Dropped;
use crate::pipeline::late::NoUpdate;
use crate::sink::Token;
use crate::sink::dead_letter::Coordinates;
use crate::sink::partition::Chooser;
use crate::sink::updates::{Update, Updates};
use crate::source::core::Core;
use crate::source::late::{self, Waiting};
use crate::source::slots::Owed;

/// Longer than any flight takes, where they have no bound.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// How much later than its flights an alert is given up: they say themselves when they end.
const GRACE: Duration = Duration::from_secs(1);

/// The late answers of a lane.
pub struct Lateness {
    waiting: Waiting<Late>,
    updates: Arc<Updates>,
    /// Partitions of their topic when the lane started.
    partitions: i32,
    /// How they are chosen, as the output's are.
    wanted: Option<OutputPartition>,
    /// Where updates are composed. Reused.
    buffer: Vec<u8>,
    reported: usize,
}

/// An alert that has left and waits for answers.
struct Late {
    owed: Owed,
    source: Box<str>,
    key: Option<Box<[u8]>>,
    partition: Option<i32>,
}

impl Lateness {
    /// For a lane of which `in_flight` alerts and `bytes` may be in flight; the topic of `updates` has `partitions`.
    pub fn new(
        updates: Arc<Updates>,
        partitions: i32,
        wanted: Option<OutputPartition>,
        (in_flight, bytes): (usize, usize),
    ) -> Self {
        let waiting = Waiting::new(in_flight, late::most(bytes));
        Lateness { waiting, updates, partitions, wanted, buffer: Vec::new(), reported: 0 }
    }

    fn send(&mut self, late: &Late, now: Instant) {
        let Late { owed, source, key, partition } = late;
        let overhead = key.as_ref().map_or(0, |key| key.len()) + source.len() + headers::SOURCE.len();
        match owed.pending.update(source, overhead, now, &mut self.buffer) {
            Ok(summary) => self.updates.send(Update {
                partition: *partition,
                key: key.as_deref(),
                value: &self.buffer,
                summary,
                source,
            }),
            Err(NoUpdate::NoAnswer) => self.updates.dropped(Dropped::NoAnswer, 1),
            Err(NoUpdate::TooLarge) => self.updates.dropped(Dropped::TooLarge, 1),
        }
    }
}

impl Core {
    /// Has updates sent from now on, or none.
    pub fn update(&mut self, lateness: Option<Lateness>) {
        self.updates = lateness;
    }

    /// Waits on for what the alert of `token` is owed, whose output counts from now on.
    pub(super) fn owes(&mut self, token: Token, now: Instant) {
        let Some(lateness) = &mut self.updates else { return };
        let Some(slot) = self.slots.get(token) else { return };
        let Some(owed) = slot.owed.take() else { return };
        let Some(assignment) = self.assignments.get(slot.assignment) else { return };
        let Some(topic) = self.topics.get(assignment.topic) else { return };
        let at = Coordinates { topic: &topic.name, partition: assignment.partition, offset: slot.offset };
        at.source(&mut self.source);
        let chooser = Chooser::new(lateness.wanted, topic.inputs, lateness.partitions);
        let until = slot.polled + self.pipeline.flights.bound().unwrap_or(FOR_EVER) + GRACE;
        let bytes = owed.pending.bytes() + self.source.len() + slot.key.len();
        let (token, landed) = (owed.token, owed.pending.wait_on());
        let late = Late {
            owed,
            source: self.source.as_str().into(),
            key: slot.has_key.then(|| slot.key.as_slice().into()),
            partition: chooser.choose(assignment.partition, slot.has_key),
        };
        if landed {
            lateness.send(&late, now);
        } else if lateness.waiting.admit(token, late, bytes, until).is_err() {
            lateness.updates.dropped(Dropped::NoRoom, 1);
        }
    }

    /// Notes that the last answer of an alert has landed that is no longer in flight.
    pub(super) fn landed_late(&mut self, token: Token, now: Instant) {
        if let Some(lateness) = &mut self.updates
            && let Some(late) = lateness.waiting.take(token)
        {
            lateness.send(&late, now);
        }
    }

    /// Gives up whose time is over, and tells how many wait.
    pub(super) fn serve_late(&mut self, now: Instant) {
        let Some(lateness) = &mut self.updates else { return };
        let gone = lateness.waiting.expire(now);
        lateness.updates.dropped(Dropped::Overdue, gone);
        let waiting = lateness.waiting.len();
        if waiting != lateness.reported {
            self.metrics.updates.waiting.add(waiting as i64 - lateness.reported as i64);
            lateness.reported = waiting;
        }
    }

    /// Gives up all who wait: the lane stops.
    pub fn give_up_late(&mut self, now: Instant) {
        if let Some(lateness) = &mut self.updates {
            let gone = lateness.waiting.clear();
            if gone > 0 {
                tracing::info!(
                    late = gone,
                    "the stop does not wait for late answers: these alerts get no update"
                );
            }
            lateness.updates.dropped(Dropped::Stopped, gone);
        }
        self.serve_late(now);
    }
}
