//! The five vendors as HTTP servers, for the demo, `simulate`, benches and tests.
//!
//! Behaves as the vendors' pages and known traps say: authentication is checked, limits are enforced,
//! unknown entities and every error shape are there. Deterministic: what a vendor knows of an identifier is a
//! function of the identifier. Never a stand-in inside the program: it is only reached through HTTP.
//!
//! | file | owns |
//! |---|---|
//! | [`alerts`] | alerts without end about that population, for demo and benches |
//! | [`broker`] | the embedded Kafka broker |
//! | [`population`] | who is known, and with which risk |
//! | [`world`] | what all vendors share: population, faults, limits, counts |
//! | [`faults`] | the script of what goes wrong |
//! | [`calls`] | what was asked, how often, how many at once |
//! | [`server`] | the listener, the frame around each vendor's pages |
//! | [`control`] | `/_simulator`: faults, latency, limits and counts over HTTP |
//! | [`datadog`], [`cortex_xdr`], [`google_secops`], [`cloudflare`], [`oracle_casb`] | that vendor's pages |
//! | [`sample`] | alerts and answers of a given size, to measure with |
//! | `line` | a connection that can be cut or slowed down on the wire |

pub mod alerts;
pub mod broker;
pub mod calls;
pub mod cloudflare;
pub mod control;
pub mod cortex_xdr;
pub mod datadog;
pub mod faults;
pub mod google_secops;
mod line;
pub mod oracle_casb;
pub mod others;
pub mod population;
pub mod sample;
pub mod server;
pub mod world;

pub use faults::{Answer, Fault, Latency};
pub use population::Profile;
pub use server::{Simulator, serve};
pub use world::{Limit, Options, Quota, World};

use std::sync::Arc;

/// Each vendor's path prefix, which is also its name in faults, limits and counts; [`others::OTHERS`] have theirs, too.
pub const VENDORS: [&str; 5] = ["datadog", "cortex_xdr", "google_secops", "cloudflare", "oracle_casb"];

/// Every path prefix.
pub fn prefixes() -> impl Iterator<Item = &'static str> {
    VENDORS.into_iter().chain(others::OTHERS)
}

/// Each vendor's pages below its prefix.
fn vendors(world: &Arc<World>) -> axum::Router {
    axum::Router::new()
        .nest("/datadog", datadog::router(Arc::clone(world)))
        .nest("/cloudflare", cloudflare::router(Arc::clone(world)))
        .nest("/cortex_xdr", cortex_xdr::router(Arc::clone(world)))
        .nest("/oracle_casb", oracle_casb::router(Arc::clone(world)))
        .nest("/google_secops", google_secops::router(Arc::clone(world)))
        .merge(others::router(world))
}
