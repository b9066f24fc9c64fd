//! What is counted of updates: answers that came after their alert had left.

use prometheus::{IntCounter, IntGauge, Registry};

use super::register::{counter, counters, gauge};

/// Why an alert that left without an answer got no update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Too many wait already.
    NoRoom,
    /// No flight ended with an answer.
    NoAnswer,
    /// A flight did not end within its bound.
    Overdue,
    /// It is larger than `output.max_bytes` allows, without details too.
    TooLarge,
    /// The producer's queue is full.
    QueueFull,
    /// The topic did not take it, or not in time.
    Refused,
    /// The process stopped before the answer was there.
    Stopped,
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Dropped; 7] = [
        Dropped::NoRoom,
        Dropped::NoAnswer,
        Dropped::Overdue,
        Dropped::TooLarge,
        Dropped::QueueFull,
        Dropped::Refused,
        Dropped::Stopped,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Dropped::NoRoom => "no_room",
            Dropped::NoAnswer => "no_answer",
            Dropped::Overdue => "overdue",
            Dropped::TooLarge => "too_large",
            Dropped::QueueFull => "queue_full",
            Dropped::Refused => "refused",
            Dropped::Stopped => "stopped",
        }
    }
}

/// Counters of updates. All stay at zero without `output.updates`.
pub struct UpdateMetrics {
    /// Acknowledged by their topic.
    pub published: IntCounter,
    dropped: [IntCounter; Dropped::ALL.len()],
    /// Alerts that wait for a late answer.
    pub waiting: IntGauge,
}

impl UpdateMetrics {
    pub(super) fn register(r: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Alerts that left without an answer and got no update, by reason.";
        let dropped = counters(r, "updates_dropped_total", help, &["reason"])?;
        Ok(UpdateMetrics {
            published: counter(r, "updates_published_total", "Updates acknowledged by their topic.")?,
            dropped: Dropped::ALL.map(|reason| dropped.with_label_values(&[reason.label()])),
            waiting: gauge(r, "updates_waiting", "Alerts that left and wait for a late answer.")?,
        })
    }

    /// Counts alerts that got no update.
    pub fn dropped(&self, reason: Dropped, count: usize) {
        if let Some(counter) = self.dropped.get(reason as usize) {
            counter.inc_by(count as u64);
        }
    }
}
