//! `routes`: which entities go to which provider.
//!
//! Contract: a route names only topics and providers that are configured; its patterns compile within a bound.

use regex::{Regex, RegexBuilder};

use crate::config::section::Text;
use crate::config::words::{hint, or};
use crate::config::{InputTopic, Route, Section};
use crate::entity::EntityKind;

/// Bound of one compiled pattern, in bytes: a pattern above it is a slip or an attack on memory.
const MAX_PATTERN: usize = 1 << 20;

/// The word for "ask nobody".
pub(super) const NOBODY: &str = "none";

/// Reads `routes`; `providers` are the configured names.
pub(super) fn read(root: &mut Section<'_>, topics: &[InputTopic], providers: &[String]) -> Vec<Route> {
    let sections = root.list("routes").unwrap_or_default();
    sections.into_iter().filter_map(|section| route(section, topics, providers)).collect()
}

fn route(mut section: Section<'_>, inputs: &[InputTopic], providers: &[String]) -> Option<Route> {
    let known: Vec<&str> = inputs.iter().map(|topic| topic.name.as_str()).collect();
    let topics = section.texts_with_places("topics").unwrap_or_default();
    for topic in topics.iter().filter(|topic| !inputs.iter().any(|input| input.matches(&topic.text))) {
        let what = format!("not an input topic{}", hint(&topic.text, &known));
        section.problem_at(topic, what, format!("write {}, or add it to input.topics", or(&known)));
    }
    let kinds = kinds(&mut section, "kinds");
    let patterns = section.texts_with_places("identifiers").unwrap_or_default();
    let identifiers = patterns.iter().filter_map(|text| pattern(&section, text)).collect();
    let formats = section.texts("formats").unwrap_or_default();

    let mut choices: Vec<&str> = providers.iter().map(String::as_str).collect();
    choices.push(NOBODY);
    let name = section.required_text("provider", "the name of a provider, or none");
    if let Some(name) = name.as_deref().filter(|name| !choices.contains(name)) {
        let what = format!("not a configured provider{}", hint(name, &choices));
        section.problem("provider", what, format!("write {}", or(&choices)));
    }
    section.finish();
    let provider = Some(name?).filter(|name| name != NOBODY);
    let topics = topics.into_iter().map(|topic| topic.text).collect();
    Some(Route { topics, formats, kinds, identifiers, provider })
}

/// The entity kinds listed at `key`.
pub(crate) fn kinds(section: &mut Section<'_>, key: &'static str) -> Vec<EntityKind> {
    let texts = section.texts_with_places(key).unwrap_or_default();
    texts.iter().filter_map(|text| kind(section, text)).collect()
}

/// An entity kind, in a list of them.
pub(super) fn kind(section: &Section<'_>, text: &Text<'_>) -> Option<EntityKind> {
    kind_named(&text.text).map_err(|(what, cure)| section.problem_at(text, what, cure)).ok()
}

/// The entity kind of this name, or what is wrong with it and what to write.
pub(super) fn kind_named(name: &str) -> Result<EntityKind, (String, String)> {
    let labels = EntityKind::ALL.map(EntityKind::label);
    let wrong = |_| (format!("not an entity kind{}", hint(name, &labels)), format!("write {}", or(&labels)));
    name.parse().map_err(wrong)
}

fn pattern(section: &Section<'_>, text: &Text<'_>) -> Option<Regex> {
    match RegexBuilder::new(&text.text).size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN).build() {
        Ok(pattern) => Some(pattern),
        Err(regex::Error::CompiledTooBig(_)) => {
            section.problem_at(text, "a pattern that takes too much memory", "write smaller repetitions");
            None
        }
        Err(error) => {
            // The last line says what is wrong, those before repeat the pattern.
            let text_of_error = error.to_string();
            let reason = text_of_error.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            section.problem_at(
                text,
                format!("not a regular expression: {reason}"),
                r"write one, such as '@example\.com$'",
            );
            None
        }
    }
}
