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

    /// Alerts from the oldest one that is not done on: what the ledger holds.
    pub fn span(&self) -> usize {
        self.ledger.span()
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
#[derive(Default)]
pub struct Assignments {
    all: Vec<Assignment>,
    /// By position of the topic, then by number of the partition.
    places: Vec<Vec<Option<usize>>>,
}

impl Assignments {
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

    /// Something of each partition that is ours, with its position, ascending.
    pub fn each<T>(&self, of: impl Fn(&Assignment) -> T) -> Vec<(usize, T)> {
        let all = self.all.iter().enumerate().filter(|(_, assignment)| assignment.ours);
        all.map(|(index, assignment)| (index, of(assignment))).collect()
    }

    /// Alerts of a partition that are not done.
    pub fn open(&self, topic: usize, partition: i32) -> usize {
        self.find(topic, partition).and_then(|index| self.all.get(index)).map_or(0, |a| a.ledger.open())
    }

    /// The most alerts that any of our ledgers holds: they grow while their oldest alert is not done.
    pub fn longest(&self) -> usize {
        self.all.iter().filter(|a| a.ours).map(|a| a.ledger.span()).max().unwrap_or(0)
    }

    /// Frontiers that have moved since they were stored, as (topic, partition, next offset to read).
    pub fn frontiers(&self) -> impl Iterator<Item = (usize, i32, i64)> {
        self.all
            .iter()
            .filter(|a| a.ours && a.ledger.frontier() != a.stored)
            .filter_map(|a| Some((a.topic, a.partition, a.ledger.frontier()?)))
    }

    /// How far partitions of ours are, as (topic, partition, next offset to read).
    pub fn done(&self) -> impl Iterator<Item = (usize, i32, i64)> {
        let ours = self.all.iter().filter(|assignment| assignment.ours);
        ours.filter_map(|a| Some((a.topic, a.partition, a.ledger.frontier()?)))
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
#[path = "assignments_tests.rs"]
mod tests;
