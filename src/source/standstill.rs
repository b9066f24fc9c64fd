//! Where readers stand still: a partition whose readable end does not move although more is written.
//!
//! What is behind the first record of an open transaction is read by nobody who reads what is committed. A transaction that
//! nobody ends any more, which an outage of a broker can leave behind, holds up alerts in an input before us, and in the
//! output before everyone else, and neither shows as lag.
//!
//! Contract: it is a word once it was so for `ROUNDS` rounds, which is longer than transactions of ours may take. What
//! the broker does not answer says nothing. Pure.

use std::collections::HashMap;

use crate::source::audit::Partition;

/// Rounds in which nothing moved before it is told.
const ROUNDS: u32 = 3;

/// What the rounds before left.
#[derive(Debug, Default)]
pub struct Standstill {
    /// Of those where more is written: the readable end, and for how many rounds it has been there.
    held: HashMap<Partition, (i64, u32)>,
}

impl Standstill {
    /// Takes what is `readable` of partitions and what is `written`, each up to before an offset.
    pub fn round(&mut self, readable: &HashMap<Partition, i64>, written: &HashMap<Partition, i64>) {
        for (partition, end) in readable {
            let Some(written) = written.get(partition) else { continue };
            if written <= end {
                self.held.remove(partition);
                continue;
            }
            let rounds = match self.held.get(partition) {
                Some((before, rounds)) if before == end => rounds.saturating_add(1),
                _ => 0,
            };
            self.held.insert(partition.clone(), (*end, rounds));
        }
    }

    /// What people should know.
    pub fn alarm(&self) -> Option<String> {
        let held = self.held.iter().filter(|(_, (_, rounds))| *rounds >= ROUNDS);
        let mut held: Vec<(&Partition, i64)> = held.map(|(partition, (end, _))| (partition, *end)).collect();
        held.sort();
        let ((topic, number), end) = held.first()?;
        let others = match held.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} others"),
        };
        Some(format!(
            "nobody reads beyond offset {end} of {topic}/{number}{others}: a transaction there is open and nobody ends it. \
             Start the instance again that began it, or end it with kafka-transactions.sh find-hanging and abort"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(end: i64) -> HashMap<Partition, i64> {
        HashMap::from([(("out".to_owned(), 3), end)])
    }

    #[test]
    fn an_end_that_does_not_move_while_more_is_behind_it_is_told_until_it_moves() {
        let mut standstill = Standstill::default();
        for _ in 0..10 {
            standstill.round(&at(7), &at(7));
        }
        assert_eq!(standstill.alarm(), None, "nothing is behind it");
        for _ in 0..ROUNDS {
            standstill.round(&at(7), &at(9));
            assert_eq!(standstill.alarm(), None, "a transaction may be open for a while");
        }
        standstill.round(&at(7), &at(11));
        assert!(standstill.alarm().is_some_and(|alarm| alarm.contains("offset 7 of out/3: ")));
        standstill.round(&HashMap::new(), &at(12));
        standstill.round(&at(7), &HashMap::new());
        assert!(standstill.alarm().is_some(), "no answer says nothing");
        standstill.round(&at(8), &at(12));
        assert_eq!(standstill.alarm(), None);
        standstill.round(&at(12), &at(12));
        standstill.round(&at(12), &at(13));
        assert_eq!(standstill.alarm(), None, "it begins anew");
    }
}
