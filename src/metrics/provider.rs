//! What is counted of one provider: questions to the cache about its entities, and its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use super::LATENCY;
use super::register::{counters, fractions, gauges, histograms};
use crate::provider::FailureKind;
use crate::provider::breaker::Condition;
use crate::provider::meter::{Meter, OUTCOMES, READS};

/// Counters of one provider's questions to the cache.
#[derive(Clone)]
pub struct CacheQueries {
    /// Answered from the cache.
    pub hit: IntCounter,
    /// Had to be asked.
    pub miss: IntCounter,
    /// A remembered failure.
    pub failed: IntCounter,
    /// Answered from the vendor's list.
    pub snapshot: IntCounter,
    /// Asked again in the background ahead of expiry.
    pub refresh: IntCounter,
}

/// How questions to the cache end.
const QUERIES: [&str; 5] = ["hit", "miss", "failed", "snapshot", "refresh"];

/// Counters of one provider's requests.
#[derive(Clone)]
pub struct ProviderMetrics {
    /// By outcome. Found once: looked up by name, one that was forgotten would come back with the next request.
    requests: Vec<(&'static str, IntCounter)>,
    latency: Histogram,
    retries: IntCounter,
    limiter_wait: Histogram,
    quota: Gauge,
    waiting: IntGauge,
    breaker: IntGauge,
    /// Whether a successor tells the state: the series are the same.
    retired: Arc<AtomicBool>,
    snapshot: Snapshots,
}

/// What is counted of one provider's snapshot.
#[derive(Clone)]
struct Snapshots {
    reads: Vec<(&'static str, IntCounter)>,
    entities: IntGauge,
    bytes: IntGauge,
    taken: Gauge,
}

impl ProviderMetrics {
    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Takes over how large the table in use is, in entities and bytes, and when it was taken, in seconds of Unix time.
    pub fn snapshot(&self, entities: usize, bytes: u64, taken: f64) {
        self.snapshot.entities.set(entities as i64);
        self.snapshot.bytes.set(bytes as i64);
        self.snapshot.taken.set(taken);
    }
}

impl Meter for ProviderMetrics {
    fn request(&self, outcome: &'static str, elapsed: Duration) {
        if let Some((_, counter)) = self.requests.iter().find(|(known, _)| *known == outcome) {
            counter.inc();
        }
        self.latency.observe(elapsed.as_secs_f64());
    }

    fn limiter_wait(&self, waited: Duration) {
        self.limiter_wait.observe(waited.as_secs_f64());
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    fn waiting(&self, requests: usize) {
        if self.is_retired() {
            return;
        }
        self.waiting.set(requests as i64);
    }

    fn quota_remaining(&self, requests: u64) {
        if self.is_retired() {
            return;
        }
        self.quota.set(requests as f64);
    }

    fn retry(&self, _because: FailureKind) {
        self.retries.inc();
    }

    fn snapshot_read(&self, outcome: &'static str) {
        if let Some((_, counter)) = self.snapshot.reads.iter().find(|(known, _)| *known == outcome) {
            counter.inc();
        }
    }

    fn breaker(&self, condition: Condition) {
        if self.is_retired() {
            return;
        }
        self.breaker.set(match condition {
            Condition::Closed => 0,
            Condition::HalfOpen => 1,
            Condition::Open => 2,
        });
    }
}

/// The metrics whose series are those of all providers.
pub(super) struct Families {
    queries: IntCounterVec,
    requests: IntCounterVec,
    latency: HistogramVec,
    retries: IntCounterVec,
    limiter_wait: HistogramVec,
    quota: GaugeVec,
    waiting: IntGaugeVec,
    breaker: IntGaugeVec,
    snapshot_reads: IntCounterVec,
    snapshot_entities: IntGaugeVec,
    snapshot_bytes: IntGaugeVec,
    snapshot_taken: GaugeVec,
}

impl Families {
    /// Registers them, without a series.
    pub(super) fn register(r: &Registry) -> Result<Self, prometheus::Error> {
        let provider = &["provider"];
        let outcome = &["provider", "outcome"];
        Ok(Families {
            queries: counters(r, "cache_queries_total", "Questions to the cache.", outcome)?,
            requests: counters(r, "vendor_requests_total", "Requests to vendors.", outcome)?,
            latency: histograms(r, "vendor_request_seconds", "Time of a request.", provider, LATENCY)?,
            retries: counters(r, "vendor_retries_total", "Attempts after the first.", provider)?,
            limiter_wait: histograms(
                r,
                "vendor_limiter_wait_seconds",
                "Wait for the limiter.",
                provider,
                LATENCY,
            )?,
            quota: fractions(
                r,
                "vendor_quota_remaining",
                "What the vendor says is left of its quota.",
                provider,
            )?,
            waiting: gauges(r, "vendor_waiting_requests", "Requests that wait for a slot.", provider)?,
            breaker: gauges(r, "vendor_breaker_state", "0 closed, 1 half open, 2 open.", provider)?,
            snapshot_reads: counters(r, "snapshot_reads_total", "Readings of a vendor's list.", outcome)?,
            snapshot_entities: gauges(r, "snapshot_entities", "Entities in the snapshot in use.", provider)?,
            snapshot_bytes: gauges(r, "snapshot_bytes", "Bytes of the snapshot in use.", provider)?,
            snapshot_taken: fractions(
                r,
                "snapshot_timestamp_seconds",
                "Unix time at which reading the snapshot in use began; 0 without one.",
                provider,
            )?,
        })
    }

    /// Takes away all series of the provider `name`.
    pub(super) fn forget(&self, name: &str) {
        // Those that are not there need not go.
        for outcome in QUERIES {
            let _ = self.queries.remove_label_values(&[name, outcome]);
        }
        for outcome in OUTCOMES {
            let _ = self.requests.remove_label_values(&[name, outcome]);
        }
        let _ = self.latency.remove_label_values(&[name]);
        let _ = self.retries.remove_label_values(&[name]);
        let _ = self.limiter_wait.remove_label_values(&[name]);
        let _ = self.quota.remove_label_values(&[name]);
        let _ = self.waiting.remove_label_values(&[name]);
        let _ = self.breaker.remove_label_values(&[name]);
        for outcome in READS {
            let _ = self.snapshot_reads.remove_label_values(&[name, outcome]);
        }
        let _ = self.snapshot_entities.remove_label_values(&[name]);
        let _ = self.snapshot_bytes.remove_label_values(&[name]);
        let _ = self.snapshot_taken.remove_label_values(&[name]);
    }

    /// The questions to the cache about entities of the provider `name`.
    pub(super) fn queries(&self, name: &str) -> CacheQueries {
        let [hit, miss, failed, snapshot, refresh] =
            QUERIES.map(|outcome| self.queries.with_label_values(&[name, outcome]));
        CacheQueries { hit, miss, failed, snapshot, refresh }
    }

    /// The requests of the provider `name`, with all their outcomes from the start.
    pub(super) fn requests(&self, name: &str) -> ProviderMetrics {
        let counter = |outcome| (outcome, self.requests.with_label_values(&[name, outcome]));
        let read = |outcome| (outcome, self.snapshot_reads.with_label_values(&[name, outcome]));
        ProviderMetrics {
            requests: OUTCOMES.into_iter().map(counter).collect(),
            latency: self.latency.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            limiter_wait: self.limiter_wait.with_label_values(&[name]),
            quota: self.quota.with_label_values(&[name]),
            waiting: self.waiting.with_label_values(&[name]),
            breaker: self.breaker.with_label_values(&[name]),
            retired: Arc::default(),
            snapshot: Snapshots {
                reads: READS.into_iter().map(read).collect(),
                entities: self.snapshot_entities.with_label_values(&[name]),
                bytes: self.snapshot_bytes.with_label_values(&[name]),
                taken: self.snapshot_taken.with_label_values(&[name]),
            },
        }
    }
}
