//! Paths of format rules: RFC 6901 pointers and RFC 9535 JSONPath, parsed once.
//!
//! Contract: a [`Path`] is a run of steps that the decoder walks while it reads, and, only where
//! the JSONPath needs more than names, indexes and wildcards, a rest that is evaluated on the value where
//! the steps end. Pure; sees rules, never an alert.

use serde_json_path::JsonPath;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A member of this name (JSONPath).
    Name(String),
    /// An element at this index (JSONPath).
    Index(usize),
    /// A token of a pointer: a member of this name or, when it is a number, an element.
    Token(String),
    /// Every member or element.
    Any,
}

/// A compiled path.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// What the decoder walks.
    pub steps: Vec<Step>,
    /// What is evaluated on the value there, when steps do not suffice.
    pub rest: Option<JsonPath>,
}

impl Path {
    /// Whether it leads to at most one value, so that a template may use it.
    pub fn is_single(&self) -> bool {
        self.rest.is_none() && !self.steps.contains(&Step::Any)
    }

    /// Parses a pointer (begins with `/`) or a JSONPath (begins with `$`). The error says what is wrong.
    pub fn parse(text: &str) -> Result<Path, String> {
        if text.starts_with('/') {
            pointer(text)
        } else if text.starts_with('$') {
            json_path(text)
        } else {
            Err(format!("{text:?} is neither a pointer (/user/name) nor a JSONPath ($.user.name)"))
        }
    }
}

fn pointer(text: &str) -> Result<Path, String> {
    let mut steps = Vec::new();
    for token in text.split('/').skip(1) {
        let mut name = String::with_capacity(token.len());
        let mut chars = token.chars();
        while let Some(c) = chars.next() {
            match c {
                '~' => match chars.next() {
                    Some('0') => name.push('~'),
                    Some('1') => name.push('/'),
                    _ => return Err(format!("{text:?}: in a pointer `~` is written ~0 and `/` ~1")),
                },
                c => name.push(c),
            }
        }
        steps.push(Step::Token(name));
    }
    Ok(Path { steps, rest: None })
}

fn json_path(text: &str) -> Result<Path, String> {
    // The library checks the whole text first, so that the splitter below need not judge it.
    JsonPath::parse(text).map_err(|e| format!("{text:?} is not a JSONPath: {e}"))?;
    let mut steps = Vec::new();
    let mut left = text.strip_prefix('$').unwrap_or(text);
    while let Some((step, rest)) = first_step(left) {
        steps.push(step);
        left = rest;
    }
    let rest = match left {
        "" => None,
        left => Some(JsonPath::parse(&format!("${left}")).map_err(|e| format!("{text:?}: {e}"))?),
    };
    if steps.is_empty() {
        return Err(format!("{text:?}: begin with a name, so that not the whole alert is read into memory"));
    }
    Ok(Path { steps, rest })
}

/// The first step of what follows `$`, when it is one that the decoder can walk.
fn first_step(text: &str) -> Option<(Step, &str)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (step, rest) = match inner.chars().next()? {
            quote @ ('\'' | '"') => {
                let (name, rest) = inner.strip_prefix(quote)?.split_once(quote)?;
                if name.contains('\\') {
                    return None;
                }
                (Step::Name(name.to_owned()), rest)
            }
            '*' => (Step::Any, inner.strip_prefix('*')?),
            _ => {
                let end = inner.find(|c: char| !c.is_ascii_digit())?;
                let (digits, rest) = inner.split_at(end);
                (Step::Index(digits.parse().ok()?), rest)
            }
        };
        return Some((step, rest.strip_prefix(']')?));
    }
    let name = text.strip_prefix('.')?;
    if name.starts_with('.') {
        return None;
    }
    if let Some(rest) = name.strip_prefix('*') {
        return Some((Step::Any, rest));
    }
    let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_' || !c.is_ascii())).unwrap_or(name.len());
    let (name, rest) = name.split_at(end);
    (!name.is_empty()).then(|| (Step::Name(name.to_owned()), rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn name(text: &str) -> Step {
        Step::Name(text.into())
    }

    #[test]
    fn a_pointer_is_split_and_unescaped() {
        let path = Path::parse("/a~1b/0/m~0n").unwrap();
        let token = |text: &str| Step::Token(text.into());
        assert_eq!(path.steps, [token("a/b"), token("0"), token("m~n")]);
        assert!(Path::parse("/a~2").is_err());
    }

    #[test]
    fn names_indexes_and_wildcards_of_a_jsonpath_are_steps() {
        let path = Path::parse("$.a['b.c'][\"d\"][2][*].*").unwrap();
        assert_eq!(path.steps, [name("a"), name("b.c"), name("d"), Step::Index(2), Step::Any, Step::Any]);
        assert!(path.rest.is_none());
        assert!(!path.is_single());
    }

    #[test]
    fn filters_slices_unions_and_descendants_are_the_rest() {
        for (text, steps) in [
            ("$.list[?@.type=='user'].name", 1),
            ("$.a.list[0:2]", 2),
            ("$.a['b','c']", 1),
            ("$.a..name", 1),
            ("$.a[-1]", 1),
            ("$.a['it\\'s']", 1),
            ("$.a[ 'b' ]", 1),
        ] {
            let path = Path::parse(text).unwrap();
            assert_eq!(path.steps.len(), steps, "{text}");
            assert!(path.rest.is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_a_reason() {
        for text in ["", "user.name", "$.", "$[", "$", "$..name", "$.a[?"] {
            assert!(Path::parse(text).is_err(), "{text:?}");
        }
    }
}
