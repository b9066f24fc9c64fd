//! The `risk` object: what is known of an alert as a whole, and of each of its entities.
//!
//! Owns the names and the order of its members, which consumers rely on. Pure. Values and paths were
//! written by whoever caused the alert: they leave as JSON strings, escaped.

use super::{Cut, EntityOutcome, Input, Outcome, RenderedRef, SCHEMA, Source, Summary, json};
use crate::score::{Level, Score};

/// Everything that is said about one alert.
#[derive(Clone, Copy)]
pub(super) struct Risk<'a> {
    pub summary: Summary,
    pub input: Input<'a>,
    pub entities: &'a [EntityOutcome<'a>],
}

impl Risk<'_> {
    /// Whether reasons and attributes are written.
    pub fn with_details(&self) -> bool {
        self.summary.cut == Cut::Nothing
    }

    /// Writes the whole object; `tail` holds members to stand after ours, each with its comma before it.
    pub fn object(&self, tail: &[u8], out: &mut Vec<u8>) {
        out.push(b'{');
        self.head(out);
        out.extend_from_slice(br#","entities":["#);
        for (index, outcome) in self.entities.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
            entity(outcome, self.with_details(), out);
            out.push(b'}');
        }
        out.push(b']');
        out.extend_from_slice(tail);
        out.push(b'}');
    }

    /// Writes the members about the alert as a whole, without braces.
    pub fn head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#""schema":""#);
        out.extend_from_slice(SCHEMA.as_bytes());
        out.push(b'"');
        self.verdict(out);
    }

    /// Writes what is known of the alert as a whole, each member with its comma before it.
    #[inline]
    pub fn verdict(&self, out: &mut Vec<u8>) {
        json::label(out, "status", self.summary.status.label());
        if let Some(score) = self.summary.score {
            out.extend_from_slice(br#","score":"#);
            json::score(out, score);
        }
        if let Some(level) = self.summary.level {
            json::label(out, "level", level.label());
        }
        json::member(out, "format", self.input.format.unwrap_or("unknown"));
        if self.input.entities_cut > 0 {
            out.extend_from_slice(br#","entities_cut":"#);
            json::display(out, self.input.entities_cut);
        }
        if self.summary.cut != Cut::Nothing {
            out.extend_from_slice(br#","truncated":true"#);
        }
    }
}

/// Writes the members of one entity, without braces. Reasons and attributes are details, and so is every
/// place where it stands but the first: how often that is, is for the alert's sender to choose.
pub(super) fn entity(entity: &EntityOutcome<'_>, with_details: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(br#""kind":""#);
    out.extend_from_slice(entity.kind.label().as_bytes());
    out.extend_from_slice(br#"","value":"#);
    json::string(out, entity.value);
    out.extend_from_slice(br#","paths":"#);
    let paths = if with_details { entity.paths } else { entity.paths.first_only() };
    json::strings(out, paths.iter());
    if let Some(provider) = entity.provider {
        json::member(out, "provider", provider);
    }
    match entity.outcome {
        Outcome::Answered { answer, age, source } => {
            out.push(b',');
            answer.write(with_details, out);
            out.extend_from_slice(br#","age_seconds":"#);
            json::value(out, &age.as_secs());
            json::label(out, "source", source.label());
            if let Source::Stale(reason) = source {
                json::label(out, "stale_reason", reason.label());
            }
        }
        Outcome::Failed(reason) => {
            json::label(out, "status", "failed");
            json::label(out, "reason", reason.label());
        }
        Outcome::Unrouted => json::label(out, "status", "unrouted"),
    }
}

/// The highest of some entities: the score and the level each for itself.
#[derive(Debug, Default)]
pub(super) struct Highest<'a> {
    pub score: Option<Score>,
    pub level: Option<Level>,
    /// What gave the score.
    answer: Option<RenderedRef<'a>>,
}

impl<'a> Highest<'a> {
    pub fn of(entities: impl IntoIterator<Item = &'a EntityOutcome<'a>>) -> Self {
        let mut highest = Highest::default();
        for entity in entities {
            highest.add(entity);
        }
        highest
    }

    pub fn add(&mut self, entity: &EntityOutcome<'a>) {
        if let Outcome::Answered { answer, .. } = entity.outcome {
            if answer.score() > self.score {
                self.score = answer.score();
                self.answer = Some(answer);
            }
            self.level = self.level.max(answer.level());
        }
    }

    /// The vendor's own number of the entity with the highest score, as it was written.
    pub fn raw(&self) -> Option<&'a str> {
        self.answer.and_then(RenderedRef::raw)
    }
}

/// The level as OCSF and Elastic spell it.
pub(super) const fn caption(level: Level) -> &'static str {
    match level {
        Level::Info => "Info",
        Level::Low => "Low",
        Level::Medium => "Medium",
        Level::High => "High",
        Level::Critical => "Critical",
    }
}
