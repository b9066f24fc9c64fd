//! The partitions of a lane: their ledgers, their lines, and which assignment they belong to.
//!
//! Contract: a partition that comes back gets a new ledger and a new epoch; a completion that names an older epoch
//! changes nothing. Frontiers are those of partitions that are ours now, and no others.

use crate::commit::ledger::{Charge, Ledger, LedgerError};
use crate::source::order::Lines;

/// One partition that is or was ours.
pub struct Assignment {
    /// Position of its topic in the lane's list.
    pub topic: usize,
    /// Its number.
    pub partition: i32,
    /// Which assignment of it this is.
    pub epoch: u64,
    /// Whether it is ours now.
    pub ours: bool,
    /// Who may leave.
    pub lines: Lines,
    ledger: Ledger,
    stored: Option<i64>,
}

impl Assignment {
    /// Notes that the alert at `offset` is under way.
    ///
    /// # Errors
    /// [`LedgerError::NotRising`].
    pub fn charge(&mut self, offset: i64) -> Result<Charge, LedgerError> {
        self.ledger.charge(offset)
    }

    /// Offset of the oldest alert that is not done.
    pub fn oldest(&self) -> Option<i64> {
        self.ledger.oldest()
    }

    /// What a transaction commits that holds `count` alerts of ours, of which `sent` is the last.
    ///
    /// # Errors
    /// [`LedgerError::NotContiguous`].
    pub fn frontier_after(&self, count: usize, sent: i64) -> Result<i64, LedgerError> {
        self.ledger.frontier_after(count, sent)
    }

    /// Notes that a charged alert of assignment `epoch` is done; an older epoch changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::NotOpen`].
    pub fn complete(&mut self, epoch: u64, charge: Charge) -> Result<(), LedgerError> {
        if self.ours && self.epoch == epoch { self.ledger.complete(charge) } else { Ok(()) }
    }
}

/// All partitions of a lane, past ones too: their places are reused when they come back.
pub struct Assignments {
    all: Vec<Assignment>,
    /// By position of the topic, then by number of the partition.
    places: Vec<Vec<Option<usize>>>,
    /// Alerts that a ledger may hold.
    bound: usize,
    /// Of assignments whose ledgers were at half of that; some may be shorter by now.
    long: Vec<usize>,
}

impl Assignments {
    /// No partitions; a ledger may hold `bound` alerts.
    pub fn new(bound: usize) -> Self {
        Assignments { all: Vec::new(), places: Vec::new(), bound: bound.max(2), long: Vec::new() }
    }

    /// Takes a partition that is ours from now on.
    pub fn assign(&mut self, topic: usize, partition: i32) {
        let index = self.find(topic, partition).unwrap_or_else(|| self.add(topic, partition));
        if let Some(assignment) = self.all.get_mut(index) {
            assignment.epoch += 1;
            assignment.ours = true;
            assignment.ledger = Ledger::new();
            assignment.lines = Lines::default();
            assignment.stored = None;
        }
    }

    /// Lets go of a partition: what is in flight of it no longer counts.
    pub fn forget(&mut self, topic: usize, partition: i32) {
        if let Some(assignment) = self.find(topic, partition).and_then(|index| self.all.get_mut(index)) {
            assignment.ours = false;
            assignment.ledger = Ledger::new();
            assignment.lines = Lines::default();
        }
    }

    /// Where a partition stands.
    pub fn find(&self, topic: usize, partition: i32) -> Option<usize> {
        *self.places.get(topic)?.get(usize::try_from(partition).ok()?)?
    }

    /// The assignment at an index.
    pub fn get(&self, index: usize) -> Option<&Assignment> {
        self.all.get(index)
    }

    /// The assignment at an index, to change.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Assignment> {
        self.all.get_mut(index)
    }

    /// Whether an alert of the assignment at `index`, taken in `epoch`, still counts.
    pub fn counts(&self, index: usize, epoch: u64) -> bool {
        self.all.get(index).is_some_and(|assignment| assignment.ours && assignment.epoch == epoch)
    }

    /// The partitions that are ours, as (topic, partition).
    pub fn ours(&self) -> impl Iterator<Item = (usize, i32)> {
        self.all.iter().filter(|assignment| assignment.ours).map(|a| (a.topic, a.partition))
    }

    /// Alerts of a partition that are not done.
    pub fn open(&self, topic: usize, partition: i32) -> usize {
        self.find(topic, partition).and_then(|index| self.all.get(index)).map_or(0, |a| a.ledger.open())
    }

    /// Looks at the ledger of the assignment at `index`, to which an alert was charged.
    pub fn grown(&mut self, index: usize) {
        let half = self.bound / 2;
        let is_long = |index: &usize| self.all.get(*index).is_some_and(|a| a.ours && a.ledger.span() >= half);
        if is_long(&index) && !self.long.contains(&index) {
            self.long.retain(is_long);
            self.long.push(index);
        }
    }

    /// Whether a ledger of ours has come to its bound: its oldest alert is not done, and those behind it have overtaken
    /// it. They count for nothing until it is.
    pub fn is_held_up(&self) -> bool {
        self.has_span(self.bound)
    }

    /// Whether each is below half of that again.
    pub fn has_room(&self) -> bool {
        !self.has_span(self.bound / 2)
    }

    fn has_span(&self, span: usize) -> bool {
        // For each alert that is polled: only those are looked at that were long.
        let is_long = |index: &usize| self.all.get(*index).is_some_and(|a| a.ours && a.ledger.span() >= span);
        self.long.iter().any(is_long)
    }

    /// Frontiers that have moved since they were stored, as (topic, partition, next offset to read).
    pub fn frontiers(&self) -> impl Iterator<Item = (usize, i32, i64)> {
        self.all
            .iter()
            .filter(|a| a.ours && a.ledger.frontier() != a.stored)
            .filter_map(|a| Some((a.topic, a.partition, a.ledger.frontier()?)))
    }

    /// Notes that all frontiers were stored.
    pub fn stored(&mut self) {
        for assignment in self.all.iter_mut().filter(|assignment| assignment.ours) {
            assignment.stored = assignment.ledger.frontier();
        }
    }

    fn add(&mut self, topic: usize, partition: i32) -> usize {
        let index = self.all.len();
        self.all.push(Assignment {
            topic,
            partition,
            epoch: 0,
            ours: false,
            lines: Lines::default(),
            ledger: Ledger::new(),
            stored: None,
        });
        if self.places.len() <= topic {
            self.places.resize_with(topic + 1, Vec::new);
        }
        if let (Some(places), Ok(partition)) = (self.places.get_mut(topic), usize::try_from(partition)) {
            if places.len() <= partition {
                places.resize(partition + 1, None);
            }
            if let Some(place) = places.get_mut(partition) {
                *place = Some(index);
            }
        }
        index
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a look at every ledger: alerts are taken in any order of partitions while there is room, done in any order,
        /// and partitions come and go.
        #[test]
        fn whoever_overtakes_a_slow_alert_does_so_within_the_bound(
            bound in 2usize..12,
            steps in prop::collection::vec((0u8..8, any::<prop::sample::Index>(), 0i32..4), 1..300),
        ) {
            let mut all = Assignments::new(bound);
            (0..4).for_each(|partition| all.assign(0, partition));
            let (mut open, mut offset) = (Vec::new(), 0);
            for (step, pick, partition) in steps {
                let index = all.find(0, partition).unwrap();
                let ours = all.get(index).unwrap().ours;
                match step {
                    0 if ours => all.forget(0, partition),
                    0 => all.assign(0, partition),
                    1..=4 if ours && !all.is_held_up() => {
                        offset += 1;
                        let assignment = all.get_mut(index).unwrap();
                        open.push((index, assignment.epoch, assignment.charge(offset).unwrap()));
                        all.grown(index);
                    }
                    5..=7 if !open.is_empty() => {
                        let (index, epoch, charge) = open.swap_remove(pick.index(open.len()));
                        all.get_mut(index).unwrap().complete(epoch, charge).unwrap();
                    }
                    _ => {}
                }
                let spans = || all.all.iter().filter(|a| a.ours).map(|a| a.ledger.span());
                prop_assert!(spans().all(|span| span <= bound), "a ledger grew beyond its bound");
                prop_assert_eq!(all.is_held_up(), spans().any(|span| span >= bound));
                prop_assert_eq!(all.has_room(), spans().all(|span| span < bound / 2));
            }
        }
    }

    #[test]
    fn a_completion_of_an_older_assignment_changes_nothing() {
        let mut all = Assignments::new(100);
        all.assign(0, 3);
        let index = all.find(0, 3).unwrap();
        let old = all.get_mut(index).unwrap().charge(10).unwrap();
        let old_epoch = all.get(index).unwrap().epoch;
        all.forget(0, 3);
        all.assign(0, 3);
        let new = all.get_mut(index).unwrap().charge(10).unwrap();
        all.get_mut(index).unwrap().complete(old_epoch, old).unwrap();
        assert_eq!((all.open(0, 3), all.frontiers().count()), (1, 0));
        let epoch = all.get(index).unwrap().epoch;
        all.get_mut(index).unwrap().complete(epoch, new).unwrap();
        assert_eq!(all.frontiers().collect::<Vec<_>>(), [(0, 3, 11)]);
        all.stored();
        assert_eq!(all.frontiers().count(), 0);
    }

    #[test]
    fn a_partition_that_is_not_ours_has_no_frontier() {
        let mut all = Assignments::new(100);
        all.assign(1, 0);
        let index = all.find(1, 0).unwrap();
        let assignment = all.get_mut(index).unwrap();
        let charge = assignment.charge(0).unwrap();
        assignment.complete(1, charge).unwrap();
        all.forget(1, 0);
        assert_eq!(all.frontiers().count(), 0);
        assert_eq!(all.ours().count(), 0);
    }
}
