//! A vendor's answer on the common scale, by rules of the configuration. Pure.
//!
//! Contract: what no rule explains is a failure that names the rule that is missing, never "unknown" and never a score.
//! Conditions decide first, in their order; then the status; then the row. Nothing told here repeats what was read.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use crate::provider::lenient::{self, is_markup};
use crate::provider::{Answer, Failure, FailureKind, Raw, Scored};
use crate::score::{Level, Scale, Score};

/// What the answers of one vendor mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// When the vendor says that it does not know the entity, or that something is wrong.
    pub conditions: Vec<(Condition, Meaning)>,
    /// Where entities stand in the body.
    pub row: Path,
    /// In a row: its identifier. Rows of others are passed over.
    pub identifier: Option<Path>,
    /// In a row: the number.
    pub score: Option<Path>,
    /// What the number's lowest and highest values are.
    pub range: (f64, f64),
    /// What the number means, for people.
    pub scale: String,
    /// In a row: the vendor's word.
    pub level: Option<Path>,
    /// The vendor's words beside our own; `None` where a word stands for "no level".
    pub words: Vec<(String, Option<Level>)>,
    /// In a row: everything else.
    pub details: Details,
}

/// What else a row may say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Change against the vendor's previous period.
    pub delta: Option<Path>,
    /// How many signals stand behind the score.
    pub signals: Option<Path>,
    /// When the vendor first saw something.
    pub first_seen: Option<Path>,
    /// When it last did.
    pub last_seen: Option<Path>,
    /// Texts for people.
    pub reasons: Vec<Path>,
    /// By name.
    pub attributes: Vec<(String, Path)>,
}

/// What an answer that fulfils a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The vendor does not know the entity.
    Unknown,
    /// No answer.
    Failed(FailureKind),
}

/// A JSONPath, and how it was written.
#[derive(Clone, PartialEq)]
pub struct Path(JsonPath, String);

impl Path {
    /// Parses it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Path, String> {
        JsonPath::parse(text).map(|path| Path(path, text.to_owned())).map_err(|error| error.to_string())
    }

    /// Every value that it leads to.
    pub fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.0.query(value).all()
    }

    /// What it takes all members of, or those that a filter selects, where it ends with either.
    pub fn above_all(&self) -> Option<Path> {
        let text = self.1.trim_end();
        match text.strip_suffix("[*]") {
            Some(above) => Path::parse(above).ok(),
            // What stands before a filter within a filter is no path.
            None => {
                let filters = text.ends_with(']').then(|| text.rmatch_indices("[?"));
                filters?.find_map(|(place, _)| Path::parse(&text[..place]).ok())
            }
        }
    }

    /// The first of them.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.query(value).first()
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

/// Something that an answer may fulfil.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// One of these statuses; any 2xx when there is none.
    pub statuses: Vec<u16>,
    /// What is to be there, where it is not the status alone.
    pub says: Option<(Option<Path>, Test)>,
}

/// What is asked of the values at a path, or of the whole body. Texts are compared in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// There is a value, and it is empty: `[]`, `{}`, `""` or `null`.
    Empty,
    /// There is a value that is not.
    Filled,
    /// There is no value.
    Missing,
    /// One of these, whole.
    Equals(Vec<String>),
    /// One of these, as a part.
    Contains(Vec<String>),
}

impl Condition {
    fn holds(&self, status: u16, text: &str, body: Option<&Value>) -> bool {
        let of_status = match &*self.statuses {
            [] => (200..300).contains(&status),
            listed => listed.contains(&status),
        };
        let says = || match &self.says {
            None => true,
            // A page that somebody else wrote says nothing in the vendor's name.
            Some((None, test)) => !is_markup(text.as_bytes()) && test.holds_for_text(text),
            Some((Some(path), test)) => body.is_some_and(|body| test.holds(&path.all(body))),
        };
        of_status && says()
    }
}

impl Test {
    fn holds(&self, values: &[&Value]) -> bool {
        let texts = || values.iter().filter_map(|value| text(value));
        match self {
            Test::Missing => values.is_empty(),
            Test::Empty => !values.is_empty() && values.iter().all(|value| is_empty(value)),
            Test::Filled => values.iter().any(|value| !is_empty(value)),
            Test::Equals(_) | Test::Contains(_) => texts().any(|text| self.holds_for_text(&text)),
        }
    }

    fn holds_for_text(&self, text: &str) -> bool {
        let text = text.trim().to_lowercase();
        match self {
            Test::Missing | Test::Empty => text.is_empty(),
            Test::Filled => !text.is_empty(),
            Test::Equals(words) => words.iter().any(|word| word.to_lowercase() == text),
            Test::Contains(words) => words.iter().any(|word| text.contains(&word.to_lowercase())),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        other => lenient::text(other),
    }
}

/// The body that `status` and `body` are, where it is one to be read; `None` when they say that the vendor does not know the
/// entity. `wait` is how long the vendor wants to be left alone.
fn understood<'r>(
    conditions: impl IntoIterator<Item = &'r (Condition, Meaning)>,
    (status, body): (u16, &[u8]),
    wait: Option<Duration>,
) -> Result<Option<Value>, Failure> {
    let text = String::from_utf8_lossy(body);
    let tree = serde_json::from_slice::<Value>(body);
    let holds = |(condition, _): &&(Condition, Meaning)| condition.holds(status, &text, tree.as_ref().ok());
    match conditions.into_iter().find(holds) {
        // A proxy's page is not the vendor's word for "not found", whatever the status.
        Some((_, Meaning::Unknown)) if !is_markup(body) => return Ok(None),
        Some((_, Meaning::Failed(kind))) => {
            let detail = format!("HTTP {status}: a condition under `failed` holds");
            return Err(Failure { retry_after: wait, ..Failure::new(*kind, detail) });
        }
        _ if !(200..300).contains(&status) => return Err(refusal(status, body, wait)),
        _ => {}
    }
    tree.map(Some).map_err(|_| Failure::malformed(format!("HTTP {status} with a body that is not JSON")))
}

/// The body of a page of the vendor's list. What stands under `unknown` is about one entity and says nothing here.
///
/// # Errors
/// What conditions under `failed` and statuses say, and `malformed_response` for what is not JSON.
pub fn list(rules: &Rules, (status, body): (u16, &[u8]), wait: Option<Duration>) -> Result<Value, Failure> {
    let failed = rules.conditions.iter().filter(|(_, meaning)| *meaning != Meaning::Unknown);
    let tree = understood(failed, (status, body), wait)?;
    tree.ok_or_else(|| Failure::malformed("the answer to a list is not a list"))
}

/// The vendor's own id, at `take` of what it said; `None` when it does not know the entity.
///
/// # Errors
/// What conditions and statuses say, and `unresolved` when there is no id.
pub fn own_id(
    rules: &Rules,
    take: &Path,
    said: (u16, &[u8]),
    wait: Option<Duration>,
) -> Result<Option<String>, Failure> {
    let Some(tree) = understood(&rules.conditions, said, wait)? else { return Ok(None) };
    let id = take.first(&tree).and_then(lenient::text);
    id.map(Some).ok_or_else(|| {
        Failure::new(
            FailureKind::Unresolved,
            "nothing stands at resolve.take: where this is how the vendor says that it does not know an entity, write it \
             under `unknown`",
        )
    })
}

/// What `said` (status and body) says about the entity `id`; `wait` is how long the vendor wants to be left alone.
///
/// # Errors
/// What conditions and statuses say, and `malformed_response` for what no rule explains.
pub fn answer(
    rules: &Rules,
    id: &str,
    said: (u16, &[u8]),
    wait: Option<Duration>,
    scale: &Scale,
) -> Result<Answer, Failure> {
    let Some(tree) = understood(&rules.conditions, said, wait)? else {
        return Ok(Answer::Unknown { detail: None });
    };
    let rows = rules.row.all(&tree);
    if rows.is_empty() {
        return Err(Failure::malformed(
            "nothing stands at answer.row: where this is how the vendor says that it does not know an entity, write it under \
             `unknown`",
        ));
    }
    let ours = rows.into_iter().filter(|row| {
        rules.identifier.as_ref().is_none_or(|path| {
            path.all(row)
                .into_iter()
                .filter_map(self::text)
                .any(|text| text.to_lowercase() == id.to_lowercase())
        })
    });
    let read: Vec<Reading> = ours.map(|row| rules.read(row, scale)).collect::<Result<_, _>>()?;
    let best = read.into_iter().max_by_key(|reading| match reading {
        Reading::NoLevel => None,
        Reading::Scored(scored) => Some((scored.score, scored.level)),
    });
    Ok(match best {
        None => Answer::Unknown { detail: None },
        Some(Reading::NoLevel) => Answer::Unknown { detail: Some("no_level") },
        Some(Reading::Scored(scored)) => Answer::Scored(scored),
    })
}

/// What one row says.
enum Reading {
    Scored(Box<Scored>),
    /// The vendor knows the entity and no level of it.
    NoLevel,
}

impl Rules {
    /// What a row of the vendor's list says.
    ///
    /// # Errors
    /// No rule explains it.
    pub fn listed(&self, row: &Value, scale: &Scale) -> Result<Answer, Failure> {
        Ok(match self.read(row, scale)? {
            Reading::NoLevel => Answer::Unknown { detail: Some("no_level") },
            Reading::Scored(scored) => Answer::Scored(scored),
        })
    }

    fn read(&self, row: &Value, scale: &Scale) -> Result<Reading, Failure> {
        let at = |path: &Option<Path>| path.as_ref().and_then(|path| path.first(row));
        let number = at(&self.score).and_then(lenient::number);
        let (low, high) = self.range;
        let score = number.as_ref().and_then(serde_json::Number::as_f64);
        let score = score.and_then(|number| Score::clamped((number - low) / (high - low) * 100.0));
        let word = at(&self.level).and_then(lenient::text);
        let level = match word.as_deref().map(|word| self.level_of(word)) {
            Some(Some(None)) => return Ok(Reading::NoLevel),
            Some(Some(Some(level))) => Some(level),
            // A word that nobody told us: the number says enough, where there is one.
            Some(None) if score.is_none() => {
                return Err(Failure::malformed(
                    "the word at answer.level is not known: add it to answer.words",
                ));
            }
            Some(None) | None => None,
        };
        let (score, level) = match (score, level) {
            (Some(score), Some(level)) => (score, level),
            (Some(score), None) => (score, scale.levels.level(score)),
            (None, Some(level)) => (scale.points.score(level), level),
            (None, None) => {
                return Err(Failure::malformed(
                    "a row without a number at answer.score and without a word at answer.level: where this is how the vendor \
                     says that it does not know an entity, write it under `unknown`",
                ));
            }
        };
        let whole = |value: &Value| lenient::number(value).and_then(|number| number.as_u64());
        let moment = |path| at(path).and_then(lenient::moment);
        let details = &self.details;
        let reasons = details.reasons.iter().flat_map(|path| path.all(row)).filter_map(lenient::text);
        let attribute = |(name, path): &(String, Path)| Some((name.clone(), path.first(row)?.clone()));
        Ok(Reading::Scored(Box::new(Scored {
            score,
            level,
            raw: Raw { score: number, level: word, scale: self.scale.clone().into() },
            delta: at(&details.delta).and_then(lenient::number),
            signals: at(&details.signals).and_then(whole),
            first_seen: moment(&details.first_seen),
            last_seen: moment(&details.last_seen),
            reasons: reasons.collect(),
            attributes: details
                .attributes
                .iter()
                .filter_map(attribute)
                .filter(|(_, value)| !value.is_null())
                .collect::<Map<_, _>>(),
        })))
    }

    /// The level that a word stands for, `None` within where it stands for none; `None` when it is not known.
    fn level_of(&self, word: &str) -> Option<Option<Level>> {
        let word = word.to_lowercase();
        let told = self.words.iter().find(|(known, _)| known.to_lowercase() == word).map(|(_, level)| *level);
        told.or_else(|| word.parse().ok().map(Some))
    }
}

/// The failure that a status stands for where no condition says otherwise.
fn refusal(status: u16, body: &[u8], wait: Option<Duration>) -> Failure {
    let (kind, cure) = match status {
        401..=403 if is_markup(body) => (
            FailureKind::MalformedResponse,
            "a page that is not the vendor's API: is there a proxy on the way?",
        ),
        400 | 422 => (FailureKind::BadRequest, "the vendor takes the request for wrong: check `request`"),
        401 => (FailureKind::Unauthorised, "check `auth`, and that base_url is the place that it is for"),
        402 => (FailureKind::Unlicensed, "the vendor wants a licence for this"),
        403 => (FailureKind::Forbidden, "what `auth` names lacks a permission"),
        404 => (
            FailureKind::BadRequest,
            "check base_url and request.path; where this is how the vendor says that it does not know an entity, write it \
             under `unknown`",
        ),
        408 | 504 => (FailureKind::Timeout, "the vendor gave up waiting for itself"),
        429 => (FailureKind::RateLimited, "the vendor's quota is used up: set `limit`"),
        500..=599 => (FailureKind::ServerError, "the vendor failed"),
        405..=499 => (FailureKind::BadRequest, "refused: check `request`"),
        _ => (
            FailureKind::MalformedResponse,
            "not the status of an answer: check base_url, or the proxy between",
        ),
    };
    Failure { retry_after: wait, ..Failure::new(kind, format!("HTTP {status}: {cure}")) }
}

#[cfg(test)]
#[path = "normalise_tests.rs"]
mod tests;
