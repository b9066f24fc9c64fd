//! What an alert costs on its way: decode and extract, the cache, compose, and all of it.
//!
//! `cargo bench --bench hot_path`; a word selects (`cargo bench --bench hot_path -- begin/`). One core, no Kafka.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench is a test"
)]

mod shared;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use riskstream::alert::{Scratch, Select};
use riskstream::cache::key::ProviderId;
use riskstream::cache::{Found, Question};
use riskstream::compose::Input;
use riskstream::entity::EntityKind;
use riskstream::pipeline::Begun;
use riskstream::simulator::sample;

use shared::{Bench, ORIGIN, SAMPLES, answer, arn, finding};

/// Alerts with their names.
fn grid() -> impl Iterator<Item = (String, String)> {
    shared::grid()
        .map(|(bytes, entities)| (format!("{bytes} B, {entities} entities"), finding(0, entities, bytes)))
}

fn decode(c: &mut Criterion) {
    let bench = Bench::warm(0);
    let mut scratch = Scratch::default();
    let mut group = c.benchmark_group("decode");
    for (name, alert) in grid() {
        group.throughput(Throughput::Bytes(alert.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let decoded =
                    bench.pipeline.decoder.decode(black_box(alert.as_bytes()), Select::Auto, &mut scratch);
                black_box(decoded.unwrap().found.len())
            })
        });
    }
    let mut seen = Vec::new();
    for sample in SAMPLES.lines() {
        let decoded = bench.pipeline.decoder.decode(sample.as_bytes(), Select::Auto, &mut scratch).unwrap();
        let Some(format) = decoded.format.filter(|format| !seen.contains(format)) else { continue };
        seen.push(format);
        let name = bench.pipeline.formats.name(format);
        group.throughput(Throughput::Bytes(sample.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let decoded =
                    bench.pipeline.decoder.decode(black_box(sample.as_bytes()), Select::Auto, &mut scratch);
                black_box(decoded.unwrap().found.len())
            })
        });
    }
}

fn hit(c: &mut Criterion) {
    let mut group = c.benchmark_group("hit");
    for entities in [1_000, 100_000] {
        let bench = Bench::warm(entities);
        let flights = &bench.pipeline.flights;
        let ids: Vec<String> = (0..entities).map(arn).collect();
        let now = Instant::now();
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(format!("{entities} answers")), |b| {
            b.iter(|| {
                // A stride that is prime to the number visits all in no order that a processor could guess.
                next = (next + 61_813) % entities;
                let question = Question::new(ProviderId(0), EntityKind::CloudIdentity, &ids[next]);
                matches!(flights.cache().get(&question, now), Found::Fresh(_))
            })
        });
    }
}

fn compose(c: &mut Criterion) {
    let bench = Bench::warm(0);
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    let mut group = c.benchmark_group("compose");
    let answer = answer(7);
    for (name, alert) in grid() {
        let decoded = bench.pipeline.decoder.decode(alert.as_bytes(), Select::Auto, &mut scratch).unwrap();
        let input = Input {
            original: alert.as_bytes(),
            shape: &decoded.shape,
            format: Some("ocsf"),
            entities_cut: 0,
            key_and_header_bytes: ORIGIN.overhead,
        };
        let outcomes = sample::hits(decoded.found, &answer);
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| black_box(bench.pipeline.composer.compose(black_box(input), &outcomes, &mut out).score))
        });
    }
}

fn begin(c: &mut Criterion) {
    let bench = Bench::warm(10_000);
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    let mut group = c.benchmark_group("begin");
    for (name, alert) in grid() {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let now = Instant::now();
                let begun = bench.pipeline.begin(
                    black_box(alert.as_bytes()),
                    ORIGIN,
                    now,
                    &mut scratch,
                    &mut out,
                    || Box::new(|| {}),
                );
                assert!(matches!(begun, Ok(Begun::Composed(summary)) if summary.score.is_some()));
            })
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = decode, hit, compose, begin
}
criterion_main!(benches);
