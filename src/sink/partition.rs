//! Which partition of the output an alert goes to.
//!
//! Contract: alerts of one input partition keep their order if the same number is used, and alerts of one key
//! if the key decides; [`Chooser`] says which, per input topic, from the counts at start. Pure.

use crate::config::OutputPartition;

/// The choice for one input topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooser {
    /// The input's number.
    Same,
    /// By key (murmur2, as Java does); without a key by the input's number, so that its order is kept.
    ByKey {
        /// Partitions of the output.
        outputs: i32,
    },
}

impl Chooser {
    /// The choice for an input of `inputs` partitions and an output of `outputs`; `wanted` is the configuration's.
    pub fn new(wanted: Option<OutputPartition>, inputs: i32, outputs: i32) -> Self {
        match wanted {
            Some(OutputPartition::Key) => Chooser::ByKey { outputs },
            Some(OutputPartition::Input) if inputs <= outputs => Chooser::Same,
            None if inputs == outputs => Chooser::Same,
            _ => Chooser::ByKey { outputs },
        }
    }

    /// The partition of an alert; `None` leaves it to the partitioner, by key.
    pub fn choose(self, input: i32, has_key: bool) -> Option<i32> {
        match self {
            Chooser::Same => Some(input),
            Chooser::ByKey { .. } if has_key => None,
            Chooser::ByKey { outputs } => Some(input.rem_euclid(outputs.max(1))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_counts_keep_the_number_and_others_go_by_key() {
        assert_eq!(Chooser::new(None, 12, 12).choose(7, true), Some(7));
        assert_eq!(Chooser::new(None, 12, 6).choose(7, true), None);
        assert_eq!(Chooser::new(None, 12, 6).choose(7, false), Some(1));
        assert_eq!(Chooser::new(Some(OutputPartition::Key), 12, 12).choose(7, true), None);
        assert_eq!(Chooser::new(Some(OutputPartition::Input), 6, 12).choose(5, true), Some(5));
    }
}
