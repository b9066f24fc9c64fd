//! How much of a lane one partition may take while others need room: whose vendor hangs must not starve the rest.
//!
//! Pure: what is held and the time are passed in. Contract: a partition whose waiting alerts are more than the room that all
//! waiting alerts leave is held back alone, until they are half of that room. So one that hangs has half of the lane, two
//! have a third each, and there is always room for those that do not wait; nobody is held back while less than half of the
//! lane waits, and a partition that is alone has the whole of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Between two looks at what partitions hold, unless the lane fills up faster.
const INTERVAL: Duration = Duration::from_millis(25);

/// A look is due when this part of the lane was taken since the last one.
const STEP: usize = 16;

/// Alerts, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub alerts: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Amount {
    /// Whether it is half of `whole` or more, by either measure.
    fn is_half(self, whole: Amount) -> bool {
        self.alerts.saturating_mul(2) >= whole.alerts || self.bytes.saturating_mul(2) >= whole.bytes
    }

    /// Whether so many times of it are more than `room`, by either measure.
    fn exceeds(self, times: usize, room: Amount) -> bool {
        self.alerts.saturating_mul(times) > room.alerts || self.bytes.saturating_mul(times) > room.bytes
    }
}

/// What is to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Partitions to be held back, by position.
    pub hold: Vec<usize>,
    /// Partitions that may go on.
    pub release: Vec<usize>,
}

/// The shares of a lane's partitions, which are known by their position.
#[derive(Debug, Default)]
pub struct Shares {
    held: BTreeSet<usize>,
    looked: Option<(Instant, usize)>,
}

impl Shares {
    /// Whether it is time to count what each partition holds: `all` is what the lane holds, of `bound`.
    pub fn is_due(&mut self, all: Amount, bound: Amount, now: Instant) -> bool {
        if !all.is_half(bound) && self.held.is_empty() {
            self.looked = None;
            return false;
        }
        let due = self.looked.is_none_or(|(at, alerts)| {
            now >= at + INTERVAL || all.alerts >= alerts + (bound.alerts / STEP).max(1)
        });
        if due {
            self.looked = Some((now, all.alerts));
        }
        due
    }

    /// What follows from what each of a lane's partitions holds that waits. Nothing has changed until it was noted.
    pub fn look(&self, bound: Amount, waiting: &[(usize, Amount)]) -> Change {
        let room = waiting.iter().fold(bound, |room, (_, amount)| Amount {
            alerts: room.alerts.saturating_sub(amount.alerts),
            bytes: room.bytes.saturating_sub(amount.bytes),
        });
        let (alone, mut change) = (waiting.len() < 2, Change::default());
        for (partition, amount) in waiting {
            if self.held.contains(partition) {
                if alone || !amount.exceeds(2, room) {
                    change.release.push(*partition);
                }
            } else if !alone && amount.exceeds(1, room) {
                change.hold.push(*partition);
            }
        }
        change
    }

    /// Notes that partitions are held back.
    pub fn hold(&mut self, partitions: &[usize]) {
        self.held.extend(partitions);
    }

    /// Notes that partitions may go on.
    pub fn release(&mut self, partitions: &[usize]) {
        for partition in partitions {
            self.held.remove(partition);
        }
    }

    /// Notes that nothing is held back: an assignment has begun.
    pub fn clear(&mut self) {
        self.held.clear();
    }

    /// Whether a partition is held back.
    pub fn is_held(&self, partition: usize) -> bool {
        self.held.contains(&partition)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    const BOUND: Amount = Amount { alerts: 1_000, bytes: 1_000_000 };

    fn alerts(alerts: usize) -> Amount {
        Amount { alerts, bytes: alerts }
    }

    /// Partitions, by position, that hold so many waiting alerts.
    fn waiting<const N: usize>(counts: [usize; N]) -> Vec<(usize, Amount)> {
        counts.into_iter().map(alerts).enumerate().collect()
    }

    #[test]
    fn a_partition_that_waits_with_more_than_it_leaves_is_held_back_alone() {
        let mut shares = Shares::default();
        assert_eq!(shares.look(BOUND, &waiting([500, 0, 0, 0])), Change::default());
        let change = shares.look(BOUND, &waiting([400, 250, 0, 0]));
        assert_eq!(change, Change { hold: vec![0], release: vec![] });
        shares.hold(&change.hold);
        assert!(shares.is_held(0) && !shares.is_held(1));
        // It goes on at half of the room that there is then, not before, so that it does not alternate.
        assert_eq!(shares.look(BOUND, &waiting([251, 249, 0, 0])), Change::default());
        assert_eq!(shares.look(BOUND, &waiting([250, 250, 0, 0])).release, [0]);
        shares.release(&[0]);
        assert!(!shares.is_held(0));
    }

    #[test]
    fn bytes_count_as_alerts_do() {
        let large = Amount { alerts: 10, bytes: 600_000 };
        assert_eq!(Shares::default().look(BOUND, &[(0, large), (1, alerts(0))]).hold, [0]);
    }

    #[test]
    fn what_is_sent_and_not_yet_acknowledged_is_nobodys_fault() {
        assert_eq!(Shares::default().look(BOUND, &waiting([0, 3])), Change::default());
    }

    #[test]
    fn a_partition_that_is_alone_has_the_whole_lane() {
        let mut shares = Shares::default();
        assert_eq!(shares.look(BOUND, &waiting([1_000])), Change::default());
        shares.hold(&[0]);
        assert_eq!(shares.look(BOUND, &waiting([1_000])).release, [0]);
    }

    #[test]
    fn a_look_is_due_now_and_then_and_when_the_lane_fills_up() {
        let (mut shares, now) = (Shares::default(), Instant::now());
        assert!(!shares.is_due(alerts(499), BOUND, now));
        assert!(shares.is_due(alerts(500), BOUND, now));
        assert!(!shares.is_due(alerts(561), BOUND, now));
        assert!(shares.is_due(alerts(562), BOUND, now));
        assert!(shares.is_due(alerts(562), BOUND, now + INTERVAL));
        shares.hold(&[3]);
        assert!(shares.is_due(alerts(0), BOUND, now + 2 * INTERVAL), "as long as somebody is held back");
    }

    proptest! {
        /// Partitions whose alerts never leave, however they fill up: there is always room for one that comes later.
        #[test]
        fn however_many_partitions_hang_there_is_room_for_the_next(
            runs in prop::collection::vec((0usize..9, 1usize..4_000), 1..60),
        ) {
            let bound = Amount { alerts: 10_000, bytes: usize::MAX };
            let mut shares = Shares::default();
            let mut held = waiting([0; 10]);
            for (partition, arrivals) in runs {
                for _ in 0..arrivals {
                    let change = shares.look(bound, &held);
                    shares.hold(&change.hold);
                    shares.release(&change.release);
                    prop_assert!(!shares.is_held(9), "it has nothing that waits");
                    if shares.is_held(partition) {
                        break;
                    }
                    held[partition].1.alerts += 1;
                }
                let taken: usize = held.iter().map(|(_, amount)| amount.alerts).sum();
                let hanging = held.iter().filter(|(_, amount)| amount.alerts > 0).count();
                // The first takes half, each that follows half of what is left.
                prop_assert!(bound.alerts - taken >= (bound.alerts >> hanging) - 1, "{taken} of {hanging}");
            }
        }
    }
}
