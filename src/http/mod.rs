//! The one HTTP client: TLS, body limit, time-outs and URL building for everything that leaves by HTTP.
//!
//! Contract: no redirect is followed; a response body above the limit is an error, gzip unpacked within the
//! same limit; only a few large bodies are held at once, whoever asked for them; `http://` only for loopback unless
//! allowed. Identifiers enter a URL only through
//! [`BaseUrl::join`] and query pairs, which percent-encode everything outside RFC 3986's unreserved set.
//! Never prints a header that was marked secret, nor a URL or a body, which hold identifiers.

mod base_url;
mod client;
#[cfg(test)]
mod connection_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

pub use base_url::{BadUrl, BaseUrl};
pub use client::{BODY_LIMIT, BuildError, Client, LARGE_BODIES, ProxyChoice, SMALL_BODY, Settings};

/// What to send.
pub struct Request {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    /// The header that cannot be sent as it was given.
    bad_header: Option<String>,
}

impl Request {
    /// A GET of `url`, which comes from [`BaseUrl::join`].
    pub fn get(url: String) -> Self {
        Request { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), bad_header: None }
    }

    /// A POST of JSON.
    pub fn post_json(url: String, body: &serde_json::Value) -> Self {
        Request::post(url, "application/json", body.to_string())
    }

    /// A POST of form fields (`application/x-www-form-urlencoded`).
    pub fn post_form(url: String, fields: &[(&str, &str)]) -> Self {
        Request::post(url, "application/x-www-form-urlencoded", base_url::form(fields))
    }

    fn post(url: String, content_type: &'static str, body: String) -> Self {
        let mut request = Request::get(url);
        request.method = Method::POST;
        request.body = body.into();
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        request
    }

    /// Adds a header; one of the same name is replaced. A value that no header can hold (a line break) makes
    /// sending fail with [`HttpError::BadRequest`].
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.put(name, value, false)
    }

    /// Adds a header whose value never appears in `Debug` output.
    #[must_use]
    pub fn secret_header(self, name: &str, value: &SecretString) -> Self {
        self.put(name, value.expose_secret(), true)
    }

    fn put(mut self, name: &str, value: &str, secret: bool) -> Self {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(key), Ok(mut value)) => {
                value.set_sensitive(secret);
                self.headers.insert(key, value);
            }
            _ => self.bad_header = Some(name.to_owned()),
        }
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
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
    /// A large body counts against the others until it is dropped.
    _large: Option<client::Large>,
}

impl Response {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Why there is no response. Details hold neither the URL nor a header's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The exchange was not over in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No connection, or it broke before the answer was whole.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The TLS handshake failed.
    #[error("TLS: {0}; if a proxy or a private authority signs this host's certificate, name it in `ca`")]
    Tls(String),
    /// The unpacked body is above the limit, in bytes.
    #[error("the body is above {0} bytes")]
    BodyTooLarge(usize),
    /// The body cannot be unpacked.
    #[error("the body cannot be unpacked: {0}")]
    BodyBroken(String),
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {0}")]
    BadRequest(String),
}
