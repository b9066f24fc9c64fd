//! One provider's way to its vendor: limiter, time-out, request, quota headers read, metrics counted.
//!
//! Contract: at most `concurrency` requests at once; a slot of the limiter is taken for every request
//! before its time-out starts; quota headers of every response reach the limiter before the response
//! reaches the vendor's code. Never retries and never looks at a body: that is the guard's and the vendor's.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::gate::LONG;
use super::gate::{Gate, Refused, Urgency};
use super::limiter::Priority;
use super::meter::{self, Meter};
use super::quota::Quota;
use crate::config::provider::Common;
use crate::http::{BaseUrl, BuildError, Client, HttpError, ProxyChoice, Request, Response, Settings};
use crate::provider::{Failure, FailureKind};

tokio::task_local! {
    /// For whom the requests of this task are made. Vendors need not know: they only hand requests over.
    static CALL: Scope;
    /// How urgent the look-up of this task has become meanwhile.
    static RAISED: watch::Receiver<Priority>;
}

/// Runs `asking` so that its requests are at least as urgent as `raised` says at any time, those that wait already
/// included.
pub fn raisable<F: Future>(raised: watch::Receiver<Priority>, asking: F) -> impl Future<Output = F::Output> {
    RAISED.scope(raised, asking)
}

/// For whom a request is made.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// How urgent it is.
    pub priority: Priority,
    /// When its answer is of no use any more; waits and time-outs end there.
    pub until: Option<Instant>,
    /// The bound of each request, where it is another than the provider's: a list takes longer than a score.
    pub timeout: Option<Duration>,
}

/// What an attempt sent on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Requests that left for the vendor.
    pub requests: u32,
    /// The longest of their exchanges, waiting for a slot not counted.
    pub slowest: Duration,
}

struct Scope {
    call: Call,
    sent: Cell<Sent>,
}

impl Call {
    /// Runs `asking` so that every request it sends is made for this call.
    pub async fn scope<F: Future>(self, asking: F) -> F::Output {
        self.watched(asking).await.0
    }

    /// As [`scope`](Call::scope), and tells what was sent. What a call within a call sends counts for both.
    pub async fn watched<F: Future>(self, asking: F) -> (F::Output, Sent) {
        let scope = Scope { call: self, sent: Cell::default() };
        let both = async { (asking.await, CALL.with(|scope| scope.sent.get())) };
        let (output, sent) = CALL.scope(scope, both).await;
        count(sent.slowest, sent.requests);
        (output, sent)
    }

    fn urgency(&self) -> Urgency {
        match RAISED.try_with(watch::Receiver::clone) {
            Ok(raised) => Urgency::new(self.priority, raised),
            Err(_) => self.priority.into(),
        }
    }

    fn current() -> Call {
        CALL.try_with(|scope| scope.call).unwrap_or(Call {
            priority: Priority::Alert,
            until: None,
            timeout: None,
        })
    }

    fn bounded(&self, time: Duration) -> Duration {
        self.until.map_or(time, |until| time.min(until.saturating_duration_since(Instant::now())))
    }
}

/// Counts requests for the call that they are made for, where there is one (a probe has none).
pub(super) fn count(elapsed: Duration, requests: u32) {
    let _ = CALL.try_with(|scope| {
        let sent = scope.sent.get();
        scope.sent.set(Sent {
            requests: sent.requests.saturating_add(requests),
            slowest: sent.slowest.max(elapsed),
        });
    });
}

/// The metered HTTP client of one provider instance. Clones share everything.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    gate: Arc<Gate>,
    /// Our number at the gate.
    member: usize,
    timeout: Duration,
    max_wait: Duration,
    meter: Arc<dyn Meter>,
    /// Where it goes, for messages.
    host: String,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whoever sends holds it: nothing is under way.
        self.gate.leave(self.member);
    }
}

impl Transport {
    /// The transport of a provider that is configured as `common` says and shares `gate` with whoever uses the
    /// same credential. `base` is where its requests go: loopback is never reached through the system's proxy.
    ///
    /// # Errors
    /// When a file for TLS cannot be used.
    pub fn new(
        common: &Common,
        base: &BaseUrl,
        gate: Arc<Gate>,
        meter: Arc<dyn Meter>,
    ) -> Result<Self, BuildError> {
        let proxy = match &common.proxy {
            Some(address) => ProxyChoice::Via(address.clone()),
            None if base.is_loopback() => ProxyChoice::Direct,
            None => ProxyChoice::System,
        };
        let client = Client::new(&Settings {
            idle_per_host: common.concurrency,
            proxy,
            ca: common.ca.clone(),
            client_cert: common.client_cert.clone(),
            allow_http: common.allow_http,
            ..Settings::default()
        })?;
        let member = gate.enter(common.concurrency, common.queue);
        Ok(Transport {
            inner: Arc::new(Inner {
                client,
                gate,
                member,
                timeout: common.timeout,
                max_wait: common.max_wait,
                meter,
                host: base.host().to_owned(),
            }),
        })
    }

    /// A transport without limits and metrics, for tests against a server on this machine.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub fn for_tests(base: &BaseUrl) -> Self {
        let gate = Arc::new(Gate::new(None));
        Transport::new(&Common::for_tests(), base, gate, Arc::new(super::meter::NoMeter)).unwrap()
    }

    /// Sends one request that counts against the vendor's quota. It is built when its slot has come: what waited may be about
    /// to carry a key that was refused meanwhile, or a signature of long ago.
    ///
    /// # Errors
    /// Those of `build`;
    /// `rate_limited` or `overloaded` when no slot comes in time, `timeout`, `unreachable`, `tls`, and
    /// `malformed_response` for a body above the limit. Any HTTP status is an `Ok`.
    pub async fn send(&self, build: impl FnOnce() -> Result<Request, Failure>) -> Result<Response, Failure> {
        let inner = &self.inner;
        let call = Call::current();
        let started = Instant::now();
        let max_wait = call.bounded(inner.max_wait);
        let passed = inner.gate.pass(inner.member, call.urgency(), max_wait).await;
        inner.meter.waiting(inner.gate.waiting(inner.member));
        let mut pass = passed.map_err(|refused| no_slot(refused, max_wait))?;
        inner.meter.limiter_wait(started.elapsed());
        let exchange = self.exchange(build()?, &call).await;
        if let Ok(response) = &exchange {
            pass.answered();
            let quota = Quota::read(&response.headers, Timestamp::now());
            if let Some(window) = quota.tightest() {
                inner.meter.quota_remaining(window.remaining);
            }
            if let Some(wait) = inner.gate.observe(response.status, &quota).filter(|wait| *wait >= LONG) {
                tracing::warn!(
                    host = inner.host,
                    status = response.status,
                    seconds = wait.as_secs(),
                    "the vendor asks to be left alone; until then its entities are rate_limited"
                );
            }
        }
        exchange
    }

    /// Sends one request that does not count against the quota: a token exchange.
    ///
    /// # Errors
    /// As [`send`](Transport::send), but for those of the limiter.
    pub async fn send_unmetered(&self, request: Request) -> Result<Response, Failure> {
        self.exchange(request, &Call::current()).await
    }

    async fn exchange(&self, request: Request, call: &Call) -> Result<Response, Failure> {
        let patience = call.timeout.unwrap_or(self.inner.timeout);
        let timeout = call.bounded(patience);
        let started = Instant::now();
        count(Duration::ZERO, 1);
        let exchange = self.inner.client.send(request, timeout).await;
        let elapsed = started.elapsed();
        count(elapsed, 0);
        let outcome = meter::outcome(exchange.as_ref().map(|response| response.status));
        self.inner.meter.request(outcome, elapsed);
        exchange.map_err(|error| match error {
            // Our own patience ended before the vendor's time did, which says nothing about the vendor.
            HttpError::Timeout(_) if timeout < patience => Failure::new(
                FailureKind::Deadline,
                format!("the look-up's time was over before the provider's time-out of {patience:?}"),
            ),
            error => failure(error),
        })
    }
}

fn no_slot(refused: Refused, max_wait: Duration) -> Failure {
    match refused {
        Refused::Full => Failure::new(
            FailureKind::Overloaded,
            "too many look-ups wait already: raise `queue`, `concurrency` or the vendor's quota",
        ),
        Refused::TooLong(None) => Failure::new(
            FailureKind::RateLimited,
            format!("no slot within {max_wait:?}: `limit` or `concurrency` is too low for the load"),
        ),
        Refused::TooLong(Some(time)) => Failure {
            kind: FailureKind::RateLimited,
            detail: format!(
                "the vendor takes no requests for {} s: its quota is used up",
                time.as_secs().max(1)
            ),
            retry_after: Some(time),
        },
    }
}

fn failure(error: HttpError) -> Failure {
    let kind = match &error {
        HttpError::Timeout(_) => FailureKind::Timeout,
        HttpError::Unreachable(_) => FailureKind::Unreachable,
        HttpError::Tls(_) => FailureKind::Tls,
        HttpError::BodyTooLarge(_) | HttpError::BodyBroken(_) => FailureKind::MalformedResponse,
        HttpError::BadRequest(_) => FailureKind::BadRequest,
    };
    Failure::new(kind, error.to_string())
}

#[cfg(test)]
impl Common {
    /// The defaults, patient enough for a busy machine.
    #[allow(clippy::unwrap_used)]
    pub(crate) fn for_tests() -> Self {
        use crate::config::{Lives, Ttl, provider};
        Common {
            base_url: None,
            timeout: Duration::from_secs(10),
            concurrency: 64,
            queue: 10_000,
            max_wait: Duration::from_secs(10),
            limit: None,
            retry: provider::Retry {
                attempts: 3,
                backoff: Duration::from_millis(1),
                max_backoff: Duration::from_millis(10),
            },
            breaker: provider::Breaker {
                ratio: 0.5,
                minimum: 20,
                window: Duration::from_secs(10),
                slow: Duration::from_secs(10),
                open_for: Duration::from_secs(5),
                refused_for: Duration::from_secs(60),
            },
            ttl: Ttl::new(Lives {
                scored: Duration::from_secs(900),
                unknown: Duration::from_secs(300),
                failed: Duration::from_secs(30),
            }),
            identifiers: Vec::new(),
            scale: Default::default(),
            snapshot: crate::config::snapshot::Snapshots::NONE,
            proxy: None,
            ca: None,
            client_cert: None,
            allow_http: false,
        }
    }
}
