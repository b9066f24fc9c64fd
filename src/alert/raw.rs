//! Pieces of an alert's text as lists, members and texts, for the rules that need more than a token at a path.
//!
//! Works on tokens that the scanner has already accepted; a token of another form has no elements or members.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;

use super::plan::escape;
use super::scan::{Key, Open, Scanner};

/// The elements of a list, as tokens.
pub(crate) fn elements(token: &str) -> impl Iterator<Item = &str> {
    let (mut scan, mut open) = (Scanner::new(token), Open::default());
    let mut more = scan.enter(b'[', b']') == Ok(true);
    iter::from_fn(move || {
        let element = more.then(|| scan.value(&mut open).ok())??;
        more = scan.goes_on(b']') == Ok(true);
        Some(element)
    })
}

/// The members of an object, values as tokens, in document order.
pub(crate) fn members(token: &str) -> impl Iterator<Item = (Key<'_>, &str)> {
    let (mut scan, mut open) = (Scanner::new(token), Open::default());
    let mut more = scan.enter(b'{', b'}') == Ok(true);
    iter::from_fn(move || {
        let key = more.then(|| scan.key().ok())??;
        let value = scan.value(&mut open).ok()?;
        more = scan.goes_on(b'}') == Ok(true);
        Some((key, value))
    })
}

impl<'a> Key<'a> {
    /// What it says. A lone surrogate, which is no text, becomes a replacement character.
    pub fn name(&self) -> Cow<'a, str> {
        if !self.is_escaped {
            return Cow::Borrowed(self.written);
        }
        let mut name = String::new();
        unescape(self.written, &mut name);
        Cow::Owned(name)
    }

    /// Whether it is this one.
    pub fn says(&self, name: &str) -> bool {
        if self.is_escaped { self.name() == name } else { self.written == name }
    }
}

/// Puts what the inside of a string says at the end of `out`; whether all of it is text. A lone surrogate is not, and
/// becomes a replacement character.
pub(crate) fn unescape(written: &str, out: &mut String) -> bool {
    let mut is_text = true;
    let mut rest = written;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut behind = escape.chars();
        out.push(match behind.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (said, after) = utf16(behind.as_str());
                behind = after.chars();
                is_text &= said.is_some();
                said.unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            // A quote, a backslash, a slash.
            other => other.unwrap_or_default(),
        });
        rest = behind.as_str();
    }
    out.push_str(rest);
    is_text
}

/// What the digits behind a `\u` say, together with a second `\u` when it takes both, and what is behind them. `None` for a
/// lone surrogate.
fn utf16(text: &str) -> (Option<char>, &str) {
    let Some((first, behind)) = unit(text) else { return (None, text) };
    let second = behind.strip_prefix("\\u").and_then(unit);
    let units = [Some(first), second.map(|(second, _)| second)];
    let said = char::decode_utf16(units.into_iter().flatten()).next().and_then(Result::ok);
    match second {
        Some((_, behind)) if said.is_some_and(|said| said.len_utf16() == 2) => (said, behind),
        _ => (said, behind),
    }
}

/// Four hexadecimal digits, and what is behind them.
fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, behind) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, behind))
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
                let list = self.lists.entry(address).or_insert_with(|| elements(at).collect());
                list.get(step.parse::<usize>().ok()?).copied()?
            } else {
                let object = self.objects.entry(address).or_insert_with(|| {
                    members(at).map(|(key, value)| (escape(&key.name()).into_owned(), value)).collect()
                });
                object.get(step).copied()?
            };
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

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
        assert_eq!(elements(r#"[1, {"a":[2]},"x"]"#).collect::<Vec<_>>(), ["1", r#"{"a":[2]}"#, r#""x""#]);
        let object: Vec<_> = members(r#"{"a":1,"\u0062":[ ],"a":2,"\ud800":3}"#).collect();
        let keys: Vec<_> = object.iter().map(|(key, _)| key.name()).collect();
        assert_eq!(keys, ["a", "b", "a", "\u{fffd}"]);
        assert_eq!(object.iter().map(|(_, value)| *value).collect::<Vec<_>>(), ["1", "[ ]", "2", "3"]);
        for none in ["{}", "1", "[]", "[ ]"] {
            assert_eq!(elements(none).count(), 0, "{none}");
        }
        for none in ["[]", "null", "{}", "{ }"] {
            assert_eq!(members(none).count(), 0, "{none}");
        }
    }

    /// Against `serde_json`, which reads no string with a lone surrogate.
    fn agrees(written: &str) {
        let mut said = "before ".to_owned();
        let is_text = unescape(written, &mut said);
        let theirs = serde_json::from_str::<String>(&format!("\"{written}\""));
        assert_eq!(is_text, theirs.is_ok(), "{written:?}");
        if let Ok(theirs) = theirs {
            assert_eq!(said.strip_prefix("before "), Some(&*theirs), "{written:?}");
        }
    }

    #[test]
    fn a_lone_surrogate_takes_nothing_of_what_is_behind_it() {
        for (written, said) in [
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ud83d\u0041", "\u{fffd}A"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud83d\n", "\u{fffd}\n"),
        ] {
            let mut out = String::new();
            assert!(!unescape(written, &mut out), "{written}");
            assert_eq!(out, said, "{written}");
            agrees(written);
        }
    }

    proptest! {
        #[test]
        fn escapes_say_what_serde_json_reads_in_them(pieces in prop::collection::vec(prop::sample::select(vec![
            "a", "\u{e9}", "\u{1f600}", r"\\", r#"\""#, r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u0000", r"\u0041",
            r"\u00E9", r"\uffff", r"\ud83d", r"\ude00", r"\uDBFF", r"\udfff", "u0041", " ",
        ]), 0..12)) {
            agrees(&pieces.concat());
        }

        #[test]
        fn any_text_is_read_back_as_it_was(text in any::<String>()) {
            let written = serde_json::to_string(&text).unwrap();
            agrees(written.strip_prefix('"').unwrap().strip_suffix('"').unwrap());
        }
    }
}
