//! The keys of `type: cortex_xdr`: which tenant, and which API key.

use crate::config::secret::Fingerprint;
use crate::config::{Secret, Section};
use crate::http::BaseUrl;

/// What a Cortex XDR instance needs to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The address that `fqdn` gives; `None` where `base_url` stands instead.
    pub address: Option<BaseUrl>,
    /// `key_id`: the number of the API key, sent as `x-xdr-auth-id`.
    pub key_id: String,
    /// `key`: the API key.
    pub key: Secret,
    /// `key_type`: how the key is used.
    pub key_type: KeyType,
}

/// The security level that an API key was made with, in the console's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// The key itself is sent.
    Standard,
    /// A hash of key, nonce and time is sent, new for every attempt.
    Advanced,
}

impl Config {
    /// The address that the vendor's own keys give; `base_url` of the common keys goes before it.
    pub fn base_url(&self) -> Option<&BaseUrl> {
        self.address.as_ref()
    }

    /// What Palo Alto counts a quota against, as far as is known: the API key.
    pub fn credential(&self) -> Vec<Fingerprint> {
        vec![self.key.fingerprint()]
    }
}

/// Reads the keys of this vendor; `None` when a problem was recorded.
pub fn read(section: &mut Section<'_>) -> Option<Config> {
    let example = "acme.xdr.us.paloaltonetworks.com";
    let address = if section.has("base_url") {
        // Read all the same, so that it does not count as an unknown key.
        section.text("fqdn");
        Some(None)
    } else {
        section.required_text("fqdn", example).and_then(|fqdn| {
            address(&fqdn)
                .map(Some)
                .map_err(|what| section.problem("fqdn", what, format!("write the tenant's name: {example}")))
                .ok()
        })
    };
    let key_id = section.required_text("key_id", "7").and_then(|id| {
        let fine = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
        if !fine {
            section.problem(
                "key_id",
                "not the id of an API key",
                "write the number in the column ID of the console",
            );
        }
        fine.then_some(id)
    });
    let key = section.required_rotating_secret("key");
    let key_type = if section.has("key_type") {
        section.choice("key_type", &[("standard", KeyType::Standard), ("advanced", KeyType::Advanced)])
    } else {
        Some(KeyType::Advanced)
    };
    Some(Config { address: address?, key_id: key_id?, key: key?, key_type: key_type? })
}

/// `https://api-{fqdn}`, also of an fqdn that was copied with its scheme, its `api-`, or a slash at its end.
fn address(fqdn: &str) -> Result<BaseUrl, String> {
    BaseUrl::parse(&url(fqdn)?).map_err(|bad| bad.to_string())
}

fn url(fqdn: &str) -> Result<String, String> {
    let name = fqdn.trim();
    let name = name.strip_prefix("https://").unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_prefix("api-").unwrap_or(name);
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    if name.is_empty() || !name.chars().all(good) {
        return Err("not a host name".to_owned());
    }
    Ok(format!("https://api-{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_comes_from_the_fqdn_however_it_was_copied() {
        for fqdn in
            ["acme.xdr.us.example.com", "api-acme.xdr.us.example.com", "https://api-acme.xdr.us.example.com/"]
        {
            assert_eq!(url(fqdn).as_deref(), Ok("https://api-acme.xdr.us.example.com"), "{fqdn}");
        }
        for bad in
            ["", "http://acme.example.com", "acme.example.com/public_api", "acme@evil.example", "a b", "a?b"]
        {
            assert!(url(bad).is_err(), "{bad:?}");
        }
    }
}
