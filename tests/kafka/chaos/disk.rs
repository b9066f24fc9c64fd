//! The broker's disk is full, and there is room again: on a small file system in memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{
    BOUND, Chaos, Crew, IN_FLIGHT, Load, Order, Progress, all_committed, check, in_each_mode, joined, more,
    stop, wait,
};
use crate::harness::kafka::Stage;
use crate::harness::say;
use crate::harness::vendors::Vendors;
use crate::script::Cluster;

in_each_mode!(a_disk_that_is_full_for_a_while_costs_nothing);

const RATE: usize = 500;

/// A file system in memory, which only root may mount.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(megabytes: usize) -> Option<Small> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "riskstream-chaos"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Small(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room.
    fn fill(&self) {
        let chunk = vec![0; 64 * 1024];
        let mut file = std::fs::File::create(self.path().join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a broker that just died may still be letting go.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn a_disk_that_is_full_for_a_while_costs_nothing(chaos: &mut Chaos) {
    let Some(disk) = Small::mount(512) else {
        return say("skipped: a full disk needs root, to mount a small file system");
    };
    let cluster = Cluster::start(&[("KAFKA_DATA", disk.path().to_str().unwrap())]);
    let stage = Stage::on(&cluster.brokers(), 4, crate::DEFAULT, crate::DEFAULT);
    let vendors = Vendors::start(20);
    let crew = Crew::new(chaos, &stage, &vendors);
    let mut service = crew.start("disk");
    joined(&mut service);
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let load = Load::new(&stage, 6_000, 1024).flow(&stage, RATE, || {
        more(&mut progress, 2 * RATE, &mut service);
        disk.fill();
        wait("the broker gives up", BOUND, || !cluster.is_up());
        super::pass(Duration::from_secs(5));
        assert!(!service.has_ended(), "{}", service.log());
        disk.free();
        cluster.run("up");
        more(&mut progress, 2 * RATE, &mut service);
        ahead += progress.committed(chaos.is_exact()).ahead;
    });
    all_committed(&stage, &mut [&mut service]);
    stop(service, "disk");
    let found = check::judge(&stage, &load, Order::Partition);
    chaos.row(
        "the broker's disk full, then free",
        &found,
        ahead,
        IN_FLIGHT,
        "the broker ends itself; the process goes on",
    );
}
