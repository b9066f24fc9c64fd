//! `riskstream simulate`: the five vendors as HTTP servers.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;

use super::End;
use super::output::line;
use crate::simulator::{self, Latency, Simulator, World};

/// Serves until it is interrupted.
pub fn run(listen: SocketAddr, latency: &str) -> Result<(), End> {
    let latency = crate::config::duration(latency)
        .map_err(|error| End::Usage(format!("--latency {latency}: {error}; write 20ms or 1s")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let options = simulator::Options { latency: Latency::Fixed(millis), ..Default::default() };
        let world = Arc::new(World::new(options));
        let simulator = Simulator::start(listen, world)
            .await
            .with_context(|| format!("cannot listen on {listen}: choose another with --listen"))?;
        for vendor in simulator::prefixes() {
            line(&format!("{vendor:14} {}", simulator.base_url(vendor)))?;
        }
        line(&format!("faults, counts  http://{}/_simulator", simulator.addr()))?;
        tokio::signal::ctrl_c().await?;
        Ok::<(), anyhow::Error>(())
    })?;
    Ok(())
}
