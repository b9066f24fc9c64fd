//! How fast dead letters are sent again: `--rate`.
//!
//! Pure: the time is passed in. Contract: never more than the rate, and what a pause left unused is not made up for.

use std::str::FromStr;
use std::time::{Duration, Instant};

/// A rate: `50/s`, `100/m`, or a bare number a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(Duration);

impl Rate {
    /// How many a second, rounded up.
    pub fn a_second(self) -> usize {
        (1.0 / self.0.as_secs_f64()).ceil() as usize
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => 0.0,
        };
        match number.trim().parse::<f64>() {
            Ok(number) if (0.001..=1_000_000.0).contains(&number) && seconds > 0.0 => {
                Ok(Rate(Duration::from_secs_f64(seconds / number)))
            }
            _ => Err("write a number and a span: 50/s, 100/m, 600/h".to_owned()),
        }
    }
}

/// When the next one may go.
#[derive(Debug)]
pub struct Pace {
    rate: Option<Rate>,
    next: Instant,
}

impl Pace {
    /// At this rate; without one, at once.
    pub fn new(rate: Option<Rate>, now: Instant) -> Pace {
        Pace { rate, next: now }
    }

    /// Takes the next place; how long until then.
    pub fn take(&mut self, now: Instant) -> Duration {
        let Some(Rate(interval)) = self.rate else { return Duration::ZERO };
        let at = self.next.max(now);
        self.next = at + interval;
        at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_span() {
        for (text, a_second) in
            [("50/s", 50.0), ("10", 10.0), ("120/m", 2.0), ("1800/h", 0.5), ("0.5/s", 0.5)]
        {
            let rate: Rate = text.parse().unwrap();
            assert!((1.0 / rate.0.as_secs_f64() - a_second).abs() < 1e-6, "{text}");
            assert!((rate.a_second() as f64 - a_second.ceil()).abs() <= 1.0, "{text}");
        }
        for text in ["", "0", "-1/s", "10/d", "fast", "NaN", "inf", "1e99/s", "/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(None, now);
        assert!((0..1000).all(|_| pace.take(now).is_zero()));
    }

    proptest! {
        #[test]
        fn no_two_go_closer_than_the_rate_and_none_waits_longer_than_it_must(
            number in 1u32..1000,
            pauses in prop::collection::vec(0u64..3000, 1..50),
        ) {
            let interval = Duration::from_secs(1) / number;
            let mut now = Instant::now();
            let mut pace = Pace::new(Some(Rate(interval)), now);
            let mut gone: Vec<Instant> = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                let at = now + pace.take(now);
                let earliest = gone.last().map_or(now, |last| now.max(*last + interval));
                prop_assert_eq!(at, earliest);
                gone.push(at);
                now = at;
            }
        }
    }
}
