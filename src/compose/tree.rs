//! An alert as a tree that is opened only where it is edited.
//!
//! Owns reading and writing of members by name. Contract: what is not edited keeps its bytes, numbers and
//! escapes among them, and duplicates and the order of members stay; only white space between the members
//! of an object that was opened may go. Never turns a number into a float.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json;

/// A JSON value.
pub(super) enum Node<'a> {
    /// As it is written.
    Text(Cow<'a, str>),
    /// Opened.
    Object(Vec<Member<'a>>),
    /// Opened.
    Array(Vec<Node<'a>>),
}

/// A member of an opened object.
pub(super) struct Member<'a> {
    /// As it is written, quotes and escapes included.
    key: Cow<'a, str>,
    pub value: Node<'a>,
}

impl Member<'_> {
    /// The key, unescaped.
    pub fn name(&self) -> Cow<'_, str> {
        text(&self.key).unwrap_or(Cow::Borrowed(&self.key))
    }
}

impl Default for Node<'_> {
    /// `null`.
    fn default() -> Self {
        Node::new("null")
    }
}

impl<'a> Node<'a> {
    pub fn new(text: &'a str) -> Self {
        Node::Text(Cow::Borrowed(text))
    }

    /// The members, when this is an object.
    pub fn members(&mut self) -> Option<&mut Vec<Member<'a>>> {
        if let Node::Text(Cow::Borrowed(text)) = *self
            && let Some(members) = object(text)
        {
            *self = Node::Object(members);
        }
        match self {
            Node::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The items, when this is an array.
    pub fn items(&mut self) -> Option<&mut Vec<Node<'a>>> {
        if let Node::Text(Cow::Borrowed(text)) = *self
            && let Ok(items) = serde_json::from_str::<Vec<&'a RawValue>>(text)
        {
            *self = Node::Array(items.into_iter().map(|item| Node::new(item.get())).collect());
        }
        match self {
            Node::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The last member of that name, which is the one that most parsers take.
    pub fn get(&mut self, name: &str) -> Option<&mut Node<'a>> {
        let member = self.members()?.iter_mut().rfind(|member| member.name() == name)?;
        Some(&mut member.value)
    }

    /// What an RFC 6901 pointer points to.
    pub fn at(&mut self, pointer: &str) -> Option<&mut Node<'a>> {
        let mut node = self;
        for segment in pointer.split('/').skip(1) {
            let name = unescape(segment);
            node = match node.is_array() {
                true => node.items()?.get_mut(name.parse::<usize>().ok()?)?,
                false => node.get(&name)?,
            };
        }
        Some(node)
    }

    /// The characters, when this is a string.
    pub fn string(&self) -> Option<String> {
        match self {
            Node::Text(raw) => text(raw).map(Cow::into_owned),
            Node::Object(_) | Node::Array(_) => None,
        }
    }

    /// Puts `value` in the place of the last member of that name, or after all others; returns what stood
    /// there. Does nothing to what is not an object.
    pub fn put(&mut self, name: &str, value: Node<'a>) -> Option<Node<'a>> {
        let members = self.members()?;
        match members.iter_mut().rfind(|member| member.name() == name) {
            Some(member) => Some(std::mem::replace(&mut member.value, value)),
            None => {
                let mut key = Vec::new();
                json::string(&mut key, name);
                let key = Cow::Owned(String::from_utf8_lossy(&key).into_owned());
                members.push(Member { key, value });
                None
            }
        }
    }

    /// Takes the last member of that name out.
    pub fn remove(&mut self, name: &str) {
        if let Some(members) = self.members()
            && let Some(index) = members.iter().rposition(|member| member.name() == name)
        {
            members.remove(index);
        }
    }

    /// Whether this is an array; opens nothing.
    pub fn is_array(&self) -> bool {
        match self {
            Node::Text(text) => text.starts_with('['),
            Node::Array(_) => true,
            Node::Object(_) => false,
        }
    }

    /// Whether this is an object; opens nothing.
    pub fn is_object(&self) -> bool {
        match self {
            Node::Text(text) => text.starts_with('{'),
            Node::Object(_) => true,
            Node::Array(_) => false,
        }
    }

    /// Whether this is an object that we wrote: its `schema` begins with `riskstream/`. Opens nothing.
    pub fn is_ours(&self) -> bool {
        match self {
            Node::Text(raw) => object(raw).is_some_and(|members| ours(&members)),
            Node::Object(members) => ours(members),
            Node::Array(_) => false,
        }
    }

    /// Writes the value.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Text(text) => out.extend_from_slice(text.as_bytes()),
            Node::Object(members) => {
                out.push(b'{');
                for (index, member) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(member.key.as_bytes());
                    out.push(b':');
                    member.value.write(out);
                }
                out.push(b'}');
            }
            Node::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
        }
    }
}

/// Text that we rendered, as a value.
pub(super) fn rendered<'a>(json: Vec<u8>) -> Node<'a> {
    Node::Text(Cow::Owned(String::from_utf8_lossy(&json).into_owned()))
}

/// Any of several members called `schema`: which of them counts is for the reader's parser to say.
fn ours(members: &[Member<'_>]) -> bool {
    members.iter().any(|member| {
        let Node::Text(raw) = &member.value else { return false };
        member.name() == "schema" && text(raw).is_some_and(|schema| schema.starts_with("riskstream/"))
    })
}

/// The characters of a JSON string.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.strip_prefix('"')?.strip_suffix('"') {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
    }
}

/// RFC 6901: `~1` is a slash and `~0` a tilde.
fn unescape(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') {
        Cow::Owned(segment.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(segment)
    }
}

fn object(text: &str) -> Option<Vec<Member<'_>>> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<Member<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
                members.push(Member { key: Cow::Borrowed(key.get()), value: Node::new(value.get()) });
            }
            Ok(members)
        }
    }

    serde_json::Deserializer::from_str(text).deserialize_map(Members).ok()
}

/// Every top-level member's name, where it stands from its key's first quote to its value's end, and whether
/// it is ours: for tests.
#[cfg(test)]
pub(super) fn spans(text: &str) -> Option<Vec<(String, std::ops::Range<usize>, bool)>> {
    let offset = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    let spans = object(text)?.into_iter().map(|member| {
        let Node::Text(value) = &member.value else { return (String::new(), 0..0, false) };
        let span = offset(&member.key)..offset(value) + value.len();
        (member.name().into_owned(), span, member.value.is_ours())
    });
    Some(spans.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn written(node: &Node<'_>) -> String {
        let mut out = Vec::new();
        node.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_not_edited_keeps_its_spelling() {
        let mut node = Node::new(r#"{"a": 1.10e+2, "\u0062":{ "x" : 12345678901234567890123 }, "a":2}"#);
        node.get("b").unwrap();
        assert_eq!(written(&node), r#"{"a":1.10e+2,"\u0062":{ "x" : 12345678901234567890123 },"a":2}"#);
    }

    #[test]
    fn a_member_is_found_by_its_unescaped_name_and_the_last_one_counts() {
        let mut node = Node::new(r#"{"a":1,"\u0061":2}"#);
        assert_eq!(written(node.get("a").unwrap()), "2");
        assert_eq!(written(&node.put("a", Node::new("3")).unwrap()), "2");
        node.remove("a");
        assert_eq!(written(&node), r#"{"a":1}"#);
    }

    #[test]
    fn a_pointer_goes_through_objects_arrays_and_escapes() {
        let mut node = Node::new(r#"{"a/b":[0,{"~":"here"}],"":7}"#);
        assert_eq!(written(node.at("/a~1b/1/~0").unwrap()), r#""here""#);
        assert_eq!(written(node.at("/").unwrap()), "7");
        assert!(node.at("/a~1b/2").is_none());
        assert!(node.at("/a~1b/x").is_none());
    }

    #[test]
    fn any_schema_of_ours_makes_an_object_ours() {
        for (text, ours) in [
            (r#"{"schema":"riskstream/v1"}"#, true),
            (r#"{"sch\u0065ma":"r\u0069skstream/v9"}"#, true),
            (r#"{"schema":"riskstream/v1","schema":1}"#, true),
            (r#"{"schema":"riskstream"}"#, false),
            (r#"["schema","riskstream/v1"]"#, false),
        ] {
            assert_eq!(Node::new(text).is_ours(), ours, "{text}");
        }
    }
}
