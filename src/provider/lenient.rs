//! Reading values that vendors spell in more than one way: numbers as text, times without a zone.
//!
//! Pure. Contract: what cannot be read is `None`, never a default: no reader here turns something that it did
//! not understand into a number, a text or a time.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Number, Value};

/// Seconds since 1970 stay below this until the year 5138; milliseconds have been above it since 1973.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// A number, or a string that spells one: `85`, `0.0`, `"85"`, `"00"`.
pub fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => {
            let text = text.trim();
            let whole = text.parse::<i64>().ok().map(Number::from);
            whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64))
        }
        _ => None,
    }
}

/// A string without the white space around it, or a number as it is spelled; nothing for an empty string.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A time: RFC 3339, the same without a zone (taken as UTC), a date (its first moment in UTC), or the epoch in
/// seconds or milliseconds, as number or text.
pub fn moment(value: &Value) -> Option<Timestamp> {
    if let Value::String(text) = value {
        let text = text.trim();
        if let Ok(time) = text.parse::<Timestamp>() {
            return Some(time);
        }
        if let Ok(civil) = text.parse::<DateTime>() {
            return TimeZone::UTC.to_timestamp(civil).ok();
        }
    }
    // The cast saturates, and the epoch's own range check comes after it.
    let epoch = number(value)?.as_f64()? as i64;
    if epoch.abs() < FIRST_MILLISECONDS {
        Timestamp::from_second(epoch)
    } else {
        Timestamp::from_millisecond(epoch)
    }
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_however_they_are_spelled() {
        for (value, expected) in [
            (json!(85), Some(json!(85))),
            (json!(85.5), Some(json!(85.5))),
            (json!("85"), Some(json!(85))),
            (json!("00"), Some(json!(0))),
            (json!(" 0.0 "), Some(json!(0.0))),
            (json!("NaN"), None),
            (json!("inf"), None),
            (json!("1e999"), None),
            (json!(""), None),
            (json!("high"), None),
            (json!(true), None),
            (json!([85]), None),
            (json!(null), None),
        ] {
            assert_eq!(number(&value).map(Value::Number), expected, "{value}");
        }
    }

    #[test]
    fn a_text_is_never_empty() {
        assert_eq!(text(&json!(" a ")).as_deref(), Some("a"));
        assert_eq!(text(&json!(7)).as_deref(), Some("7"));
        for nothing in [json!(""), json!("  "), json!(null), json!({}), json!(true)] {
            assert_eq!(text(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn times_are_read_however_they_are_spelled() {
        let expected = "2017-10-24T00:00:00Z".parse::<Timestamp>().ok();
        for same in [
            json!("2017-10-24T00:00:00Z"),
            json!("2017-10-24T02:00:00+02:00"),
            json!("2017-10-24T00:00:00.000"),
            json!("2017-10-24 00:00:00"),
            json!("2017-10-24"),
            json!(1_508_803_200),
            json!(1_508_803_200_000_i64),
            json!("1508803200"),
        ] {
            assert_eq!(moment(&same), expected, "{same}");
        }
        for nothing in [json!("soon"), json!(""), json!(null), json!([]), json!(1e300)] {
            assert_eq!(moment(&nothing), None, "{nothing}");
        }
    }
}
