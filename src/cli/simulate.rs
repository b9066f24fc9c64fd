//! `riskstream simulate`: the five vendors as HTTP servers.

use std::net::SocketAddr;

use anyhow::Context;

use super::End;
use super::output::line;
use crate::simulator::{self, Simulator};

/// Serves until it is interrupted.
pub fn run(listen: SocketAddr, latency: &str) -> Result<(), End> {
    let latency = crate::config::duration(latency)
        .with_context(|| format!("--latency {latency:?}: write a duration such as 20ms or 1s"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = simulator::Options { latency: simulator::Latency::Fixed(latency), ..Default::default() };
        let simulator =
            Simulator::start_with(listen, options).await.with_context(|| format!("cannot listen on {listen}"))?;
        for vendor in simulator::VENDORS {
            line(&format!("{vendor:14} {}", simulator.base_url(vendor)))?;
        }
        line(&format!("faults, counts  http://{}/_simulator", simulator.addr))?;
        tokio::signal::ctrl_c().await?;
        Ok::<(), anyhow::Error>(())
    })?;
    Ok(())
}
