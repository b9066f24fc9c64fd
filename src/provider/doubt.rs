//! Whether a provider's answers are too empty to be true.
//!
//! A wrong site, account or endpoint often answers politely that it knows nobody. Pure. Never changes an answer.

use std::fmt;

use super::Answer;

/// Fewer answers than this prove nothing.
const MANY: u32 = 500;
/// More are counted half, so that the last thousands decide.
const MOST: u32 = 5_000;
/// Of so many answers, one may be known and the rest is still almost all.
const ONE_IN: u32 = 200;

/// The answers so far, the recent ones first.
#[derive(Debug, Default)]
pub struct Tally {
    known: u32,
    unknown: u32,
}

/// Almost all of many answers are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Answers that were counted.
    pub answers: u32,
    /// How many of them were unknown.
    pub unknown: u32,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of the last {} entities are unknown to the vendor: is its site, account or endpoint the right one?",
            self.unknown, self.answers
        )
    }
}

impl Tally {
    /// Counts an answer. A known entity without a level is known.
    pub fn count(&mut self, answer: &Answer) {
        match answer {
            Answer::Scored(_) | Answer::Unknown { detail: Some(_) } => self.known += 1,
            Answer::Unknown { detail: None } => self.unknown += 1,
        }
        if self.known + self.unknown >= MOST {
            self.known /= 2;
            self.unknown /= 2;
        }
    }

    /// Whether the answers are too empty.
    pub fn doubt(&self) -> Option<Doubt> {
        let answers = self.known + self.unknown;
        let empty = answers >= MANY && self.known.saturating_mul(ONE_IN) < answers;
        empty.then_some(Doubt { answers, unknown: self.unknown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(unknown: u32, no_level: u32) -> Option<Doubt> {
        let mut tally = Tally::default();
        for _ in 0..unknown {
            tally.count(&Answer::Unknown { detail: None });
        }
        for _ in 0..no_level {
            tally.count(&Answer::Unknown { detail: Some("no_level") });
        }
        tally.doubt()
    }

    #[test]
    fn many_unknowns_without_a_known_are_doubtful_and_few_are_not() {
        assert_eq!(after(MANY - 1, 0), None);
        assert_eq!(after(MANY, 0), Some(Doubt { answers: MANY, unknown: MANY }));
        assert!(after(1_000_000, 0).is_some());
    }

    #[test]
    fn some_that_are_known_remove_the_doubt() {
        assert_eq!(after(MANY, 10), None);
        assert_eq!(after(20_000, 100), None);
    }
}
