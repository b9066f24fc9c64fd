//! What the benches share: the samples of `riskstream bench`, and the steps with a warm cache.
//!
//! Everything is deterministic, so that two runs measure the same work.

#![allow(dead_code, unused_imports, reason = "each bench uses a part")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use riskstream::alert::{Scratch, Select};
use riskstream::cache::Lifetimes;
use riskstream::compose::headers;
use riskstream::config::Config;
use riskstream::engine::Engine;
use riskstream::pipeline::{Begun, Origin, Pipeline};
pub use riskstream::simulator::sample::{answer, arn, fill, finding};

/// The alerts that the product shows its formats with: one or more of each.
pub const SAMPLES: &str = include_str!("../../config/examples/alerts.ndjson");

/// The sizes and numbers of entities that are measured.
pub const SIZES: [usize; 3] = [1_000, 4_000, 20_000];
/// Entities of one alert.
pub const ENTITIES: [usize; 3] = [1, 3, 10];

/// Every size with every number of entities that fits.
pub fn grid() -> impl Iterator<Item = (usize, usize)> {
    let all = SIZES.into_iter().flat_map(|bytes| ENTITIES.map(|entities| (bytes, entities)));
    all.filter(|&(bytes, entities)| finding(0, entities, bytes).len() <= bytes + bytes / 2)
}

/// A configuration with one vendor that knows cloud identities; `more` is more YAML.
pub fn config(more: &str) -> Config {
    let text = format!(
        "allow_literal_secrets: true\n\
         providers:\n  datadog:\n    type: datadog\n    base_url: http://127.0.0.1:9\n    allow_http: true\n    \
         api_key: k\n    application_key: k\n{more}\n"
    );
    Config::parse("bench.yaml", &text, Path::new(""), [])
        .unwrap_or_else(|problems| panic!("{}", problems.json_lines()))
}

/// The parts, and the runtime that look-ups would run on.
pub struct Bench {
    /// The steps.
    pub pipeline: Arc<Pipeline>,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// The steps with the answers about the entities `0..entities` in the cache.
    pub fn warm(entities: usize) -> Bench {
        let config = config("cache: {capacity: 1GiB}");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let engine = Engine::build(&config, runtime.handle().clone()).unwrap();
        let lifetimes = Lifetimes::new(config.cache.ttl, &config.cache);
        fill(engine.pipeline().flights.cache(), &lifetimes, entities);
        Bench { pipeline: engine.pipeline(), _runtime: runtime }
    }
}

/// What is done of an alert alone for its contents: how many entities it has.
pub fn decode(bench: &Bench, alert: &str, scratch: &mut Scratch) -> usize {
    let decoded = bench.pipeline.decoder.decode(black_box(alert.as_bytes()), Select::Auto, scratch);
    black_box(decoded.unwrap().found.len())
}

/// What a lane does for an alert whose answers are all cached: every step from decode to compose, and its headers.
pub fn hit(bench: &Bench, alert: &str, now: Instant, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let alert = black_box(alert.as_bytes());
    let begun = bench.pipeline.begin(alert, ORIGIN, now, scratch, out, || Box::new(|| {}));
    let Ok(Begun::Composed(summary)) = begun else { panic!("an answer was not in the cache") };
    assert!(summary.score.is_some());
    headers::each(&summary, |name, value| {
        black_box((name, value));
    });
    black_box(out.len());
}

/// Where an alert of a stream comes from.
pub const ORIGIN: Origin<'static> = Origin { topic: "security.alerts", select: Select::Auto, overhead: 200 };
