//! The client: how requests travel, and what can go wrong on the way.
//!
//! Owns TLS, proxy and pool settings and the only calls of the HTTP library. Never retries a request that
//! may have reached the server, never follows a redirect, and never lets a URL into an error.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity, Proxy, Url, redirect, tls};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::base_url::is_loopback;
use super::{BaseUrl, HttpError, Request, Response};

/// Bytes of an answer's unpacked body, unless the settings say otherwise.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// Bytes of a body that every answer may have, whatever others have. Answers about one entity take some kilobytes.
pub const SMALL_BODY: usize = 128 * 1024;

/// Larger bodies that are held at once, by all clients of the process together; the next one waits.
pub const LARGE_BODIES: usize = 4;

static LARGE: Semaphore = Semaphore::const_new(LARGE_BODIES);

/// Names us to vendors.
const USER_AGENT: &str = concat!("riskstream/", env!("CARGO_PKG_VERSION"));
/// How long an unused connection is kept: below the minute after which many load balancers drop theirs.
const IDLE: Duration = Duration::from_secs(50);
/// After this much silence an HTTP/2 connection with open requests is checked with a ping, so that a dead
/// path is noticed before every request on it has timed out.
const PING: Duration = Duration::from_secs(10);

/// Which way requests take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// As `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    #[default]
    System,
    /// No proxy, whatever the environment says.
    Direct,
    /// This one.
    Via(BaseUrl),
}

/// How a [`Client`] connects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bound of name resolution, connection and TLS handshake.
    pub connect_timeout: Duration,
    /// Bound of an unpacked response body, in bytes.
    pub body_limit: usize,
    /// Idle connections kept per host.
    pub idle_per_host: usize,
    /// Which way requests take.
    pub proxy: ProxyChoice,
    /// PEM file of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate and its key.
    pub client_cert: Option<PathBuf>,
    /// Whether `http://` is fine for hosts that are not loopback.
    pub allow_http: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connect_timeout: Duration::from_secs(5),
            body_limit: BODY_LIMIT,
            idle_per_host: 16,
            proxy: ProxyChoice::System,
            ca: None,
            client_cert: None,
            allow_http: false,
        }
    }
}

/// A client that cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A PEM file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A PEM file does not hold what it should.
    #[error("{path} does not hold {expected} in PEM form: {detail}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why it is not.
        detail: String,
    },
    /// The TLS or proxy set-up was refused.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
}

/// Sends requests. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    body_limit: usize,
    allow_http: bool,
}

impl Client {
    /// Builds a client.
    ///
    /// # Errors
    /// When a file of `settings` cannot be used, or the system has no trusted authorities at all.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        // The process has one provider of cryptography; whoever comes second finds it there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .referer(false)
            .tls_version_min(tls::Version::TLS_1_2)
            .connect_timeout(settings.connect_timeout)
            .pool_max_idle_per_host(settings.idle_per_host)
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING);
        builder = match &settings.proxy {
            ProxyChoice::System => builder,
            ProxyChoice::Direct => builder.no_proxy(),
            ProxyChoice::Via(address) => {
                let url = address.join(&[], "", &[]).unwrap_or_default();
                builder.proxy(Proxy::all(url).map_err(setup)?)
            }
        };
        if let Some(path) = &settings.ca {
            let authorities = Certificate::from_pem_bundle(&read(path)?)
                .map_err(|error| bad_pem(path, "certificates", error.into()))?;
            if authorities.is_empty() {
                return Err(bad_pem(path, "certificates", "there is none in it".into()));
            }
            builder = builder.tls_certs_merge(authorities);
        }
        if let Some(path) = &settings.client_cert {
            let identity = Identity::from_pem(&read(path)?)
                .map_err(|error| bad_pem(path, "a certificate and its key", error.into()))?;
            builder = builder.identity(identity);
        }
        let inner = builder.build().map_err(setup)?;
        Ok(Client { inner, body_limit: settings.body_limit, allow_http: settings.allow_http })
    }

    /// Sends one request and reads the whole response. Any HTTP status is an `Ok`.
    ///
    /// # Errors
    /// See [`HttpError`]; `timeout` bounds everything from the connection to the last byte of the body.
    pub async fn send(&self, request: Request, timeout: Duration) -> Result<Response, HttpError> {
        let started = Instant::now();
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(Ok((status, headers, body, large))) => {
                Ok(Response { status, headers, body, elapsed: started.elapsed(), _large: large })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(HttpError::Timeout(timeout)),
        }
    }

    async fn exchange(&self, request: Request) -> Result<Exchanged, HttpError> {
        if let Some(name) = request.bad_header {
            return Err(HttpError::BadRequest(format!(
                "the value of header {name} holds a forbidden character"
            )));
        }
        let url = Url::parse(&request.url)
            .map_err(|error| HttpError::BadRequest(format!("its address is wrong ({error})")))?;
        let host = url.host_str().unwrap_or_default();
        if url.scheme() != "https" && !self.allow_http && !is_loopback(host) {
            return Err(HttpError::BadRequest(format!(
                "{host} would be asked without encryption: use https, or set `allow_http: true`"
            )));
        }
        let mut response = self
            .inner
            .request(request.method, url)
            .headers(request.headers)
            .body(request.body)
            .send()
            .await
            .map_err(failed)?;
        let too_large = HttpError::BodyTooLarge(self.body_limit);
        if response.content_length().is_some_and(|length| length > self.body_limit as u64) {
            return Err(too_large);
        }
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        // The limit holds for what is unpacked, piece by piece: a small body that unpacks to gigabytes
        // is given up as soon as it crosses the line.
        let mut body = BytesMut::new();
        let mut large = None;
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            let length = body.len() + piece.len();
            if length > self.body_limit {
                return Err(too_large);
            }
            if length > SMALL_BODY && large.is_none() {
                // It is never closed.
                large = LARGE.acquire().await.ok().map(Arc::new);
            }
            body.extend_from_slice(&piece);
        }
        Ok((status, headers, body.freeze(), large))
    }
}

type Exchanged = (u16, Vec<(String, String)>, Bytes, Option<Large>);

/// The right to hold a large body.
pub(super) type Large = Arc<SemaphorePermit<'static>>;

/// Sorts the library's error into our kinds; its URL is taken out first.
fn failed(error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    if let Some(cause) = causes(&error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return HttpError::Tls(cause.to_string());
    }
    let detail = innermost(&error);
    // The connection attempt has its own, shorter bound.
    if error.is_timeout() {
        HttpError::Unreachable("the connection was not established in time".to_owned())
    } else if error.is_builder() {
        HttpError::BadRequest(detail)
    } else if error.is_decode() && causes(&error).any(is_unpacking) {
        HttpError::BodyBroken(detail)
    } else {
        HttpError::Unreachable(detail)
    }
}

/// The error and everything behind it; an I/O error is looked into, since TLS errors travel inside one.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// Whether the bytes arrived and are not what they should be; a connection that broke within a body is
/// reported by the library as an error of decoding too.
fn is_unpacking(cause: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};
    cause.downcast_ref::<io::Error>().is_some_and(|error| matches!(error.kind(), InvalidData | InvalidInput))
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn setup(error: reqwest::Error) -> BuildError {
    BuildError::Setup(innermost(&error.without_url()))
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|source| BuildError::Unreadable { path: path.to_owned(), source })
}

fn bad_pem(path: &Path, expected: &'static str, error: Box<dyn Error>) -> BuildError {
    BuildError::Pem { path: path.to_owned(), expected, detail: error.to_string() }
}
