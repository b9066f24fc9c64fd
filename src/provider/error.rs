//! Why a vendor's answer is not there: the closed set of failures, and what follows from each.
//!
//! Owns the decisions "may it be retried", "what does it say about the vendor" and the label, each by
//! exhaustive match. Pure. A [`Failure`]'s detail never holds an identifier or a secret: it reaches logs.

use std::fmt;
use std::time::Duration;

/// The reason of an entity whose status is `failed`, as the enriched event spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The alert's deadline came before the answer did. The flight goes on and fills the cache.
    Deadline,
    /// Too many look-ups wait for this provider already.
    Overloaded,
    /// The vendor's quota, or our own limit, is used up for longer than a look-up may wait.
    RateLimited,
    /// The breaker is open: the vendor failed too often or was too slow just now.
    BreakerOpen,
    /// The vendor refuses our credentials (401).
    Unauthorised,
    /// The credentials are right and lack a permission (403).
    Forbidden,
    /// The tenant has no licence for this API (402, or the vendor's own words).
    Unlicensed,
    /// The vendor says that our request is wrong (400, or an unknown account, instance or path).
    BadRequest,
    /// The identifier does not have the form that this vendor takes; it was not asked.
    InvalidIdentifier,
    /// The identifier could not be turned into the vendor's own id.
    Unresolved,
    /// An answer that could not be understood.
    MalformedResponse,
    /// No connection: name not resolved, connection refused or reset.
    Unreachable,
    /// The TLS handshake failed.
    Tls,
    /// No answer within the provider's time-out.
    Timeout,
    /// The vendor failed (5xx).
    ServerError,
    /// The provider is asked by snapshot alone, and none that is recent enough tells of the entity.
    NoSnapshot,
}

/// What a failure says about the vendor as a whole, for its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it concerns this one question, or us.
    Neutral,
    /// The vendor is not well; enough of these open the breaker.
    Unhealthy,
    /// No question will be answered until somebody acts: the breaker opens at once and probes slowly.
    Refused,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [FailureKind; 16] = [
        FailureKind::Deadline,
        FailureKind::Overloaded,
        FailureKind::RateLimited,
        FailureKind::BreakerOpen,
        FailureKind::Unauthorised,
        FailureKind::Forbidden,
        FailureKind::Unlicensed,
        FailureKind::BadRequest,
        FailureKind::InvalidIdentifier,
        FailureKind::Unresolved,
        FailureKind::MalformedResponse,
        FailureKind::Unreachable,
        FailureKind::Tls,
        FailureKind::Timeout,
        FailureKind::ServerError,
        FailureKind::NoSnapshot,
    ];

    /// The word in the enriched event and in metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            FailureKind::Deadline => "deadline",
            FailureKind::Overloaded => "overloaded",
            FailureKind::RateLimited => "rate_limited",
            FailureKind::BreakerOpen => "breaker_open",
            FailureKind::Unauthorised => "unauthorised",
            FailureKind::Forbidden => "forbidden",
            FailureKind::Unlicensed => "unlicensed",
            FailureKind::BadRequest => "bad_request",
            FailureKind::InvalidIdentifier => "invalid_identifier",
            FailureKind::Unresolved => "unresolved",
            FailureKind::MalformedResponse => "malformed_response",
            FailureKind::Unreachable => "unreachable",
            FailureKind::Tls => "tls",
            FailureKind::Timeout => "timeout",
            FailureKind::ServerError => "server_error",
            FailureKind::NoSnapshot => "no_snapshot",
        }
    }

    /// Whether the same question may get an answer when it is asked again at once or a little later.
    pub const fn retryable(self) -> bool {
        match self {
            FailureKind::RateLimited
            | FailureKind::Unreachable
            | FailureKind::Timeout
            | FailureKind::ServerError => true,
            FailureKind::Deadline
            | FailureKind::Overloaded
            | FailureKind::BreakerOpen
            | FailureKind::Unauthorised
            | FailureKind::Forbidden
            | FailureKind::Unlicensed
            | FailureKind::BadRequest
            | FailureKind::InvalidIdentifier
            | FailureKind::Unresolved
            | FailureKind::MalformedResponse
            | FailureKind::Tls
            | FailureKind::NoSnapshot => false,
        }
    }

    /// What the failure says about the vendor.
    pub const fn verdict(self) -> Verdict {
        match self {
            FailureKind::Unreachable
            | FailureKind::Tls
            | FailureKind::Timeout
            | FailureKind::ServerError
            | FailureKind::MalformedResponse => Verdict::Unhealthy,
            FailureKind::Unauthorised | FailureKind::Forbidden | FailureKind::Unlicensed => Verdict::Refused,
            FailureKind::Deadline
            | FailureKind::Overloaded
            | FailureKind::RateLimited
            | FailureKind::BreakerOpen
            | FailureKind::BadRequest
            | FailureKind::InvalidIdentifier
            | FailureKind::Unresolved
            | FailureKind::NoSnapshot => Verdict::Neutral,
        }
    }

    /// Whether the failure is worth keeping in the cache for its lifetime.
    ///
    /// What concerns the entity is kept, so that a bad identifier does not cost a call per alert. What
    /// concerns our own load or patience is not: the next alert should have a fresh try.
    pub const fn cacheable(self) -> bool {
        match self {
            FailureKind::BadRequest
            | FailureKind::InvalidIdentifier
            | FailureKind::Unresolved
            | FailureKind::MalformedResponse
            | FailureKind::Unreachable
            | FailureKind::Tls
            | FailureKind::Timeout
            | FailureKind::ServerError => true,
            FailureKind::Deadline
            | FailureKind::Overloaded
            | FailureKind::RateLimited
            | FailureKind::BreakerOpen
            | FailureKind::Unauthorised
            | FailureKind::Forbidden
            | FailureKind::Unlicensed
            | FailureKind::NoSnapshot => false,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A question that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failure {
    /// What went wrong, as consumers see it.
    pub kind: FailureKind,
    /// What exactly, and the cure, for logs and people. Holds no identifier and no secret.
    pub detail: String,
    /// How long the vendor wants to be left alone, where it said so.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of `kind`; `detail` must hold no identifier and no secret.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Failure { kind, detail: detail.into(), retry_after: None }
    }

    /// An answer that could not be understood; `what` names the part that was not.
    pub fn malformed(what: impl fmt::Display) -> Self {
        Failure::new(FailureKind::MalformedResponse, what.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn labels_are_distinct() {
        let labels: HashSet<_> = FailureKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), FailureKind::ALL.len());
    }

    #[test]
    fn what_refuses_us_is_never_retried_or_remembered_per_entity() {
        for kind in FailureKind::ALL {
            if kind.verdict() == Verdict::Refused {
                assert!(!kind.retryable() && !kind.cacheable(), "{kind}");
            }
        }
    }
}
