//! Made-up alerts without end, in every built-in format, about entities that the simulated vendors can be asked
//! about.
//!
//! Deterministic: a seed says every byte. A few entities are in most alerts and most entities in few, as in
//! real life, and the population is bounded, so that a cache has something to do. One alert in a hundred is
//! [poison](Alert::format) and belongs into the dead letters.
//!
//! | file | owns |
//! |---|---|
//! | [`cast`] | who appears: people, hosts, agents, cloud identities, addresses |
//! | `draw` | chance |
//! | `vendors` | alerts of the products whose scores we look up |
//! | `others` | alerts of everybody else |

pub mod cast;
mod draw;
mod others;
mod vendors;

use draw::Draw;
use serde_json::Value;

/// One alert in so many cannot be read.
pub const POISON: u64 = 100;

/// An alert as a record of Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The built-in format it is in; `None` for poison: cut short, or not UTF-8.
    pub format: Option<&'static str>,
    /// The record's key: the alert's own id, so that no partition gets more than its part.
    pub key: String,
    /// The record's value, about a kilobyte.
    pub value: Vec<u8>,
}

/// A way to make an alert.
type Make = fn(&mut Draw) -> Value;

/// The formats, each with its way and how often it comes, relative to the others.
const FORMATS: [(&str, Make, u64); 12] = [
    ("datadog_signal", vendors::datadog_signal, 16),
    ("cortex_xdr", vendors::cortex_xdr, 14),
    ("google_secops", vendors::google_secops, 14),
    ("cloudflare", vendors::cloudflare, 12),
    ("oracle_casb", vendors::oracle_casb, 8),
    ("aws_cloudtrail", others::aws_cloudtrail, 10),
    ("aws_guardduty", others::aws_guardduty, 6),
    ("crowdstrike", others::crowdstrike, 5),
    ("microsoft_graph", others::microsoft_graph, 4),
    ("splunk_notable", others::splunk_notable, 4),
    ("ecs", others::ecs, 4),
    ("ocsf", others::ocsf, 3),
];

/// Alerts without end.
#[derive(Clone, Debug)]
pub struct Alerts {
    draw: Draw,
}

impl Alerts {
    /// The alerts of `seed`; another seed, other alerts about the same population.
    pub fn new(seed: u64) -> Self {
        Alerts { draw: Draw::new(seed) }
    }
}

impl Iterator for Alerts {
    type Item = Alert;

    /// The next one; there always is one.
    fn next(&mut self) -> Option<Alert> {
        let draw = &mut self.draw;
        let number = draw.next_alert();
        let total: u64 = FORMATS.iter().map(|(_, _, weight)| weight).sum();
        let mut left = draw.below(total);
        let (format, make, _) = FORMATS.iter().find(|(_, _, weight)| match left.checked_sub(*weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })?;
        let mut value = make(draw).to_string().into_bytes();
        let poison = draw.below(POISON) == 0;
        if poison {
            spoil(&mut value, draw.one_in(2));
        }
        Some(Alert { format: (!poison).then_some(*format), key: format!("{format}-{number}"), value })
    }
}

/// Makes an alert unreadable in one of two ways.
fn spoil(value: &mut Vec<u8>, cut: bool) {
    let middle = value.len() / 2;
    if cut {
        value.truncate(middle);
    } else if let Some(byte) = value.get_mut(middle) {
        // No UTF-8 text has this byte anywhere.
        *byte = 0xFF;
    }
}

#[cfg(test)]
mod tests;
