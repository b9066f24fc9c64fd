//! Vendors' lists read at an interval: who is asked about nobody any more, what serves while a vendor is down, and what a
//! reading costs. The real binary, the simulated vendors, real HTTP.

use std::time::Duration;

use riskstream::simulator::{Fault, Latency, Limit};
use serde_json::Value;

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings, command, config};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, wait};

const BOUND: Duration = Duration::from_secs(60);

/// A service with a stage of its own, and vendors that know everybody.
struct Scene {
    stage: Stage,
    vendors: Vendors,
    sent: usize,
}

impl Scene {
    fn new() -> Scene {
        let options = riskstream::simulator::Options { known: 1.0, ..Default::default() };
        Scene { stage: Stage::embedded(1), vendors: Vendors::of(options), sent: 0 }
    }

    /// Has a vendor list these numbers of its entities.
    fn list(&self, vendor: &str, numbers: std::ops::Range<usize>) {
        // As the vendor spells it.
        let entity = |n| alerts::entity(vendor, n).replace("\\\\", "/");
        self.vendors.world.list(vendor, numbers.map(entity).collect());
    }

    fn start(&self, vendor: &str, more: &str) -> Service {
        let mut service = self.begin(vendor, more);
        service.assigned(1);
        service
    }

    /// A service that may not have joined its group yet.
    fn begin(&self, vendor: &str, more: &str) -> Service {
        let rest = format!("providers:\n{}", self.vendors.provider(vendor, more));
        Service::start(&Settings::of(&self.stage, "deadline: 5s", rest).text())
    }

    /// Sends an alert about entity `n` of a vendor; what is said of it.
    fn ask(&mut self, vendor: &str, n: usize) -> Value {
        let alert = alerts::of(vendor, &alerts::entity(vendor, n), self.sent);
        self.stage.produce(vec![NewRecord::value(0, alert)]);
        self.sent += 1;
        self.stage.wait_for(self.sent, BOUND);
        let outputs = self.stage.outputs();
        let value: Value = serde_json::from_slice(outputs.last().unwrap().value.as_ref().unwrap()).unwrap();
        value["risk"]["entities"][0].clone()
    }

    /// Requests to a vendor whose path and query hold `part`.
    fn calls(&self, vendor: &str, part: &str) -> u64 {
        let calls = self.vendors.world.calls(vendor).by_path;
        calls.iter().filter(|(path, _)| path.contains(part)).map(|(_, count)| count).sum()
    }

    /// Questions about single entities.
    fn look_ups(&self, vendor: &str) -> u64 {
        self.vendors.world.calls(vendor).by_entity.values().sum()
    }
}

/// Waits until so many lists were read whole.
fn read(service: &mut Service, vendor: &str, times: f64) {
    let series = format!("riskstream_snapshot_reads_total{{outcome=\"complete\",provider=\"{vendor}\"}}");
    wait("the list was read", BOUND, || service.metric(&series).is_some_and(|read| read >= times));
}

fn entities(service: &mut Service, vendor: &str) -> Option<f64> {
    service.metric(&format!("riskstream_snapshot_entities{{provider=\"{vendor}\"}}"))
}

#[test]
fn alerts_are_answered_from_the_list_without_a_look_up_and_go_on_when_the_vendor_is_down() {
    let mut scene = Scene::new();
    scene.list("datadog", 0..1200);
    let mut service =
        scene.start("datadog", ", mode: snapshot, snapshot: {interval: 3s}, breaker: {open_for: 100ms}");
    read(&mut service, "datadog", 1.0);
    assert_eq!(entities(&mut service, "datadog"), Some(1200.0));
    for n in [0, 600, 1199] {
        let found = scene.ask("datadog", n);
        assert_eq!((&found["status"], &found["source"]), (&"scored".into(), &"snapshot".into()), "{found}");
        assert!(found["as_of"].is_string() && found["age_seconds"].is_u64(), "{found}");
    }
    let absent = scene.ask("datadog", 5000);
    assert_eq!((&absent["status"], &absent["source"]), (&"unknown".into(), &"snapshot".into()), "{absent}");

    scene.vendors.world.fault(Fault::status("/datadog", 503, ""));
    // Believed for two intervals, then it stands in, marked.
    wait("the snapshot is overdue", BOUND, || service.get("/readyz").1.contains("the snapshot is"));
    let old = scene.ask("datadog", 7);
    assert_eq!((&old["status"], &old["source"]), (&"scored".into(), &"stale".into()), "{old}");
    assert_eq!(old["stale_reason"], "server_error", "{old}");
    assert_eq!(scene.look_ups("datadog"), 0);
    assert!(service.get("/").1.contains("the snapshot is"), "the status page says it");

    scene.vendors.world.clear_faults();
    wait("the list is read again", BOUND, || !service.get("/readyz").1.contains("the snapshot is"));
    assert_eq!(scene.ask("datadog", 7)["source"], "snapshot");
    assert_eq!(scene.look_ups("datadog"), 0);
    service.ends_well();
}

/// Requests for a page of Datadog's list.
fn page(scene: &Scene, number: u8) -> u64 {
    scene.calls("datadog", &format!("page%5Bnumber%5D={number}&"))
}

#[test]
fn a_page_that_fails_is_read_again_alone_and_the_old_list_serves_until_the_new_one_is_whole() {
    let mut scene = Scene::new();
    scene.list("datadog", 0..1200);
    let mut service = scene.start("datadog", ", mode: snapshot, snapshot: {interval: 12s}");
    read(&mut service, "datadog", 1.0);
    assert_eq!([1, 2, 3].map(|number| page(&scene, number)), [1, 1, 1], "1200 rows are three pages");

    // The next reading gets its first page, and stumbles three times over the second.
    scene.list("datadog", 0..1300);
    let whole = Fault::slow_answer("/datadog", Latency::NONE).times(1);
    scene.vendors.world.set_faults(vec![whole, Fault::status("/datadog", 503, "").times(3)]);
    wait("the second page fails", BOUND, || page(&scene, 2) > 1);
    assert_eq!(scene.ask("datadog", 7)["source"], "snapshot");
    assert_eq!(
        scene.ask("datadog", 1250)["status"],
        "unknown",
        "the new list is not in use before it is whole"
    );
    read(&mut service, "datadog", 2.0);
    assert_eq!([1, 2, 3].map(|number| page(&scene, number)), [2, 5, 2], "it went on where it was");
    assert_eq!(scene.ask("datadog", 1250)["status"], "scored");
    assert_eq!(entities(&mut service, "datadog"), Some(1300.0));
    let failed = "riskstream_snapshot_reads_total{outcome=\"failed\",provider=\"datadog\"}";
    assert_eq!(service.metric(failed), Some(3.0));
    assert_eq!(scene.look_ups("datadog"), 0);
    service.ends_well();
}

#[test]
fn a_cursor_that_the_vendor_has_forgotten_leads_back_to_the_beginning() {
    let scene = Scene::new();
    scene.list("datadog", 0..600);
    let whole = Fault::slow_answer("/datadog", Latency::NONE).times(1);
    scene.vendors.world.set_faults(vec![whole, Fault::status("/datadog", 503, "").times(2)]);
    let mut service = scene.begin("datadog", ", mode: snapshot");
    wait("the second page fails", BOUND, || page(&scene, 2) > 0);
    scene.vendors.world.forget_walks();
    read(&mut service, "datadog", 1.0);
    assert_eq!(
        [1, 2].map(|number| page(&scene, number)),
        [2, 4],
        "503, 503 and 400, then from the beginning"
    );
    assert_eq!(entities(&mut service, "datadog"), Some(600.0));
    service.ends_well();
}

#[test]
fn pages_beside_look_ups_stay_within_the_quota() {
    let mut scene = Scene::new();
    scene.list("datadog", 0..4000);
    let limit = Limit { requests: 4, per_ms: 1_000, sliding: true };
    scene.vendors.world.set_limit("datadog", Some(limit));
    let more = ", mode: both, limit: {requests: 4, per: 1s}, snapshot: {interval: 60s}";
    let mut service = scene.start("datadog", more);
    // Whoever comes before the list is there is asked about.
    let alerts =
        (5000..5008).map(|n| NewRecord::value(0, alerts::of("datadog", &alerts::entity("datadog", n), n)));
    scene.stage.produce(alerts.collect());
    scene.sent += 8;
    scene.stage.wait_for(8, BOUND);
    read(&mut service, "datadog", 1.0);
    let refused = "riskstream_vendor_requests_total{outcome=\"rate_limited\",provider=\"datadog\"}";
    assert_eq!(service.metric(refused), Some(0.0));
    let calls = scene.vendors.world.calls("datadog");
    assert_eq!(scene.calls("datadog", "page%5Bnumber%5D"), 8, "4000 rows are eight pages");
    assert!(calls.peak_arrivals(Duration::from_secs(1)) <= 4, "{:?}", calls.arrivals);
    service.ends_well();
}

#[test]
fn the_lists_of_google_cloudflare_and_oracle_answer_without_a_look_up() {
    for vendor in ["google_secops", "cloudflare", "oracle_casb"] {
        let mut scene = Scene::new();
        scene.list(vendor, 0..300);
        let mut service = scene.start(vendor, ", mode: snapshot");
        read(&mut service, vendor, 1.0);
        // Cloudflare's list shows those with a level, as its own does.
        let has_level = |n: &usize| {
            let entity = alerts::entity(vendor, *n);
            scene.vendors.world.profile(&entity).unwrap().score >= 10.0
        };
        let known: Vec<usize> = (0..300).filter(has_level).take(3).collect();
        for n in known {
            let found = scene.ask(vendor, n);
            assert_eq!(
                (&found["status"], &found["source"]),
                (&"scored".into(), &"snapshot".into()),
                "{vendor}: {found}"
            );
        }
        let absent = scene.ask(vendor, 5000);
        assert_eq!(
            (&absent["status"], &absent["source"]),
            (&"unknown".into(), &"snapshot".into()),
            "{vendor}: {absent}"
        );
        assert_eq!(scene.look_ups(vendor), 0, "{vendor}");
        service.ends_well();
    }
}

#[test]
fn who_is_on_a_top_list_is_not_asked_about_and_everybody_else_is() {
    let mut scene = Scene::new();
    scene.list("cortex_xdr", 0..50);
    let mut service = scene.start("cortex_xdr", ", mode: both");
    read(&mut service, "cortex_xdr", 1.0);
    let listed = scene.ask("cortex_xdr", 7);
    assert_eq!((&listed["status"], &listed["source"]), (&"scored".into(), &"snapshot".into()), "{listed}");
    assert_eq!(scene.look_ups("cortex_xdr"), 0);
    let other = scene.ask("cortex_xdr", 5000);
    assert_eq!((&other["status"], &other["source"]), (&"scored".into(), &"provider".into()), "{other}");
    assert_eq!(scene.look_ups("cortex_xdr"), 1, "absence from a top list says nothing");
    service.ends_well();
}

#[test]
fn beside_look_ups_an_old_list_stands_in_when_the_vendor_is_down() {
    let mut scene = Scene::new();
    scene.list("datadog", 0..10);
    let mut service = scene.start("datadog", ", mode: both, snapshot: {interval: 1s}, retry: {attempts: 1}");
    read(&mut service, "datadog", 1.0);
    scene.vendors.world.fault(Fault::status("/datadog", 503, ""));
    wait("the snapshot is overdue", BOUND, || service.get("/readyz").1.contains("the snapshot is"));
    let old = scene.ask("datadog", 7);
    assert_eq!((&old["status"], &old["source"]), (&"scored".into(), &"stale".into()), "{old}");
    let stranger = scene.ask("datadog", 5000);
    assert_eq!(
        (&stranger["status"], &stranger["source"]),
        (&"unknown".into(), &"stale".into()),
        "{stranger}"
    );
    service.ends_well();
}

#[test]
fn before_its_first_list_a_provider_fails_with_the_reason_and_asks_nobody() {
    let mut scene = Scene::new();
    scene.vendors.world.fault(Fault::status("/datadog", 403, r#"{"errors": ["Forbidden"]}"#));
    let mut service = scene.start("datadog", ", mode: snapshot");
    wait("the list is refused", BOUND, || service.get("/readyz").1.contains("no snapshot yet (forbidden"));
    let found = scene.ask("datadog", 7);
    assert_eq!((&found["status"], &found["reason"]), (&"failed".into(), &"forbidden".into()), "{found}");
    assert_eq!(service.get("/readyz").0, 200, "alerts go on, marked");
    assert_eq!(scene.look_ups("datadog"), 0);
    service.ends_well();
}

#[test]
fn a_list_that_is_refused_closes_no_look_ups_and_is_told() {
    let mut scene = Scene::new();
    scene.list("cortex_xdr", 0..10);
    scene.vendors.world.fault(Fault::status("/cortex_xdr/public_api/v1/get_risky", 403, "{}"));
    let more = ", mode: both, breaker: {minimum: 1, refused_for: 1s, open_for: 1s}";
    let mut service = scene.start("cortex_xdr", more);
    wait("the list is refused", BOUND, || service.get("/readyz").1.contains("no snapshot yet (forbidden"));
    wait("the list is asked for again", BOUND, || scene.calls("cortex_xdr", "get_risky_users") >= 2);
    for n in 0..20 {
        let found = scene.ask("cortex_xdr", n);
        assert_eq!((&found["status"], &found["source"]), (&"scored".into(), &"provider".into()), "{found}");
    }
    assert_eq!(service.metric("riskstream_vendor_breaker_state{provider=\"cortex_xdr\"}"), Some(0.0));
    scene.vendors.world.clear_faults();
    read(&mut service, "cortex_xdr", 1.0);
    assert!(!service.get("/readyz").1.contains("snapshot"));
    service.ends_well();
}

#[test]
fn check_reads_a_page_of_a_list_that_is_to_be_read() {
    let scene = Scene::new();
    scene.list("cortex_xdr", 0..10);
    let check = || {
        let provider = scene.vendors.provider("cortex_xdr", ", mode: both");
        let settings = Settings::of(&scene.stage, "", format!("providers:\n{provider}"));
        let (_folder, file) = config(&settings.text());
        let out = command(&["check", "--connect", "--config", file.to_str().unwrap()], b"", &[]);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let line = said.lines().find(|line| line.contains("cortex_xdr, its list (")).map(str::to_owned);
        (out.status.code(), line.unwrap_or_else(|| panic!("{said}")))
    };
    let (code, line) = check();
    assert!(code == Some(0) && line.contains("\"ok\":true"), "{code:?} {line}");
    scene.vendors.world.fault(Fault::status("/cortex_xdr/public_api/v1/get_risky", 403, "{}"));
    let (code, line) = check();
    assert!(code == Some(1) && line.contains("forbidden: HTTP 403"), "{code:?} {line}");
}

#[test]
fn a_command_says_why_it_waits_for_a_list_and_for_how_long() {
    let scene = Scene::new();
    scene.list("datadog", 0..10);
    let busy = Fault::status("/datadog", 429, "").with_header("retry-after", "2");
    scene.vendors.world.fault(busy.times(1));
    let (_folder, file) = config(&format!(
        "allow_literal_secrets: true\nproviders:\n{}",
        scene.vendors.provider("datadog", ", mode: snapshot")
    ));
    let (file, entity) = (file.to_str().unwrap(), alerts::entity("datadog", 3));
    let output = command(&["lookup", "--json", "--config", file, "cloud_identity", &entity], b"", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("rate_limited: HTTP 429") && said.contains("; again in 2 s"), "{said}");
}

#[test]
fn commands_read_the_list_first_where_nobody_may_be_asked_and_look_up_where_both_is_allowed() {
    let scene = Scene::new();
    scene.list("datadog", 0..10);
    for (mode, source, look_ups) in [("snapshot", "snapshot", 0), ("both", "provider", 2)] {
        let (_folder, file) = config(&format!(
            "allow_literal_secrets: true\nproviders:\n{}",
            scene.vendors.provider("datadog", &format!(", mode: {mode}"))
        ));
        let file = file.to_str().unwrap();
        let one = command(
            &["lookup", "--json", "--config", file, "cloud_identity", &alerts::entity("datadog", 3)],
            b"",
            &[],
        );
        let alert = alerts::of("datadog", &alerts::entity("datadog", 4), 0);
        let all = command(&["enrich", "--config", file], &alert, &[]);
        for (output, place) in [(&one, "/source"), (&all, "/risk/entities/0/source")] {
            assert!(output.status.success(), "{output:?}");
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer.pointer(place), Some(&source.into()), "{answer}");
            let told = String::from_utf8_lossy(&output.stderr).contains("reading the vendor's list");
            assert_eq!(told, mode == "snapshot", "{output:?}");
        }
        assert_eq!(scene.look_ups("datadog"), look_ups);
    }
}

#[test]
fn a_list_that_has_no_room_is_told_and_says_nothing_of_who_is_absent() {
    let mut scene = Scene::new();
    scene.list("datadog", 0..3000);
    let mut service = scene.start("datadog", ", mode: both, snapshot: {capacity: 1MiB}");
    let cut = "riskstream_snapshot_reads_total{outcome=\"cut\",provider=\"datadog\"}";
    wait("the list was read", BOUND, || service.metric(cut) == Some(1.0));
    let entities = entities(&mut service, "datadog").unwrap();
    assert!((300.0..3000.0).contains(&entities), "{entities}");
    let bytes = service.metric("riskstream_snapshot_bytes{provider=\"datadog\"}").unwrap();
    assert!(bytes <= 1048576.0, "{bytes}");
    assert!(service.get("/readyz").1.contains("snapshot.capacity"));
    assert_eq!(scene.ask("datadog", 5000)["source"], "provider");
    service.ends_well();
}
