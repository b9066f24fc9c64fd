//! Alerts from files and stdin: NDJSON, a JSON array, or one document.
//!
//! Contract: every alert keeps its bytes. In NDJSON a line is an alert, whatever is in it, so that a bad line costs
//! only itself; what begins as an array or a document and is none is read as lines, too.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::value::RawValue;

/// One alert and where it stands.
pub struct Item {
    /// `FILE:LINE`, or `FILE[INDEX]` in an array.
    pub place: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Hands every alert of `files` (stdin when there is none, or for `-`) to `take`.
///
/// # Errors
/// A file that cannot be read, and what `take` returns.
pub fn each(files: &[PathBuf], mut take: impl FnMut(Item) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if files.is_empty() {
        return read("stdin", &mut BufReader::new(std::io::stdin()), &mut take);
    }
    for file in files {
        if file == Path::new("-") {
            read("stdin", &mut BufReader::new(std::io::stdin()), &mut take)?;
            continue;
        }
        let name = file.display().to_string();
        let open = std::fs::File::open(file).with_context(|| format!("cannot open {name}"))?;
        read(&name, &mut BufReader::new(open), &mut take)?;
    }
    Ok(())
}

fn read(
    name: &str,
    input: &mut impl BufRead,
    take: &mut impl FnMut(Item) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut number = 0;
    let mut line = Vec::new();
    let mut started = false;
    loop {
        line.clear();
        number += 1;
        if input.read_until(b'\n', &mut line).with_context(|| format!("cannot read {name}"))? == 0 {
            return Ok(());
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        // The first line decides: a whole object is NDJSON; the start of something larger is a document.
        if !started && is_part(text) {
            let mut rest = std::mem::take(&mut line);
            input.read_to_end(&mut rest).with_context(|| format!("cannot read {name}"))?;
            return document(name, number, rest, take);
        }
        started = true;
        take(Item { place: format!("{name}:{number}"), bytes: text.to_vec() })?;
    }
}

/// Whether a line only begins a document: an array, or an object that goes on.
fn is_part(line: &[u8]) -> bool {
    if line.first() == Some(&b'[') {
        return true;
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(line) {
        Ok(_) => false,
        Err(error) => error.is_eof() && matches!(line.last(), Some(b'{' | b'[' | b',' | b':')),
    }
}

fn document(
    name: &str,
    line: usize,
    bytes: Vec<u8>,
    take: &mut impl FnMut(Item) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if let Ok(alerts) = serde_json::from_slice::<Vec<&RawValue>>(&bytes) {
        for (index, alert) in alerts.into_iter().enumerate() {
            take(Item { place: format!("{name}[{index}]"), bytes: alert.get().as_bytes().to_vec() })?;
        }
        return Ok(());
    }
    // Documents over several lines, one after the other.
    let documents = serde_json::Deserializer::from_slice(&bytes).into_iter::<&RawValue>();
    if let Ok(documents) = documents.collect::<Result<Vec<_>, _>>() {
        for document in documents {
            let text = document.get();
            let before = text.as_ptr() as usize - bytes.as_ptr() as usize;
            let lines = bytes.get(..before).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count();
            take(Item { place: format!("{name}:{}", line + lines), bytes: text.as_bytes().to_vec() })?;
        }
        return Ok(());
    }
    // None of it: lines after all, of which a bad one costs only itself.
    for (index, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let text = text.trim_ascii();
        if !text.is_empty() {
            take(Item { place: format!("{name}:{}", line + index), bytes: text.to_vec() })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn items(text: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        read("f", &mut text.as_bytes(), &mut |item| {
            all.push((item.place, String::from_utf8(item.bytes)?));
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn a_line_an_array_and_a_document_are_told_apart() {
        let expect = |places: &[(&str, &str)]| {
            places.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(
            items("{\"a\":1}\n\n{bad\n{\"b\":2}"),
            expect(&[("f:1", "{\"a\":1}"), ("f:3", "{bad"), ("f:4", "{\"b\":2}")])
        );
        assert_eq!(items("[{\"a\": 1.0},\n {}]"), expect(&[("f[0]", "{\"a\": 1.0}"), ("f[1]", "{}")]));
        assert_eq!(items("{\n \"a\": 1\n}\n"), expect(&[("f:1", "{\n \"a\": 1\n}")]));
        assert_eq!(
            items("{\"cut\n{}"),
            expect(&[("f:1", "{\"cut"), ("f:2", "{}")]),
            "a bad first line costs only itself"
        );
        assert_eq!(
            items("{\"a\":\n{\"b\":2}\n\n{\"c\":3}"),
            expect(&[("f:1", "{\"a\":"), ("f:2", "{\"b\":2}"), ("f:4", "{\"c\":3}")]),
            "a first line that only looks like the start of a document costs only itself"
        );
        assert_eq!(
            items("{\n\"a\": 1\n}\n{\n\"b\": 2\n}\n"),
            expect(&[("f:1", "{\n\"a\": 1\n}"), ("f:4", "{\n\"b\": 2\n}")]),
            "documents one after the other"
        );
        assert_eq!(items(""), expect(&[]));
    }
}
