//! Every metric: name, help, labels and buckets, in one place.
//!
//! | file | owns |
//! |---|---|
//! | this one | the metrics of the process, and the text that Prometheus reads |
//! | `lane` | what a lane counts for every alert, by itself |
//! | `provider` | what is counted of each provider |
//! | `updates` | what is counted of late answers |
//! | `register` | how a metric of each type is made |
//! | `reload` | reloads of the configuration |
//!
//! Contract: the prefix is `riskstream_`, units are base units, labels are from closed sets (no identifier, no
//! text of an alert), and every series exists from the start, at zero. A test pins the list. Counting is a plain
//! addition, of each lane for itself or atomic: handles are looked up once, when the parts are built.

mod lane;
mod provider;
mod register;
mod reload;
mod updates;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use crate::alert::DecodeError;
use crate::compose::AlertStatus;

pub use self::lane::LaneMetrics;
pub use self::provider::{CacheQueries, ProviderMetrics};
pub use self::reload::ReloadMetrics;
pub use self::updates::{Dropped, UpdateMetrics};

use self::provider::Families;
use self::register::{counter, counters, gauge, gauges, histogram, histograms, moment};

/// Seconds, from what a cache hit takes to what a slow vendor does.
const LATENCY: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds, for work inside the process.
const STAGE: &[f64] =
    &[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 2.5, 10.0];

/// A metric that could not be registered: two have one name. A bug, found by the first start.
#[derive(Debug, thiserror::Error)]
#[error("cannot register metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Counters of transactions, by how they ended. All stay at zero in at least once.
pub struct TransactionMetrics {
    /// Committed.
    pub committed: IntCounter,
    /// Taken back; what was in them was sent again.
    pub aborted: IntCounter,
    /// In doubt: a new producer asked the broker.
    pub renewed: IntCounter,
}

/// All metrics of a process.
pub struct Metrics {
    registry: Registry,
    /// Alerts read from the input topics (or files).
    pub consumed: IntCounter,
    /// Enriched alerts acknowledged by the output topic.
    pub published: IntCounter,
    dead_lettered: IntCounterVec,
    /// 1 while there is a flood of dead letters.
    pub flood: IntGauge,
    by_status: [IntCounter; AlertStatus::ALL.len()],
    latency: Histogram,
    stage_begin: Histogram,
    stage_wait: Histogram,
    stage_deliver: Histogram,
    /// Alerts in flight.
    pub in_flight: IntGauge,
    /// Bytes of alerts in flight.
    pub in_flight_bytes: IntGauge,
    /// Times that partitions were paused because too much was in flight.
    pub paused: IntCounter,
    /// Records not yet read, by partition, counted by position.
    pub lag: IntGaugeVec,
    /// Offset up to which everything is done, by partition.
    pub processed: IntGaugeVec,
    /// Offset that librdkafka has committed for us, by partition.
    pub committed: IntGaugeVec,
    /// Offset that the broker holds for the group, by partition, as it tells when it is asked.
    pub broker_committed: IntGaugeVec,
    /// By how much that is behind what should be committed, by partition.
    pub commit_behind: IntGaugeVec,
    /// Transactions, by how they ended.
    pub transactions: TransactionMetrics,
    /// Seconds from a transaction's first record to its commit.
    pub transaction_seconds: Histogram,
    /// Answers that came after their alert had left.
    pub updates: UpdateMetrics,
    /// Partitions assigned to this replica.
    pub assigned: IntGauge,
    /// Unix time in seconds of the last acknowledged alert.
    last_progress: Gauge,
    /// Reloads of the configuration.
    pub reloads: ReloadMetrics,
    /// Answers in the cache.
    pub cache_entries: IntGauge,
    /// Bytes of answers in the cache.
    pub cache_bytes: IntGauge,
    evictions: IntCounter,
    evicted: Mutex<u64>,
    /// Flights under way.
    pub flights: IntGauge,
    /// Seconds since the oldest flight under way began.
    pub oldest_flight: Gauge,
    /// Look-ups above `pipeline.look_ups`.
    pub over_budget: IntCounter,
    tokens: IntCounterVec,
    token_expires: Gauge,
    families: Families,
}

/// Why an alert became a dead letter, beside what decoding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The output topic does not take a record of that size.
    OutputTooLarge,
    /// The output topic does not take the record.
    OutputRefused,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Refusal; 2] = [Refusal::OutputTooLarge, Refusal::OutputRefused];

    /// The metric label, and the class in the dead letter's headers.
    pub const fn label(self) -> &'static str {
        match self {
            Refusal::OutputTooLarge => "output_too_large",
            Refusal::OutputRefused => "output_refused",
        }
    }
}

impl Metrics {
    /// Registers everything, with a series for each of `providers` (names, in the order of the configuration).
    ///
    /// # Errors
    /// [`MetricsError`] when two metrics share a name.
    pub fn new(providers: &[&str]) -> Result<Self, MetricsError> {
        let r = &Registry::new();
        let dead_lettered =
            counters(r, "dead_letters_total", "Alerts dead-lettered, by reason.", &["reason"])?;
        for reason in DecodeError::LABELS.iter().copied().chain(Refusal::ALL.map(Refusal::label)) {
            dead_lettered.with_label_values(&[reason]);
        }
        let by_status = counters(r, "alerts_by_status_total", "Alerts composed, by status.", &["status"])?;
        let by_status = AlertStatus::ALL.map(|status| by_status.with_label_values(&[status.label()]));
        let stage = histograms(r, "stage_seconds", "Time of one stage.", &["stage"], STAGE)?;
        let tokens =
            counters(r, "kafka_tokens_total", "Tokens for Kafka that were asked for.", &["outcome"])?;
        for outcome in ["ok", "refused", "unavailable"] {
            tokens.with_label_values(&[outcome]);
        }
        let transactions =
            counters(r, "transactions_total", "Transactions, by how they ended.", &["result"])?;
        let ended = |result: &str| transactions.with_label_values(&[result]);
        let build = gauges(r, "build_info", "Constant 1; what is running.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);

        let families = Families::register(r)?;
        for name in providers {
            families.queries(name);
            families.requests(name);
        }
        let partition = &["topic", "partition"];
        Ok(Metrics {
            consumed: counter(r, "alerts_consumed_total", "Alerts read from the input.")?,
            published: counter(r, "alerts_published_total", "Alerts acknowledged by the output topic.")?,
            dead_lettered,
            flood: gauge(r, "dead_letter_flood", "1 while there is a flood of dead letters.")?,
            by_status,
            latency: histogram(r, "alert_seconds", "From polling to the output's acknowledgement.", LATENCY)?,
            stage_begin: stage.with_label_values(&["begin"]),
            stage_wait: stage.with_label_values(&["wait"]),
            stage_deliver: stage.with_label_values(&["deliver"]),
            in_flight: gauge(r, "in_flight_alerts", "Alerts read and not yet acknowledged.")?,
            in_flight_bytes: gauge(r, "in_flight_bytes", "Bytes of alerts read and not yet acknowledged.")?,
            paused: counter(r, "pauses_total", "Times that partitions were paused: too much in flight.")?,
            lag: gauges(r, "consumer_lag_records", "Records behind the end, by position.", partition)?,
            processed: gauges(r, "processed_offset", "Offset up to which everything is done.", partition)?,
            committed: gauges(r, "committed_offset", "Offset that was committed last.", partition)?,
            broker_committed: gauges(
                r,
                "broker_committed_offset",
                "Offset that the broker holds for the group, by its own word.",
                partition,
            )?,
            commit_behind: gauges(
                r,
                "commit_behind",
                "Offsets that should be committed and that the broker does not hold.",
                partition,
            )?,
            transactions: TransactionMetrics {
                committed: ended("committed"),
                aborted: ended("aborted"),
                renewed: ended("renewed"),
            },
            transaction_seconds: histogram(
                r,
                "transaction_seconds",
                "From a transaction's first record to its commit.",
                LATENCY,
            )?,
            updates: UpdateMetrics::register(r)?,
            assigned: gauge(r, "assigned_partitions", "Partitions assigned to this replica.")?,
            last_progress: moment(
                r,
                "last_progress_timestamp_seconds",
                "Unix time of the last acknowledged alert.",
            )?,
            tokens,
            token_expires: moment(
                r,
                "kafka_token_expiry_timestamp_seconds",
                "Unix time of the end of the token for Kafka; 0 without one.",
            )?,
            reloads: ReloadMetrics::register(r)?,
            cache_entries: gauge(r, "cache_entries", "Answers in the cache.")?,
            cache_bytes: gauge(r, "cache_bytes", "Bytes of answers in the cache.")?,
            evictions: counter(r, "cache_evictions_total", "Answers that went from the cache to make room.")?,
            evicted: Mutex::new(0),
            flights: gauge(r, "flights", "Questions under way.")?,
            oldest_flight: moment(
                r,
                "oldest_flight_seconds",
                "Since when the oldest question under way is; 0 when there is none.",
            )?,
            over_budget: counter(
                r,
                "look_ups_over_budget_total",
                "Look-ups that were not made, as their topic and format had caused too many.",
            )?,
            families,
            registry: r.clone(),
        })
    }

    /// Counters of questions to the cache about entities of the provider `name`.
    pub fn cache(&self, name: &str) -> CacheQueries {
        self.families.queries(name)
    }

    /// Counters of requests of the provider `name`.
    pub fn provider(&self, name: &str) -> ProviderMetrics {
        self.families.requests(name)
    }

    /// Forgets the series of a provider that is no longer configured.
    pub fn forget_provider(&self, name: &str) {
        self.families.forget(name);
    }

    /// Takes over how many answers the cache has let go since the start.
    pub fn evicted(&self, total: u64) {
        // Held while counting, so that two scrapes at once do not both add the difference.
        let mut counted = self.evicted.lock().unwrap_or_else(PoisonError::into_inner);
        self.evictions.inc_by(total.saturating_sub(*counted));
        *counted = total;
    }

    /// Notes that an alert was acknowledged at `now`.
    pub fn progressed(&self, now: SystemTime) {
        self.last_progress.set(unix(now));
    }

    /// Counts a request for a token for Kafka, by its outcome.
    pub fn token(&self, outcome: &str) {
        self.tokens.with_label_values(&[outcome]).inc();
    }

    /// Notes until when the newest one is good.
    pub fn token_expires(&self, at: SystemTime) {
        self.token_expires.set(unix(at));
    }

    /// Forgets the series of a partition that is no longer ours: its new owner tells it.
    pub fn forget_partition(&self, topic: &str, partition: i32) {
        let partition = partition.to_string();
        for metric in
            [&self.lag, &self.processed, &self.committed, &self.broker_committed, &self.commit_behind]
        {
            // Absent while nothing was told of it.
            let _ = metric.remove_label_values(&[topic, &partition]);
        }
    }

    /// What is stored for commit, by topic and partition.
    pub fn stored(&self) -> HashMap<(String, i32), i64> {
        let mut stored = HashMap::new();
        for family in self.processed.collect() {
            for metric in family.get_metric() {
                let label = |name: &str| {
                    let label = metric.get_label().iter().find(|label| label.name() == name)?;
                    Some(label.value().to_owned())
                };
                if let (Some(topic), Some(Ok(partition))) =
                    (label("topic"), label("partition").map(|number| number.parse()))
                {
                    stored.insert((topic, partition), metric.get_gauge().get_value() as i64);
                }
            }
        }
        stored
    }

    /// Notes what the broker holds of a partition, and by how much that is behind; `None` forgets it.
    pub fn audited(&self, topic: &str, partition: i32, found: Option<(Option<i64>, i64)>) {
        let partition = partition.to_string();
        let labels = [topic, &partition];
        match found {
            Some((committed, behind)) => {
                self.broker_committed.with_label_values(&labels).set(committed.unwrap_or(-1));
                self.commit_behind.with_label_values(&labels).set(behind);
            }
            None => {
                for metric in [&self.broker_committed, &self.commit_behind] {
                    // Absent while nothing was told of it.
                    let _ = metric.remove_label_values(&labels);
                }
            }
        }
    }

    /// Counts a composed alert.
    pub fn composed(&self, status: AlertStatus) {
        if let Some(counter) = self.by_status.get(status as usize) {
            counter.inc();
        }
    }

    /// Counts a dead letter that was acknowledged.
    pub fn dead_lettered(&self, reason: &str) {
        self.dead_lettered.with_label_values(&[reason]).inc();
    }

    /// Dead letters acknowledged, all reasons together.
    pub fn dead_letters(&self) -> u64 {
        DecodeError::LABELS
            .iter()
            .copied()
            .chain(Refusal::ALL.map(Refusal::label))
            .map(|reason| self.dead_lettered.with_label_values(&[reason]).get())
            .sum()
    }

    /// The exposition format of Prometheus.
    ///
    /// # Errors
    /// [`MetricsError`] when a value cannot be written.
    pub fn render(&self) -> Result<String, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn unix(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_stored_is_told_by_partition_until_it_is_forgotten() {
        let metrics = Metrics::new(&[]).unwrap();
        metrics.processed.with_label_values(&["a.b", "7"]).set(1_234_567_890_123);
        metrics.audited("a.b", 7, Some((None, 3)));
        assert_eq!(metrics.stored(), HashMap::from([(("a.b".to_owned(), 7), 1_234_567_890_123)]));
        metrics.forget_partition("a.b", 7);
        assert!(metrics.stored().is_empty());
        assert!(!metrics.render().unwrap().contains("a.b"));
    }

    #[test]
    fn every_series_is_there_from_the_start() {
        let text = Metrics::new(&["datadog"]).unwrap().render().unwrap();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        for name in [
            "riskstream_alert_seconds",
            "riskstream_alerts_by_status_total",
            "riskstream_alerts_consumed_total",
            "riskstream_alerts_published_total",
            "riskstream_build_info",
            "riskstream_cache_bytes",
            "riskstream_cache_entries",
            "riskstream_cache_evictions_total",
            "riskstream_cache_queries_total",
            "riskstream_dead_letter_flood",
            "riskstream_dead_letters_total",
            "riskstream_flights",
            "riskstream_in_flight_alerts",
            "riskstream_in_flight_bytes",
            "riskstream_last_progress_timestamp_seconds",
            "riskstream_look_ups_over_budget_total",
            "riskstream_pauses_total",
            "riskstream_snapshot_bytes",
            "riskstream_snapshot_entities",
            "riskstream_snapshot_reads_total",
            "riskstream_snapshot_timestamp_seconds",
            "riskstream_stage_seconds",
            "riskstream_transaction_seconds",
            "riskstream_transactions_total",
            "riskstream_vendor_breaker_state",
            "riskstream_vendor_limiter_wait_seconds",
            "riskstream_vendor_quota_remaining",
            "riskstream_vendor_request_seconds",
            "riskstream_vendor_requests_total",
            "riskstream_vendor_retries_total",
        ] {
            assert!(names.contains(&name), "{name} is missing in\n{text}");
        }
        assert!(
            text.contains("riskstream_vendor_requests_total{outcome=\"timeout\",provider=\"datadog\"} 0")
        );
    }
}
