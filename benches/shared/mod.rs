//! What the benches share: the samples of `riskstream bench`, and the steps with a warm cache.
//!
//! Everything is deterministic, so that two runs measure the same work.

#![allow(dead_code, unused_imports, reason = "each bench uses a part")]

use std::path::Path;
use std::sync::Arc;

use riskstream::alert::Select;
use riskstream::app::Engine;
use riskstream::cache::Lifetimes;
use riskstream::config::Config;
use riskstream::pipeline::{Origin, Pipeline};
pub use riskstream::simulator::sample::{answer, arn, fill, finding};

/// The alerts that the product shows its formats with: one or more of each.
pub const SAMPLES: &str = include_str!("../../config/examples/alerts.ndjson");

/// The sizes and numbers of entities that are measured.
pub const SIZES: [usize; 3] = [1_000, 4_000, 20_000];
/// Entities of one alert.
pub const ENTITIES: [usize; 3] = [1, 3, 10];

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
        fill(engine.pipeline.flights.cache(), &lifetimes, entities);
        Bench { pipeline: engine.pipeline, _runtime: runtime }
    }
}

/// Where an alert of a stream comes from.
pub const ORIGIN: Origin<'static> = Origin { topic: "security.alerts", select: Select::Auto, overhead: 200 };
