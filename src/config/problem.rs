//! What is wrong with a configuration: where, what was given, and what to write instead.
//!
//! Owns the three ways to show problems: one line each (logs), with the source line and a caret (terminal), and
//! JSON lines (pipes). Contract: none of them shows a secret. The source text arrives here with every value
//! masked that was not read as plain text; a problem's `given` is absent where it could be a secret.

use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use serde::Serialize;

/// One thing to mend.
#[derive(Clone, Serialize)]
pub struct Problem {
    /// The file, or `environment variable NAME`.
    pub file: String,
    /// Line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in the line, in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The key with all its parents: `kafka.brokers`; empty where the problem is the file's.
    pub key: String,
    /// The value as it was given; absent where there is none or where it could be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
    /// Characters that the caret covers.
    #[serde(skip)]
    pub(crate) length: usize,
    /// The text around it, secrets masked.
    #[serde(skip)]
    pub(crate) source: Option<Arc<Source>>,
}

impl Problem {
    /// A problem of a whole file: it cannot be read, say.
    pub fn of_file(file: impl Into<String>, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Problem {
            file: file.into(),
            line: None,
            column: None,
            key: String::new(),
            given: None,
            what: what.into(),
            cure: cure.into(),
            length: 0,
            source: None,
        }
    }

    /// What is wrong with which key.
    fn message(&self) -> String {
        if self.key.is_empty() { self.what.clone() } else { format!("{}: {}", self.key, self.what) }
    }

    /// The bytes of the source that the caret covers: never beyond the end of its line.
    fn span(&self) -> Option<SourceSpan> {
        let (line, column) = (self.line?, self.column?);
        let text = &self.source.as_ref()?.text;
        let start_of_line: usize =
            text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = text.get(start_of_line..)?.lines().next().unwrap_or("");
        let before: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
        let covered: usize =
            rest.chars().skip(column.saturating_sub(1)).take(self.length.max(1)).map(char::len_utf8).sum();
        Some(SourceSpan::new((start_of_line + before).into(), covered))
    }
}

/// One line: `riskstream.yaml:12:9: kafka.brokers: what (given: value); cure`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        write!(f, ": {}", self.message())?;
        if let Some(given) = &self.given {
            write!(f, " (given: {given})")?;
        }
        write!(f, "; {}", self.cure)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text of which only the line at fault is ever shown: the lines around it may say what is nobody's business.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let exact = self.text.read_span(span, 0, 0)?;
        let offset = span.offset();
        let start = self.text.get(..offset).and_then(|head| head.rfind('\n')).map_or(0, |at| at + 1);
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        // Without context the place itself is asked for, else what to show.
        let (data, span, column) = if before + after == 0 {
            (exact.data(), *span, exact.column())
        } else {
            (line.as_bytes(), SourceSpan::new(start.into(), line.len()), 0)
        };
        let name = self.name.clone();
        Ok(Box::new(MietteSpanContents::new_named(name, data, span, exact.line(), column, 1)))
    }
}

/// The face that a problem shows to miette.
struct Shown<'p>(&'p Problem);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where there is no source to show, the place must be in the words.
        if self.0.span().is_none() {
            write!(f, "{}: ", self.0.file)?;
        }
        f.write_str(&self.0.message())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.0.cure))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.0.span()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}

/// Everything that is wrong, by file and line.
#[derive(Clone, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Puts problems in the order in which a reader meets them: files as they come, lines ascending, what has
    /// no line (the environment) last.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        let mut files: Vec<String> = Vec::new();
        for problem in &problems {
            if !files.contains(&problem.file) {
                files.push(problem.file.clone());
            }
        }
        problems.sort_by_key(|problem| {
            let file = files.iter().position(|file| *file == problem.file);
            (problem.line.is_none(), file, problem.line, problem.column)
        });
        Problems(problems)
    }

    /// Each problem.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For a terminal: each with its source line, a caret and the cure.
    pub fn for_people(&self, colour: bool, width: usize) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_context_lines(1)
            .with_links(false)
            .with_width(width);
        let mut out = String::new();
        for problem in &self.0 {
            // Writing to a String fails only where miette cannot read its own source: then the line serves.
            let mut one = String::new();
            match handler.render_report(&mut one, &Shown(problem)) {
                Ok(()) => out.push_str(one.trim_end()),
                Err(fmt::Error) => out.push_str(&problem.to_string()),
            }
            out.push_str("\n\n");
        }
        out
    }

    /// For pipes: one JSON object a line with `file`, `line`, `column`, `key`, `given`, `what`, `cure`.
    pub fn json_lines(&self) -> String {
        self.0
            .iter()
            // Strings and numbers only: serialising cannot fail.
            .filter_map(|problem| serde_json::to_string(problem).ok())
            .map(|line| line + "\n")
            .collect()
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn at(file: &str, line: Option<usize>) -> Problem {
        Problem { line, column: line, ..Problem::of_file(file, "wrong", "mend it") }
    }

    #[test]
    fn files_stay_together_and_lines_ascend() {
        let problems =
            [at("b", Some(7)), at("a", Some(3)), at("variable", None), at("b", Some(2)), at("a", Some(1))];
        let lines: Vec<_> = Problems::new(problems.into()).iter().map(ToString::to_string).collect();
        let places = ["b:2:2", "b:7:7", "a:1:1", "a:3:3", "variable"];
        assert_eq!(lines, places.map(|place| format!("{place}: wrong; mend it")));
    }

    #[test]
    fn the_caret_stays_in_its_line() {
        let text = "a: é\nb: |\n  long\n".to_owned();
        let source = Arc::new(Source { name: "f".to_owned(), text });
        for (line, column, length, expected) in
            [(1, 4, 1, (3, 2)), (1, 4, 99, (3, 2)), (2, 4, 9, (9, 1)), (9, 9, 9, (18, 0)), (1, 99, 1, (5, 0))]
        {
            let problem = Problem {
                line: Some(line),
                column: Some(column),
                length,
                source: Some(source.clone()),
                ..at("f", None)
            };
            let span = problem.span().unwrap();
            assert_eq!((span.offset(), span.len()), expected, "{line}:{column}");
            assert!(Problems::new(vec![problem]).for_people(false, 80).contains("mend it"));
        }
    }
}
