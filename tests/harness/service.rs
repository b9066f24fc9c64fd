//! The service as a process: started with a configuration, watched over its HTTP port and log, ended by signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::kafka::Stage;

pub const BINARY: &str = env!("CARGO_BIN_EXE_riskstream");

/// A configuration under construction: sections as YAML text.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `kafka.brokers` and what else stands in the section, as flow members.
    pub kafka: String,
    /// `input`, `output` and `dead_letters`.
    pub topics: String,
    /// Members of `pipeline`.
    pub pipeline: String,
    /// The section `providers` and everything else.
    pub rest: String,
}

impl Settings {
    /// For the topics of `stage`.
    pub fn of(stage: &Stage, pipeline: &str, rest: impl Into<String>) -> Settings {
        Settings {
            kafka: format!("brokers: ['{}'], security: plaintext", stage.brokers),
            topics: format!(
                "input: {{topics: [{}], group: {}}}\noutput: {{topic: {}}}\ndead_letters: {{topic: {}}}\n",
                stage.input, stage.group, stage.output, stage.dead
            ),
            pipeline: pipeline.to_owned(),
            rest: rest.into(),
        }
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let Settings { kafka, topics, pipeline, rest } = self;
        format!(
            "allow_literal_secrets: true\nkafka: {{{kafka}}}\n{topics}pipeline: {{{pipeline}}}\n\
             admin: {{listen: '127.0.0.1:0'}}\n{rest}"
        )
    }
}

/// A running service.
pub struct Service {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    admin: Option<String>,
    /// Its configuration.
    pub file: PathBuf,
    /// Kept for as long as it runs.
    folder: Option<tempfile::TempDir>,
}

/// How a service ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// From the signal to the end.
    pub took: Duration,
    /// All that it logged.
    pub log: String,
}

impl Service {
    /// Starts `riskstream run`.
    pub fn start(text: &str) -> Service {
        Self::start_with(text, &[])
    }

    /// The same with environment variables.
    pub fn start_with(text: &str, env: &[(&str, &str)]) -> Service {
        let (folder, file) = config(text);
        let mut service = Self::start_at(file, env);
        service.folder = Some(folder);
        service
    }

    /// The same with a configuration that is there.
    pub fn start_at(file: PathBuf, env: &[(&str, &str)]) -> Service {
        let mut child = Command::new(BINARY)
            .args(["run", "--config"])
            .arg(&file)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap());
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in lines.lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        Service { child, log, reader: Some(reader), admin: None, file, folder: None }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its address, which it logs.
    pub fn admin(&mut self) -> String {
        if self.admin.is_none() {
            let (address, _) = super::until("the admin port", Duration::from_secs(30), || {
                let log = self.log();
                assert!(!self.has_ended(), "the service ended at its start:\n{}", self.log());
                let line = log.lines().find(|line| line.contains("\"message\":\"started\""))?;
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                Some(line["admin"].as_str()?.to_owned())
            });
            self.admin = Some(address);
        }
        self.admin.clone().unwrap()
    }

    /// Bytes of memory that it has now, and the most that it ever had.
    pub fn resident(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let of = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Status and body of a GET.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        let admin = self.admin();
        request(&admin, &format!("GET {path} HTTP/1.1\r\n"), "")
    }

    /// Status and body of a call with the bearer token.
    pub fn call(&mut self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        let admin = self.admin();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        );
        request(&admin, &head, body)
    }

    /// Waits until it is ready; how long that took.
    pub fn ready(&mut self) -> Duration {
        let bound = Duration::from_secs(30);
        super::wait("ready", bound, || self.get("/readyz").0 == 200)
    }

    /// Waits until partitions are assigned.
    pub fn assigned(&mut self, partitions: i64) {
        let bound = Duration::from_secs(60);
        super::wait("partitions assigned", bound, || {
            self.metric("riskstream_assigned_partitions") == Some(partitions as f64)
        });
    }

    /// Waits until each of so many lanes has its part of the partitions. The embedded broker takes most of a session, 45 s, where
    /// one of them joins late, and again where one was late for that.
    pub fn divided(&mut self, partitions: i64, lanes: i64) {
        let part = format!("\"partitions assigned\",\"partitions\":{},", partitions / lanes);
        super::wait("partitions divided", Duration::from_secs(240), || {
            let log = self.log();
            let assigned = log.lines().filter(|line| line.contains("\"partitions assigned\""));
            assigned.rev().take_while(|line| line.contains(&part)).count() as i64 >= lanes
                && self.metric("riskstream_assigned_partitions") == Some(partitions as f64)
        });
    }

    /// One series of `/metrics`, by its name and labels as they are printed.
    pub fn metric(&mut self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics");
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// SIGTERM, and the end.
    pub fn terminate(self) -> Ended {
        self.signal("TERM");
        self.ended(Duration::from_secs(60))
    }

    /// SIGTERM, and an end without an error; else its last words tell why.
    pub fn ends_well(self) {
        let ended = self.terminate();
        assert_eq!(ended.code, Some(0), "{}", tail(&ended.log));
    }

    /// SIGKILL, and the end.
    pub fn kill(self) -> Ended {
        self.signal("KILL");
        self.ended(Duration::from_secs(10))
    }

    /// The end, which comes by itself.
    pub fn ended(mut self, bound: Duration) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < bound, "still running after {bound:?}:\n{}", tail(&self.log()));
            std::thread::park_timeout(Duration::from_millis(5));
        };
        let took = started.elapsed();
        self.reader.take().unwrap().join().unwrap();
        Ended { code: status.code(), took, log: self.log() }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind but the log.
        if self.reader.is_some() {
            eprintln!("{}", tail(&self.log()));
            super::keep("failed.log", &self.log());
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A configuration file in a folder of its own.
pub fn config(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("riskstream.yaml");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

/// Bytes that `check` says a configuration can take at most, by what they are for.
pub fn ceiling(text: &str) -> Vec<(String, u64)> {
    let (_folder, file) = config(text);
    let output = command(&["check", "--json", "--config", file.to_str().unwrap()], b"", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| Some((line["memory"].as_str()?.to_owned(), line["bytes"].as_u64()?))).collect()
}

/// Runs a command to its end.
pub fn command(arguments: &[&str], input: &[u8], env: &[(&str, &str)]) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that does not read closes its end.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn request(address: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let length = body.len();
    write!(stream, "{head}host: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
