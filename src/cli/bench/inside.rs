//! A process that is measured, from inside: the hidden command `bench-child`, which only [`super::child`] starts.
//!
//! Contract: it says on its first line where it listens, answers each line of its standard input with the number of alerts
//! that it is through with, and ends when that input closes: whoever started it is gone then. The service is that of
//! `run`, built and started by the same code; only its cache may be full from the start.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Subcommand};
use serde_json::json;

use super::copy_loop;
use crate::cache::Lifetimes;
use crate::cli::output::line;
use crate::cli::{End, run};
use crate::config::Config;
use crate::simulator::{Latency, Options, Simulator, World, sample};

/// Arguments of `bench-child`.
#[derive(Debug, Args)]
pub struct ChildArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The least that any service must do.
    CopyLoop {
        /// The configuration that the service would have.
        config: PathBuf,
        /// With the service's own librdkafka.
        #[arg(long)]
        mended: bool,
    },
    /// The service.
    Service {
        /// Its configuration.
        config: PathBuf,
        /// Answers that are in its cache from the start.
        #[arg(long, default_value_t = 0)]
        prefill: usize,
    },
    /// Simulated vendors that know everybody.
    Vendors {
        /// How long each answer takes, in milliseconds.
        #[arg(long, default_value_t = 0)]
        latency: u64,
    },
}

/// Runs until it is ended.
pub fn run(arguments: &ChildArguments) -> Result<(), End> {
    match &arguments.what {
        What::CopyLoop { config, mended } => copy_loop::run(config, *mended),
        What::Service { config, prefill } => service(config, *prefill),
        What::Vendors { latency } => vendors(*latency),
    }
}

/// Answers whoever started us, in a thread of its own.
pub fn answer(count: impl Fn() -> u64 + Send + 'static) -> std::io::Result<()> {
    let body = move || {
        for asked in std::io::stdin().lock().lines() {
            if asked.is_err() || line(&count().to_string()).is_err() {
                break;
            }
        }
        // Nobody is there any more. What is in flight is of no use to anyone.
        std::process::exit(0);
    };
    std::thread::Builder::new().name("answers".to_owned()).spawn(body).map(drop)
}

/// Reads a configuration that [`super::recipe`] wrote. What the environment says is about the user's own service.
pub fn read(file: &Path) -> Result<Config, End> {
    Config::load(file, []).map_err(End::Configuration)
}

fn service(file: &Path, prefill: usize) -> Result<(), End> {
    let filled = std::cell::Cell::new(0.0);
    run::serve(
        file,
        read(file)?,
        |config, engine| {
            let started = Instant::now();
            if let Some(provider) = config.providers.first() {
                let lifetimes = Lifetimes::new(provider.common.ttl, &config.cache);
                sample::fill(engine.pipeline().flights.cache(), &lifetimes, prefill);
            }
            filled.set(started.elapsed().as_secs_f64() * 1000.0);
        },
        |engine, service| {
            let hello = json!({"address": service.admin.to_string(), "filled_ms": filled.get()});
            let metrics = Arc::clone(&engine.metrics);
            // Whoever reads neither will kill us.
            let _ = line(&hello.to_string()).and_then(|()| answer(move || metrics.published.get()));
        },
    )
}

fn vendors(latency: u64) -> Result<(), End> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = Options { known: 1.0, latency: Latency::Fixed(latency), ..Options::default() };
        let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), Arc::new(World::new(options))).await?;
        line(&json!({"address": simulator.addr().to_string()}).to_string())?;
        answer(|| 0)?;
        std::future::pending::<()>().await;
        Ok::<(), std::io::Error>(())
    })?;
    Ok(())
}
