//! One configuration file being read: its tree, the environment, and the problems found so far.
//!
//! Contract: problems are collected, never thrown, so that one run shows them all. Whatever was not read as
//! plain text is masked before a source line is shown: what a reader never asked for may be a misplaced secret.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::overrides;
use crate::config::problem::{Problem, Problems, Source};
use crate::config::raw::{self, Complaint, Node, Parsed, Place, Value};
use crate::config::section::Section;

/// Longest value that a problem repeats, in characters.
const MAX_GIVEN: usize = 80;

/// A configuration file, read but not yet understood.
pub struct Document {
    name: String,
    text: String,
    base: PathBuf,
    env: BTreeMap<String, String>,
    parsed: Parsed,
    literals: bool,
    offline: bool,
    problems: RefCell<Vec<Problem>>,
    /// The values that were read as plain text and may be shown. By identity: all values of one variable have
    /// the same place, and so have the copies of an anchor.
    shown: RefCell<HashSet<*const Node>>,
}

impl Document {
    /// Reads `text`, which problems call `name`, and lays the variables of `env` over it.
    pub fn parse(
        name: impl Into<String>,
        text: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        // A byte order mark would shift every place by one.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let mut parsed = raw::parse(&text);
        let env: BTreeMap<_, _> = env.into_iter().collect();
        parsed.complaints.extend(overrides::lay_over(&mut parsed.root, &env));
        let document = Document {
            name: name.into(),
            text,
            base: PathBuf::new(),
            env,
            literals: literals_allowed(&parsed.root),
            offline: false,
            parsed,
            problems: RefCell::default(),
            shown: RefCell::default(),
        };
        for Complaint { place, key, what, cure } in &document.parsed.complaints {
            document.report(place, key.clone(), None, what, cure);
        }
        if !matches!(document.parsed.root.value, Value::Map(_) | Value::Null) {
            document.report(
                &document.parsed.root.place,
                "",
                None,
                "not a mapping",
                "write `key: value` lines",
            );
        }
        document
    }

    /// Takes relative paths in the file as relative to `base`.
    #[must_use]
    pub fn relative_to(self, base: impl Into<PathBuf>) -> Self {
        Document { base: base.into(), ..self }
    }

    /// Lets secrets and files be absent: for commands that call nobody, on machines that know no secrets.
    #[must_use]
    pub fn offline(self) -> Self {
        Document { offline: true, ..self }
    }

    /// Permits literal secrets, whatever the file says.
    #[cfg(test)]
    pub(crate) fn with_literals(self) -> Self {
        Document { literals: true, ..self }
    }

    /// The outermost mapping.
    pub fn root(&self) -> Section<'_> {
        Section::new(self, &self.parsed.root, &Place::START, String::new())
    }

    /// The problems so far, in the order of the file.
    pub fn problems(&self) -> Problems {
        let source = Arc::new(Source { name: self.name.clone(), text: self.masked() });
        let mut problems = self.problems.borrow().clone();
        for problem in problems.iter_mut().filter(|problem| problem.line.is_some()) {
            problem.source = Some(source.clone());
        }
        Problems::new(problems)
    }

    /// Whether secrets may stand in the file.
    pub(crate) fn allows_literals(&self) -> bool {
        self.literals
    }

    /// Whether secrets and files may be absent.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// Whether a problem with the key at `path` has been recorded.
    pub(crate) fn is_faulty(&self, path: &str) -> bool {
        self.problems.borrow().iter().any(|problem| problem.key == path)
    }

    /// A variable of the environment.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// A path in the file, as the process can open it.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(Path::new(path))
    }

    /// Notes that the value of `node` is no secret.
    pub(crate) fn show(&self, node: &Node) {
        if matches!(node.value, Value::Scalar(_)) {
            self.shown.borrow_mut().insert(node);
        }
    }

    /// What a problem may repeat of `node`.
    pub(crate) fn given(&self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Null | Value::List(_) | Value::Map(_) => None,
            Value::Scalar(_) if !self.shown.borrow().contains(&std::ptr::from_ref(node)) => None,
            Value::Scalar(text) => Some(short(text)),
        }
    }

    /// As [`given`](Document::given), for a value whose form is the problem.
    pub(crate) fn given_form(&self, node: &Node) -> Option<String> {
        match &node.value {
            Value::List(_) => Some("a list".to_owned()),
            Value::Map(_) => Some("a mapping".to_owned()),
            Value::Null | Value::Scalar(_) => self.given(node),
        }
    }

    /// Records a problem.
    pub(crate) fn report(
        &self,
        place: &Place,
        key: impl Into<String>,
        given: Option<String>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        let (file, line, column, length) = match place {
            Place::Text { line, column, length, .. } => {
                (self.name.clone(), Some(*line), Some(*column), *length)
            }
            Place::Variable(name) => (format!("environment variable {name}"), None, None, 0),
        };
        self.problems.borrow_mut().push(Problem {
            file,
            line,
            column,
            key: key.into(),
            given,
            what: what.into(),
            cure: cure.into(),
            length,
            source: None,
        });
    }

    /// The text with everything masked that may be a secret.
    fn masked(&self) -> String {
        if !self.parsed.whole {
            return without_secret_lines(&self.text);
        }
        let mut chars: Vec<char> = self.text.chars().collect();
        let shown = self.shown.borrow();
        let mut mask = |node: &Node| {
            if let Place::Text { index, length, .. } = node.place
                && !shown.contains(&std::ptr::from_ref(node))
            {
                let covered = chars.iter_mut().skip(index).take(length);
                covered.filter(|c| !matches!(c, '\n' | '\r')).for_each(|c| *c = '*');
            }
        };
        self.parsed.root.scalars(&mut mask);
        self.parsed.dropped.iter().for_each(|node| node.scalars(&mut mask));
        chars.into_iter().collect()
    }
}

/// Whether the top level says that secrets may stand in the file.
fn literals_allowed(root: &Node) -> bool {
    let flag = root.get("allow_literal_secrets").map(|node| &node.value);
    matches!(flag, Some(Value::Scalar(text)) if text.eq_ignore_ascii_case("true"))
}

/// A text that is not YAML has no values that could be told apart: lines that sound like a secret lose
/// everything after their first colon.
fn without_secret_lines(text: &str) -> String {
    const WORDS: [&str; 6] = ["key", "secret", "token", "pass", "credential", "auth"];
    text.split_inclusive('\n')
        .map(|line| {
            let lower = line.to_lowercase();
            match line.find(':') {
                Some(colon) if WORDS.iter().any(|word| lower.contains(word)) => {
                    let (key, value) = line.split_at(colon + 1);
                    key.chars()
                        .chain(value.chars().map(|c| if c.is_whitespace() { c } else { '*' }))
                        .collect()
                }
                _ => line.to_owned(),
            }
        })
        .collect()
}

/// `text` on one line and not longer than a problem should be.
fn short(text: &str) -> String {
    let mut line: String = text.chars().take(MAX_GIVEN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_GIVEN).is_some() {
        line.push_str("...");
    }
    line
}
