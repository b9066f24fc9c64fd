//! Cloudflare's own keys: the account, and one of the two ways to sign in.
//!
//! Contract: a [`Config`] has a well-formed account id and exactly one way to sign in. Never holds a secret's value.

use crate::config::secret::Fingerprint;
use crate::config::{Secret, Section};
use crate::entity::is_email;
use crate::http::BaseUrl;

/// The one address of the API, world-wide.
const ADDRESS: &str = "https://api.cloudflare.com/client/v4";

/// `type: cloudflare`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The API's address.
    pub address: BaseUrl,
    /// The account: 32 lower-case hexadecimal digits.
    pub account_id: String,
    /// How we sign in.
    pub credential: Credential,
}

/// How we sign in.
#[derive(Clone, Debug, PartialEq)]
pub enum Credential {
    /// An API token, with the permission `Zero Trust: PII Read`.
    Token(Secret),
    /// The global API key of a user: may do everything that the user may.
    Key {
        /// Whose key it is.
        email: String,
        /// The key.
        key: Secret,
    },
}

/// Reads `account_id`, and `token` or `email` + `key`; `None` when a problem was recorded.
pub fn read(section: &mut Section<'_>) -> Option<Config> {
    let account_id = account_id(section);
    let credential = credential(section);
    let address = match BaseUrl::parse(ADDRESS) {
        Ok(address) => Some(address),
        Err(error) => {
            section.problem("base_url", error.to_string(), "write the address of Cloudflare's API");
            None
        }
    };
    Some(Config { address: address?, account_id: account_id?, credential: credential? })
}

fn account_id(section: &mut Section<'_>) -> Option<String> {
    let written = section.required_text("account_id", "0123456789abcdef0123456789abcdef")?;
    let id = written.trim().to_ascii_lowercase();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(id);
    }
    section.problem(
        "account_id",
        "not an account id",
        "write the 32 hexadecimal digits that the dashboard's address shows",
    );
    None
}

fn credential(section: &mut Section<'_>) -> Option<Credential> {
    // Every key is read even when there are too many, so that none is reported as unknown as well.
    let has = ["token", "email", "key"].map(|key| section.has(key));
    let (token, email, key) =
        (section.rotating_secret("token"), section.text("email"), section.rotating_secret("key"));
    match has {
        [true, false, false] => token.map(Credential::Token),
        [false, true, true] => {
            let email = email?;
            // It becomes a header, which holds printable ASCII only.
            if is_email(&email) && email.is_ascii() {
                return Some(Credential::Key { email, key: key? });
            }
            section.problem(
                "email",
                "not an e-mail address",
                "write the address of the user whose key it is",
            );
            None
        }
        [false, true, false] => complain(section, "key", "email is there without key"),
        [false, false, true] => complain(section, "email", "key is there without email"),
        [false, false, false] => complain(section, "token", "there is no way to sign in"),
        [true, _, _] => complain(section, "token", "there are two ways to sign in"),
    }
}

fn complain(section: &mut Section<'_>, key: &str, what: &str) -> Option<Credential> {
    section.problem(key, what, "write either token, or email and key");
    None
}

impl Config {
    /// The address that the vendor's own keys give; `base_url` of the common keys goes before it.
    pub fn base_url(&self) -> Option<&BaseUrl> {
        Some(&self.address)
    }

    /// What Cloudflare counts a quota against: the user behind the token or key.
    pub fn credential(&self) -> Vec<Fingerprint> {
        match &self.credential {
            Credential::Token(secret) | Credential::Key { key: secret, .. } => vec![secret.fingerprint()],
        }
    }
}
