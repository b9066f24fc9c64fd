//! `riskstream dlq show`: one dead letter whole.
//!
//! Contract: text is shown as text, everything else as base64; on a terminal nothing of it moves the cursor.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::letter::Letter;
use super::list::{self, markers, state};
use super::marker::{Entry, State};
use super::reader::Reader;
use super::{Desk, ShowArguments, time};
use crate::cli::output::{line, table, visible};
use crate::cli::{End, for_people};

/// Runs the command.
pub fn run(arguments: &ShowArguments) -> Result<(), End> {
    let mut desk = Desk::open(&arguments.config.config, false)?;
    let reader = Reader::new(&desk.config)?;
    let topic = desk.config.dead_letters.topic.clone();
    let place = arguments.place;
    // A topic that is not there is told as such.
    reader.spans(&topic, "dead_letters.topic", None)?;
    let letter = reader.one(&topic, place)?.ok_or_else(|| {
        anyhow::anyhow!(
            "no dead letter stands at {topic}/{place}: it is past its retention, or was never there"
        )
    })?;
    let markers = markers(&desk.config);
    let entry = markers.as_ref().and_then(|markers| markers.book.about(&letter));
    let format = desk.recogniser.format(&letter);
    if for_people(arguments.json) {
        people(&letter, format, entry)?;
    } else {
        line(&whole(&letter, format, entry).to_string())?;
    }
    Ok(())
}

/// What `list` says, and key, value and headers.
fn whole(letter: &Letter, format: &str, entry: Option<&Entry>) -> Value {
    let mut all = list::json(letter, format, entry);
    let headers = letter.headers.iter().map(|(name, value)| {
        let mut header = Map::new();
        header.insert("name".to_owned(), String::from_utf8_lossy(name).into());
        put(&mut header, "value", value.as_deref());
        Value::Object(header)
    });
    if let Value::Object(members) = &mut all {
        members.insert("headers".to_owned(), headers.collect());
        put(members, "key", letter.key.as_deref());
        put(members, "value", letter.value.as_deref());
    }
    all
}

/// Puts bytes under `name` as text, or under `name_base64` where they are none.
fn put(members: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => members.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => members.insert(name.to_owned(), text.into()),
        Some(Err(_)) => members.insert(
            format!("{name}_base64"),
            bytes.map(|bytes| STANDARD.encode(bytes)).unwrap_or_default().into(),
        ),
    };
}

fn people(letter: &Letter, format: &str, entry: Option<&Entry>) -> std::io::Result<()> {
    let rows = |rows: &[(&str, String)]| -> Vec<Vec<String>> {
        rows.iter().map(|(name, value)| vec![(*name).to_owned(), visible(value)]).collect()
    };
    let redriven = match entry {
        Some(entry) if entry.state != State::NotSent => {
            let at = if entry.at.is_empty() { String::new() } else { format!(", {}", entry.at) };
            let to = if entry.to.is_empty() { String::new() } else { format!(", to {}", entry.to) };
            format!("{}{at}{to}", state(Some(entry)))
        }
        _ => "no".to_owned(),
    };
    let about = rows(&[
        ("letter", letter.place().to_string()),
        ("written", time(letter.time)),
        ("reason", letter.reason().into_owned()),
        ("cause", letter.message().into_owned()),
        ("original", letter.origin().map_or_else(|| "?".to_owned(), |origin| origin.to_string())),
        ("original's time", time(letter.original_time())),
        ("format", format.to_owned()),
        ("bytes", letter.bytes().to_string()),
        ("came back", letter.redriven().to_string()),
        ("redriven", redriven),
    ]);
    line(&table(&["dead letter", ""], &about))?;
    let headers: Vec<Vec<String>> = letter
        .headers
        .iter()
        .map(|(name, value)| vec![visible(&String::from_utf8_lossy(name)), one_line(value.as_deref())])
        .collect();
    line(&format!("\n{}", table(&["header", "value"], &headers)))?;
    line(&format!("\n{}", table(&["key"], &[vec![one_line(letter.key.as_deref())]])))?;
    let note = if letter.is_pointer() { " (a pointer: the topic did not take the original)" } else { "" };
    line(&format!("\n{}", table(&[&format!("value{note}")], &[])))?;
    match letter.value.as_deref().map(std::str::from_utf8) {
        None => line("(null)"),
        Some(Ok(text)) => text.lines().try_for_each(|text| line(&visible(&text.replace('\t', "    ")))),
        Some(Err(_)) => line(&one_line(letter.value.as_deref())),
    }
}

fn one_line(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "(null)".to_owned(),
        Some((_, Ok(text))) => visible(text),
        Some((bytes, Err(_))) => format!("base64: {}", STANDARD.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_text_and_bytes_are_base64() {
        let letter = Letter {
            key: Some(b"k".to_vec()),
            value: Some(vec![0xff, 0]),
            headers: vec![(b"a".to_vec(), None), (b"b".to_vec(), Some(b"c".to_vec()))],
            ..Letter::default()
        };
        let all = whole(&letter, "unknown", None);
        assert_eq!((&all["key"], &all["value_base64"]), (&json!("k"), &json!("/wA=")));
        assert_eq!(all["headers"], json!([{"name": "a", "value": null}, {"name": "b", "value": "c"}]));
        assert_eq!(one_line(Some(b"\x1b[2J")), "\u{fffd}[2J");
    }
}
