//! Stopping: everyone learns of it, in order, within a bound.
//!
//! Contract: [`Stop`] is requested once and stays so; whoever works in a loop looks at it. A second request means
//! "now": what is in flight is left, which loses nothing, as it is not committed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The request to stop, shared by all parts.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    now: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// Asks everyone to stop; the second time, at once.
    pub fn request(&self) {
        let _lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.requested.swap(true, Ordering::SeqCst) {
            self.0.now.store(true, Ordering::SeqCst);
        }
        self.0.changed.notify_all();
    }

    /// Asks everyone to stop, as whoever cannot go on does; it never means at once, however many there are.
    pub fn fail(&self) {
        let _lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.requested.store(true, Ordering::SeqCst);
        self.0.changed.notify_all();
    }

    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// Whether it was requested twice.
    pub fn now(&self) -> bool {
        self.0.now.load(Ordering::Relaxed)
    }

    /// Waits until a stop is requested, at most `bound`; whether it is.
    pub fn wait(&self, bound: Duration) -> bool {
        let lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(lock, bound, |()| !self.requested());
        drop(waited);
        self.requested()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_request_means_now() {
        let stop = Stop::default();
        assert!(!stop.wait(Duration::ZERO));
        stop.request();
        assert!(stop.requested() && !stop.now());
        assert!(stop.clone().wait(Duration::from_secs(3600)), "a wait ends at once");
        stop.request();
        assert!(stop.now());
    }

    #[test]
    fn however_many_cannot_go_on_what_is_in_flight_may_end() {
        let stop = Stop::default();
        stop.fail();
        stop.fail();
        assert!(stop.wait(Duration::ZERO) && !stop.now());
        stop.request();
        assert!(stop.now(), "somebody is in a hurry all the same");
    }
}
