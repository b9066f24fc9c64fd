//! How durations, sizes and shares are written.
//!
//! Pure. Errors say what to write; the caller says where.

use std::time::Duration;

/// Longest duration: more is a slip of a unit, and clocks must not overflow when it is added to now.
const MAX_SECONDS: f64 = 3650.0 * 86_400.0;

/// Splits `1.5h` into its number and `h`.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// Reads a duration: `250ms`, `2s`, `15m`, `24h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const CURE: &str = "write a number and a unit: 250ms, 2s, 15m, 24h, 7d";
    let (number, unit) = number_and_unit(text).ok_or(CURE)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        "" if number == 0.0 => 0.0,
        "" => return Err(format!("add the unit: {number}s or {number}ms")),
        _ => return Err(CURE.to_owned()),
    };
    if seconds > MAX_SECONDS {
        return Err("write at most 3650d".to_owned());
    }
    // Whole milliseconds, so that 0.1s is what it says.
    Ok(Duration::from_millis((seconds * 1000.0).round() as u64))
}

/// Reads a size: `900KB` is 900 thousand bytes, `64MiB` is 64 times 1024 squared.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const CURE: &str = "write a number and a unit: 900KB (thousands), 64MiB (1024 times 1024)";
    let (number, unit) = number_and_unit(text).ok_or(CURE)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        _ => return Err(CURE.to_owned()),
    };
    let size = number * factor as f64;
    // 2^53: up to here a float counts every byte.
    if size > 9_007_199_254_740_992.0 {
        Err("write less than 8 million GiB".to_owned())
    } else {
        Ok(size as u64)
    }
}

/// Reads a share: `1/3`. The first number is from 1 to the second.
pub(crate) fn share(text: &str) -> Option<(u32, u32)> {
    let (part, whole) = text.split_once('/')?;
    let (part, whole) = (part.trim().parse().ok()?, whole.trim().parse().ok()?);
    (1 <= part && part <= whole).then_some((part, whole))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("2s", 2000),
            ("1.5 s", 1500),
            ("15m", 900_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1w", "1.2.3s", "1e9s", "9999999d", "NaN"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("5"), Err("add the unit: 5s or 5ms".to_owned()));
    }

    #[test]
    fn sizes_tell_thousands_from_1024() {
        for (text, size) in
            [("900KB", 900_000), ("64MiB", 64 << 20), ("1GiB", 1 << 30), ("512", 512), ("64Mi", 64 << 20)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "KB", "-1KB", "1TBx", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_never_more_than_the_whole() {
        assert_eq!(share("1/3"), Some((1, 3)));
        assert_eq!(share(" 2 / 2 "), Some((2, 2)));
        for text in ["", "1", "0/3", "3/0", "4/3", "1/3/3", "a/b"] {
            assert_eq!(share(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,30}") {
            let _ = (duration(&text), bytes(&text), share(&text));
        }
    }
}
