//! Where the output member stands in an alert's text, and whether we wrote it.
//!
//! Works on text that the parser has already accepted; never on anything else.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The member's name when the configured one is taken by somebody else's member.
pub(crate) const FALLBACK: &str = "riskstream";

/// How the `schema` of every member begins that we write.
const SCHEMA: &str = "riskstream/";

/// Whether a member's value is ours: an object whose `schema` is a string that begins with `riskstream/`.
pub(crate) fn is_ours(value: &str) -> bool {
    value.starts_with('{')
        && serde_json::Deserializer::from_str(value).deserialize_map(Schema).unwrap_or(false)
}

struct Schema;

impl<'de> Visitor<'de> for Schema {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<bool, M::Error> {
        let mut ours = false;
        while let Some(key) = members.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "schema" {
                let value = members.next_value::<&RawValue>()?;
                ours |= serde_json::from_str::<String>(value.get()).is_ok_and(|s| s.starts_with(SCHEMA));
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(ours)
    }
}

/// Offset of the brace that closes the document: its last byte that is no white space.
pub(crate) fn close(text: &str) -> usize {
    text.trim_end_matches([' ', '\t', '\r', '\n']).len().saturating_sub(1)
}
