//! Environment variables laid over the configuration file: `RISKSTREAM__KAFKA__BROKERS=a:9092,b:9092`.
//!
//! Contract: two underscores stand between levels; upper and lower case are the same; a number picks an item
//! of a list. A value in brackets, braces or quotes is read as YAML, anything else is text as it is. A variable
//! replaces what the file says at that key and nothing beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::raw::{self, Complaint, Entry, Node, Place, Value};

/// What our variables begin with.
const PREFIX: &str = "riskstream__";

/// Lays the variables in `env` that are ours over `root`.
pub(crate) fn lay_over(root: &mut Node, env: &BTreeMap<String, String>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (name, text) in env {
        let lower = name.to_lowercase();
        let Some(path) = lower.strip_prefix(PREFIX) else { continue };
        let place = Place::Variable(name.as_str().into());
        let mut complain = |what: &str, cure: &str| {
            complaints.push(Complaint {
                place: place.clone(),
                key: path.replace("__", "."),
                what: what.to_owned(),
                cure: cure.to_owned(),
            });
        };
        let levels: Vec<&str> = path.split("__").collect();
        if levels.iter().any(|level| level.is_empty()) {
            complain(
                "an empty level in the name",
                "write two underscores between levels: RISKSTREAM__LOG__LEVEL",
            );
        } else if text.trim().is_empty() {
            complain("the variable is empty", "unset it, or write null for the default");
        } else if let Some(node) = value(text, name) {
            put(root, &levels, node, &place);
        } else {
            complain("the value is not YAML", "close its brackets and quotes, or put it in single quotes");
        }
    }
    complaints
}

/// The value of a variable; `None` when it looks like YAML and is not.
fn value(text: &str, name: &str) -> Option<Node> {
    let place: Arc<str> = name.into();
    let trimmed = text.trim();
    if matches!(trimmed, "~" | "null" | "Null" | "NULL") {
        return Some(Node { place: Place::Variable(place), value: Value::Null });
    }
    if !trimmed.starts_with(['[', '{', '"', '\'']) {
        return Some(Node { place: Place::Variable(place), value: Value::Scalar(trimmed.to_owned()) });
    }
    let parsed = raw::parse(text);
    if !parsed.complaints.is_empty() {
        return None;
    }
    Some(moved(parsed.root, &place))
}

/// `node` with every place in it replaced: lines of a variable's text would be taken for lines of the file.
fn moved(node: Node, name: &Arc<str>) -> Node {
    let value = match node.value {
        value @ (Value::Null | Value::Scalar(_)) => value,
        Value::List(items) => Value::List(items.into_iter().map(|item| moved(item, name)).collect()),
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|entry| Entry {
                    key: entry.key,
                    place: Place::Variable(name.clone()),
                    value: moved(entry.value, name),
                })
                .collect(),
        ),
    };
    Node { place: Place::Variable(name.clone()), value }
}

/// Puts `node` where `levels` lead, making mappings on the way.
fn put(at: &mut Node, levels: &[&str], node: Node, place: &Place) {
    let Some((level, below)) = levels.split_first() else {
        *at = node;
        return;
    };
    if let (Value::List(items), Ok(number)) = (&mut at.value, level.parse::<usize>()) {
        if number == items.len() {
            items.push(Node { place: place.clone(), value: Value::Null });
        }
        if let Some(item) = items.get_mut(number) {
            return put(item, below, node, place);
        }
    }
    if !matches!(at.value, Value::Map(_)) {
        *at = Node { place: place.clone(), value: Value::Map(Vec::new()) };
    }
    let Value::Map(entries) = &mut at.value else { return };
    let known = entries.iter().position(|entry| entry.key.to_lowercase() == *level);
    let number = known.unwrap_or_else(|| {
        let value = Node { place: place.clone(), value: Value::Null };
        entries.push(Entry { key: (*level).to_owned(), place: place.clone(), value });
        entries.len() - 1
    });
    if let Some(entry) = entries.get_mut(number) {
        put(&mut entry.value, below, node, place);
    }
}
