//! The commands, one file each; this one owns the arguments, the exit codes and what all commands print with.
//!
//! Contract: results go to stdout, everything else to stderr; aligned and coloured on a terminal, JSON lines in a
//! pipe or with `--json`. Exit codes: 0 done, 1 failed while running, 2 usage, 78 configuration.

mod alerts;
mod bench;
mod check;
mod demo;
mod dlq;
mod enrich;
mod extract;
mod lookup;
mod memory;
mod output;
mod run;
mod simulate;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Problem, Problems};
use crate::engine::EngineError;
use crate::entity::EntityKind;
use crate::source::identity::Identity;
use crate::source::verify::{self, Refused};

/// It did what it was asked to.
const EXIT_DONE: u8 = 0;
/// Something failed while running.
const EXIT_FAILED: u8 = 1;
/// The arguments are wrong; clap leaves with the same.
const EXIT_USAGE: u8 = 2;

/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// Enriches security alerts on Kafka with the risk scores of the entities they name.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Examples:
  riskstream demo                                     see it work, with nothing else installed
  riskstream check --config riskstream.yaml           all problems of a configuration at once
  riskstream enrich --config riskstream.yaml a.ndjson try it on a file, without Kafka
  riskstream run --config riskstream.yaml             the service")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The service: alerts in from Kafka, enriched alerts out.
    #[command(
        after_help = "Stops on SIGTERM or ctrl-c after what is in flight is done; a second signal stops at once.

Examples:
  riskstream run --config riskstream.yaml
  RISKSTREAM__KAFKA__BROKERS=kafka-1:9092,kafka-2:9092 riskstream run --config riskstream.yaml"
    )]
    Run(ConfigArgument),
    /// Checks a configuration, and shows which entities would be sent to which host.
    #[command(after_help = "Examples:
  riskstream check --config riskstream.yaml
  riskstream check --config riskstream.yaml --connect    also asks the broker and every vendor")]
    Check(CheckArguments),
    /// Enriches alerts from files or stdin, without Kafka.
    #[command(after_help = "Reads NDJSON, a JSON array or one document; writes one enriched alert a line.
A line that cannot be read is reported with its number, and the rest goes on (exit code 1 at the end).

Examples:
  riskstream enrich --config riskstream.yaml alerts.ndjson > enriched.ndjson
  kcat -C -t security.alerts -e | riskstream enrich --config riskstream.yaml | jq .risk")]
    Enrich(EnrichArguments),
    /// Shows what would be looked up, and where. No vendor is called.
    #[command(after_help = "Examples:
  riskstream extract alerts.ndjson
  riskstream extract --config riskstream.yaml --format ecs alerts.ndjson")]
    Extract(ExtractArguments),
    /// Asks about one entity.
    #[command(after_help = "Examples:
  riskstream lookup --config riskstream.yaml cloud_identity arn:aws:iam::123456789012:user/john.doe
  riskstream lookup --config riskstream.yaml --provider okta-cf user john.doe@example.com")]
    Lookup(LookupArguments),
    /// Everything in one process: embedded broker, simulated vendors, sample alerts, live view.
    #[command(after_help = "Examples:
  riskstream demo
  riskstream demo --seconds 20 --rate 2000")]
    Demo(DemoArguments),
    /// The five vendors as HTTP servers, with scripted faults.
    #[command(after_help = "Examples:
  riskstream simulate
  riskstream simulate --listen 127.0.0.1:8900 --latency 50ms")]
    Simulate(SimulateArguments),
    /// Dead letters: list them, look at one, send them again.
    Dlq(dlq::Arguments),
    /// What this machine makes of it, beside a bare copy loop.
    #[command(after_help = "Without --brokers only the steps of the hot path are measured, in this process.

With it, service and copy loop work off the same backlog one after the other, each as a process
of its own: alerts a second, CPU seconds for a million alerts, and their ratio in each run. The
copy loop has librdkafka as it is distributed (--mended: as the service has it). The cluster's
own work counts for neither, but takes processors where it shares the machine. Topics called
riskstream-bench-... are created there, and deleted, also after ctrl-c.

Examples:
  riskstream bench
  riskstream bench --brokers localhost:9092
  riskstream bench --brokers localhost:9092 --only backlog --alerts 200000 --runs 3
  riskstream bench --brokers localhost:9092 --only growth,hanging --json > bench.jsonl")]
    Bench(bench::Arguments),
    /// A process that `bench` measures.
    #[command(hide = true)]
    BenchChild(bench::ChildArguments),
}

#[derive(Debug, Args)]
struct ConfigArgument {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Also asks the broker about the topics and every vendor about its credentials.
    #[arg(long)]
    connect: bool,
    /// JSON lines, also on a terminal.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct EnrichArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The format of the alerts, instead of recognising it.
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Threads that call vendors.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Files to read; stdin when there is none, or for `-`.
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ExtractArguments {
    /// The configuration file, for its formats, routes and providers.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The format of the alerts, instead of recognising it.
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Files to read; stdin when there is none, or for `-`.
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct LookupArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The provider to ask, by its name in the configuration.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// JSON, also on a terminal.
    #[arg(long)]
    json: bool,
    /// What the identifier names: user, host, endpoint, cloud_identity, ip, ...
    kind: EntityKind,
    /// The identifier.
    identifier: String,
}

#[derive(Debug, Args)]
struct DemoArguments {
    /// Ends by itself after so many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Alerts a second.
    #[arg(long, value_name = "R", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    rate: u64,
}

#[derive(Debug, Args)]
struct SimulateArguments {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8900")]
    listen: std::net::SocketAddr,
    /// How long every answer takes.
    #[arg(long, value_name = "DURATION", default_value = "20ms")]
    latency: String,
}

/// Parses the arguments, runs the command, and turns its end into an exit code.
pub fn main() -> u8 {
    // A usage error leaves with 2, help with 0.
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run(a) => run::run(&a),
        Command::Check(a) => check::run(&a.config.config, a.connect, a.json),
        Command::Enrich(a) => enrich::run(&a.config.config, a.format.as_deref(), a.threads, &a.files),
        Command::Extract(a) => extract::run(a.config.as_deref(), a.format.as_deref(), &a.files),
        Command::Lookup(a) => {
            lookup::run(&a.config.config, a.provider.as_deref(), a.kind, &a.identifier, a.json)
        }
        Command::Demo(a) => demo::run(a.seconds, a.rate),
        Command::Simulate(a) => simulate::run(a.listen, &a.latency),
        Command::Dlq(a) => dlq::run(&a),
        Command::Bench(a) => bench::run(&a),
        Command::BenchChild(a) => bench::run_child(&a),
    };
    match result {
        Ok(()) => EXIT_DONE,
        Err(End::Quiet) => EXIT_FAILED,
        Err(End::Usage(error)) => {
            output::error(&error);
            EXIT_USAGE
        }
        Err(End::Configuration(problems)) => {
            output::problems(&problems);
            EXIT_CONFIG
        }
        // Whoever read us has had enough, as `head` does.
        Err(End::Failed(error)) if is_closed_pipe(&error) => EXIT_DONE,
        Err(End::Failed(error)) => {
            output::error(&format!("{error:#}"));
            EXIT_FAILED
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// How a command ended when it did not end well.
#[derive(Debug)]
enum End {
    /// What is wrong with the configuration.
    Configuration(Problems),
    /// What is wrong with an argument that only the configuration, or more than its form, can tell.
    Usage(String),
    /// What went wrong while it ran.
    Failed(anyhow::Error),
    /// It has said everything already.
    Quiet,
}

impl<E: Into<anyhow::Error>> From<E> for End {
    fn from(error: E) -> Self {
        End::Failed(error.into())
    }
}

/// Reads a configuration whole.
fn load(path: &Path) -> Result<Config, End> {
    Config::load(path, crate::config::environment()).map_err(End::Configuration)
}

/// Formats and routes are part of the configuration, though they are resolved when the parts are built.
fn engine_problem(path: &Path, error: &EngineError) -> End {
    let file = path.display().to_string();
    let problems = error
        .to_string()
        .lines()
        .map(|line| {
            let (key, what) = line.split_once(": ").unwrap_or(("", line));
            let mut problem = Problem::of_file(file.clone(), what, "");
            problem.key = key.to_owned();
            problem
        })
        .collect();
    End::Configuration(Problems::new(problems))
}

/// So are librdkafka's properties, which it tells by trying, and the files of the way to an identity provider.
fn verify(path: &Path, config: &Config) -> Result<(), End> {
    let file = path.display().to_string();
    let problem = |refused: Refused| Problem {
        key: refused.key,
        ..Problem::of_file(file.clone(), refused.what, refused.cure)
    };
    let mut problems: Vec<Problem> = verify::verify(config).into_iter().map(problem).collect();
    if let Err(error) = Identity::new(&config.kafka) {
        let mut problem = Problem::of_file(file, error.to_string(), "correct ca or proxy");
        problem.key = "kafka.sasl".to_owned();
        problems.push(problem);
    }
    if problems.is_empty() { Ok(()) } else { Err(End::Configuration(Problems::new(problems))) }
}

/// Whether results are for people.
fn for_people(json: bool) -> bool {
    !json && std::io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
