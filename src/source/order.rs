//! Which finished alert may leave: the order that outputs keep.
//!
//! Pure. Contract: within a group, alerts leave in the order in which they were admitted. A group is a partition
//! (`order: partition`), a key of a partition (`key`), or nothing at all (`none`).

use std::collections::{HashMap, VecDeque};

/// Lines of alerts, each of which leaves from its front.
#[derive(Debug, Default)]
pub struct Lines {
    /// That of group 0: the partition's own, which all alerts are in unless their order is that of their keys.
    own: VecDeque<u32>,
    // Groups are hashes of keys, made with a secret of this process: nothing is gained by a slow hasher.
    lines: HashMap<u64, VecDeque<u32>, ahash::RandomState>,
}

impl Lines {
    /// Puts an alert at the end of its group's line.
    pub fn admit(&mut self, group: u64, slot: u32) {
        match group {
            0 => self.own.push_back(slot),
            _ => self.lines.entry(group).or_default().push_back(slot),
        }
    }

    /// The alert that may leave next.
    pub fn front(&self, group: u64) -> Option<u32> {
        match group {
            0 => self.own.front().copied(),
            _ => self.lines.get(&group).and_then(|line| line.front()).copied(),
        }
    }

    /// Lets the front of a line go.
    pub fn advance(&mut self, group: u64) {
        if group == 0 {
            self.own.pop_front();
        } else if let Some(line) = self.lines.get_mut(&group) {
            line.pop_front();
            if line.is_empty() {
                // Keys come and go.
                self.lines.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    #[test]
    fn a_line_leaves_from_its_front() {
        let mut lines = Lines::default();
        for (group, slot) in [(0, 1), (0, 2), (7, 3)] {
            lines.admit(group, slot);
        }
        assert_eq!(lines.front(0), Some(1));
        assert_eq!(lines.front(7), Some(3), "another line does not wait");
        lines.advance(0);
        assert_eq!(lines.front(0), Some(2));
        lines.advance(7);
        assert_eq!(lines.front(7), None);
    }

    /// An alert of the model: its line, its place in the table, how far it is.
    #[derive(Debug)]
    struct Alert {
        group: Option<u64>,
        slot: u32,
        ready: bool,
        left: bool,
    }

    /// A lane as far as order goes: alerts are admitted, get ready in any order, and leave; a place is used again.
    #[derive(Default)]
    struct Lane {
        lines: Lines,
        alerts: Vec<Alert>,
        /// Which alert uses a place, and the places that nobody uses.
        table: Vec<usize>,
        free: Vec<u32>,
        /// Alerts in the order in which they left.
        out: Vec<usize>,
    }

    impl Lane {
        fn admit(&mut self, group: Option<u64>) {
            let number = self.alerts.len();
            let slot = self.free.pop().unwrap_or_else(|| {
                self.table.push(number);
                self.table.len() as u32 - 1
            });
            self.table[slot as usize] = number;
            if let Some(group) = group {
                self.lines.admit(group, slot);
            }
            self.alerts.push(Alert { group, slot, ready: false, left: false });
        }

        /// An alert is ready: it leaves if it waits for nobody, else the front of its line does, as far as it is ready.
        fn ready(&mut self, number: usize) {
            self.alerts[number].ready = true;
            let Some(group) = self.alerts[number].group else { return self.leave(number) };
            while let Some(front) = self.lines.front(group) {
                let number = self.table[front as usize];
                if !self.alerts[number].ready {
                    break;
                }
                self.leave(number);
                self.lines.advance(group);
            }
        }

        fn leave(&mut self, number: usize) {
            let alert = &mut self.alerts[number];
            assert!(!alert.left, "left twice");
            alert.left = true;
            self.free.push(alert.slot);
            self.out.push(number);
        }

        /// Whether an alert waits for nobody but those before it in its line.
        fn held_by_its_line(&self, number: usize) -> bool {
            let group = self.alerts[number].group;
            group.is_some()
                && self.alerts[..number].iter().any(|before| before.group == group && !before.ready)
        }
    }

    proptest! {
        /// `keys` of 1 is `order: partition`, more are `key` (0 being alerts without one), none is `none`.
        #[test]
        fn whoever_is_ready_leaves_and_no_line_is_overtaken(
            keys in 0u64..5,
            steps in prop::collection::vec((any::<bool>(), any::<Index>()), 1..300),
        ) {
            let mut lane = Lane::default();
            let mut waiting: Vec<usize> = Vec::new();
            let ends = std::iter::repeat_n((false, steps[0].1), steps.len());
            for (arrives, pick) in steps.clone().into_iter().chain(ends) {
                if arrives {
                    waiting.push(lane.alerts.len());
                    lane.admit((keys > 0).then(|| pick.index(keys as usize) as u64));
                } else if !waiting.is_empty() {
                    let number = waiting.swap_remove(pick.index(waiting.len()));
                    lane.ready(number);
                }
                for (number, alert) in lane.alerts.iter().enumerate() {
                    prop_assert_eq!(alert.left, alert.ready && !lane.held_by_its_line(number));
                }
                let lines = lane.alerts.iter().filter(|alert| !alert.left).filter_map(|alert| alert.group);
                let mut lines: Vec<u64> = lines.filter(|group| *group != 0).collect();
                lines.sort_unstable();
                lines.dedup();
                let kept = lane.lines.lines.keys().filter(|group| **group != 0).count();
                prop_assert_eq!(kept, lines.len(), "lines of keys that are gone are not kept");
            }
            prop_assert_eq!(lane.out.len(), lane.alerts.len(), "all have left");
            for group in 0..keys {
                let out = lane.out.iter().filter(|number| lane.alerts[**number].group == Some(group));
                prop_assert!(out.is_sorted(), "group {group} was overtaken");
            }
        }
    }
}
