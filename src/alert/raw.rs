//! Pieces of an alert's text as lists and members, for the few rules that need more than a text at a path.
//!
//! Works on tokens that the parser has already accepted; a token of another form has no elements or members.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::plan::escape;

/// The elements of a list, as tokens.
pub(crate) fn elements(token: &str) -> Vec<&str> {
    let elements: Vec<&RawValue> =
        if token.starts_with('[') { serde_json::from_str(token).unwrap_or_default() } else { Vec::new() };
    elements.into_iter().map(RawValue::get).collect()
}

/// What a key says, by its token. A lone surrogate, which is no text, becomes replacement characters.
pub(crate) fn key(token: &str) -> Cow<'_, str> {
    serde_json::Deserializer::from_str(token).deserialize_bytes(Key).unwrap_or_default()
}

/// The members of an object, values as tokens, in document order. Of its keys holds what [`key`] says.
pub(crate) fn members(token: &str) -> Vec<(Cow<'_, str>, &str)> {
    if !token.starts_with('{') {
        return Vec::new();
    }
    serde_json::Deserializer::from_str(token).deserialize_map(Members).unwrap_or_default()
}

/// Tokens taken apart while following pointers, each one once: an alert with thousands of matches costs no more than
/// its length.
#[derive(Default)]
pub(crate) struct Pieces<'a> {
    lists: HashMap<usize, Vec<&'a str>>,
    objects: HashMap<usize, HashMap<String, &'a str>>,
}

impl<'a> Pieces<'a> {
    /// The token at a pointer below `token`; of a key that occurs twice the last, as a tree has it.
    pub fn at(&mut self, token: &'a str, pointer: &str) -> Option<&'a str> {
        let mut at = token;
        for step in pointer.split('/').skip(1) {
            let address = at.as_ptr() as usize;
            at = if at.starts_with('[') {
                let list = self.lists.entry(address).or_insert_with(|| elements(at));
                list.get(step.parse::<usize>().ok()?).copied()?
            } else {
                let object = self.objects.entry(address).or_insert_with(|| {
                    members(at).into_iter().map(|(key, value)| (escape(&key), value)).collect()
                });
                object.get(step).copied()?
            };
        }
        Some(at)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            members.push((key, map.next_value::<&RawValue>()?.get()));
        }
        Ok(members)
    }
}

struct Key;

impl<'de> serde::de::DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_bytes<E>(self, key: &'de [u8]) -> Result<Self::Value, E> {
        Ok(String::from_utf8_lossy(key))
    }
    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(String::from_utf8_lossy(key).into_owned().into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_pointer_is_followed_through_lists_and_objects() {
        let mut pieces = Pieces::default();
        let token = r#"{"a":[1,{"b/c":2,"b/c":3}]}"#;
        assert_eq!(pieces.at(token, "/a/1/b~1c"), Some("3"));
        assert_eq!(pieces.at(token, "/a/0"), Some("1"));
        assert_eq!(pieces.at(token, ""), Some(token));
        assert_eq!(pieces.at(token, "/a/2"), None);
        assert_eq!(pieces.at(token, "/x"), None);
    }

    #[test]
    fn lists_and_objects_are_taken_apart_and_anything_else_is_empty() {
        assert_eq!(elements("[1, {\"a\":2},\"x\"]"), ["1", "{\"a\":2}", "\"x\""]);
        let object = members("{\"a\":1,\"\\u0062\":[ ],\"a\":2,\"\\ud800\":3}");
        let keys: Vec<&str> = object.iter().map(|(key, _)| key.as_ref()).collect();
        assert_eq!(keys[..3], ["a", "b", "a"]);
        assert_eq!(object.iter().map(|(_, v)| *v).collect::<Vec<_>>(), ["1", "[ ]", "2", "3"]);
        assert!(elements("{}").is_empty() && elements("1").is_empty());
        assert!(members("[]").is_empty() && members("null").is_empty());
    }
}
