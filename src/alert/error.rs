//! Why bytes are not an alert.
//!
//! A closed set: each kind has a label (metric, dead letter) and a message that says what, where and the cure.
//! Never holds any of the alert's content.

/// Why bytes are not an alert that can be enriched. Such a record is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No byte but white space.
    #[error("the value is empty: an alert is one JSON object")]
    Empty,
    /// Longer than `pipeline.max_alert_bytes`.
    #[error(
        "the alert has {bytes} bytes, allowed are {max}: raise pipeline.max_alert_bytes if such alerts are real"
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Not UTF-8, which JSON must be.
    #[error("invalid UTF-8 at byte {offset}: JSON is UTF-8, so the producer must convert its text")]
    NotUtf8 {
        /// Of the first invalid byte, from 0.
        offset: usize,
    },
    /// Not JSON.
    #[error("not JSON at line {line}, column {column}: {what}; check what the producer writes")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What the parser missed.
        what: &'static str,
    },
    /// Nested deeper than `pipeline.max_depth`.
    #[error("nested deeper than {max} levels: raise pipeline.max_depth if such alerts are real")]
    TooDeep {
        /// The bound.
        max: usize,
    },
    /// JSON, but no object, so that no member can be added.
    #[error("the value is {found}, not a JSON object: the producer must send one object a record")]
    NotAnObject {
        /// What it is: `an array`, `a string`, ...
        found: &'static str,
    },
    /// Something follows the object.
    #[error(
        "bytes after the object, at line {line}, column {column}: the producer must send one object a record"
    )]
    TrailingBytes {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
}

impl DecodeError {
    /// Every label, for metrics that start at zero.
    pub const LABELS: [&'static str; 7] =
        ["empty", "too_large", "not_utf8", "not_json", "too_deep", "not_an_object", "trailing_bytes"];

    /// The stable name of the kind, for metrics and dead letters.
    pub const fn label(&self) -> &'static str {
        match self {
            DecodeError::Empty => "empty",
            DecodeError::TooLarge { .. } => "too_large",
            DecodeError::NotUtf8 { .. } => "not_utf8",
            DecodeError::NotJson { .. } => "not_json",
            DecodeError::TooDeep { .. } => "too_deep",
            DecodeError::NotAnObject { .. } => "not_an_object",
            DecodeError::TrailingBytes { .. } => "trailing_bytes",
        }
    }

    /// From the parser's error. Its text goes through a fixed list, so that no alert content can be in it.
    pub(crate) fn from_parser(error: &serde_json::Error) -> Self {
        const KNOWN: [&str; 17] = [
            "EOF while parsing a list",
            "EOF while parsing an object",
            "EOF while parsing a string",
            "EOF while parsing a value",
            "expected `:`",
            "expected `,` or `]`",
            "expected `,` or `}`",
            "expected ident",
            "expected value",
            "expected `\"`",
            "invalid escape",
            "invalid number",
            "control character (\\u0000-\\u001F) found while parsing a string",
            "key must be a string",
            "trailing comma",
            "trailing characters",
            "unexpected end of hex escape",
        ];
        let text = error.to_string();
        let what = KNOWN.into_iter().find(|known| text.starts_with(known)).unwrap_or("syntax error");
        DecodeError::NotJson { line: error.line(), column: error.column(), what }
    }
}
