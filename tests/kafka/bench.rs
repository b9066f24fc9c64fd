//! `bench` on a real broker: every alert is counted, and nothing is left behind.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use crate::broker_alone;
use crate::harness::service::command;
use crate::harness::wait;

/// Topics of a bench that are there.
fn left(brokers: &str) -> Vec<String> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let all = client.fetch_metadata(None, Duration::from_secs(30)).unwrap();
    let names = all.topics().iter().map(|topic| topic.name().to_owned());
    names.filter(|name| name.starts_with("riskstream-bench-")).collect()
}

fn bench(arguments: &[&str]) -> Vec<Value> {
    let brokers = std::env::var("KAFKA_BROKERS").unwrap();
    let out = command(&[&["bench", "--brokers", &brokers, "--json"], arguments].concat(), b"", &[]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    wait("its topics are deleted", Duration::from_secs(30), || left(&brokers).is_empty());
    let text = String::from_utf8(out.stdout).unwrap();
    println!("{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn bench_counts_every_alert_of_a_backlog_and_leaves_nothing_behind() {
    let Some(_broker) = broker_alone() else { return };
    let lines = bench(&["--only", "backlog", "--alerts", "20000", "--runs", "1"]);
    for who in ["copy loop", "at least once", "exactly once"] {
        let run = lines.iter().find(|line| line["who"] == who && line["run"] == "1").expect(who);
        assert_eq!(run["part"], "backlog");
        assert_eq!(run["alerts"], 20_000, "markers of transactions are no alerts: {run}");
        assert!(run["peak_mib"].as_f64().unwrap() > 1.0, "{run}");
        // So few are copied too fast to say more.
        if who != "copy loop" {
            assert!(run["alerts_a_second"].as_f64().unwrap() > 100.0, "{run}");
            assert!(run["cpu_seconds_a_million"].as_f64().unwrap() > 0.0, "{run}");
            assert_eq!(run["complete"], 1.0, "every answer was in the cache: {run}");
            assert!(run["ready_ms"].as_f64().unwrap() > 0.0, "{run}");
        }
    }
    let ratios: Vec<&Value> = lines.iter().filter(|line| line["ratio"].is_object()).collect();
    assert_eq!(ratios.len(), 3, "both promises to the copy loop, and one to the other");
    let last = &ratios[2]["ratio"];
    assert!(
        last["cpu"].as_f64().unwrap() > 0.0 && last["cpu_by_run"].as_array().unwrap().len() == 1,
        "{last}"
    );
}

#[test]
fn bench_shows_that_cached_entities_do_not_wait_for_a_vendor_that_hangs() {
    let Some(_broker) = broker_alone() else { return };
    let lines = bench(&["--only", "hanging", "--seconds", "3", "--entities", "1000"]);
    let about = |sort: &str| lines.iter().find(|line| line["alerts"] == sort).expect(sort);
    let p50 = |sort: &str| about(sort)["p50_ms"].as_f64().unwrap();
    for sort in ["cached entities", "new entities"] {
        assert_eq!(about(sort)["missing"], 0);
    }
    let counted = about("cached entities")["counted"].as_u64().unwrap();
    assert!(counted > 1_000, "500 a second for 3 s, nine in ten: {counted}");
    assert!(p50("new entities") > 900.0, "they wait for the vendor's time-out: {lines:?}");
    assert!(p50("cached entities") < 500.0, "these do not: {lines:?}");
}
