//! Which dead letters are meant.
//!
//! Pure: the time of now is passed in. Contract: a letter is meant when every kind of condition that was given holds,
//! and of several of one kind any does. What a letter does not say matches no condition about it.

use std::str::FromStr;

use jiff::Timestamp;

use super::letter::{Letter, Place};
use crate::alert::DecodeError;
use crate::config::duration;
use crate::metrics::Refusal;

/// The conditions; an empty list or `None` is none.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Reasons.
    pub reasons: Vec<String>,
    /// Dead letters written at this time or later, Unix milliseconds.
    pub since: Option<i64>,
    /// Dead letters written before this time.
    pub until: Option<i64>,
    /// Topics of the originals.
    pub topics: Vec<String>,
    /// Partitions of the originals.
    pub partitions: Vec<i32>,
    /// Formats of the originals, or `unknown`.
    pub formats: Vec<String>,
    /// Places in the dead-letter topic.
    pub at: Vec<Place>,
}

impl Filter {
    /// Whether `letter` is meant. Its format is found only where it is asked about.
    pub fn takes<'f>(&self, letter: &Letter, format: impl FnOnce() -> &'f str) -> bool {
        let origin = letter.origin();
        let any = |list: &[String], word: Option<&str>| {
            list.is_empty() || word.is_some_and(|word| list.iter().any(|listed| listed == word))
        };
        (self.at.is_empty() || self.at.contains(&letter.place()))
            && self.since.is_none_or(|since| letter.time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| letter.time.is_some_and(|time| time < until))
            && any(&self.reasons, Some(&letter.reason()))
            && any(&self.topics, origin.as_ref().map(|origin| origin.topic.as_str()))
            && (self.partitions.is_empty()
                || origin.is_some_and(|origin| self.partitions.contains(&origin.place.partition)))
            && (self.formats.is_empty() || any(&self.formats, Some(format())))
    }
}

/// A moment: `2h` (before now) or `2026-05-29T14:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long ago, in milliseconds.
    Ago(i64),
    /// At this time, Unix milliseconds.
    At(i64),
}

impl When {
    /// As Unix milliseconds.
    pub fn resolve(self, now: i64) -> i64 {
        match self {
            When::Ago(millis) => now.saturating_sub(millis),
            When::At(millis) => millis,
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = duration(text) {
            return Ok(When::Ago(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
        }
        let time: Timestamp = text.parse().map_err(|_| {
            "write how long ago (30m, 2h, 7d) or a time with its zone (2026-05-29T14:00:00Z)".to_owned()
        })?;
        Ok(When::At(time.as_millisecond()))
    }
}

/// Every reason of ours.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    DecodeError::LABELS.into_iter().chain(Refusal::ALL.map(Refusal::label))
}

/// Reads a reason: one of ours, or the class of another tool, which has a dot.
pub fn reason(text: &str) -> Result<String, String> {
    if text.contains('.') || reasons().any(|reason| reason == text) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = reasons().collect();
    Err(format!("no such reason; write one of: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn letter(time: i64, reason: &str, topic: &str, partition: i32) -> Letter {
        let named = |name: &str, value: String| (name.as_bytes().to_vec(), Some(value.into_bytes()));
        Letter {
            time: Some(time),
            headers: vec![
                named("__connect.errors.exception.class.name", format!("riskstream.{reason}")),
                named("__connect.errors.topic", topic.to_owned()),
                named("__connect.errors.partition", partition.to_string()),
                named("__connect.errors.offset", "7".to_owned()),
            ],
            ..Letter::default()
        }
    }

    #[test]
    fn all_kinds_of_conditions_must_hold_and_any_of_one_kind() {
        let filter = Filter {
            reasons: vec!["not_json".into(), "empty".into()],
            topics: vec!["a".into()],
            partitions: vec![1, 2],
            since: Some(10),
            until: Some(20),
            ..Filter::default()
        };
        let takes = |letter| filter.takes(&letter, || unreachable!("nobody asks for the format"));
        assert!(takes(letter(10, "not_json", "a", 1)));
        assert!(takes(letter(19, "empty", "a", 2)));
        assert!(!takes(letter(9, "empty", "a", 2)), "before");
        assert!(!takes(letter(20, "empty", "a", 2)), "after");
        assert!(!takes(letter(10, "too_deep", "a", 1)));
        assert!(!takes(letter(10, "empty", "b", 1)));
        assert!(!takes(letter(10, "empty", "a", 3)));
        assert!(!takes(Letter { time: Some(15), ..Letter::default() }), "it says nothing");
        assert!(Filter::default().takes(&Letter::default(), || unreachable!()));
    }

    #[test]
    fn formats_and_exact_places_can_be_asked_for() {
        let formats = Filter { formats: vec!["unknown".into(), "ocsf".into()], ..Filter::default() };
        assert!(formats.takes(&Letter::default(), || "unknown"));
        assert!(!formats.takes(&Letter::default(), || "ecs"));
        let at = Filter { at: vec!["2/9".parse().unwrap()], ..Filter::default() };
        assert!(at.takes(&Letter { partition: 2, offset: 9, ..Letter::default() }, || unreachable!()));
        assert!(!at.takes(&Letter { partition: 9, offset: 2, ..Letter::default() }, || unreachable!()));
    }

    #[test]
    fn a_moment_is_a_span_before_now_or_a_time_with_its_zone() {
        let now = 1_780_000_000_000;
        for (text, at) in [
            ("2h", now - 7_200_000),
            ("0s", now),
            ("2026-05-29T14:00:00Z", 1_780_063_200_000),
            ("2026-05-29T16:00:00+02:00", 1_780_063_200_000),
        ] {
            assert_eq!(text.parse::<When>().unwrap().resolve(now), at, "{text}");
        }
        for text in ["", "yesterday", "2026-05-29", "2026-05-29T14:00:00", "-2h"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_reason_is_one_of_ours_or_a_class() {
        assert_eq!(reason("not_json").unwrap(), "not_json");
        assert!(reason("org.apache.kafka.connect.errors.DataException").is_ok());
        assert!(reason("not_jsno").unwrap_err().contains("not_json, "));
    }

    proptest! {
        /// Narrowing by one more condition never brings a letter back, and no condition keeps everything.
        #[test]
        fn a_further_condition_only_takes_away(
            time in 0i64..30, topic in "[ab]", reason in "empty|not_json", partition in 0..3,
            since in prop::option::of(0i64..30), topics in prop::collection::vec("[ab]", 0..3),
            reasons in prop::collection::vec("empty|not_json", 0..3),
            partitions in prop::collection::vec(0..3, 0..3),
        ) {
            let letter = letter(time, &reason, &topic, partition);
            let all = Filter { since, topics: topics.clone(), reasons: reasons.clone(), partitions: partitions.clone(), ..Filter::default() };
            let each = [
                Filter { since, ..Filter::default() },
                Filter { topics, ..Filter::default() },
                Filter { reasons, ..Filter::default() },
                Filter { partitions, ..Filter::default() },
            ];
            let by_each = each.iter().all(|filter| filter.takes(&letter, || "unknown"));
            prop_assert_eq!(all.takes(&letter, || "unknown"), by_each);
        }
    }
}
