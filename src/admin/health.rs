//! What the lanes say of themselves, and what follows for liveness and readiness.
//!
//! Contract: a lane is alive while its polls make progress, whatever the broker and the vendors do. It is ready
//! once the broker has answered about our topics; having no partition is ready.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::source::LaneError;

/// One lane's word.
#[derive(Debug)]
pub struct LaneHealth {
    epoch: Instant,
    beat: AtomicU64,
    started: AtomicBool,
    assigned: AtomicBool,
    trouble: Mutex<Option<String>>,
    failed: Mutex<Option<LaneError>>,
}

impl Default for LaneHealth {
    fn default() -> Self {
        LaneHealth {
            epoch: Instant::now(),
            beat: AtomicU64::new(0),
            started: AtomicBool::new(false),
            assigned: AtomicBool::new(false),
            trouble: Mutex::new(None),
            failed: Mutex::new(None),
        }
    }
}

impl LaneHealth {
    /// The lane made progress.
    pub fn beat(&self) {
        self.beat.store(self.epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago it last did.
    pub fn silence(&self) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Ordering::Relaxed)))
    }

    /// It subscribed to its topics.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether it did.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// It has had an assignment.
    pub fn assigned(&self, assigned: bool) {
        self.assigned.store(assigned, Ordering::Relaxed);
    }

    /// Whether it has had one.
    pub fn is_assigned(&self) -> bool {
        self.assigned.load(Ordering::Relaxed)
    }

    /// Something keeps it from working.
    pub fn trouble(&self, what: String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_deref() != Some(what.as_str()) {
            tracing::warn!("{what}");
            *trouble = Some(what);
        }
    }

    /// Nothing does any more.
    pub fn well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What keeps it from working.
    pub fn current_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An error inside a callback, which cannot return it.
    pub fn fail(&self, error: LaneError) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// That error, once.
    pub fn failed(&self) -> Option<LaneError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
