//! The one pass over an alert: it descends only where the plan asks, and skips the rest.
//!
//! Contract: it checks the whole document, notes which tests hold, captures what rules ask for as byte ranges of the input,
//! and finds the output member. It decides nothing: [`super::extract`] does. Its recursion is bounded by the depth of the
//! plan, never by the alert; what is skipped is skipped iteratively.

use super::Occurrence;
use super::plan::{NodeId, Plan, Slot};
use super::scan::{self, NotJson, Open, Scanner};
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
    /// Brackets that are open in what is skipped.
    open: Open,
    /// A text without its escapes.
    said: String,
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
        self.open.clear();
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
    /// How far it is.
    pub scan: Scanner<'a>,
}

impl<'a> Walk<'_, 'a> {
    /// Reads the document, which must be an object.
    // A loop of its own: inlined into its only caller it costs 2 % more, as counted by `benches/instructions.rs`.
    #[inline(never)]
    pub fn run(&mut self) -> Result<(), NotJson> {
        let mut more = self.scan.enter(b'{', b'}')?;
        while more {
            self.any_member = true;
            let key = self.scan.key()?;
            let name = key.name();
            let ours = name == self.member;
            let fallback = !ours && name == shape::FALLBACK;
            match self.child(0, &name) {
                child if ours || fallback => self.occurrence(&key, child, fallback)?,
                None => self.scan.skip(&mut self.notes.open)?,
                Some((node, how)) => self.down(ROOT, how, |walk, place| walk.value(node, place))?,
            }
            more = self.scan.goes_on(b'}')?;
        }
        if self.scan.is_over() { Ok(()) } else { Err(NotJson) }
    }

    /// Reads the output member, or what has its name.
    fn occurrence(
        &mut self,
        key: &scan::Key<'_>,
        child: Option<(NodeId, How)>,
        fallback: bool,
    ) -> Result<(), NotJson> {
        let token = self.scan.value(&mut self.notes.open)?;
        let ours = shape::is_ours(token);
        self.members.push(Occurrence { span: key.start..self.scan.offset(), ours, fallback });
        match child {
            Some((node, how)) if !ours => self.down(ROOT, how, |walk, place| walk.token(node, place, token)),
            _ => Ok(()),
        }
    }

    /// Reads the value at `node`.
    fn value(&mut self, node: NodeId, place: u32) -> Result<(), NotJson> {
        let plan = self.plan;
        let Some(asked) = plan.node(node) else { return self.scan.skip(&mut self.notes.open) };
        if asked.wants_token() {
            let token = self.scan.value(&mut self.notes.open)?;
            return self.token(node, place, token);
        }
        match self.scan.peek() {
            b'{' => self.object(node, place),
            b'[' => self.list(node, place),
            first => {
                if first != b'n' {
                    asked.present.iter().for_each(|test| self.notes.hold(*test));
                }
                self.scan.skip(&mut self.notes.open)
            }
        }
    }

    fn object(&mut self, node: NodeId, place: u32) -> Result<(), NotJson> {
        self.present(node);
        let mut more = self.scan.enter(b'{', b'}')?;
        while more {
            let key = self.scan.key()?;
            match self.child(node, &key.name()) {
                None => self.scan.skip(&mut self.notes.open)?,
                Some((node, how)) => self.down(place, how, |walk, place| walk.value(node, place))?,
            }
            more = self.scan.goes_on(b'}')?;
        }
        Ok(())
    }

    fn list(&mut self, node: NodeId, place: u32) -> Result<(), NotJson> {
        self.present(node);
        let plan = self.plan;
        let Some(asked) = plan.node(node) else { return Ok(()) };
        let mut more = self.scan.enter(b'[', b']')?;
        let mut index = 0;
        while more {
            let named = asked.at.iter().find(|(at, _)| *at == index).map(|(_, child)| *child);
            match named.or(asked.any) {
                None => self.scan.skip(&mut self.notes.open)?,
                Some(node) => {
                    self.down(place, How::Index(index as u32), |walk, place| walk.value(node, place))?;
                }
            }
            index += 1;
            more = self.scan.goes_on(b']')?;
        }
        Ok(())
    }

    fn present(&mut self, node: NodeId) {
        let plan = self.plan;
        if let Some(asked) = plan.node(node) {
            asked.present.iter().for_each(|test| self.notes.hold(*test));
        }
    }

    /// Offset in the document of a piece of it.
    fn offset(&self, piece: &str) -> usize {
        (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }

    /// Reads a value at `node` that was already passed, as `token`.
    fn token(&mut self, node: NodeId, place: u32, token: &'a str) -> Result<(), NotJson> {
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
            self.again(token, |walk| walk.texts(node, place))?;
        }
        if asked.has_children() {
            if list {
                self.again(token, |walk| walk.list(node, place))?;
            } else if token.starts_with('{') {
                self.again(token, |walk| walk.object(node, place))?;
            }
        }
        Ok(())
    }

    /// Reads a token once more, then goes on behind it.
    fn again(
        &mut self,
        token: &str,
        read: impl FnOnce(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        let behind = self.scan;
        self.scan = Scanner::from(self.text, self.offset(token));
        read(self)?;
        self.scan = behind;
        Ok(())
    }

    /// Reads the elements of a list where texts are asked for: each one stands for itself.
    fn texts(&mut self, node: NodeId, place: u32) -> Result<(), NotJson> {
        let mut more = self.scan.enter(b'[', b']')?;
        let mut index = 0;
        while more {
            let token = self.scan.value(&mut self.notes.open)?;
            self.down(place, How::Index(index), |walk, place| {
                walk.leaf(node, place, token);
                Ok::<(), NotJson>(())
            })?;
            index += 1;
            more = self.scan.goes_on(b']')?;
        }
        Ok(())
    }

    /// Tests and captures one text.
    fn leaf(&mut self, node: NodeId, place: u32, token: &'a str) {
        let plan = self.plan;
        let Some(asked) = plan.node(node) else { return };
        if !asked.texts.is_empty() && !token.starts_with('{') {
            let mut said = std::mem::take(&mut self.notes.said);
            // Flags have no text as identifiers, but conditions may name them.
            let text = value::text(token, &mut said).unwrap_or(token);
            for test in &asked.texts {
                let expected = plan.tests.get(usize::from(*test)).and_then(Option::as_ref);
                if expected.is_some_and(|expected| expected.accepts(text)) {
                    self.notes.hold(*test);
                }
            }
            self.notes.said = said;
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
    // Once for each member of an alert: called, this and what it calls cost 2 % of all instructions.
    #[inline(always)]
    fn child(&mut self, node: NodeId, key: &str) -> Option<(NodeId, How)> {
        let asked = self.plan.node(node)?;
        if let Some(child) = asked.named(key.as_bytes()) {
            return Some((child, How::Named(child)));
        }
        let any = asked.any?;
        let start = self.notes.keys.len() as u32;
        self.notes.keys.push_str(key);
        Some((any, How::Key(start, self.notes.keys.len() as u32)))
    }
}
