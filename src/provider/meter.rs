//! What a provider's way to its vendor tells the metrics.
//!
//! Owns the words; [`crate::metrics`] implements the trait. One meter belongs to one provider instance. Never
//! sees an identifier.

use std::time::Duration;

use super::FailureKind;
use super::breaker::Condition;
use crate::http::HttpError;

/// Takes what is measured. Every method does nothing unless it is implemented.
pub trait Meter: Send + Sync {
    /// A request is over, as the outcome (one of [`OUTCOMES`]) and time from the first byte sent say.
    fn request(&self, _outcome: &'static str, _elapsed: Duration) {}
    /// A request got its slot of the limiter after this long.
    fn limiter_wait(&self, _waited: Duration) {}
    /// So many requests wait for a slot now.
    fn waiting(&self, _requests: usize) {}
    /// The vendor says that so much of its tightest quota is left.
    fn quota_remaining(&self, _requests: u64) {}
    /// An attempt after the first is made, because of this failure.
    fn retry(&self, _because: FailureKind) {}
    /// A page of the vendor's list failed, or the whole list was read: one of [`READS`].
    fn snapshot_read(&self, _outcome: &'static str) {}
    /// The breaker changed.
    fn breaker(&self, _condition: Condition) {}
    /// Another one measures in its place from now on: it counts what still ends, and tells no state any more.
    fn retire(&self) {}
}

/// Measures nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMeter;

impl Meter for NoMeter {}

/// Every outcome of reading a vendor's list: all of it, less than all of it, or a page that could not be read.
pub const READS: [&str; 3] = ["complete", "cut", "failed"];

/// Every outcome of a request.
pub const OUTCOMES: [&str; 10] = [
    "ok",
    "not_found",
    "refused",
    "rate_limited",
    "client_error",
    "server_error",
    "timeout",
    "unreachable",
    "tls",
    "bad_body",
];

/// The outcome of an exchange: its status, or why there is none. A vendor may still read a status in its own
/// way (Cortex XDR says "not found" with 500); this is about HTTP alone.
pub fn outcome(exchange: Result<u16, &HttpError>) -> &'static str {
    match exchange {
        Ok(404) => "not_found",
        Ok(401..=403) => "refused",
        Ok(429) => "rate_limited",
        Ok(400..=499) => "client_error",
        Ok(500..) => "server_error",
        Ok(_) => "ok",
        Err(HttpError::Timeout(_)) => "timeout",
        Err(HttpError::Unreachable(_)) => "unreachable",
        Err(HttpError::Tls(_)) => "tls",
        Err(HttpError::BodyTooLarge(_) | HttpError::BodyBroken(_)) => "bad_body",
        Err(HttpError::BadRequest(_)) => "client_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exchange_has_a_listed_outcome() {
        for status in 100..600 {
            assert!(OUTCOMES.contains(&outcome(Ok(status))), "{status}");
        }
        let errors = [
            HttpError::Timeout(Duration::ZERO),
            HttpError::Unreachable(String::new()),
            HttpError::Tls(String::new()),
            HttpError::BodyTooLarge(0),
            HttpError::BodyBroken(String::new()),
            HttpError::BadRequest(String::new()),
        ];
        for error in errors {
            assert!(OUTCOMES.contains(&outcome(Err(&error))), "{error}");
        }
    }
}
