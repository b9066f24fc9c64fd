//! What both end-to-end suites share: a broker, the vendors, the service as a process, and a checker of what came out.
//!
//! Contract: doubles stand at the wire only. The service is always the real binary with a configuration file; what it
//! did is read from Kafka, from its HTTP port, its log and its exit code. Waiting is polling for a condition within a
//! bound, never a sleep of a guessed length.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, dead_code)]

pub mod alerts;
pub mod check;
pub mod freeze;
pub mod identity;
pub mod kafka;
pub mod late;
pub mod letters;
pub mod load;
pub mod proxy;
pub mod reader;
pub mod scenarios;
pub mod service;
pub mod vendors;

use std::io::Write;
use std::time::{Duration, Instant};

/// A figure or a word for whoever reads the run, also where tests that pass are kept quiet.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "    {text}");
}

/// Keeps a log in the folder of `E2E_KEEP`, where that is set, for looking into a failure.
pub fn keep(name: &str, text: &str) {
    if let Some(folder) = std::env::var_os("E2E_KEEP") {
        std::fs::write(std::path::Path::new(&folder).join(name), text).unwrap();
    }
}

/// Polls until `condition` gives something, and says how long that took; fails the test after `bound`.
pub fn until<T>(what: &str, bound: Duration, mut condition: impl FnMut() -> Option<T>) -> (T, Duration) {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return (value, started.elapsed());
        }
        assert!(started.elapsed() < bound, "not within {bound:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// `until` for a plain yes or no.
pub fn wait(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    until(what, bound, || condition().then_some(())).1
}
