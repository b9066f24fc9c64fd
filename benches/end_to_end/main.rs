//! The service on a real broker, at least once and exactly once, beside a bare copy loop in the same run: alerts a
//! second, CPU, memory, latency.
//!
//! `eval "$(tests/kafka/broker.sh env)"; cargo bench --bench end_to_end [-- --alerts N --entities E --runs R
//! --threads T --rate R --seconds S]`. Service and copy loop are processes of their own, so that their CPU is told
//! apart from this one's, which holds the simulated vendors and the clients that produce and watch. Both read the same
//! backlog; what is measured is from the first tenth of the output to its end, when the cache is warm. Aligned
//! text on a terminal, JSON lines in a pipe.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench is a test, and prints")]
#![allow(clippy::print_stderr, clippy::indexing_slicing, reason = "a bench is a test, and prints")]

mod copy;
mod kafka;
mod latency;
mod process;
#[path = "../shared/mod.rs"]
mod shared;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use riskstream::simulator::{Options, Simulator, World};
use serde_json::{Value, json};

use kafka::Cluster;
use process::{Child, Sample};

/// Partitions of every topic.
const PARTITIONS: i32 = 12;

/// What was asked for.
struct Arguments {
    alerts: u64,
    entities: usize,
    runs: usize,
    threads: usize,
    /// Alerts a second for the latency; half of what the service reached when it is 0.
    rate: u64,
    /// Length of a measurement of latency; 0 leaves it out.
    seconds: u64,
}

impl Arguments {
    fn parse() -> Arguments {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let number = |name: &str, default: u64| {
            let position = words.iter().position(|word| word == name);
            let value = position.and_then(|at| words.get(at + 1));
            value.map_or(default, |value| {
                value.parse().unwrap_or_else(|_| panic!("{name} {value}: not a number"))
            })
        };
        Arguments {
            alerts: number("--alerts", 1_000_000),
            entities: number("--entities", 10_000) as usize,
            runs: number("--runs", 3) as usize,
            threads: number("--threads", 1) as usize,
            rate: number("--rate", 0),
            seconds: number("--seconds", 10),
        }
    }
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    CopyLoop,
    Service,
    ExactlyOnce,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::CopyLoop => "copy loop",
            Who::Service => "service",
            Who::ExactlyOnce => "exactly once",
        }
    }

    const ALL: [Who; 3] = [Who::CopyLoop, Who::Service, Who::ExactlyOnce];
}

/// Everything that the runs share.
struct Setting<'a> {
    cluster: Cluster,
    simulator: &'a Simulator,
    directory: PathBuf,
    threads: usize,
}

impl Setting<'_> {
    /// Starts one of them from `input` to `output`, both in a group that is new.
    fn start(&self, who: Who, input: &str, output: &str) -> (Child, Option<Duration>) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = self.directory.join(format!("{output}.yaml"));
        std::fs::write(&config, self.config(who, input, output, port)).unwrap();
        match who {
            Who::CopyLoop => (copy::start(&config), None),
            Who::Service | Who::ExactlyOnce => {
                let started = Instant::now();
                let mut child = Child::spawn(
                    Path::new(env!("CARGO_BIN_EXE_riskstream")),
                    &["run", "--config", config.to_str().unwrap()],
                );
                child.admin = Some(port);
                while child.get("/readyz").is_none_or(|answer| !answer.contains(" 200 ")) {
                    assert!(
                        started.elapsed() < Duration::from_secs(30),
                        "the service is not ready after 30 s"
                    );
                    std::thread::sleep(Duration::from_millis(2));
                }
                (child, Some(started.elapsed()))
            }
        }
    }

    /// What a user would write. Not a default: `threads`, and the quota, as the simulated vendor has none.
    fn config(&self, who: Who, input: &str, output: &str, port: u16) -> String {
        let delivery = if who == Who::ExactlyOnce { "exactly_once" } else { "at_least_once" };
        format!(
            "allow_literal_secrets: true\n\
             kafka: {{brokers: ['{brokers}'], security: plaintext, instance: bench}}\n\
             input: {{topics: ['{input}'], group: '{output}'}}\n\
             output: {{topic: '{output}'}}\n\
             dead_letters: {{topic: '{output}.dead'}}\n\
             pipeline: {{threads: {threads}, delivery: {delivery}}}\n\
             providers:\n  datadog:\n    type: datadog\n    base_url: '{vendor}'\n    allow_http: true\n    \
             api_key: '{api}'\n    application_key: '{application}'\n    limit: {{requests: 100000, per: 1s}}\n\
             admin: {{listen: '127.0.0.1:{port}'}}\n",
            brokers = self.cluster.brokers,
            threads = self.threads,
            vendor = self.simulator.base_url("datadog"),
            api = riskstream::simulator::datadog::API_KEY,
            application = riskstream::simulator::datadog::APPLICATION_KEY,
        )
    }
}

/// What one run showed.
struct Run {
    alerts_a_second: f64,
    cpu_seconds_a_million: f64,
    peak_mib: f64,
    ready_ms: Option<f64>,
    complete: Option<f64>,
}

/// Lets `who` work off the backlog of `input`.
fn run(setting: &Setting<'_>, who: Who, input: &str, name: &str, alerts: u64) -> Run {
    setting.cluster.create(&[name, &format!("{name}.dead")]);
    let (child, ready) = setting.start(who, input, name);
    let watch = setting.cluster.watch(name);
    let reach = |count: u64| -> (Instant, u64, Sample) {
        let patience = Instant::now() + Duration::from_secs(600);
        loop {
            let done = watch.count();
            if done >= count {
                return (Instant::now(), done, child.sample());
            }
            assert!(Instant::now() < patience, "{}: {done} of {alerts} alerts after ten minutes", who.name());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let first = reach(alerts / 10);
    let last = reach(alerts);
    let counted = (last.1 - first.1) as f64;
    let complete = child.get("/metrics").and_then(|text| {
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        let of = |status| {
            text.lines().find(|line| line.contains(&format!("by_status_total{{status=\"{status}\"}}")))
        };
        Some(value(of("complete")?)? / alerts as f64)
    });
    child.end();
    setting.cluster.delete(&[name, &format!("{name}.dead")]);
    Run {
        alerts_a_second: counted / (last.0 - first.0).as_secs_f64(),
        cpu_seconds_a_million: (last.2.cpu - first.2.cpu).as_secs_f64() / counted * 1e6,
        peak_mib: last.2.peak_mib,
        ready_ms: ready.map(|ready| ready.as_secs_f64() * 1000.0),
        complete,
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    if copy::is_asked_for() {
        copy::run();
        return;
    }
    let Ok(brokers) = std::env::var("KAFKA_BROKERS") else {
        eprintln!(
            "end_to_end needs a broker:\n  tests/kafka/broker.sh start\n  eval \"$(tests/kafka/broker.sh env)\"\n  \
             cargo bench --bench end_to_end\n  tests/kafka/broker.sh stop"
        );
        return;
    };
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let world = Arc::new(World::new(Options { known: 1.0, ..Options::default() }));
    let simulator = runtime.block_on(Simulator::start("127.0.0.1:0".parse().unwrap(), world)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        cluster: Cluster::new(&brokers, PARTITIONS),
        simulator: &simulator,
        directory: directory.path().to_owned(),
        threads: arguments.threads,
    };
    let stamp = std::process::id();
    let input = format!("bench-{stamp}-in");
    setting.cluster.create(&[&input]);
    setting.cluster.produce(&input, arguments.alerts, arguments.entities);

    let report = Report::new();
    let mut runs = Who::ALL.map(|_| Vec::new());
    for number in 1..=arguments.runs {
        for (who, runs) in Who::ALL.into_iter().zip(&mut runs) {
            let name = format!("bench-{stamp}-{}-{number}", who as u8);
            let run = run(&setting, who, &input, &name, arguments.alerts);
            report.run(who, number, &run);
            runs.push(run);
        }
    }
    let reached = median(runs[Who::Service as usize].iter().map(|run| run.alerts_a_second));
    report.medians(&runs);
    if arguments.seconds > 0 {
        let rate = if arguments.rate > 0 { arguments.rate } else { (reached / 2.0) as u64 };
        for who in Who::ALL {
            let (input, output) =
                (format!("bench-{stamp}-{}-late", who as u8), format!("bench-{stamp}-{}-seen", who as u8));
            setting.cluster.create(&[&input, &output, &format!("{output}.dead")]);
            let (child, _) = setting.start(who, &input, &output);
            let latency = latency::measure(
                &setting.cluster,
                &input,
                &output,
                rate,
                arguments.entities,
                arguments.seconds,
            );
            let cpu = latency.sent as f64;
            report.latency(who, rate, &latency, child.sample().cpu.as_secs_f64() / cpu * 1e6);
            child.end();
            setting.cluster.delete(&[&input, &output, &format!("{output}.dead")]);
        }
    }
    setting.cluster.delete(&[&input]);
}

/// Text for people, JSON lines in a pipe.
struct Report {
    for_people: bool,
}

impl Report {
    fn new() -> Report {
        let for_people = std::io::stdout().is_terminal();
        if for_people {
            println!(
                "{:12} {:>6} {:>12} {:>16} {:>10} {:>10} {:>10}",
                "", "run", "alerts/s", "CPU s/million", "peak MiB", "ready ms", "complete"
            );
        }
        Report { for_people }
    }

    fn run(&self, who: Who, number: usize, run: &Run) {
        self.line(who, &number.to_string(), run);
    }

    fn line(&self, who: Who, number: &str, run: &Run) {
        if self.for_people {
            let or_nothing = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.0}"));
            println!(
                "{:12} {number:>6} {:>12.0} {:>16.2} {:>10.0} {:>10} {:>10}",
                who.name(),
                run.alerts_a_second,
                run.cpu_seconds_a_million,
                run.peak_mib,
                or_nothing(run.ready_ms),
                run.complete.map_or(String::new(), |share| format!("{:.2} %", share * 100.0)),
            );
        } else {
            let line = json!({
                "who": who.name(),
                "run": number,
                "alerts_a_second": run.alerts_a_second.round(),
                "cpu_seconds_a_million": rounded(run.cpu_seconds_a_million),
                "peak_mib": rounded(run.peak_mib),
                "ready_ms": run.ready_ms.map(rounded),
                "complete": run.complete,
            });
            println!("{line}");
        }
    }

    fn medians(&self, runs: &[Vec<Run>; 3]) {
        let of = |runs: &Vec<Run>| Run {
            alerts_a_second: median(runs.iter().map(|run| run.alerts_a_second)),
            cpu_seconds_a_million: median(runs.iter().map(|run| run.cpu_seconds_a_million)),
            peak_mib: median(runs.iter().map(|run| run.peak_mib)),
            ready_ms: Some(median(runs.iter().filter_map(|run| run.ready_ms))).filter(|ms| !ms.is_nan()),
            complete: Some(median(runs.iter().filter_map(|run| run.complete)))
                .filter(|share| !share.is_nan()),
        };
        let medians = runs.each_ref().map(of);
        for (who, median) in Who::ALL.into_iter().zip(&medians) {
            self.line(who, "median", median);
        }
        for (of, to) in [(Who::Service, Who::CopyLoop), (Who::ExactlyOnce, Who::Service)] {
            let (one, other) = (&medians[of as usize], &medians[to as usize]);
            let speed = one.alerts_a_second / other.alerts_a_second;
            let cpu = one.cpu_seconds_a_million / other.cpu_seconds_a_million;
            if self.for_people {
                println!("{} : {:<10} {speed:>8.2} {cpu:>16.2}", of.name(), to.name());
            } else {
                let ratio = json!({"of": of.name(), "to": to.name(), "alerts_a_second": rounded(speed), "cpu": rounded(cpu)});
                println!("{}", json!({"ratio": ratio}));
            }
        }
    }

    fn latency(&self, who: Who, rate: u64, seen: &latency::Latency, cpu: f64) {
        let latency::Latency { p50, p99, worst, .. } = seen;
        if self.for_people {
            println!(
                "{:12} at {rate} alerts/s: p50 {p50:.1} ms, p99 {p99:.1} ms, worst {worst:.1} ms; CPU {cpu:.2} s/million",
                who.name()
            );
        } else {
            let line = json!({
                "who": who.name(), "rate": rate, "p50_ms": rounded(*p50), "p99_ms": rounded(*p99),
                "worst_ms": rounded(*worst), "cpu_seconds_a_million": rounded(cpu),
            });
            println!("{line}");
        }
    }
}

fn rounded(value: f64) -> Value {
    json!((value * 100.0).round() / 100.0)
}
