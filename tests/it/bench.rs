//! `bench` without a broker: what it says, and what it refuses. With one it is in `tests/kafka`.

use serde_json::Value;

use crate::harness::service::command;

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn bench_measures_every_stage_of_every_size_without_a_broker() {
    let out = command(&["bench", "--only", "stages", "--json"], b"", &[]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert!(said.contains("--brokers"), "it says how to get the rest: {said}");
    let rows = lines(&out.stdout);
    assert_eq!(rows.len(), 9, "three sizes, three numbers of entities");
    for row in &rows {
        assert_eq!(row["part"], "stages");
        let figure = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("no {name}: {row}"));
        for stage in ["decode_ns", "hit_ns", "compose_ns", "all_ns"] {
            assert!(figure(stage) > 0.0, "{row}");
        }
        assert!(figure("bytes") >= 975.0 && figure("entities") >= 1.0, "{row}");
    }
}

#[test]
fn bench_says_what_is_wrong_and_what_to_do_about_it() {
    let out = command(&["bench", "--only", "backlog"], b"", &[]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("--brokers HOST:PORT"), "{said}");

    // Nobody listens on the port for discarding.
    let out = command(&["bench", "--brokers", "127.0.0.1:9", "--only", "backlog"], b"", &[]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("127.0.0.1:9") && said.contains("refused"), "where and why: {said}");
    assert!(said.contains("broker.sh start"), "and the cure: {said}");
    assert!(out.stdout.is_empty());
}
