//! An answer as text: rendered once when it is fetched, copied into every alert that it answers.
//!
//! Owns the members of a scored or unknown entity that do not depend on the alert. Contract: the text is
//! valid JSON members without braces, and can be written with or without its bulky part, which is bounded, without
//! parsing. Where text and gist are kept is for others to choose: the cache has them beside its own.

use jiff::Timestamp;

use super::json;
use crate::provider::{Answer, Scored};
use crate::score::{Level, Score};

/// Bytes of an answer's details. Longer ones are left out whole, and that is marked: the cache and alerts in flight hold
/// many answers.
const MOST_DETAILS: usize = 32 * 1024;

/// What stands before the vendor's own number.
const RAW_SCORE: &str = r#","raw":{"score":"#;

/// What is constant of an answer, as it comes from the vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// `"status":...` to `"last_seen":...`, then the details (`,"reasons":[...],"attributes":{...}`), if any, then
    /// `,"as_of":...`.
    text: Vec<u8>,
    gist: Gist,
}

/// What is known of an answer beside its text, and where in the text the details are. Packed, as it stands in every
/// entry of the cache, and there are millions: nothing lies idle between its fields or behind them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(Rust, packed)]
pub struct Gist {
    /// When the vendor answered, Unix milliseconds.
    as_of: i64,
    /// Bytes of text before the details.
    details: u32,
    verdict: Option<(Score, Level)>,
    /// Bytes of text behind the details.
    tail: u8,
}

/// What is constant of an answer, wherever it is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RenderedRef<'a> {
    text: &'a [u8],
    gist: &'a Gist,
}

impl Rendered {
    /// Renders `answer`, which the vendor gave at `as_of`.
    pub fn of(answer: &Answer, as_of: Timestamp) -> Rendered {
        let mut out = Vec::with_capacity(512);
        let (start, verdict) = match answer {
            Answer::Scored(scored) => {
                facts(scored, &mut out);
                let start = out.len();
                details(scored, &mut out);
                if out.len() - start > MOST_DETAILS {
                    out.truncate(start);
                    out.extend_from_slice(br#","truncated":true"#);
                }
                (start, Some((scored.score, scored.level)))
            }
            Answer::Unknown { detail } => {
                out.extend_from_slice(br#""status":"unknown""#);
                if let Some(detail) = detail {
                    json::member(&mut out, "detail", detail);
                }
                (out.len(), None)
            }
        };
        let end = out.len();
        json::timestamp(&mut out, "as_of", whole_second(as_of));
        let gist = Gist {
            as_of: as_of.as_millisecond(),
            // An answer's body is bounded far below 4 GiB, and a point in time takes few bytes.
            details: u32::try_from(start).unwrap_or(u32::MAX),
            verdict,
            tail: u8::try_from(out.len() - end).unwrap_or(u8::MAX),
        };
        Rendered { text: out, gist }
    }

    /// The same, borrowed.
    pub fn get(&self) -> RenderedRef<'_> {
        RenderedRef { text: &self.text, gist: &self.gist }
    }
}

impl Gist {
    /// Whether the vendor does not know the entity.
    pub fn is_unknown(self) -> bool {
        self.verdict().is_none()
    }

    fn verdict(self) -> Option<(Score, Level)> {
        self.verdict
    }
}

impl<'a> RenderedRef<'a> {
    /// What [`RenderedRef::text`] and [`RenderedRef::gist`] gave, kept elsewhere.
    pub fn new(text: &'a [u8], gist: &'a Gist) -> Self {
        RenderedRef { text, gist }
    }

    /// The whole text.
    pub fn text(self) -> &'a [u8] {
        self.text
    }

    /// What is known beside the text.
    pub fn gist(self) -> Gist {
        *self.gist
    }

    /// The score; `None` when the vendor does not know the entity.
    pub fn score(self) -> Option<Score> {
        self.gist.verdict().map(|(score, _)| score)
    }

    /// The level; `None` when the vendor does not know the entity.
    pub fn level(self) -> Option<Level> {
        self.gist.verdict().map(|(_, level)| level)
    }

    /// When the vendor answered, Unix milliseconds.
    pub(super) fn as_of(self) -> i64 {
        self.gist.as_of
    }

    /// The vendor's own number as it was written, where it gives one. Rarely asked for, so it is found in the text: what
    /// stands before it is ours, and a vendor's words have no bare quotes.
    pub(super) fn raw(self) -> Option<&'a str> {
        let facts = self.text.get(..self.gist.details as usize)?;
        let (_, number) = std::str::from_utf8(facts).ok()?.split_once(RAW_SCORE)?;
        number.split([',', '}']).next()
    }

    /// Writes the members.
    pub(super) fn write(self, with_details: bool, out: &mut Vec<u8>) {
        if with_details {
            out.extend_from_slice(self.text);
        } else {
            let tail = self.text.len().saturating_sub(usize::from(self.gist.tail));
            out.extend_from_slice(self.text.get(..self.gist.details as usize).unwrap_or_default());
            out.extend_from_slice(self.text.get(tail..).unwrap_or_default());
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
    json::string(out, &scored.raw.scale);
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
        rendered.get().write(with_details, &mut out);
        out.push(b'}');
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_unknown_entity_has_a_status_and_no_score() {
        let plain = Rendered::of(&Answer::Unknown { detail: None }, at());
        assert_eq!(text(&plain, true), r#"{"status":"unknown","as_of":"2026-05-29T14:23:27Z"}"#);
        assert!(plain.get().gist().is_unknown());
        assert_eq!((plain.get().score(), plain.get().level()), (None, None));
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
            raw: Raw { score: None, level: None, scale: "levels".into() },
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
                raw: Raw { score: None, level: None, scale: "levels".into() },
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
        assert!(cut.get().text().len() < 1_000);
    }

    #[test]
    fn the_details_can_be_left_out_and_nothing_else_goes_with_them() {
        let scored = Scored {
            score: Score::clamped(85.5).unwrap(),
            level: Level::High,
            raw: Raw { score: Some(240.into()), level: Some("HI\"GH".into()), scale: "sum".into() },
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
    }

    #[test]
    fn the_vendors_own_number_is_found_and_no_other() {
        let raw = |score: Option<serde_json::Number>, level: Option<&str>| {
            let scored = Scored {
                score: Score::ZERO,
                level: Level::Info,
                raw: Raw { score, level: level.map(str::to_owned), scale: "sum".into() },
                delta: Some(7.into()),
                signals: None,
                first_seen: None,
                last_seen: None,
                reasons: vec![r#","raw":{"score":1}"#.to_owned()],
                attributes: json!({"a": 1, "raw": {"score": 2}}).as_object().unwrap().clone(),
            };
            let rendered = Rendered::of(&Answer::Scored(Box::new(scored)), at());
            rendered.get().raw().map(str::to_owned)
        };
        for number in ["240", "-3", "0.25", "1e300"] {
            let number: serde_json::Number = serde_json::from_str(number).unwrap();
            assert_eq!(raw(Some(number.clone()), Some("x")), Some(number.to_string()));
        }
        for level in [None, Some(r#"x,"raw":{"score":9}"#)] {
            assert_eq!(raw(None, level), None);
            assert_eq!(raw(Some(5.into()), level).as_deref(), Some("5"));
        }
        assert_eq!(Rendered::of(&Answer::Unknown { detail: Some("no_level") }, at()).get().raw(), None);
    }
}
