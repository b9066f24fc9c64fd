//! `input`: the topics that alerts come from, by name or by pattern, and the group that reads them.
//!
//! Contract: a pattern is read the same way by us, by librdkafka and by brokers, which each have a dialect of their own;
//! it matches neither a topic that we write to nor one of Kafka's.

use regex::{Regex, RegexBuilder};

use crate::config::section::Item;
use crate::config::{Input, InputTopic, OffsetReset, Section};

pub(super) const TOPIC: &str = "write 1 to 249 of letters, digits, `.`, `_` and `-`";

/// Topics of Kafka's own, which no pattern may match.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Bound of one compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// What is wrong, and the cure.
type Fault = (String, String);

/// Whether Kafka takes `name` for a topic.
pub(super) fn is_topic(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.chars().all(legal)
}

/// Reads `input`.
pub(super) fn read(mut section: Section<'_>) -> Input {
    let common = section.text("format");
    let mut topics: Vec<InputTopic> = Vec::new();
    let items = section.items("topics");
    if items.as_ref().is_some_and(Vec::is_empty) {
        section.problem("topics", "no topic", "write topics: [security.alerts]");
    }
    for item in items.unwrap_or_default() {
        let topic = match item {
            Item::Text(text) => {
                let read = if text.text.starts_with('^') { pattern(&text.text) } else { plain(&text.text) };
                match read.and_then(|topic| distinct(topic, &topics)) {
                    Ok(topic) => topic,
                    Err((what, cure)) => {
                        section.problem_at(&text, what, cure);
                        continue;
                    }
                }
            }
            Item::Section(topic) => match entry(topic, &topics) {
                Some(topic) => topic,
                None => continue,
            },
        };
        topics.push(topic);
    }
    if !section.has("topics") {
        topics.extend(plain("security.alerts"));
    }
    for topic in &mut topics {
        topic.format = topic.format.take().or_else(|| common.clone()).filter(|format| format != "auto");
    }
    let (earliest, latest) = (OffsetReset::Earliest, OffsetReset::Latest);
    let ranges = [("stop", None), ("earliest", Some(earliest)), ("latest", Some(latest))];
    let input = Input {
        topics,
        group: section.text("group").unwrap_or_else(|| "riskstream".to_owned()),
        offset_reset: section
            .choice("offset_reset", &[("earliest", earliest), ("latest", latest)])
            .unwrap_or(earliest),
        out_of_range: section.choice("out_of_range", &ranges).flatten(),
    };
    section.finish();
    input
}

/// An entry of the form `{name: ..., format: ...}` or `{pattern: ..., format: ...}`.
fn entry(mut section: Section<'_>, before: &[InputTopic]) -> Option<InputTopic> {
    let key = if section.has("pattern") { "pattern" } else { "name" };
    if key == "pattern" && section.has("name") {
        section.problem("name", "stands beside a pattern", "remove one of the two");
    }
    let text = section.required_text(key, "security.alerts");
    let format = section.text("format");
    let read = text.as_deref().map(|text| if key == "pattern" { pattern(text) } else { plain(text) });
    let topic = match read?.and_then(|topic| distinct(topic, before)) {
        Ok(topic) => Some(InputTopic { format, ..topic }),
        Err((what, cure)) => {
            section.problem(key, what, cure);
            None
        }
    };
    section.finish();
    topic
}

fn distinct(topic: InputTopic, before: &[InputTopic]) -> Result<InputTopic, Fault> {
    if before.iter().any(|other| other.name == topic.name) {
        return Err(("the topic stands twice".to_owned(), "remove one of the two".to_owned()));
    }
    Ok(topic)
}

fn plain(name: &str) -> Result<InputTopic, Fault> {
    if is_topic(name) {
        return Ok(InputTopic { name: name.to_owned(), pattern: None, format: None });
    }
    Err(("not a topic".to_owned(), TOPIC.to_owned()))
}

fn pattern(text: &str) -> Result<InputTopic, Fault> {
    let example = r"write it like '^security\.alerts\.[a-z]+$'";
    if !text.starts_with('^') {
        return Err(("a pattern that does not begin with ^".to_owned(), example.to_owned()));
    }
    if let Some(strange) = strange(text) {
        return Err((
            format!("{strange} is not read the same way by every broker and client"),
            r"use letters, digits, - _ ^ $ . * + ? | ( ) {n}, [a-z0-9] and \.".to_owned(),
        ));
    }
    let whole = format!("^(?:{text})");
    let Ok(pattern) = RegexBuilder::new(&whole).size_limit(MAX_PATTERN).build() else {
        return Err(("not a regular expression".to_owned(), example.to_owned()));
    };
    if let Some(internal) = INTERNAL.into_iter().find(|internal| pattern.is_match(internal)) {
        return Err((format!("it matches {internal}, a topic of Kafka's own"), example.to_owned()));
    }
    Ok(InputTopic { name: text.to_owned(), pattern: Some(TopicPattern(pattern)), format: None })
}

/// What in a pattern is outside of the language that ours, librdkafka's (POSIX) and brokers' (RE2) have in common.
fn strange(pattern: &str) -> Option<&str> {
    let mut rest = pattern;
    let mut class = false;
    while let Some(c) = rest.chars().next() {
        let of = |characters: usize| {
            rest.get(..rest.char_indices().nth(characters).map_or(rest.len(), |(at, _)| at))
        };
        let (taken, fits) = match c {
            '\\' if !class => (2, rest.starts_with(r"\.") || rest.starts_with(r"\-")),
            '[' => (1, !class),
            ']' => (1, class),
            '^' if class => (1, true),
            // Lazy and possessive repetition, and what else may stand behind a question mark.
            '*' | '+' | '?' | '}' if !class => {
                (2, !rest.get(1..).is_some_and(|next| next.starts_with(['?', '+', '*'])))
            }
            '(' if !class => (2, !rest.starts_with("(?")),
            '-' if class => (2, !rest.starts_with("--")),
            '^' | '$' | '|' | ')' | '{' | ',' => (1, !class),
            '.' | '_' | '-' => (1, true),
            c => (1, c.is_ascii_alphanumeric()),
        };
        if !fits {
            return of(taken);
        }
        let skip = if c == '\\' { 2 } else { 1 };
        class = (class || c == '[') && c != ']';
        rest = rest.get(of(skip).map_or(rest.len(), str::len)..).unwrap_or_default();
    }
    None
}

/// A pattern of topic names: those match that begin as it says, or are as it says where it ends with `$`.
#[derive(Clone, Debug)]
pub struct TopicPattern(Regex);

impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for TopicPattern {}

impl InputTopic {
    /// Whether the topic `name` is meant.
    pub fn matches(&self, name: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.0.is_match(name),
            None => self.name == name,
        }
    }

    /// What the consumer subscribes to. In the form that means the same to librdkafka, which searches for a pattern, and
    /// to brokers, which hold it against whole names.
    pub fn subscription(&self) -> String {
        match &self.pattern {
            Some(_) => format!("^({}).*$", self.name),
            None => self.name.clone(),
        }
    }
}
