//! Texts of a request with a place for the identifier: how it gets there without becoming anything else.
//!
//! `{value}` is the identifier, `{value|odata}` with `'` doubled, `{value|quoted}` with `\` before `"` and `\`, `{value|raw}` as it
//! is beside other text. Pure. Contract: what an identifier may say is decided by where its place stands, and a place that
//! cannot be safe there is refused with the configuration, not with the alert.

use serde_json::Value;

/// How an identifier is written in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoting {
    /// `{value}`: as it is. What is around it must not be a language of its own.
    Whole,
    /// `{value|odata}`: within single quotes of OData, SQL and the like.
    Odata,
    /// `{value|quoted}`: within double quotes of SPL, Lucene, KQL and the like.
    Quoted,
    /// `{value|raw}`: as it is, where who wrote the configuration vouches for it.
    Raw,
}

const PLACES: [(&str, Quoting); 4] = [
    ("{value}", Quoting::Whole),
    ("{value|odata}", Quoting::Odata),
    ("{value|quoted}", Quoting::Quoted),
    ("{value|raw}", Quoting::Raw),
];

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Place(Quoting),
}

/// A text with places for the identifier, or without.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Parses one segment of a path: whatever stands there is percent-encoded, so that any place is safe.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn segment(text: &str) -> Result<Template, (String, String)> {
        parse(text)
    }

    /// Parses a value of a query, of a form or within a body, which the vendor may read as a language of its own.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn value(text: &str) -> Result<Template, (String, String)> {
        let template = parse(text)?;
        let mut before = String::new();
        for piece in &template.0 {
            let quoting = match piece {
                Piece::Text(text) => {
                    before.push_str(text);
                    continue;
                }
                Piece::Place(quoting) => *quoting,
            };
            let within = |quote: char| before.matches(quote).count() % 2 == 1;
            let (what, cure) = match quoting {
                Quoting::Raw => continue,
                Quoting::Odata if within('\'') => continue,
                Quoting::Quoted if within('"') => continue,
                Quoting::Odata => {
                    ("a place for single quotes that is not within them", "write '{value|odata}'")
                }
                Quoting::Quoted => {
                    ("a place for double quotes that is not within them", "write \"{value|quoted}\"")
                }
                Quoting::Whole if template.0.len() == 1 => continue,
                Quoting::Whole if within('\'') => {
                    ("an identifier with ' in it would end the text", "write {value|odata}")
                }
                Quoting::Whole if within('"') => {
                    ("an identifier with \" in it would end the text", "write {value|quoted}")
                }
                Quoting::Whole => (
                    "an identifier beside other text may be read as more than one",
                    "write '{value|odata}' or \"{value|quoted}\" where the vendor reads quotes, or {value|raw} where it \
                     reads nothing into the text",
                ),
            };
            return Err((what.to_owned(), cure.to_owned()));
        }
        Ok(template)
    }

    /// Whether it has a place for the identifier.
    pub fn has_place(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Place(_)))
    }

    /// The text with `id` in its places.
    pub fn fill(&self, id: &str) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Place(Quoting::Whole | Quoting::Raw) => out.push_str(id),
                Piece::Place(Quoting::Odata) => out.push_str(&id.replace('\'', "''")),
                Piece::Place(Quoting::Quoted) => {
                    for c in id.chars() {
                        if matches!(c, '"' | '\\') {
                            out.push('\\');
                        }
                        out.push(c);
                    }
                }
            }
        }
        out
    }
}

/// A JSON body whose texts are templates.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Without a text in it.
    Constant(Value),
    /// A text.
    Text(Template),
    /// A list.
    List(Vec<Body>),
    /// An object; its names are never templates.
    Object(Vec<(String, Body)>),
}

impl Body {
    /// Takes the texts of `value` for templates.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn new(value: Value) -> Result<Body, (String, String)> {
        Ok(match value {
            Value::String(text) => Body::Text(Template::value(&text)?),
            Value::Array(items) => Body::List(items.into_iter().map(Body::new).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                let member = |(name, value)| Ok((name, Body::new(value)?));
                Body::Object(members.into_iter().map(member).collect::<Result<_, (String, String)>>()?)
            }
            constant => Body::Constant(constant),
        })
    }

    /// The names of its members, where it is an object.
    pub fn names(&self) -> Option<impl Iterator<Item = &str>> {
        let Body::Object(members) = self else { return None };
        Some(members.iter().map(|(name, _)| name.as_str()))
    }

    /// Whether it has a place for the identifier.
    pub fn has_place(&self) -> bool {
        match self {
            Body::Constant(_) => false,
            Body::Text(template) => template.has_place(),
            Body::List(items) => items.iter().any(Body::has_place),
            Body::Object(members) => members.iter().any(|(_, body)| body.has_place()),
        }
    }

    /// The body with `id` in its places.
    pub fn fill(&self, id: &str) -> Value {
        match self {
            Body::Constant(value) => value.clone(),
            Body::Text(template) => Value::String(template.fill(id)),
            Body::List(items) => items.iter().map(|body| body.fill(id)).collect(),
            Body::Object(members) => {
                Value::Object(members.iter().map(|(name, body)| (name.clone(), body.fill(id))).collect())
            }
        }
    }
}

fn parse(text: &str) -> Result<Template, (String, String)> {
    const OPENING: &str = "{value";
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPENING) {
        let (before, from) = rest.split_at(start);
        let place = PLACES.iter().find_map(|(word, quoting)| Some((from.strip_prefix(word)?, *quoting)));
        let Some((after, quoting)) = place else {
            return Err((
                "not a place for the identifier".to_owned(),
                format!("write one of {}", PLACES.map(|(word, _)| word).join(", ")),
            ));
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Place(quoting));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(Template(pieces))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn an_identifier_is_written_as_its_place_says() {
        for (text, filled) in [
            ("{value}", r#"o'ne"il\x"#),
            ("userPrincipalName eq '{value|odata}'", r#"userPrincipalName eq 'o''ne"il\x'"#),
            (r#"user.name:"{value|quoted}""#, r#"user.name:"o'ne\"il\\x""#),
            ("user-{value|raw}", r#"user-o'ne"il\x"#),
            ("no place", "no place"),
        ] {
            assert_eq!(Template::value(text).unwrap().fill(r#"o'ne"il\x"#), filled, "{text}");
        }
        assert_eq!(Template::segment("user:{value}").unwrap().fill("a{value}"), "user:a{value}");
    }

    #[test]
    fn a_place_that_cannot_be_safe_is_refused_with_what_to_write() {
        for (text, cure) in [
            ("name eq '{value}'", "{value|odata}"),
            ("name:\"{value}\"", "{value|quoted}"),
            ("name:{value}", "{value|raw}"),
            ("{value}@example.com", "{value|raw}"),
            ("name eq {value|odata}", "'{value|odata}'"),
            ("'' {value|odata}", "'{value|odata}'"),
            ("name:{value|quoted}", "\"{value|quoted}\""),
            ("'{value|quoted}'", "\"{value|quoted}\""),
            ("{value|upper}", "{value|odata}"),
            ("{values}", "{value}"),
        ] {
            let (_, told) = Template::value(text).unwrap_err();
            assert!(told.contains(cure), "{text}: {told}");
        }
    }

    #[test]
    fn a_body_has_places_in_its_texts_only() {
        let body =
            Body::new(json!({"query": "{ nodes }", "n": 1, "ids": ["{value}"], "{value}": null})).unwrap();
        assert!(body.has_place());
        assert_eq!(
            body.fill("a\"b"),
            json!({"query": "{ nodes }", "n": 1, "ids": ["a\"b"], "{value}": null})
        );
        assert!(Body::new(json!({"q": ["name:{value}"]})).is_err());
        assert!(!Body::new(json!({"{value}": [1, true, "x"]})).unwrap().has_place());
    }

    proptest! {
        /// What reads the quotes reads the identifier back, and nothing after it.
        #[test]
        fn no_identifier_leaves_its_quotes(id in ".*") {
            let text = Template::value("a eq '{value|odata}' or b").unwrap().fill(&id);
            let inner = text.strip_prefix("a eq '").and_then(|text| text.strip_suffix("' or b")).unwrap();
            prop_assert_eq!(inner.replace("''", "\0"), id.replace('\'', "\0"));
            prop_assert!(!inner.replace("''", "").contains('\''));

            let text = Template::value("a:\"{value|quoted}\" AND b").unwrap().fill(&id);
            let inner = text.strip_prefix("a:\"").and_then(|text| text.strip_suffix("\" AND b")).unwrap();
            let (mut read, mut chars) = (String::new(), inner.chars());
            while let Some(c) = chars.next() {
                prop_assert_ne!(c, '"');
                read.push(if c == '\\' { chars.next().unwrap() } else { c });
            }
            prop_assert_eq!(read, id);
        }
    }
}
