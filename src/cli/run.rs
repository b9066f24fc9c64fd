//! `riskstream run`: the service.

use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigArgument, End, engine_problem, load, verify};
use crate::app::Service;
use crate::config::Config;
use crate::engine::Engine;
use crate::reload::{Reload, Seen};
use crate::supervisor::Stop;
use crate::telemetry;

/// Runs until a signal or an error.
pub fn run(argument: &ConfigArgument) -> Result<(), End> {
    serve(&argument.config, load(&argument.config)?, |_, _| (), |_, _| ())
}

/// The same with a configuration that was read; `prepare` sees the parts before anything runs, and `started` what then
/// does.
pub fn serve(
    file: &Path,
    config: Config,
    prepare: impl FnOnce(&Config, &Engine),
    started: impl FnOnce(&Engine, &Service),
) -> Result<(), End> {
    let config = Arc::new(config);
    telemetry::start(&config.log);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("riskstream").build()?;
    // Before anything takes its time: what changes from here on is a change.
    let seen = runtime.block_on(async { Seen::new(file, &config) })?;
    let engine =
        Engine::build(&config, runtime.handle().clone()).map_err(|error| engine_problem(file, &error))?;
    let engine = Arc::new(engine);
    verify(file, &config)?;
    prepare(&config, &engine);
    let stop = Stop::default();
    let service = runtime.block_on(async {
        listen_for_signals(stop.clone())?;
        let service = Service::start(Arc::clone(&config), &engine, stop).await?;
        Reload::new(seen, Arc::clone(&engine), service.notes()).start();
        anyhow::Ok(service)
    })?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        admin = %service.admin,
        group = config.input.group,
        output = config.output.topic,
        "started"
    );
    started(&engine, &service);
    let result = service.wait();
    // Flights that nobody waits for any more end here.
    runtime.shutdown_background();
    match result {
        Ok(()) => {
            tracing::info!(
                consumed = engine.metrics.consumed.get(),
                published = engine.metrics.published.get(),
                dead_lettered = engine.metrics.dead_letters(),
                "stopped"
            );
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "stopped");
            Err(End::Quiet)
        }
    }
}

/// Turns SIGTERM, SIGINT and SIGQUIT into a request to stop; the second one means at once.
fn listen_for_signals(stop: Stop) -> anyhow::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                tracing::info!(signal = kind.as_raw_value(), "stop requested");
                stop.request();
            }
        });
    }
    Ok(())
}
