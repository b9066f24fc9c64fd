//! What a vendor is spared: one call for one question, its quota, its "leave me alone", and keys that it refuses. Counted by the
//! vendor, over real HTTP.

use std::time::{Duration, Instant};

use riskstream::simulator::{Fault, Latency, Limit, datadog, google_secops};

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};

const QUOTA: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);

/// A service that asks `vendor` with these further keys.
fn started(stage: &Stage, vendors: &Vendors, vendor: &str, pipeline: &str, more: &str) -> Service {
    let rest = format!("providers:\n{}", vendors.provider(vendor, more));
    let mut service = Service::start(&Settings::of(stage, pipeline, rest).text());
    service.assigned(stage.partitions.into());
    service
}

fn alert(stage: &Stage, vendor: &str, n: usize) -> NewRecord {
    NewRecord::value(n as i32 % stage.partitions, alerts::of(vendor, &alerts::entity(vendor, n), n))
}

/// Alerts about entities of their own, `rate` a second for so long, beginning with number `first`; how many there were.
fn demand(vendor: &str, stages: &[&Stage], first: usize, rate: usize, time: Duration) -> usize {
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < time {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as usize;
        if sent < due {
            for (number, stage) in stages.iter().enumerate() {
                let own = (sent..due).filter(|n| n % stages.len() == number);
                stage.produce(own.map(|n| alert(stage, vendor, first + n)).collect());
            }
            sent = due;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    sent
}

#[test]
fn ten_thousand_alerts_about_one_entity_that_is_not_cached_make_one_call() {
    let stage = Stage::embedded(4);
    let vendors = Vendors::start(0);
    // Longer than it takes to read them all.
    vendors.world.set_latency(Latency::Fixed(4_000));
    let service = started(&stage, &vendors, "datadog", "deadline: 15s", ", timeout: 15s");
    let value = alerts::of("datadog", &alerts::entity("datadog", 1), 1);
    stage.produce((0..10_000).map(|n| NewRecord::value(n % 4, value.clone())).collect());
    stage.wait_for(10_000, Duration::from_secs(60));
    assert_eq!(vendors.requests(), 1);
    assert_eq!(vendors.questions(), [1]);
    let complete = stage.outputs().iter().filter(|o| o.header("risk-status") == Some("complete")).count();
    assert_eq!(complete, 10_000);
    service.ends_well();
    check::all_committed(&stage);
}

/// A vendor that tells nothing of its quota in headers, so that only our own limit keeps us below it.
const VENDOR: &str = "google_secops";

/// Ten times the quota for `QUOTA_SECONDS` (8 without it) seconds, from so many processes that share it.
fn under_demand(processes: usize) {
    let seconds = std::env::var("QUOTA_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let vendors = Vendors::start(5);
    vendors.world.set_limit(VENDOR, Some(Limit { requests: QUOTA, per_ms: 1_000, sliding: true }));
    // The embedded broker keeps 5 MB of a partition.
    let stages: Vec<Stage> = (0..processes).map(|_| Stage::embedded(8)).collect();
    let limit = format!(", limit: {{requests: {QUOTA}, per: 1s, share: 1/{processes}}}");
    let mut services: Vec<Service> =
        stages.iter().map(|stage| started(stage, &vendors, VENDOR, "deadline: 500ms", &limit)).collect();
    let sent = demand(
        VENDOR,
        &stages.iter().collect::<Vec<_>>(),
        0,
        10 * QUOTA as usize,
        Duration::from_secs(seconds),
    );
    let calls = vendors.world.calls(VENDOR);
    for (number, stage) in stages.iter().enumerate() {
        let own = (0..sent).filter(|n| n % processes == number).count();
        stage.wait_for(own, Duration::from_secs(30));
    }
    let refused: f64 = services
        .iter_mut()
        .map(|service| {
            let labels = format!("{{outcome=\"rate_limited\",provider=\"{VENDOR}\"}}");
            service.metric(&format!("riskstream_vendor_requests_total{labels}")).expect("the series is there")
        })
        .sum();
    let used = calls.total as f64 / (seconds as f64 * f64::from(QUOTA));
    let peak = calls.peak_arrivals(SECOND);
    say(&format!(
        "quota {QUOTA}/s, {processes} processes, {sent} alerts in {seconds} s: {} calls, {:.1} % of the quota, at most {peak} in a \
         second, {refused} refused",
        calls.total,
        used * 100.0
    ));
    assert!(peak <= QUOTA as usize, "{peak} calls within a second");
    assert_eq!(refused, 0.0, "calls that the vendor refused");
    // The first requests open connections, which costs a short run some of its first seconds, and more beside other tests.
    let least = if seconds >= 60 { 0.95 } else { 0.7 };
    // A share is a whole number of requests: three times 16 of 50.
    let whole = f64::from(QUOTA / processes as u32) * processes as f64 / f64::from(QUOTA);
    assert!(used >= least * whole, "{used} of the quota used");
    for service in services {
        service.ends_well();
    }
    stages.iter().for_each(check::all_committed);
}

#[test]
fn a_quota_is_used_and_never_passed_under_ten_times_its_demand() {
    under_demand(1);
}

#[test]
fn three_processes_share_a_quota() {
    under_demand(3);
}

#[test]
fn made_up_identifiers_spend_the_budget_of_their_topic_and_format_and_no_more() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let budget = "deadline: 5s, look_ups: {requests: 20, per: 1h}";
    let mut service = started(&stage, &vendors, "datadog", budget, "");
    stage.produce((0..300).map(|n| alert(&stage, "datadog", n)).collect());
    stage.wait_for(300, Duration::from_secs(20));
    assert_eq!(vendors.requests(), 20);
    let outputs = stage.outputs();
    let reasons =
        outputs.iter().filter_map(|o| Some(o.json()["risk"]["entities"][0]["reason"].as_str()?.to_owned()));
    let reasons: Vec<String> = reasons.collect();
    assert!(reasons.len() == 280 && reasons.iter().all(|reason| reason == "overloaded"), "{reasons:?}");
    assert_eq!(service.metric("riskstream_look_ups_over_budget_total"), Some(280.0));
    // What is cached costs nothing, and those who were known before are served on.
    stage.produce((0..20).map(|n| alert(&stage, "datadog", n)).collect());
    stage.wait_for(320, Duration::from_secs(10));
    let cached =
        stage.outputs().iter().filter(|o| o.json()["risk"]["entities"][0]["source"] == "cache").count();
    assert_eq!((cached, vendors.requests()), (20, 20));
    service.ends_well();
    check::all_committed(&stage);
}

#[test]
fn a_vendor_that_asks_to_be_left_alone_is_and_then_gets_more_and_more() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(5);
    let limit = format!(", limit: {{requests: {QUOTA}, per: 1s}}, retry: {{attempts: 1}}");
    let mut service = started(&stage, &vendors, "datadog", "deadline: 500ms", &limit);
    stage.produce(vec![alert(&stage, "datadog", 0)]);
    stage.wait_for(1, Duration::from_secs(10));
    vendors.world.forget_calls();
    let refusal = Fault::status("/datadog", 429, "{}").with_header("retry-after", "7").times(1);
    vendors.world.fault(refusal);
    let sent = demand("datadog", &[&stage], 1, 200, Duration::from_secs(14));
    stage.wait_for(1 + sent, Duration::from_secs(30));
    let arrivals = vendors.world.calls("datadog").arrivals;
    // Those that were on their way when the first was refused are few; then comes nothing for as long as it asked for.
    let silence = arrivals.windows(2).map(|pair| (pair[1] - pair[0], pair[1])).max().unwrap();
    let before = arrivals.iter().filter(|at| **at < silence.1).count();
    let (_, again) = silence;
    let within = |from: u64, to: u64| {
        let at = |seconds| again + Duration::from_secs(seconds);
        arrivals.iter().filter(|arrival| (at(from)..at(to)).contains(*arrival)).count()
    };
    let seconds: Vec<usize> = (0..5).map(|second| within(second, second + 1)).collect();
    say(&format!(
        "429 with Retry-After 7: {before} calls before it was heard, {:?} of silence, then {seconds:?} a second",
        silence.0
    ));
    assert!(before <= 5, "{before} calls before the vendor was heard");
    assert!(silence.0 >= Duration::from_millis(6_900), "{silence:?}");
    assert!(
        seconds[0] <= QUOTA as usize / 2 && seconds[0] < seconds[2] && seconds[2] < seconds[4],
        "{seconds:?}"
    );
    assert_eq!(service.get("/livez").0, 200);
    service.ends_well();
}

#[test]
fn while_a_key_is_rotated_two_may_be_written_and_no_alert_is_without_its_score() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let provider = vendors.provider("datadog", "");
    let keys = provider
        .replace(
            &format!("api_key: {}", datadog::API_KEY),
            &format!("api_key: [revoked, {}]", datadog::API_KEY),
        )
        .replace(
            &format!("application_key: {}", datadog::APPLICATION_KEY),
            &format!("application_key: [revoked, {}]", datadog::APPLICATION_KEY),
        );
    assert_eq!(keys.matches("revoked").count(), 2, "{keys}");
    let settings = Settings::of(&stage, "deadline: 5s", format!("providers:\n{keys}"));
    let mut service = Service::start(&settings.text());
    service.assigned(1);
    stage.produce((0..10).map(|n| alert(&stage, "datadog", n)).collect());
    stage.wait_for(10, Duration::from_secs(10));
    let complete = stage.outputs().iter().filter(|o| o.header("risk-status") == Some("complete")).count();
    assert_eq!(complete, 10);
    // Those that were on their way with the first key are asked once more, and from then on the second is used.
    let before = vendors.requests();
    assert!((11..=20).contains(&before), "{before}");
    stage.produce((10..20).map(|n| alert(&stage, "datadog", n)).collect());
    stage.wait_for(20, Duration::from_secs(10));
    assert_eq!(vendors.requests(), before + 10);
    assert!(!service.get("/readyz").1.contains("datadog"));
    service.ends_well();
}

#[test]
fn a_refused_key_is_told_and_probed_and_old_answers_serve_until_a_new_one_heals_it() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("token");
    let write = |token: &str| std::fs::write(&key, token).unwrap();
    write(google_secops::TOKEN);
    let provider = vendors
        .provider("google_secops", ", breaker: {refused_for: 2s}, ttl: {scored: 1s, unknown: 1s}")
        .replace(
            &format!("token: {}", google_secops::TOKEN),
            &format!("token: {{file: '{}'}}", key.display()),
        );
    let settings =
        Settings::of(&stage, "deadline: 5s", format!("cache: {{jitter: 0}}\nproviders:\n{provider}"));
    let mut service = Service::start(&settings.text());
    service.assigned(1);
    let known: Vec<usize> = (0..1000)
        .filter(|n| vendors.world.profile(&alerts::entity("google_secops", *n)).is_some())
        .take(40)
        .collect();
    let mut sent = 0;
    let mut ask = |n: usize| {
        sent += 1;
        let value = alerts::of("google_secops", &alerts::entity("google_secops", n), n);
        stage.produce(vec![NewRecord::value(0, value)]);
        stage.wait_for(sent, Duration::from_secs(10));
        stage.outputs().last().unwrap().json()["risk"]["entities"][0].clone()
    };
    assert_eq!(ask(known[0])["status"], "scored");

    write("another-key-that-nobody-knows");
    // A second until files are looked at again, a second until the answer is no longer fresh.
    let mut fresh = known[1..].iter();
    wait("the refusal", Duration::from_secs(10), || ask(*fresh.next().unwrap())["status"] == "failed");
    let (_, ready) = service.get("/readyz");
    assert!(ready.contains("google_secops: unauthorised"), "{ready}");
    // Now and then the one who is asked about is the probe, and its reason the refusal.
    wait("an old answer", Duration::from_secs(10), || {
        let old = ask(known[0]);
        assert_eq!(old["status"], "scored", "{old}");
        old["source"] == "stale" && old["stale_reason"] == "breaker_open"
    });

    // One probe in each interval: a token that is configured as it is cannot be renewed.
    vendors.world.forget_calls();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(7) {
        let entity = ask(*fresh.next().unwrap_or(&known[39]));
        assert_eq!(entity["status"], "failed", "{entity}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let probes = vendors.world.calls("google_secops").total;
    assert!((2..=4).contains(&probes), "{probes} requests in seven seconds");

    write(google_secops::TOKEN);
    let healed = wait("healing", Duration::from_secs(10), || ask(known[0])["source"] == "provider");
    say(&format!(
        "a refused key: {probes} requests in 7 s with `refused_for: 2s`, healed {healed:?} after the new one was written"
    ));
    service.ready();
    assert!(!service.get("/readyz").1.contains("unauthorised"));
    service.ends_well();
}

#[test]
fn answers_of_one_moment_are_asked_again_over_a_while_and_within_the_quota() {
    const ENTITIES: usize = 400;
    let stage = Stage::embedded(4);
    let vendors = Vendors::start(5);
    let quota = 300;
    vendors.world.set_limit(VENDOR, Some(Limit { requests: quota, per_ms: 1_000, sliding: true }));
    let more = format!(", limit: {{requests: {quota}, per: 1s}}, ttl: {{scored: 5s, unknown: 5s}}");
    let mut service = started(&stage, &vendors, VENDOR, "deadline: 20s", &more);
    let began = Instant::now();
    let mut sent = 0;
    // Everybody is asked about all the time, for as long as all answers live, and a little longer.
    while began.elapsed() < Duration::from_secs(9) {
        stage.produce((0..ENTITIES).map(|n| alert(&stage, VENDOR, n)).collect());
        sent += ENTITIES;
        stage.wait_for(sent, Duration::from_secs(30));
    }
    let calls = vendors.world.calls(VENDOR);
    let again: Vec<Duration> = calls.arrivals.iter().skip(ENTITIES).take(ENTITIES).copied().collect();
    assert_eq!(again.len(), ENTITIES, "all were asked again");
    let span = again[ENTITIES * 99 / 100] - again[ENTITIES / 100];
    let peak = calls.peak_arrivals(SECOND);
    let labels = format!("{{outcome=\"rate_limited\",provider=\"{VENDOR}\"}}");
    let refused = service.metric(&format!("riskstream_vendor_requests_total{labels}"));
    say(&format!(
        "{ENTITIES} answers of {:?} that live for 5 s: asked again over {span:?}, at most {peak} calls in a second, {refused:?} refused",
        calls.arrivals[ENTITIES - 1] - calls.arrivals[0]
    ));
    assert!(span >= Duration::from_millis(500), "a tenth of their lifetime: {span:?}");
    assert!(peak <= quota as usize, "{peak} calls within a second");
    assert_eq!(refused, Some(0.0));
    service.ends_well();
    check::all_committed(&stage);
    let complete = stage.outputs().iter().filter(|o| o.header("risk-status") == Some("complete")).count();
    assert_eq!(complete, sent, "nobody waited in vain");
}
