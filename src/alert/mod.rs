//! One alert: from bytes to the entities in it.
//!
//! Pure. Reads only the paths that format rules name, in one pass, and remembers where the `risk` member
//! goes, so that nothing of the alert is ever parsed into a tree and written again.

pub mod decode;
pub mod error;
mod extract;
pub mod format;
mod found;
mod path;
mod plan;
mod raw;
mod read;
mod rule;
mod scan;
mod shape;
mod value;
mod walk;

use std::ops::Range;

pub use decode::{Decoded, Decoder, Options, Scratch, Select};
pub use error::DecodeError;
pub use format::{FormatId, Formats};
pub use found::{Entities, Found, OwnedPaths, Paths};
pub use read::FormatProblem;

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
