//! What we overwrote in an alert, so that nothing of it is lost and a second pass starts where the first did.
//!
//! Owns the members `written` (the places that we set) and `original` (what stood there). Contract: putting
//! an earlier trace back undoes that pass, so composing twice gives what composing once gives, and a score
//! that is no longer known does not stay behind; only an object that was made to hold it may, empty. Pure.

use std::collections::BTreeMap;

use super::json;
use super::tree::Node;

/// More places are never set in one alert.
pub(super) const MAX_PLACES: usize = 128;

/// Places that we set in one alert, in order, each with what stood there.
#[derive(Default)]
pub(super) struct Trace<'a>(Vec<(String, Option<Node<'a>>)>);

impl<'a> Trace<'a> {
    /// Notes that `place` was set, and what stood there.
    pub fn note(&mut self, place: &str, original: Option<Node<'a>>) {
        self.0.push((place.to_owned(), original));
    }

    /// Reads the trace out of a record of an earlier pass. What `allowed` says no to, given the place and
    /// what stood there, is passed over, and so is what is beyond [`MAX_PLACES`]: the record may be forged.
    pub fn read(mut record: Node<'a>, allowed: impl Fn(&str, Option<&Node<'a>>) -> bool) -> Trace<'a> {
        let mut places: Vec<String> = Vec::new();
        for item in record.get("written").and_then(Node::items).into_iter().flatten() {
            match item.string() {
                Some(place) if places.len() < MAX_PLACES && !places.contains(&place) => places.push(place),
                _ => {}
            }
        }
        let mut originals = BTreeMap::new();
        for member in record.get("original").and_then(Node::members).into_iter().flat_map(std::mem::take) {
            originals.insert(member.name().into_owned(), member.value);
        }
        let trace = places.into_iter().map(|place| {
            let original = originals.remove(&place);
            (place, original)
        });
        Trace(trace.filter(|(place, original)| allowed(place, original.as_ref())).collect())
    }

    /// Takes out that `place` was set; returns what stood there.
    pub fn take(&mut self, place: &str) -> Option<Node<'a>> {
        let index = self.0.iter().position(|(known, _)| known == place)?;
        self.0.remove(index).1
    }

    /// The places and what stood there.
    pub fn into_places(self) -> impl Iterator<Item = (String, Option<Node<'a>>)> {
        self.0.into_iter()
    }

    /// Writes `,"written":[...],"original":{...}`, each only where there is something to say.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        out.extend_from_slice(br#","written":["#);
        for (index, (place, _)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json::string(out, place);
        }
        out.push(b']');
        let mut before: &[u8] = br#","original":{"#;
        for (place, original) in &self.0 {
            if let Some(original) = original {
                out.extend_from_slice(before);
                json::string(out, place);
                out.push(b':');
                original.write(out);
                before = b",";
            }
        }
        if before == b"," {
            out.push(b'}');
        }
    }
}
