//! The update of an alert that left before all its answers were there: what came too late for it.
//!
//! Owns the members of that record, which consumers rely on. Pure. Contract: one valid JSON object about one alert; it
//! names the alert by its `risk-source`, and holds of the alert itself nothing but the entities that were answered since.

use super::risk::{self, Risk};
use super::{Composer, Cut, EntityOutcome, Input, Summary, headers, json};

/// The `schema` of an update.
pub const SCHEMA: &str = "riskstream/update/v1";

/// What an update is about.
#[derive(Clone, Copy, Debug)]
pub struct Late<'a> {
    /// `topic/partition/offset` of the alert, as in the header [`headers::SOURCE`] of its output.
    pub source: &'a str,
    /// The alert; neither its bytes nor its shape are looked at.
    pub input: Input<'a>,
    /// Its entities as they stand now.
    pub entities: &'a [EntityOutcome<'a>],
    /// Those among them that were answered since the alert left.
    pub news: &'a [EntityOutcome<'a>],
}

impl Composer {
    /// Writes an update into `out`, which is cleared first. Status, score and level are those of the whole alert with all
    /// that is known now. `None` when even without details it is larger than `output.max_bytes` allows.
    pub fn update(&self, late: &Late<'_>, out: &mut Vec<u8>) -> Option<Summary> {
        let mut summary = Summary::of(late.entities, late.input.entities_cut);
        let room = self.max_bytes.saturating_sub(late.input.key_and_header_bytes + headers::RESERVED);
        for cut in [Cut::Nothing, Cut::Details] {
            summary.cut = cut;
            out.clear();
            write(late, summary, out);
            if out.len() <= room {
                return Some(summary);
            }
        }
        None
    }
}

fn write(late: &Late<'_>, summary: Summary, out: &mut Vec<u8>) {
    let all = Risk { summary, input: late.input, entities: late.entities };
    out.extend_from_slice(br#"{"schema":""#);
    out.extend_from_slice(SCHEMA.as_bytes());
    out.push(b'"');
    json::member(out, "risk_source", late.source);
    all.verdict(out);
    out.extend_from_slice(br#","entities":["#);
    for (index, outcome) in late.news.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        risk::entity(outcome, all.with_details(), out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::time::Duration;

    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::alert::{Paths, Shape};
    use crate::compose::{AlertStatus, Outcome, Rendered, Source};
    use crate::config::Config;
    use crate::entity::EntityKind;
    use crate::provider::{Answer, FailureKind, Raw, Scored};
    use crate::score::{Level, Score};

    static SHAPE: Shape = Shape { close: 0, empty: true, members: Vec::new() };

    fn answer(score: f64, level: Level) -> Rendered {
        let scored = Scored {
            score: Score::clamped(score).unwrap(),
            level,
            raw: Raw { score: None, level: None, scale: "0-100".into() },
            delta: None,
            signals: None,
            first_seen: None,
            last_seen: None,
            reasons: vec!["a reason of some length".repeat(20)],
            attributes: serde_json::Map::new(),
        };
        Rendered::of(&Answer::Scored(Box::new(scored)), Timestamp::UNIX_EPOCH)
    }

    fn outcome<'a>(value: &'a str, outcome: Outcome<'a>) -> EntityOutcome<'a> {
        EntityOutcome { kind: EntityKind::User, value, paths: Paths::NONE, provider: Some("xdr"), outcome }
    }

    fn answered(answer: &Rendered, source: Source) -> Outcome<'_> {
        Outcome::Answered { answer: answer.get(), age: Duration::from_secs(1), source }
    }

    fn late<'a>(
        source: &'a str,
        entities: &'a [EntityOutcome<'a>],
        news: &'a [EntityOutcome<'a>],
    ) -> Late<'a> {
        let input = Input {
            original: b"",
            shape: &SHAPE,
            format: Some("ocsf"),
            entities_cut: 0,
            key_and_header_bytes: 0,
        };
        Late { source, input, entities, news }
    }

    fn composer(max_bytes: usize) -> Composer {
        let mut output = Config::default().output;
        output.max_bytes = max_bytes;
        Composer::new(&output)
    }

    #[test]
    fn an_update_says_what_the_whole_alert_says_now_and_lists_only_what_is_new() {
        let (known, new) = (answer(20.0, Level::Low), answer(85.0, Level::Critical));
        let entities = [
            outcome("a", answered(&known, Source::Cache)),
            outcome("b\"", answered(&new, Source::Provider)),
            outcome("c", Outcome::Failed(FailureKind::Timeout)),
        ];
        let mut out = Vec::new();
        let summary = composer(900_000).update(&late("t/1/2", &entities, &entities[1..2]), &mut out).unwrap();
        assert_eq!((summary.status, summary.cut), (AlertStatus::Partial, Cut::Nothing));
        let update: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(update["entities"].as_array().unwrap().len(), 1);
        assert_eq!(update["entities"][0]["value"], "b\"");
        assert_eq!(update["entities"][0]["source"], "provider");
        let head = ["schema", "risk_source", "status", "score", "level", "format"].map(|name| &update[name]);
        let expected = [
            "riskstream/update/v1".into(),
            "t/1/2".into(),
            "partial".into(),
            json!(85),
            "critical".into(),
            "ocsf".into(),
        ];
        assert_eq!(head, expected.each_ref());
    }

    #[test]
    fn details_go_first_and_what_is_too_large_even_so_is_none() {
        let new = answer(85.0, Level::Critical);
        let entities = [outcome("a", answered(&new, Source::Provider))];
        let mut out = Vec::new();
        let whole = late("t/1/2", &entities, &entities);
        let summary = composer(500 + headers::RESERVED).update(&whole, &mut out).unwrap();
        assert_eq!(summary.cut, Cut::Details);
        let update: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&update["truncated"], &update["entities"][0]["reasons"]), (&true.into(), &Value::Null));
        assert_eq!(composer(50 + headers::RESERVED).update(&whole, &mut out), None);
    }

    proptest! {
        /// Whatever an attacker calls entities and topics are called, it is one JSON object with what was put in.
        #[test]
        fn an_update_is_one_json_object_within_its_bound(
            values in prop::collection::vec(".{0,40}", 1..20),
            source in ".{0,40}",
            new in any::<prop::sample::Index>(),
            max_bytes in 200usize..20_000,
        ) {
            let rendered = answer(50.0, Level::Medium);
            let entities: Vec<_> =
                values.iter().map(|value| outcome(value, answered(&rendered, Source::Provider))).collect();
            let from = new.index(entities.len());
            let mut out = Vec::new();
            if composer(max_bytes).update(&late(&source, &entities, &entities[from..]), &mut out).is_some() {
                prop_assert!(out.len() + headers::RESERVED <= max_bytes);
                let update: Value = serde_json::from_slice(&out).unwrap();
                prop_assert_eq!(update["risk_source"].as_str(), Some(source.as_str()));
                let listed: Vec<_> = update["entities"].as_array().unwrap().iter().map(|e| e["value"].as_str().unwrap()).collect();
                prop_assert_eq!(listed, values[from..].iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
    }
}
