//! A configuration that changes while alerts flow: what is taken, what is kept, what is said.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::kafka::{NewRecord, Record, Stage};
use crate::harness::scenarios::Drip;
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};

const TAKEN: &str = "riskstream_config_reloads_total{result=\"taken\"}";
const REFUSED: &str = "riskstream_config_reloads_total{result=\"refused\"}";
const RELOADS: usize = 24;
const LONG: Duration = Duration::from_secs(30);

/// What stands in `providers`, and the rest of the file.
fn settings(stage: &Stage, pipeline: &str, providers: &str, rest: &str) -> String {
    Settings::of(stage, pipeline, format!("providers:\n{providers}{rest}")).text()
}

fn started(stage: &Stage, text: &str) -> Service {
    let mut service = Service::start(text);
    service.assigned(stage.partitions.into());
    service
}

/// Has the file read again, and waits until all of it is in use: a lane that has nothing to do looks ten times a second.
fn reload(service: &mut Service, text: &str) {
    let before = service.metric(TAKEN).unwrap();
    std::fs::write(&service.file, text).unwrap();
    service.signal("HUP");
    wait("the reload", LONG, || service.metric(TAKEN).unwrap() > before);
    adopted(service);
}

/// Alerts that are polled from here on see what is in use: each lane has polled at least once more.
fn adopted(service: &mut Service) {
    assert_eq!(service.get("/livez").0, 200);
    std::thread::park_timeout(Duration::from_millis(300));
}

/// One alert about entity `n` of `vendor`, and the output that it becomes.
fn one(stage: &Stage, vendor: &str, n: usize) -> Record {
    let before = stage.outputs().len();
    stage.produce(vec![NewRecord::value(0, alerts::of(vendor, &alerts::entity(vendor, n), n))]);
    stage.wait_for(before + 1, LONG);
    stage.outputs().into_iter().max_by_key(|output| check::source(stage, output).1).unwrap()
}

fn risk(output: &Record) -> Value {
    check::without_risk(output.value.as_deref().unwrap()).unwrap().1
}

/// Ends what looks at it, at its own end.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_configuration_that_changes_under_load_loses_repeats_and_alters_nothing() {
    let stage = Stage::embedded(4);
    let vendors = Vendors::start(20);
    // However slow the machine is, only a reload could make one fail.
    let all = vendors.providers(", timeout: 9s, breaker: {minimum: 100000}");
    let all = all.strip_prefix("providers:\n").unwrap();
    let without = all.lines().filter(|line| !line.contains("oracle")).map(|line| format!("{line}\n"));
    let texts = [
        settings(&stage, "deadline: 10s, threads: 2", all, ""),
        // Other ways to the same vendors, which start anew.
        settings(
            &stage,
            "deadline: 5s, threads: 2",
            &all.replace("timeout: 9s", "timeout: 8s"),
            "cache: {ttl: {scored: 1s}}\n",
        ),
        settings(&stage, "deadline: 10s, threads: 2", &without.collect::<String>(), ""),
        settings(
            &stage,
            "deadline: 10s, threads: 2",
            all,
            "routes: [{kinds: [cloud_identity], provider: none}]\n",
        ),
    ];
    let mut service = Service::start(&texts[0]);
    service.divided(4, 2);
    let over = AtomicBool::new(false);
    let inputs = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let mut drip = Drip::new(&stage, 300);
            while !over.load(Ordering::Relaxed) {
                drip.send(40, 400);
            }
            drip.end()
        });
        // Also when one fails, so that the feeder ends and the failure is told.
        let end = Ends(&over);
        for number in 1..=RELOADS {
            std::fs::write(&service.file, &texts[number % texts.len()]).unwrap();
            service.signal("HUP");
            wait("the reload", LONG, || service.metric(TAKEN).unwrap() >= number as f64);
        }
        drop(end);
        feeder.join().unwrap()
    });
    stage.wait_for(inputs.len(), LONG);
    assert_eq!(service.metric(REFUSED), Some(0.0));
    service.ends_well();
    check::all_committed(&stage);
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead, found.repeated), (inputs.len(), 0, 0));
    let mut reasons = std::collections::BTreeMap::<String, usize>::new();
    for output in stage.outputs().iter().filter(|output| output.header("risk-status") == Some("failed")) {
        let entity = &risk(output)["entities"][0];
        *reasons.entry(format!("{} {}", entity["provider"], entity["reason"])).or_default() += 1;
    }
    assert!(reasons.is_empty(), "{:?} {reasons:?}", found.statuses);
    say(&format!("{RELOADS} reloads in {} alerts: {:?}", inputs.len(), found.statuses));
}

#[test]
fn answers_stay_cached_and_no_account_is_answered_for_by_another() {
    let stage = Stage::embedded(1);
    let (here, there) = (Vendors::start(0), Vendors::start(0));
    let with = |vendors: &Vendors, more: &str| settings(&stage, "", &vendors.provider("datadog", more), "");
    let mut service = started(&stage, &with(&here, ""));
    let questions = || (here.requests(), there.requests());
    one(&stage, "datadog", 1);
    assert_eq!(questions(), (1, 0));

    reload(&mut service, &with(&here, ", timeout: 3s, concurrency: 3"));
    assert_eq!(risk(&one(&stage, "datadog", 1))["entities"][0]["source"], "cache");
    assert_eq!(questions(), (1, 0), "other settings, the same account");
    assert!(service.log().contains("\"changed\":\"datadog\",\"moved\":\"\""), "{}", service.log());

    reload(&mut service, &with(&there, ""));
    assert_eq!(risk(&one(&stage, "datadog", 1))["entities"][0]["source"], "provider");
    assert_eq!(questions(), (1, 1), "another host has answers of its own");
    assert!(service.log().contains("\"moved\":\"datadog\""), "{}", service.log());

    // Another organisation at the same host, which refuses its key.
    reload(&mut service, &with(&there, "").replace("api_key: ", "api_key: other-"));
    let refused = risk(&one(&stage, "datadog", 1));
    assert_eq!(refused["entities"][0]["status"], "failed", "nobody else's answer stands in: {refused}");

    reload(&mut service, &with(&here, ""));
    assert_eq!(
        risk(&one(&stage, "datadog", 1))["entities"][0]["source"],
        "cache",
        "what was true of it is true still"
    );
    assert_eq!(here.requests(), 1);
    service.ends_well();
}

#[test]
fn a_file_that_is_wrong_changes_nothing_and_says_why_until_it_is_mended() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let good = settings(&stage, "", &vendors.provider("datadog", ""), "");
    let mut service = started(&stage, &good);
    let state = |service: &mut Service| service.metric("riskstream_config_last_reload_successful").unwrap();

    // No signal: its files are looked at.
    std::fs::write(&service.file, good.replace("datadog: {type", "datadog: {tipe")).unwrap();
    wait("the file to be refused", LONG, || state(&mut service) == 0.0);
    let (code, ready) = service.get("/readyz");
    assert_eq!(code, 200, "alerts go on: {ready}");
    assert!(
        ready.contains("has changed and is not taken") && ready.contains("providers.datadog.type"),
        "{ready}"
    );
    assert!(service.log().contains("the one before stays in use"), "{}", service.log());
    assert_eq!(one(&stage, "datadog", 1).header("risk-status"), Some("complete"));

    // A format that names what is not there is found as late as its file is read.
    let folder = service.file.parent().unwrap().to_owned();
    std::fs::write(folder.join("mine.yaml"), "name: mine\nvendor: nonesuch\n").unwrap();
    let with_format = format!("{good}formats: [./*ine.yaml]\n");
    std::fs::write(&service.file, &with_format).unwrap();
    wait("what is wrong now", LONG, || service.get("/readyz").1.contains("mine.yaml"));
    assert_eq!(state(&mut service), 0.0);

    let refused = service.metric(REFUSED).unwrap();
    std::fs::write(
        folder.join("mine.yaml"),
        "name: mine\nmatch: [{/a: 1}]\nentities: [{kind: user, paths: [/b]}]\n",
    )
    .unwrap();
    wait("the mended format", LONG, || state(&mut service) == 1.0);
    assert_eq!((service.metric(REFUSED), service.metric(TAKEN)), (Some(refused), Some(1.0)));
    assert!(!service.get("/readyz").1.contains("not taken"));
    service.ends_well();
}

/// As Kubernetes mounts a ConfigMap: names that lead through a link to a folder, which is replaced.
fn mount(volume: &Path, version: &str, files: &[(&str, &str)]) {
    let folder = volume.join(version);
    std::fs::create_dir(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
        if !volume.join(name).exists() {
            symlink(Path::new("..data").join(name), volume.join(name)).unwrap();
        }
    }
    symlink(version, volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[test]
fn a_mounted_configuration_is_taken_when_its_link_is_swapped() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let volume = tempfile::tempdir().unwrap();
    let text = settings(&stage, "", &vendors.provider("datadog", ""), "formats: [./format-*.yaml]\n");
    mount(volume.path(), "..1", &[("riskstream.yaml", &text)]);
    let mut service = Service::start_at(volume.path().join("riskstream.yaml"), &[]);
    service.assigned(1);
    let alert = || {
        let before = stage.outputs().len();
        stage.produce(vec![NewRecord::value(
            0,
            "{\"house\":\"ours\",\"who\":\"arn:aws:iam::123456789012:user/u1\"}",
        )]);
        stage.wait_for(before + 1, LONG);
        risk(stage.outputs().last().unwrap())
    };
    assert_eq!(alert()["format"], "unknown");

    let format = "name: ours\nmatch: [{/house: ours}]\nentities: [{kind: cloud_identity, paths: [/who]}]\n";
    mount(volume.path(), "..2", &[("riskstream.yaml", &text), ("format-ours.yaml", format)]);
    wait("the new format", LONG, || service.metric(TAKEN) == Some(1.0));
    adopted(&mut service);
    let found = alert();
    assert_eq!((&found["format"], &found["status"]), (&"ours".into(), &"complete".into()), "{found}");

    mount(
        volume.path(),
        "..3",
        &[("riskstream.yaml", &text), ("format-ours.yaml", &format.replace("/who", "/whom"))],
    );
    wait("the changed format", LONG, || service.metric(TAKEN) == Some(2.0));
    adopted(&mut service);
    assert_eq!(alert()["status"], "no_entities");
    service.ends_well();
}

#[test]
fn what_takes_a_restart_is_named_and_the_rest_is_taken() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let provider = vendors.provider("datadog", "");
    let before = settings(&stage, "", &provider, "");
    let mut service = started(&stage, &before);
    let after =
        settings(&stage, "in_flight: 7", &provider, "routes: [{kinds: [cloud_identity], provider: none}]\n");
    let after = after.replace(&format!("group: {}", stage.group), "group: another");
    reload(&mut service, &after);
    let ready = service.get("/readyz").1;
    assert!(ready.contains("a restart is needed for: input, pipeline.in_flight"), "{ready}");
    assert_eq!(service.metric("riskstream_config_restart_needed"), Some(1.0));
    assert_eq!(risk(&one(&stage, "datadog", 1))["entities"][0]["status"], "unrouted", "the route is in use");

    reload(&mut service, &before);
    assert_eq!(service.metric("riskstream_config_restart_needed"), Some(0.0));
    assert!(!service.get("/readyz").1.contains("restart"));
    assert_eq!(one(&stage, "datadog", 1).header("risk-status"), Some("complete"));
    service.ends_well();
    check::all_committed(&stage);
}

#[test]
fn a_quota_that_is_lowered_holds_from_then_on_and_one_that_is_raised_lets_more_through() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    // Time enough for whoever has a slot: one that is given up on its way counts for us, and was never counted by the vendor.
    let with = |limit: &str| settings(&stage, "deadline: 5s", &vendors.provider("datadog", limit), "");
    let mut service = started(&stage, &with(", limit: {requests: 1000, per: 1h}"));
    let ask = |from: usize| {
        let before = stage.outputs().len();
        let records = (from..from + 20)
            .map(|n| NewRecord::value(0, alerts::of("datadog", &alerts::entity("datadog", n), n)));
        stage.produce(records.collect());
        stage.wait_for(before + 20, LONG);
        vendors.requests()
    };
    assert_eq!(ask(0), 20);
    reload(&mut service, &with(", limit: {requests: 25, per: 1h}"));
    assert_eq!(ask(100), 25, "what was taken of the old quota counts");
    reload(&mut service, &with(", limit: {requests: 1000, per: 1h}"));
    // Those that waited for the next hour may have left as well, as long as a look-up waits at all.
    assert!((45..=60).contains(&ask(200)), "{}", vendors.requests());
    let last = stage.outputs().into_iter().skip(40);
    assert_eq!(
        last.map(|output| output.header("risk-status").unwrap().to_owned()).collect::<Vec<_>>(),
        ["complete"; 20]
    );
    service.ends_well();
}

#[test]
fn a_provider_that_goes_takes_its_series_along_and_one_that_comes_has_them_from_the_start() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let (datadog, oracle) = (vendors.provider("datadog", ""), vendors.provider("oracle_casb", ""));
    let mut service = started(&stage, &settings(&stage, "", &datadog, ""));
    reload(&mut service, &settings(&stage, "", &oracle, ""));
    let metrics = service.get("/metrics").1;
    assert!(!metrics.contains("provider=\"datadog\""), "{metrics}");
    assert!(metrics.contains("riskstream_vendor_breaker_state{provider=\"oracle_casb\"} 0"), "{metrics}");
    assert_eq!(one(&stage, "oracle_casb", 1).header("risk-status"), Some("complete"));
    assert_eq!(one(&stage, "datadog", 1).header("risk-status"), Some("no_entities"));
    service.ends_well();
}

#[test]
fn a_vendors_list_outlives_other_settings_and_is_read_when_a_reload_asks_for_it() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::of(riskstream::simulator::Options { known: 1.0, ..Default::default() });
    vendors.world.list("datadog", (0..50).map(|n| alerts::entity("datadog", n)).collect());
    let with = |more: &str| settings(&stage, "", &vendors.provider("datadog", more), "");
    let mut service = started(&stage, &with(""));
    assert_eq!(risk(&one(&stage, "datadog", 1))["entities"][0]["source"], "provider");

    reload(&mut service, &with(", mode: snapshot, snapshot: {interval: 1h}"));
    let read = "riskstream_snapshot_reads_total{outcome=\"complete\",provider=\"datadog\"}";
    wait("the list is read", LONG, || service.metric(read) == Some(1.0));
    assert_eq!(risk(&one(&stage, "datadog", 2))["entities"][0]["source"], "snapshot");

    // The vendor is away: what there is must have been handed on.
    vendors.world.fault(riskstream::simulator::Fault::status("/datadog", 503, ""));
    reload(&mut service, &with(", mode: snapshot, snapshot: {interval: 1h}, timeout: 3s"));
    assert_eq!(risk(&one(&stage, "datadog", 3))["entities"][0]["source"], "snapshot");
    assert_eq!(service.metric(read), Some(1.0), "it is not read again before its time");
    vendors.world.clear_faults();

    reload(&mut service, &with(""));
    assert_eq!(risk(&one(&stage, "datadog", 4))["entities"][0]["source"], "provider");
    service.ends_well();
}

#[test]
fn what_is_more_likely_an_accident_than_a_wish_is_refused_and_heals() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let format = "name: ours\nmatch: [{/house: ours}]\nentities: [{kind: user, paths: [/who]}]\n";
    let folder = tempfile::tempdir().unwrap();
    let formats = folder.path().join("formats");
    std::fs::create_dir(&formats).unwrap();
    std::fs::write(formats.join("a.yaml"), format).unwrap();
    let pattern = format!("formats: ['{}/*.yaml']\n", formats.display());
    let provider = vendors.provider("datadog", "");
    let good = settings(&stage, "", &provider, &pattern);
    let mut service = started(&stage, &good);
    let file = service.file.clone();
    let refused = |service: &mut Service, why: &str| {
        service.signal("HUP");
        wait(why, LONG, || service.get("/readyz").1.contains(why));
        assert_eq!(service.metric("riskstream_config_last_reload_successful"), Some(0.0));
        assert_eq!(one(&stage, "datadog", 1).header("risk-status"), Some("complete"), "{why}");
    };
    for cut in ["", "# nothing\n", good.split_once("  datadog").unwrap().0] {
        std::fs::write(&file, cut).unwrap();
        refused(&mut service, "names no provider, and 1 are in use");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    refused(&mut service, "is no file");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &good).unwrap();
    std::fs::rename(&formats, folder.path().join("away")).unwrap();
    refused(&mut service, "no file matches, and 1 are in use");
    std::fs::create_dir(&formats).unwrap();
    symlink("nowhere", formats.join("a.yaml")).unwrap();
    refused(&mut service, "is no file, or leads to none");
    std::fs::remove_file(formats.join("a.yaml")).unwrap();
    std::fs::write(formats.join("a.yaml"), format).unwrap();
    wait("all is as it was", LONG, || {
        service.metric("riskstream_config_last_reload_successful") == Some(1.0)
    });
    service.ends_well();
}

#[test]
fn a_format_that_goes_with_its_topics_words_takes_a_restart_and_says_so() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let format = "name: ours\nmatch: [{/house: ours}]\nentities: [{kind: user, paths: [/who]}]\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, format).unwrap();
    let provider = vendors.provider("datadog", "");
    let text = settings(&stage, "", &provider, &format!("formats: ['{}']\n", file.display()));
    let topic = |format: &str| {
        text.replace(&format!("[{}]", stage.input), &format!("[{{name: {}, format: {format}}}]", stage.input))
    };
    let mut service = started(&stage, &topic("ours"));
    std::fs::write(&file, format.replace("ours\nmatch", "theirs\nmatch")).unwrap();
    std::fs::write(&service.file, topic("theirs")).unwrap();
    service.signal("HUP");
    wait("the note", LONG, || service.get("/readyz").1.contains("a restart is needed: input has changed"));
    service.ends_well();
}

/// Thirty alerts about new entities of Datadog; how often it was asked by then.
fn asked(stage: &Stage, vendors: &Vendors, from: usize) -> u64 {
    let before = stage.outputs().len();
    let alert = |n| NewRecord::value(0, alerts::of("datadog", &alerts::entity("datadog", n), n));
    stage.produce((from..from + 30).map(alert).collect());
    stage.wait_for(before + 30, LONG);
    vendors.world.calls("datadog").total
}

#[test]
fn what_was_spent_stays_spent_whatever_is_reloaded() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let quota = ", limit: {requests: 20, per: 1h}, max_wait: 10ms";
    let (datadog, oracle) = (vendors.provider("datadog", quota), vendors.provider("oracle_casb", ""));
    let both = settings(&stage, "deadline: 1s", &format!("{datadog}{oracle}"), "");
    let alone = settings(&stage, "deadline: 1s", &oracle, "");
    let mut service = started(&stage, &both);
    assert_eq!(asked(&stage, &vendors, 0), 20);
    reload(&mut service, &alone);
    reload(&mut service, &alone);
    reload(&mut service, &both);
    assert_eq!(asked(&stage, &vendors, 100), 20, "the quota is the credential's, and the hour is not over");
    service.ends_well();

    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let budget = "deadline: 1s, look_ups: {requests: 20, per: 1h}";
    let text = settings(&stage, budget, &vendors.provider("datadog", ""), "");
    let mut service = started(&stage, &text);
    assert_eq!(asked(&stage, &vendors, 0), 20);
    reload(&mut service, &text);
    assert_eq!(asked(&stage, &vendors, 100), 20, "a budget of look-ups is not renewed by a reload");
    service.ends_well();
}

#[test]
fn the_state_of_a_provider_is_that_of_the_one_in_use() {
    let stage = Stage::embedded(1);
    let (hangs, answers) = (Vendors::start(0), Vendors::start(0));
    hangs.world.fault(riskstream::simulator::Fault::new("/", riskstream::simulator::Answer::Hang));
    let more = ", timeout: 2s, retry: {attempts: 1}, breaker: {minimum: 5}";
    let with =
        |vendors: &Vendors| settings(&stage, "deadline: 500ms", &vendors.provider("datadog", more), "");
    let mut service = started(&stage, &with(&hangs));
    let alert = |n| NewRecord::value(0, alerts::of("datadog", &alerts::entity("datadog", n), n));
    stage.produce((0..30).map(alert).collect());
    wait("questions under way", LONG, || service.metric("riskstream_flights") == Some(30.0));
    reload(&mut service, &with(&answers));
    wait("the old ones have failed", LONG, || service.metric("riskstream_flights") == Some(0.0));
    let timeouts = "riskstream_vendor_requests_total{outcome=\"timeout\",provider=\"datadog\"}";
    assert_eq!(service.metric(timeouts), Some(30.0));
    assert_eq!(service.metric("riskstream_vendor_breaker_state{provider=\"datadog\"}"), Some(0.0));
    assert!(!service.log().contains("the breaker is open"), "{}", service.log());
    assert_eq!(one(&stage, "datadog", 100).header("risk-status"), Some("complete"));
    service.ends_well();
}
