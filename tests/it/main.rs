//! End to end on the embedded broker: the real binary, Kafka and vendors only doubled at the wire.
//!
//! Runs under plain `cargo test`; every test has its own broker, vendors and topics. What only a real broker shows
//! (rebalances, outages, size limits, missing topics) is in `tests/kafka`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod api;
mod bench;
mod commands;
mod connections;
mod deadline;
mod dlq;
mod faults;
mod flood;
mod hostile;
mod isolation;
mod late;
mod order;
mod quotas;
mod reload;
mod secrets;
mod signals;
mod snapshots;
mod vendor_errors;

use harness::kafka::Stage;
use harness::scenarios;

#[test]
fn five_thousand_alerts_come_out_once_in_order_unchanged_and_complete() {
    scenarios::load(&Stage::embedded(4), 5_000, 500);
}

#[test]
fn poison_is_set_aside_with_a_reason_and_the_partition_goes_on() {
    scenarios::poison(&Stage::embedded(3), 2_600_000);
}
