//! What cached answers cost in memory, against what the cache believes they cost.
//!
//! `cargo bench --bench cache_memory [-- ANSWERS]`. The cache's bound is only as good as its estimate: the last
//! line says by how much the estimate is off.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench is a test, and prints")]

mod shared;

use std::sync::Arc;
use std::time::Instant;

use riskstream::cache::key::ProviderId;
use riskstream::cache::store::{Content, Entry};
use riskstream::cache::ttl::Outcome;
use riskstream::cache::{Cache, Lifetimes, Question};
use riskstream::entity::EntityKind;

use shared::{answer, arn, config};

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

fn main() {
    let answers = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let config = config("");
    let lifetimes = Lifetimes::new(config.cache.ttl, &config.cache);
    let text = answer(7).bytes() - size_of::<riskstream::compose::Rendered>();
    // Room for all, and for nothing to be evicted.
    let cache = Cache::new(4 << 30);
    let before = resident();
    let started = Instant::now();
    for number in 0..answers {
        let id = arn(number);
        let key = Question::new(ProviderId(0), EntityKind::CloudIdentity, &id).to_key();
        let times = lifetimes.times(Outcome::Scored, started, 0.5);
        cache.insert(key, Arc::new(Entry::new(Content::Answer(answer(number)), times)));
    }
    let took = started.elapsed();
    let grown = resident() - before;
    assert_eq!(cache.entries(), answers, "nothing was evicted");
    let each = |bytes: u64| bytes as f64 / answers as f64;
    println!("answers                 {answers:>12}");
    println!("bytes of one as text    {text:>12}");
    println!("filled in               {:>10.2} s", took.as_secs_f64());
    println!("resident before         {:>8.1} MiB", before as f64 / 1048576.0);
    println!(
        "resident grown by       {:>8.1} MiB  {:>8.1} bytes each",
        grown as f64 / 1048576.0,
        each(grown)
    );
    println!(
        "the cache's estimate    {:>8.1} MiB  {:>8.1} bytes each",
        cache.bytes() as f64 / 1048576.0,
        each(cache.bytes())
    );
    println!("estimate / resident     {:>12.3}", cache.bytes() as f64 / grown as f64);
}
