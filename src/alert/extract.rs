//! Step 3: from what the pass captured to the entities of the alert.
//!
//! Owns recognising the format, reading captures by their rules, and telling two spellings of one entity from two
//! entities. Contract: entities come in document order, each once, with the places where it stands; at most
//! so many as asked for, the rest counted.

use super::found::{self, Store};
use super::plan::{Placed, Plan, escape};
use super::raw::{self, Pieces};
use super::rule::{Part, Piece, Read, Source, kinds_of};
use super::value::{self, Kinds};
use super::walk::{Capture, How, Notes, ROOT};
use crate::entity::EntityKind;

/// What extracting needs to remember within one alert. Reused.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What is found.
    pub store: Store,
    /// For each rule that takes the first source only: the best source that yields something.
    winners: Vec<u16>,
    /// What is found out of order.
    late: Late,
    /// What reading one capture needs.
    desk: Desk,
}

/// Room in which one capture is read.
#[derive(Debug, Default)]
struct Desk {
    /// A text without its escapes.
    text: String,
    /// Templates that are done, by rule and source.
    done: Vec<(u16, u16)>,
    /// A filled template.
    filled: String,
    /// Where its parts stand.
    spots: Vec<Spot<'static>>,
}

/// What is found out of order, until all of it is.
#[derive(Debug, Default)]
struct Late {
    finds: Vec<LateFind>,
    /// Where they stand: below which place, and what is below it as the end of a pointer.
    spots: Vec<(u32, found::Piece)>,
    /// Bytes of those ends.
    pointers: usize,
    /// What is no piece of the alert of these and of the identifiers.
    text: String,
}

#[derive(Debug)]
struct LateFind {
    /// Of its first token, which tells the order in the document.
    address: usize,
    /// Of its spots the first.
    first: usize,
    /// How many there are.
    spots: usize,
    kind: EntityKind,
    id: found::Piece,
}

impl Memory {
    /// Bytes that were written down of the last alert.
    #[cfg(test)]
    pub fn written(&self) -> usize {
        self.late.text.len()
    }
}

impl Late {
    /// Bytes, and items, that are kept for the next alert.
    const KEEP: usize = 4096;

    fn clear(&mut self) {
        self.finds.clear();
        self.finds.shrink_to(Self::KEEP);
        self.spots.clear();
        self.spots.shrink_to(Self::KEEP);
        self.pointers = 0;
        self.text.clear();
        self.text.shrink_to(Self::KEEP);
    }
}

/// The format whose alternative holds, best first.
pub(crate) fn recognise(plan: &Plan, notes: &Notes) -> Option<u16> {
    let holds = |needs: &[(u16, bool)]| needs.iter().all(|(test, wanted)| notes.held(*test) == *wanted);
    plan.alternatives
        .iter()
        .find(|alternative| holds(&alternative.needs))
        .map(|alternative| alternative.format)
}

/// Finds the entities of an alert of this format, at most `max`: they are in `memory.store` then.
pub(crate) fn extract(plan: &Plan, format: u16, text: &str, notes: &Notes, max: usize, memory: &mut Memory) {
    let reading = Reading { plan, text, notes };
    reading.choose(format, memory);
    memory.desk.done.clear();
    memory.late.clear();
    let Memory { store, winners, late, desk } = memory;
    // What a filter or a list of pairs finds stands later in the document than the value that was captured for it.
    let sort = notes
        .captures
        .iter()
        .any(|capture| reading.applies(format, capture).is_some_and(|placed| placed.further));
    for capture in &notes.captures {
        let Some(placed) = reading.applies(format, capture) else { continue };
        let winner = winners.get(usize::from(capture.slot.rule));
        if placed.rule.first && winner != Some(&capture.slot.source) {
            continue;
        }
        reading.read(placed, capture, desk, &mut |kind, id, spots| {
            if sort {
                put_off(text, late, kind, id, spots);
            } else if let Some(position) = store.add(text, kind, id, max) {
                for spot in spots {
                    store.place(position, |out| reading.write_pointer(*spot, out));
                }
            }
        });
    }
    late.finds.sort_unstable_by_key(|find| (find.address, find.first));
    for find in &late.finds {
        if let Some(position) = store.add(text, find.kind, find.id.of(text, &late.text), max) {
            for (place, below) in late.spots.iter().skip(find.first).take(find.spots) {
                store.place(position, |out| {
                    reading.write_place(*place, out);
                    out.push_str(below.of(text, &late.text));
                });
            }
        }
    }
}

/// Where an identifier stands.
#[derive(Clone, Copy, Debug)]
struct Spot<'s> {
    /// Of what was captured.
    place: u32,
    /// What is below that.
    below: Below<'s>,
    /// Address of the token, which tells the order in the document.
    address: usize,
}

/// What is below a captured value: each step below the one before, where there is one.
#[derive(Clone, Copy, Debug, Default)]
struct Below<'s> {
    /// What a filter found, as a pointer.
    filtered: &'s str,
    /// An element of a list.
    element: Option<usize>,
    /// A member of a pair.
    member: Option<&'s str>,
    /// An element of a list that is this member.
    item: Option<usize>,
}

impl Below<'_> {
    /// Writes it as the end of a pointer.
    fn write(&self, out: &mut String) {
        out.push_str(self.filtered);
        write_index(self.element, out);
        if let Some(member) = self.member {
            out.push('/');
            out.push_str(&escape(member));
        }
        write_index(self.item, out);
    }
}

fn write_index(index: Option<usize>, out: &mut String) {
    use std::fmt::Write as _;
    if let Some(index) = index {
        // Writing to a string cannot fail.
        let _ = write!(out, "/{index}");
    }
}

/// Takes one entity with the places where it stands.
type Emit<'e> = &'e mut dyn FnMut(EntityKind, &str, &[Spot<'_>]);

/// One alert and what was captured of it.
#[derive(Clone, Copy)]
struct Reading<'r, 'a> {
    plan: &'r Plan,
    text: &'a str,
    notes: &'r Notes,
}

impl<'r, 'a> Reading<'r, 'a> {
    /// The rule of a capture, when it is one of this format and its conditions hold.
    fn applies(&self, format: u16, capture: &Capture) -> Option<&'r Placed> {
        let placed = self.plan.rules.get(usize::from(capture.slot.rule))?;
        let holds = placed.when.iter().all(|(test, wanted)| self.notes.held(*test) == *wanted);
        (placed.format == format && holds).then_some(placed)
    }

    /// Finds, for each rule that takes only the first source that yields something, which one that is.
    fn choose(&self, format: u16, memory: &mut Memory) {
        memory.winners.clear();
        memory.desk.done.clear();
        for capture in &self.notes.captures {
            let Some(placed) = self.applies(format, capture).filter(|placed| placed.rule.first) else {
                continue;
            };
            let rule = usize::from(capture.slot.rule);
            if memory.winners.len() <= rule {
                memory.winners.resize(rule + 1, u16::MAX);
            }
            let Some(winner) = memory.winners.get_mut(rule) else { continue };
            if capture.slot.source < *winner {
                self.read(placed, capture, &mut memory.desk, &mut |_, _, _| *winner = capture.slot.source);
            }
        }
    }

    /// Reads one capture by its rule; `emit` gets each entity with its places.
    fn read(&self, placed: &Placed, capture: &Capture, desk: &mut Desk, emit: Emit<'_>) {
        let token = self.token(capture);
        match placed.rule.sources.get(usize::from(capture.slot.source)) {
            None => {}
            Some(Source::Template(pieces)) => {
                let key = (capture.slot.rule, capture.slot.source);
                if !desk.done.contains(&key) {
                    desk.done.push(key);
                    if self.fill(pieces, capture, desk).is_some() {
                        identify(placed, &desk.filled, &desk.spots, emit);
                    }
                }
            }
            Some(Source::Place(place)) => match place.first().and_then(|path| path.rest.as_ref()) {
                None => take(placed, token, capture.place, Below::default(), &mut desk.text, emit),
                Some(rest) => {
                    // The library wants a tree. Deeper than its limit there is nothing to find.
                    let Ok(tree) = serde_json::from_str(token) else { return };
                    let mut pieces = Pieces::default();
                    for node in rest.query_located(&tree).iter() {
                        let filtered = &*node.location().to_json_pointer();
                        // The tree has numbers as floats; the text has them as written.
                        if let Some(token) = pieces.at(token, filtered) {
                            let below = Below { filtered, ..Below::default() };
                            take_each(placed, token, capture.place, below, &mut desk.text, emit);
                        }
                    }
                }
            },
        }
    }

    fn token(&self, capture: &Capture) -> &'a str {
        self.text.get(capture.start as usize..capture.end as usize).unwrap_or_default()
    }

    /// Fills a template with the first text of each of its places; `None` when one has none.
    fn fill(&self, pieces: &[Piece], first: &Capture, desk: &mut Desk) -> Option<()> {
        desk.filled.clear();
        desk.spots.clear();
        let mut number = 0;
        for piece in pieces {
            match piece {
                Piece::Text(text) => desk.filled.push_str(text),
                Piece::Place(_) => {
                    let wanted = super::plan::Slot { piece: number, ..first.slot };
                    let capture = self.notes.captures.iter().find(|capture| capture.slot == wanted)?;
                    let token = self.token(capture);
                    desk.filled.push_str(value::text(token, &mut desk.text)?);
                    desk.spots.push(spot(token, capture.place, Below::default()));
                    number += 1;
                }
            }
        }
        desk.spots.sort_by_key(|spot| spot.address);
        Some(())
    }

    /// Writes the pointer to a place.
    fn write_pointer(&self, spot: Spot<'_>, out: &mut String) {
        self.write_place(spot.place, out);
        spot.below.write(out);
    }

    fn write_place(&self, place: u32, out: &mut String) {
        if place == ROOT {
            return;
        }
        let Some(step) = self.notes.steps.get(place as usize) else { return };
        self.write_place(step.above, out);
        match step.how {
            How::Named(node) => {
                out.push('/');
                out.push_str(self.plan.node(node).map_or("", |node| &node.token));
            }
            How::Index(index) => write_index(Some(index as usize), out),
            How::Key(start, end) => {
                out.push('/');
                out.push_str(&escape(self.notes.keys.get(start as usize..end as usize).unwrap_or_default()));
            }
        }
    }
}

/// Writes down what is found until all of it is.
fn put_off(alert: &str, late: &mut Late, kind: EntityKind, id: &str, spots: &[Spot<'_>]) {
    let Some(Spot { address, .. }) = spots.first().copied() else { return };
    let id = found::Piece::new(alert, id, &mut late.text);
    let first = late.spots.len();
    for spot in spots {
        if late.pointers < found::MAX_POINTERS {
            let start = late.text.len();
            let below = found::Piece::written(&mut late.text, |text| spot.below.write(text));
            late.pointers += late.text.len() - start;
            late.spots.push((spot.place, below));
        }
    }
    late.finds.push(LateFind { address, first, spots: late.spots.len() - first, kind, id });
}

fn spot<'s>(token: &str, place: u32, below: Below<'s>) -> Spot<'s> {
    Spot { place, below, address: token.as_ptr() as usize }
}

/// Reads the token, or each element of a list.
fn take_each(placed: &Placed, token: &str, place: u32, below: Below<'_>, room: &mut String, emit: Emit<'_>) {
    if token.starts_with('[') && !placed.rule.reads_objects() {
        for (index, element) in raw::elements(token).enumerate() {
            take(placed, element, place, Below { element: Some(index), ..below }, room, emit);
        }
    } else {
        take(placed, token, place, below, room, emit);
    }
}

/// Reads one token by its rule.
fn take(placed: &Placed, token: &str, place: u32, below: Below<'_>, room: &mut String, emit: Emit<'_>) {
    let Read::Pairs { name, value, kinds } = &placed.rule.read else {
        if let Some(id) = value::text(token, room) {
            identify(placed, id, &[spot(token, place, below)], emit);
        }
        return;
    };
    if token.starts_with('[') {
        for (index, element) in raw::elements(token).enumerate() {
            // Lists in lists are not pairs: an object has no elements, so this goes one level down only.
            if element.starts_with('{') {
                take(placed, element, place, Below { element: Some(index), ..below }, room, emit);
            }
        }
        return;
    }
    let label = raw::members(token).find(|(key, _)| key.says(name));
    let label = label.and_then(|(_, token)| value::text(token, room));
    let Some(kinds) = label.and_then(|label| kinds_of(kinds, label)) else { return };
    let below = Below { member: Some(value), ..below };
    for (_, token) in raw::members(token).filter(|(key, _)| key.says(value)) {
        if token.starts_with('[') {
            for (index, element) in raw::elements(token).enumerate() {
                if let Some(id) = value::text(element, room) {
                    let below = Below { item: Some(index), ..below };
                    decide(placed, kinds, id, &[spot(element, place, below)], emit);
                }
            }
        } else if let Some(id) = value::text(token, room) {
            decide(placed, kinds, id, &[spot(token, place, below)], emit);
        }
    }
}

/// Finds the kinds for a text, and the identifier in it.
fn identify(placed: &Placed, text: &str, spots: &[Spot<'_>], emit: Emit<'_>) {
    match &placed.rule.read {
        Read::Kind { kinds, part: None } => decide(placed, kinds, text, spots, emit),
        Read::Kind { kinds, part: Some((separator, part)) } => {
            let id = match (text.split_once(separator.as_str()), part) {
                (Some((before, _)), Part::Before) => before,
                (Some((_, after)), Part::After) => after,
                (None, Part::Before) => text,
                (None, Part::After) => return,
            };
            decide(placed, kinds, id.trim(), spots, emit);
        }
        Read::Labels { separator, kinds } => {
            let Some((label, id)) = text.split_once(separator.as_str()) else { return };
            let Some(kinds) = kinds_of(kinds, label) else { return };
            decide(placed, kinds, id.trim(), spots, emit);
        }
        Read::Pairs { .. } => {}
    }
}

/// Emits the identifier when it is one.
fn decide(placed: &Placed, kinds: &Kinds, id: &str, spots: &[Spot<'_>], emit: Emit<'_>) {
    if !id.is_empty()
        && let Some(kind) = kinds.of(id)
        && !placed.rule.ignored.holds(kind, id)
    {
        emit(kind, id, spots);
    }
}
