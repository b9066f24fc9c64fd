//! The Kafka headers that carry the result beside the alert, for consumers that do not parse it.
//!
//! Owns their names and which names of an input are ours. Contract: what [`is_ours`] is stripped from every
//! input before ours are added, so that nobody who writes an alert can speak for us.

use super::{Cut, SCHEMA, Summary};
use crate::score::Score;

/// How far the alert could be answered: [`super::AlertStatus::label`].
pub const STATUS: &str = "risk-status";
/// The alert's score, `0` to `100`; absent when there is none.
pub const SCORE: &str = "risk-score";
/// The alert's level; absent when there is none.
pub const LEVEL: &str = "risk-level";
/// Which version of the enriched event this is.
pub const SCHEMA_VERSION: &str = "risk-schema";
/// `topic/partition/offset` of the alert, so that a consumer can drop what it has seen.
pub const SOURCE: &str = "risk-source";
/// What was left out to stay within `output.max_bytes`: [`Cut::label`]; absent when nothing was.
pub const TRUNCATED: &str = "risk-truncated";
/// Marks an output whose timestamp is not the alert's, because the broker refused that one.
pub const TIMESTAMP: &str = "risk-timestamp";
/// How often the record had been sent again after it became a dead letter: on what was sent again, and on a dead
/// letter that came of it.
pub const REDRIVEN: &str = "risk-redriven";

/// An upper bound on the bytes, names included, of everything that [`each`] yields.
pub const RESERVED: usize = 128;

/// Whether a header of an input has a name that only we may write: `risk-*` or Kafka Connect's
/// `__connect.errors.*`, whatever the case.
pub fn is_ours(name: &str) -> bool {
    ["risk-", "__connect.errors."].iter().any(|prefix| {
        name.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    })
}

/// The count that a [`REDRIVEN`] header holds: 1 to 99, in digits. Whoever writes alerts may forge one, which only keeps
/// that very alert from being sent again; whatever is no such number counts as none.
pub fn redriven(value: &[u8]) -> Option<u8> {
    match value {
        [b'1'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] => std::str::from_utf8(value).ok()?.parse().ok(),
        _ => None,
    }
}

/// Tells `write` the headers that follow from composing, as names and values. [`SOURCE`] and [`TIMESTAMP`] depend on the
/// record, not on the alert, and are the sink's to add. For every output: it allocates nothing.
pub fn each(summary: &Summary, write: impl FnMut(&'static str, &str)) {
    each_of(SCHEMA, summary, write);
}

/// The same for a record of another schema.
pub fn each_of(schema: &str, summary: &Summary, mut write: impl FnMut(&'static str, &str)) {
    write(STATUS, summary.status.label());
    if let Some(score) = summary.score {
        write(SCORE, score.text(&mut [0; Score::DIGITS]));
    }
    if let Some(level) = summary.level {
        write(LEVEL, level.label());
    }
    write(SCHEMA_VERSION, schema);
    if summary.cut != Cut::Nothing {
        write(TRUNCATED, summary.cut.label());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::AlertStatus;
    use crate::score::Level;

    fn all(summary: &Summary) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        each(summary, |name, value| all.push((name, value.to_owned())));
        all
    }

    #[test]
    fn a_forged_name_is_ours_in_any_case_and_others_are_not() {
        for ours in ["risk-score", "Risk-Anything", "RISK-", "__connect.errors.topic", "__CONNECT.ERRORS.x"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in
            ["risk", "risky-score", "xrisk-score", "traceparent", "__connect.error", "", "ri\u{1F}sk-"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn a_count_of_redrives_is_a_small_number_or_nothing() {
        for count in 1..=99u8 {
            assert_eq!(redriven(count.to_string().as_bytes()), Some(count));
        }
        for forged in [&b""[..], b"0", b"01", b"100", b"-1", b"+1", b" 1", b"1\n", b"1e1", b"\xff"] {
            assert_eq!(redriven(forged), None, "{forged:?}");
        }
    }

    #[test]
    fn the_headers_of_a_scored_alert_carry_status_score_and_level() {
        let summary = Summary {
            status: AlertStatus::Complete,
            score: Some(Score::MAX),
            level: Some(Level::Critical),
            cut: Cut::Details,
        };
        let headers: Vec<_> =
            all(&summary).into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            headers,
            [
                "risk-status: complete",
                "risk-score: 100",
                "risk-level: critical",
                "risk-schema: riskstream/v1",
                "risk-truncated: details"
            ]
        );
    }

    #[test]
    fn an_alert_without_a_score_has_no_score_header_and_every_name_is_ours() {
        let names: Vec<_> = all(&Summary::NO_ENTITIES).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [STATUS, SCHEMA_VERSION]);
        for name in [STATUS, SCORE, LEVEL, SCHEMA_VERSION, SOURCE, TRUNCATED, TIMESTAMP, REDRIVEN] {
            assert!(is_ours(name), "{name}");
        }
    }

    #[test]
    fn the_reserved_bytes_are_enough_for_the_longest_words() {
        let longest = Summary {
            status: AlertStatus::NoEntities,
            score: Score::clamped(85.5),
            level: Some(Level::Critical),
            cut: Cut::Details,
        };
        let bytes: usize = all(&longest).into_iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(bytes <= RESERVED, "{bytes}");
    }
}
