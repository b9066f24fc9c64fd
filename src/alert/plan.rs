//! The paths of many rules as one tree, so that one pass over an alert reads for all of them.
//!
//! Contract: the tree is deterministic. Where a wildcard stands beside a name or an index, what is below the
//! wildcard is copied below these, so that the walk follows one child and never two. Built once.

use std::borrow::Cow;

use super::path::Step;
use super::rule::{Expect, Place, Rule, Source};

/// Index of a [`Node`].
pub(crate) type NodeId = u32;
/// Index of a test; a bit of the walk's notes.
pub(crate) type TestId = u16;

/// One place in alerts that some rule asks about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// Members by name.
    names: Names,
    /// Elements by index.
    pub at: Vec<(usize, NodeId)>,
    /// Every other member and element.
    pub any: Option<NodeId>,
    /// Its last pointer token, escaped, when it was reached by name.
    pub token: Box<str>,
    /// Tests that hold when a value other than null is here.
    pub present: Vec<TestId>,
    /// Tests on the text here.
    pub texts: Vec<TestId>,
    /// Who wants the text, or each text of the list, here.
    pub values: Vec<Slot>,
    /// Who wants the whole value here.
    pub wholes: Vec<Slot>,
}

/// Names, found by their length and ends: whoever writes alerts chooses which are asked for, and not which there are, so
/// that a key costs no more than the names that share these with it.
#[derive(Clone, Debug, Default)]
struct Names {
    all: Vec<(Box<[u8]>, NodeId)>,
    /// Positions in `all`, each name's at its signature or the first free place behind it. At most a quarter is taken.
    table: Vec<u16>,
}

impl Names {
    const FREE: u16 = u16::MAX;

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    #[inline(always)]
    fn get(&self, key: &[u8]) -> Option<NodeId> {
        let mut at = signature(key);
        // Ends at a free place: there always are some.
        while let Some(&position) = self.table.get(at & self.table.len().wrapping_sub(1))
            && let Some((name, id)) = self.all.get(usize::from(position))
        {
            if **name == *key {
                return Some(*id);
            }
            at += 1;
        }
        None
    }

    /// Adds a name that is not there yet.
    fn insert(&mut self, name: Box<[u8]>, id: NodeId) {
        self.all.push((name, id));
        let places = (self.all.len() * 4).next_power_of_two();
        if self.table.len() != places {
            self.table = vec![Self::FREE; places];
            for position in 0..self.all.len() {
                self.place(position);
            }
        } else {
            self.place(self.all.len() - 1);
        }
    }

    fn place(&mut self, position: usize) {
        let Some((name, _)) = self.all.get(position) else { return };
        let mask = self.table.len().wrapping_sub(1);
        let mut at = signature(name) & mask;
        while self.table.get(at).is_some_and(|place| *place != Self::FREE) {
            at = (at + 1) & mask;
        }
        if let Some(place) = self.table.get_mut(at) {
            // Formats name far fewer members than fit.
            *place = u16::try_from(position).unwrap_or(Self::FREE);
        }
    }
}

/// The same for the same key, and mostly different for different ones.
fn signature(key: &[u8]) -> usize {
    let at = |position: usize| key.get(position).copied().map_or(0, usize::from);
    key.len() * 101 + at(0) * 37 + at(key.len() / 2) * 7 + at(key.len().wrapping_sub(1)) * 11
}

impl Node {
    /// The child of this name.
    #[inline(always)]
    pub fn named(&self, key: &[u8]) -> Option<NodeId> {
        self.names.get(key)
    }

    /// Whether anything below is asked about.
    pub fn has_children(&self) -> bool {
        self.any.is_some() || !self.names.is_empty() || !self.at.is_empty()
    }

    /// Whether the value must be seen as text before it is walked.
    pub fn wants_token(&self) -> bool {
        !(self.texts.is_empty() && self.values.is_empty() && self.wholes.is_empty() && self.has_children())
    }
}

/// Who a captured value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Index in [`Plan::rules`].
    pub rule: u16,
    /// Index in the rule's sources.
    pub source: u16,
    /// Index among the template's paths.
    pub piece: u16,
}

/// One way to recognise a format: all the tests must come out as said.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    /// Position of the format among its [`super::Formats`].
    pub format: u16,
    /// What must hold (true) or not hold (false).
    pub needs: Vec<(TestId, bool)>,
    /// For the order: higher wins.
    pub priority: i64,
}

/// A compiled set of formats.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The tree; the root is the first.
    pub nodes: Vec<Node>,
    /// What each test on a text expects; `None` for tests of presence.
    pub tests: Vec<Option<Expect>>,
    /// The rules of all formats, with the format of each and the tests under which it applies.
    pub rules: Vec<Placed>,
    /// Best first: the first that holds names the format.
    pub alternatives: Vec<Alternative>,
}

/// A rule in a plan.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// The format that it belongs to.
    pub format: u16,
    /// The rule.
    pub rule: Rule,
    /// Tests that must come out so.
    pub when: Vec<(TestId, bool)>,
    /// [`Rule::reads_further`].
    pub further: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { nodes: vec![Node::default()], tests: Vec::new(), rules: Vec::new(), alternatives: Vec::new() }
    }
}

impl Plan {
    /// The node of this id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    /// Puts a condition into the tree: the test, and how it must come out.
    pub fn condition(&mut self, place: &Place, expect: &Expect) -> (TestId, bool) {
        let id = u16::try_from(self.tests.len()).unwrap_or(u16::MAX);
        let (test, wanted) = match expect {
            Expect::Present => (None, true),
            Expect::Absent => (None, false),
            text => (Some(text.clone()), true),
        };
        let presence = test.is_none();
        self.tests.push(test);
        for path in place {
            self.insert(&path.steps, &mut |node| {
                if presence { node.present.push(id) } else { node.texts.push(id) }
            });
        }
        (id, wanted)
    }

    /// Puts a rule with its paths into the tree.
    pub fn rule(&mut self, format: u16, rule: &Rule) {
        let when = rule.when.iter().map(|(place, expect)| self.condition(place, expect)).collect();
        let index = u16::try_from(self.rules.len()).unwrap_or(u16::MAX);
        for (source, places) in rule.sources.iter().map(Source::places).enumerate() {
            for (piece, place) in places.enumerate() {
                let slot = Slot { rule: index, source: source as u16, piece: piece as u16 };
                for path in place {
                    let whole = rule.reads_objects() || path.rest.is_some();
                    self.insert(&path.steps, &mut |node| {
                        add_new(if whole { &mut node.wholes } else { &mut node.values }, &[slot]);
                    });
                }
            }
        }
        self.rules.push(Placed { format, rule: rule.clone(), when, further: rule.reads_further() });
    }

    /// Ends the building: resolves wildcards and orders the alternatives. The sort is stable, so that the order
    /// of the formats decides between equals.
    pub fn finish(mut self) -> Self {
        self.resolve(0);
        self.alternatives.sort_by_key(|a| std::cmp::Reverse((a.priority, a.needs.len())));
        self
    }

    fn insert(&mut self, steps: &[Step], act: &mut dyn FnMut(&mut Node)) {
        let mut ends = vec![0];
        for step in steps {
            let mut next = Vec::with_capacity(ends.len());
            for node in ends {
                match step {
                    Step::Name(name) => next.push(self.named(node, name)),
                    Step::Index(index) => next.push(self.indexed(node, *index)),
                    Step::Any => next.push(self.wild(node)),
                    Step::Token(token) => {
                        next.push(self.named(node, token));
                        let index = token.parse::<usize>().ok().filter(|i| i.to_string() == *token);
                        next.extend(index.map(|index| self.indexed(node, index)));
                    }
                }
            }
            ends = next;
        }
        for node in ends {
            if let Some(node) = self.nodes.get_mut(node as usize) {
                act(node);
            }
        }
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    fn named(&mut self, at: NodeId, name: &str) -> NodeId {
        if let Some(id) = self.node(at).and_then(|n| n.named(name.as_bytes())) {
            return id;
        }
        let token = escape(name).into();
        let id = self.add(Node { token, ..Node::default() });
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.names.insert(name.as_bytes().into(), id);
        }
        id
    }

    fn indexed(&mut self, at: NodeId, index: usize) -> NodeId {
        if let Some((_, id)) = self.node(at).and_then(|n| n.at.iter().find(|(i, _)| *i == index)) {
            return *id;
        }
        let id = self.add(Node::default());
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.at.push((index, id));
        }
        id
    }

    fn wild(&mut self, at: NodeId) -> NodeId {
        if let Some(id) = self.node(at).and_then(|n| n.any) {
            return id;
        }
        let id = self.add(Node::default());
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.any = Some(id);
        }
        id
    }

    /// Copies what is below each wildcard below its named and indexed siblings.
    fn resolve(&mut self, at: NodeId) {
        let Some(node) = self.node(at).cloned() else { return };
        let siblings: Vec<NodeId> =
            node.names.all.iter().map(|(_, id)| *id).chain(node.at.iter().map(|(_, id)| *id)).collect();
        if let Some(any) = node.any {
            for sibling in &siblings {
                self.merge(any, *sibling);
            }
        }
        for child in siblings.into_iter().chain(node.any) {
            self.resolve(child);
        }
    }

    /// Adds everything at and below `from` to `to`.
    fn merge(&mut self, from: NodeId, to: NodeId) {
        let Some(source) = self.node(from).cloned() else { return };
        if let Some(target) = self.nodes.get_mut(to as usize) {
            add_new(&mut target.present, &source.present);
            add_new(&mut target.texts, &source.texts);
            add_new(&mut target.values, &source.values);
            add_new(&mut target.wholes, &source.wholes);
        }
        for (name, child) in &source.names.all {
            let same = self.named(to, &String::from_utf8_lossy(name));
            self.merge(*child, same);
        }
        for (index, child) in &source.at {
            let same = self.indexed(to, *index);
            self.merge(*child, same);
        }
        if let Some(child) = source.any {
            let same = self.wild(to);
            self.merge(child, same);
        }
    }
}

fn add_new<T: PartialEq + Copy>(to: &mut Vec<T>, from: &[T]) {
    for item in from {
        if !to.contains(item) {
            to.push(*item);
        }
    }
}

/// A name as a token of a pointer (RFC 6901).
pub(crate) fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) {
        Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_nothing_else() {
        let mut names = Names::default();
        assert_eq!(names.get(b""), None);
        // Many share their length, ends and middle.
        let all: Vec<String> =
            (0..500).map(|number| format!("a{}m{}z", number / 25 % 20, number % 25)).collect();
        for (id, name) in all.iter().enumerate() {
            assert_eq!(names.get(name.as_bytes()), None);
            names.insert(name.as_bytes().into(), id as NodeId);
        }
        for (id, name) in all.iter().enumerate() {
            assert_eq!(names.get(name.as_bytes()), Some(id as NodeId), "{name}");
        }
        for other in ["", "a", "az", "a0m0zz", "b0m0z", "risk"] {
            assert_eq!(names.get(other.as_bytes()), None, "{other}");
        }
    }
}
