//! The common scale: a score from 0 to 100 and five levels, whatever the vendor counts in.
//!
//! Owns the conversion between numbers and levels in both directions; the cuts come from the
//! configuration (`levels`, `points`). Pure. Never invents a score: "unknown" has none.

use std::fmt;
use std::str::FromStr;

/// A risk score on the common scale, 0 to 100 in tenths.
///
/// Tenths, because Google SecOps counts to 1000 and two of its entities should not compare equal here
/// when they do not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(u16);

impl Score {
    /// No risk.
    pub const ZERO: Score = Score(0);
    /// The highest score.
    pub const MAX: Score = Score(1000);

    /// Clamps `value` to 0..=100 and rounds it to a tenth; `None` for NaN.
    pub fn clamped(value: f64) -> Option<Score> {
        if value.is_nan() {
            return None;
        }
        // In range by the clamp, so the cast neither wraps nor saturates.
        Some(Score((value.clamp(0.0, 100.0) * 10.0).round() as u16))
    }

    /// The score as a number from 0.0 to 100.0.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// The score as a whole number from 0 to 100, rounded.
    pub fn whole(self) -> u8 {
        // At most 1000 / 10.
        ((self.0 + 5) / 10) as u8
    }
}

impl Score {
    /// Bytes that [`Score::text`] takes at most.
    pub const DIGITS: usize = "99.9".len();

    /// `85`, or `85.6` where there is a tenth, in a buffer of the caller's: for every output, so it is not formatted.
    pub fn text(self, buffer: &mut [u8; Score::DIGITS]) -> &str {
        let [hundreds, tens, ones, tenths] = [1000, 100, 10, 1].map(|unit| b'0' + (self.0 / unit % 10) as u8);
        let (start, end): (usize, usize) = match self.0 {
            1000.. => (0, 3),
            100.. => (1, 3),
            _ => (2, 3),
        };
        let range = if tenths == b'0' {
            *buffer = [hundreds, tens, ones, tenths];
            start..end
        } else {
            // Below 100: there is no tenth above it.
            *buffer = [tens, ones, b'.', tenths];
            start.saturating_sub(1)..4
        };
        buffer.get(range).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl fmt::Display for Score {
    /// [`Score::text`]: also valid JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; Score::DIGITS]))
    }
}

/// How bad a score is, in the words that playbooks branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing to see.
    Info,
    /// Low risk.
    Low,
    /// Medium risk.
    Medium,
    /// High risk.
    High,
    /// Act now.
    Critical,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Level; 5] = [Level::Info, Level::Low, Level::Medium, Level::High, Level::Critical];

    /// The name used in configuration, output and headers.
    pub const fn label(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
            Level::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A word that is not the name of a [`Level`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown level {0:?}: use one of info, low, medium, high, critical")]
pub struct UnknownLevel(pub String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Level::ALL
            .into_iter()
            .find(|level| level.label() == word)
            .ok_or_else(|| UnknownLevel(word.to_owned()))
    }
}

/// The lowest score of each level above `info`: for vendors that give a number and no level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// From here it is `low`.
    pub low: f64,
    /// From here it is `medium`.
    pub medium: f64,
    /// From here it is `high`.
    pub high: f64,
    /// From here it is `critical`.
    pub critical: f64,
}

impl Default for Levels {
    fn default() -> Self {
        Levels { low: 20.0, medium: 40.0, high: 70.0, critical: 90.0 }
    }
}

impl Levels {
    /// The level of `score`.
    pub fn level(&self, score: Score) -> Level {
        let value = score.value();
        if value >= self.critical {
            Level::Critical
        } else if value >= self.high {
            Level::High
        } else if value >= self.medium {
            Level::Medium
        } else if value >= self.low {
            Level::Low
        } else {
            Level::Info
        }
    }
}

/// The score that stands for each level: for vendors that give a level and no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points {
    /// Score of `info`.
    pub info: Score,
    /// Score of `low`.
    pub low: Score,
    /// Score of `medium`.
    pub medium: Score,
    /// Score of `high`.
    pub high: Score,
    /// Score of `critical`.
    pub critical: Score,
}

impl Default for Points {
    fn default() -> Self {
        Points {
            info: Score(0),
            low: Score(300),
            medium: Score(600),
            high: Score(900),
            critical: Score(1000),
        }
    }
}

impl Points {
    /// The score of `level`.
    pub fn score(&self, level: Level) -> Score {
        match level {
            Level::Info => self.info,
            Level::Low => self.low,
            Level::Medium => self.medium,
            Level::High => self.high,
            Level::Critical => self.critical,
        }
    }
}

/// The cuts of one provider: its own where it sets them, else the common ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scale {
    /// Number to level.
    pub levels: Levels,
    /// Level to number.
    pub points: Points,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_score_prints_as_the_shortest_json_number() {
        for (value, text) in
            [(85.0, "85"), (85.55, "85.6"), (0.04, "0"), (-3.0, "0"), (240.0, "100"), (99.96, "100")]
        {
            assert_eq!(Score::clamped(value).map(|s| s.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Score::clamped(f64::NAN), None);
        assert_eq!(Score::clamped(f64::INFINITY), Some(Score::MAX));
    }

    #[test]
    fn every_score_is_written_as_its_number_is() {
        for tenths in 0..=1000u16 {
            let text = Score(tenths).to_string();
            assert_eq!(text, format!("{}", f64::from(tenths) / 10.0));
        }
    }

    #[test]
    fn a_level_starts_at_its_cut() {
        let levels = Levels::default();
        for (score, level) in [
            (0.0, Level::Info),
            (19.9, Level::Info),
            (20.0, Level::Low),
            (40.0, Level::Medium),
            (69.9, Level::Medium),
            (70.0, Level::High),
            (90.0, Level::Critical),
            (100.0, Level::Critical),
        ] {
            assert_eq!(Score::clamped(score).map(|s| levels.level(s)), Some(level), "{score}");
        }
    }

    proptest! {
        #[test]
        fn scores_keep_the_order_of_what_they_came_from(a in -50.0f64..200.0, b in -50.0f64..200.0) {
            prop_assume!(a <= b);
            prop_assert!(Score::clamped(a) <= Score::clamped(b));
        }
    }
}
