//! `riskstream dlq list`: dead letters as rows, and how many there are for each reason.
//!
//! Contract: rows and JSON lines come as they are read, in the order of the topic; what an attacker wrote is not let
//! loose on a terminal.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;

use serde_json::{Value, json};

use super::letter::Letter;
use super::marker::{Entry, State};
use super::markers::Markers;
use super::reader::Reader;
use super::{Desk, ListArguments, Site, time};
use crate::cli::output::{line, note, table, visible};
use crate::cli::{End, for_people};

/// Rows whose columns line up.
const PAGE: usize = 500;
/// Characters of a message in a row.
const MESSAGE: usize = 100;

const HEADER: [&str; 9] =
    ["letter", "written", "reason", "original", "format", "bytes", "came back", "redriven", "message"];

/// Runs the command.
pub fn run(arguments: &ListArguments) -> Result<(), End> {
    let mut desk = Desk::open(&arguments.config.config, false)?;
    let filter = desk.filter(&arguments.selection)?;
    let reader = Reader::new(&desk.config)?;
    let topic = desk.config.dead_letters.topic.clone();
    let spans = reader.spans(&topic, "dead_letters.topic", filter.since)?;
    let markers = markers(&desk.config);
    let mut out = Out { people: for_people(arguments.json), rows: Vec::new(), counts: Counts::default() };
    let mut lines = BufWriter::new(std::io::stdout());
    let limit = arguments.limit.unwrap_or(u64::MAX);
    let recogniser = &mut desk.recogniser;
    reader.each(&topic, &spans, |letter| {
        if out.counts.all >= limit {
            out.counts.more = true;
            return Ok(ControlFlow::Break(()));
        }
        if !filter.takes(&letter, || recogniser.format(&letter)) {
            return Ok(ControlFlow::Continue(()));
        }
        let entry = markers.as_ref().and_then(|markers| markers.book.about(&letter));
        out.counts.take(&letter, entry);
        let format = recogniser.format(&letter);
        if out.people {
            out.rows.push(row(&letter, format, entry));
            if out.rows.len() >= PAGE {
                out.page()?;
            }
        } else {
            writeln!(lines, "{}", json(&letter, format, entry))?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    lines.flush()?;
    out.page()?;
    out.counts.tell();
    Ok(())
}

/// The markers, as far as they can be read: a list is of use without them.
pub fn markers(config: &Site) -> Option<Markers<'_>> {
    match Markers::open(config) {
        Ok(markers) => markers,
        Err(error) => {
            note(&format!("what was redriven is not known: {error:#}"));
            None
        }
    }
}

struct Out {
    people: bool,
    rows: Vec<Vec<String>>,
    counts: Counts,
}

impl Out {
    fn page(&mut self) -> std::io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() { Ok(()) } else { line(&table(&HEADER, &rows)) }
    }
}

fn row(letter: &Letter, format: &str, entry: Option<&Entry>) -> Vec<String> {
    let message = letter.message();
    let short: String = message.chars().take(MESSAGE).collect();
    let dots = if short.len() < message.len() { "..." } else { "" };
    let written = time(letter.time);
    vec![
        letter.place().to_string(),
        written,
        visible(&letter.reason()),
        letter.origin().map_or_else(|| "?".to_owned(), |origin| visible(&origin.to_string())),
        format.to_owned(),
        letter.bytes().to_string(),
        match letter.redriven() {
            0 => "-".to_owned(),
            count => count.to_string(),
        },
        state(entry).to_owned(),
        format!("{}{dots}", visible(&short)),
    ]
}

/// Whether it was redriven, in a word.
pub fn state(entry: Option<&Entry>) -> &'static str {
    match entry.map(|entry| entry.state) {
        Some(State::Done) => "yes",
        Some(State::Intent) => "perhaps",
        Some(State::NotSent) | None => "no",
    }
}

/// What `list` and `show` say of a letter.
pub fn json(letter: &Letter, format: &str, entry: Option<&Entry>) -> Value {
    let origin = letter.origin();
    let or_null = |text: Cow<'_, str>| if text.is_empty() { Value::Null } else { text.into() };
    json!({
        "partition": letter.partition,
        "offset": letter.offset,
        "time": or_null(time(letter.time).into()),
        "reason": or_null(letter.reason()),
        "message": or_null(letter.message()),
        "topic": origin.as_ref().map(|origin| &origin.topic),
        "source": origin.as_ref().map(ToString::to_string),
        "original_time": or_null(time(letter.original_time()).into()),
        "format": format,
        "bytes": letter.bytes(),
        "pointer": letter.is_pointer(),
        "came_back": letter.redriven(),
        "redriven": state(entry),
        "redriven_at": entry.map(|entry| &entry.at),
        "redriven_to": entry.map(|entry| &entry.to),
    })
}

/// What was listed.
#[derive(Default)]
struct Counts {
    all: u64,
    by_reason: BTreeMap<String, u64>,
    redriven: u64,
    perhaps: u64,
    /// Whether there are more than were asked for.
    more: bool,
}

impl Counts {
    fn take(&mut self, letter: &Letter, entry: Option<&Entry>) {
        self.all += 1;
        *self.by_reason.entry(letter.reason().into_owned()).or_default() += 1;
        match entry.map(|entry| entry.state) {
            Some(State::Done) => self.redriven += 1,
            Some(State::Intent) => self.perhaps += 1,
            _ => {}
        }
    }

    /// On stderr: a table for people, one JSON line elsewhere.
    fn tell(&self) {
        if !std::io::stderr().is_terminal() {
            let Counts { all, by_reason, redriven, perhaps, more } = self;
            note(
                &json!({
                    "dead_letters": all, "by_reason": by_reason, "redriven": redriven, "perhaps_redriven": perhaps,
                    "more": more
                })
                .to_string(),
            );
            return;
        }
        let row = |(reason, count): (&str, u64)| vec![visible(reason), count.to_string()];
        let reasons = self.by_reason.iter().map(|(reason, count)| (reason.as_str(), *count));
        let rest = [("all", self.all), ("of them redriven", self.redriven), ("perhaps", self.perhaps)];
        note(&table(&["dead letters", ""], &reasons.chain(rest).map(row).collect::<Vec<_>>()));
        if self.more {
            note("there are more: --limit ended the list");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attacker_wrote_does_not_reach_the_terminal_as_it_is() {
        let named = |name: &str, value: &str| (name.as_bytes().to_vec(), Some(value.as_bytes().to_vec()));
        let letter = Letter {
            headers: vec![
                named("__connect.errors.topic", "a\u{1b}[2Jb"),
                named("__connect.errors.partition", "0"),
                named("__connect.errors.offset", "1"),
                named("__connect.errors.exception.class.name", "x\u{202e}y"),
                named("__connect.errors.exception.message", &format!("\r{}", "long ".repeat(100))),
            ],
            ..Letter::default()
        };
        let row = row(&letter, "unknown", None);
        assert!(
            row.iter().flat_map(|cell| cell.chars()).all(|c| !c.is_control() && c != '\u{202e}'),
            "{row:?}"
        );
        assert!(row.last().is_some_and(|message| message.len() < 110 && message.ends_with("...")), "{row:?}");
    }
}
