//! The one pass over an alert: a `serde_json` visitor that descends only where the plan asks, and skips the rest.
//!
//! Contract: it validates the whole document (unless it is lenient), notes which tests hold, captures what rules ask for as byte
//! ranges of the input, and finds the output member. It decides nothing: [`super::extract`] does. Its recursion
//! is bounded by the depth of the plan, never by the alert; what is skipped is skipped iteratively.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Occurrence;
use super::plan::{NodeId, Plan, Slot};
use super::shape;
use super::value;

/// No place above: the alert itself.
pub(crate) const ROOT: u32 = u32::MAX;

/// One step of a place in this alert, linked to the step above.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// The step above, or [`ROOT`].
    pub above: u32,
    /// How it goes down.
    pub how: How,
}

/// How a step goes down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// To a member that the plan names.
    Named(NodeId),
    /// To an element.
    Index(u32),
    /// To a member that a wildcard met: its key as a range of [`Notes::keys`].
    Key(u32, u32),
}

/// A value that a rule asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capture {
    /// Who asked.
    pub slot: Slot,
    /// Where it stands.
    pub place: u32,
    /// First byte of its token in the input.
    pub start: u32,
    /// End of its token in the input.
    pub end: u32,
}

/// What one pass writes down. Reused, so that a pass allocates only while these grow.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// A bit for each test that held.
    pub held: Vec<u64>,
    /// Steps of the places of captures.
    pub steps: Vec<Step>,
    /// Keys that wildcards met.
    pub keys: String,
    /// What was captured, in document order.
    pub captures: Vec<Capture>,
}

impl Notes {
    /// Makes ready for a pass with so many tests; gives back what one huge alert made it hold.
    pub fn clear(&mut self, tests: usize) {
        const KEEP: usize = 4096;
        self.held.clear();
        self.held.resize(tests.div_ceil(64), 0);
        self.steps.clear();
        self.steps.shrink_to(KEEP);
        self.keys.clear();
        self.keys.shrink_to(KEEP);
        self.captures.clear();
        self.captures.shrink_to(KEEP);
    }

    /// Whether a test held.
    pub fn held(&self, test: u16) -> bool {
        self.held.get(usize::from(test / 64)).is_some_and(|word| word >> (test % 64) & 1 == 1)
    }

    fn hold(&mut self, test: u16) {
        if let Some(word) = self.held.get_mut(usize::from(test / 64)) {
            *word |= 1 << (test % 64);
        }
    }
}

/// The state of one pass.
pub(crate) struct Walk<'w, 'a> {
    /// What to look for.
    pub plan: &'w Plan,
    /// The whole document.
    pub text: &'a str,
    /// Where to write down.
    pub notes: &'w mut Notes,
    /// The output member's name.
    pub member: &'w str,
    /// Its occurrences.
    pub members: Vec<Occurrence>,
    /// Whether the root has any member.
    pub any_member: bool,
    /// For a document that was checked by other means: take keys as bytes, and look at every value as a token before
    /// walking it. Slower, but it reads numbers and escapes that are valid JSON and too much for the parser's types.
    pub lenient: bool,
}

impl<'a> Walk<'_, 'a> {
    /// Reads the document, which must be an object.
    pub fn run(&mut self) -> Result<(), serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(self.text);
        parser.deserialize_map(Root { walk: self })?;
        parser.end()
    }

    /// Offset in the document of a piece of it.
    fn offset(&self, piece: &str) -> usize {
        (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }

    /// Reads a value at `node` that was already seen as a token.
    fn token(&mut self, node: NodeId, place: u32, token: &'a str) -> Result<(), serde_json::Error> {
        let plan = self.plan;
        let Some(asked) = plan.node(node) else { return Ok(()) };
        if token == "null" {
            return Ok(());
        }
        asked.present.iter().for_each(|test| self.notes.hold(*test));
        for slot in &asked.wholes {
            self.capture(*slot, place, token);
        }
        let list = token.starts_with('[');
        if !list {
            self.leaf(node, place, token);
        } else if !(asked.values.is_empty() && asked.texts.is_empty()) {
            let mut parser = serde_json::Deserializer::from_str(token);
            parser.deserialize_seq(Texts { walk: self, node, place })?;
        }
        if asked.has_children() && (list || token.starts_with('{')) {
            let mut parser = serde_json::Deserializer::from_str(token);
            parser.deserialize_any(At { walk: self, node, place })?;
        }
        Ok(())
    }

    /// Tests and captures one text.
    fn leaf(&mut self, node: NodeId, place: u32, token: &'a str) {
        let plan = self.plan;
        let Some(asked) = plan.node(node) else { return };
        if !asked.texts.is_empty() && !token.starts_with('{') {
            let text = value::text(token);
            // Flags have no text as identifiers, but conditions may name them.
            let text = text.as_deref().unwrap_or(token);
            for test in &asked.texts {
                if plan
                    .tests
                    .get(usize::from(*test))
                    .is_some_and(|t| t.as_ref().is_some_and(|e| e.accepts(text)))
                {
                    self.notes.hold(*test);
                }
            }
        }
        if token.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
            for slot in &asked.values {
                self.capture(*slot, place, token);
            }
        }
    }

    fn capture(&mut self, slot: Slot, place: u32, token: &str) {
        let start = self.offset(token);
        // The decoder refuses documents of 4 GiB, so that offsets fit.
        self.notes.captures.push(Capture {
            slot,
            place,
            start: start as u32,
            end: (start + token.len()) as u32,
        });
    }

    /// Goes one step down, reads there, and forgets the step when nothing was captured below it.
    fn down<E>(
        &mut self,
        above: u32,
        how: How,
        read: impl FnOnce(&mut Self, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let (steps, captures) = (self.notes.steps.len(), self.notes.captures.len());
        self.notes.steps.push(Step { above, how });
        read(self, steps as u32)?;
        if self.notes.captures.len() == captures {
            self.notes.steps.truncate(steps);
            if let How::Key(start, _) = how {
                self.notes.keys.truncate(start as usize);
            }
        }
        Ok(())
    }

    /// The child of `node` for a key, and how it is reached.
    fn child(&mut self, node: NodeId, key: &[u8]) -> Option<(NodeId, How)> {
        let asked = self.plan.node(node)?;
        if let Some(child) = asked.named(key) {
            return Some((child, How::Named(child)));
        }
        let any = asked.any?;
        let start = self.notes.keys.len() as u32;
        self.notes.keys.push_str(&String::from_utf8_lossy(key));
        Some((any, How::Key(start, self.notes.keys.len() as u32)))
    }
}

/// A key of the object at a node.
struct Key<'k, 'w, 'a> {
    walk: &'k mut Walk<'w, 'a>,
    node: NodeId,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_, 'de> {
    type Value = Option<(NodeId, How)>;
    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        if self.walk.lenient { key.deserialize_bytes(self) } else { key.deserialize_str(self) }
    }
}

impl Visitor<'_> for Key<'_, '_, '_> {
    type Value = Option<(NodeId, How)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.walk.child(self.node, key.as_bytes()))
    }
    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.walk.child(self.node, key))
    }
}

/// The value at a node.
struct At<'k, 'w, 'a> {
    walk: &'k mut Walk<'w, 'a>,
    node: NodeId,
    place: u32,
}

impl<'de> DeserializeSeed<'de> for At<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        use serde::de::Error as _;
        let walkable = self.walk.plan.node(self.node).is_some_and(|asked| !asked.wants_token());
        if walkable && !self.walk.lenient {
            return value.deserialize_any(self);
        }
        let token = <&RawValue as serde::Deserialize>::deserialize(value)?;
        self.walk.token(self.node, self.place, token.get()).map_err(D::Error::custom)
    }
}

impl At<'_, '_, '_> {
    fn present(self) {
        let plan = self.walk.plan;
        if let Some(asked) = plan.node(self.node) {
            asked.present.iter().for_each(|test| self.walk.notes.hold(*test));
        }
    }
}

impl<'de> Visitor<'de> for At<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        let At { walk, node, place } = self;
        At { walk: &mut *walk, node, place }.present();
        while let Some(child) = members.next_key_seed(Key { walk: &mut *walk, node })? {
            match child {
                None => {
                    members.next_value::<IgnoredAny>()?;
                }
                Some((node, how)) => {
                    walk.down(place, how, |walk, place| members.next_value_seed(At { walk, node, place }))?
                }
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<(), S::Error> {
        let At { walk, node, place } = self;
        At { walk: &mut *walk, node, place }.present();
        let plan = walk.plan;
        let Some(asked) = plan.node(node) else { return Ok(()) };
        for index in 0.. {
            let child = asked.at.iter().find(|(at, _)| *at == index).map(|(_, child)| *child).or(asked.any);
            let more = match child {
                None => elements.next_element::<IgnoredAny>()?.is_some(),
                Some(node) => {
                    let mut more = false;
                    walk.down(place, How::Index(index as u32), |walk, place| {
                        more = elements.next_element_seed(At { walk, node, place })?.is_some();
                        Ok(())
                    })?;
                    more
                }
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.present();
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.present();
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.present();
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.present();
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.present();
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The elements of a list where texts are asked for: each one stands for itself.
struct Texts<'k, 'w, 'a> {
    walk: &'k mut Walk<'w, 'a>,
    node: NodeId,
    place: u32,
}

impl<'de> Visitor<'de> for Texts<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<(), S::Error> {
        let Texts { walk, node, place } = self;
        let mut index = 0;
        while let Some(token) = elements.next_element::<&RawValue>()? {
            walk.down(place, How::Index(index), |walk, place| {
                walk.leaf(node, place, token.get());
                Ok(())
            })?;
            index += 1;
        }
        Ok(())
    }
}

/// The document.
struct Root<'k, 'w, 'a> {
    walk: &'k mut Walk<'w, 'a>,
}

/// A key of the document.
enum RootKey {
    /// The output member (or, when true, its fall-back name), and the child that the plan has for it.
    Member(bool, Option<(NodeId, How)>),
    /// Any other.
    Other(Option<(NodeId, How)>),
}

impl<'de> DeserializeSeed<'de> for Root<'_, '_, 'de> {
    type Value = RootKey;
    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<RootKey, D::Error> {
        let visitor = RootKeyVisitor { walk: self.walk };
        if visitor.walk.lenient { key.deserialize_bytes(visitor) } else { key.deserialize_str(visitor) }
    }
}

struct RootKeyVisitor<'k, 'w, 'a> {
    walk: &'k mut Walk<'w, 'a>,
}

impl Visitor<'_> for RootKeyVisitor<'_, '_, '_> {
    type Value = RootKey;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<RootKey, E> {
        self.visit_bytes(key.as_bytes())
    }
    fn visit_bytes<E>(self, key: &[u8]) -> Result<RootKey, E> {
        let child = self.walk.child(0, key);
        let ours = key == self.walk.member.as_bytes();
        let fallback = !ours && key == shape::FALLBACK.as_bytes();
        Ok(if ours || fallback { RootKey::Member(fallback, child) } else { RootKey::Other(child) })
    }
}

impl<'de> Visitor<'de> for Root<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        use serde::de::Error as _;
        let walk = self.walk;
        while let Some(key) = members.next_key_seed(Root { walk: &mut *walk })? {
            walk.any_member = true;
            match key {
                RootKey::Other(None) => {
                    members.next_value::<IgnoredAny>()?;
                }
                RootKey::Other(Some((node, how))) => {
                    walk.down(ROOT, how, |walk, place| members.next_value_seed(At { walk, node, place }))?
                }
                RootKey::Member(fallback, child) => {
                    let token = members.next_value::<&RawValue>()?.get();
                    let start = walk.offset(token);
                    let ours = shape::is_ours(token);
                    let span = shape::key_start(walk.text, start)..start + token.len();
                    walk.members.push(Occurrence { span, ours, fallback });
                    if let (Some((node, how)), false) = (child, ours) {
                        walk.down(ROOT, how, |walk, place| walk.token(node, place, token))
                            .map_err(M::Error::custom)?;
                    }
                }
            }
        }
        Ok(())
    }
}
