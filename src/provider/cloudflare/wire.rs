//! Cloudflare's JSON, read leniently: the envelope that every answer comes in, and what is inside.
//!
//! An envelope is known by its `success`; everything else may be missing or `null`, and what is only passed on may
//! be any JSON. Never decides what an answer means.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::provider::lenient::{object, or_default, or_no_number};

/// What every answer of the API comes in.
#[derive(Debug, Deserialize)]
pub struct Envelope {
    /// Whether the request did what it asked for.
    pub success: bool,
    /// Why not.
    #[serde(default, deserialize_with = "or_default")]
    pub errors: Vec<Error>,
    /// The answer.
    #[serde(default)]
    pub result: Option<Value>,
    /// Where in a list the answer stands.
    #[serde(default, deserialize_with = "or_default")]
    pub result_info: ResultInfo,
}

/// One of an envelope's errors. Its text is not read: it may repeat what was asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Error {
    /// At least 1000; undocumented for this API.
    #[serde(deserialize_with = "or_default")]
    pub code: i64,
}

/// `result_info` of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResultInfo {
    /// Pages in all.
    #[serde(deserialize_with = "or_default")]
    pub total_pages: Option<u64>,
}

/// `result` of a user's score.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct User {
    /// `low`, `medium` or `high`: the highest of the user's events. Absent when nothing was seen since the last
    /// reset.
    #[serde(deserialize_with = "or_default")]
    pub risk_level: Option<String>,
    /// What was seen.
    #[serde(deserialize_with = "or_default")]
    pub events: Vec<Event>,
    /// E-mail address.
    pub email: Option<Value>,
    /// Name.
    pub name: Option<Value>,
    /// When somebody last cleared the user's risk.
    pub last_reset_time: Option<Value>,
}

/// One behaviour that raised a user's risk.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Event {
    /// Cloudflare's id of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// Name of the behaviour.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Level of the behaviour; each account sets its own.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Option::is_none")]
    pub risk_level: Option<String>,
    /// RFC 3339.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_details: Option<Value>,
}

/// `result` of the account's summary: the users with events.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Absent users have no known risk.
    #[serde(deserialize_with = "or_default")]
    pub users: Option<Vec<SummaryUser>>,
}

/// One row of the summary.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SummaryUser {
    /// The id that a score is asked by.
    #[serde(deserialize_with = "or_default")]
    pub user_id: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "or_default")]
    pub email: Option<String>,
    /// What the score's own answer calls `risk_level`.
    #[serde(deserialize_with = "or_default")]
    pub max_risk_level: Option<String>,
    /// Name.
    pub name: Option<Value>,
    /// How many events there were.
    #[serde(deserialize_with = "or_no_number")]
    pub event_count: Option<Number>,
    /// When the last one was.
    pub last_event: Option<Value>,
}

/// One row of the account's list of Access users.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AccessUser {
    /// The user's UUID.
    #[serde(deserialize_with = "or_default")]
    pub id: Option<String>,
    /// Another id of the user; which of the two a score is asked by is not documented.
    #[serde(deserialize_with = "or_default")]
    pub uid: Option<String>,
    /// E-mail address.
    #[serde(deserialize_with = "or_default")]
    pub email: Option<String>,
}

/// The envelope in `body`, where Cloudflare wrote it.
pub fn envelope(body: &[u8]) -> Option<Envelope> {
    object(body).ok()
}
