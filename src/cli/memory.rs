//! The memory that a configuration can take at most: every bound of the program, added up.
//!
//! Contract: each line is a bound that something enforces, or is measured and says so where it is; the sum is held
//! against a whole process in `tests/kafka/memory.rs`. Nothing is contacted. What no configuration bounds: records
//! above `pipeline.max_alert_bytes` come on top, one for each lane; input that is packed more tightly than
//! [`PACKED`]; connections to the admin port.

use crate::config::Config;
use crate::config::snapshot::Mode;
use crate::http;
use crate::pipeline;
use crate::source::{client, late, slots};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A cluster has more brokers than those that the configuration names; three at least are assumed.
const BROKERS: usize = 3;
/// How many bytes of alerts a byte of a compressed fetch may hold.
const PACKED: u64 = 8;
/// What a record costs the client library beside its bytes, while it is prefetched: measured.
const FETCHED: u64 = 400;
/// Bytes of an alert where nothing else bounds their number.
const SMALLEST: u64 = 512;
/// What a record costs the client library beside its bytes until it is acknowledged, its headers included: measured.
const SENT: u64 = KIB;
/// Requests under way to a broker at once, each with a batch.
const REQUESTS: u64 = 5;
/// What the book-keeping of an alert in flight takes: its place, its lines, its ledger, its mail.
const PLACE: u64 = KIB;
/// A question that waits for its turn, or for its answer.
const QUESTION: u64 = pipeline::QUESTION as u64;
/// A connection to a vendor, with its buffers.
const CONNECTION: u64 = 128 * KIB;
/// A large body, unpacked and read.
const LARGE: u64 = 4 * http::BODY_LIMIT as u64;
/// What HTTP/2 takes in before it is read, of each vendor.
const WINDOW: u64 = 5 * MIB;
/// Code, formats, metrics, threads: measured.
const PROCESS: u64 = 40 * MIB;
/// A lane's clients and threads: measured.
const LANE: u64 = 4 * MIB;

/// One in so many bytes more, for what the allocator keeps between what is used: measured.
const UNUSED: u64 = 5;

/// What something takes at most.
pub struct Part {
    /// What it is.
    pub what: &'static str,
    /// The keys that decide.
    pub by: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// Every part of the ceiling, the largest share of whose keys comes first; the last one is their sum, as `all`.
pub fn ceiling(config: &Config) -> Vec<Part> {
    let threads = config.pipeline.threads.max(1);
    let lanes = threads as u64;
    let brokers = config.kafka.brokers.len().max(BROKERS) as u64;
    let consumer = client::consumer(config, 0, threads);
    let producer = client::producer(config, threads, None);
    let number = |properties: &rdkafka::ClientConfig, name: &str| {
        properties.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default()
    };
    // One alert is taken where there was room for less.
    let above = (config.pipeline.max_alert_bytes + config.output.max_bytes) as u64;
    let held = slots::most(config.pipeline.in_flight_bytes) as u64 + lanes * above;
    let in_flight = config.pipeline.in_flight as u64;
    let fetched = lanes * brokers * number(&consumer, "fetch.max.bytes");
    let prefetched = lanes * number(&consumer, "queued.max.messages.kbytes") * 1000 + fetched * PACKED;
    let records = lanes * number(&consumer, "queued.min.messages") + fetched * PACKED / SMALLEST;
    let providers = || config.providers.iter().map(|provider| &provider.common);
    let at_once: u64 = providers().map(|common| common.concurrency as u64).sum();
    let questions: u64 = providers().map(|common| (common.queue + common.concurrency) as u64).sum();
    let large = if config.providers.is_empty() { 0 } else { http::LARGE_BODIES as u64 * LARGE };
    let tables: u64 = config.providers.iter().map(|provider| provider.vendor.keeps()).sum();
    let mut parts = vec![
        Part { what: "answers in the cache", by: "cache.capacity", bytes: config.cache.capacity },
        Part {
            what: "alerts in flight, what they wait with and become",
            by: "pipeline.in_flight_bytes",
            bytes: held,
        },
        Part {
            what: "their copies in the producers",
            by: "pipeline.in_flight_bytes",
            bytes: held + lanes * brokers * REQUESTS * number(&producer, "batch.size"),
        },
        Part {
            what: "book-keeping of alerts in flight",
            by: "pipeline.in_flight",
            bytes: in_flight * (PLACE + SENT) + lanes * slots::KEPT as u64,
        },
        Part {
            what: "records that were fetched and not yet taken",
            by: "pipeline.threads",
            bytes: prefetched + fetched + records * FETCHED,
        },
        Part {
            what: "questions that wait",
            by: "queue and concurrency of providers",
            bytes: questions * QUESTION,
        },
        Part {
            what: "connections and answers of vendors",
            by: "concurrency of providers",
            bytes: at_once * (CONNECTION + http::SMALL_BODY as u64)
                + config.providers.len() as u64 * WINDOW
                + large
                + tables,
        },
        Part { what: "the process", by: "pipeline.threads", bytes: PROCESS + lanes * LANE },
    ];
    if config.output.updates.is_some() {
        let waiting = late::most(config.pipeline.in_flight_bytes) as u64;
        let records = client::UPDATES as u64 * SENT;
        parts.push(Part {
            what: "alerts that wait for late answers, and updates on their way",
            by: "output.updates, pipeline.in_flight_bytes",
            bytes: waiting + client::UPDATES_KIB as u64 * KIB + records,
        });
    }
    // A table and the one that takes its place, and a page as it is read.
    let kept = config.providers.iter().filter(|provider| provider.common.snapshot.mode != Mode::Lookup);
    let snapshots: u64 = kept.map(|provider| 2 * provider.common.snapshot.capacity + LARGE).sum();
    if snapshots > 0 {
        let part = Part {
            what: "snapshots of vendors' lists",
            by: "snapshot.capacity of providers",
            bytes: snapshots,
        };
        parts.insert(1, part);
    }
    let sum = |parts: &[Part]| parts.iter().map(|part| part.bytes).sum::<u64>();
    let unused = sum(&parts) / UNUSED;
    parts.push(Part { what: "what the allocator has and does not use", by: "", bytes: unused });
    parts.push(Part { what: "all", by: "", bytes: sum(&parts) });
    parts
}
