//! Format files: from YAML to checked rules, every problem with its line.
//!
//! Owns the keys of a format file (`config/formats/README.md` explains them). Contract: a file with a problem yields
//! no format, and all its problems at once. Pure: it gets text, never a path to open.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::path::Path;
use super::rule::{Expect, Format, Part, Piece, Place, Read, Rule, Source, Spelling, Variants};
use super::value::{Form, Ignored, Kinds};
use crate::entity::EntityKind;

/// What is wrong with a format file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {what}")]
pub struct FormatProblem {
    /// The name under which the file was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub what: String,
}

/// A format before its variants are spelled out, and where its file says what, for problems found later.
pub(crate) struct Written {
    /// The format.
    pub format: Format,
    /// The name under which its file was given.
    pub file: String,
    /// Line of `name`.
    pub line: usize,
    /// Column of `name`.
    pub column: usize,
    /// Line and column of `vendor`.
    pub vendor: Option<(usize, usize)>,
}

type Node<'y> = MarkedYaml<'y>;

/// Reads a file; each YAML document in it is one format.
pub(crate) fn read(file: &str, text: &str) -> Result<Vec<Written>, Vec<FormatProblem>> {
    let mut reader = Reader { file, problems: Vec::new() };
    let documents = match MarkedYaml::load_from_str(text) {
        Ok(documents) => documents,
        Err(error) => {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            let what = format!("not YAML: {}", error.info());
            return Err(vec![FormatProblem { file: file.into(), line, column, what }]);
        }
    };
    let formats: Vec<Written> = documents.iter().filter_map(|document| reader.format(document)).collect();
    if documents.is_empty() {
        let what = "the file is empty: a format needs `name`, `match` and `entities`".into();
        reader.problems.push(FormatProblem { file: file.into(), line: 1, column: 1, what });
    }
    if reader.problems.is_empty() { Ok(formats) } else { Err(reader.problems) }
}

struct Reader<'f> {
    file: &'f str,
    problems: Vec<FormatProblem>,
}

impl Reader<'_> {
    fn problem<T>(&mut self, node: &Node<'_>, what: impl Into<String>) -> Option<T> {
        let start = &node.span.start;
        self.problems.push(FormatProblem {
            file: self.file.into(),
            line: start.line(),
            column: start.col() + 1,
            what: what.into(),
        });
        None
    }

    fn format(&mut self, document: &Node<'_>) -> Option<Written> {
        const KEYS: [&str; 10] = [
            "name",
            "vendor",
            "replaces",
            "priority",
            "roots",
            "spellings",
            "dotted",
            "ignore",
            "match",
            "entities",
        ];
        let entries = self.mapping(document, "a format", &KEYS)?;
        let name_node = self.required(document, &entries, "name")?;
        let name = self.text(name_node)?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            return self.problem(name_node, format!("the name {name:?} may have only a-z, 0-9 and _"));
        }
        if name == "auto" || name == "unknown" {
            return self
                .problem(name_node, format!("{name:?} has a meaning of its own: choose another name"));
        }
        let vendor = get(&entries, "vendor").and_then(|node| self.text(node));
        let replaces = get(&entries, "replaces").and_then(|node| self.text(node));
        let priority = get(&entries, "priority").and_then(|node| self.integer(node)).unwrap_or(0);
        let variants = Variants {
            spellings: self.spellings(get(&entries, "spellings")),
            dotted: get(&entries, "dotted").and_then(|node| self.flag(node)).unwrap_or(false),
            roots: self.roots(get(&entries, "roots")),
        };
        let ignored = Ignored {
            defaults: true,
            patterns: get(&entries, "ignore").map(|node| self.texts(node)).unwrap_or_default(),
        };
        let recognise: Vec<_> = match self.required(document, &entries, "match") {
            Some(node) => self.list(node).iter().map(|alternative| self.conditions(alternative)).collect(),
            None => Vec::new(),
        };
        let rules: Vec<Rule> = match self.required(document, &entries, "entities") {
            Some(node) => self.list(node).iter().filter_map(|rule| self.rule(rule, &ignored)).collect(),
            None => Vec::new(),
        };
        let format = Format {
            name,
            vendor,
            replaces,
            priority,
            recognise: variants
                .all()
                .flat_map(|variant| recognise.iter().map(move |conditions| variant.conditions(conditions)))
                .collect(),
            rules: variants
                .all()
                .flat_map(|variant| rules.iter().map(move |rule| variant.rule(rule)))
                .collect(),
        };
        let place = |node: &Node<'_>| (node.span.start.line(), node.span.start.col() + 1);
        let (line, column) = place(name_node);
        let vendor = get(&entries, "vendor").map(place);
        Some(Written { format, file: self.file.into(), line, column, vendor })
    }

    fn rule(&mut self, node: &Node<'_>, format: &Ignored) -> Option<Rule> {
        const KEYS: [&str; 11] = [
            "kind",
            "part",
            "labels",
            "separator",
            "pairs",
            "name",
            "value",
            "paths",
            "take",
            "when",
            "ignore",
        ];
        let entries = self.mapping(node, "an entity rule", &KEYS)?;
        let paths = self.required(node, &entries, "paths")?;
        let sources: Vec<Source> = self.list(paths).iter().filter_map(|path| self.source(path)).collect();
        let given = ["kind", "labels", "pairs"].map(|key| get(&entries, key));
        let separator = get(&entries, "separator").map_or(Some(":".into()), |node| self.text(node))?;
        if separator.is_empty() {
            return self.problem(node, "the separator is empty: leave it out for `:`");
        }
        let part = match get(&entries, "part").map(|node| (node, self.text(node))) {
            None => None,
            Some((_, Some(word))) if word == "before" => Some((separator.clone(), Part::Before)),
            Some((_, Some(word))) if word == "after" => Some((separator.clone(), Part::After)),
            Some((node, _)) => return self.problem(node, "`part` is `before` or `after` (the separator)"),
        };
        let read = match given {
            [Some(kind), None, None] => Read::Kind { kinds: self.kinds(kind)?, part },
            [None, Some(labels), None] => Read::Labels { separator, kinds: self.kinds_by_name(labels)? },
            [None, None, Some(pairs)] => Read::Pairs {
                name: get(&entries, "name").map_or(Some("name".into()), |node| self.text(node))?,
                value: get(&entries, "value").map_or(Some("value".into()), |node| self.text(node))?,
                kinds: self.kinds_by_name(pairs)?,
            },
            _ => return self.problem(node, "a rule has exactly one of `kind`, `labels` and `pairs`"),
        };
        if matches!(read, Read::Pairs { .. }) && sources.iter().any(|s| matches!(s, Source::Template(_))) {
            return self.problem(paths, "`pairs` reads objects: a template makes a text");
        }
        let first = match get(&entries, "take").map(|node| (node, self.text(node))) {
            None => false,
            Some((_, Some(word))) if word == "first" => true,
            Some((_, Some(word))) if word == "all" => false,
            Some((node, _)) => return self.problem(node, "`take` is `first` or `all`"),
        };
        let when = get(&entries, "when").map(|node| self.conditions(node)).unwrap_or_default();
        let ignored = match get(&entries, "ignore") {
            None => format.clone(),
            Some(node) => Ignored { defaults: false, patterns: self.texts(node) },
        };
        Some(Rule { sources, first, read, ignored, when })
    }

    /// A path, or a template of paths in braces.
    fn source(&mut self, node: &Node<'_>) -> Option<Source> {
        let text = self.text(node)?;
        if text.starts_with(['/', '$']) {
            return Some(Source::Place(vec![self.path(node, &text)?]));
        }
        let mut pieces = Vec::new();
        let mut left = text.as_str();
        while let Some((before, rest)) = left.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let Some((path, after)) = rest.split_once('}') else {
                return self.problem(node, format!("{text:?}: a `{{` without its `}}`"));
            };
            let path = self.path(node, path)?;
            if !path.is_single() {
                return self.problem(
                    node,
                    format!("{text:?}: a template needs paths to one value, without wildcards"),
                );
            }
            pieces.push(Piece::Place(vec![path]));
            left = after;
        }
        if !left.is_empty() {
            pieces.push(Piece::Text(left.to_owned()));
        }
        if pieces.iter().any(|piece| matches!(piece, Piece::Place(_))) {
            return Some(Source::Template(pieces));
        }
        self.problem(
            node,
            format!("{text:?} is neither a pointer (/user/name), a JSONPath ($.user.name) nor a template ({{/a}}-{{/b}})"),
        )
    }

    fn path(&mut self, node: &Node<'_>, text: &str) -> Option<Path> {
        match Path::parse(text) {
            Ok(path) => Some(path),
            Err(what) => self.problem(node, what),
        }
    }

    /// Conditions on paths: `{/type: signal, /id: {present: true}, /detail-type: {prefix: Guard}}`.
    fn conditions(&mut self, node: &Node<'_>) -> Vec<(Place, Expect)> {
        let YamlData::Mapping(entries) = &node.data else {
            self.problem::<()>(node, "conditions are a mapping from paths to what is expected there");
            return Vec::new();
        };
        if entries.is_empty() {
            self.problem::<()>(node, "at least one condition is needed");
        }
        let mut conditions = Vec::new();
        for (key, value) in entries {
            let Some(text) = self.text(key) else { continue };
            let Some(path) = self.path(key, &text) else { continue };
            if path.rest.is_some() {
                self.problem::<()>(
                    key,
                    format!("{text:?}: a condition's path has only names, indexes and wildcards"),
                );
                continue;
            }
            if let Some(expect) = self.expect(value) {
                conditions.push((vec![path], expect));
            }
        }
        conditions
    }

    fn expect(&mut self, node: &Node<'_>) -> Option<Expect> {
        match &node.data {
            YamlData::Sequence(_) => Some(Expect::OneOf(self.texts(node))),
            YamlData::Mapping(_) => {
                let entries = self.mapping(node, "a condition", &["present", "prefix"])?;
                match (get(&entries, "present"), get(&entries, "prefix")) {
                    (Some(flag), None) => {
                        self.flag(flag).map(|there| if there { Expect::Present } else { Expect::Absent })
                    }
                    (None, Some(prefix)) => self.text(prefix).map(Expect::Prefix),
                    _ => self.problem(node, "write {present: true}, {present: false} or {prefix: TEXT}"),
                }
            }
            _ => self.text(node).map(|text| Expect::OneOf(vec![text])),
        }
    }

    fn kinds(&mut self, node: &Node<'_>) -> Option<Kinds> {
        if !matches!(node.data, YamlData::Mapping(_)) {
            return self.kind(node).map(Kinds::One);
        }
        let words = Form::WORDS.map(|(word, _)| word);
        let entries = self.mapping(node, "kinds by form", &words)?;
        let mut forms = Vec::new();
        for (word, value) in entries {
            let kind = self.kind(value)?;
            forms.extend(Form::WORDS.iter().find(|(known, _)| *known == word).map(|(_, form)| (*form, kind)));
        }
        Some(Kinds::ByForm(forms))
    }

    fn kinds_by_name(&mut self, node: &Node<'_>) -> Option<Vec<(String, Kinds)>> {
        let YamlData::Mapping(entries) = &node.data else {
            return self.problem(node, "a mapping from names to kinds is needed");
        };
        Some(entries.iter().filter_map(|(key, value)| Some((self.text(key)?, self.kinds(value)?))).collect())
    }

    fn kind(&mut self, node: &Node<'_>) -> Option<EntityKind> {
        match self.text(node)?.parse() {
            Ok(kind) => Some(kind),
            Err(error) => self.problem(node, format!("{error}")),
        }
    }

    fn spellings(&mut self, node: Option<&Node<'_>>) -> Vec<Spelling> {
        let Some(node) = node else { return Vec::new() };
        let mut spellings = Vec::new();
        for word in self.texts(node) {
            match Spelling::WORDS.iter().find(|(known, _)| *known == word) {
                Some((_, spelling)) => spellings.push(*spelling),
                None => {
                    self.problem::<()>(node, format!("unknown spelling {word:?}: use pascal or snake"));
                }
            }
        }
        spellings
    }

    fn roots(&mut self, node: Option<&Node<'_>>) -> Vec<Path> {
        let top = Path { steps: Vec::new(), rest: None };
        let Some(node) = node else { return vec![top] };
        let mut roots = Vec::new();
        for text in self.texts(node) {
            let root = if text.is_empty() { Some(top.clone()) } else { self.path(node, &text) };
            match root {
                Some(root) if root.rest.is_none() => roots.push(root),
                Some(_) => {
                    self.problem::<()>(
                        node,
                        format!("{text:?}: a root has only names, indexes and wildcards"),
                    );
                }
                None => {}
            }
        }
        roots
    }

    /// The entries of a mapping, unknown keys reported.
    fn mapping<'n, 'y>(
        &mut self,
        node: &'n Node<'y>,
        what: &str,
        known: &[&str],
    ) -> Option<Vec<(String, &'n Node<'y>)>> {
        let YamlData::Mapping(entries) = &node.data else {
            return self.problem(node, format!("{what} is a mapping with the keys {}", known.join(", ")));
        };
        let mut named = Vec::new();
        for (key, value) in entries {
            let Some(word) = self.text(key) else { continue };
            if known.contains(&word.as_str()) {
                named.push((word, value));
                continue;
            }
            let near = known
                .iter()
                .max_by(|a, b| strsim::jaro_winkler(a, &word).total_cmp(&strsim::jaro_winkler(b, &word)));
            let near = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            self.problem::<()>(key, format!("{what} has no key `{word}`{near}"));
        }
        Some(named)
    }

    fn required<'n, 'y>(
        &mut self,
        at: &Node<'y>,
        entries: &[(String, &'n Node<'y>)],
        key: &str,
    ) -> Option<&'n Node<'y>> {
        let found = get(entries, key);
        if found.is_none() {
            self.problem::<()>(at, format!("`{key}` is missing"));
        }
        found
    }

    fn list<'n, 'y>(&mut self, node: &'n Node<'y>) -> &'n [Node<'y>] {
        match &node.data {
            YamlData::Sequence(items) if !items.is_empty() => items,
            _ => {
                self.problem::<()>(node, "a list with at least one item is needed");
                &[]
            }
        }
    }

    fn texts(&mut self, node: &Node<'_>) -> Vec<String> {
        match &node.data {
            YamlData::Sequence(items) => items.iter().filter_map(|item| self.text(item)).collect(),
            _ => self.text(node).into_iter().collect(),
        }
    }

    fn text(&mut self, node: &Node<'_>) -> Option<String> {
        match &node.data {
            YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
            YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
            YamlData::Value(Scalar::Boolean(flag)) => Some(flag.to_string()),
            YamlData::Value(Scalar::FloatingPoint(_)) => {
                self.problem(node, "write a number with a fraction in quotes, as the alert spells it")
            }
            YamlData::Value(Scalar::Null) => {
                self.problem(node, "a value is missing here; quote it if it is the text")
            }
            _ => self.problem(node, "a text is needed here"),
        }
    }

    fn flag(&mut self, node: &Node<'_>) -> Option<bool> {
        match &node.data {
            YamlData::Value(Scalar::Boolean(flag)) => Some(*flag),
            _ => self.problem(node, "true or false is needed here"),
        }
    }

    fn integer(&mut self, node: &Node<'_>) -> Option<i64> {
        match &node.data {
            YamlData::Value(Scalar::Integer(number)) => Some(*number),
            _ => self.problem(node, "a whole number is needed here"),
        }
    }
}

fn get<'n, 'y>(entries: &[(String, &'n Node<'y>)], key: &str) -> Option<&'n Node<'y>> {
    entries.iter().find(|(known, _)| known == key).map(|(_, node)| *node)
}
