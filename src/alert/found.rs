//! The entities of one alert, as they are found, in buffers that the next alert uses again.
//!
//! Contract: each entity is kept once, in the order of its first place, with its places in the order in which they are
//! added, at most sixteen and a bounded number of bytes of all; of entities beyond the bound only the number is kept. Nothing is allocated once the buffers have
//! grown to what alerts need, and what one huge alert made them hold is given back.

use std::collections::HashMap;
use std::fmt;

use crate::entity::{self, EntityKind};

/// Places kept of one entity; more say nothing new and an attacker could write thousands.
const MAX_PATHS: u32 = 16;

/// Bytes of pointers above which no further place is kept: each may be almost as long as the alert, when what is above the
/// entities has a name of that length.
pub(super) const MAX_POINTERS: usize = 1 << 20;

/// Entities that are told apart by looking at each; above, by a table.
const FEW: usize = 16;

/// Bytes, and items, that buffers keep for the next alert.
const KEEP: usize = 4096;

/// Stands in [`Store::seen`] for an entity beyond the bound.
const CUT: u32 = u32::MAX;

/// No further place.
const END: u32 = u32::MAX;

/// One entity found in an alert, with every place where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'s> {
    /// What it is.
    pub kind: EntityKind,
    /// The identifier as the alert spells it, white space around it cut.
    pub value: &'s str,
    /// Its canonical spelling ([`entity::canonical`]).
    pub id: &'s str,
    /// [`entity::hash`] of kind and canonical spelling.
    pub hash: u64,
    /// RFC 6901 pointers to where it stands, in document order.
    pub paths: Paths<'s>,
}

/// The entities of one alert, in document order, each once.
#[derive(Clone, Copy)]
pub struct Entities<'s> {
    alert: &'s str,
    store: &'s Store,
}

impl<'s> Entities<'s> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.store.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.store.items.is_empty()
    }

    /// The one at a position.
    pub fn get(&self, position: usize) -> Option<Found<'s>> {
        let Store { text, items, links, .. } = self.store;
        let item = items.get(position)?;
        let piece = |piece: Piece| piece.of(self.alert, text);
        Some(Found {
            kind: item.kind,
            value: piece(item.value),
            id: piece(item.id),
            hash: item.hash,
            paths: Paths { text, links, first: item.first, len: item.places },
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Found<'s>> + use<'s> {
        let all = *self;
        (0..self.len()).filter_map(move |position| all.get(position))
    }
}

impl PartialEq for Entities<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Entities<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// RFC 6901 pointers into an alert.
#[derive(Clone, Copy)]
pub struct Paths<'a> {
    text: &'a str,
    links: &'a [Link],
    first: u32,
    len: u32,
}

impl<'a> Paths<'a> {
    /// None.
    pub const NONE: Paths<'static> = Paths { text: "", links: &[], first: END, len: 0 };

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first of them alone.
    pub fn first_only(self) -> Self {
        Paths { len: self.len.min(1), ..self }
    }

    /// Each, in document order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let Paths { text, links, first, len } = *self;
        let mut at = first;
        (0..len).map_while(move |_| {
            let link = links.get(at as usize)?;
            at = link.next;
            text.get(link.start as usize..link.end as usize)
        })
    }
}

impl PartialEq for Paths<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Paths<'_> {}

impl fmt::Debug for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Paths of an alert that waits: its buffers are used by others meanwhile.
#[derive(Debug)]
pub struct OwnedPaths {
    text: Box<str>,
    links: Box<[Link]>,
}

impl OwnedPaths {
    /// The paths.
    pub fn get(&self) -> Paths<'_> {
        Paths { text: &self.text, links: &self.links, first: 0, len: self.links.len() as u32 }
    }

    /// Bytes that they take beside the value itself.
    pub fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.links)
    }
}

impl<'a> FromIterator<&'a str> for OwnedPaths {
    fn from_iter<I: IntoIterator<Item = &'a str>>(paths: I) -> Self {
        let mut text = String::new();
        let mut links = Vec::new();
        for path in paths {
            let start = text.len() as u32;
            text.push_str(path);
            links.push(Link { start, end: text.len() as u32, next: links.len() as u32 + 1 });
        }
        OwnedPaths { text: text.into(), links: links.into() }
    }
}

/// A piece of text: of the alert, or of what was written down beside it. Offsets fit, as alerts are below 4 GiB, identifiers
/// take no more there than in the alert, and pointers are bounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    ours: bool,
    start: u32,
    end: u32,
}

impl Piece {
    /// `part` where it stands in the alert, or else as it is written down now.
    pub fn new(alert: &str, part: &str, text: &mut String) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(alert.as_ptr() as usize);
        match start.checked_add(part.len()) {
            Some(end) if end <= alert.len() => Piece { ours: false, start: start as u32, end: end as u32 },
            _ => Self::written(text, |text| text.push_str(part)),
        }
    }

    /// What `write` writes down.
    pub fn written(text: &mut String, write: impl FnOnce(&mut String)) -> Self {
        let start = text.len() as u32;
        write(text);
        Piece { ours: true, start, end: text.len() as u32 }
    }

    /// What it says.
    pub fn of<'s>(self, alert: &'s str, text: &'s str) -> &'s str {
        let whose = if self.ours { text } else { alert };
        whose.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One place, and the entity's next one.
#[derive(Clone, Copy, Debug)]
struct Link {
    start: u32,
    end: u32,
    next: u32,
}

#[derive(Debug)]
struct Item {
    kind: EntityKind,
    value: Piece,
    id: Piece,
    hash: u64,
    first: u32,
    last: u32,
    places: u32,
}

/// The entities of the alert at hand. Reused.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// What does not stand in the alert as it is: unescaped and canonical spellings, pointers.
    text: String,
    items: Vec<Item>,
    links: Vec<Link>,
    /// Positions by hash: empty while there are few.
    seen: HashMap<u64, u32, ahash::RandomState>,
    cut: usize,
    /// Bytes of the pointers in `text`.
    pointers: usize,
}

impl Store {
    /// Makes ready for an alert.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEEP);
        self.items.clear();
        self.items.shrink_to(KEEP);
        self.links.clear();
        self.links.shrink_to(KEEP);
        self.seen.clear();
        self.seen.shrink_to(KEEP);
        self.cut = 0;
        self.pointers = 0;
    }

    /// Entities beyond the bound.
    pub fn cut(&self) -> usize {
        self.cut
    }

    /// What was found in `alert`.
    pub fn entities<'s>(&'s self, alert: &'s str) -> Entities<'s> {
        Entities { alert, store: self }
    }

    /// Notes that `alert` names an entity, of which at most `max` are kept; its position if it is.
    pub fn add(&mut self, alert: &str, kind: EntityKind, value: &str, max: usize) -> Option<usize> {
        let before = self.text.len();
        let position = self.items.len();
        let kept = self.find(alert, kind, value, max);
        if kept != Some(position) {
            // It was written down for nothing.
            self.text.truncate(before);
        }
        kept
    }

    fn find(&mut self, alert: &str, kind: EntityKind, value: &str, max: usize) -> Option<usize> {
        let start = self.text.len() as u32;
        let id = match entity::respell(kind, value, &mut self.text) {
            Some(unchanged) => Piece::new(alert, unchanged, &mut self.text),
            None => Piece { ours: true, start, end: self.text.len() as u32 },
        };
        let spelled = id.of(alert, &self.text);
        let hash = entity::hash(kind, spelled);
        let position = self.items.len();
        match self.position(hash) {
            Some(CUT) => return None,
            Some(known) => {
                let item = self.items.get(known as usize)?;
                if item.kind == kind && item.id.of(alert, &self.text) == spelled {
                    return Some(known as usize);
                }
                // Two entities with one hash: practically never, and then only this one is not de-duplicated.
                if position >= max {
                    self.cut += 1;
                    return None;
                }
            }
            None if position >= max => {
                self.tabulate();
                self.seen.insert(hash, CUT);
                self.cut += 1;
                return None;
            }
            None if position >= FEW => {
                self.tabulate();
                self.seen.insert(hash, position as u32);
            }
            None => {}
        }
        let value = Piece::new(alert, value, &mut self.text);
        self.items.push(Item { kind, value, id, hash, first: END, last: END, places: 0 });
        Some(position)
    }

    /// Notes a place of the entity at a position; `write` writes its pointer.
    pub fn place(&mut self, position: usize, write: impl FnOnce(&mut String)) {
        let Some(item) = self.items.get_mut(position) else { return };
        if item.places >= MAX_PATHS || self.pointers >= MAX_POINTERS {
            return;
        }
        let start = self.text.len();
        write(&mut self.text);
        let known = Paths { text: &self.text, links: &self.links, first: item.first, len: item.places };
        let pointer = self.text.get(start..).unwrap_or_default();
        if known.iter().any(|known| known == pointer) {
            self.text.truncate(start);
            return;
        }
        let number = self.links.len() as u32;
        match self.links.get_mut(item.last as usize) {
            Some(last) => last.next = number,
            None => item.first = number,
        }
        self.links.push(Link { start: start as u32, end: self.text.len() as u32, next: END });
        self.pointers += pointer.len();
        item.last = number;
        item.places += 1;
    }

    fn position(&self, hash: u64) -> Option<u32> {
        if !self.seen.is_empty() {
            return self.seen.get(&hash).copied();
        }
        self.items.iter().position(|item| item.hash == hash).map(|position| position as u32)
    }

    /// From here on, positions are looked up in a table.
    fn tabulate(&mut self) {
        if self.seen.is_empty() {
            let positions =
                self.items.iter().enumerate().map(|(position, item)| (item.hash, position as u32));
            self.seen.extend(positions);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_spelling_is_kept_where_it_stands_or_written_down_with_its_canonical_form() {
        let alert = r#"{"host":" WS-17. ","user":"jdoe"}"#;
        let mut store = Store::default();
        let host = alert.get(10..16).unwrap_or_default();
        assert_eq!(store.add(alert, EntityKind::Host, host, 9), Some(0));
        assert_eq!(store.add(alert, EntityKind::User, " a@B.example", 9), Some(1));
        assert_eq!(store.add(alert, EntityKind::User, " jdoe ", 9), Some(2));
        let written = store.text.len();
        assert_eq!(store.add(alert, EntityKind::User, "A@b.example", 9), Some(1));
        assert_eq!(store.add(alert, EntityKind::User, "B@b.example", 3), None);
        assert_eq!(store.text.len(), written);
        let found: Vec<_> = store.entities(alert).iter().map(|found| (found.value, found.id)).collect();
        assert_eq!(found, [("WS-17.", "ws-17"), (" a@B.example", "a@b.example"), (" jdoe ", "jdoe")]);
    }

    proptest! {
        /// Against a list that is searched from its beginning each time.
        #[test]
        fn entities_and_places_are_what_a_plain_list_has(
            adds in prop::collection::vec((0usize..40, 0usize..30, any::<bool>()), 0..200),
            max in 1usize..50,
        ) {
            let mut store = Store::default();
            for _ in 0..2 {
                // The second round uses the same buffers.
                store.clear();
                let mut model: Vec<(String, Vec<String>)> = Vec::new();
                let mut cut = BTreeSet::new();
                for (who, place, upper) in &adds {
                    let id = format!("host-{who}");
                    let value = if *upper { id.to_uppercase() } else { id.clone() };
                    let path = format!("/hosts/{place}");
                    let position = store.add("", EntityKind::Host, &value, max);
                    if let Some(position) = position {
                        store.place(position, |text| text.push_str(&path));
                    }
                    let known = model.iter().position(|(known, _)| *known == id);
                    prop_assert_eq!(position, known.or((model.len() < max).then_some(model.len())));
                    match known {
                        Some(known) => {
                            let paths = &mut model[known].1;
                            if !paths.contains(&path) && paths.len() < MAX_PATHS as usize {
                                paths.push(path);
                            }
                        }
                        None if model.len() < max => model.push((id, vec![path])),
                        None => {
                            cut.insert(id);
                        }
                    }
                }
                let found: Vec<(String, Vec<String>)> = store
                    .entities("")
                    .iter()
                    .map(|found| (found.id.to_owned(), found.paths.iter().map(str::to_owned).collect()))
                    .collect();
                prop_assert_eq!(found, model);
                prop_assert_eq!(store.cut(), cut.len());
            }
        }
    }
}
