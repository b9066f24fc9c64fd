//! When a frontier is worth storing for commit.
//!
//! Pure. Storing costs a call into librdkafka, which sends what is stored on its own interval; doing it for
//! every alert would cost more than the alert. Nothing is lost by waiting: a crash repeats what was not stored.

use std::time::{Duration, Instant};

/// Between two stores while there is something new.
const INTERVAL: Duration = Duration::from_millis(200);

/// Decides when to store.
#[derive(Debug)]
pub struct Policy {
    next: Instant,
}

impl Policy {
    /// A policy that is due at once.
    pub fn new(now: Instant) -> Self {
        Policy { next: now }
    }

    /// Whether frontiers should be stored now; if so, the next time is one interval away.
    pub fn due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + INTERVAL;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frontiers_are_stored_at_most_once_per_interval() {
        let start = Instant::now();
        let mut policy = Policy::new(start);
        assert!(policy.due(start));
        assert!(!policy.due(start + INTERVAL / 2));
        assert!(policy.due(start + INTERVAL));
        assert!(!policy.due(start + INTERVAL));
    }
}
