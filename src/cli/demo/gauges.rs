//! From counters to what is shown: rates, sparklines, ratios, and how each vendor is doing.
//!
//! Contract: what the service says of itself is read from its metrics, as any scraper sees them. Reads counters,
//! changes none; the clock is passed in.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::locked;
use super::tally::Tally;
use super::traffic::Counts;
use super::view::{Flow, Phase, State, Vendor};
use crate::config::Config;
use crate::engine::Engine;
use crate::pipeline::Pipeline;
use crate::pipeline::roster::Seat;

/// Rates are those of so long.
const WINDOW: Duration = Duration::from_secs(2);
/// Width of one bar of a sparkline.
const BAR: Duration = Duration::from_millis(500);
/// Bars that are kept.
const BARS: usize = 60;
/// Between two rows of the list of alerts: as fast as a person can read.
const TURN: Duration = Duration::from_millis(400);

/// Counters at one time: in, out, dead-lettered, and the requests to each vendor.
struct Point {
    time: Instant,
    flows: [u64; 3],
    requests: Vec<u64>,
}

/// What is read, and what it was before.
pub struct Gauges {
    pipeline: Arc<Pipeline>,
    names: Vec<String>,
    counts: Arc<Counts>,
    /// What came out.
    pub tally: Arc<Mutex<Tally>>,
    admin: SocketAddr,
    begun: Instant,
    turned: Instant,
    points: VecDeque<Point>,
    bars: VecDeque<[u64; 3]>,
    bar: (Instant, [u64; 3]),
}

impl Gauges {
    /// Gauges of this engine.
    pub fn new(
        engine: &Engine,
        config: &Config,
        counts: Arc<Counts>,
        tally: Arc<Mutex<Tally>>,
        admin: SocketAddr,
    ) -> Gauges {
        let now = Instant::now();
        Gauges {
            pipeline: engine.pipeline(),
            names: config.providers.iter().map(|provider| provider.name.clone()).collect(),
            counts,
            tally,
            admin,
            begun: now,
            turned: now,
            points: VecDeque::new(),
            bars: VecDeque::new(),
            bar: (now, [0; 3]),
        }
    }

    /// The traffic begins: time counts from here.
    pub fn begin(&mut self) {
        let now = Instant::now();
        let flows = self.flows();
        (self.begun, self.turned, self.bar) = (now, now, (now, flows));
        self.points = [Point { time: now, flows, requests: Vec::new() }].into();
    }

    /// Alerts that the input topic refused.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    fn flows(&self) -> [u64; 3] {
        [&self.counts.sent, &self.counts.out, &self.counts.dead].map(|count| count.load(Ordering::Relaxed))
    }

    /// Reads everything.
    pub fn look(&mut self, now: Instant, phase: Phase, warning: Option<String>) -> State {
        let text = self.pipeline.metrics.render().unwrap_or_default();
        let point = Point {
            time: now,
            flows: self.flows(),
            requests: self.names.iter().map(|name| requests(&text, name)).collect(),
        };
        while self.points.len() > 1 && self.points.front().is_some_and(|first| now - first.time > WINDOW) {
            self.points.pop_front();
        }
        while now >= self.bar.0 + BAR {
            let [from, to] = [self.bar.1, point.flows];
            self.bars.push_back(std::array::from_fn(|i| difference(&from, &to, i)));
            self.bar = (self.bar.0 + BAR, to);
            if self.bars.len() > BARS {
                self.bars.pop_front();
            }
        }
        let mut tally = locked(&self.tally);
        if now >= self.turned + TURN {
            self.turned = now;
            tally.turn();
        }
        let state = State {
            phase,
            uptime: now - self.begun,
            admin: self.admin.to_string(),
            flows: std::array::from_fn(|i| Flow {
                total: point.flows.get(i).copied().unwrap_or_default(),
                rate: self.rate(&point, |point| point.flows.get(i).copied()),
                bars: self.bars.iter().filter_map(|bar| bar.get(i).copied()).collect(),
            }),
            latency: tally.recent_latency(),
            hit_ratio: ratio(self.pipeline.roster.iter().map(queries)),
            cached: self.pipeline.flights.cache().entries() as u64,
            in_flight: self.pipeline.metrics.in_flight.get(),
            distinct: tally.distinct(),
            vendors: self
                .pipeline
                .roster
                .iter()
                .enumerate()
                .map(|(i, seat)| {
                    let name = seat.name();
                    let answers = tally.answers.get(name).copied().unwrap_or_default();
                    Vendor {
                        name: name.to_owned(),
                        requests: point.requests.get(i).copied().unwrap_or_default(),
                        rate: self.rate(&point, |point| point.requests.get(i).copied()),
                        median: median(&text, name),
                        hit_ratio: ratio([queries(seat)]),
                        unknown: answers.unknown,
                        failed: answers.failed,
                        breaker: seat.carrier.guard.state().condition,
                    }
                })
                .collect(),
            latest: tally.latest().cloned().collect(),
            warning,
        };
        drop(tally);
        self.points.push_back(point);
        state
    }

    fn rate(&self, now: &Point, count: impl Fn(&Point) -> Option<u64>) -> f64 {
        let Some(then) = self.points.front() else { return 0.0 };
        let counted = count(now).unwrap_or_default().saturating_sub(count(then).unwrap_or_default());
        counted as f64 / (now.time - then.time).as_secs_f64().max(0.001)
    }
}

fn difference(from: &[u64; 3], to: &[u64; 3], index: usize) -> u64 {
    to.get(index).copied().unwrap_or_default().saturating_sub(from.get(index).copied().unwrap_or_default())
}

/// The part that hits are of all; `None` where there was nothing yet.
fn ratio(queries: impl IntoIterator<Item = (u64, u64)>) -> Option<f64> {
    let (hits, all) = queries.into_iter().fold((0, 0), |(hits, all), (h, a)| (hits + h, all + a));
    (all > 0).then(|| hits as f64 / all as f64)
}

/// The samples of a metric in the exposition format: labels and value.
fn samples<'t>(text: &'t str, metric: &'t str) -> impl Iterator<Item = (&'t str, f64)> {
    text.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} ")?;
        Some((labels, value.parse().ok()?))
    })
}

fn of(labels: &str, provider: &str) -> bool {
    labels.split(',').any(|label| label.strip_prefix("provider=") == Some(&format!("\"{provider}\"")))
}

fn requests(text: &str, provider: &str) -> u64 {
    let counts = samples(text, "riskstream_vendor_requests_total").filter(|(labels, _)| of(labels, provider));
    counts.map(|(_, count)| count as u64).sum()
}

/// The median of a provider's request times, interpolated within its bucket as Prometheus does.
fn median(text: &str, provider: &str) -> Option<Duration> {
    let buckets: Vec<(f64, f64)> = samples(text, "riskstream_vendor_request_seconds_bucket")
        .filter(|(labels, _)| of(labels, provider))
        .filter_map(|(labels, count)| {
            let bound = labels.split(',').find_map(|label| label.strip_prefix("le=\"")?.strip_suffix('"'))?;
            Some((bound.parse().ok()?, count))
        })
        .collect();
    let half = buckets.last().map(|(_, all)| all / 2.0).filter(|half| *half > 0.0)?;
    let mut lower = (0.0, 0.0);
    for (bound, count) in buckets {
        if count >= half {
            let part = (half - lower.1) / (count - lower.1).max(f64::MIN_POSITIVE);
            let seconds = if bound.is_finite() { lower.0 + (bound - lower.0) * part } else { lower.0 };
            return Duration::try_from_secs_f64(seconds).ok();
        }
        lower = (bound, count);
    }
    None
}

/// Hits and all questions of a provider.
fn queries(seat: &Seat) -> (u64, u64) {
    let (queries, hits) = (&seat.queries, seat.queries.hit.get());
    (hits, hits + queries.miss.get() + queries.failed.get())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::Metrics;
    use crate::provider::meter::Meter;

    #[test]
    fn requests_and_their_median_are_read_from_what_scrapers_see() {
        let metrics = Metrics::new(&["one", "two"]).unwrap();
        assert_eq!((requests(&metrics.render().unwrap(), "one"), median("", "one")), (0, None));
        let one = metrics.provider("one");
        for _ in 0..10 {
            one.request("ok", Duration::from_millis(30));
        }
        one.request("not_found", Duration::from_secs(3600));
        let text = metrics.render().unwrap();
        assert_eq!((requests(&text, "one"), requests(&text, "two")), (11, 0));
        let median = median(&text, "one").unwrap();
        assert!((Duration::from_millis(25)..Duration::from_millis(50)).contains(&median), "{median:?}");
        assert_eq!(super::median(&text, "two"), None);
    }
}
