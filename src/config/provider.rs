//! `providers`: what every vendor instance can be told, beside its own keys.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Ttl;
use crate::entity::EntityKind;
use crate::http::BaseUrl;
use crate::score::Scale;

/// One configured vendor instance.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// The instance's name: in output, metrics and routes.
    pub name: String,
    /// What every vendor has.
    pub common: Common,
    /// What only this vendor has.
    pub vendor: crate::provider::registry::VendorConfig,
}

/// The keys that every provider has.
#[derive(Clone, Debug)]
pub struct Common {
    /// Replaces the address that the vendor's own keys give.
    pub base_url: Option<BaseUrl>,
    /// Bound of one request (default 1 s).
    pub timeout: Duration,
    /// Requests under way at once (default 64).
    pub concurrency: usize,
    /// Look-ups that may wait for a slot (default 10000); above it the answer is `overloaded`.
    pub queue: usize,
    /// How long a look-up may wait for a slot of the limiter or of `concurrency` (default 10 s).
    pub max_wait: Duration,
    /// The vendor's quota, where it is known.
    pub limit: Option<Limit>,
    /// Attempts after the first.
    pub retry: Retry,
    /// When to stop asking.
    pub breaker: Breaker,
    /// Lifetimes of this provider's answers (the cache's where it has no own).
    pub ttl: Ttl,
    /// Identifier templates by kind: `{value}` stands for the identifier. A kind that is listed is asked about.
    pub identifiers: Vec<(EntityKind, String)>,
    /// Cuts of this provider (the common ones where it has no own).
    pub scale: Scale,
    /// HTTP proxy; `None` follows `HTTPS_PROXY` and `NO_PROXY`.
    pub proxy: Option<BaseUrl>,
    /// PEM file of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// PEM file with certificate and key for mutual TLS.
    pub client_cert: Option<PathBuf>,
    /// Whether `http://` is fine for hosts that are not loopback.
    pub allow_http: bool,
}

/// `limit`: at most `requests` in any window of `per`, of which this replica takes its `share`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests in a window.
    pub requests: u32,
    /// The window.
    pub per: Duration,
    /// Numerator and denominator of our share: 1/1 alone, 1/3 for one of three replicas.
    pub share: (u32, u32),
}

/// `retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, 1 to 10 (default 3).
    pub attempts: u32,
    /// Backoff before the second attempt (default 100 ms); doubles, with full jitter.
    pub backoff: Duration,
    /// Bound of one backoff (default 2 s).
    pub max_backoff: Duration,
}

/// `breaker`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// Fraction of unhealthy or slow calls that opens it, 0 to 1 (default 0.5).
    pub ratio: f64,
    /// Calls in the window before it may open (default 20).
    pub minimum: u32,
    /// The window over which calls are counted (default 10 s).
    pub window: Duration,
    /// A call longer than this counts as slow (default: the time-out).
    pub slow: Duration,
    /// How long it stays open before one probe (default 5 s).
    pub open_for: Duration,
    /// The same after credentials, permission or licence were refused (default 60 s).
    pub refused_for: Duration,
}
