//! Vendors: who can be asked about an entity, and what an answer is.
//!
//! Owns the [`Provider`] trait and the types that every vendor answers in. What stands around a call
//! (breaker, limiter, time-out, retry) is in [`guard`] and [`transport`], never in a vendor's folder.
//!
//! # Adding a provider
//!
//! 1. A folder beside the others with the same files: `mod.rs` (the [`Provider`]), `config.rs` (its keys),
//!    `wire.rs` (its JSON, read leniently), `normalise.rs` (pure: their answer to ours), `tests.rs`.
//!    A vendor whose scores can be read as a list is a [`snapshot::Bulk`], too.
//! 2. One line in [`registry`].
//! 3. One entry in `config/riskstream.yaml`, and its fixtures under `tests/fixtures/`.

pub mod breaker;
pub mod cloudflare;
pub mod cortex_xdr;
pub mod datadog;
pub mod doubt;
pub mod error;
pub mod gate;
pub mod generic_http;
pub mod google_secops;
pub mod guard;
pub mod lenient;
pub mod limiter;
pub mod meter;
pub mod oracle_casb;
pub mod quota;
#[cfg(test)]
pub(crate) mod recorder;
pub mod registry;
pub mod retry;
pub mod snapshot;
pub mod templates;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;
pub mod transport;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use crate::entity::{Entity, EntityKind};
use crate::score::{Level, Score};

pub use error::{Failure, FailureKind};

/// A boxed future, so that vendors can stand behind one object type.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A vendor that knows the risk of some kinds of entities.
///
/// What a caller may rely on:
/// - [`ask`](Provider::ask) is **one** attempt: fresh signature, no retry, no waiting but for the limiter
///   and the time-out of its [`transport::Transport`]. It may cost several requests (a token, an id to resolve).
/// - It never panics, whatever the vendor sends, and never turns something it did not understand into a score.
/// - An identifier that the vendor cannot take is [`FailureKind::InvalidIdentifier`] before any request.
/// - Dropping the future abandons the attempt and leaves the provider usable.
pub trait Provider: Send + Sync + 'static {
    /// The kinds of entities that this instance can be asked about.
    fn kinds(&self) -> &[EntityKind];

    /// Asks about one entity, once.
    fn ask<'a>(&'a self, entity: &'a Entity) -> Asking<'a, Answer>;

    /// Forgets a cached token, or takes the next one of several keys, so that the next attempt signs in otherwise; whether it
    /// will. Called once after [`FailureKind::Unauthorised`], or [`FailureKind::Forbidden`], by which some vendors refuse a key.
    fn renew(&self, why: FailureKind) -> bool;

    /// The vendor's whole list of scores, where it can be read.
    fn bulk(&self) -> Option<&dyn snapshot::Bulk> {
        None
    }

    /// Makes the cheapest call that proves address, credentials and permission, for `check --connect`.
    fn probe(&self) -> Asking<'_, ()>;

    /// Where requests go, as `host` or `host:port`: for the egress table and messages.
    fn host(&self) -> &str;

    /// Where credentials go to be changed for a token, as `host` or `host:port`, and what goes there; `None` where nothing is
    /// changed. For the egress table: as it would be now, since a key file may be another one tomorrow.
    fn sign_in(&self) -> Option<SignIn> {
        None
    }

    /// What the answers depend on besides the entity (host, account, tenant): never a secret. Two
    /// configurations with the same identity may share cached answers.
    fn identity(&self) -> String;
}

/// Where a provider gets its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// What is sent, for people.
    pub what: &'static str,
    /// Where to, as `host` or `host:port`; why that is not known otherwise.
    pub host: Result<String, String>,
}

/// What a vendor says about an entity.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It has a score.
    Scored(Box<Scored>),
    /// The vendor does not know it, or knows no risk level for it. Not the same as a score of zero.
    Unknown {
        /// Why, where that is more than "not found": `no_level`.
        detail: Option<&'static str>,
    },
}

/// An entity's risk, on the common scale and as the vendor put it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// On the common scale.
    pub score: Score,
    /// The vendor's own level where it gives one, else derived from the score.
    pub level: Level,
    /// What the vendor said, unconverted.
    pub raw: Raw,
    /// Change against the vendor's previous period, in the vendor's unit.
    pub delta: Option<Number>,
    /// How many signals, detections or events stand behind the score.
    pub signals: Option<u64>,
    /// When the vendor first saw something about the entity.
    pub first_seen: Option<Timestamp>,
    /// When it last did.
    pub last_seen: Option<Timestamp>,
    /// Why, in the vendor's words, most important first. Short texts for people.
    pub reasons: Vec<String>,
    /// Everything else that the vendor says, under snake_case names.
    pub attributes: Map<String, Value>,
}

/// A score and level as the vendor put them.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// Its number, exactly as it was written; absent where the vendor gives none.
    pub score: Option<Number>,
    /// Its word for the level, exactly as it was written.
    pub level: Option<String>,
    /// What the number means, for people: `sum of signal impacts, unbounded`.
    pub scale: Cow<'static, str>,
}
