//! What is counted of reloads of the configuration.

use std::time::SystemTime;

use prometheus::{Gauge, IntCounter, IntGauge, Registry};

use super::register::{counters, gauge, moment};
use super::unix;

/// Reloads of the configuration.
pub struct ReloadMetrics {
    taken: IntCounter,
    refused: IntCounter,
    successful: IntGauge,
    last: Gauge,
    restart: IntGauge,
}

impl ReloadMetrics {
    pub(super) fn register(r: &Registry) -> Result<Self, prometheus::Error> {
        let reloads = counters(r, "config_reloads_total", "Reloads of the configuration.", &["result"])?;
        let metrics = ReloadMetrics {
            taken: reloads.with_label_values(&["taken"]),
            refused: reloads.with_label_values(&["refused"]),
            successful: gauge(
                r,
                "config_last_reload_successful",
                "1 unless the configuration's files hold one that was refused.",
            )?,
            last: moment(
                r,
                "config_taken_timestamp_seconds",
                "Unix time of when the configuration in use was read.",
            )?,
            restart: gauge(
                r,
                "config_restart_needed",
                "1 while the configuration's files hold changes that take a restart.",
            )?,
        };
        metrics.successful.set(1);
        metrics.last.set(unix(SystemTime::now()));
        Ok(metrics)
    }

    /// Counts one that is in use since `at`; whether some of it takes a restart.
    pub fn taken(&self, at: SystemTime, restart: bool) {
        self.taken.inc();
        self.successful.set(1);
        self.last.set(unix(at));
        self.restart.set(i64::from(restart));
    }

    /// Counts one that changed nothing, as it is wrong.
    pub fn refused(&self) {
        self.refused.inc();
        self.successful.set(0);
    }
}
