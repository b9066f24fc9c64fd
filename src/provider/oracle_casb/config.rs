//! The keys of `type: oracle_casb`: the key pair, and which applications to look at.

use crate::config::secret::Fingerprint;
use crate::config::{Secret, Section};
use crate::http::BaseUrl;

/// What an Oracle CASB instance needs to be asked. Its address has no default: every tenant's differs, so
/// `base_url` must be written.
#[derive(Clone, Debug, PartialEq)]
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

    /// What Oracle counts a quota against, as far as is known: the key pair.
    pub fn credential(&self) -> Vec<Fingerprint> {
        vec![self.access_key.fingerprint(), self.access_secret.fingerprint()]
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
    let keys = section.required_rotating_pair(["access_key", "access_secret"]);
    let application_type = section.text("application_type");
    let application_instance = section.text("application_instance");
    let [access_key, access_secret] = keys?;
    let config = Config { access_key, access_secret, application_type, application_instance };
    addressed.then_some(config)
}
