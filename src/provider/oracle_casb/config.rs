//! The keys of `type: oracle_casb`: the key pair, and which applications to look at.

use ring::digest;
use secrecy::ExposeSecret;

use crate::config::{Secret, Section};
use crate::http::BaseUrl;

/// What an Oracle CASB instance needs to be asked. Its address has no default: every tenant's differs, so
/// `base_url` must be written.
#[derive(Clone, Debug)]
pub struct Config {
    /// `access_key` of the pair made in the console.
    pub access_key: Secret,
    /// `access_secret` of the pair.
    pub access_secret: Secret,
    /// `application_type`: only this sort of application (`AWS`, `BOX`, `SFDC`, `O365`, ...).
    pub application_type: Option<String>,
    /// `application_instance`: only the application instance of this name.
    pub application_instance: Option<String>,
}

impl Config {
    /// No key of this vendor's own gives an address.
    pub fn base_url(&self) -> Option<&BaseUrl> {
        None
    }

    /// What tells one credential from another: instances with the same one share a quota.
    pub fn credential(&self) -> Vec<&Secret> {
        vec![&self.access_key, &self.access_secret]
    }

    /// The start of the access key's hash: stands for the tenant, which the address does not name.
    pub(super) fn tenant(&self) -> String {
        let hash = digest::digest(&digest::SHA256, self.access_key.current().expose_secret().as_bytes());
        hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads the keys of this vendor; `None` when a problem was recorded.
pub fn read(section: &mut Section<'_>) -> Option<Config> {
    let addressed = section.has("base_url");
    if !addressed {
        section.problem(
            "base_url",
            "missing: Oracle CASB has no common address",
            "write the address of your tenant's API: https://api-yours.example.net",
        );
    }
    let access_key = section.required_secret("access_key");
    let access_secret = section.required_secret("access_secret");
    let application_type = section.text("application_type");
    let application_instance = section.text("application_instance");
    let config = Config {
        access_key: access_key?,
        access_secret: access_secret?,
        application_type,
        application_instance,
    };
    addressed.then_some(config)
}
