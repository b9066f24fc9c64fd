//! The room that a lane has: whether more alerts may be taken, and of which partitions.
//!
//! Contract: what is in flight is bounded for the lane; within that, a partition whose alerts wait has its share and no
//! more while others need theirs ([`share`](crate::source::share)). Nothing is counted while the lane is not half full, or
//! while nothing waits for an answer: a backlog of what leaves at once is nobody's fault.

use std::time::Instant;

use crate::source::core::Core;
use crate::source::share::Amount;
use crate::source::slots::State;

/// Alerts that a ledger may hold behind one that is not done, in multiples of what may be in flight.
const SPAN: usize = 4;

/// Partitions, by name.
pub type Partitions = Vec<(String, i32)>;

impl Core {
    /// Whether no more alerts may be taken.
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.settings.in_flight
            || self.slots.bytes() >= self.settings.in_flight_bytes
            || self.span >= SPAN * self.settings.in_flight
    }

    /// Whether there is room again: half of what makes it full, so that pausing and resuming do not alternate.
    pub fn has_room(&self) -> bool {
        self.slots.len() <= self.settings.in_flight / 2
            && self.slots.bytes() <= self.settings.in_flight_bytes / 2
            && self.span <= SPAN * self.settings.in_flight / 2
    }

    /// Partitions that are to be held back now, as they take more than their share, and such as may go on.
    pub fn shares(&mut self, now: Instant) -> (Vec<usize>, Vec<usize>) {
        let all = Amount { alerts: self.slots.len(), bytes: self.slots.bytes() };
        let bound = Amount { alerts: self.settings.in_flight, bytes: self.settings.in_flight_bytes };
        if !self.shares.is_due(all, bound, now) {
            return (Vec::new(), Vec::new());
        }
        let mut waiting = self.assignments.each(|_| Amount::default());
        // Where no alert waits for an answer, none waits for one that does.
        if !self.deadlines.is_empty() {
            let mut add = |assignment: usize, alerts: isize, bytes: usize| {
                let place = waiting.binary_search_by_key(&assignment, |(index, _)| *index);
                if let Some((_, amount)) = place.ok().and_then(|place| waiting.get_mut(place)) {
                    amount.alerts = amount.alerts.saturating_add_signed(alerts);
                    amount.bytes =
                        if alerts > 0 { amount.bytes + bytes } else { amount.bytes.saturating_sub(bytes) };
                }
            };
            for slot in self.slots.each() {
                if matches!(slot.state, State::Waiting(_) | State::Answered(_) | State::Ready(_)) {
                    add(slot.assignment, 1, slot.counted());
                }
            }
            // What stands there waits for the producer.
            for token in &self.outbox {
                if let Some(slot) = self.slots.get(*token) {
                    add(slot.assignment, -1, slot.counted());
                }
            }
        }
        let change = self.shares.look(bound, &waiting);
        (change.hold, change.release)
    }

    /// The names of partitions, of those that are ours.
    pub fn named(&self, positions: &[usize]) -> Partitions {
        let name = |index: &usize| {
            let assignment = self.assignments.get(*index).filter(|assignment| assignment.ours)?;
            Some((self.topics.get(assignment.topic)?.name.clone(), assignment.partition))
        };
        positions.iter().filter_map(name).collect()
    }

    /// The partitions that are ours and may be read while the lane has room.
    pub fn readable(&self) -> Partitions {
        let free: Vec<usize> = self.assignments.each(|_| ()).into_iter().map(|(index, ())| index).collect();
        let free: Vec<usize> = free.into_iter().filter(|index| !self.shares.is_held(*index)).collect();
        self.named(&free)
    }

    /// Whether a partition is held back, by itself or with all others.
    pub fn is_paused(&self, topic: &str, partition: i32) -> bool {
        let index = self.topic(topic).and_then(|topic| self.assignments.find(topic, partition));
        self.paused || index.is_some_and(|index| self.shares.is_held(index))
    }

    /// Notes that partitions are no longer paused: they were taken away.
    pub fn unheld(&mut self, partitions: &[(String, i32)]) {
        for (topic, partition) in self.resolve(partitions) {
            if let Some(index) = self.assignments.find(topic, partition) {
                self.shares.release(&[index]);
            }
        }
    }
}
