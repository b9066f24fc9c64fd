//! Reading what vendors spell in more than one way: numbers as text, times without a zone, members that are `null`.
//!
//! Pure. Contract: what cannot be read is `None`, never a default: no reader here turns something that it did
//! not understand into a number, a text or a time. No error repeats any of what was read.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

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

/// A number where it spells one, else as it came.
pub fn numeric(value: &Value) -> Value {
    number(value).map_or_else(|| value.clone(), Value::Number)
}

/// The members that are there.
pub fn present<'n>(members: impl IntoIterator<Item = (&'n str, Option<Value>)>) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Reads a body, which must be an object: serde alone would also take an array for a struct.
///
/// # Errors
/// What is wrong, without repeating any of it: it could hold the entity's id.
pub fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, &'static str> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("not a JSON object");
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Eof | Category::Io => "cut off",
        Category::Syntax => "not JSON",
        Category::Data => "JSON of another form",
    })
}

/// For `deserialize_with`: a value of the expected form, or what stands for its absence.
pub fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).unwrap_or_default())
}

/// For `deserialize_with`: a [`number`], or nothing.
pub fn or_no_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Number>, D::Error> {
    Ok(number(&Value::deserialize(from)?))
}

/// Whether `body` is HTML or XML rather than JSON or nothing: then somebody else wrote it.
pub fn is_markup(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
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
    fn what_spells_no_number_stays_as_it_came() {
        assert_eq!((numeric(&json!("85")), numeric(&json!("high"))), (json!(85), json!("high")));
    }

    #[test]
    fn only_members_that_are_there_are_listed() {
        let members = present([("a", Some(json!(1))), ("b", None), ("c", Some(json!(null)))]);
        assert_eq!(Value::Object(members), json!({"a": 1, "c": null}));
    }

    #[test]
    fn a_body_is_an_object_or_says_what_it_is_instead() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Body {
            #[serde(default, deserialize_with = "or_default")]
            name: Option<String>,
            #[serde(default, deserialize_with = "or_no_number")]
            size: Option<Number>,
            #[serde(default)]
            must: bool,
        }
        let body = |name: Option<&str>, size: Option<i64>| {
            Ok(Body { name: name.map(str::to_owned), size: size.map(Number::from), must: false })
        };
        assert_eq!(object(br#" {"name": "a", "size": "7"}"#), body(Some("a"), Some(7)));
        assert_eq!(object(br#"{"name": null, "size": null}"#), body(None, None));
        assert_eq!(object(br#"{"name": ["a"], "size": "big"}"#), body(None, None));
        for (text, what) in [
            ("[\"a\", 7, true]", "not a JSON object"),
            ("", "not a JSON object"),
            ("{\"name\": ", "cut off"),
            ("{name}", "not JSON"),
            ("{\"must\": 1}", "JSON of another form"),
        ] {
            assert_eq!(object::<Body>(text.as_bytes()), Err(what), "{text}");
        }
    }

    #[test]
    fn a_page_is_known_by_its_first_sign() {
        assert!(is_markup(b"\n <!doctype html>") && is_markup(b"<?xml?>"));
        assert!(!is_markup(b"") && !is_markup(b"{}") && !is_markup(b"Internal Server Error"));
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
