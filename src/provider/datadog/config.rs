//! Datadog's own keys: the site and the two keys.
//!
//! Contract: a [`Config`] names one of Datadog's known sites, so that keys never go to a host that is not Datadog's
//! unless `base_url` says so. Never holds a secret's value.

use crate::config::secret::Fingerprint;
use crate::config::{Secret, Section};
use crate::http::BaseUrl;

/// The nine sites, from the vendor's page and its SDKs' server lists.
pub const SITES: [&str; 9] = [
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
    "datadoghq.eu",
    "ddog-gov.com",
    "us2.ddog-gov.com",
];

const EXAMPLE: &str = "datadoghq.com";

/// `type: datadog`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `https://api.{site}`.
    pub address: BaseUrl,
    /// Header `DD-API-KEY`: names the organisation.
    pub api_key: Secret,
    /// Header `DD-APPLICATION-KEY`: names the user and what they may read.
    pub application_key: Secret,
}

/// Reads `site`, `api_key` and `application_key`; `None` when a problem was recorded.
///
/// `site` must be written unless `base_url` is: a default would send the keys of one region to another.
pub fn read(section: &mut Section<'_>) -> Option<Config> {
    let keys = section.required_rotating_pair(["api_key", "application_key"]);
    let written = if section.has("base_url") {
        Some(section.text("site").unwrap_or_else(|| EXAMPLE.to_owned()))
    } else {
        section.required_text("site", EXAMPLE)
    };
    let address = written.and_then(|written| match address(&written) {
        Some(address) => Some(address),
        None => {
            section.problem(
                "site",
                "not a Datadog site",
                format!("write one of {}; base_url takes any other address", SITES.join(", ")),
            );
            None
        }
    });
    let [api_key, application_key] = keys?;
    Some(Config { address: address?, api_key, application_key })
}

/// The API's address at a site, in any of the spellings that Datadog itself uses: `datadoghq.eu`,
/// `app.datadoghq.eu` (the user interface) and `api.datadoghq.eu`.
fn address(written: &str) -> Option<BaseUrl> {
    let host = written.trim().to_ascii_lowercase();
    let bare = host.strip_prefix("app.").or_else(|| host.strip_prefix("api.")).unwrap_or(&host);
    let site = SITES.into_iter().find(|site| *site == bare)?;
    BaseUrl::parse(&format!("https://api.{site}")).ok()
}

impl Config {
    /// The address that the vendor's own keys give; `base_url` of the common keys goes before it.
    pub fn base_url(&self) -> Option<&BaseUrl> {
        Some(&self.address)
    }

    /// What Datadog counts a quota against: the organisation, which the API key names.
    pub fn credential(&self) -> Vec<Fingerprint> {
        vec![self.api_key.fingerprint()]
    }
}
