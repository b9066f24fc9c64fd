//! An answer as text: rendered once when it is fetched, copied into every alert that it answers.
//!
//! Owns the members of a scored or unknown entity that do not depend on the alert. Contract: the text is
//! valid JSON members without braces, and can be written with or without its bulky part, which is bounded, without
//! parsing.

use jiff::Timestamp;
use serde_json::Number;

use super::json;
use crate::provider::{Answer, Scored};
use crate::score::{Level, Score};

/// Bytes of an answer's details. Longer ones are left out whole, and that is marked: the cache and alerts in flight hold
/// many answers.
const MOST_DETAILS: usize = 32 * 1024;

/// What is constant of an answer; what the cache holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// `"status":...` to `"last_seen":...`, then the details, then `,"as_of":...`.
    text: Box<str>,
    /// Where the details (`,"reasons":[...],"attributes":{...}`) begin and end; the same when there are none.
    details: (u32, u32),
    verdict: Option<(Score, Level)>,
    raw: Option<Number>,
    as_of: Timestamp,
}

impl Rendered {
    /// Renders `answer`, which the vendor gave at `as_of`.
    pub fn of(answer: &Answer, as_of: Timestamp) -> Rendered {
        let mut out = Vec::with_capacity(512);
        let (details, verdict, raw) = match answer {
            Answer::Scored(scored) => {
                facts(scored, &mut out);
                let start = out.len();
                details(scored, &mut out);
                if out.len() - start > MOST_DETAILS {
                    out.truncate(start);
                    out.extend_from_slice(br#","truncated":true"#);
                }
                ((start, out.len()), Some((scored.score, scored.level)), scored.raw.score.clone())
            }
            Answer::Unknown { detail } => {
                out.extend_from_slice(br#""status":"unknown""#);
                if let Some(detail) = detail {
                    json::member(&mut out, "detail", detail);
                }
                ((out.len(), out.len()), None, None)
            }
        };
        json::timestamp(&mut out, "as_of", whole_second(as_of));
        // Everything above is text; the copy in `from_utf8_lossy` is never made.
        let text = String::from_utf8_lossy(&out).into_owned().into_boxed_str();
        // An answer's body is bounded far below 4 GiB, and there may be a million of these.
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Rendered { text, details: (offset(details.0), offset(details.1)), verdict, raw, as_of }
    }

    /// The score; `None` when the vendor does not know the entity.
    pub fn score(&self) -> Option<Score> {
        self.verdict.map(|(score, _)| score)
    }

    /// The level; `None` when the vendor does not know the entity.
    pub fn level(&self) -> Option<Level> {
        self.verdict.map(|(_, level)| level)
    }

    /// Whether the vendor does not know the entity.
    pub fn is_unknown(&self) -> bool {
        self.verdict.is_none()
    }

    /// When the vendor answered.
    pub fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// Bytes of memory that it takes, its text included: for the cache's bound.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }

    /// The vendor's own number, where it gives one.
    pub(super) fn raw(&self) -> Option<&Number> {
        self.raw.as_ref()
    }

    /// Writes the members.
    pub(super) fn write(&self, with_details: bool, out: &mut Vec<u8>) {
        let text = self.text.as_bytes();
        let (start, end) = (self.details.0 as usize, self.details.1 as usize);
        if with_details {
            out.extend_from_slice(text);
        } else {
            out.extend_from_slice(text.get(..start).unwrap_or_default());
            out.extend_from_slice(text.get(end..).unwrap_or_default());
        }
    }
}

fn facts(scored: &Scored, out: &mut Vec<u8>) {
    out.extend_from_slice(br#""status":"scored","score":"#);
    json::display(out, scored.score);
    json::member(out, "level", scored.level.label());
    out.extend_from_slice(br#","raw":{"#);
    if let Some(score) = &scored.raw.score {
        out.extend_from_slice(br#""score":"#);
        json::display(out, score);
        out.push(b',');
    }
    if let Some(level) = &scored.raw.level {
        out.extend_from_slice(br#""level":"#);
        json::string(out, level);
        out.push(b',');
    }
    out.extend_from_slice(br#""scale":"#);
    json::string(out, scored.raw.scale);
    out.push(b'}');
    if let Some(delta) = &scored.delta {
        out.extend_from_slice(br#","delta":"#);
        json::display(out, delta);
    }
    if let Some(signals) = scored.signals {
        out.extend_from_slice(br#","signals":"#);
        json::display(out, signals);
    }
    if let Some(first) = scored.first_seen {
        json::timestamp(out, "first_seen", first);
    }
    if let Some(last) = scored.last_seen {
        json::timestamp(out, "last_seen", last);
    }
}

fn details(scored: &Scored, out: &mut Vec<u8>) {
    if !scored.reasons.is_empty() {
        out.extend_from_slice(br#","reasons":"#);
        json::strings(out, scored.reasons.iter().map(String::as_str));
    }
    if !scored.attributes.is_empty() {
        out.extend_from_slice(br#","attributes":"#);
        json::value(out, &scored.attributes);
    }
}

/// Without the fraction: nobody decides anything on when within a second a vendor answered.
fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::provider::Raw;
    use serde_json::{Value, json};

    fn at() -> Timestamp {
        "2026-05-29T14:23:27.987Z".parse().unwrap()
    }

    fn text(rendered: &Rendered, with_details: bool) -> String {
        let mut out = vec![b'{'];
        rendered.write(with_details, &mut out);
        out.push(b'}');
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_unknown_entity_has_a_status_and_no_score() {
        let plain = Rendered::of(&Answer::Unknown { detail: None }, at());
        assert_eq!(text(&plain, true), r#"{"status":"unknown","as_of":"2026-05-29T14:23:27Z"}"#);
        assert!(plain.is_unknown() && plain.score().is_none() && plain.level().is_none());
        let detailed = Rendered::of(&Answer::Unknown { detail: Some("no_level") }, at());
        assert_eq!(
            text(&detailed, false),
            r#"{"status":"unknown","detail":"no_level","as_of":"2026-05-29T14:23:27Z"}"#
        );
    }

    #[test]
    fn what_the_vendor_did_not_say_is_absent() {
        let scored = Scored {
            score: Score::ZERO,
            level: Level::Info,
            raw: Raw { score: None, level: None, scale: "levels" },
            delta: None,
            signals: None,
            first_seen: None,
            last_seen: None,
            reasons: vec![],
            attributes: Default::default(),
        };
        let rendered = Rendered::of(&Answer::Scored(Box::new(scored)), at());
        assert_eq!(
            text(&rendered, true),
            r#"{"status":"scored","score":0,"level":"info","raw":{"scale":"levels"},"as_of":"2026-05-29T14:23:27Z"}"#
        );
        assert_eq!(text(&rendered, true), text(&rendered, false));
    }

    #[test]
    fn details_without_end_are_left_out_and_that_is_marked() {
        let scored = |reason: usize| {
            Answer::Scored(Box::new(Scored {
                score: Score::ZERO,
                level: Level::Info,
                raw: Raw { score: None, level: None, scale: "levels" },
                delta: None,
                signals: None,
                first_seen: None,
                last_seen: None,
                reasons: vec!["x".repeat(reason)],
                attributes: Default::default(),
            }))
        };
        let longest = MOST_DETAILS - r#","reasons":[""]"#.len();
        assert!(text(&Rendered::of(&scored(longest), at()), true).contains("xxx"));
        let cut = Rendered::of(&scored(longest + 1), at());
        let value: Value = serde_json::from_str(&text(&cut, true)).unwrap();
        assert_eq!((&value["truncated"], &value["reasons"]), (&json!(true), &Value::Null));
        assert!(cut.bytes() < 1_000);
    }

    #[test]
    fn the_details_can_be_left_out_and_nothing_else_goes_with_them() {
        let scored = Scored {
            score: Score::clamped(85.5).unwrap(),
            level: Level::High,
            raw: Raw { score: Some(240.into()), level: Some("HI\"GH".into()), scale: "sum" },
            delta: Some((-3).into()),
            signals: Some(15),
            first_seen: Some(at()),
            last_seen: Some(at()),
            reasons: vec!["a \"quoted\" \u{1} reason".into()],
            attributes: json!({"is_privileged": false}).as_object().unwrap().clone(),
        };
        let rendered = Rendered::of(&Answer::Scored(Box::new(scored)), at());
        let whole: Value = serde_json::from_str(&text(&rendered, true)).unwrap();
        let mut rest: Value = whole.clone();
        rest.as_object_mut().unwrap().remove("reasons").unwrap();
        rest.as_object_mut().unwrap().remove("attributes").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text(&rendered, false)).unwrap(), rest);
        assert_eq!(whole["raw"], json!({"score": 240, "level": "HI\"GH", "scale": "sum"}));
        assert_eq!(whole["first_seen"], json!("2026-05-29T14:23:27.987Z"));
        assert!(rendered.bytes() > text(&rendered, true).len());
    }
}
