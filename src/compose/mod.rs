//! Step 8: the enriched event. What the answers say, added to the alert's own text.
//!
//! Owns the members, statuses and headers that consumers rely on, and the bound on an output's size.
//! Pure: no I/O, no clock. Contract: whatever the alert and the answers hold, the output is one valid JSON
//! document no larger than `output.max_bytes` allows, or, where even that leaves no room, the alert itself;
//! an alert is never dropped here. In the envelope format nothing of the alert changes but a member that
//! we wrote before.
//!
//! | file | owns |
//! |---|---|
//! | `answer` | what is constant of an answer, as text |
//! | `risk` | the `risk` object: statuses and entities |
//! | `envelope` | the alert's own bytes plus that object |
//! | `update` | what an alert learns after it has left |
//! | `ocsf`, `ecs` | the same as those schemas would have it |
//! | `tree`, `trace` | editing an alert in place, and what was overwritten |
//! | `headers` | the same for consumers that do not parse |

pub mod answer;
mod ecs;
mod envelope;
pub mod headers;
mod json;
mod ocsf;
mod risk;
mod trace;
mod tree;
pub mod update;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::alert::{Paths, Shape};
use crate::config::{OnConflict, Output, OutputFormat};
use crate::entity::EntityKind;
use crate::provider::FailureKind;
use crate::score::{Level, Score};

pub use answer::{Gist, Rendered, RenderedRef};
use risk::{Highest, Risk};

/// The `schema` of everything that we add. What begins with `riskstream/` is ours, whatever the version.
pub const SCHEMA: &str = "riskstream/v1";

/// The name of our member where the configured one is taken by somebody else's.
pub const FALLBACK_MEMBER: &str = "riskstream";

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was kept from an earlier look-up and is within its lifetime.
    Cache,
    /// The vendor was asked for this alert.
    Provider,
    /// It stood in the vendor's whole table, read at an interval.
    Snapshot,
    /// It is older than its lifetime, and the vendor could not be asked, for this reason.
    Stale(FailureKind),
}

impl Source {
    /// The word in the enriched event.
    pub const fn label(self) -> &'static str {
        match self {
            Source::Cache => "cache",
            Source::Provider => "provider",
            Source::Snapshot => "snapshot",
            Source::Stale(_) => "stale",
        }
    }
}

/// What became of one entity.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The vendor knows it, or knows that it does not.
    Answered {
        /// What the vendor says.
        answer: RenderedRef<'a>,
        /// How long ago the vendor said it.
        age: Duration,
        /// Where the answer came from.
        source: Source,
    },
    /// The vendor could not be asked, or gave no answer.
    Failed(FailureKind),
    /// No provider is responsible for it.
    Unrouted,
}

/// One entity of an alert and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct EntityOutcome<'a> {
    /// What it is.
    pub kind: EntityKind,
    /// The identifier as the alert spells it.
    pub value: &'a str,
    /// RFC 6901 pointers to where it stands in the alert.
    pub paths: Paths<'a>,
    /// The instance that was asked; `None` when it is unrouted.
    pub provider: Option<&'a str>,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// One alert to be enriched.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its bytes: one valid JSON object.
    pub original: &'a [u8],
    /// What reading it found out about its text.
    pub shape: &'a Shape,
    /// Its format; `None` when no format recognised it.
    pub format: Option<&'a str>,
    /// How many of its entities were left out because it has more than `pipeline.max_entities`.
    pub entities_cut: usize,
    /// Bytes of the output's key and of its headers, but for those of [`headers::each`].
    pub key_and_header_bytes: usize,
}

/// How far an alert could be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertStatus {
    /// Every entity is scored, or unknown to its vendor.
    Complete,
    /// Some are; others failed, or were left out for their number.
    Partial,
    /// None is, and at least one failed.
    Failed,
    /// There was none to ask about.
    NoEntities,
}

impl AlertStatus {
    /// Every status.
    pub const ALL: [AlertStatus; 4] =
        [AlertStatus::Complete, AlertStatus::Partial, AlertStatus::Failed, AlertStatus::NoEntities];

    /// The word in the enriched event, in headers and in metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            AlertStatus::Complete => "complete",
            AlertStatus::Partial => "partial",
            AlertStatus::Failed => "failed",
            AlertStatus::NoEntities => "no_entities",
        }
    }
}

/// What was left out so that the output stays within `output.max_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Nothing.
    Nothing,
    /// Reasons, attributes and all but the first path of each entity; the added object says
    /// `"truncated":true`.
    Details,
    /// Everything: the alert goes out as it came, and only its headers say what is known.
    Bare,
}

impl Cut {
    /// Every cut.
    pub const ALL: [Cut; 3] = [Cut::Nothing, Cut::Details, Cut::Bare];

    /// The word in [`headers::TRUNCATED`] and in metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Cut::Nothing => "nothing",
            Cut::Details => "details",
            Cut::Bare => "bare",
        }
    }
}

/// What an enriched alert says as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How far it could be answered.
    pub status: AlertStatus,
    /// The highest score of its entities; `None` when none is scored.
    pub score: Option<Score>,
    /// The highest level of its entities; `None` when none is scored.
    pub level: Option<Level>,
    /// What was left out for its size.
    pub cut: Cut,
}

impl Summary {
    /// Of what passes as it is because there is nothing in it to ask about: a tombstone.
    pub const NO_ENTITIES: Summary =
        Summary { status: AlertStatus::NoEntities, score: None, level: None, cut: Cut::Nothing };

    fn of(entities: &[EntityOutcome<'_>], entities_cut: usize) -> Summary {
        let answered = entities.iter().any(|entity| matches!(entity.outcome, Outcome::Answered { .. }));
        let failed = entities.iter().any(|entity| matches!(entity.outcome, Outcome::Failed(_)));
        let status = match (answered, failed) {
            // Nobody was asked about the entities that were left out, so not everything is known.
            (true, false) | (false, false) if entities_cut > 0 => AlertStatus::Partial,
            (true, false) => AlertStatus::Complete,
            (true, true) => AlertStatus::Partial,
            (false, true) => AlertStatus::Failed,
            (false, false) => AlertStatus::NoEntities,
        };
        let highest = Highest::of(entities);
        Summary { status, score: highest.score, level: highest.level, cut: Cut::Nothing }
    }
}

/// Writes enriched alerts, as `output` says.
#[derive(Clone, Debug)]
pub struct Composer {
    format: OutputFormat,
    member: Box<str>,
    /// The member's name as JSON, with its colon.
    key: Box<[u8]>,
    replace_foreign: bool,
    max_bytes: usize,
}

impl Composer {
    /// A composer for `output`.
    pub fn new(output: &Output) -> Composer {
        let mut key = Vec::new();
        json::string(&mut key, &output.member);
        key.push(b':');
        Composer {
            format: output.format,
            member: output.member.as_str().into(),
            key: key.into(),
            replace_foreign: output.on_conflict == OnConflict::Replace,
            max_bytes: output.max_bytes,
        }
    }

    /// Writes the enriched alert into `out`, which is cleared first and keeps its capacity.
    ///
    /// The output with key and headers stays within `output.max_bytes`: details go first, then everything
    /// that is added. An alert that alone is too large is written as it came.
    pub fn compose(&self, input: Input<'_>, entities: &[EntityOutcome<'_>], out: &mut Vec<u8>) -> Summary {
        let mut summary = Summary::of(entities, input.entities_cut);
        let room = self.max_bytes.saturating_sub(input.key_and_header_bytes + headers::RESERVED);
        for cut in [Cut::Nothing, Cut::Details] {
            summary.cut = cut;
            out.clear();
            self.write(&input, &Risk { summary, input, entities }, out);
            if out.len() <= room {
                return summary;
            }
        }
        summary.cut = Cut::Bare;
        out.clear();
        self.write_bare(&input, out);
        summary
    }

    /// Writes the object of one entity alone into `out`, which is cleared first: the answer to a look-up.
    pub fn one(&self, entity: &EntityOutcome<'_>, out: &mut Vec<u8>) {
        out.clear();
        out.push(b'{');
        risk::entity(entity, true, out);
        out.push(b'}');
    }

    fn write(&self, input: &Input<'_>, risk: &Risk<'_>, out: &mut Vec<u8>) {
        let alert = match self.format {
            OutputFormat::Envelope => None,
            OutputFormat::Ocsf => ocsf::enriched(self, input, risk),
            OutputFormat::Ecs => ecs::enriched(self, input, risk),
        };
        match alert {
            Some(alert) => alert.write(out),
            None => envelope::write(self, input, risk, out),
        }
    }

    fn write_bare(&self, input: &Input<'_>, out: &mut Vec<u8>) {
        let restored = match self.format {
            OutputFormat::Envelope => None,
            OutputFormat::Ocsf => ocsf::restored(self, input),
            OutputFormat::Ecs => ecs::restored(self, input),
        };
        match restored {
            Some((alert, true)) => alert.write(out),
            Some((_, false)) => out.extend_from_slice(input.original),
            None => envelope::write_bare(self, input, out),
        }
    }

    /// Takes every top-level member out that speaks in our name; says whether there was one. `None` when
    /// `alert` is not an object.
    fn remove_ours(&self, alert: &mut tree::Node<'_>) -> Option<bool> {
        let members = alert.members()?;
        let before = members.len();
        members.retain(|member| {
            let name = member.name();
            !((name == *self.member || name == FALLBACK_MEMBER) && member.value.is_ours())
        });
        Some(members.len() < before)
    }
}
