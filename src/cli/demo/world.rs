//! What the demo's service finds around it: a broker, five vendors, and a configuration that names them.
//!
//! Contract: everything listens on loopback, on ports of its own choosing. The secrets are the simulator's own and
//! open nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{Config, Problems};
use crate::simulator::broker::Broker;
use crate::simulator::calls::Calls;
use crate::simulator::{
    self, Latency, Options, Simulator, cloudflare, cortex_xdr, datadog, google_secops, oracle_casb,
};

/// Where alerts come from.
pub const INPUT: &str = "security.alerts";
/// Where enriched alerts go.
pub const OUTPUT: &str = "security.alerts.enriched";
/// Where unreadable alerts go.
pub const DEAD_LETTERS: &str = "security.alerts.dead-letters";
/// Partitions of each topic. The embedded broker keeps 5 MiB of each, far more than what may be under way.
pub const PARTITIONS: i32 = 12;
/// The bearer token of `/v1`.
pub const TOKEN: &str = "demo";

/// How long the vendors take, in milliseconds: about what such APIs take across a continent.
const LATENCY: Latency = Latency::Between(15, 60);

/// Broker and vendors, running.
pub struct World {
    broker: Broker,
    simulator: Simulator,
}

impl World {
    /// Starts them on the current runtime.
    pub async fn start() -> anyhow::Result<World> {
        let topics = [(INPUT, PARTITIONS), (OUTPUT, PARTITIONS), (DEAD_LETTERS, PARTITIONS)];
        let broker = Broker::start(&topics).context("cannot start the embedded broker")?;
        let world = simulator::World::new(Options { latency: LATENCY, ..Options::default() });
        let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), Arc::new(world))
            .await
            .context("cannot start the simulated vendors")?;
        Ok(World { broker, simulator })
    }

    /// Where the broker is.
    pub fn brokers(&self) -> String {
        self.broker.bootstrap()
    }

    /// What was asked of the vendors.
    pub fn calls(&self) -> BTreeMap<String, Calls> {
        self.simulator.world().all_calls()
    }

    /// The configuration, as a person would write it.
    ///
    /// # Errors
    /// A bug: it is tested.
    pub fn config(&self) -> Result<Config, Problems> {
        // The environment is left out: a demo is the same everywhere.
        Config::parse(
            "demo",
            &text(&self.brokers(), |vendor| self.simulator.base_url(vendor)),
            Path::new(""),
            [],
        )
    }
}

fn text(brokers: &str, url: impl Fn(&str) -> String) -> String {
    let cortex_key = cortex_xdr::ADVANCED;
    format!(
        "\
allow_literal_secrets: true
kafka:
  brokers: [{brokers}]
  # The embedded broker answers an empty fetch only when its time is up.
  consumer: {{fetch.wait.max.ms: 5}}
input: {{topics: [{INPUT}], group: riskstream-demo}}
output: {{topic: {OUTPUT}}}
dead_letters: {{topic: {DEAD_LETTERS}}}
providers:
  datadog:
    type: datadog
    base_url: {datadog}
    api_key: {api_key}
    application_key: {application_key}
  cortex:
    type: cortex_xdr
    base_url: {cortex}
    key_id: {key_id}
    key: {key}
    key_type: advanced
  secops:
    type: google_secops
    base_url: {secops}
    project: demo
    location: us
    instance: 00000000-0000-0000-0000-000000000000
    token: {secops_token}
  cloudflare:
    type: cloudflare
    base_url: {cloudflare}
    account_id: {account}
    token: {cloudflare_token}
  oracle:
    type: oracle_casb
    base_url: {oracle}
    access_key: {access_key}
    access_secret: {access_secret}
routes:
  # DOMAIN\\user is how Cortex XDR knows people, whoever raised the alert.
  - {{kinds: [user], identifiers: ['^[^\\\\@]+\\\\'], provider: cortex}}
  - {{formats: [ecs, ocsf, microsoft_graph], kinds: [user], provider: cloudflare}}
  - {{formats: [splunk_notable], kinds: [user], provider: oracle}}
admin: {{listen: 127.0.0.1:0, token: {TOKEN}}}
",
        datadog = url("datadog"),
        api_key = datadog::API_KEY,
        application_key = datadog::APPLICATION_KEY,
        cortex = url("cortex_xdr"),
        key_id = cortex_key.id,
        key = cortex_key.key,
        secops = url("google_secops"),
        secops_token = google_secops::TOKEN,
        cloudflare = url("cloudflare"),
        account = cloudflare::ACCOUNT_ID,
        cloudflare_token = cloudflare::TOKEN,
        oracle = url("oracle_casb"),
        access_key = oracle_casb::ACCESS_KEY,
        access_secret = oracle_casb::ACCESS_SECRET,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::alert::{Scratch, Select};
    use crate::engine::Engine;
    use crate::routing::Decision;
    use crate::simulator::alerts::Alerts;

    #[tokio::test]
    async fn the_configuration_is_right_and_sends_every_entity_of_the_alerts_to_somebody() {
        let text = text("localhost:9092", |vendor| format!("http://127.0.0.1:1/{vendor}"));
        let config = match Config::parse("demo", &text, Path::new(""), []) {
            Ok(config) => config,
            Err(problems) => panic!("{}", problems.json_lines()),
        };
        let engine = Engine::build(&config, tokio::runtime::Handle::current()).unwrap();
        let pipeline = &engine.pipeline();
        let mut asked = vec![0; config.providers.len()];
        let mut scratch = Scratch::default();
        for alert in Alerts::new(1).take(2000) {
            let Ok(decoded) = pipeline.decoder.decode(&alert.value, Select::Auto, &mut scratch) else {
                continue;
            };
            for found in decoded.found.iter() {
                match pipeline.routing.decide(INPUT, decoded.format, found.kind, found.value) {
                    Decision::Ask(provider) => asked[usize::from(provider.0)] += 1,
                    other => panic!("{other:?}: {:?} {:?}", alert.format, found),
                }
            }
        }
        assert!(asked.iter().all(|count| *count > 100), "{asked:?}");
    }
}
