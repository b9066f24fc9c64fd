//! Step 2: from bytes to what the pipeline needs to know of an alert.
//!
//! Contract: one pass over the bytes validates them and reads only the paths that formats name; memory and recursion
//! are bounded by the options and the formats, whatever the bytes are. Never changes a byte, never panics, and
//! an error never holds alert content.

use std::sync::Arc;

use serde::de::IgnoredAny;

use super::error::DecodeError;
use super::extract::{self, Memory};
use super::format::{FormatId, Formats};
use super::scan::Scanner;
use super::walk::{Notes, Walk};
use super::{Entities, Shape, shape};

/// Bounds and names for decoding.
#[derive(Clone, Debug)]
pub struct Options {
    /// `output.member`: its occurrences are noted in [`Shape`].
    pub member: String,
    /// `pipeline.max_alert_bytes`.
    pub max_bytes: usize,
    /// `pipeline.max_depth`: the alert itself is level 1.
    pub max_depth: usize,
    /// `pipeline.max_entities`.
    pub max_entities: usize,
}

/// Which format an alert is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The one that recognises it.
    Auto,
    /// This one, whatever it looks like.
    Named(FormatId),
}

/// Room that decoding uses again and again. One for each thread.
#[derive(Debug, Default)]
pub struct Scratch {
    notes: Notes,
    pub(super) memory: Memory,
}

/// What the pipeline needs to know of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<'s> {
    /// Its format; `None` when no format recognises it.
    pub format: Option<FormatId>,
    /// Its entities.
    pub found: Entities<'s>,
    /// Where the output member goes.
    pub shape: Shape,
    /// How many different entities there are beyond [`Options::max_entities`].
    pub entities_cut: usize,
}

/// Decodes alerts.
#[derive(Clone, Debug)]
pub struct Decoder {
    formats: Arc<Formats>,
    options: Options,
}

impl Decoder {
    /// A decoder for these formats.
    pub fn new(formats: Arc<Formats>, mut options: Options) -> Decoder {
        // Offsets are kept in 32 bits.
        options.max_bytes = options.max_bytes.min(u32::MAX as usize - 1);
        Decoder { formats, options }
    }

    /// The formats it knows.
    pub fn formats(&self) -> &Formats {
        &self.formats
    }

    /// Reads one alert; `scratch` holds what is found in it.
    pub fn decode<'s>(
        &self,
        bytes: &'s [u8],
        select: Select,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, DecodeError> {
        let text = self.checked(bytes)?;
        let plan = match select {
            Select::Auto => self.formats.all(),
            Select::Named(format) => self.formats.one(format),
        };
        let mut walk = Walk {
            plan,
            text,
            notes: &mut scratch.notes,
            member: &self.options.member,
            members: Vec::new(),
            any_member: false,
            scan: Scanner::new(text),
        };
        walk.notes.clear(plan.tests.len());
        if walk.run().is_err() {
            return Err(match serde_json::from_str::<IgnoredAny>(text) {
                Err(error) => not_json(&error),
                // They agree on what is JSON.
                Ok(_) => DecodeError::NotJson { line: 1, column: 1, what: "invalid JSON" },
            });
        }
        let shape = Shape {
            close: shape::close(text),
            empty: !walk.any_member,
            members: std::mem::take(&mut walk.members),
        };
        let format = match select {
            Select::Auto => extract::recognise(plan, &scratch.notes),
            Select::Named(format) => Some(format.0),
        };
        let memory = &mut scratch.memory;
        memory.store.clear();
        if let Some(format) = format {
            extract::extract(plan, format, text, &scratch.notes, self.options.max_entities, memory);
        }
        let store = &scratch.memory.store;
        Ok(Decoded {
            format: format.map(FormatId),
            found: store.entities(text),
            shape,
            entities_cut: store.cut(),
        })
    }

    /// Everything that can be told before parsing: size, encoding, depth, and that it is an object.
    fn checked<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, DecodeError> {
        let Options { max_bytes, max_depth, .. } = self.options;
        if bytes.len() > max_bytes {
            return Err(DecodeError::TooLarge { bytes: bytes.len(), max: max_bytes });
        }
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 {
            offset: std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), |_| bytes.len()),
        })?;
        if text.starts_with('\u{feff}') {
            let what = "a byte order mark, which JSON must not begin with";
            return Err(DecodeError::NotJson { line: 1, column: 1, what });
        }
        if is_deeper(bytes, max_depth) {
            return Err(DecodeError::TooDeep { max: max_depth });
        }
        let found = match text.trim_start_matches([' ', '\t', '\r', '\n']).bytes().next() {
            None => return Err(DecodeError::Empty),
            Some(b'{') => return Ok(text),
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            Some(_) => "a number",
        };
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(DecodeError::NotAnObject { found }),
            Err(error) => Err(not_json(&error)),
        }
    }
}

fn not_json(error: &serde_json::Error) -> DecodeError {
    match DecodeError::from_parser(error) {
        DecodeError::NotJson { line, column, what: "trailing characters" } => {
            DecodeError::TrailingBytes { line, column }
        }
        other => other,
    }
}

/// How many bytes are `[` or `{`. In pieces whose count fits a byte, so that it is done 16 or 32 bytes at a time.
fn opening(bytes: &[u8]) -> usize {
    let count =
        |piece: &[u8]| piece.iter().fold(0, |count: u8, byte| count + u8::from((byte | 0x20) == b'{'));
    bytes.chunks(usize::from(u8::MAX)).map(|piece| usize::from(count(piece))).sum()
}

/// Whether brackets outside strings nest deeper than `max`.
fn is_deeper(bytes: &[u8], max: usize) -> bool {
    // `[` and `{` differ in one bit. Counting them all is cheap, and nearly always tells that none can be too deep.
    if opening(bytes) <= max {
        return false;
    }
    let mut depth = 0usize;
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            bytes.next();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}
