//! Writing JSON into a buffer: the few forms that composing needs.
//!
//! Pure. Strings are escaped by `serde_json`: most of them were written by whoever caused the alert.

use std::fmt::Display;
use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;

use crate::score::Score;

/// Writes `value` in its JSON form. A buffer in memory takes every byte, and our values are all of types
/// that have such a form, so nothing is there to report.
pub(super) fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(out, value);
}

/// Writes `text` as a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    value(out, text);
}

/// Writes what is JSON as it is printed: numbers.
pub(super) fn display(out: &mut Vec<u8>, number: impl Display) {
    let _ = write!(out, "{number}");
}

/// Writes `,"name":"text"`; `name` needs no escaping.
pub(super) fn member(out: &mut Vec<u8>, name: &str, text: &str) {
    comma_name(out, name);
    string(out, text);
}

/// Writes `,"name":"label"`; neither needs escaping, as both are words of ours.
pub(super) fn label(out: &mut Vec<u8>, name: &str, label: &str) {
    comma_name(out, name);
    out.push(b'"');
    out.extend_from_slice(label.as_bytes());
    out.push(b'"');
}

/// Writes a score.
pub(super) fn score(out: &mut Vec<u8>, score: Score) {
    out.extend_from_slice(score.text(&mut [0; Score::DIGITS]).as_bytes());
}

/// Writes `,"name":"<RFC 3339 in UTC>"`; `name` needs no escaping.
pub(super) fn timestamp(out: &mut Vec<u8>, name: &str, at: Timestamp) {
    comma_name(out, name);
    let _ = write!(out, "\"{at}\"");
}

/// Writes a list of strings.
pub(super) fn strings<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a str>) {
    out.push(b'[');
    for (index, text) in texts.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, text);
    }
    out.push(b']');
}

fn comma_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
