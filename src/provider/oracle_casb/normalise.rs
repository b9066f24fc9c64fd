//! Oracle CASB's report to our answer.
//!
//! Pure. Contract: rows of other users are never taken for the one asked about; a score or level that was not
//! understood never becomes one of ours; no failure's detail repeats the vendor's words.
//!
//! A user has a row per application instance (and day). Score and level are the highest of each; everything
//! else is that of the riskiest row, and the next riskiest rows stand whole in the attribute `other_rows`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::wire::{Report, Row};
use crate::provider::{Answer, Failure, FailureKind, Raw, Scored, lenient, snapshot};
use crate::score::{Level, Scale, Score};

/// Rows beside the riskiest one that an answer keeps.
const OTHER_ROWS: usize = 20;

/// The failure that a status other than 2xx stands for. Of the body only this counts: a web page comes from
/// somebody between us and the vendor, who does not know its applications.
pub fn refusal(status: u16, body: &[u8]) -> Failure {
    let (kind, cure) = match status {
        400 => (FailureKind::BadRequest, "Oracle CASB takes a field of the request for wrong"),
        401 | 403 | 404 if lenient::is_markup(body) => {
            (FailureKind::MalformedResponse, "a web page, which is not Oracle's: check `base_url`")
        }
        401 => (
            FailureKind::Unauthorised,
            "token or key pair is refused: check `access_key` and `access_secret`",
        ),
        403 => (FailureKind::Forbidden, "the CASB APIs are not enabled for the tenant: Oracle enables them"),
        404 => (
            FailureKind::BadRequest,
            "there is no such application instance: check `application_instance`, and `base_url`",
        ),
        429 => (FailureKind::RateLimited, "Oracle CASB wants fewer requests: set `limit`"),
        408 | 504 => (FailureKind::Timeout, "Oracle CASB gave up waiting for itself"),
        500..=599 => (FailureKind::ServerError, "Oracle CASB failed"),
        402..=499 => (FailureKind::BadRequest, "Oracle CASB refuses the request"),
        _ => (FailureKind::MalformedResponse, "not a status of this API: check `base_url`"),
    };
    Failure::new(kind, format!("HTTP {status}: {cure}"))
}

/// The report about one user, page by page.
#[derive(Debug)]
pub struct Reading<'a> {
    user: &'a str,
    /// The first page's members beside its rows.
    head: Map<String, Value>,
    mine: Vec<Row>,
    /// Rows that were read, and how many there are, as the vendor says.
    rows: u64,
    total: Option<u64>,
    markers: HashSet<String>,
}

impl<'a> Reading<'a> {
    /// Before the first page of the report about `user`.
    pub fn new(user: &'a str) -> Self {
        Reading { user, head: Map::new(), mine: Vec::new(), rows: 0, total: None, markers: HashSet::new() }
    }

    /// Takes one page; gives where the next one starts, if there is one.
    ///
    /// # Errors
    /// `malformed_response`: the page has no list of rows, or rows without a column `User name`.
    pub fn page(&mut self, page: Report) -> Result<Option<String>, Failure> {
        self.total = page.total_count.as_ref().and_then(lenient::number).and_then(|n| n.as_u64());
        if self.head.is_empty() {
            self.head = head(&page);
        }
        let rows = match page.rows {
            Some(rows) => rows,
            None if self.total == Some(0) => Vec::new(),
            None => return Err(Failure::malformed("the report has no list userRiskScores")),
        };
        if !rows.is_empty() && rows.iter().all(|row| user(row).is_none()) {
            return Err(Failure::malformed("no row of the report has a column User name"));
        }
        let last = rows.is_empty();
        self.rows += rows.len() as u64;
        let asked = self.user.to_lowercase();
        self.mine.extend(
            rows.into_iter().filter(|row| user(row).is_some_and(|user| user.to_lowercase() == asked)),
        );
        let all = self.total.is_some_and(|total| self.rows >= total);
        let marker = page.next_marker.filter(|_| !last && !all);
        // One that came before would lead round in a circle.
        Ok(marker.filter(|marker| self.markers.insert(marker.clone())))
    }

    /// The answer. `ended` tells whether the last page was read.
    ///
    /// # Errors
    /// `malformed_response`: a report without an end and without the user, or levels that are not understood.
    pub fn answer(self, ended: bool, scale: &Scale) -> Result<Answer, Failure> {
        // Rows may be missing although there is no further page: the vendor counts more than it gave.
        let cut = !ended || (self.rows > 0 && self.total.is_some_and(|total| total > self.rows));
        if self.mine.is_empty() {
            return if cut {
                Err(Failure::malformed("a report about others, and not the whole: userName is not heeded"))
            } else {
                Ok(Answer::Unknown { detail: None })
            };
        }
        let more = [
            ("rows", Some(json!(self.mine.len()))),
            ("report_cut", cut.then_some(Value::Bool(true))),
            ("report", Some(Value::Object(self.head))),
        ];
        rated(self.mine, lenient::present(more), scale)
    }
}

/// What rows of one user say together; `more` stands among the attributes.
fn rated(mine: Vec<Row>, more: Map<String, Value>, scale: &Scale) -> Result<Answer, Failure> {
    let last_seen = mine.iter().filter_map(detected).max();
    let worded = mine.iter().any(|row| column(row, "risklevel").is_some());
    let mut rated: Vec<_> = mine.into_iter().filter_map(|row| Some((rate(&row, scale)?, row))).collect();
    // Stable, so that equal rows keep the vendor's order.
    rated.sort_by_key(|((score, level), _)| Reverse((*score, *level)));
    let level = rated.iter().map(|((_, level), _)| *level).max();
    let mut rated = rated.into_iter();
    let (Some(((score, _), row)), Some(level)) = (rated.next(), level) else {
        return if worded {
            Err(Failure::malformed("neither Maximum Risk Score nor Risk Level can be understood"))
        } else {
            Ok(Answer::Unknown { detail: Some("no_level") })
        };
    };
    let mut attributes = attributes(&row);
    let others: Vec<_> =
        rated.take(OTHER_ROWS).map(|(_, row)| Value::Object(self::attributes(&row))).collect();
    if !others.is_empty() {
        attributes.insert("other_rows".to_owned(), Value::Array(others));
    }
    attributes.extend(more);
    Ok(Answer::Scored(Box::new(Scored {
        score,
        level,
        raw: Raw {
            score: column(&row, "maximumriskscore").and_then(lenient::number),
            level: column(&row, "risklevel").and_then(lenient::text),
            scale: "Maximum Risk Score, range undocumented, 0 to 100 assumed".into(),
        },
        delta: None,
        signals: None,
        first_seen: None,
        last_seen,
        reasons: sentences(&attributes),
        attributes,
    })))
}

/// Where a page of the report about everybody begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// Rows on the pages before it.
    pub read: u64,
    /// What the page before it gave for it.
    pub marker: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// The place that a cursor tells of; without one the first.
    pub fn of(cursor: Option<&'a str>) -> Self {
        let parts = cursor.and_then(|cursor| cursor.split_once(' '));
        parts.map_or(Place::default(), |(read, marker)| Place {
            read: read.parse().unwrap_or(0),
            marker: Some(marker),
        })
    }
}

/// What the page of the report about everybody at `place` says. Rows of one user are read together where they stand on one page.
///
/// # Errors
/// `malformed_response`: the page has no list of rows, or rows without a column `User name`.
pub fn page(report: Report, place: Place<'_>, scale: &Scale) -> Result<snapshot::Page, Failure> {
    let total = report.total_count.as_ref().and_then(lenient::number).and_then(|n| n.as_u64());
    let rows = match report.rows {
        Some(rows) => rows,
        None if total == Some(0) => Vec::new(),
        None => return Err(Failure::malformed("the report has no list userRiskScores")),
    };
    let read = place.read + rows.len() as u64;
    let empty = rows.is_empty();
    let mut users: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    let mut nameless = false;
    for row in rows {
        match user(&row) {
            Some(user) => users.entry(user.to_lowercase()).or_default().push(row),
            None => nameless = true,
        }
    }
    if nameless && users.is_empty() {
        return Err(Failure::malformed("no row of the report has a column User name"));
    }
    let row = |(name, rows)| {
        let answer = rated(rows, Map::new(), scale).map_err(|failure| failure.kind);
        snapshot::Row { name, rank: 0, answer }
    };
    let rows = users.into_iter().map(row).collect();
    let all = total.is_some_and(|total| read >= total);
    // One that is the same again would give the same page again.
    let next = report.next_marker.filter(|marker| !empty && !all && place.marker != Some(marker));
    let missing = next.is_none() && total.is_some_and(|total| read < total);
    let next = next.map(|marker| format!("{read} {marker}"));
    Ok(snapshot::Page { rows, next, cut: nameless || missing, promised: None })
}

/// When a row's risk was detected.
fn detected(row: &Row) -> Option<Timestamp> {
    let moment = |name| column(row, name).and_then(lenient::moment);
    moment("detecteddateisoformat").or_else(|| moment("detecteddate"))
}

/// Score and level of a row; `None` when it has neither.
fn rate(row: &Row, scale: &Scale) -> Option<(Score, Level)> {
    let number = column(row, "maximumriskscore").and_then(lenient::number);
    let score = number.and_then(|number| Score::clamped(number.as_f64()?));
    let level = column(row, "risklevel").and_then(lenient::text).and_then(|word| level(&word));
    match (score, level) {
        (Some(score), Some(level)) => Some((score, level)),
        (Some(score), None) => Some((score, scale.levels.level(score))),
        (None, Some(level)) => Some((scale.points.score(level), level)),
        (None, None) => None,
    }
}

fn level(word: &str) -> Option<Level> {
    Some(match word.to_ascii_lowercase().as_str() {
        "normal" => Level::Info,
        "low" => Level::Low,
        "medium" => Level::Medium,
        "high" => Level::High,
        "critical" => Level::Critical,
        _ => return None,
    })
}

fn user(row: &Row) -> Option<String> {
    column(row, "username").and_then(lenient::text)
}

/// The column of that name, which is written as [`fold`] gives it.
fn column<'r>(row: &'r Row, name: &str) -> Option<&'r Value> {
    row.columns.iter().find(|(column, _)| fold(column) == name).map(|(_, value)| value)
}

/// A column's name without case, spaces and signs: `ReasonsCounts` and `Reasons counts` are one.
fn fold(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn head(page: &Report) -> Map<String, Value> {
    lenient::present([
        ("type", page.report_type.clone()),
        ("tenant_name", page.tenant_name.clone()),
        ("report_id", page.report_id.clone()),
        ("max_count", page.max_count.clone()),
        ("total_count", page.total_count.clone()),
        ("size", page.size.clone()),
        ("title", page.title.clone()),
        ("description", page.description.clone()),
    ])
}

fn attributes(row: &Row) -> Map<String, Value> {
    let mut attributes = lenient::present([
        ("app_name", row.app_name.clone()),
        ("app_instance", row.app_instance.clone()),
        ("app_instance_id", row.app_instance_id.clone()),
        ("row_id", row.row_id.clone()),
    ]);
    for (column, value) in &row.columns {
        let (name, value) = typed(column, value);
        attributes.entry(name).or_insert(value);
    }
    attributes
}

/// A column under its own name and type; one that the vendor added since, under its name in snake_case.
fn typed(column: &str, value: &Value) -> (String, Value) {
    let (name, value) = match fold(column).as_str() {
        "risklevel" => ("risk_level", value.clone()),
        "username" => ("user_name", value.clone()),
        "maximumriskscore" => ("maximum_risk_score", lenient::numeric(value)),
        "reasons" => ("reasons", factors(embedded(value))),
        "detecteddate" => ("detected_date", value.clone()),
        "reasonsaverage" => ("reasons_average", numbers(embedded(value))),
        "reasonscounts" => ("reasons_counts", numbers(embedded(value))),
        "peergroup" => ("peer_group", embedded(value)),
        "detecteddateisoformat" => ("detected_date_iso", value.clone()),
        _ => return (snake_case(column), value.clone()),
    };
    (name.to_owned(), value)
}

/// The JSON written in a string; the string itself where it is none.
fn embedded(value: &Value) -> Value {
    let parsed = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    parsed.filter(|value| value.is_object() || value.is_array()).unwrap_or_else(|| value.clone())
}

/// `[instance, time, {code: text}]` with names for its parts; anything else as it is.
fn factors(reasons: Value) -> Value {
    match reasons.as_array().map(Vec::as_slice) {
        Some([Value::String(instance), Value::String(time), Value::Object(factors)]) => {
            json!({"app_instance_id": instance, "time": time, "factors": factors})
        }
        _ => reasons,
    }
}

/// An object whose values are numbers where they spell some.
fn numbers(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(code, value)| (code, lenient::numeric(&value))).collect())
        }
        other => other,
    }
}

/// The factors of the row in words: `Total IP network prefix for all events (count 3, average 1)`.
fn sentences(attributes: &Map<String, Value>) -> Vec<String> {
    let listed = attributes.get("reasons").into_iter().flat_map(objects);
    let sentence = |(code, text): (&String, &Value)| {
        let text = lenient::text(text).unwrap_or_else(|| code.clone());
        let figure = |word: &str, name: &str| {
            let number = attributes.get(name)?.as_object()?.get(code)?.as_number()?;
            Some(format!("{word} {number}"))
        };
        let figures: Vec<_> = figure("count", "reasons_counts")
            .into_iter()
            .chain(figure("average", "reasons_average"))
            .collect();
        if figures.is_empty() { text } else { format!("{text} ({})", figures.join(", ")) }
    };
    listed.flatten().map(sentence).collect()
}

/// The objects of codes and texts in a value of `reasons`, in whichever form it came.
fn objects(reasons: &Value) -> Vec<&Map<String, Value>> {
    match reasons {
        Value::Object(named) => vec![named.get("factors").and_then(Value::as_object).unwrap_or(named)],
        Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
        _ => Vec::new(),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut after_small = false;
    for c in name.trim().chars() {
        if c.is_alphanumeric() {
            if c.is_uppercase() && after_small {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
            after_small = !c.is_uppercase();
        } else {
            if !snake.is_empty() && !snake.ends_with('_') {
                snake.push('_');
            }
            after_small = false;
        }
    }
    snake.trim_end_matches('_').to_owned()
}
