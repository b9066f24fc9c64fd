//! The records of a lane's open transaction, and whether it may be committed.
//!
//! Pure. Contract: a window knows every record that was handed to the producer since it was opened, by the alert it
//! came from, and how many of them were acknowledged. It may be committed when all were and none was refused. What it
//! commits of a partition is the run of that partition's oldest open alerts: the ledger checks that.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::sink::Token;

/// The alerts of one partition in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many.
    pub count: usize,
    /// Offset of the last.
    pub last: i64,
}

/// A partition that records go to: whether it is the dead-letter topic's or the output's, and its number.
pub type Place = (bool, i32);

/// An open transaction.
#[derive(Debug, Default)]
pub struct Window {
    opened: Option<Instant>,
    sent: Vec<Token>,
    /// Where acknowledged records stand.
    places: BTreeSet<Place>,
    /// By position of the assignment.
    runs: Vec<Option<Run>>,
    handed: usize,
    acknowledged: usize,
    refused: bool,
}

impl Window {
    /// Notes a record that the producer has, of the alert at `offset` of `assignment`.
    pub fn add(&mut self, token: Token, assignment: usize, offset: i64, now: Instant) {
        self.opened.get_or_insert(now);
        self.handed += 1;
        self.sent.push(token);
        if self.runs.len() <= assignment {
            self.runs.resize(assignment + 1, None);
        }
        if let Some(run) = self.runs.get_mut(assignment) {
            let count = run.map_or(0, |run| run.count) + 1;
            *run = Some(Run { count, last: offset });
        }
    }

    /// Notes that there is something to commit beside records: where partitions start.
    pub fn open(&mut self, now: Instant) {
        self.opened.get_or_insert(now);
    }

    /// Notes that a record was acknowledged, and where it stands; `None` when its alert is no longer known.
    pub fn acknowledge(&mut self, place: Option<Place>) {
        self.acknowledged += 1;
        self.places.extend(place);
    }

    /// Where its records stand, as far as they were acknowledged.
    pub fn places(&self) -> &BTreeSet<Place> {
        &self.places
    }

    /// Notes that the transaction cannot be committed any more.
    pub fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether it must be aborted.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether every record was acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged == self.handed
    }

    /// When its first record was handed over; `None` while there is nothing to commit.
    pub fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// Records in it.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Its partitions, by position of the assignment.
    pub fn runs(&self) -> impl Iterator<Item = (usize, Run)> {
        self.runs.iter().enumerate().filter_map(|(assignment, run)| Some((assignment, (*run)?)))
    }

    /// Lets go of a partition, whose alerts are those that `gone` names. Its records stay in the transaction, and
    /// that can then only be aborted, unless its offsets are in it already (`sealed`): then both are committed or
    /// neither is.
    pub fn forget(&mut self, assignment: usize, sealed: bool, gone: impl Fn(Token) -> bool) {
        if let Some(run) = self.runs.get_mut(assignment).and_then(Option::take) {
            self.refused |= !sealed && run.count > 0;
            self.sent.retain(|token| !gone(*token));
        }
    }

    /// Takes a partition out whose alerts, which `belongs` names, turned out to be committed: them, in order.
    pub fn extract(&mut self, assignment: usize, mut belongs: impl FnMut(Token) -> bool) -> Vec<Token> {
        self.runs.get_mut(assignment).and_then(Option::take);
        self.sent.extract_if(.., |token| belongs(*token)).collect()
    }

    /// Ends it, whichever way: its alerts, in the order in which they were handed over.
    pub fn take(&mut self) -> Vec<Token> {
        std::mem::take(self).sent
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn token(slot: u32) -> Token {
        Token { slot, generation: 0 }
    }

    #[test]
    fn a_window_is_committed_only_when_all_is_acknowledged_and_nothing_refused() {
        let (mut window, now) = (Window::default(), Instant::now());
        window.add(token(1), 2, 10, now);
        window.add(token(2), 2, 12, now);
        window.acknowledge(Some((false, 3)));
        assert!(!window.is_acknowledged());
        window.acknowledge(Some((true, 0)));
        assert!(window.places().iter().eq(&[(false, 3), (true, 0)]));
        assert!(window.is_acknowledged() && !window.is_refused());
        assert_eq!(window.runs().collect::<Vec<_>>(), [(2, Run { count: 2, last: 12 })]);
        window.refuse();
        assert!(window.is_refused());
        assert_eq!(window.take(), [token(1), token(2)]);
        assert!(window.len() == 0 && !window.is_refused() && window.opened().is_none());
    }

    #[test]
    fn a_partition_that_goes_takes_the_transaction_with_it_unless_its_offsets_are_in() {
        for sealed in [false, true] {
            let (mut window, now) = (Window::default(), Instant::now());
            window.add(token(1), 0, 10, now);
            window.add(token(2), 1, 10, now);
            window.forget(3, sealed, |_| false);
            assert!(!window.is_refused(), "a partition that is not in it");
            window.forget(0, sealed, |gone| gone == token(1));
            assert_eq!(window.is_refused(), !sealed);
            assert_eq!(window.runs().map(|(assignment, _)| assignment).collect::<Vec<_>>(), [1]);
            assert_eq!(window.take(), [token(2)]);
        }
    }

    proptest! {
        /// Whatever comes and goes, the runs are those of the tokens that are left, in order.
        #[test]
        fn runs_agree_with_what_was_sent(
            sends in prop::collection::vec((0usize..4, 1i64..4), 0..60),
            gone in prop::collection::vec(0usize..4, 0..3),
        ) {
            let (mut window, now) = (Window::default(), Instant::now());
            let mut offsets = [0i64; 4];
            let mut model = Vec::new();
            for (number, (assignment, gap)) in sends.into_iter().enumerate() {
                offsets[assignment] += gap;
                window.add(token(number as u32), assignment, offsets[assignment], now);
                model.push((token(number as u32), assignment, offsets[assignment]));
            }
            for assignment in gone {
                let left: Vec<Token> = model.iter().filter(|m| m.1 == assignment).map(|m| m.0).collect();
                window.forget(assignment, false, |token| left.contains(&token));
                prop_assert!(left.is_empty() || window.is_refused());
                model.retain(|m| m.1 != assignment);
            }
            for (assignment, run) in window.runs() {
                let of: Vec<i64> = model.iter().filter(|m| m.1 == assignment).map(|m| m.2).collect();
                prop_assert_eq!((run.count, Some(&run.last)), (of.len(), of.last()));
            }
            prop_assert_eq!(window.take(), model.iter().map(|m| m.0).collect::<Vec<_>>());
        }
    }
}
