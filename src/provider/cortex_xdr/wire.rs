//! The JSON of `get_risk_score`, as leniently as it can be read.
//!
//! Contract: every field is optional, `null` is absent, unknown fields are ignored, and no shape of one field
//! makes the rest unreadable: values stay JSON until [`super::normalise`] gives them a meaning. Pure.

use serde_json::{Map, Value};

/// A body that is a JSON object.
#[derive(Debug)]
pub struct Body(Map<String, Value>);

/// What the vendor says about one user or endpoint.
#[derive(Debug, Default)]
pub struct Risk {
    /// `user` or `host`.
    pub entity_type: Option<Value>,
    /// The id it speaks of.
    pub id: Option<Value>,
    /// The sum of the points of its reasons.
    pub score: Option<Value>,
    /// The same on a scale of the vendor's; absent on older tenants.
    pub norm_risk_score: Option<Value>,
    /// `LOW`, `MED` or `HIGH`; absent on older tenants.
    pub risk_level: Option<Value>,
    /// A user's e-mail; not on the vendor's page, but in its own client.
    pub email: Option<Value>,
    /// Incidents that raised the score; an array of [`Reason`]s.
    pub reasons: Option<Value>,
}

/// One incident that raised the score.
#[derive(Debug)]
pub struct Reason {
    /// A date, or a date and time.
    pub date_created: Option<Value>,
    /// What happened.
    pub description: Option<Value>,
    /// `SEV_040_HIGH`.
    pub severity: Option<Value>,
    /// `STATUS_010_NEW`.
    pub status: Option<Value>,
    /// What it adds to the score.
    pub points: Option<Value>,
}

/// What the vendor says instead of an answer.
#[derive(Debug)]
pub struct ApiError {
    /// Its own code: an HTTP status, as number or text.
    pub code: Option<Value>,
    /// All words in it, in lower case.
    pub words: String,
}

/// The members of an error; services of the vendor differ in which of them they write.
const CODES: [&str; 2] = ["err_code", "errorCode"];
const WORDS: [&str; 4] = ["err_msg", "err_extra", "message", "details"];

impl Body {
    /// Reads a body; `None` when it is not a JSON object.
    pub fn read(body: &[u8]) -> Option<Body> {
        serde_json::from_slice(body).ok().map(Body)
    }

    /// The error in it: under `reply`, under `data` or at the root.
    pub fn error(&self) -> Option<ApiError> {
        let inner = ["reply", "data"].into_iter().find_map(|name| self.0.get(name)?.as_object());
        ApiError::read(inner.unwrap_or(&self.0))
    }

    /// The answer in it; the reason why not when there is none.
    pub fn risk(&self) -> Result<Risk, &'static str> {
        match self.0.get("reply") {
            Some(Value::Object(reply)) => Ok(Risk::read(reply)),
            Some(Value::Array(_)) => Err("reply is a list: that is the answer to another call"),
            Some(Value::Null) | None => Err("the body has no reply"),
            Some(_) => Err("reply is not an object"),
        }
    }
}

impl Body {
    /// The list in it; the reason why not when there is none.
    pub fn risks(&self) -> Result<Vec<Risk>, &'static str> {
        let Some(Value::Array(rows)) = self.0.get("reply") else { return Err("reply is not a list") };
        let row = |row: &Value| row.as_object().map(Risk::read).ok_or("a row of the list is not an object");
        rows.iter().map(row).collect()
    }
}

impl Risk {
    fn read(reply: &Map<String, Value>) -> Risk {
        Risk {
            entity_type: member(reply, "type"),
            id: member(reply, "id"),
            score: member(reply, "score"),
            norm_risk_score: member(reply, "norm_risk_score"),
            risk_level: member(reply, "risk_level"),
            email: member(reply, "email"),
            reasons: member(reply, "reasons"),
        }
    }

    /// Whether it says anything of a score or level, understood or not.
    pub fn is_rated(&self) -> bool {
        self.score.is_some() || self.norm_risk_score.is_some() || self.risk_level.is_some()
    }

    /// Its reasons that are objects.
    pub fn reasons(&self) -> Vec<Reason> {
        let reasons = self.reasons.as_ref().and_then(Value::as_array);
        reasons.into_iter().flatten().filter_map(Value::as_object).map(Reason::read).collect()
    }
}

impl Reason {
    fn read(reason: &Map<String, Value>) -> Reason {
        Reason {
            // The page has it with a space, the vendor's own client with an underscore.
            date_created: member(reason, "date created").or_else(|| member(reason, "date_created")),
            description: member(reason, "description"),
            severity: member(reason, "severity"),
            status: member(reason, "status"),
            points: member(reason, "points"),
        }
    }
}

impl ApiError {
    fn read(place: &Map<String, Value>) -> Option<ApiError> {
        let code = CODES.iter().find_map(|name| member(place, name));
        let mut words = String::new();
        for value in WORDS.iter().filter_map(|name| place.get(*name)) {
            collect(value, &mut words);
        }
        (code.is_some() || !words.is_empty()).then(|| ApiError { code, words: words.to_lowercase() })
    }
}

/// All strings in `value`, however deep: an error's texts come as string, as object and as list.
fn collect(value: &Value, words: &mut String) {
    match value {
        Value::String(text) => {
            words.push_str(text);
            words.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
        Value::Object(members) => members.values().for_each(|item| collect(item, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn member(object: &Map<String, Value>, name: &str) -> Option<Value> {
    object.get(name).filter(|value| !value.is_null()).cloned()
}
