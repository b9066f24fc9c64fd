//! What a lane counts for every alert, by itself.
//!
//! Contract: nothing of it is atomic, as one thread counts; all lanes and the scraper see it after each
//! [`LaneMetrics::flush`], once for many alerts. What was counted and not flushed is lost with the lane.

use prometheus::local::{LocalHistogram, LocalIntCounter};

use super::Metrics;

/// Counters of one lane.
pub struct LaneMetrics {
    /// Alerts read from the input topics.
    pub consumed: LocalIntCounter,
    /// Enriched alerts acknowledged by the output topic.
    pub published: LocalIntCounter,
    /// Seconds from polling an alert to the acknowledgement of its output.
    pub latency: LocalHistogram,
    /// Seconds of decoding, extracting, routing, looking into the cache and composing: of the first of the alerts that are
    /// polled one after another without a wait.
    pub begin: LocalHistogram,
    /// Seconds that an alert waited for answers and for those before it.
    pub wait: LocalHistogram,
    /// Seconds from producing to the acknowledgement.
    pub deliver: LocalHistogram,
}

impl LaneMetrics {
    /// Counters that add to those of `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        LaneMetrics {
            consumed: metrics.consumed.local(),
            published: metrics.published.local(),
            latency: metrics.latency.local(),
            begin: metrics.stage_begin.local(),
            wait: metrics.stage_wait.local(),
            deliver: metrics.stage_deliver.local(),
        }
    }

    /// Adds what was counted since the last time.
    pub fn flush(&self) {
        self.consumed.flush();
        self.published.flush();
        for histogram in [&self.latency, &self.begin, &self.wait, &self.deliver] {
            histogram.flush();
        }
    }
}
