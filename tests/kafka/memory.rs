//! The memory of a whole process against the ceiling that `check` prints for its configuration.
//!
//! `MEMORY_ALERTS` is the size of the backlog (default 100,000; 5,000,000 is what the guarantee names, and needs 20 GB
//! of disk and some minutes).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::kafka::{NewRecord, Stage, Writer};
use crate::harness::service::{Service, Settings, ceiling};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say};
use crate::script::script;
use crate::{DEFAULT, broker_alone};

const PARTITIONS: i32 = 12;
const MIB: f64 = 1048576.0;

fn size(default: usize) -> usize {
    std::env::var("MEMORY_ALERTS").map_or(default, |text| text.parse().expect("MEMORY_ALERTS"))
}

/// An alert of `bytes`; every second one of a partition is about one of a thousand entities, the others about one that
/// comes back only after as many as there are alerts.
fn alert(number: usize, bytes: usize) -> NewRecord {
    let is_known = (number / PARTITIONS as usize).is_multiple_of(2);
    let entity = if is_known { number * 7919 % 1_000 } else { 1_000 + number };
    let vendor = alerts::VENDORS[entity / 2 % alerts::VENDORS.len()];
    let mut value = alerts::of(vendor, &alerts::entity(vendor, entity), number);
    let noise = bytes.saturating_sub(value.len() + 12);
    let noise: Vec<u8> = (0..noise).map(|i| b'a' + ((i * 7919 + number) % 26) as u8).collect();
    let member = [b"\"noise\":\"".as_slice(), &noise, b"\","].concat();
    value.splice(1..1, member);
    NewRecord {
        partition: (number % PARTITIONS as usize) as i32,
        key: Some(format!("k{entity}").into_bytes()),
        value: Some(value),
        headers: vec![("traceparent".into(), format!("00-{number:032x}-1-01").into_bytes())],
        timestamp: None,
    }
}

/// What a run came to.
struct Figures {
    /// The most resident bytes.
    peak: u64,
    /// Resident bytes once the backlog was done.
    after: u64,
    /// The most bytes that alerts in flight were counted with.
    in_flight: u64,
    /// Alerts a second, by thirds of the backlog.
    rates: [f64; 3],
    /// What the service logged.
    log: String,
}

/// Writes a backlog of `count` alerts of `bytes` each.
fn write(stage: &Stage, count: usize, bytes: usize) {
    let mut writer = Writer::new(stage);
    for number in 0..count {
        writer.send(&alert(number, bytes));
    }
    writer.end();
}

/// Runs a backlog of `count` alerts through the service while `meanwhile` looks on, and looks at every output.
fn backlog(
    stage: &Stage,
    settings: &Settings,
    count: usize,
    mut meanwhile: impl FnMut(&mut Service, Duration),
) -> Figures {
    let bound = Duration::from_secs(120 + count as u64 / 500);
    let mut service = Service::start(&settings.text());
    service.assigned(PARTITIONS.into());
    let mut thirds: Vec<Instant> = vec![Instant::now()];
    let mut told = Instant::now();
    let mut in_flight: f64 = 0.0;
    while thirds.len() < 4 {
        let published = service.metric("riskstream_alerts_published_total").unwrap();
        while thirds.len() < 4 && published >= (count * thirds.len() / 3) as f64 {
            thirds.push(Instant::now());
        }
        in_flight = in_flight.max(service.metric("riskstream_in_flight_bytes").unwrap());
        let (now, peak) = service.resident();
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            let mut of = |name: &str| service.metric(name).unwrap_or_default();
            say(&format!(
                "{published:>9} out, {:>5.0} MiB now, {:>5.0} MiB at most; in flight {} ({:.1} MiB), flights {}, cache {:.1} MiB",
                now as f64 / MIB,
                peak as f64 / MIB,
                of("riskstream_in_flight_alerts"),
                of("riskstream_in_flight_bytes") / MIB,
                of("riskstream_flights"),
                of("riskstream_cache_bytes") / MIB,
            ));
        }
        meanwhile(&mut service, thirds[0].elapsed());
        assert!(thirds[0].elapsed() < bound, "{published} of {count} came out within {bound:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(service.get("/livez").0, 200);
    let (after, peak) = service.resident();
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    check::all_committed(stage);
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    stage.each(&stage.output, |output| {
        let (partition, offset) = check::source(stage, &output);
        let next = next.entry(partition).or_default();
        assert_eq!(offset, *next, "partition {partition}: missing, repeated or out of order");
        *next += 1;
    });
    assert_eq!(next, stage.ends());
    let third = count as f64 / 3.0;
    let rate = |n: usize| third / (thirds[n + 1] - thirds[n]).as_secs_f64();
    Figures { peak, after, in_flight: in_flight as u64, rates: [rate(0), rate(1), rate(2)], log: ended.log }
}

/// Prints what a run came to, and holds it against the ceiling.
fn under_the_ceiling(what: &str, settings: &Settings, figures: &Figures) {
    let ceiling = ceiling(&settings.text());
    for (what, bytes) in &ceiling {
        say(&format!("{:>7.1} MiB  {what}", *bytes as f64 / MIB));
    }
    let (_, all) = ceiling.iter().find(|(what, _)| what == "all").expect("a sum");
    say(&format!(
        "{what}: at most {:.1} MiB resident, {:.1} after, of {:.1} that check prints; {:.1} MiB in flight; {:.0}, {:.0}, \
         {:.0} alerts/s by thirds",
        figures.peak as f64 / MIB,
        figures.after as f64 / MIB,
        *all as f64 / MIB,
        figures.in_flight as f64 / MIB,
        figures.rates[0],
        figures.rates[1],
        figures.rates[2],
    ));
    assert!(figures.peak <= *all, "{what}: {} MiB resident", figures.peak as f64 / MIB);
}

#[test]
fn a_backlog_stays_under_the_ceiling_that_check_prints_and_does_not_slow_down() {
    steady("at_least_once");
}

#[test]
fn a_backlog_in_transactions_stays_under_the_ceiling_and_does_not_slow_down() {
    steady("exactly_once");
}

fn steady(delivery: &str) {
    let Some(_broker) = broker_alone() else { return };
    let count = size(100_000);
    let stage = Stage::real(PARTITIONS, DEFAULT, DEFAULT);
    let vendors = Vendors::start(20);
    // So that it fills up and answers have to go.
    let cache = if count < 300_000 { "16MiB" } else { "64MiB" };
    let rest = format!("cache: {{capacity: {cache}}}\n{}", vendors.providers(""));
    let pipeline = format!("deadline: 60s, drain: 70s, shutdown: 80s, delivery: {delivery}");
    let mut settings = Settings::of(&stage, &pipeline, rest);
    settings.kafka += ", instance: memory";
    write(&stage, count, 1_024);
    let figures = backlog(&stage, &settings, count, |_, _| {});
    under_the_ceiling(&format!("backlog, {delivery}"), &settings, &figures);
    let [first, _, last] = figures.rates;
    assert!(last > first / 2.0, "it sinks: {:?}", figures.rates);
}

/// Lifts the quota also when the test fails.
struct Throttled;

impl Throttled {
    fn to(bytes: usize) -> Throttled {
        script(&format!("quota riskstream {bytes}"));
        Throttled
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        script("quota riskstream");
    }
}

#[test]
fn a_throttled_broker_and_a_slow_vendor_pause_reading_and_memory_stays_under_the_ceiling() {
    let Some(_broker) = broker_alone() else { return };
    let count = size(15_000);
    let stage = Stage::real(PARTITIONS, DEFAULT, DEFAULT);
    let vendors = Vendors::start(2_000);
    let more = ", timeout: 10s, concurrency: 1000, breaker: {minimum: 100000}";
    let rest = format!("cache: {{capacity: 64MiB}}\n{}", vendors.providers(more));
    let settings = Settings::of(&stage, "deadline: 8s, drain: 20s, threads: 3", rest);
    // More than may be in flight: bytes, not alerts, are what fills the lanes.
    write(&stage, count, 10_000);
    let mut throttled = Some(Throttled::to(3_000_000));
    let figures = backlog(&stage, &settings, count, |service, passed| {
        assert_eq!(service.get("/livez").0, 200);
        if passed > Duration::from_secs(20) {
            assert!(throttled.is_none() || service.metric("riskstream_pauses_total") > Some(0.0));
            throttled = None;
        }
    });
    under_the_ceiling("throttled broker, slow vendor, three lanes", &settings, &figures);
    assert!(figures.in_flight > 50 << 20, "{} bytes are not full", figures.in_flight);
    let bound = (64 << 20) / 2 * 3 + 3 * 2_000_000;
    assert!(figures.in_flight <= bound, "{} bytes were in flight", figures.in_flight);
    // Lanes join one after another; none may be given up later for want of a poll.
    assert!(!figures.log.contains("partitions lost"), "{}", figures.log);
}
