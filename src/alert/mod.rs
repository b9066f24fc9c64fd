//! One alert: from bytes to the entities in it.
//!
//! Pure. Reads only the paths that format rules name, in one pass, and remembers where the `risk` member
//! goes, so that nothing of the alert is ever parsed into a tree and written again.

pub mod decode;
pub mod error;
mod extract;
pub mod format;
mod path;
mod plan;
mod raw;
mod read;
mod rule;
mod shape;
mod value;
mod walk;

use std::borrow::Cow;
use std::ops::Range;

use crate::entity::EntityKind;

pub use decode::{Decoded, Decoder, Options, Scratch, Select};
pub use error::DecodeError;
pub use format::{FormatId, Formats};
pub use read::FormatProblem;

/// One entity found in an alert, with every place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// What it is.
    pub kind: EntityKind,
    /// The identifier as the alert spells it, white space around it cut.
    pub value: Cow<'a, str>,
    /// RFC 6901 pointers to where it stands, in document order.
    pub paths: Vec<String>,
}

/// What composing needs to know of the alert's text, found in the same pass as its entities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Offset of the closing brace of the document.
    pub close: usize,
    /// Whether the object has no member.
    pub empty: bool,
    /// Every top-level occurrence of the output member (key compared unescaped), in document order.
    pub members: Vec<Occurrence>,
}

/// One top-level member whose key is the output member (or our fall-back name `riskstream`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// Bytes from the opening quote of the key to the end of the value.
    pub span: Range<usize>,
    /// Whether it is ours: an object whose `schema` begins with `riskstream/`.
    pub ours: bool,
    /// Whether the key is the fall-back name rather than the configured member.
    pub fallback: bool,
}

#[cfg(test)]
mod tests;
