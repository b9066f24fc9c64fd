//! Datadog's answer on the common scale. Pure.
//!
//! Owns what each status and body means. Never recomputes a severity that Datadog gives: its own example breaks its
//! own table. Never takes a 404 for "unknown" unless Datadog wrote it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::wire::{self, Attributes, Document, List, Resource};
use crate::provider::lenient::{self, is_markup};
use crate::provider::snapshot::{Page, Row};
use crate::provider::{Answer, Failure, FailureKind, Raw, Scored};
use crate::score::{Level, Scale, Score};

/// What Datadog's number means.
pub const SCALE: &str = "sum of signal impacts, unbounded";

/// What `status` and `body` say about the entity that was asked about; `wait` is how long the vendor wants to be
/// left alone.
///
/// # Errors
/// Every status but 200 and a 404 in Datadog's own words, and a 200 without a score in it.
pub fn answer(status: u16, body: &[u8], wait: Option<Duration>, scale: &Scale) -> Result<Answer, Failure> {
    match status {
        200 => scored(body, scale).map(|scored| Answer::Scored(Box::new(scored))),
        404 if wire::errors(body).is_some() => Ok(Answer::Unknown { detail: None }),
        _ => Err(refusal(status, body, wait)),
    }
}

/// The failure that a status other than 200 stands for.
pub fn refusal(status: u16, body: &[u8], wait: Option<Duration>) -> Failure {
    let (kind, cure) = match status {
        // A firewall's or proxy's page: not a word from Datadog about our keys, so it must not count as one.
        401 | 403 if is_markup(body) => (
            FailureKind::MalformedResponse,
            "a page that Datadog did not write: is there a proxy on the way?",
        ),
        400 => (FailureKind::BadRequest, "Datadog takes this entity id or request for wrong"),
        401 => {
            (FailureKind::Unauthorised, "check `api_key` and `application_key`, and that `site` is theirs")
        }
        403 => (
            FailureKind::Forbidden,
            "check that the keys are of this `site` and that the application key may read security signals",
        ),
        404 => {
            (FailureKind::MalformedResponse, "not Datadog's own \"not found\": check `site` or `base_url`")
        }
        408 | 504 => (FailureKind::Timeout, "Datadog gave up waiting for itself"),
        429 => (FailureKind::RateLimited, "Datadog's quota is used up: set `limit`"),
        500..=599 => (FailureKind::ServerError, "Datadog failed"),
        402 | 405..=499 => (FailureKind::BadRequest, "refused: check `site` or `base_url`"),
        _ => (FailureKind::MalformedResponse, "not a status of this API: check `site` or `base_url`"),
    };
    Failure { retry_after: wait, ..Failure::new(kind, format!("HTTP {status}: {cure}")) }
}

fn scored(body: &[u8], scale: &Scale) -> Result<Scored, Failure> {
    let document: Document = lenient::object(body)
        .map_err(|what| Failure::malformed(format!("HTTP 200 with a body that is {what}")))?;
    read(document.data.unwrap_or_default(), scale)
}

/// What the page of the list at `place` says.
///
/// # Errors
/// Every status but 200, and a 200 without a list, or with rows of which none has an id.
pub fn page(
    status: u16,
    body: &[u8],
    wait: Option<Duration>,
    place: Place<'_>,
    scale: &Scale,
) -> Result<Page, Failure> {
    if status != 200 {
        return Err(refusal(status, body, wait));
    }
    let list: List = lenient::object(body)
        .map_err(|what| Failure::malformed(format!("HTTP 200 with a list that is {what}")))?;
    let total = list.meta.total_row_count.as_ref().and_then(Number::as_u64);
    let empty = list.data.is_empty();
    let read_so_far = place.read + list.data.len() as u64;
    let row = |resource: Resource| {
        let name = resource.id.clone().filter(|id| !id.is_empty())?;
        let answer = read(resource, scale).map(|scored| Answer::Scored(Box::new(scored)));
        Some(Row { name, rank: 0, answer: answer.map_err(|failure| failure.kind) })
    };
    let mut page = Page::of(list.data.into_iter().map(row))?;
    // The size of a page is the vendor's to choose, so rows are counted. Without a number of them it ends with an empty page.
    let last = empty || total.is_some_and(|total| read_so_far >= total);
    let query = list.meta.query_id.filter(|id| !id.is_empty()).unwrap_or_else(|| place.query.to_owned());
    let next = Place { number: place.number.saturating_add(1), read: read_so_far, query: &query };
    page.next = (!last).then(|| next.cursor());
    page.cut |= total.is_some_and(|total| last && read_so_far < total);
    page.promised = total;
    Ok(page)
}

/// Where a page of the list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Rows on the pages before it.
    pub read: u64,
    /// What keeps it in what was true for the first one.
    pub query: &'a str,
}

impl<'a> Place<'a> {
    /// The place that a cursor tells of; without one the first.
    pub fn of(cursor: Option<&'a str>) -> Self {
        let mut parts = cursor.unwrap_or_default().splitn(3, ' ');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (number, read) = (number().unwrap_or(1), number().unwrap_or(0));
        Place { number, read, query: parts.next().unwrap_or_default() }
    }

    fn cursor(self) -> String {
        format!("{} {} {}", self.number, self.read, self.query)
    }
}

fn read(resource: Resource, scale: &Scale) -> Result<Scored, Failure> {
    let attributes = resource.attributes.unwrap_or_default();
    let number = attributes.risk_score.clone();
    let score = number.as_ref().and_then(Number::as_f64).and_then(Score::clamped);
    let score =
        score.ok_or_else(|| Failure::malformed("HTTP 200 without a number in data.attributes.riskScore"))?;
    let given = attributes.severity.clone().filter(|word| !word.is_empty());
    let level = given.as_deref().and_then(|word| word.to_ascii_lowercase().parse::<Level>().ok());
    Ok(Scored {
        score,
        level: level.unwrap_or_else(|| scale.levels.level(score)),
        raw: Raw { score: number, level: given, scale: SCALE.into() },
        delta: attributes.risk_score_evolution.clone(),
        signals: attributes.signals_detected.as_ref().and_then(whole).and_then(|count| count.try_into().ok()),
        first_seen: attributes.first_detected.as_ref().and_then(moment),
        last_seen: attributes.last_detected.as_ref().and_then(moment),
        reasons: attributes.last_activity_title.iter().filter(|title| !title.is_empty()).cloned().collect(),
        attributes: details(resource.id, &attributes),
    })
}

/// What has no place of its own, flat, under snake_case names.
fn details(id: Option<String>, attributes: &Attributes) -> Map<String, Value> {
    let mut all = Map::new();
    add(&mut all, &attributes.details);
    add(&mut all, &attributes.config_risks);
    add(&mut all, &attributes.entity_metadata);
    if let Some(id) = id {
        all.insert("entity_id".to_owned(), Value::String(id));
    }
    all
}

fn add(all: &mut Map<String, Value>, part: &impl Serialize) {
    if let Ok(Value::Object(members)) = serde_json::to_value(part) {
        all.extend(members.into_iter().filter(|(_, value)| !value.is_null()));
    }
}

/// A moment from Unix milliseconds; Datadog's zero is "never".
fn moment(milliseconds: &Number) -> Option<Timestamp> {
    whole(milliseconds).filter(|ms| *ms > 0).and_then(|ms| Timestamp::from_millisecond(ms).ok())
}

/// The whole part of a number that may have been written as a float.
fn whole(number: &Number) -> Option<i64> {
    // A float outside the range saturates and is then refused or bounded by whoever uses it.
    number.as_i64().or_else(|| number.as_f64().map(|float| float as i64))
}
