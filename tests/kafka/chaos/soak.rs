//! Every vendor fails at random, for half an hour in the long form, while the configuration is read again now and then.

use std::time::{Duration, Instant};

use riskstream::simulator::{Answer, Fault, Latency, Options};

use super::{
    BOUND, Chaos, Crew, Load, Order, Progress, all_committed, check, in_each_mode, joined, pass, stop,
};
use crate::harness::alerts::VENDORS;
use crate::harness::service::{Service, ceiling};
use crate::harness::vendors::Vendors;
use crate::harness::{say, wait};

in_each_mode!(vendors_that_fail_at_random_cost_no_alert_and_no_memory);

const MIB: f64 = 1048576.0;
/// What a flight may take, and a look at it late.
const FLIGHT: f64 = 31.0;
/// Each so many-th alert is broken.
const BROKEN: usize = 97;

/// Some fault of some vendor, for up to three seconds.
fn fault(chaos: &mut Chaos) -> Fault {
    let vendor = VENDORS[chaos.random.below(VENDORS.len() as u64) as usize];
    let at = format!("/{vendor}");
    let status = |code| {
        let headers = [("retry-after".to_owned(), "1".to_owned())].into();
        Answer::Status { code, headers, body: "{}".to_owned() }
    };
    let answer = match chaos.random.below(12) {
        0 => Answer::Hang,
        1 => Answer::Reset,
        2 => Answer::Garbage,
        3 => Answer::Html(502),
        4 => Answer::Huge(9_000_000),
        5 => Answer::Bomb(60_000_000),
        6 => Answer::Truncated,
        7 => Answer::Slow(20),
        8 => status(401),
        9 => status(429),
        10 => status(503),
        _ => status(404),
    };
    Fault { for_ms: Some(200 + chaos.random.below(2_800)), ..Fault::new(&at, answer) }
}

/// What was resident in the middle of each quarter of the time, in MiB: large bodies come and go, what stays is the median.
fn quarters(samples: &[u64]) -> Vec<f64> {
    let quarter = samples.len().div_ceil(4).max(1);
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2] as f64 / MIB
    };
    samples.chunks(quarter).map(median).collect()
}

fn vendors_that_fail_at_random_cost_no_alert_and_no_memory(chaos: &mut Chaos) {
    let time = Duration::from_secs(chaos.size(30, 1_800));
    let stage = chaos.stage();
    let vendors = Vendors::of(Options { latency: Latency::Between(2, 60), ..Options::default() });
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.pipeline = "in_flight: 5000, deadline: 1s".to_owned();
    crew.rest = vendors
        .providers(", timeout: 500ms, breaker: {open_for: 1s, refused_for: 2s}, retry: {backoff: 50ms}");
    crew.rest += "cache: {capacity: 4MiB, ttl: {scored: 5s, unknown: 5s, failed: 1s}, stale: 20s}\n";
    let mut service = crew.start("soak");
    joined(&mut service);
    let (mut samples, mut oldest, mut reloads, mut faults) = (Vec::new(), 0.0_f64, 0, 0);
    let mut load = Load::new(&stage, 60_000, 300);
    load.broken = Some(BROKEN);
    let load = load.flow(&stage, 400, || {
        let started = Instant::now();
        while started.elapsed() < time {
            assert!(!service.has_ended(), "it ended:\n{}", service.log());
            if chaos.random.below(6) == 0 {
                vendors.world.fault(fault(chaos));
                faults += 1;
            }
            if chaos.random.below(40) == 0 {
                service.signal("HUP");
                reloads += 1;
            }
            let figure = |service: &mut Service, name: &str| service.metric(name).unwrap();
            oldest = oldest.max(figure(&mut service, "riskstream_oldest_flight_seconds"));
            samples.push(service.resident().0);
            if samples.len().is_multiple_of(240) {
                let (out, flights) = (
                    figure(&mut service, "riskstream_alerts_published_total"),
                    figure(&mut service, "riskstream_flights"),
                );
                let resident = samples.last().unwrap();
                say(&format!(
                    "{:>5} s: {out} out, {flights} flights, {:.0} MiB",
                    started.elapsed().as_secs(),
                    *resident as f64 / MIB
                ));
            }
            pass(Duration::from_millis(250));
        }
    });
    vendors.world.clear_faults();
    let mut progress = Progress::new(&stage);
    all_committed(&stage, &mut [&mut service]);
    let ahead = progress.committed(chaos.is_exact()).ahead;
    wait("the last flights land", BOUND, || service.metric("riskstream_flights") == Some(0.0));
    let taken = service.metric("riskstream_config_reloads_total{result=\"taken\"}").unwrap();
    assert!(
        taken > 0.0 && service.metric("riskstream_config_reloads_total{result=\"refused\"}") == Some(0.0)
    );
    stop(service, "soak");

    let found = check::judge(&stage, &load, Order::Partition);
    let by_quarter = quarters(&samples);
    let most = *samples.iter().max().unwrap() as f64 / MIB;
    let statuses: Vec<String> =
        found.statuses.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let note = format!(
        "{} s, {faults} faults, {taken} reloads of {reloads} signals; {}; resident {} MiB by quarters (medians), {most:.0} at most; the oldest flight {oldest:.1} s",
        time.as_secs(),
        statuses.join(", "),
        by_quarter.iter().map(|mib| format!("{mib:.0}")).collect::<Vec<_>>().join(", "),
    );
    chaos.row("vendors that fail at random", &found, ahead, 0, &note);
    assert_eq!(found.dead, load.alerts.div_ceil(BROKEN), "every broken one, and no other");
    assert_eq!(found.published + found.dead, load.alerts, "in = out + dead letters");
    assert!(oldest <= FLIGHT, "a flight of {oldest} s");
    let (_, all) = ceiling(&crew.settings("soak")).into_iter().find(|(what, _)| what == "all").unwrap();
    assert!(most * MIB <= all as f64, "{most} MiB of {}", all as f64 / MIB);
    if chaos.full {
        let (early, late) = (by_quarter[1], by_quarter[3]);
        assert!(late <= early * 1.1 + 4.0, "it grows: {by_quarter:?} MiB");
    }
}
