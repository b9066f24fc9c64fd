//! One provider's way to its vendor: limiter, time-out, request, quota headers read, metrics counted.
//!
//! Contract: at most `concurrency` requests at once; a slot of the limiter is taken for every request
//! before its time-out starts; quota headers of every response reach the limiter before the response
//! reaches the vendor's code. Never retries and never looks at a body: that is the guard's and the vendor's.

use crate::http::{Request, Response};
use crate::provider::Failure;

/// The metered HTTP client of one provider instance.
pub struct Transport {}

impl Transport {
    /// Sends one request that counts against the vendor's quota.
    ///
    /// # Errors
    /// `rate_limited` or `overloaded` when no slot comes in time, `timeout`, `unreachable`, `tls`, and
    /// `malformed_response` for a body above the limit. Any HTTP status is an `Ok`.
    pub async fn send(&self, _request: Request) -> Result<Response, Failure> {
        todo!()
    }

    /// Sends one request that does not count against the quota: a token exchange.
    ///
    /// # Errors
    /// As [`send`](Transport::send), but for those of the limiter.
    pub async fn send_unmetered(&self, _request: Request) -> Result<Response, Failure> {
        todo!()
    }
}
