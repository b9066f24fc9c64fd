//! The vendor's rows to our answer: which row counts, and what it says on the common scale.
//!
//! Pure. Contract: a score comes from a row about the entity that was asked about, or not at all.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::config::Window;
use super::wire::{self, Delta, Row, member};
use crate::provider::lenient::present;
use crate::provider::{Answer, Failure, FailureKind, Raw, Scored, snapshot};
use crate::score::{Scale, Score};

/// What the vendor's number means.
pub const SCALE: &str = "0-1000, normalised per window";

/// What a row of the configured window is above all others by: more than any time in seconds.
const OVER: i64 = 1 << 40;

/// The answer that `rows` give about the entity whose indicator is one of `names`.
///
/// An entity comes once for each window. The row of the configured window counts, of several the latest; where
/// none has that length, the latest of all. A row that names another entity does not count: the filter's `:`
/// may match a part of an e-mail.
pub fn answer(rows: &[Row], names: &[&str], window: Window, scale: &Scale) -> Answer {
    let ours = rows.iter().filter(|row| is_about(row, names));
    let best = ours.max_by_key(|row| (is_over(row, window), row.window_end, score(row)));
    match best.and_then(|row| scored(row, scale)) {
        Some(scored) => Answer::Scored(Box::new(scored)),
        None if rows.is_empty() => Answer::Unknown { detail: None },
        None => Answer::Unknown { detail: Some("other_entities") },
    }
}

/// What a page of the list says of whom. Of an entity's windows the configured one counts most, then the latest; one that is
/// longer, or was over at `from` already, says as little as no row: a look-up would not be told of it.
///
/// # Errors
/// No row says whom it is about.
pub fn listed(
    page: &wire::Page,
    window: Window,
    from: Timestamp,
    scale: &Scale,
) -> Result<snapshot::Page, Failure> {
    let mut rows = Vec::new();
    for row in &page.rows {
        let mut names = Vec::new();
        row.indicator.iter().for_each(|indicator| indicated("", indicator, &mut names));
        if names.is_empty() {
            described(row, &mut names);
        }
        if names.is_empty() {
            rows.push(None);
        }
        let answer = scored(row, scale).ok_or(FailureKind::MalformedResponse);
        let answer = answer.map(|scored| Answer::Scored(Box::new(scored)));
        let end = row.window_end.map_or(0, Timestamp::as_second);
        let (rank, answer) = if is_within(row, window, from) {
            (end + if is_over(row, window) { OVER } else { 0 }, answer)
        } else {
            (i64::MIN, Ok(Answer::Unknown { detail: None }))
        };
        rows.extend(names.into_iter().map(|name| Some(snapshot::Row { name, rank, answer: answer.clone() })));
    }
    Ok(snapshot::Page { next: page.next.clone(), ..snapshot::Page::of(rows)? })
}

/// What an entity is called in the list: a member of its indicator, and the value.
pub fn name(member: &str, value: &str) -> String {
    let member = member.replace('_', "").to_ascii_lowercase();
    format!("{member}={}", plain(value))
}

/// The names in an indicator.
fn indicated(member: &str, value: &Value, names: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.trim().is_empty() => names.push(name(member, text)),
        Value::Array(items) => items.iter().for_each(|item| indicated(member, item, names)),
        Value::Object(members) => members.iter().for_each(|(member, item)| indicated(member, item, names)),
        _ => {}
    }
}

/// The names in what the row tells of the entity, where it has no indicator.
fn described(row: &Row, names: &mut Vec<String>) {
    let part = |of: &'_ Map<String, Value>, name| member(of, name).cloned();
    let entity = row.entity.as_ref().and_then(Value::as_object).and_then(|entity| part(entity, "entity"));
    let Some(Value::Object(noun)) = entity else { return };
    let user = part(&noun, "user");
    let user = user.as_ref().and_then(Value::as_object);
    let told = [
        ("hostname", part(&noun, "hostname")),
        ("asset_ip_address", part(&noun, "ip")),
        ("email", part(&noun, "email")),
        ("email", user.and_then(|user| part(user, "email_addresses"))),
        ("user_name", user.and_then(|user| part(user, "userid"))),
    ];
    for (member, value) in told {
        value.iter().for_each(|value| indicated(member, value, names));
    }
}

/// Whether the row is about an entity with one of these names; also when it does not say whom it is about.
fn is_about(row: &Row, names: &[&str]) -> bool {
    let mut said = Vec::new();
    row.indicator.iter().for_each(|indicator| texts(indicator, &mut said));
    if said.is_empty() {
        return true;
    }
    // The indicator is the most reliable of an entity's names, and may be another than we asked by.
    row.entity.iter().for_each(|entity| texts(entity, &mut said));
    said.iter().any(|text| names.iter().any(|name| is_same(text, name)))
}

fn is_same(a: &str, b: &str) -> bool {
    plain(a) == plain(b)
}

fn plain(text: &str) -> String {
    text.trim().trim_end_matches('.').to_lowercase()
}

fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

/// Whether the row's window has the length of `window`, give or take an hour in a day.
fn is_over(row: &Row, window: Window) -> bool {
    length(row).is_some_and(|length| length.abs_diff(window.length()) <= window.length() / 24)
}

/// Whether the row may be of what happened since `from`, and in no more than a `window`. One that does not say so may.
fn is_within(row: &Row, window: Window, from: Timestamp) -> bool {
    let short = length(row).is_none_or(|length| length <= window.length() + window.length() / 24);
    short && row.window_end.is_none_or(|end| end > from)
}

fn length(row: &Row) -> Option<Duration> {
    let (start, end) = (row.window_start?, row.window_end?);
    Some(Duration::try_from(end.duration_since(start)).unwrap_or_default())
}

fn score(row: &Row) -> Option<Score> {
    Score::clamped(row.score.as_f64()? / 10.0)
}

fn scored(row: &Row, scale: &Scale) -> Option<Scored> {
    let score = score(row)?;
    let delta = row.delta.as_ref();
    Some(Scored {
        score,
        level: scale.levels.level(score),
        raw: Raw { score: Some(row.score.clone()), level: None, scale: SCALE.into() },
        delta: delta.and_then(|delta| delta.percent.clone().or_else(|| delta.numeric.clone())),
        signals: row.detections,
        first_seen: row.first_detection,
        last_seen: row.last_detection,
        reasons: Vec::new(),
        attributes: attributes(row),
    })
}

fn attributes(row: &Row) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            all.insert(name.to_owned(), value);
        }
    };
    put(
        "risk_window",
        object([("start_time", moment(row.window_start)), ("end_time", moment(row.window_end))]),
    );
    put("raw_risk_score", row.raw_score.clone().map(Value::Number));
    put("risk_delta", row.delta.as_ref().and_then(change));
    put("raw_risk_delta", row.raw_delta.as_ref().and_then(change));
    put("entity_id", row.entity_id.clone().map(Value::String));
    put("entity_indicator", row.indicator.as_ref().map(snake));
    let entity = row.entity.as_ref().and_then(Value::as_object);
    let part = |name| entity.and_then(|entity| member(entity, name)).and_then(Value::as_object);
    put("entity_type", part("metadata").and_then(|metadata| member(metadata, "entity_type")).cloned());
    let noun = part("entity");
    for name in ["hostname", "ip", "email", "namespace", "asset_id"] {
        put(name, noun.and_then(|noun| member(noun, name)).cloned());
    }
    let user = noun.and_then(|noun| member(noun, "user")).and_then(Value::as_object);
    for (name, theirs) in
        [("user_id", "userid"), ("email_addresses", "email_addresses"), ("display_name", "user_display_name")]
    {
        put(name, user.and_then(|user| member(user, theirs)).cloned());
    }
    all
}

fn change(delta: &Delta) -> Option<Value> {
    let number = |number: &Option<Number>| number.clone().map(Value::Number);
    object([
        ("risk_score_delta", number(&delta.percent)),
        ("risk_score_numeric_delta", number(&delta.numeric)),
        ("previous_risk_score", number(&delta.previous)),
        ("previous_range_end_time", moment(delta.previous_end)),
    ])
}

fn moment(time: Option<Timestamp>) -> Option<Value> {
    time.map(|time| Value::String(time.to_string()))
}

/// An object of the members that are there; `None` when none is.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Option<Value> {
    let members = present(members);
    (!members.is_empty()).then_some(Value::Object(members))
}

/// The same value with its keys in `snake_case`.
fn snake(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (snake_name(name), snake(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(snake).collect()),
        other => other.clone(),
    }
}

fn snake_name(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, c| {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
        snake
    })
}

#[cfg(test)]
#[path = "normalise_tests.rs"]
mod tests;
