//! The vendor's JSON, read leniently: what a page of risk scores and an error say.
//!
//! The vendor's page exists in two copies, one with `risk_score` and one with `riskScore`, and no recorded
//! answer is public, so every member is found in either spelling. Numbers may be written as integers, with a
//! fraction, or as strings. Members with the default value are left out (proto3), so a row without
//! `risk_score` has the score 0. Contract: what cannot be read is `malformed_response`, never a score.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use crate::http::Response;
use crate::provider::lenient::number;
use crate::provider::quota::{self, LONGEST};
use crate::provider::{Failure, FailureKind};

/// One page of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// `entity_risk_scores`.
    pub rows: Vec<Row>,
    /// `next_page_token`, unless it is empty.
    pub next: Option<String>,
}

/// One entity over one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `risk_score`, 0 to 1000; 0 when it is left out.
    pub score: Number,
    /// `raw_risk_score`, unbounded.
    pub raw_score: Option<Number>,
    /// `risk_delta`.
    pub delta: Option<Delta>,
    /// `raw_risk_delta`.
    pub raw_delta: Option<Delta>,
    /// `detections_count`; 0 when it is left out.
    pub detections: Option<u64>,
    /// `first_detection_time`.
    pub first_detection: Option<Timestamp>,
    /// `last_detection_time`.
    pub last_detection: Option<Timestamp>,
    /// Start of `risk_window`.
    pub window_start: Option<Timestamp>,
    /// End of `risk_window`.
    pub window_end: Option<Timestamp>,
    /// `entity_indicator`.
    pub indicator: Option<Value>,
    /// `entity`: `{metadata, entity, ...}`.
    pub entity: Option<Value>,
    /// `entity_id`: opaque.
    pub entity_id: Option<String>,
}

/// `EntityRiskDelta`; a member that is left out is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// `risk_score_delta`: a percentage, at most 200.
    pub percent: Option<Number>,
    /// `risk_score_numeric_delta`.
    pub numeric: Option<Number>,
    /// `previous_risk_score`.
    pub previous: Option<Number>,
    /// `previous_range_end_time`.
    pub previous_end: Option<Timestamp>,
}

const PAGE: [&str; 4] =
    ["entity_risk_scores", "detections_counts", "next_page_token", "entity_count_distributions"];
const ROW: [&str; 5] = ["entity", "entity_indicator", "entity_id", "risk_window", "risk_score"];

impl Page {
    /// Reads the body of a 200.
    ///
    /// # Errors
    /// `malformed_response` for what is not a page: no JSON object, or one with only foreign members.
    pub fn read(body: &[u8]) -> Result<Page, Failure> {
        let body: Value = serde_json::from_slice(body).map_err(|_| {
            Failure::malformed("HTTP 200 with a body that is no JSON: is there a proxy between?")
        })?;
        let Value::Object(page) = body else {
            return Err(Failure::malformed("the answer is no JSON object"));
        };
        // `{}` is the vendor's "nothing found". Something else's JSON must not pass for it.
        if !page.is_empty() && !PAGE.iter().any(|name| member(&page, name).is_some()) && !all_null(&page) {
            return Err(Failure::malformed("the answer has none of the members of a page of risk scores"));
        }
        let rows = match member(&page, "entity_risk_scores") {
            None => Vec::new(),
            Some(Value::Array(rows)) => rows.iter().map(Row::read).collect::<Result<_, _>>()?,
            Some(_) => return Err(Failure::malformed("entity_risk_scores is no list")),
        };
        let next = match member(&page, "next_page_token") {
            None => None,
            Some(Value::String(token)) => Some(token.clone()).filter(|token| !token.is_empty()),
            Some(_) => return Err(Failure::malformed("next_page_token is no string")),
        };
        Ok(Page { rows, next })
    }
}

impl Row {
    fn read(row: &Value) -> Result<Row, Failure> {
        let Value::Object(row) = row else {
            return Err(Failure::malformed("a row of entity_risk_scores is no object"));
        };
        // A score of 0 is left out, but a row of nothing at all is not one.
        if !ROW.iter().any(|name| member(row, name).is_some()) {
            return Err(Failure::malformed("a row of entity_risk_scores says nothing"));
        }
        let score = match member(row, "risk_score") {
            None => Number::from(0),
            Some(value) => number(value).ok_or_else(|| Failure::malformed("risk_score is no number"))?,
        };
        let detections = match member(row, "detections_count") {
            None => Some(0),
            Some(value) => number(value).and_then(|count| count.as_u64()),
        };
        let window = member(row, "risk_window").and_then(Value::as_object);
        let edge = |name| window.and_then(|window| time(window, name));
        Ok(Row {
            score,
            raw_score: member(row, "raw_risk_score").and_then(number),
            delta: member(row, "risk_delta").and_then(Delta::read),
            raw_delta: member(row, "raw_risk_delta").and_then(Delta::read),
            detections,
            first_detection: time(row, "first_detection_time"),
            last_detection: time(row, "last_detection_time"),
            window_start: edge("start_time"),
            window_end: edge("end_time"),
            indicator: member(row, "entity_indicator").cloned(),
            entity: member(row, "entity").cloned(),
            entity_id: member(row, "entity_id").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

impl Delta {
    fn read(value: &Value) -> Option<Delta> {
        let delta = value.as_object()?;
        let part = |name| match member(delta, name) {
            None => Some(Number::from(0)),
            Some(value) => number(value),
        };
        Some(Delta {
            percent: part("risk_score_delta"),
            numeric: part("risk_score_numeric_delta"),
            previous: part("previous_risk_score"),
            previous_end: time(delta, "previous_range_end_time"),
        })
    }
}

/// The member of that name, in `snake_case` or `camelCase`, unless it is null.
pub fn member<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let plain = |text: &str| -> Vec<u8> {
        text.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase()).collect()
    };
    let exact = object.get(name).filter(|value| !value.is_null());
    exact.or_else(|| {
        let wanted = plain(name);
        object.iter().find(|(key, value)| !value.is_null() && plain(key) == wanted).map(|(_, value)| value)
    })
}

fn all_null(object: &Map<String, Value>) -> bool {
    object.values().all(Value::is_null)
}

fn time(object: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    member(object, name)?.as_str()?.trim().parse().ok()
}

/// What a status other than 2xx says, at `now`.
pub fn refusal(response: &Response, now: Timestamp) -> Failure {
    let status = response.status;
    let error = ErrorBody::read(&response.body);
    let word = error.as_ref().map_or(String::new(), |error| format!(" {}", error.status));
    let fail = |kind, what: &str| Failure::new(kind, format!("HTTP {status}{word}: {what}"));
    // A gateway of Google's says these with a page of HTML, too, and means the same.
    let mut failure = match status {
        408 | 504 => fail(FailureKind::Timeout, "Google SecOps did not answer in time"),
        429 => fail(FailureKind::RateLimited, "the project's quota is used up"),
        500..=599 => fail(FailureKind::ServerError, "Google SecOps failed"),
        _ => match &error {
            None => fail(
                FailureKind::MalformedResponse,
                "not an answer of Google's: check base_url, or the proxy between",
            ),
            Some(error) => error.failure(status, fail),
        },
    };
    if failure.kind.retryable() {
        let header = quota::wait(status, &response.headers, now);
        failure.retry_after = header.or_else(|| error.and_then(|error| error.retry_after));
    }
    failure
}

/// `{"error": {"code", "message", "status", "details"}}`, which is how all of Google's APIs fail. The message is
/// not kept: it repeats the filter, and with it the identifier.
struct ErrorBody {
    status: String,
    reasons: Vec<String>,
    retry_after: Option<Duration>,
}

impl ErrorBody {
    fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        // Some of the gateways wrap it in a list.
        let body = body.as_array().and_then(|list| list.first()).unwrap_or(&body);
        let error = member(body.as_object()?, "error")?.as_object()?;
        let known = ["code", "message", "status"].iter().any(|name| member(error, name).is_some());
        let details = member(error, "details").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let text = |name: &'static str| {
            details.iter().filter_map(move |detail| member(detail.as_object()?, name)?.as_str())
        };
        let seconds: Option<f64> =
            text("retry_delay").find_map(|delay| delay.strip_suffix('s')?.parse().ok());
        let retry_after =
            seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok());
        known.then(|| ErrorBody {
            status: member(error, "status").and_then(Value::as_str).map(word).unwrap_or_default(),
            reasons: text("reason").map(word).collect(),
            retry_after,
        })
    }

    fn failure(&self, status: u16, fail: impl Fn(FailureKind, &str) -> Failure) -> Failure {
        let reason = |name: &str| self.reasons.iter().any(|reason| reason == name);
        match status {
            401 => fail(
                FailureKind::Unauthorised,
                "Google SecOps refuses the token: check the credential, and that its scope is cloud-platform",
            ),
            403 if reason("SERVICE_DISABLED") => fail(
                FailureKind::Forbidden,
                "the Chronicle API is switched off: enable chronicle.googleapis.com in the project",
            ),
            403 => fail(
                FailureKind::Forbidden,
                "grant chronicle.entityRiskScores.queryEntityRiskScores on the instance",
            ),
            404 => fail(
                FailureKind::BadRequest,
                "no such instance: check project, location and instance, and that the location's host is asked",
            ),
            409 | 499 => fail(FailureKind::ServerError, "Google SecOps gave up on the request"),
            400..=499 => fail(
                FailureKind::BadRequest,
                "Google SecOps does not take the request: check the conditions in `identifiers`, and order_by",
            ),
            _ => fail(FailureKind::MalformedResponse, "no status that this API gives"),
        }
    }
}

/// One of Google's constants, and nothing that only looks like one.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_').take(40).collect()
}
