//! The wall clock jumps, as it does when a machine wakes or its time is corrected; the monotonic one goes on.
//!
//! By libfaketime, which changes what a process is told when it asks for the time. What the kernel itself waits for is
//! not moved.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    BOUND, Chaos, Crew, Load, Order, Progress, all_committed, check, in_each_mode, joined, more, stop, wait,
};
use crate::harness::say;
use crate::harness::service::Service;
use crate::harness::vendors::Vendors;

in_each_mode!(a_clock_that_jumps_by_an_hour_costs_nothing);

const RATE: usize = 1_000;

/// Where Debian's package libfaketime puts it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists())
}

fn a_clock_that_jumps_by_an_hour_costs_nothing(chaos: &mut Chaos) {
    let Some(library) = library() else {
        return say("skipped: needs libfaketime (Debian: apt-get install libfaketime)");
    };
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    let jump = |to: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, to).unwrap();
        std::fs::rename(new, &offset).unwrap();
    };
    jump("+0");
    let stage = chaos.stage();
    let vendors = Vendors::start(20);
    let crew = Crew::new(chaos, &stage, &vendors);
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut service = Service::start_with(&crew.settings("clock"), &env);
    joined(&mut service);
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let jumps = [("+3600", 3600.0), ("-3600", -3600.0), ("+0", 0.0)];
    let load = Load::new(&stage, 6_000, 1024).flow(&stage, RATE, || {
        more(&mut progress, RATE, &mut service);
        for (to, seconds) in jumps {
            jump(to);
            wait("the process sees the jump", BOUND, || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
                let told = service.metric("riskstream_last_progress_timestamp_seconds").unwrap();
                (told - now - seconds).abs() < 600.0
            });
            more(&mut progress, 3 * RATE, &mut service);
            ahead += progress.committed(chaos.is_exact()).ahead;
        }
    });
    all_committed(&stage, &mut [&mut service]);
    stop(service, "clock");
    let found = check::judge(&stage, &load, Order::Partition);
    chaos.row(
        "clock jumps by 1 h ahead, 2 h back, 1 h ahead",
        &found,
        ahead,
        0,
        "the monotonic clock goes on",
    );
}
