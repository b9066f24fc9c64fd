//! Connections to vendors that end at bad moments: no alert fails of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::{alerts, check};

/// A vendor over HTTP/1.1 that answers the first request of each connection and closes it when the second one comes: the
/// moment at which a vendor ends a connection that it has kept for long enough. Unless that was read, it is a reset. Which
/// requests were answered, and which were not.
fn racing(reads: bool) -> (SocketAddr, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let counts = Arc::<[AtomicUsize; 2]>::default();
    let counted = Arc::clone(&counts);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counted) = (stream.unwrap(), Arc::clone(&counted));
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                if stream.read(&mut bytes).unwrap_or(0) == 0 {
                    return;
                }
                counted[0].fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"score\": 50}");
                let next = if reads { stream.read(&mut bytes) } else { stream.peek(&mut bytes) };
                if next.is_ok_and(|length| length > 0) {
                    counted[1].fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (address, counts)
}

#[test]
fn a_vendor_that_closes_kept_connections_as_they_are_used_costs_requests_and_no_alert() {
    const ALERTS: usize = 8;
    for reads in [true, false] {
        let (address, counts) = racing(reads);
        let stage = Stage::embedded(1);
        let rest = format!(
            "providers:
  own:
    type: generic_http
    base_url: 'http://{address}'
    kinds: [cloud_identity]
    concurrency: 1
    request: {{path: '/risk/{{value}}'}}
    answer: {{score: $.score}}
"
        );
        let mut service = Service::start(&Settings::of(&stage, "deadline: 20s", rest).text());
        service.assigned(1);
        // One after another, so that each finds the connection of the one before.
        for n in 0..ALERTS {
            let value = alerts::of("datadog", &alerts::entity("datadog", n), n);
            stage.produce(vec![NewRecord::value(0, value)]);
            stage.wait_for(n + 1, Duration::from_secs(20));
        }
        for output in stage.outputs() {
            let entity = &output.json()["risk"]["entities"][0];
            assert_eq!((&entity["status"], &entity["score"]), (&"scored".into(), &50.into()), "{entity}");
        }
        let [answered, closed] = [0, 1].map(|index| counts[index].load(Ordering::SeqCst));
        assert_eq!((answered, closed), (ALERTS, ALERTS - 1), "each but the first was sent twice");
        let retries = service.metric("riskstream_vendor_retries_total{provider=\"own\"}");
        assert_eq!(retries, Some(closed as f64));
        service.ends_well();
        check::all_committed(&stage);
    }
}
