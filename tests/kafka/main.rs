//! End to end on a real Apache Kafka: what the embedded broker cannot show, and the same load and poison with figures.
//!
//! Needs a broker of its own, since some of these kill it:
//!
//! ```text
//! KAFKA_SECURE=1 tests/kafka/broker.sh start && eval "$(tests/kafka/broker.sh env)"
//! cargo test --release --test kafka -- --test-threads=3 --skip chaos::
//! ```
//!
//! Without `KAFKA_BROKERS` every test says that it is skipped and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../harness/mod.rs"]
mod harness;

mod acls;
mod away;
mod bench;
mod chaos;
mod checker;
mod crash;
mod dlq;
mod figures;
mod groups;
mod late;
mod limits;
mod memory;
mod refusals;
mod script;
mod secure;
mod tokens;
mod topics;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use harness::kafka::Stage;
use harness::{say, scenarios};

static BROKER: RwLock<()> = RwLock::new(());

/// The broker, beside other tests; `None` without one.
fn broker() -> Option<RwLockReadGuard<'static, ()>> {
    is_there().then(|| BROKER.read().unwrap_or_else(PoisonError::into_inner))
}

/// The broker for one test alone, which kills it, changes it, or measures.
fn broker_alone() -> Option<RwLockWriteGuard<'static, ()>> {
    is_there().then(|| BROKER.write().unwrap_or_else(PoisonError::into_inner))
}

fn is_there() -> bool {
    let is_there = std::env::var_os("KAFKA_BROKERS").is_some();
    if !is_there {
        say(
            "skipped: needs Apache Kafka: tests/kafka/broker.sh start, then eval \"$(tests/kafka/broker.sh env)\"",
        );
    }
    is_there
}

/// What a topic takes by default.
const DEFAULT: u32 = 1_048_588;

#[test]
fn two_hundred_thousand_alerts_come_out_once_in_order_unchanged_and_complete() {
    let Some(_broker) = broker_alone() else { return };
    scenarios::load(&Stage::real(12, DEFAULT, DEFAULT), 200_000, 10_000);
}

#[test]
fn poison_is_set_aside_with_a_reason_and_the_partition_goes_on() {
    let Some(_broker) = broker() else { return };
    scenarios::poison(&Stage::real(3, 12_000_000, DEFAULT), 10_000_000);
}
