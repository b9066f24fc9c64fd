//! What an alert costs on its way, on one thread: decode, the cache, compose, and all of it.
//!
//! Contract: no Kafka, no vendor, no network. Each alert is about other entities than the one before, out of as many as
//! are cached, so that the cache has to fetch them from memory; the alert's text is changed in place, which is part of
//! what is measured, some nanoseconds for each entity. Rounds of all stages take turns, so that a busy moment of the machine
//! is not one stage's. `benches/hot_path.rs` measures the same with criterion's statistics.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::figures::median;
use super::report::{Report, number};
use crate::alert::{Scratch, Select};
use crate::cache::key::ProviderId;
use crate::cache::{Found, Lifetimes, Question};
use crate::compose::Input;
use crate::config::Config;
use crate::engine::Engine;
use crate::entity::{self, EntityKind};
use crate::pipeline::{Begun, Origin, Pipeline};
use crate::simulator::sample::{self, Finding};
use crate::supervisor::Stop;

/// Bytes of alerts.
const SIZES: [usize; 3] = [1_000, 4_000, 20_000];
/// Entities of one alert.
const ENTITIES: [usize; 3] = [1, 3, 10];
/// Answers in the cache.
const ANSWERS: usize = 10_000;
/// Prime to their number: steps of it visit all in no order that a processor could guess.
const STRIDE: usize = 6_181;
/// Rounds of each stage; the median counts.
const ROUNDS: usize = 9;
/// How long a round takes.
const ROUND: Duration = Duration::from_millis(10);

/// Where an alert of a stream comes from.
const ORIGIN: Origin<'static> = Origin { topic: "security.alerts", select: Select::Auto, overhead: 200 };

/// Measures all of them.
pub fn run(report: &Report, stop: &Stop) -> anyhow::Result<()> {
    report.progress.step("the stages of the hot path");
    let config = Config::parse("bench", CONFIG, Path::new(""), [])
        .map_err(|problems| anyhow!("a bug in the configuration of the stages: {problems}"))?;
    // Nothing is ever asked; a pipeline wants a place where it could.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let engine = Engine::build(&config, runtime.handle().clone())?;
    let pipeline = &engine.pipeline();
    sample::fill(pipeline.flights.cache(), &Lifetimes::new(config.cache.ttl, &config.cache), ANSWERS);
    let columns = [
        number("bytes", "bytes", 8, 0),
        number("entities", "entities", 8, 0),
        number("decode_ns", "decode", 9, 0),
        number("hit_ns", "hit", 9, 0),
        number("compose_ns", "compose", 9, 0),
        number("all_ns", "all", 9, 0),
    ];
    let title = "hot path: nanoseconds for an alert, one thread, its answers among 10,000 in the cache";
    report.part("stages", title, &columns)?;
    for (bytes, entities) in SIZES.into_iter().flat_map(|bytes| ENTITIES.map(|entities| (bytes, entities))) {
        let mut alert = Finding::new(entities, bytes);
        // Ten entities do not fit into the smallest one: it is as large as they need.
        let length = alert.about(|index| index).len();
        let mut stages = Stages::new(pipeline, alert)?;
        let [decode, hit, compose, all] = stages.measure(stop)?;
        report.row([
            (length as u64).into(),
            (entities as u64).into(),
            decode.into(),
            hit.into(),
            compose.into(),
            all.into(),
        ])?;
    }
    runtime.shutdown_background();
    Ok(())
}

/// One vendor that knows cloud identities and is never asked.
const CONFIG: &str = "\
allow_literal_secrets: true
cache: {ttl: {scored: 24h}}
providers:
  datadog: {type: datadog, base_url: 'http://127.0.0.1:9', allow_http: true, api_key: k, application_key: k}
";

/// An alert, and what its steps need.
struct Stages<'p> {
    pipeline: &'p Arc<Pipeline>,
    alert: Finding,
    ids: Vec<(String, u64)>,
    entities: usize,
    scratch: Scratch,
    out: Vec<u8>,
    next: usize,
}

impl<'p> Stages<'p> {
    fn new(pipeline: &'p Arc<Pipeline>, mut alert: Finding) -> anyhow::Result<Self> {
        let mut scratch = Scratch::default();
        let decoded = pipeline.decoder.decode(alert.about(|index| index), Select::Auto, &mut scratch)?;
        let entities = decoded.found.len();
        let id = |number| {
            let id = sample::arn(number);
            let hash = entity::hash(EntityKind::CloudIdentity, &id);
            (id, hash)
        };
        Ok(Stages {
            pipeline,
            alert,
            ids: (0..ANSWERS).map(id).collect(),
            entities,
            scratch,
            out: Vec::new(),
            next: 0,
        })
    }

    /// Medians of decode, hit, compose and all of it, in nanoseconds for an alert.
    fn measure(&mut self, stop: &Stop) -> anyhow::Result<[f64; 4]> {
        let mut rounds = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            if stop.requested() {
                anyhow::bail!("interrupted");
            }
            let round = [self.decode()?, self.hit()?, self.compose()?, self.all()?];
            rounds.iter_mut().zip(round).for_each(|(all, one)| all.push(one));
        }
        Ok(rounds.map(|round| median(round).unwrap_or(f64::NAN)))
    }

    fn decode(&mut self) -> anyhow::Result<f64> {
        let Stages { pipeline, alert, scratch, next, .. } = self;
        timed(|| {
            let text = black_box(about_others(alert, next));
            let decoded = pipeline.decoder.decode(text, Select::Auto, scratch)?;
            black_box(decoded.found.len());
            Ok(())
        })
    }

    /// As often as the alert has entities.
    fn hit(&mut self) -> anyhow::Result<f64> {
        let Stages { pipeline, ids, entities, next, .. } = self;
        let cache = pipeline.flights.cache();
        let now = Instant::now();
        timed(|| {
            for _ in 0..*entities {
                *next = (*next + STRIDE) % ANSWERS;
                let (id, hash) = ids.get(*next).context("a bug: an entity beyond the last one")?;
                let question = Question::hashed(ProviderId(0), EntityKind::CloudIdentity, id, *hash);
                let Found::Fresh(entry) = cache.get(&question, now) else {
                    anyhow::bail!("an answer is not in the cache: a bug");
                };
                black_box(entry);
            }
            Ok(())
        })
    }

    fn compose(&mut self) -> anyhow::Result<f64> {
        let Stages { pipeline, alert, scratch, out, next, .. } = self;
        let text = about_others(alert, next);
        let decoded = pipeline.decoder.decode(text, Select::Auto, scratch)?;
        let answer = sample::answer(7);
        let input = Input {
            original: text,
            shape: &decoded.shape,
            format: decoded.format.map(|format| pipeline.formats.name(format)),
            entities_cut: 0,
            key_and_header_bytes: ORIGIN.overhead,
        };
        let outcomes = sample::hits(decoded.found, &answer);
        timed(|| {
            black_box(pipeline.composer.compose(black_box(input), &outcomes, out).score);
            Ok(())
        })
    }

    fn all(&mut self) -> anyhow::Result<f64> {
        let Stages { pipeline, alert, scratch, out, next, .. } = self;
        let now = Instant::now();
        timed(|| {
            let text = black_box(about_others(alert, next));
            match pipeline.begin(text, ORIGIN, now, scratch, out, || Box::new(|| {}))? {
                Begun::Composed(summary) if summary.score.is_some() => Ok(()),
                _ => anyhow::bail!("an alert was not composed from the cache: a bug"),
            }
        })
    }
}

/// The alert about the next entities.
fn about_others<'a>(alert: &'a mut Finding, next: &mut usize) -> &'a [u8] {
    *next = (*next + STRIDE) % ANSWERS;
    let first = *next;
    alert.about(|index| (first + index * STRIDE) % ANSWERS)
}

/// Nanoseconds that `work` takes, repeated for a round. The clock is read once in a while only.
fn timed(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    const BATCH: u32 = 50;
    let started = Instant::now();
    let mut count = 0;
    loop {
        for _ in 0..BATCH {
            work()?;
        }
        count += BATCH;
        let took = started.elapsed();
        if took >= ROUND {
            return Ok(took.as_nanos() as f64 / f64::from(count));
        }
    }
}
