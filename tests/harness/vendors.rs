//! The five simulated vendors, on a port of their own, and the configuration that reaches them.

use std::net::SocketAddr;
use std::sync::Arc;

use riskstream::simulator::{
    Latency, Options, Simulator, World, cloudflare, cortex_xdr, datadog, google_secops, oracle_casb,
};

/// The vendors while they run.
pub struct Vendors {
    runtime: tokio::runtime::Runtime,
    simulator: Option<Simulator>,
    address: SocketAddr,
    /// What stands behind them.
    pub world: Arc<World>,
}

impl Vendors {
    /// All five, answering after `latency_ms`.
    pub fn start(latency_ms: u64) -> Vendors {
        Self::of(Options { latency: Latency::Fixed(latency_ms), ..Options::default() })
    }

    /// All five, as `options` says.
    pub fn of(options: Options) -> Vendors {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let world = Arc::new(World::new(options));
        let start = Simulator::start("127.0.0.1:0".parse().unwrap(), Arc::clone(&world));
        let simulator = runtime.block_on(start).unwrap();
        Vendors { address: simulator.addr(), runtime, simulator: Some(simulator), world }
    }

    /// The section `providers` with all five; `more` is added to each, as YAML members.
    pub fn providers(&self, more: &str) -> String {
        let all = ["datadog", "cortex_xdr", "google_secops", "cloudflare", "oracle_casb"];
        all.into_iter().fold("providers:\n".to_owned(), |text, vendor| text + &self.provider(vendor, more))
    }

    /// One entry of that section.
    pub fn provider(&self, vendor: &str, more: &str) -> String {
        let own = match vendor {
            "datadog" => {
                format!("api_key: {}, application_key: {}", datadog::API_KEY, datadog::APPLICATION_KEY)
            }
            "cortex_xdr" => format!(
                "key_id: '{}', key: {}, key_type: advanced",
                cortex_xdr::ADVANCED.id,
                cortex_xdr::ADVANCED.key
            ),
            "google_secops" => format!(
                "project: p, location: us, instance: 2c46cdd9-92e3-5e5f-b3cf-0123456789ab, token: {}",
                google_secops::TOKEN
            ),
            "cloudflare" => format!("account_id: {}, token: {}", cloudflare::ACCOUNT_ID, cloudflare::TOKEN),
            "oracle_casb" => format!(
                "access_key: {}, access_secret: {}",
                oracle_casb::ACCESS_KEY,
                oracle_casb::ACCESS_SECRET
            ),
            other => panic!("no vendor {other}"),
        };
        format!("  {vendor}: {{type: {vendor}, base_url: 'http://{}/{vendor}', {own}{more}}}\n", self.address)
    }

    /// How often each entity was asked about, all vendors together.
    pub fn questions(&self) -> Vec<u64> {
        self.world.all_calls().into_values().flat_map(|calls| calls.by_entity.into_values()).collect()
    }

    /// Requests, all vendors together.
    pub fn requests(&self) -> u64 {
        self.world.all_calls().into_values().map(|calls| calls.total).sum()
    }
}

impl Drop for Vendors {
    fn drop(&mut self) {
        if let Some(simulator) = self.simulator.take() {
            self.runtime.block_on(simulator.stop());
        }
    }
}
