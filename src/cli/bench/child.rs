//! A process that is measured, from outside: started, asked, its CPU and memory read from `/proc`, ended.
//!
//! Contract: no child outlives its handle, nor this process: its standard input closes with us, and then it ends by
//! itself. It is asked over that pipe, which costs it nothing until it is. It is in a process group of its own, so that
//! ctrl-c is ours alone. What it logs goes to a file, and is shown when it ended too early.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::Value;

/// How long a child may take to answer. One that fills its cache with millions of answers takes longer at its start.
const ANSWER: Duration = Duration::from_secs(20);
/// Bound of one HTTP call.
const CALL: Duration = Duration::from_secs(20);
/// Lines of its log that are shown when it failed.
const LAST: usize = 5;

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// User and system time of all its threads, in seconds.
    pub cpu: f64,
    /// The most that was ever resident, in MiB.
    pub peak_mib: f64,
}

/// A running process.
pub struct Child {
    name: &'static str,
    process: std::process::Child,
    questions: ChildStdin,
    lines: Receiver<String>,
    log: PathBuf,
    /// Where its HTTP port is, if it has one.
    pub address: Option<SocketAddr>,
}

impl Child {
    /// Starts this very program with `arguments`; its log goes to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(name: &'static str, arguments: &[String], log: &Path) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(&program);
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            // The vendors are on this machine.
            command.env_remove(proxy);
        }
        let mut process = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(anyhow!("{name}: no pipes: a bug"));
        };
        let (said, lines) = channel();
        std::thread::Builder::new().name(format!("hear {name}")).spawn(move || {
            for line in BufReader::new(answers).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(Child { name, process, questions, lines, log: log.to_owned(), address: None })
    }

    /// The first that it says, within `bound`: where it listens, and what else it tells of its start.
    ///
    /// # Errors
    /// It says nothing, or has ended.
    pub fn hello(&mut self, bound: Duration) -> anyhow::Result<Value> {
        let line = self.line(bound)?;
        let hello: Value = serde_json::from_str(&line).with_context(|| format!("{}: {line}", self.name))?;
        self.address = hello.get("address").and_then(Value::as_str).and_then(|text| text.parse().ok());
        Ok(hello)
    }

    /// How many alerts it is through with.
    ///
    /// # Errors
    /// It does not answer, or has ended.
    pub fn done(&mut self) -> anyhow::Result<u64> {
        if self.questions.write_all(b"\n").is_err() {
            return Err(self.failed("it does not listen any more"));
        }
        let line = self.line(ANSWER)?;
        line.parse().map_err(|_| self.failed(&format!("it said {line:?}")))
    }

    fn line(&mut self, bound: Duration) -> anyhow::Result<String> {
        self.lines
            .recv_timeout(bound)
            .map_err(|_| self.failed(&format!("no word within {} s", bound.as_secs())))
    }

    /// That it is of no use any more, and its last words.
    pub fn failed(&mut self, what: &str) -> anyhow::Error {
        // One that has just gone may still be there for a moment.
        std::thread::park_timeout(Duration::from_millis(100));
        let ended = match self.process.try_wait() {
            Ok(Some(status)) => format!("it ended with {status}"),
            _ => what.to_owned(),
        };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(LAST).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        anyhow!("{}: {ended}. Its last words:\n{}", self.name, last.join("\n"))
    }

    /// What it has used until now.
    ///
    /// # Errors
    /// It has ended, or the system has no `/proc`.
    pub fn sample(&self) -> anyhow::Result<Sample> {
        let id = self.process.id();
        let read = |name: &str| {
            let path = format!("/proc/{id}/{name}");
            fs::read_to_string(&path).with_context(|| format!("{}: cannot read {path}", self.name))
        };
        let sample = sample_of(&read("stat")?, &read("status")?);
        sample.with_context(|| format!("{}: /proc/{id} cannot be understood", self.name))
    }

    /// Status and body of a call of its HTTP port.
    ///
    /// # Errors
    /// It does not answer.
    pub fn call(&self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let address = self.address.with_context(|| format!("{} has no HTTP port: a bug", self.name))?;
        let mut stream = TcpStream::connect_timeout(&address, CALL)?;
        stream.set_read_timeout(Some(CALL))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }

    /// One series of its `/metrics`, by its name and labels as they are printed.
    ///
    /// # Errors
    /// It does not answer, or has no such series.
    pub fn metric(&self, series: &str) -> anyhow::Result<f64> {
        let (_, text) = self.call("GET", "/metrics", "")?;
        let value =
            text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok());
        value.with_context(|| format!("{} has no metric {series}: a bug", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// From what Linux says of a process.
fn sample_of(stat: &str, status: &str) -> Option<Sample> {
    // The second field is the name in parentheses, and may hold anything; user and system ticks are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: Vec<u64> =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = *ticks.as_slice() else { return None };
    let kib = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    // Linux counts in hundredths of a second, whatever the kernel's own clock.
    Some(Sample { cpu: (user + system) as f64 / 100.0, peak_mib: kib("VmHWM:")? / 1024.0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cpu_and_memory_are_read_from_what_linux_says() {
        let stat = "17 (a b) c) S 1 17 17 0 -1 4194560 500 0 0 0 250 50 0 0 20 0 3 0 100 0 0";
        let sample = sample_of(stat, "VmPeak:\t 9000 kB\nVmHWM:\t    2048 kB\n").unwrap();
        assert_eq!((sample.cpu, sample.peak_mib), (3.0, 2.0));
        assert!(sample_of("17 (a) S 1", "VmHWM: 1 kB").is_none());
        assert!(sample_of(stat, "").is_none());
    }
}
