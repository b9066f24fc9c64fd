//! The configuration as written: YAML with positions.
//!
//! Contract: every syntax error, duplicate key and further document is a problem with its line; whatever the
//! text, nothing panics, and nesting and aliases are bounded. Knows nothing of what the keys mean.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Nesting that no configuration of ours comes near.
const MAX_DEPTH: usize = 64;
/// Nodes that aliases may copy, all together.
const MAX_COPIES: usize = 10_000;

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the text: line and column from 1, index from 0, and the length; all but the line in characters.
    Text { line: usize, column: usize, index: usize, length: usize },
    /// In the environment.
    Variable(Arc<str>),
}

impl Place {
    /// The beginning of the text.
    pub(crate) const START: Place = Place::Text { line: 1, column: 1, index: 0, length: 0 };

    fn of(span: Span) -> Self {
        Place::Text {
            line: span.start.line(),
            column: span.start.col() + 1,
            index: span.start.index(),
            length: span.end.index().saturating_sub(span.start.index()),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A value as it is spelled: types are the reader's business.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One member of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// The value of `key`, where this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// Calls `visit` with every scalar below.
    pub(crate) fn scalars<'n>(&'n self, visit: &mut dyn FnMut(&'n Node)) {
        match &self.value {
            Value::Null => {}
            Value::Scalar(_) => visit(self),
            Value::List(items) => items.iter().for_each(|item| item.scalars(visit)),
            Value::Map(entries) => entries.iter().for_each(|entry| entry.value.scalars(visit)),
        }
    }

    fn children(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match &self.value {
            Value::Null | Value::Scalar(_) => Box::new(std::iter::empty()),
            Value::List(items) => Box::new(items.iter()),
            Value::Map(entries) => Box::new(entries.iter().map(|entry| &entry.value)),
        }
    }

    fn count(&self) -> usize {
        1 + self.children().map(Node::count).sum::<usize>()
    }

    fn depth(&self) -> usize {
        1 + self.children().map(Node::depth).max().unwrap_or(0)
    }
}

/// A complaint about the text itself.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    pub(crate) place: Place,
    pub(crate) key: String,
    pub(crate) what: String,
    pub(crate) cure: String,
}

/// What reading a text gave.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The tree; null where the text is empty or was not understood.
    pub(crate) root: Node,
    /// Values that are not in the tree: their keys stood twice.
    pub(crate) dropped: Vec<Node>,
    /// What is wrong with the text.
    pub(crate) complaints: Vec<Complaint>,
    /// Whether the text was read to its end.
    pub(crate) whole: bool,
}

/// Reads one YAML document.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut builder = Builder::default();
    let mut whole = false;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.complain(
                    Place::of(Span::empty(*error.marker())),
                    format!("not YAML: {}", error.info()),
                    "check indentation (spaces, no tabs), quotes and brackets here and in the line before",
                );
                break;
            }
        };
        match builder.take(event, Place::of(span)) {
            Step::On => {}
            Step::Done => {
                whole = true;
                break;
            }
            Step::Stop => break,
        }
    }
    let root = if whole { builder.root.take() } else { None };
    Parsed {
        root: root.unwrap_or(Node { place: Place::START, value: Value::Null }),
        dropped: builder.dropped,
        complaints: builder.complaints,
        whole,
    }
}

enum Step {
    On,
    Done,
    Stop,
}

/// A collection whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    /// The entries so far, and the key whose value is to come.
    Map(Vec<Entry>, Option<Node>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copies: usize,
    documents: usize,
    root: Option<Node>,
    dropped: Vec<Node>,
    complaints: Vec<Complaint>,
}

impl Builder {
    fn complain(&mut self, place: Place, what: impl Into<String>, cure: impl Into<String>) {
        self.complaints.push(Complaint { place, key: String::new(), what: what.into(), cure: cure.into() });
    }

    fn take(&mut self, event: Event<'_>, place: Place) -> Step {
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => return Step::Done,
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.complain(
                        place,
                        "a second YAML document begins",
                        "keep one document: remove the `---` and what does not belong",
                    );
                    return Step::Stop;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), &place);
                self.add(Node { place, value }, anchor);
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(tag.as_deref(), &place);
                return self.push(Open { place, anchor, kind: Kind::List(Vec::new()) });
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(tag.as_deref(), &place);
                return self.push(Open { place, anchor, kind: Kind::Map(Vec::new(), None) });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { place, anchor, kind }) = self.open.pop() {
                    let value = match kind {
                        Kind::List(items) => Value::List(items),
                        Kind::Map(entries, _) => Value::Map(entries),
                    };
                    self.add(Node { place, value }, anchor);
                }
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    self.complain(place, "an alias inside its own anchor", "write the value out");
                    return Step::Stop;
                };
                // Counted before copying: a few nested anchors can stand for more nodes than memory holds.
                self.copies += node.count();
                if self.copies > MAX_COPIES || self.open.len() + node.depth() > MAX_DEPTH {
                    self.complain(place, "aliases stand for too many values", "write the values out");
                    return Step::Stop;
                }
                let node = node.clone();
                self.add(node, 0);
            }
        }
        Step::On
    }

    fn push(&mut self, open: Open) -> Step {
        if self.open.len() >= MAX_DEPTH {
            self.complain(open.place, format!("nested deeper than {MAX_DEPTH} levels"), "flatten it");
            return Step::Stop;
        }
        self.open.push(open);
        Step::On
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: &Place) -> Value {
        self.tag(tag, place);
        let null = matches!(text, "" | "~" | "null" | "Null" | "NULL");
        if style == ScalarStyle::Plain && tag.is_none() && null {
            Value::Null
        } else {
            Value::Scalar(text.to_owned())
        }
    }

    fn tag(&mut self, tag: Option<&Tag>, place: &Place) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            self.complain(
                place.clone(),
                format!("the tag {}{} means nothing here", tag.handle, tag.suffix),
                "remove the tag",
            );
        }
    }

    fn add(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut parent.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(_, pending @ None) => *pending = Some(node),
            Kind::Map(entries, pending) => {
                let Some(key) = pending.take() else { return };
                let name = match key.value {
                    Value::Scalar(name) => Some(name),
                    Value::Null => Some("null".to_owned()),
                    Value::List(_) | Value::Map(_) => None,
                };
                let first = entries.iter().find(|entry| Some(&entry.key) == name.as_ref());
                let complaint = match (&name, first.map(|entry| &entry.place)) {
                    (None, _) => Some(("a key that is not a word".to_owned(), "write `key: value`")),
                    (_, Some(Place::Text { line, .. })) => {
                        Some((format!("the key stands twice; first in line {line}"), "remove one of the two"))
                    }
                    (Some(_), _) => None,
                };
                match (complaint, name) {
                    (None, Some(name)) => entries.push(Entry { key: name, place: key.place, value: node }),
                    (complaint, name) => {
                        self.dropped.push(node);
                        if let Some((what, cure)) = complaint {
                            self.complaints.push(Complaint {
                                place: key.place,
                                key: name.unwrap_or_default(),
                                what,
                                cure: cure.to_owned(),
                            });
                        }
                    }
                }
            }
        }
    }
}
