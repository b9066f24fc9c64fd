//! What must not be seen: secrets anywhere, identifiers in logs at `info` and in metrics. And what must: figures that
//! add up.

use std::collections::BTreeMap;
use std::time::Duration;

use riskstream::simulator::{Answer, Fault, cloudflare, cortex_xdr, datadog, google_secops, oracle_casb};

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, wait};

const TOKEN: &str = "admin-token-for-the-test";

const SECRETS: [&str; 8] = [
    TOKEN,
    datadog::API_KEY,
    datadog::APPLICATION_KEY,
    cortex_xdr::ADVANCED.key,
    cloudflare::TOKEN,
    oracle_casb::ACCESS_KEY,
    oracle_casb::ACCESS_SECRET,
    google_secops::TOKEN,
];

/// All five vendors with secrets by reference: three from the environment, the others from files.
fn providers(vendors: &Vendors, folder: &std::path::Path) -> String {
    let mut text = vendors.providers("");
    for (number, secret) in SECRETS.iter().enumerate().skip(1) {
        let reference = if number < 3 {
            format!("{{env: SECRET_{number}}}")
        } else {
            let file = folder.join(format!("secret-{number}"));
            std::fs::write(&file, format!("{secret}\n")).unwrap();
            format!("{{file: '{}'}}", file.display())
        };
        text = text.replace(&format!(": {secret}"), &format!(": {reference}"));
    }
    for secret in SECRETS {
        assert!(!text.contains(&format!(": {secret}")), "every secret is a reference:\n{text}");
    }
    text
}

/// Runs good alerts, poison and refusals through a service at this log level; everything that it let out, by where.
fn run(level: &str) -> (BTreeMap<&'static str, String>, Vec<String>) {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::of(&stage, "deadline: 5s", providers(&vendors, folder.path()));
    settings.rest += &format!("log: {{level: {level}, format: json}}\n");
    let text = settings.text().replace("allow_literal_secrets: true", "allow_literal_secrets: false");
    let text = text
        .replace("admin: {listen: '127.0.0.1:0'}", "admin: {listen: '127.0.0.1:0', token: {env: SECRET_0}}");
    let env = [("SECRET_0", SECRETS[0]), ("SECRET_1", SECRETS[1]), ("SECRET_2", SECRETS[2])];
    let mut service = Service::start_with(&text, &env);
    service.assigned(1);
    let mut identifiers = Vec::new();
    let mut sent = 0;
    let mut send = |n: usize| {
        let mut records: Vec<NewRecord> = alerts::VENDORS
            .iter()
            .map(|vendor| {
                let entity = alerts::entity(vendor, n);
                identifiers.push(entity.clone());
                NewRecord::value(0, alerts::of(vendor, &entity, n))
            })
            .collect();
        records.push(NewRecord::value(0, format!("{{\"poison\":\"{}", alerts::entity("datadog", n))));
        sent += records.len();
        stage.produce(records);
        stage.wait_for(sent, Duration::from_secs(20));
    };
    send(1);
    vendors.world.set_faults(vec![Fault::status("/", 400, "{\"errors\":[\"no\"]}")]);
    send(2);
    vendors.world.set_faults(vec![Fault::new("/", Answer::Garbage)]);
    send(3);
    vendors.world.set_faults(vec![Fault::status("/", 403, "{\"errors\":[\"no\"]}")]);
    send(4);
    let ready = service.get("/readyz").1;
    assert!(ready.contains("forbidden"), "readiness tells of the refusal: {ready}");
    assert_eq!(service.call("GET", "/v1/risk?kind=host&id=x", "wrong", "").0, 401);
    let answer = service.call("GET", "/v1/risk?kind=host&id=ws-9.corp.example.com", TOKEN, "");
    assert_eq!(answer.0, 200, "{}", answer.1);
    let (metrics, page) = (service.get("/metrics").1, service.get("/").1);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let records = |records: Vec<_>| format!("{:?}", records.iter().map(readable).collect::<Vec<_>>());
    let seen = [
        ("log", ended.log),
        ("metrics", metrics),
        ("status page", page),
        ("readiness", ready),
        ("answer", answer.1),
        ("outputs", records(stage.outputs())),
        ("dead letters", records(stage.dead_letters())),
    ];
    (seen.into(), identifiers)
}

fn readable(record: &crate::harness::kafka::Record) -> String {
    let headers =
        record.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
    let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
    headers.chain([value]).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_secret_is_seen_anywhere_even_while_debugging() {
    let (seen, _) = run("debug");
    assert!(seen["log"].contains("DEBUG"), "the level is on");
    for (place, text) in seen {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is seen in {place}:\n{text}");
        }
    }
}

#[test]
fn no_identifier_is_seen_in_the_log_or_the_metrics() {
    let (seen, identifiers) = run("info");
    for place in ["log", "metrics", "status page", "readiness"] {
        for identifier in &identifiers {
            let bare = identifier.replace("\\\\", "\\");
            for spelling in [identifier.as_str(), bare.as_str(), bare.rsplit(['/', '\\']).next().unwrap()] {
                // A short name such as u1 may stand in any word.
                if spelling.len() > 5 {
                    assert!(
                        !seen[place].contains(spelling),
                        "{spelling} is seen in {place}:\n{}",
                        seen[place]
                    );
                }
            }
        }
    }
}

#[test]
fn the_metrics_add_up_to_what_went_through() {
    let stage = Stage::embedded(2);
    let vendors = Vendors::start(1);
    let rest = vendors.providers("");
    let mut service = Service::start(&Settings::of(&stage, "deadline: 10s", rest).text());
    service.assigned(2);
    stage.produce((0..40).map(|n| alerts::mixed(n, 40, 2)).collect());
    stage.wait_for(40, Duration::from_secs(30));
    let mut records: Vec<NewRecord> = (40..400).map(|n| alerts::mixed(n, 40, 2)).collect();
    records.extend((0..25).map(|n| NewRecord::value(n % 2, "{]")));
    stage.produce(records);
    stage.wait_for(425, Duration::from_secs(30));
    wait("every delivery to be counted", Duration::from_secs(10), || {
        service.metric("riskstream_in_flight_alerts") == Some(0.0)
    });
    let text = service.get("/metrics").1;
    let series = parse(&text);
    let sum = |name: &str, label: &str| -> f64 {
        let of =
            |(series, _): &(&String, &f64)| series.split('{').next() == Some(name) && series.contains(label);
        series.iter().filter(of).map(|(_, value)| value).sum()
    };
    assert_eq!(sum("riskstream_alerts_consumed_total", ""), 425.0);
    assert_eq!(sum("riskstream_alerts_published_total", ""), 400.0);
    assert_eq!(sum("riskstream_dead_letters_total", ""), 25.0);
    assert_eq!(sum("riskstream_dead_letters_total", "reason=\"not_json\""), 25.0);
    assert_eq!(sum("riskstream_alerts_by_status_total", "status=\"complete\""), 400.0);
    assert_eq!(sum("riskstream_alerts_by_status_total", ""), 400.0);
    let hits = sum("riskstream_cache_queries_total", "outcome=\"hit\"");
    let misses = sum("riskstream_cache_queries_total", "outcome=\"miss\"");
    assert_eq!((hits, misses), (360.0, 40.0), "one look-up for each alert");
    assert_eq!(vendors.questions(), vec![1; 40]);
    // Oracle's token is a request beside them.
    assert_eq!(sum("riskstream_vendor_requests_total", ""), vendors.requests() as f64);
    assert_eq!(sum("riskstream_cache_entries", ""), 40.0);
    assert_eq!(sum("riskstream_alert_seconds_count", ""), 425.0);
    assert!(sum("riskstream_last_progress_timestamp_seconds", "") > 1_700_000_000.0, "progress has a time");
    service.ends_well();
    check::all_committed(&stage);
}

/// Every series of an exposition, each line checked for its form.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut typed = Vec::new();
    let mut series = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            typed.push(name.to_owned());
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no series: {line}"));
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            let base = name.split('{').next().unwrap();
            assert!(typed.iter().any(|name| base.starts_with(name)), "{line} has no TYPE");
            assert_eq!(series.insert(name.to_owned(), value), None, "{line} stands twice");
        }
    }
    series
}

#[test]
fn an_audit_line_tells_of_each_look_up_by_the_hash_of_its_identifier() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let mut settings =
        Settings::of(&stage, "deadline: 5s", format!("providers:\n{}", vendors.provider("datadog", "")));
    settings.rest += "log: {level: error, format: json, audit: true}\n";
    // The log says nothing of the start then, where the port would be found.
    let service = Service::start(&settings.text());
    let entity = alerts::entity("datadog", 1);
    let alert = || NewRecord::value(0, alerts::of("datadog", &entity, 1));
    stage.produce(vec![alert()]);
    stage.wait_for(1, Duration::from_secs(30));
    // From the cache: nobody is asked, and nothing is told.
    stage.produce(vec![alert()]);
    stage.wait_for(2, Duration::from_secs(10));
    let log = service.terminate().log;
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{log}");
    let hash = ring::digest::digest(&ring::digest::SHA256, entity.as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    for (member, value) in [
        ("target", "riskstream::audit"),
        ("provider", "datadog"),
        ("kind", "cloud_identity"),
        ("outcome", "scored"),
        ("identifier_sha256", hash.as_str()),
    ] {
        assert_eq!(lines[0][member], value, "{log}");
    }
    assert!(lines[0]["host"].as_str().unwrap().starts_with("127.0.0.1:") && !log.contains(&entity), "{log}");
}
