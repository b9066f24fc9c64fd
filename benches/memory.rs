//! What the service keeps, and what each of it costs in memory: answers, flights, alerts in flight, partitions.
//!
//! `cargo bench --bench memory` prints all of it. `-- answers N` does so for a cache of N answers (10,000,000 take 6 GB),
//! with the time that a look-up takes in it; `-- full MIB` fills a cache of that capacity four times over; `-- flights N`,
//! `-- alerts N` and `-- partitions N` do the rest. Each runs in a process of its own, so that nothing is measured in
//! memory that something else gave back. What counts is what the process grows by, by the kernel's account.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench is a test, and prints"
)]

mod shared;

use std::hint::black_box;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use riskstream::alert::{Paths, Scratch};
use riskstream::cache::key::ProviderId;
use riskstream::cache::ttl::Outcome as Lived;
use riskstream::cache::{Cache, Content, Found, Landing, Lifetimes, Question, Waiter};
use riskstream::compose::{Composer, EntityOutcome, Outcome, Source};
use riskstream::config::Config;
use riskstream::engine::Engine;
use riskstream::entity::EntityKind;
use riskstream::pipeline::Begun;
use riskstream::provider::limiter::Priority;
use riskstream::simulator::sample::answer_of;
use riskstream::source::assignments::Assignments;
use riskstream::source::client;
use riskstream::source::slots::{Slot, Slots, State};

use shared::{ORIGIN, answer, arn, config, finding};

/// Without a word: everything that fits a small machine.
const ALL: [(&str, usize); 6] = [
    ("answers", 10_000),
    ("answers", 1_000_000),
    ("full", 256),
    ("flights", 10_000),
    ("alerts", 10_000),
    ("partitions", 10_000),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = arguments.get(1).and_then(|argument| argument.parse().ok());
    match (arguments.first().map(String::as_str), number) {
        (Some("answers"), Some(number)) => answers(number),
        (Some("full"), Some(number)) => full(number),
        (Some("flights"), Some(number)) => flights(number),
        (Some("alerts"), Some(number)) => alerts(number),
        (Some("partitions"), Some(number)) => partitions(number),
        (None, _) => {
            let program = std::env::current_exe().unwrap();
            for (what, number) in ALL {
                let status = Command::new(&program).args([what, &number.to_string()]).status().unwrap();
                assert!(status.success(), "{what} {number}");
            }
        }
        _ => panic!("write nothing, or one of answers, full, flights, alerts, partitions, and a number"),
    }
}

/// Resident bytes of this process.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() * 1024.0
}

fn say(what: &str, bytes: f64, number: usize) {
    let mib = bytes / 1_048_576.0;
    println!("  {what:<34} {mib:>9.1} MiB {:>9.1} bytes each", bytes / number as f64);
}

/// Cloud identities whose names are numbers, without allocating.
struct Ids(String);

impl Ids {
    fn new() -> Self {
        Ids(arn(0))
    }

    fn get(&mut self, number: usize) -> &str {
        use std::fmt::Write;
        self.0.truncate(self.0.len() - 7);
        write!(self.0, "{number:07}").unwrap();
        &self.0
    }
}

fn question(id: &str) -> Question<'_> {
    Question::new(ProviderId(0), EntityKind::CloudIdentity, id)
}

fn answers(number: usize) {
    let config = config("");
    let lifetimes = Lifetimes::new(config.cache.ttl, &config.cache);
    // Room for all, and for nothing to be evicted.
    let cache = Cache::new(64 << 30);
    let mut ids = Ids::new();
    let started = Instant::now();
    let mut fill = |cache: &Cache, number: usize| {
        let mut payload = 0;
        for index in 0..number {
            let answer = answer(index);
            payload += answer.get().text().len();
            let times = lifetimes.times(Lived::Scored, EntityKind::CloudIdentity, started, 0.5);
            cache.insert(&question(ids.get(index)), Content::Answer(answer.get()), times);
        }
        payload
    };
    // So that the code is there, which is memory too.
    fill(&Cache::new(1 << 20), 100);
    let (began, before) = (Instant::now(), resident());
    let payload = fill(&cache, number);
    let (took, grown) = (began.elapsed(), resident() - before);
    assert_eq!(cache.entries(), number, "nothing was evicted");
    let (payload, estimate) = (payload as f64, cache.bytes() as f64);
    println!("{number} answers, filled in {:.2} s", took.as_secs_f64());
    say("resident, grown by", grown, number);
    say("their text", payload, number);
    say("above their text", grown - payload, number);
    say("by the cache's estimate", estimate, number);
    println!("  estimate / resident                {:>9.3}", estimate / grown);
    hits(&cache, &config, number, started);
}

/// How long a hit takes, in an order that no processor can guess. The answers are read once before.
fn hits(cache: &Cache, config: &Config, number: usize, now: Instant) {
    const ROUNDS: usize = 1_000_000;
    let composer = Composer::new(&config.output);
    let (mut ids, mut out) = (Ids::new(), Vec::new());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % number as u64) as usize
    };
    for index in 0..number {
        assert!(matches!(cache.get(&question(ids.get(index)), now), Found::Fresh(_)), "{index}");
    }
    let mut median = |work: &mut dyn FnMut(&Question<'_>)| {
        let mut times = [(); 5].map(|()| {
            let started = Instant::now();
            (0..ROUNDS).for_each(|_| work(&question(ids.get(random()))));
            started.elapsed().as_nanos() as f64 / ROUNDS as f64
        });
        times.sort_by(f64::total_cmp);
        times[2]
    };
    let nothing = median(&mut |question| {
        black_box(question);
    });
    let look = median(&mut |question| drop(black_box(cache.get(question, now))));
    let write = median(&mut |question| {
        let Found::Fresh(entry) = cache.get(question, now) else { panic!("it was there") };
        let Content::Answer(answer) = entry.content() else { panic!("it was an answer") };
        let outcome = Outcome::Answered { answer, age: Duration::ZERO, source: Source::Cache };
        let (kind, paths) = (question.kind, Paths::NONE);
        composer.one(&EntityOutcome { kind, value: question.id, paths, provider: None, outcome }, &mut out);
        black_box(&out);
    });
    println!("  a hit                              {:>9.0} ns", look - nothing);
    println!("  a hit, and its text written        {:>9.0} ns", write - nothing);
}

/// Answers of all sizes, four times as many as there is room for.
fn full(mib: usize) {
    let config = config("");
    let lifetimes = Lifetimes::new(config.cache.ttl, &config.cache);
    let capacity = (mib as u64) << 20;
    let cache = Cache::new(capacity);
    let mut ids = Ids::new();
    let (started, before) = (Instant::now(), resident());
    let mut offered = 0;
    for index in 0.. {
        let answer = answer_of(index, index * 7_919 % 1_500);
        offered += answer.get().text().len() as u64;
        let times = lifetimes.times(Lived::Scored, EntityKind::CloudIdentity, started, 0.5);
        cache.insert(&question(ids.get(index)), Content::Answer(answer.get()), times);
        if offered > 4 * capacity {
            break;
        }
    }
    let (entries, grown) = (cache.entries(), resident() - before);
    println!("{entries} answers of all sizes in a cache of {mib} MiB, four times as many were put there");
    say("resident, grown by", grown, entries);
    say("by the cache's estimate", cache.bytes() as f64, entries);
}

/// A vendor that takes connections and says nothing, and the parts with it.
fn hanging(runtime: &tokio::runtime::Runtime) -> (TcpListener, Engine) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "allow_literal_secrets: true\nproviders:\n  datadog:\n    type: datadog\n    base_url: http://{}\n    \
         allow_http: true\n    api_key: k\n    application_key: k\n    timeout: 10m\n    queue: 1000000\n    max_wait: 10m\n",
        listener.local_addr().unwrap()
    );
    let config = Config::parse("bench.yaml", &text, std::path::Path::new(""), [])
        .unwrap_or_else(|problems| panic!("{}", problems.json_lines()));
    (listener, Engine::build(&config, runtime.handle().clone()).unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Waits for answers, for the bench.
struct Nobody;

impl Waiter for Nobody {
    fn land(&self, _index: u32, _landing: Landing) {}
}

/// Until every flight has gone as far as it can, which nothing tells.
fn settle() {
    std::thread::sleep(Duration::from_secs(3));
}

fn flights(number: usize) {
    let runtime = runtime();
    let (_vendor, engine) = hanging(&runtime);
    let pipeline = engine.pipeline();
    let flights = &pipeline.flights;
    let carrier = &pipeline.roster.iter().next().unwrap().carrier;
    let waiter: Arc<dyn Waiter> = Arc::new(Nobody);
    let join = |first: usize, number: usize| {
        let mut ids = Ids::new();
        for index in first..first + number {
            let question = question(ids.get(index));
            assert!(flights.join(&question, carrier, Priority::Alert, (&waiter, 0), || true).is_none());
        }
        settle();
    };
    // As many as have a connection each.
    join(0, 64);
    let before = resident();
    join(64, number);
    let grown = resident() - before;
    assert_eq!(flights.open(), number + 64, "all are under way");
    println!("{number} flights that wait for their turn");
    say("resident, grown by", grown, number);
    runtime.shutdown_background();
}

fn alerts(number: usize) {
    let runtime = runtime();
    let (_vendor, engine) = hanging(&runtime);
    let mut scratch = Scratch::default();
    let mut slots = Slots::default();
    let now = Instant::now();
    let mut take = |first: usize, number: usize| {
        let mut out = Vec::new();
        for index in first..first + number {
            let alert = finding(index, 1, 1_000);
            let waker = || Box::new(|| ()) as Box<dyn Fn() + Send + Sync>;
            let begun = engine.pipeline().begin(alert.as_bytes(), ORIGIN, now, &mut scratch, &mut out, waker);
            let Ok(Begun::Waiting(pending)) = begun else { panic!("nothing is known of it") };
            let token = slots.take(now);
            let slot = slots.get(token).unwrap();
            slot.value.extend_from_slice(alert.as_bytes());
            slot.waiting = pending.bytes();
            slot.state = State::Waiting(pending);
            slots.count(token);
        }
        settle();
        (resident(), slots.bytes())
    };
    let (before, counted) = take(0, 64);
    let (after, all) = take(64, number);
    println!("{number} alerts of 1 KB that wait, each for a flight of its own");
    say("resident, grown by", after - before, number);
    say("as they are counted", (all - counted) as f64, number);
    println!("  a place among those in flight      {:>9} bytes", size_of::<Slot>());
    runtime.shutdown_background();
}

fn partitions(number: usize) {
    let config =
        config("kafka: {brokers: ['127.0.0.1:9']}\ninput: {topics: [alerts]}\noutput: {topic: enriched}");
    let mut list = TopicPartitionList::new();
    for partition in 0..number {
        list.add_partition_offset("alerts", partition as i32, Offset::Offset(0)).unwrap();
    }
    let before = resident();
    let mut ours = Assignments::default();
    (0..number).for_each(|partition| ours.assign(0, partition as i32));
    let grown = resident() - before;
    let consumer: BaseConsumer = client::consumer(&config, 0, 1).create().unwrap();
    consumer.poll(Duration::from_millis(500));
    let before = resident();
    consumer.assign(&list).unwrap();
    consumer.poll(Duration::from_secs(2));
    println!("{number} partitions, no broker");
    say("the lane's book of them", grown, number);
    say("the client library", resident() - before, number);
    black_box((&ours, &list));
}
