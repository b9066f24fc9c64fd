//! The envelope: the alert, byte for byte, plus one member before its closing brace.
//!
//! Owns which member that is and which earlier ones go. A member of ours is removed together with exactly
//! one comma, and ours is added without white space: so composing an enriched alert again gives the same
//! bytes, and taking our member out gives the alert's.
//!
//! Somebody else's member under the configured name stays and ours becomes `riskstream`
//! (`on_conflict: rename`), or it goes (`replace`). Where `rename` finds somebody else's `riskstream` too,
//! that one stays as well and ours stands after it under the same name: nothing of the alert is touched,
//! and a parser that takes the last of two members takes ours.

use super::risk::Risk;
use super::{Composer, FALLBACK_MEMBER, Input};
use crate::alert::Occurrence;

/// Writes the alert with `risk` added.
pub(super) fn write(composer: &Composer, input: &Input<'_>, risk: &Risk<'_>, out: &mut Vec<u8>) {
    let close = write_body(input, |member| goes(composer, member), out);
    if out.trim_ascii_end().last() != Some(&b'{') {
        out.push(b',');
    }
    let taken = input.shape.members.iter().any(|member| !member.fallback && !goes(composer, member));
    if taken {
        out.push(b'"');
        out.extend_from_slice(FALLBACK_MEMBER.as_bytes());
        out.extend_from_slice(b"\":");
    } else {
        out.extend_from_slice(&composer.key);
    }
    risk.object(b"", out);
    out.extend_from_slice(close);
}

/// Writes the alert with nothing added. What speaks in our name goes even so: it was written by an earlier
/// pass, or forged.
pub(super) fn write_bare(composer: &Composer, input: &Input<'_>, out: &mut Vec<u8>) {
    let close = write_body(input, |member| goes(composer, member), out);
    out.extend_from_slice(close);
}

/// Whether an earlier member gives way.
fn goes(composer: &Composer, member: &Occurrence) -> bool {
    member.ours || (composer.replace_foreign && !member.fallback)
}

/// Writes everything before the closing brace but the members that go; returns the brace and what follows.
fn write_body<'a>(input: &Input<'a>, goes: impl Fn(&Occurrence) -> bool, out: &mut Vec<u8>) -> &'a [u8] {
    let bytes = input.original;
    let mut copied = 0;
    // Where the white space at the end of `out` begins. Looked for in what is new only: an alert may hold
    // very many members of ours, and very much white space.
    let mut solid = out.len();
    for member in input.shape.members.iter().filter(|member| goes(member)) {
        let kept = bytes.get(copied..member.span.start).unwrap_or_default();
        if !kept.trim_ascii_end().is_empty() {
            solid = out.len() + kept.trim_ascii_end().len();
        }
        out.extend_from_slice(kept);
        copied = member.span.end;
        // Before a key stands the comma of the member before it, or the opening brace.
        if solid.checked_sub(1).and_then(|last| out.get(last)) == Some(&b',') {
            solid -= 1;
            out.truncate(solid);
        } else {
            let after = bytes.get(copied..).unwrap_or_default();
            let gap = after.len() - after.trim_ascii_start().len();
            if after.get(gap) == Some(&b',') {
                copied += gap + 1;
            }
        }
    }
    out.extend_from_slice(bytes.get(copied..input.shape.close).unwrap_or_default());
    bytes.get(input.shape.close..).unwrap_or_default()
}
