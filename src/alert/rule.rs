//! A format's rules, read and checked, before they become a plan.
//!
//! Owns the meaning of the rule language of `config/formats/README.md`: the types here say what can be
//! written. Pure.

use super::path::{Path, Step};
use super::value::{Ignored, Kinds};

/// One place in an alert: the ways in which its path may be written there, the plain one first.
pub(crate) type Place = Vec<Path>;

/// One alert format.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    /// Its name.
    pub name: String,
    /// The provider type whose own alerts these are.
    pub vendor: Option<String>,
    /// The format that it stands for from now on.
    pub replaces: Option<String>,
    /// Higher wins when several formats recognise an alert.
    pub priority: i64,
    /// Ways to recognise it; in each, all the conditions must hold.
    pub recognise: Vec<Vec<(Place, Expect)>>,
    /// Where its entities are.
    pub rules: Vec<Rule>,
}

/// What a condition expects of the value at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// It is there and not null.
    Present,
    /// It is not there, or null.
    Absent,
    /// It is one of these texts (numbers and flags as written); in a list, any element is.
    OneOf(Vec<String>),
    /// It is a text that begins so.
    Prefix(String),
}

impl Expect {
    /// Whether a text fulfils it.
    pub fn accepts(&self, text: &str) -> bool {
        match self {
            Expect::OneOf(texts) => texts.iter().any(|t| t == text),
            Expect::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Expect::Present | Expect::Absent => false,
        }
    }
}

/// One rule: where identifiers are, and what they name.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Where.
    pub sources: Vec<Source>,
    /// Whether only the first source counts that yields an entity.
    pub first: bool,
    /// How the value is read.
    pub read: Read,
    /// Which texts are no identifiers.
    pub ignored: Ignored,
    /// Under which conditions it applies.
    pub when: Vec<(Place, Expect)>,
}

impl Rule {
    /// Whether it reads whole objects rather than texts.
    pub fn reads_objects(&self) -> bool {
        matches!(self.read, Read::Pairs { .. })
    }

    /// Whether what it captures is read further, rather than being the text itself.
    pub fn reads_further(&self) -> bool {
        let mut paths = self.sources.iter().flat_map(Source::places).flatten();
        self.reads_objects() || paths.any(|path| path.rest.is_some())
    }
}

/// Where an identifier comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// One place.
    Place(Place),
    /// Joined from several: `arn:aws:iam::{/accountId}:user/{/userName}`.
    Template(Vec<Piece>),
}

impl Source {
    /// The places that it reads, in the order of writing.
    pub fn places(&self) -> Box<dyn Iterator<Item = &Place> + '_> {
        match self {
            Source::Place(place) => Box::new(std::iter::once(place)),
            Source::Template(pieces) => Box::new(pieces.iter().filter_map(|piece| match piece {
                Piece::Place(place) => Some(place),
                Piece::Text(_) => None,
            })),
        }
    }

    /// The same with every place replaced.
    pub fn map(&self, place: impl Fn(&Place) -> Place) -> Source {
        match self {
            Source::Place(old) => Source::Place(place(old)),
            Source::Template(pieces) => Source::Template(
                pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Place(old) => Piece::Place(place(old)),
                        text => text.clone(),
                    })
                    .collect(),
            ),
        }
    }
}

/// A piece of a template.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// As it stands.
    Text(String),
    /// The text at a place.
    Place(Place),
}

/// How a captured value becomes an identifier and a kind.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    /// The text, or one part of it, is the identifier.
    Kind {
        /// What it names.
        kinds: Kinds,
        /// Which part of the text, when not all of it.
        part: Option<(String, Part)>,
    },
    /// The text is a label, the separator and the identifier; the label tells the kind.
    Labels {
        /// Between label and identifier; the first one counts.
        separator: String,
        /// Kind by label, compared without ASCII case.
        kinds: Vec<(String, Kinds)>,
    },
    /// The value is an object with a name and an identifier as members; the name tells the kind.
    Pairs {
        /// The member that holds the name.
        name: String,
        /// The member that holds the identifier, or a list of them.
        value: String,
        /// Kind by name, compared without ASCII case.
        kinds: Vec<(String, Kinds)>,
    },
}

/// A part of a text, seen from the first separator in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is before it; the whole text when there is none.
    Before,
    /// What is after it; nothing when there is none.
    After,
}

/// The kinds that belong to a label.
pub(crate) fn kinds_of<'k>(kinds: &'k [(String, Kinds)], label: &str) -> Option<&'k Kinds> {
    let label = label.trim();
    kinds.iter().find(|(known, _)| known.eq_ignore_ascii_case(label)).map(|(_, kinds)| kinds)
}

/// Another spelling of the names of a path, for vendors that write their members in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// `accessKeyDetails` as `AccessKeyDetails`.
    Pascal,
    /// `accessKeyDetails` as `access_key_details`.
    Snake,
}

impl Spelling {
    /// The words of a format file.
    pub const WORDS: [(&str, Spelling); 2] = [("pascal", Spelling::Pascal), ("snake", Spelling::Snake)];

    /// The name in this spelling.
    pub fn of(self, name: &str) -> String {
        match self {
            Spelling::Pascal => {
                let mut chars = name.chars();
                chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
            }
            Spelling::Snake => {
                let mut out = String::with_capacity(name.len() + 4);
                for c in name.chars() {
                    if c.is_uppercase() && !out.is_empty() {
                        out.push('_');
                    }
                    out.extend(c.to_lowercase());
                }
                out
            }
        }
    }
}

/// How the paths of a file stand for more paths than are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variants {
    /// Other spellings beside the written one.
    pub spellings: Vec<Spelling>,
    /// Whether `user.name` as one name is meant as well as `name` in `user`.
    pub dotted: bool,
    /// Where the alert may begin: at the top (no steps) or in a wrapper.
    pub roots: Vec<Path>,
}

/// One variant of all the places of a format: root and spelling are the same for each of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant<'v> {
    root: &'v Path,
    spelling: Option<Spelling>,
    dotted: bool,
}

impl Variants {
    /// Every combination of root and spelling.
    pub fn all(&self) -> impl Iterator<Item = Variant<'_>> {
        self.roots.iter().flat_map(move |root| {
            let spellings = std::iter::once(None).chain(self.spellings.iter().copied().map(Some));
            spellings.map(move |spelling| Variant { root, spelling, dotted: self.dotted })
        })
    }
}

impl Variant<'_> {
    /// The place in this variant.
    pub fn place(self, place: &Place) -> Place {
        place
            .iter()
            .flat_map(|path| if self.dotted { dotted(path) } else { vec![path.clone()] })
            .map(|path| self.path(&path))
            .collect()
    }

    /// The rule in this variant.
    pub fn rule(self, rule: &Rule) -> Rule {
        let spell = |name: &String| self.spelling.map_or_else(|| name.clone(), |s| s.of(name));
        let read = match &rule.read {
            Read::Pairs { name, value, kinds } => {
                Read::Pairs { name: spell(name), value: spell(value), kinds: kinds.clone() }
            }
            read => read.clone(),
        };
        Rule {
            sources: rule.sources.iter().map(|source| source.map(|place| self.place(place))).collect(),
            first: rule.first,
            read,
            ignored: rule.ignored.clone(),
            when: self.conditions(&rule.when),
        }
    }

    /// The conditions in this variant.
    pub fn conditions(self, conditions: &[(Place, Expect)]) -> Vec<(Place, Expect)> {
        conditions.iter().map(|(place, expect)| (self.place(place), expect.clone())).collect()
    }

    fn path(self, path: &Path) -> Path {
        let spell = |name: &String| self.spelling.map_or_else(|| name.clone(), |s| s.of(name));
        let own = path.steps.iter().map(|step| match step {
            Step::Name(name) => Step::Name(spell(name)),
            Step::Token(name) => Step::Token(spell(name)),
            step => step.clone(),
        });
        Path { steps: self.root.steps.iter().cloned().chain(own).collect(), rest: path.rest.clone() }
    }
}

/// Every way to write neighbouring names of a path as one dotted name, the path itself first.
fn dotted(path: &Path) -> Vec<Path> {
    let mut all: Vec<Vec<Step>> = vec![Vec::new()];
    for step in &path.steps {
        let mut joined = Vec::new();
        for steps in &mut all {
            if let (Some(Step::Token(last) | Step::Name(last)), Step::Token(name) | Step::Name(name)) =
                (steps.last(), step)
            {
                let mut more = steps.clone();
                let name = format!("{last}.{name}");
                more.pop();
                more.push(Step::Name(name));
                joined.push(more);
            }
            steps.push(step.clone());
        }
        all.extend(joined);
    }
    all.into_iter().map(|steps| Path { steps, rest: path.rest.clone() }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn names_take_the_other_spelling() {
        for (camel, pascal, snake) in [
            ("accessKeyDetails", "AccessKeyDetails", "access_key_details"),
            ("id", "Id", "id"),
            ("ipAddressV4", "IpAddressV4", "ip_address_v4"),
        ] {
            assert_eq!(Spelling::Pascal.of(camel), pascal);
            assert_eq!(Spelling::Snake.of(camel), snake);
        }
    }

    #[test]
    fn a_dotted_path_stands_for_every_grouping_of_its_names() {
        let written: Vec<String> = dotted(&Path::parse("/a/b/c").unwrap())
            .iter()
            .map(|path| {
                path.steps
                    .iter()
                    .map(|step| match step {
                        Step::Name(name) | Step::Token(name) => format!("/{name}"),
                        other => format!("{other:?}"),
                    })
                    .collect()
            })
            .collect();
        assert_eq!(written, ["/a/b/c", "/a.b/c", "/a/b.c", "/a.b.c"]);
    }
}
