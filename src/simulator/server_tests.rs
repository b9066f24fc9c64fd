//! The frame as a client sees it, over real sockets. The client is a bare one, because some answers are not HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::simulator::{Fault, Latency, Options};

async fn simulator() -> Simulator {
    Simulator::start(([127, 0, 0, 1], 0).into(), Arc::new(World::new(Options::default()))).await.unwrap()
}

/// Everything that the server sends until it closes.
async fn call(simulator: &Simulator, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after some bytes is an answer, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test]
async fn a_script_answers_in_its_order_and_then_the_vendor_again() {
    let simulator = simulator().await;
    let world = simulator.world();
    world.fault(Fault::status("/datadog", 503, "{}").times(1).with_header("retry-after", "7"));
    world.fault(Fault::new("/datadog", Answer::Reset).times(1));
    world.fault(Fault::new("/datadog", Answer::Html(502)).times(1));
    let first = call(&simulator, "GET", "/datadog/nothing", "").await;
    assert_eq!(status(&first), "503");
    assert!(first.contains("retry-after: 7"), "{first}");
    assert_eq!(call(&simulator, "GET", "/datadog/nothing", "").await, "");
    assert!(call(&simulator, "GET", "/datadog/nothing", "").await.contains("text/html"));
    assert_eq!(status(&call(&simulator, "GET", "/datadog/nothing", "").await), "404");
    let calls = world.calls("datadog");
    assert_eq!((calls.total, calls.concurrent), (4, 0));
    assert_eq!(calls.by_path["GET /datadog/nothing"], 4);
}

#[tokio::test]
async fn a_fault_of_one_vendor_leaves_the_others_alone() {
    let simulator = simulator().await;
    simulator.world().fault(Fault::status("/cloudflare", 500, ""));
    assert_eq!(status(&call(&simulator, "GET", "/cloudflare/x", "").await), "500");
    assert_eq!(status(&call(&simulator, "GET", "/datadog/nothing", "").await), "404");
}

#[tokio::test]
async fn a_hanging_call_counts_until_its_client_goes_and_does_not_outlive_the_simulator() {
    let simulator = simulator().await;
    let world = Arc::clone(simulator.world());
    world.fault(Fault::new("/", Answer::Hang));
    let addr = simulator.addr();
    let hung = tokio::spawn(async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET /datadog/x HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });
    while world.calls("datadog").concurrent == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_secs(5), simulator.stop()).await.expect("stops at once");
    let _ = hung.await.unwrap();
    assert_eq!(world.calls("datadog").concurrent, 0);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn latency_is_the_simulators_or_the_faults() {
    let simulator = simulator().await;
    simulator.world().set_latency(Latency::Fixed(30));
    let start = Instant::now();
    call(&simulator, "GET", "/datadog/x", "").await;
    assert!(start.elapsed() >= Duration::from_millis(30));
    simulator.world().fault(Fault::slow_answer("/datadog", Latency::Between(80, 90)));
    let start = Instant::now();
    call(&simulator, "GET", "/datadog/x", "").await;
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_huge_body_has_the_size_that_was_asked_for() {
    let simulator = simulator().await;
    simulator.world().fault(Fault::new("/", Answer::Huge(300_000)));
    let answer = call(&simulator, "GET", "/datadog/x", "").await;
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 300_000);
}

#[tokio::test]
async fn scripts_control_it_over_http() {
    let simulator = simulator().await;
    let faults = r#"[{"at": "/oracle_casb", "times": 1, "answer": {"status": {"code": 504}}}]"#;
    assert_eq!(status(&call(&simulator, "PUT", "/_simulator/faults", faults).await), "204");
    assert_eq!(status(&call(&simulator, "GET", "/oracle_casb/api", "").await), "504");
    assert_eq!(status(&call(&simulator, "PUT", "/_simulator/faults", r#"[{"at": 1}]"#).await), "422");
    assert_eq!(status(&call(&simulator, "DELETE", "/_simulator/faults", "").await), "204");
    let latency = r#"{"latency_ms": [1, 2]}"#;
    assert_eq!(status(&call(&simulator, "PUT", "/_simulator/latency", latency).await), "204");
    let limits = r#"{"datadog": {"requests": 0, "per_ms": 1000}, "cloudflare": null}"#;
    assert_eq!(status(&call(&simulator, "PUT", "/_simulator/limits", limits).await), "204");
    assert!(simulator.world().admit("datadog").is_err());
    assert_eq!(status(&call(&simulator, "PUT", "/_simulator/limits", r#"{"nobody": null}"#).await), "400");
    let counts = call(&simulator, "GET", "/_simulator/calls", "").await;
    let counts: serde_json::Value = serde_json::from_str(counts.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(counts["oracle_casb"]["total"], 1);
    assert_eq!(counts["oracle_casb"]["by_path"]["GET /oracle_casb/api"], 1);
    assert_eq!(status(&call(&simulator, "DELETE", "/_simulator/calls", "").await), "204");
    assert_eq!(simulator.world().calls("oracle_casb").total, 0);
}
