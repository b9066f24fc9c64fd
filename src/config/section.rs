//! Reading one mapping of the configuration, key by key, collecting every problem on the way.
//!
//! Contract: a reader returns `None` both for an absent key and for a bad one, and in the second case has
//! recorded a problem with file, line, key, the value given and what to write instead. [`Section::finish`]
//! reports every key that nobody asked for, with the nearest known one.

mod secrets;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::document::Document;
use crate::config::raw::{Entry, Node, Place, Value};
use crate::config::units;
pub(crate) use crate::config::words::nearest;
use crate::config::words::{hint, or};
use crate::http::BaseUrl;

/// Stands for a mapping that is absent: everything in it has its default.
static NOTHING: Node = Node { place: Place::START, value: Value::Null };

/// A cursor on one mapping of the configuration tree.
pub struct Section<'t> {
    document: &'t Document,
    node: &'t Node,
    /// Where its key stands: what is missing in a mapping is pointed at from there.
    at: &'t Place,
    path: String,
    /// Every key that a reader asked about.
    known: RefCell<BTreeSet<String>>,
}

/// A scalar value and where it stands.
pub(crate) struct Text<'t> {
    pub(crate) text: String,
    /// The dotted path of the value: `routes[0].kinds[1]`.
    pub(crate) path: String,
    node: &'t Node,
}

/// An item of a list that may be a word or a mapping.
pub(crate) enum Item<'t> {
    Text(Text<'t>),
    Section(Section<'t>),
}

impl<'t> Section<'t> {
    pub(crate) fn new(document: &'t Document, node: &'t Node, at: &'t Place, path: String) -> Self {
        Section { document, node, at, path, known: RefCell::default() }
    }

    /// The dotted path of this mapping: `providers.datadog`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the key is there (and not null).
    pub fn has(&self, key: &str) -> bool {
        self.known.borrow_mut().insert(key.to_owned());
        self.node.get(key).is_some_and(|node| !matches!(node.value, Value::Null))
    }

    /// Declares keys that exist though this run has no reason to read them, so that [`finish`](Section::finish)
    /// does not take them for slips.
    pub fn know(&mut self, keys: &[&str]) {
        self.known.get_mut().extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// A string; a number or flag is taken as it is spelled.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let text = self.scalar(key)?;
        if text.is_empty() {
            self.problem(key, "empty", "write a value, or remove the key");
            return None;
        }
        Some(text.to_owned())
    }

    /// A string that must be there; `example` shows what to write.
    pub fn required_text(&mut self, key: &'static str, example: &str) -> Option<String> {
        self.required(key, &format!("write {key}: {example}"));
        self.text(key)
    }

    /// One of a closed set of words.
    pub fn choice<T: Clone>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let given = self.scalar(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
            return Some(value.clone());
        }
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let cure = format!("write {}", or(&all));
        self.problem(key, format!("not a choice{}", hint(given, &all)), cure);
        None
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let given = self.scalar(key)?;
        match given.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            "yes" | "on" => self.refuse(key, "not a flag in YAML 1.2", "write true"),
            "no" | "off" => self.refuse(key, "not a flag in YAML 1.2", "write false"),
            _ => self.refuse(key, "not a flag", "write true or false"),
        }
    }

    /// A whole number in a range.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let given = self.scalar(key)?.replace('_', "");
        let cure = format!("write a whole number from {} to {}", range.start(), range.end());
        match given.parse::<u64>() {
            Ok(number) if range.contains(&number) => Some(number),
            Ok(_) => self.refuse(key, "out of range", cure),
            Err(_) => self.refuse(key, "not a whole number in range", cure),
        }
    }

    /// A number in a range.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let given = self.scalar(key)?;
        let cure = format!("write a number from {} to {}", range.start(), range.end());
        match given.parse::<f64>() {
            // NaN is in no range.
            Ok(number) if range.contains(&number) => Some(number),
            Ok(_) => self.refuse(key, "out of range", cure),
            Err(_) => self.refuse(key, "not a number", cure),
        }
    }

    /// A duration: `250ms`, `2s`, `15m`, `24h`, `7d`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        match units::duration(self.scalar(key)?) {
            Ok(duration) => Some(duration),
            Err(cure) => self.refuse(key, "not a duration", cure),
        }
    }

    /// A duration above zero.
    pub fn positive_duration(&mut self, key: &'static str) -> Option<Duration> {
        let duration = self.duration(key)?;
        if duration.is_zero() {
            self.refuse(key, "zero", "write a duration above zero")
        } else {
            Some(duration)
        }
    }

    /// A size in bytes: `900KB` (1000), `64MiB` (1024).
    pub fn bytes(&mut self, key: &'static str) -> Option<u64> {
        match units::bytes(self.scalar(key)?) {
            Ok(bytes) => Some(bytes),
            Err(cure) => self.refuse(key, "not a size", cure),
        }
    }

    /// The path of a file, relative to the configuration file. It must exist.
    pub fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.document.resolve(&self.text(key)?);
        if path.is_file() || self.document.is_offline() {
            return Some(path);
        }
        self.refuse(key, "no such file", format!("put a readable file at {}", path.display()))
    }

    /// An address of an HTTP service.
    pub fn url(&mut self, key: &'static str) -> Option<BaseUrl> {
        let node = self.value(key)?;
        let text = match &node.value {
            // Not shown: a password may stand before an `@`, a token behind a `?`.
            Value::Scalar(text) if text.contains(['@', '?']) => text.as_str(),
            _ => self.scalar(key)?,
        };
        match BaseUrl::parse(text) {
            Ok(url) => Some(url),
            Err(error) => {
                // The error says both what is wrong and what to write.
                let words = error.to_string();
                let (what, cure) =
                    words.split_once(": write ").unwrap_or((&words, "https://host[:port][/path]"));
                self.refuse(key, what, format!("write {cure}"))
            }
        }
    }

    /// A list of strings; one string stands for a list of one.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        Some(self.texts_with_places(key)?.into_iter().map(|text| text.text).collect())
    }

    /// A nested mapping.
    pub fn section(&mut self, key: &'static str) -> Option<Section<'t>> {
        let node = self.value(key)?;
        let path = self.child(key);
        self.section_at(node, self.key_place(key), path)
    }

    /// A nested mapping; an absent one is read as an empty one, so that its keys have their defaults.
    pub(crate) fn section_or_empty(&mut self, key: &'static str) -> Section<'t> {
        self.section(key).unwrap_or_else(|| Section::new(self.document, &NOTHING, self.at, self.child(key)))
    }

    /// Every entry of this mapping as (key, nested mapping): for maps with free keys. Entries of another form
    /// are problems.
    pub fn sections(&mut self) -> Vec<(String, Section<'t>)> {
        let mut sections = Vec::new();
        for Entry { key, place, value } in self.entries() {
            if let Some(section) = self.section_at(value, place, self.child(key)) {
                sections.push((key.clone(), section));
            }
        }
        sections
    }

    /// Every entry of this mapping as (key, text): for maps with free keys.
    pub fn all_texts(&mut self) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for Entry { key, value, .. } in self.entries() {
            if let Some(text) = self.text_at(value, self.child(key)) {
                texts.push((key.clone(), text.text));
            }
        }
        texts
    }

    /// A list of mappings.
    pub fn list(&mut self, key: &'static str) -> Option<Vec<Section<'t>>> {
        let items = self.list_at(key, "a list of mappings")?;
        Some(items.into_iter().filter_map(|(node, path)| self.section_at(node, &node.place, path)).collect())
    }

    /// Records a problem with `key`: what is wrong with the value given, and what to write instead.
    pub fn problem(&mut self, key: &str, what: impl Into<String>, cure: impl Into<String>) {
        let (place, given) = match self.node.get(key) {
            Some(node) => (&node.place, self.document.given(node)),
            None => (self.at, None),
        };
        let path = if key.is_empty() { self.path.clone() } else { self.child(key) };
        self.document.report(place, path, given, what, cure);
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        let words: Vec<&str> = known.iter().map(String::as_str).collect();
        for entry in self.entries().iter().filter(|entry| !known.contains(&entry.key)) {
            // The value is not repeated: it may be a secret under a misspelt key.
            let cure = match nearest(&entry.key, &words) {
                Some(word) => format!("write {word}"),
                None => format!("remove it; known here: {}", words.join(", ")),
            };
            self.document.report(&entry.place, self.child(&entry.key), None, "unknown key", cure);
        }
    }

    /// The list under `key` as words or mappings.
    pub(crate) fn items(&mut self, key: &'static str) -> Option<Vec<Item<'t>>> {
        if let Some(Node { value: Value::Scalar(_), .. }) = self.node.get(key) {
            return Some(self.texts_with_places(key)?.into_iter().map(Item::Text).collect());
        }
        let items = self.list_at(key, "a list")?;
        let item = |(node, path): (&'t Node, String)| match node.value {
            Value::Map(_) => self.section_at(node, &node.place, path).map(Item::Section),
            _ => self.text_at(node, path).map(Item::Text),
        };
        Some(items.into_iter().filter_map(item).collect())
    }

    /// The list of strings under `key`, each with its place; a variable's is split at commas.
    pub(crate) fn texts_with_places(&mut self, key: &'static str) -> Option<Vec<Text<'t>>> {
        let node = self.value(key)?;
        if let Value::Scalar(text) = &node.value {
            self.document.show(node);
            let split = matches!(node.place, Place::Variable(_));
            let parts = if split { text.split(',').map(str::trim).collect() } else { vec![text.as_str()] };
            let path = self.child(key);
            let text = |text: &str| Text { text: text.to_owned(), path: path.clone(), node };
            return Some(parts.into_iter().map(text).collect());
        }
        let items = self.list_at(key, "a list of words")?;
        Some(items.into_iter().filter_map(|(node, path)| self.text_at(node, path)).collect())
    }

    /// The entries of this mapping.
    pub(crate) fn entries(&self) -> &'t [Entry] {
        match &self.node.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// A path in the file, as the process can open it.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.document.resolve(path)
    }

    /// The value of one of [`entries`](Section::entries) as text.
    pub(crate) fn entry_text(&self, entry: &'t Entry) -> Option<String> {
        Some(self.text_at(&entry.value, self.child(&entry.key))?.text)
    }

    /// Whether a problem with `key` has been recorded.
    pub(crate) fn is_faulty(&self, key: &str) -> bool {
        self.document.is_faulty(&self.child(key))
    }

    /// Records a problem with a key itself: its value is not repeated, for it may be a secret.
    pub(crate) fn problem_of_key(&self, entry: &Entry, what: impl Into<String>, cure: impl Into<String>) {
        self.document.report(&entry.place, self.child(&entry.key), None, what, cure);
    }

    /// Records a problem with one item of a list.
    pub(crate) fn problem_at(&self, text: &Text<'_>, what: impl Into<String>, cure: impl Into<String>) {
        self.document.report(&text.node.place, text.path.clone(), self.document.given(text.node), what, cure);
    }

    fn key_place(&self, key: &str) -> &'t Place {
        self.entries().iter().find(|entry| entry.key == key).map_or(self.at, |entry| &entry.place)
    }

    /// Records a problem and gives nothing.
    fn refuse<T>(&mut self, key: &str, what: impl Into<String>, cure: impl Into<String>) -> Option<T> {
        self.problem(key, what, cure);
        None
    }

    fn required(&mut self, key: &'static str, cure: &str) {
        if !self.has(key) {
            self.problem(key, "missing", cure);
        }
    }

    fn child(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`, unless it is absent or null.
    fn value(&mut self, key: &'static str) -> Option<&'t Node> {
        self.known.get_mut().insert(key.to_owned());
        self.node.get(key).filter(|node| !matches!(node.value, Value::Null))
    }

    /// The text under `key`, as it is spelled.
    fn scalar(&mut self, key: &'static str) -> Option<&'t str> {
        let node = self.value(key)?;
        match &node.value {
            Value::Scalar(text) => {
                self.document.show(node);
                Some(text)
            }
            _ => self.refuse_form(node, self.child(key), "not a single value", "write one value"),
        }
    }

    fn text_at(&self, node: &'t Node, path: String) -> Option<Text<'t>> {
        let Value::Scalar(text) = &node.value else {
            return self.refuse_form(node, path, "not a single value", "write one value");
        };
        self.document.show(node);
        Some(Text { text: text.clone(), path, node })
    }

    fn section_at(&self, node: &'t Node, at: &'t Place, path: String) -> Option<Section<'t>> {
        if matches!(node.value, Value::Map(_)) {
            return Some(Section::new(self.document, node, at, path));
        }
        let cure = "write `key: value` lines, indented, or {key: value}";
        self.refuse_form(node, path, "not a mapping", cure)
    }

    /// Records that a value has the wrong form and gives nothing.
    fn refuse_form<T>(&self, node: &Node, path: String, what: &str, cure: impl Into<String>) -> Option<T> {
        self.document.report(&node.place, path, self.document.given_form(node), what, cure);
        None
    }

    fn list_at(&mut self, key: &'static str, form: &str) -> Option<Vec<(&'t Node, String)>> {
        let node = self.value(key)?;
        let path = self.child(key);
        match &node.value {
            Value::List(items) => Some(
                items.iter().enumerate().map(|(number, item)| (item, format!("{path}[{number}]"))).collect(),
            ),
            _ => {
                let cure = format!("write {form}: [...], or lines that begin with `- `");
                self.refuse_form(node, path, "not a list", cure)
            }
        }
    }
}
