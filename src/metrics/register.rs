//! Metrics as the registry takes them: the prefix of their names, and one function for each type.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

type Made<M> = Result<M, prometheus::Error>;

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("riskstream_{name}"), help)
}

fn buckets(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec())
}

/// Registers a metric, if it could be made.
fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: Made<M>) -> Made<M> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> Made<IntCounter> {
    registered(registry, IntCounter::with_opts(opts(name, help)))
}

pub(super) fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Made<IntCounterVec> {
    registered(registry, IntCounterVec::new(opts(name, help), labels))
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Made<IntGauge> {
    registered(registry, IntGauge::with_opts(opts(name, help)))
}

/// A gauge of a moment, in seconds of Unix time.
pub(super) fn moment(registry: &Registry, name: &str, help: &str) -> Made<Gauge> {
    registered(registry, Gauge::with_opts(opts(name, help)))
}

pub(super) fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Made<IntGaugeVec> {
    registered(registry, IntGaugeVec::new(opts(name, help), labels))
}

/// Gauges of what vendors say, who may count in fractions.
pub(super) fn fractions(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Made<GaugeVec> {
    registered(registry, GaugeVec::new(opts(name, help), labels))
}

pub(super) fn histogram(registry: &Registry, name: &str, help: &str, bounds: &[f64]) -> Made<Histogram> {
    registered(registry, Histogram::with_opts(buckets(name, help, bounds)))
}

pub(super) fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    bounds: &[f64],
) -> Made<HistogramVec> {
    registered(registry, HistogramVec::new(buckets(name, help, bounds), labels))
}
