//! `bulk`: the list of a vendor that nobody knew before, how its pages follow each other, and what they say.
//!
//! Contract: a request for a page goes where every other goes; a link to the next page is read for its parameter and never
//! followed. Pure but for reading the configuration. What no rule explains is a failure, as in [`super::normalise`].

use std::time::Duration;

use serde_json::Value;

use super::config::{Payload, Recipe};
use super::normalise::{self, Path, Rules};
use crate::config::words::or;
use crate::config::{Section, routes};
use crate::entity::EntityKind;
use crate::provider::snapshot::{Listing, Page, Row};
use crate::provider::{Failure, lenient};
use crate::score::Scale;

/// How a list is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What is sent, without a place for an identifier.
    pub request: Recipe,
    /// Whether everybody is in the list.
    pub listing: Listing,
    /// Entities of which kinds are in it, where it is not all that the vendor is asked about: names say nothing of that.
    pub kinds: Vec<EntityKind>,
    /// Where the entities stand in a page.
    rows: Path,
    /// Where their list stands, where `rows` takes its members: without one, nothing is there, and not nobody.
    list: Option<Path>,
    /// In a row: what look-ups would call the entity; several where it has several names.
    identifier: Path,
    /// How many rows there are on all pages, as the vendor says.
    total: Option<Path>,
    follow: Follow,
}

/// How the next page is asked for.
#[derive(Clone, Debug, PartialEq)]
enum Follow {
    /// There is one page.
    Never,
    /// By what the page before it says, in this parameter.
    Marker { next: Path, parameter: String },
    /// By its number in this parameter, from this one on.
    Number { parameter: String, first: u64 },
    /// By the number of rows before it, in this parameter.
    Offset { parameter: String },
}

/// Where a page stands: what its cursor tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'c> {
    pages: u64,
    rows: u64,
    marker: Option<&'c str>,
}

impl<'c> Place<'c> {
    /// The place that a cursor tells of; without one the first.
    pub fn of(cursor: Option<&'c str>) -> Self {
        let Some(cursor) = cursor else { return Place::default() };
        let mut parts = cursor.splitn(3, ' ');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        let (pages, rows) = (number(), number());
        Place { pages, rows, marker: parts.next().filter(|marker| !marker.is_empty()) }
    }
}

impl Rule {
    /// Reads `bulk`; `identifier` is what `answer` says of it. `None` when a problem was recorded.
    pub fn read(mut section: Section<'_>, identifier: Option<&Path>) -> Option<Rule> {
        let request = Recipe::read(&mut section);
        if request.as_ref().is_some_and(Recipe::has_place) {
            section.problem(
                "",
                "a place for an identifier",
                "write the request for the list without {value}",
            );
        }
        if !section.has("rows") {
            section.problem("rows", "missing", "write where the entities stand: rows: '$.items[*]'");
        }
        let rows = path(&mut section, "rows");
        let list = rows.as_ref().and_then(Path::above_all);
        let own = path(&mut section, "identifier");
        if !section.has("identifier") && identifier.is_none() {
            section.problem("identifier", "missing", "write where a row names its entity: identifier: $.id");
        }
        let total = path(&mut section, "total");
        let kinds = routes::kinds(&mut section, "kinds");
        let everybody = section.flag("complete");
        if everybody.is_none() && !section.has("complete") {
            let cure = "write complete: true where who is absent is unknown to the vendor, and false for a list of the riskiest";
            section.problem("complete", "missing", cure);
        }
        let follow = follow(&mut section);
        if let Some((follow, request)) = follow.as_ref().zip(request.as_ref()) {
            check_parameter(&mut section, follow, request);
        }
        section.finish();
        Some(Rule {
            request: request?,
            listing: if everybody? { Listing::Everybody } else { Listing::Riskiest },
            kinds,
            rows: rows?,
            list,
            identifier: own.or_else(|| identifier.cloned())?,
            total,
            follow: follow?,
        })
    }

    /// The parameter that asks for the page at `place`.
    pub fn parameter(&self, place: Place<'_>) -> Option<(&str, String)> {
        match &self.follow {
            Follow::Never => None,
            Follow::Marker { parameter, .. } => Some((parameter, place.marker?.to_owned())),
            Follow::Number { parameter, first } => {
                Some((parameter, first.saturating_add(place.pages).to_string()))
            }
            Follow::Offset { parameter } => Some((parameter, place.rows.to_string())),
        }
    }

    /// What the page at `place` says.
    ///
    /// # Errors
    /// Conditions under `failed`, statuses, and what is no list, or does not say whether more follows.
    pub fn page(
        &self,
        rules: &Rules,
        said: (u16, &[u8]),
        wait: Option<Duration>,
        place: Place<'_>,
        scale: &Scale,
    ) -> Result<Page, Failure> {
        let tree = normalise::list(rules, said, wait)?;
        let rows = self.rows.all(&tree);
        // Only a list that is there says of nobody that they are unknown, or that it is over.
        if rows.is_empty() && !self.is_there(&tree, place) {
            let number = place.pages.saturating_add(1);
            return Err(Failure::malformed(format!(
                "200 without a list of entities on page {number}: check bulk.rows; where this is how the vendor says that \
                 something went wrong, write it under `failed`, and where it leaves the list out behind the last page, write bulk.total"
            )));
        }
        let mut read = Vec::new();
        for row in &rows {
            let names: Vec<_> = self.identifier.all(row).into_iter().filter_map(lenient::text).collect();
            if names.is_empty() {
                read.push(None);
            }
            let answer = rules.listed(row, scale).map_err(|failure| failure.kind);
            let of = |name: String| Some(Row { name: name.to_lowercase(), rank: 0, answer: answer.clone() });
            read.extend(names.into_iter().map(of));
        }
        let mut page = Page::of(read)?;
        let before = place.rows.saturating_add(rows.len() as u64);
        let total = match self.total.as_ref().and_then(|path| path.first(&tree)) {
            None | Some(Value::Null) => None,
            Some(total) => Some(lenient::number(total).and_then(|total| total.as_u64()).ok_or_else(|| {
                Failure::malformed(
                    "what stands at bulk.total is no whole number: write the path to the number itself, such as $.total.value",
                )
            })?),
        };
        let ended = total.is_some_and(|total| before >= total);
        let marker = match &self.follow {
            Follow::Never => None,
            Follow::Marker { next, parameter } => marker(next.first(&tree), parameter)?,
            // A page without rows is the last.
            Follow::Number { .. } | Follow::Offset { .. } => (!rows.is_empty()).then(String::new),
        };
        let marker = marker.filter(|_| !ended);
        page.cut |= marker.is_none() && total.is_some_and(|total| before < total);
        page.next = marker.map(|marker| format!("{} {before} {marker}", place.pages.saturating_add(1)));
        Ok(page)
    }

    /// Whether a page without rows has a list that nobody is in. Where the configuration does not tell where it would stand, the
    /// first page of all is none.
    fn is_there(&self, tree: &Value, place: Place<'_>) -> bool {
        match &self.list {
            Some(list) => matches!(list.first(tree), Some(Value::Array(_) | Value::Null)),
            None => place.pages > 0,
        }
    }

    /// Reports what it leaves open about a provider that is asked about `kinds`, and about nobody where it is `alone`.
    pub fn check(&self, section: &mut Section<'_>, kinds: &[EntityKind], alone: bool) {
        let listed = or(&self.kinds.iter().map(|kind| kind.label()).collect::<Vec<_>>());
        let absent = |among: &[EntityKind], kinds: &[EntityKind]| {
            kinds.iter().find(|kind| !among.contains(kind)).copied()
        };
        if self.kinds.is_empty() && kinds.len() > 1 {
            let cure = "write under bulk which of them its rows are: kinds: [user]; others who share a name with one of them would \
                        be answered with its score";
            section.problem(
                "bulk",
                "does not say whom it lists, beside several kinds that are asked about",
                cure,
            );
        } else if let Some(kind) = absent(kinds, &self.kinds) {
            let cure =
                format!("write {kind} under kinds, where it is to be asked about, or not under bulk.kinds");
            section.problem("bulk", format!("lists {kind} entities, which nobody asks about here"), cure);
        } else if let Some(kind) = absent(&self.kinds, kinds).filter(|_| alone && !self.kinds.is_empty()) {
            let what = format!(
                "bulk lists {listed} entities only, so that nothing would be known of {kind} entities"
            );
            section.problem("mode", what, "write both");
        }
    }
}

/// The marker of the next page: a text, or the parameter of that name in a link. Nothing, null, `false` and an empty text end the
/// list; anything else may be where a marker is.
fn marker(value: Option<&Value>, parameter: &str) -> Result<Option<String>, Failure> {
    let text = match value {
        None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(value) => lenient::text(value).ok_or_else(|| {
            Failure::malformed("what stands at bulk.next is no text: write the path to the marker itself, such as $.next.href")
        })?,
    };
    let absolute = text.starts_with("https://") || text.starts_with("http://");
    // A cursor in base64 may begin with a slash as well.
    let relative =
        text.starts_with(['/', '?']) && text.split_once('?').is_some_and(|(_, query)| query.contains('='));
    if !absolute && !relative {
        return Ok(Some(text));
    }
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
    };
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(name, _)| decoded(name).as_deref() == Some(parameter));
    let value = found.and_then(|(_, value)| decoded(value)).filter(|value| !value.is_empty());
    value.map(Some).ok_or_else(|| Failure::malformed("the link at bulk.next has no parameter bulk.marker"))
}

fn follow(section: &mut Section<'_>) -> Option<Follow> {
    let ways = ["next", "page", "offset"].map(|key| section.has(key));
    let next = path(section, "next");
    let marker = section.text("marker");
    let (page, first) = (section.text("page"), section.integer("first_page", 0..=1));
    let offset = section.text("offset");
    for (key, with, of) in [("marker", "next", ways[0]), ("first_page", "page", ways[1])] {
        if section.has(key) && !of {
            section.problem(
                key,
                format!("nothing without {with}"),
                format!("write {with} as well, or remove it"),
            );
        }
    }
    match ways {
        [false, false, false] => Some(Follow::Never),
        [true, false, false] => {
            if !section.has("marker") {
                let cure = "write the parameter that takes what stands at next: marker: cursor";
                section.problem("marker", "missing", cure);
            }
            next.zip(marker).map(|(next, parameter)| Follow::Marker { next, parameter })
        }
        [false, true, false] => page.map(|parameter| Follow::Number { parameter, first: first.unwrap_or(1) }),
        [false, false, true] => offset.map(|parameter| Follow::Offset { parameter }),
        _ => {
            section.problem("", "several ways to the next page", "write next and marker, or page, or offset");
            None
        }
    }
}

/// Reports a parameter for the next page that has no place in `request`, or stands there already.
fn check_parameter(section: &mut Section<'_>, follow: &Follow, request: &Recipe) {
    let (key, parameter) = match follow {
        Follow::Never => return,
        Follow::Marker { parameter, .. } => ("marker", parameter),
        Follow::Number { parameter, .. } => ("page", parameter),
        Follow::Offset { parameter } => ("offset", parameter),
    };
    let (place, there) = match &request.payload {
        None => ("query", request.query.iter().any(|(name, _)| name == parameter)),
        Some(Payload::Form(fields)) => ("form", fields.iter().any(|(name, _)| name == parameter)),
        Some(Payload::Json(body)) => match body.names() {
            Some(mut names) => ("body", names.any(|name| name == parameter)),
            None => {
                let cure = "write a body that is an object: it takes the place of the page as a member";
                section.problem(key, "no place for it in the body", cure);
                return;
            }
        },
    };
    if there {
        let what = format!("a parameter that {place} has already");
        section.problem(key, what, format!("remove it from {place}: each page has its own"));
    }
}

fn path(section: &mut Section<'_>, key: &'static str) -> Option<Path> {
    let text = section.text(key)?;
    Path::parse(&text)
        .map_err(|error| {
            section.problem(key, format!("not a JSONPath ({error})"), "write one, such as $.items[*]");
        })
        .ok()
}

#[cfg(test)]
#[path = "bulk_tests.rs"]
mod tests;
