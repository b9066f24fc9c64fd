//! The list of vendors: the one place, beside its own folder, that a new vendor is named in.
//!
//! Contract: a vendor is here once in [`VendorConfig`] and once in each `match` on it, which the compiler
//! checks. [`build`] puts transport and guard around it; vendors know of neither each other nor this list.

use std::sync::Arc;

use super::Provider;
use super::cloudflare::{self, Cloudflare};
use super::cortex_xdr::{self, CortexXdr};
use super::datadog::{self, Datadog};
use super::gate::{Credential, Limiters};
use super::generic_http::{self, GenericHttp};
use super::google_secops::{self, GoogleSecops};
use super::guard::Guard;
use super::meter::Meter;
use super::oracle_casb::{self, OracleCasb};
use super::snapshot::Listing;
use super::templates::Templates;
use super::transport::Transport;
use crate::config::provider::Common;
use crate::config::secret::Fingerprint;
use crate::config::snapshot::Mode;
use crate::config::{ProviderConfig, Section};
use crate::http::{self, BaseUrl};

/// The values of `type`.
pub const TYPES: [&str; 6] =
    ["datadog", "cortex_xdr", "google_secops", "cloudflare", "oracle_casb", "generic_http"];

/// The keys of one vendor, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum VendorConfig {
    /// `datadog`.
    Datadog(datadog::config::Config),
    /// `cortex_xdr`.
    CortexXdr(cortex_xdr::config::Config),
    /// `google_secops`.
    GoogleSecops(google_secops::config::Config),
    /// `cloudflare`.
    Cloudflare(cloudflare::config::Config),
    /// `oracle_casb`.
    OracleCasb(oracle_casb::config::Config),
    /// `generic_http`.
    GenericHttp(Box<generic_http::Config>),
}

/// A provider that cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Neither the vendor's own keys nor `base_url` give an address.
    #[error("providers.{0}: no address: write base_url")]
    NoAddress(String),
    /// Its HTTP client cannot be set up.
    #[error("providers.{0}: {1}")]
    Http(String, http::BuildError),
}

impl VendorConfig {
    /// Reads the vendor's own keys from its entry; `None` when a problem was recorded.
    ///
    /// `vendor` is the value of `type`; an unknown one is a problem that names the known ones.
    pub fn read(vendor: &str, section: &mut Section<'_>) -> Option<Self> {
        match vendor {
            "datadog" => datadog::config::read(section).map(VendorConfig::Datadog),
            "cortex_xdr" => cortex_xdr::config::read(section).map(VendorConfig::CortexXdr),
            "google_secops" => google_secops::config::read(section).map(VendorConfig::GoogleSecops),
            "cloudflare" => cloudflare::config::read(section).map(VendorConfig::Cloudflare),
            "oracle_casb" => oracle_casb::config::read(section).map(VendorConfig::OracleCasb),
            "generic_http" => {
                generic_http::config::read(section).map(Box::new).map(VendorConfig::GenericHttp)
            }
            // No choice by now, so that this records the problem, with the words that are.
            _ => section.choice("type", &TYPES.map(|known| (known, None))).flatten(),
        }
    }

    /// The value of `type`.
    pub const fn label(&self) -> &'static str {
        match self {
            VendorConfig::Datadog(_) => "datadog",
            VendorConfig::CortexXdr(_) => "cortex_xdr",
            VendorConfig::GoogleSecops(_) => "google_secops",
            VendorConfig::Cloudflare(_) => "cloudflare",
            VendorConfig::OracleCasb(_) => "oracle_casb",
            VendorConfig::GenericHttp(_) => "generic_http",
        }
    }

    /// What the vendor's list holds, where it has one that can be read.
    pub fn listing(&self) -> Option<Listing> {
        match self {
            VendorConfig::CortexXdr(_) => Some(Listing::Riskiest),
            VendorConfig::Datadog(_)
            | VendorConfig::GoogleSecops(_)
            | VendorConfig::Cloudflare(_)
            | VendorConfig::OracleCasb(_) => Some(Listing::Everybody),
            VendorConfig::GenericHttp(config) => config.bulk.as_ref().map(|rule| rule.listing),
        }
    }

    /// Reports what the vendor's list leaves open beside the keys that every provider has.
    pub fn check_list(&self, common: &Common, section: &mut Section<'_>) {
        common.snapshot.check(section, self.listing());
        if let VendorConfig::GenericHttp(config) = self
            && let Some(bulk) = &config.bulk
        {
            let templates = Templates::new(&config.kinds, common.identifiers.clone());
            bulk.check(section, templates.kinds(), common.snapshot.mode == Mode::Snapshot);
        }
    }

    /// Bytes of what the vendor's provider keeps beside the cache.
    pub const fn keeps(&self) -> u64 {
        match self {
            VendorConfig::Cloudflare(_) => cloudflare::directory::MOST_BYTES,
            VendorConfig::Datadog(_)
            | VendorConfig::CortexXdr(_)
            | VendorConfig::GoogleSecops(_)
            | VendorConfig::OracleCasb(_)
            | VendorConfig::GenericHttp(_) => 0,
        }
    }

    /// The address that the vendor's own keys give.
    pub fn base_url(&self) -> Option<&BaseUrl> {
        match self {
            VendorConfig::Datadog(config) => config.base_url(),
            VendorConfig::CortexXdr(config) => config.base_url(),
            VendorConfig::GoogleSecops(config) => config.base_url(),
            VendorConfig::Cloudflare(config) => config.base_url(),
            VendorConfig::OracleCasb(config) => config.base_url(),
            VendorConfig::GenericHttp(config) => config.base_url(),
        }
    }

    /// What the vendor counts a quota against.
    fn credential(&self) -> Vec<Fingerprint> {
        match self {
            VendorConfig::Datadog(config) => config.credential(),
            VendorConfig::CortexXdr(config) => config.credential(),
            VendorConfig::GoogleSecops(config) => config.credential(),
            VendorConfig::Cloudflare(config) => config.credential(),
            VendorConfig::OracleCasb(config) => config.credential(),
            VendorConfig::GenericHttp(config) => config.credential(),
        }
    }
}

/// Builds a configured provider with everything around it. Providers with the same credential at the same host
/// share the limiter of `limiters`.
///
/// # Errors
/// See [`BuildError`].
pub fn build(
    config: &ProviderConfig,
    limiters: &Limiters,
    meter: Arc<dyn Meter>,
) -> Result<Guard, BuildError> {
    let (name, common) = (&config.name, &config.common);
    let base = common.base_url.as_ref().or_else(|| config.vendor.base_url()).cloned();
    let base = base.ok_or_else(|| BuildError::NoAddress(name.clone()))?;
    let credential = Credential::new(config.vendor.label(), base.host(), config.vendor.credential());
    let gate = limiters.gate(credential, common.limit);
    let transport = Transport::new(common, &base, Arc::clone(&gate), Arc::clone(&meter))
        .map_err(|error| BuildError::Http(name.clone(), error))?;
    let (scale, identifiers) = (common.scale, common.identifiers.clone());
    let provider: Box<dyn Provider> = match config.vendor.clone() {
        VendorConfig::Datadog(own) => Box::new(Datadog::new(own, base, scale, identifiers, transport)),
        VendorConfig::CortexXdr(own) => Box::new(CortexXdr::new(own, base, scale, identifiers, transport)),
        VendorConfig::GoogleSecops(own) => {
            Box::new(GoogleSecops::new(own, base, scale, identifiers, transport))
        }
        VendorConfig::Cloudflare(own) => Box::new(Cloudflare::new(own, base, scale, identifiers, transport)),
        VendorConfig::OracleCasb(own) => Box::new(OracleCasb::new(own, base, scale, identifiers, transport)),
        VendorConfig::GenericHttp(own) => {
            Box::new(GenericHttp::new(*own, base, scale, identifiers, transport))
        }
    };
    Ok(Guard::new(name, provider, common, meter).with_gate(gate))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::config::parse_for_tests;
    use crate::config::provider::Common;
    use crate::provider::meter::NoMeter;

    /// The least that every vendor needs.
    const ENTRIES: [(&str, &str, &str); 6] = [
        ("datadog", "site: datadoghq.eu\napi_key: k1\napplication_key: k2\n", "api.datadoghq.eu"),
        ("cortex_xdr", "fqdn: acme.xdr.us.paloaltonetworks.com\nkey_id: 7\nkey: k\n", "api-acme.xdr"),
        (
            "google_secops",
            "project: p\nlocation: us\ninstance: 2c46cdd9-92e3-5e5f-b3cf-0123456789ab\ntoken: t\n",
            "us-chronicle.googleapis.com",
        ),
        ("cloudflare", "account_id: 0123456789abcdef0123456789abcdef\ntoken: t\n", "api.cloudflare.com"),
        ("oracle_casb", "base_url: http://127.0.0.1:1\naccess_key: a\naccess_secret: s\n", "127.0.0.1:1"),
        (
            "generic_http",
            "base_url: http://127.0.0.1:1\nkinds: [user]\nrequest: {path: '/{value}'}\nanswer: {score: $.score}\n",
            "127.0.0.1:1",
        ),
    ];

    fn read(vendor: &str, yaml: &str) -> Result<ProviderConfig, String> {
        let document = parse_for_tests(yaml);
        let mut root = document.root();
        let base_url = root.url("base_url");
        let own = VendorConfig::read(vendor, &mut root);
        root.finish();
        let problems = document.problems();
        if !problems.is_empty() {
            return Err(problems.to_string());
        }
        let common = Common { base_url, ..Common::for_tests() };
        Ok(ProviderConfig { name: "acme".to_owned(), common, vendor: own.expect("no problem, no config") })
    }

    #[tokio::test]
    async fn every_vendor_can_be_configured_and_built() {
        assert_eq!(ENTRIES.map(|(vendor, ..)| vendor), TYPES);
        for (vendor, yaml, host) in ENTRIES {
            let config = read(vendor, yaml).unwrap_or_else(|problems| panic!("{vendor}: {problems}"));
            assert_eq!(config.vendor.label(), vendor);
            let guard = build(&config, &Limiters::default(), Arc::new(NoMeter)).unwrap();
            let provider = guard.provider();
            assert!(provider.host().starts_with(host), "{vendor}: {}", provider.host());
            assert!(!provider.kinds().is_empty(), "{vendor}");
            assert_eq!(guard.state().problem(), None);
        }
    }

    #[test]
    fn an_unknown_vendor_is_answered_with_the_known_ones() {
        let problem = read("data-dog", "type: data-dog\n").unwrap_err();
        assert!(problem.contains("nearest is datadog") && problem.contains("oracle_casb"), "{problem}");
    }

    #[test]
    fn an_address_that_is_nowhere_is_asked_for() {
        let (vendor, yaml, _) = ENTRIES[4];
        let mut config = read(vendor, yaml).unwrap();
        config.common.base_url = None;
        let error = build(&config, &Limiters::default(), Arc::new(NoMeter)).err().unwrap();
        assert!(error.to_string().contains("base_url"), "{error}");
    }
}
