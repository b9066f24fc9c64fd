//! The keys of `type: google_secops`: which instance, as whom, and over which window of time.
//!
//! Contract: names of project, location and instance are checked here, because the location becomes part of
//! the host that our token is sent to.

use std::time::Duration;

use super::auth::ServiceAccount;
use crate::config::secret::Fingerprint;
use crate::config::{Secret, Section};
use crate::http::BaseUrl;

/// What a Google SecOps instance needs to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the API is unless `base_url` replaces it: `https://{location}-chronicle.googleapis.com`.
    pub address: BaseUrl,
    /// `project`: the id or number of the Google Cloud project.
    pub project: String,
    /// `location`: `us`, `europe`, `asia-southeast1`, ...
    pub location: String,
    /// `instance`: the customer id, a UUID.
    pub instance: String,
    /// How we prove who we are.
    pub credential: Credential,
    /// `window`: the stretch of time that the score is computed over (default `24h`).
    pub window: Window,
    /// `window_slack`: how much earlier than the window the filter starts (default none, as in the vendor's
    /// example). For instances whose windows do not end "now".
    pub slack: Duration,
    /// `order_by`: passed on as it is.
    pub order_by: Option<String>,
    /// `page_size`: rows on a page, 1 to 10000 (default 100).
    pub page_size: u64,
}

/// Where the bearer token comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Credential {
    /// `credentials`: a service account's JSON, whose key signs for a token.
    ServiceAccount(Secret),
    /// `token`: somebody else keeps it fresh.
    Token(Secret),
    /// `token_command`: a program and its arguments; what it prints is the token. Never run by a shell.
    Command(Vec<String>),
}

/// The two windows that Google computes scores over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
}

impl Window {
    /// How long it is.
    pub const fn length(self) -> Duration {
        const HOUR: u64 = 60 * 60;
        match self {
            Window::Day => Duration::from_secs(24 * HOUR),
            Window::Week => Duration::from_secs(7 * 24 * HOUR),
        }
    }

    /// As the configuration spells it.
    pub const fn label(self) -> &'static str {
        match self {
            Window::Day => "24h",
            Window::Week => "7d",
        }
    }
}

impl Config {
    /// The address that the vendor's own keys give; `base_url` of the common keys goes before it.
    pub fn base_url(&self) -> Option<&BaseUrl> {
        Some(&self.address)
    }

    /// What Google counts a quota against: the project, and who asks.
    pub fn credential(&self) -> Vec<Fingerprint> {
        let who = match &self.credential {
            Credential::ServiceAccount(secret) | Credential::Token(secret) => secret.fingerprint(),
            Credential::Command(words) => Fingerprint::of(&words.join("\0")),
        };
        vec![Fingerprint::of(&self.project), who]
    }
}

/// Every key of this vendor's own.
const KEYS: [&str; 10] = [
    "project",
    "location",
    "instance",
    "credentials",
    "token",
    "token_command",
    "window",
    "window_slack",
    "order_by",
    "page_size",
];

/// Reads the keys of this vendor; `None` when a problem was recorded.
pub fn read(section: &mut Section<'_>) -> Option<Config> {
    section.know(&KEYS);
    let project = name(section, "project", "my-project");
    let location = name(section, "location", "us");
    let instance = name(section, "instance", "2c46cdd9-92e3-5e5f-b3cf-0123456789ab");
    let credential = credential(section);
    let window = match section.has("window") {
        true => section.choice("window", &[("24h", Window::Day), ("7d", Window::Week)]),
        false => Some(Window::Day),
    };
    let slack = match section.has("window_slack") {
        true => section.duration("window_slack"),
        false => Some(Duration::ZERO),
    };
    let page_size = match section.has("page_size") {
        true => section.integer("page_size", 1..=10_000),
        false => Some(100),
    };
    let order_by = section.text("order_by");
    let location = location?;
    let address = match BaseUrl::parse(&format!("https://{location}-chronicle.googleapis.com")) {
        Ok(address) => address,
        Err(bad) => {
            section.problem("location", bad.to_string(), "write a region of Google SecOps: us, europe, ...");
            return None;
        }
    };
    Some(Config {
        address,
        project: project?,
        location,
        instance: instance?,
        credential: credential?,
        window: window?,
        slack: slack?,
        order_by,
        page_size: page_size?,
    })
}

/// A name of Google's: it becomes a segment of the path, and the location a part of the host.
fn name(section: &mut Section<'_>, key: &'static str, example: &str) -> Option<String> {
    let text = section.required_text(key, example)?;
    if is_name(&text) {
        return Some(text);
    }
    section.problem(
        key,
        format!("{text:?} is not a name that Google gives"),
        format!("letters, digits, - and . only: {example}"),
    );
    None
}

/// Project ids of a domain hold a colon (`example.com:project`), which no location does.
fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    text.len() <= 100 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inner)
}

fn credential(section: &mut Section<'_>) -> Option<Credential> {
    const CURE: &str = "write one of `credentials: {file: service-account.json}`, `token: {env: NAME}`, \
                        `token_command: [gcloud, auth, print-access-token]`";
    let ways = ["credentials", "token", "token_command"];
    let given: Vec<_> = ways.into_iter().filter(|key| section.has(key)).collect();
    // Each is read, so that none counts as an unknown key.
    let account = section.has("credentials").then(|| section.rotating_secret("credentials")).flatten();
    let token = section.has("token").then(|| section.rotating_secret("token")).flatten();
    let words = section.has("token_command").then(|| section.texts("token_command")).flatten();
    match given.as_slice() {
        [_] => {}
        [] => {
            section.problem("credentials", "no credential", CURE);
            return None;
        }
        [_, second, ..] => {
            section.problem(second, format!("{} credentials: {}", given.len(), given.join(", ")), CURE);
            return None;
        }
    }
    if let Some(account) = account {
        // A machine that asks nobody need not have the file: `extract`, and `check` before a deployment.
        if !account.is_absent()
            && let Err(what) = ServiceAccount::read(&account.current())
        {
            section.problem(
                "credentials",
                what,
                "use the JSON key file of a service account, as Google made it",
            );
            return None;
        }
        return Some(Credential::ServiceAccount(account));
    }
    if let Some(words) = words {
        if words.first().is_none_or(|program| program.trim().is_empty()) {
            section.problem("token_command", "no program", CURE);
            return None;
        }
        return Some(Credential::Command(words));
    }
    token.map(Credential::Token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_host_or_path() {
        for good in ["us", "asia-southeast1", "my-project", "example.com:project", "123456789012"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "us/", "evil.example/x", "a@b", "a?b", "a#b", "a b", "-x", "é"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
