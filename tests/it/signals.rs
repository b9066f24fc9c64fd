//! Signals when the world is not as it should be.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::kafka::Stage;
use crate::harness::service::{Settings, config};
use crate::harness::wait;

#[test]
fn a_process_whose_log_nobody_reads_any_more_goes_on_and_stops_when_it_is_told() {
    let stage = Stage::embedded(1);
    let (_folder, file) = config(&Settings::of(&stage, "", "").text());
    let mut process = Command::new(env!("CARGO_BIN_EXE_riskstream"))
        .args(["run", "--config"])
        .arg(file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    // The last line of a start.
    log.find(|line| line.as_ref().unwrap().contains("partitions assigned")).unwrap().unwrap();
    drop(log);
    assert!(process.try_wait().unwrap().is_none(), "it goes on");
    assert!(Command::new("kill").arg(process.id().to_string()).status().unwrap().success());
    let mut status = None;
    let bound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait("the process ends", Duration::from_secs(60), || {
            status = process.try_wait().unwrap();
            status.is_some()
        })
    }));
    let _ = process.kill();
    process.wait().unwrap();
    assert!(bound.is_ok(), "it did not hear the signal");
    assert_eq!(status.unwrap().code(), Some(0));
}
