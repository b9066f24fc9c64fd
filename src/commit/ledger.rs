//! The ledger of one partition during one assignment: which alerts are under way, and how far all is done.
//!
//! Contract: [`Ledger::frontier`] is the offset up to which **everything** that was charged is completed; it
//! never moves back and never passes an open charge. Charges come in the order of their offsets; they are
//! completed in any order. Gaps between offsets (compaction, transaction markers) are fine. Pure: knows nothing
//! of Kafka or time. A ledger belongs to one assignment: when the partition goes, it is dropped whole, and a
//! completion that comes later finds no ledger (its epoch is over).

use std::collections::VecDeque;

/// The receipt for a charged offset; give it back with [`Ledger::complete`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge(u64);

/// A completion or a charge that contradicts the ledger. Each is a bug of the caller: the process must stop
/// rather than commit on the strength of a ledger that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// An offset was charged that is not above the last one.
    #[error("offset {offset} was charged after {last}: offsets of a partition must rise")]
    NotRising {
        /// The offset that was charged.
        offset: i64,
        /// The highest offset charged before.
        last: i64,
    },
    /// A charge was completed that is not open: a second time, or of another ledger.
    #[error("a charge was completed that is not open")]
    NotOpen,
    /// A transaction holds other alerts of a partition than its oldest open ones: its offset would pass one over.
    #[error(
        "a transaction ends at offset {sent} of a partition, but its oldest open alerts end at {oldest:?}"
    )]
    NotContiguous {
        /// The last offset of the transaction.
        sent: i64,
        /// Where as many of the oldest open charges end.
        oldest: Option<i64>,
    },
}

/// Offsets under way, oldest first, and the frontier behind them.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Open and completed charges from the oldest open one on.
    entries: VecDeque<Entry>,
    /// Number of the charge at the front of `entries`.
    first: u64,
    /// Charges that are not completed.
    open: usize,
    last: Option<i64>,
    frontier: Option<i64>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    done: bool,
}

impl Ledger {
    /// A ledger with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that the alert at `offset` is under way.
    ///
    /// # Errors
    /// [`LedgerError::NotRising`].
    pub fn charge(&mut self, offset: i64) -> Result<Charge, LedgerError> {
        if let Some(last) = self.last
            && offset <= last
        {
            return Err(LedgerError::NotRising { offset, last });
        }
        self.last = Some(offset);
        let charge = Charge(self.first + self.entries.len() as u64);
        self.entries.push_back(Entry { offset, done: false });
        self.open += 1;
        Ok(charge)
    }

    /// Notes that the output or dead letter of a charged alert is acknowledged by the broker.
    ///
    /// # Errors
    /// [`LedgerError::NotOpen`].
    pub fn complete(&mut self, charge: Charge) -> Result<(), LedgerError> {
        let index = charge.0.checked_sub(self.first).ok_or(LedgerError::NotOpen)?;
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| self.entries.get_mut(index))
            .filter(|entry| !entry.done)
            .ok_or(LedgerError::NotOpen)?;
        entry.done = true;
        self.open -= 1;
        while let Some(front) = self.entries.front()
            && front.done
        {
            // A commit names the next offset to read.
            self.frontier = Some(front.offset + 1);
            self.entries.pop_front();
            self.first += 1;
        }
        Ok(())
    }

    /// The offset to commit: the next one to read once all before it is done. `None` while nothing is.
    pub fn frontier(&self) -> Option<i64> {
        self.frontier
    }

    /// Offset of the oldest open charge.
    pub fn oldest(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.offset)
    }

    /// Where the frontier will be once the `count` oldest charges, of which `sent` is the last, are completed: the
    /// offset that a transaction with them commits.
    ///
    /// # Errors
    /// [`LedgerError::NotContiguous`] when others are the oldest open ones.
    pub fn frontier_after(&self, count: usize, sent: i64) -> Result<i64, LedgerError> {
        let oldest = count.checked_sub(1).and_then(|last| self.entries.get(last)).map(|entry| entry.offset);
        if oldest == Some(sent) { Ok(sent + 1) } else { Err(LedgerError::NotContiguous { sent, oldest }) }
    }

    /// Charges from the oldest open one on: what the ledger holds.
    pub fn span(&self) -> usize {
        self.entries.len()
    }

    /// Charges that are not completed.
    pub fn open(&self) -> usize {
        self.open
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_frontier_waits_for_the_oldest_open_charge() {
        let mut ledger = Ledger::new();
        let a = ledger.charge(10).unwrap();
        let b = ledger.charge(11).unwrap();
        ledger.complete(b).unwrap();
        assert_eq!(ledger.frontier(), None);
        ledger.complete(a).unwrap();
        assert_eq!(ledger.frontier(), Some(12));
        assert_eq!(ledger.open(), 0);
    }

    #[test]
    fn a_charge_is_completed_once() {
        let mut ledger = Ledger::new();
        let a = ledger.charge(1).unwrap();
        let b = ledger.charge(2).unwrap();
        ledger.complete(b).unwrap();
        assert_eq!(ledger.complete(b), Err(LedgerError::NotOpen));
        ledger.complete(a).unwrap();
        assert_eq!(ledger.complete(a), Err(LedgerError::NotOpen));
        assert_eq!(ledger.complete(Charge(7)), Err(LedgerError::NotOpen));
    }

    #[test]
    fn a_transaction_commits_only_the_oldest_open_charges() {
        let mut ledger = Ledger::new();
        let a = ledger.charge(5).unwrap();
        ledger.charge(9).unwrap();
        ledger.charge(10).unwrap();
        assert_eq!(ledger.frontier_after(2, 9), Ok(10));
        assert_eq!(
            ledger.frontier_after(2, 10),
            Err(LedgerError::NotContiguous { sent: 10, oldest: Some(9) }),
            "offset 9 would be passed over"
        );
        assert_eq!(ledger.frontier_after(4, 10), Err(LedgerError::NotContiguous { sent: 10, oldest: None }));
        ledger.complete(a).unwrap();
        assert_eq!((ledger.oldest(), ledger.frontier_after(1, 9)), (Some(9), Ok(10)));
    }

    #[test]
    fn offsets_must_rise() {
        let mut ledger = Ledger::new();
        ledger.charge(5).unwrap();
        assert_eq!(ledger.charge(5), Err(LedgerError::NotRising { offset: 5, last: 5 }));
    }

    proptest! {
        /// Against a model that keeps every offset ever charged and looks at them all.
        #[test]
        fn the_frontier_is_what_a_plain_model_says(
            gaps in prop::collection::vec(1i64..5, 1..80),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..160),
        ) {
            let mut ledger = Ledger::new();
            let mut model: BTreeMap<i64, bool> = BTreeMap::new();
            let mut open: Vec<(i64, Charge)> = Vec::new();
            let mut offset = 100;
            let mut gaps = gaps.into_iter();
            let mut seen = None;
            for pick in picks {
                if let Some(gap) = gaps.next() {
                    offset += gap;
                    open.push((offset, ledger.charge(offset).unwrap()));
                    model.insert(offset, false);
                }
                if !open.is_empty() && pick.index(3) > 0 {
                    let (done, charge) = open.swap_remove(pick.index(open.len()));
                    ledger.complete(charge).unwrap();
                    model.insert(done, true);
                }
                let expected = model.iter().take_while(|(_, done)| **done).last().map(|(offset, _)| offset + 1);
                prop_assert_eq!(ledger.frontier(), expected);
                prop_assert!(ledger.frontier() >= seen, "the frontier moved back");
                seen = ledger.frontier();
                prop_assert_eq!(ledger.open(), open.len());
            }
        }
    }
}
