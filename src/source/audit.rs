//! Whether the broker holds what we stored for commit: rdkafka drops the results of the commits that librdkafka makes by
//! itself, so somebody must ask.
//!
//! Contract: an offset that was stored a round ago must be committed by now; how far the broker is behind it is a figure,
//! and a word once it was so for two rounds. What the broker does not answer says nothing. Pure.

use std::collections::HashMap;

/// A partition: its topic and number.
pub type Partition = (String, i32);

/// What the last round left.
#[derive(Debug, Default)]
pub struct Audit {
    stored: HashMap<Partition, i64>,
    behind: HashMap<Partition, u32>,
}

/// What a round says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The partition.
    pub partition: Partition,
    /// What the broker holds; `None` is nothing.
    pub committed: Option<i64>,
    /// By how much that is behind what was stored a round ago.
    pub behind: i64,
}

impl Audit {
    /// Holds the broker's `answers` against what was stored in the last round, and remembers what is `stored` now.
    /// Partitions without an answer keep their place.
    pub fn round(
        &mut self,
        stored: &HashMap<Partition, i64>,
        answers: &HashMap<Partition, Option<i64>>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        // What is not ours any more is its new owner's.
        self.stored.retain(|partition, _| stored.contains_key(partition));
        self.behind.retain(|partition, _| stored.contains_key(partition));
        for (partition, now) in stored {
            let Some(committed) = answers.get(partition) else { continue };
            // A partition that went and came back may stand where its other owner left it.
            let before = self.stored.insert(partition.clone(), *now).map(|before| before.min(*now));
            let behind = before.map_or(0, |before| (before - committed.unwrap_or(0)).max(0));
            let rounds = self.behind.entry(partition.clone()).or_default();
            *rounds = if behind > 0 { rounds.saturating_add(1) } else { 0 };
            findings.push(Finding { partition: partition.clone(), committed: *committed, behind });
        }
        findings.sort_by(|a, b| a.partition.cmp(&b.partition));
        findings
    }

    /// What people should know: partitions whose commits were behind for two rounds.
    pub fn alarm(&self) -> Option<String> {
        let mut late: Vec<&Partition> =
            self.behind.iter().filter(|(_, rounds)| **rounds >= 2).map(|(partition, _)| partition).collect();
        late.sort();
        let (topic, number) = late.first()?;
        let others = match late.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} others"),
        };
        Some(format!(
            "the broker does not hold what was committed of {topic}/{number}{others}: a restart would repeat more than the \
             last second. See riskstream_commit_behind and the broker's log"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(offset: i64) -> HashMap<Partition, i64> {
        HashMap::from([(("a".to_owned(), 0), offset)])
    }

    fn told(offset: Option<i64>) -> HashMap<Partition, Option<i64>> {
        HashMap::from([(("a".to_owned(), 0), offset)])
    }

    fn behind(audit: &mut Audit, now: i64, answer: Option<i64>) -> Option<i64> {
        audit.round(&stored(now), &told(answer)).first().map(|finding| finding.behind)
    }

    #[test]
    fn what_was_stored_a_round_ago_must_be_committed_and_what_is_stored_now_need_not() {
        let mut audit = Audit::default();
        assert_eq!(behind(&mut audit, 100, Some(40)), Some(0), "nobody knows since when");
        assert_eq!(behind(&mut audit, 200, Some(100)), Some(0));
        assert_eq!(behind(&mut audit, 300, Some(150)), Some(50));
        assert_eq!(audit.alarm(), None, "once may be an outage that has just ended");
        assert_eq!(behind(&mut audit, 300, Some(150)), Some(150));
        assert!(audit.alarm().is_some_and(|alarm| alarm.contains("of a/0: ")));
        assert_eq!(behind(&mut audit, 300, Some(300)), Some(0));
        assert_eq!(audit.alarm(), None, "it goes when it is over");
    }

    #[test]
    fn a_commit_that_never_was_is_behind_by_all_of_it() {
        let mut audit = Audit::default();
        behind(&mut audit, 10, None);
        assert_eq!(behind(&mut audit, 10, None), Some(10));
    }

    #[test]
    fn no_answer_says_nothing_and_a_partition_that_went_starts_anew() {
        let mut audit = Audit::default();
        behind(&mut audit, 10, Some(10));
        assert_eq!(audit.round(&stored(20), &HashMap::new()), []);
        assert_eq!(behind(&mut audit, 30, Some(10)), Some(0), "10 is what was stored when last asked");
        assert_eq!(audit.round(&HashMap::new(), &HashMap::new()), []);
        assert_eq!(behind(&mut audit, 500, Some(30)), Some(0), "it is ours again since this round");
        assert_eq!(behind(&mut audit, 40, Some(40)), Some(0), "and may have been set back");
    }

    #[test]
    fn the_alarm_names_one_and_counts_the_others() {
        let mut audit = Audit::default();
        let all: HashMap<_, _> = (0..3).map(|number| (("a".to_owned(), number), 10)).collect();
        let none: HashMap<_, _> = all.keys().map(|partition| (partition.clone(), None)).collect();
        for _ in 0..3 {
            audit.round(&all, &none);
        }
        assert!(audit.alarm().is_some_and(|alarm| alarm.contains("of a/0 and 2 others")));
    }
}
