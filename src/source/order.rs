//! Which finished alert may leave: the order that outputs keep.
//!
//! Pure. Contract: within a group, alerts leave in the order in which they were admitted. A group is a partition
//! (`order: partition`), a key of a partition (`key`), or nothing at all (`none`).

use std::collections::{HashMap, VecDeque};

/// Lines of alerts, each of which leaves from its front.
#[derive(Debug, Default)]
pub struct Lines {
    // Groups are hashes of keys, made with a secret of this process: nothing is gained by a slow hasher.
    lines: HashMap<u64, VecDeque<u32>, ahash::RandomState>,
}

impl Lines {
    /// Puts an alert at the end of its group's line.
    pub fn admit(&mut self, group: u64, slot: u32) {
        self.lines.entry(group).or_default().push_back(slot);
    }

    /// The alert that may leave next.
    pub fn front(&self, group: u64) -> Option<u32> {
        self.lines.get(&group).and_then(|line| line.front()).copied()
    }

    /// Lets the front of a line go.
    pub fn advance(&mut self, group: u64) {
        if let Some(line) = self.lines.get_mut(&group) {
            line.pop_front();
            if line.is_empty() && group != 0 {
                // Keys come and go; the partition's own line stays.
                self.lines.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
}
