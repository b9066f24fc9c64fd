//! The wall clock jumps, as it does when a machine wakes or its time is corrected; the monotonic one goes on.
//!
//! By libfaketime, which changes what a process is told when it asks for the time, and by `clock.c`, which lets waits
//! that are under way feel the jump.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    BOUND, Chaos, Crew, Load, Order, Progress, all_committed, check, in_each_mode, joined, more, stop, wait,
};
use crate::harness::say;
use crate::harness::service::Service;
use crate::harness::vendors::Vendors;

in_each_mode!(a_clock_that_jumps_ahead_costs_nothing, a_clock_that_is_set_back_costs_nothing);

const RATE: usize = 1_000;

/// Where Debian's package libfaketime puts it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists())
}

fn a_clock_that_jumps_ahead_costs_nothing(chaos: &mut Chaos) {
    jumps(chaos, "clock jumps 1 h ahead, twice", &[3600, 7200]);
}

/// librdkafka waits until a time of day: each of its threads sleeps for as long as the clock was set back, unless it is
/// woken. The one that commits and tells the group that we are alive is not: nothing is lost, but nothing is committed.
fn a_clock_that_is_set_back_costs_nothing(chaos: &mut Chaos) {
    if std::env::var_os("CHAOS_CLOCK_BACK").is_none() {
        return say(
            "skipped: librdkafka sleeps until the clock is where it was; CHAOS_CLOCK_BACK=1 shows it",
        );
    }
    jumps(chaos, "clock set back by 1 h", &[-3600]);
}

fn jumps(chaos: &mut Chaos, fault: &str, jumps: &[i32]) {
    let folder = tempfile::tempdir().unwrap();
    let waits = folder.path().join("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/chaos/clock.c");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&waits).args([source, "-lpthread"]);
    let (Some(library), Ok(true)) = (library(), compile.status().map(|status| status.success())) else {
        return say("skipped: needs cc and libfaketime (Debian: apt-get install gcc libfaketime)");
    };
    let preload = format!("{} {}", waits.display(), library.display());
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
        ("LD_PRELOAD", preload.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut service = Service::start_with(&crew.settings("clock"), &env);
    joined(&mut service);
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let load = Load::new(&stage, 6_000, 1024).flow(&stage, RATE, || {
        more(&mut progress, RATE, &mut service);
        for seconds in jumps {
            jump(&format!("{seconds:+}"));
            wait("the process sees the jump", BOUND, || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
                let told = service.metric("riskstream_last_progress_timestamp_seconds").unwrap();
                (told - now - f64::from(*seconds)).abs() < 600.0
            });
            more(&mut progress, 3 * RATE, &mut service);
            ahead += progress.committed(chaos.is_exact()).ahead;
        }
    });
    all_committed(&stage, &mut [&mut service]);
    stop(service, "clock");
    let found = check::judge(&stage, &load, Order::Partition);
    chaos.row(fault, &found, ahead, 0, "the monotonic clock goes on");
}
