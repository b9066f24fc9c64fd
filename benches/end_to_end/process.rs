//! A process that is measured: started, asked over HTTP, its CPU and memory read from `/proc`, ended.
//!
//! Contract: no child outlives its handle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a process has used so far.
pub struct Sample {
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// The most that was ever resident.
    pub peak_mib: f64,
}

/// A running process.
pub struct Child {
    process: std::process::Child,
    /// Its admin port.
    pub admin: Option<u16>,
}

impl Child {
    /// Starts `program`; its log goes to stderr when `BENCH_LOG` is set.
    pub fn spawn(program: &Path, arguments: &[&str]) -> Child {
        let log = if std::env::var_os("BENCH_LOG").is_some() { Stdio::inherit() } else { Stdio::null() };
        let process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Child { process, admin: None }
    }

    /// What it has used until now.
    pub fn sample(&self) -> Sample {
        let proc =
            |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.process.id())).unwrap();
        let stat = proc("stat");
        // The second field is the name in parentheses; user and system ticks are the 14th and 15th.
        let ticks: u64 = stat[stat.rfind(')').unwrap()..]
            .split_ascii_whitespace()
            .skip(12)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        let status = proc("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: f64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
        // Linux counts in hundredths of a second, whatever the kernel's own clock.
        Sample { cpu: Duration::from_millis(ticks * 10), peak_mib: kib / 1024.0 }
    }

    /// The whole answer to a GET on its admin port.
    pub fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin?)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Ends it.
    pub fn end(self) {}
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
