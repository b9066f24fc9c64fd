//! Step 3: from what the pass captured to the entities of the alert.
//!
//! Owns recognising the format, reading captures by their rules, and telling two spellings of one entity from two
//! entities. Contract: entities come in document order, each once, with the places where it stands; at most
//! so many as asked for, the rest counted.

use std::borrow::Cow;
use std::ops::Range;

use super::found::Store;
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
    /// Templates that are done, by rule and source.
    joined: Vec<(u16, u16)>,
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
    memory.joined.clear();
    let Memory { store, winners, joined } = memory;
    let mut add = |kind, id: Cow<'_, str>, spots: &[Spot<'_>]| {
        if let Some(position) = store.add(text, kind, id, max) {
            for spot in spots {
                store.place(position, |out| reading.write_pointer(*spot, out));
            }
        }
    };
    // What a filter or a list of pairs finds stands later in the document than the value that was captured for it.
    let mut sorted = Vec::new();
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
        reading.read(placed, capture, joined, &mut |kind, id, spots| {
            if sort {
                let owned: Vec<_> =
                    spots.iter().map(|spot| (spot.place, spot.below.to_owned(), spot.address)).collect();
                sorted.push((kind, id, owned));
            } else {
                add(kind, id, spots);
            }
        });
    }
    sorted.sort_by_key(|(_, _, spots)| spots.first().map(|(_, _, address)| *address));
    for (kind, id, spots) in sorted {
        let spots: Vec<_> = spots
            .iter()
            .map(|(place, below, address)| Spot { place: *place, below, address: *address })
            .collect();
        add(kind, id, &spots);
    }
}

/// Where an identifier stands.
#[derive(Clone, Copy)]
struct Spot<'s> {
    /// Of what was captured.
    place: u32,
    /// What is below that, as the end of a pointer.
    below: &'s str,
    /// Address of the token, which tells the order in the document.
    address: usize,
}

/// Takes one entity with the places where it stands.
type Emit<'e, 'a> = &'e mut dyn FnMut(EntityKind, Cow<'a, str>, &[Spot<'_>]);

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
        memory.joined.clear();
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
                self.read(placed, capture, &mut memory.joined, &mut |_, _, _| *winner = capture.slot.source);
            }
        }
    }

    /// Reads one capture by its rule; `emit` gets each entity with its places.
    fn read(&self, placed: &Placed, capture: &Capture, joined: &mut Vec<(u16, u16)>, emit: Emit<'_, 'a>) {
        let token = self.token(capture);
        match placed.rule.sources.get(usize::from(capture.slot.source)) {
            None => {}
            Some(Source::Template(pieces)) => {
                let key = (capture.slot.rule, capture.slot.source);
                if !joined.contains(&key) {
                    joined.push(key);
                    if let Some((id, spots)) = self.join(pieces, capture) {
                        identify(placed, id, &spots, emit);
                    }
                }
            }
            Some(Source::Place(place)) => match place.first().and_then(|path| path.rest.as_ref()) {
                None => take(placed, token, capture.place, "", emit),
                Some(rest) => {
                    // The library wants a tree. Deeper than its limit there is nothing to find.
                    let Ok(tree) = serde_json::from_str(token) else { return };
                    let mut pieces = Pieces::default();
                    for node in rest.query_located(&tree).iter() {
                        let below = node.location().to_json_pointer();
                        // The tree has numbers as floats; the text has them as written.
                        if let Some(token) = pieces.at(token, &below) {
                            take_each(placed, token, capture.place, &below, emit);
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
    fn join(&self, pieces: &[Piece], first: &Capture) -> Option<(Cow<'a, str>, Vec<Spot<'static>>)> {
        let mut id = String::new();
        let mut places = Vec::new();
        let mut number = 0;
        for piece in pieces {
            match piece {
                Piece::Text(text) => id.push_str(text),
                Piece::Place(_) => {
                    let wanted = super::plan::Slot { piece: number, ..first.slot };
                    let (at, capture) =
                        self.notes.captures.iter().enumerate().find(|(_, capture)| capture.slot == wanted)?;
                    id.push_str(&value::text(self.token(capture))?);
                    places.push((at, spot(self.token(capture), capture.place, "")));
                    number += 1;
                }
            }
        }
        places.sort_unstable_by_key(|(at, _)| *at);
        Some((id.into(), places.into_iter().map(|(_, spot)| spot).collect()))
    }

    /// Writes the pointer to a place.
    fn write_pointer(&self, spot: Spot<'_>, out: &mut String) {
        self.write_place(spot.place, out);
        out.push_str(spot.below);
    }

    fn write_place(&self, place: u32, out: &mut String) {
        if place == ROOT {
            return;
        }
        let Some(step) = self.notes.steps.get(place as usize) else { return };
        self.write_place(step.above, out);
        out.push('/');
        match step.how {
            How::Named(node) => out.push_str(self.plan.node(node).map_or("", |node| &node.token)),
            How::Index(index) => {
                use std::fmt::Write as _;
                // Writing to a string cannot fail.
                let _ = write!(out, "{index}");
            }
            How::Key(start, end) => {
                out.push_str(&escape(self.notes.keys.get(start as usize..end as usize).unwrap_or_default()));
            }
        }
    }
}

fn spot<'s>(token: &str, place: u32, below: &'s str) -> Spot<'s> {
    Spot { place, below, address: token.as_ptr() as usize }
}

/// Reads the token, or each element of a list.
fn take_each<'a>(placed: &Placed, token: &'a str, place: u32, below: &str, emit: Emit<'_, 'a>) {
    if token.starts_with('[') && !placed.rule.reads_objects() {
        for (index, element) in raw::elements(token).into_iter().enumerate() {
            take(placed, element, place, &format!("{below}/{index}"), emit);
        }
    } else {
        take(placed, token, place, below, emit);
    }
}

/// Reads one token by its rule.
fn take<'a>(placed: &Placed, token: &'a str, place: u32, below: &str, emit: Emit<'_, 'a>) {
    let Read::Pairs { name, value, kinds } = &placed.rule.read else {
        if let Some(id) = value::text(token) {
            identify(placed, id, &[spot(token, place, below)], emit);
        }
        return;
    };
    if token.starts_with('[') {
        for (index, element) in raw::elements(token).into_iter().enumerate() {
            // Lists in lists are not pairs: an object has no elements, so this goes one level down only.
            if element.starts_with('{') {
                take(placed, element, place, &format!("{below}/{index}"), emit);
            }
        }
        return;
    }
    let members = raw::members(token);
    let label = members.iter().find(|(key, _)| key == name).and_then(|(_, token)| value::text(token));
    let Some(kinds) = label.and_then(|label| kinds_of(kinds, &label)) else { return };
    for (_, token) in members.iter().filter(|(key, _)| key == value) {
        let below = format!("{below}/{}", escape(value));
        if token.starts_with('[') {
            for (index, element) in raw::elements(token).into_iter().enumerate() {
                if let Some(id) = value::text(element) {
                    decide(placed, kinds, id, &[spot(element, place, &format!("{below}/{index}"))], emit);
                }
            }
        } else if let Some(id) = value::text(token) {
            decide(placed, kinds, id, &[spot(token, place, &below)], emit);
        }
    }
}

/// Finds the kinds for a text, and the identifier in it.
fn identify<'a>(placed: &Placed, text: Cow<'a, str>, spots: &[Spot<'_>], emit: Emit<'_, 'a>) {
    match &placed.rule.read {
        Read::Kind { kinds, part: None } => decide(placed, kinds, text, spots, emit),
        Read::Kind { kinds, part: Some((separator, part)) } => {
            let range = match (text.find(separator.as_str()), part) {
                (Some(at), Part::Before) => 0..at,
                (Some(at), Part::After) => at + separator.len()..text.len(),
                (None, Part::Before) => 0..text.len(),
                (None, Part::After) => return,
            };
            decide(placed, kinds, slice(text, range), spots, emit);
        }
        Read::Labels { separator, kinds } => {
            let Some((label, _)) = text.split_once(separator.as_str()) else { return };
            let Some(kinds) = kinds_of(kinds, label) else { return };
            let range = label.len() + separator.len()..text.len();
            decide(placed, kinds, slice(text, range), spots, emit);
        }
        Read::Pairs { .. } => {}
    }
}

/// A piece of a text, white space around it cut.
fn slice(text: Cow<'_, str>, range: Range<usize>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(range).unwrap_or_default().trim()),
        Cow::Owned(text) => Cow::Owned(text.get(range).unwrap_or_default().trim().to_owned()),
    }
}

/// Emits the identifier when it is one.
fn decide<'a>(placed: &Placed, kinds: &Kinds, id: Cow<'a, str>, spots: &[Spot<'_>], emit: Emit<'_, 'a>) {
    if !id.is_empty()
        && let Some(kind) = kinds.of(&id)
        && !placed.rule.ignored.holds(kind, &id)
    {
        emit(kind, id, spots);
    }
}
