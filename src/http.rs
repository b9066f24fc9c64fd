//! The one HTTP client: TLS, body limit, time-outs and URL building for everything that leaves by HTTP.
//!
//! Contract: no redirect is followed; a response body above the limit is an error, gzip unpacked within the
//! same limit; `http://` only for loopback unless allowed. Identifiers enter a URL only through
//! [`BaseUrl::join`] and query pairs, which percent-encode everything outside RFC 3986's unreserved set.
//! Never prints a header that was marked secret.

use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;

/// A vendor's address: scheme, host, port and an optional path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {}

/// An address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUrl(pub String);

impl BaseUrl {
    /// Reads `text`: `https://host[:port][/prefix]`, no query, no fragment, no credentials in it.
    pub fn parse(_text: &str) -> Result<Self, BadUrl> {
        todo!()
    }

    /// `host` or `host:port`.
    pub fn host(&self) -> &str {
        todo!()
    }

    /// Whether requests travel unencrypted.
    pub fn is_plain(&self) -> bool {
        todo!()
    }

    /// Whether the host is loopback.
    pub fn is_loopback(&self) -> bool {
        todo!()
    }

    /// The URL of a path below this address. Each segment is percent-encoded (RFC 3986, unreserved characters
    /// only), so a `/` in it becomes `%2F`; a literal colon of a method name goes into `suffix` as it is
    /// (`:query`). `None` for a segment that no encoding saves: empty, `.` or `..`.
    pub fn join(&self, _segments: &[&str], _suffix: &str, _query: &[(&str, &str)]) -> Option<String> {
        todo!()
    }
}

/// What to send.
#[derive(Debug)]
pub struct Request {}

impl Request {
    /// A GET of `url`, which comes from [`BaseUrl::join`].
    pub fn get(_url: String) -> Self {
        todo!()
    }

    /// A POST of JSON.
    pub fn post_json(_url: String, _body: &serde_json::Value) -> Self {
        todo!()
    }

    /// A POST of form fields (`application/x-www-form-urlencoded`).
    pub fn post_form(_url: String, _fields: &[(&str, &str)]) -> Self {
        todo!()
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, _name: &'static str, _value: &str) -> Self {
        todo!()
    }

    /// Adds a header whose value never appears in `Debug` output.
    #[must_use]
    pub fn secret_header(self, _name: &'static str, _value: &SecretString) -> Self {
        todo!()
    }
}

/// What came back, whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The unpacked body, within the limit.
    pub body: Bytes,
    /// How long the exchange took.
    pub elapsed: Duration,
}

impl Response {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
