//! Datadog's JSON, read leniently: of a score only the number is essential, of an error only its list.
//!
//! The page documents one shape, the years before it another, and the vendor's own example breaks its own types
//! (`entityRoles: [[]]`). So numbers may be integers, floats or text, whatever is only passed on may be any JSON,
//! `null` is absence, and members that nobody documented are skipped. Never decides what an answer means.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::provider::lenient::{object, or_default, or_no_number};

/// `{"data": {...}}`: one entity's score.
#[derive(Debug, Default, Deserialize)]
pub struct Document {
    /// The entity.
    #[serde(default, deserialize_with = "or_default")]
    pub data: Option<Resource>,
}

/// `{"data": [...], "meta": {...}}`: a page of the list.
#[derive(Debug, Deserialize)]
pub struct List {
    /// The entities. A page without this member is no page.
    pub data: Vec<Resource>,
    /// Where it stands in the list.
    #[serde(default, deserialize_with = "or_default")]
    pub meta: Meta,
}

/// `meta` of a page. Its number and size are not read: how large a page is, the vendor decides.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// What keeps the next pages in what was true for this one.
    #[serde(deserialize_with = "or_default")]
    pub query_id: Option<String>,
    /// Rows of all pages.
    #[serde(deserialize_with = "or_no_number")]
    pub total_row_count: Option<Number>,
}

/// `data`: which entity, and what is known of it. Its `type` changed its spelling once and is not read.
#[derive(Debug, Default, Deserialize)]
pub struct Resource {
    /// The entity's id as Datadog spells it.
    #[serde(default, deserialize_with = "or_default")]
    pub id: Option<String>,
    /// Everything else.
    #[serde(default, deserialize_with = "or_default")]
    pub attributes: Option<Attributes>,
}

/// `data.attributes`: what has a place of its own in an answer. The rest is in `details` and below.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Attributes {
    /// Sum of signal impacts over two weeks; not bounded by 100.
    #[serde(deserialize_with = "or_no_number")]
    pub risk_score: Option<Number>,
    /// Change of the score against the previous period.
    #[serde(deserialize_with = "or_no_number")]
    pub risk_score_evolution: Option<Number>,
    /// `critical`, `high`, `medium`, `low` or `info`; derived by Datadog from its own table.
    #[serde(deserialize_with = "or_default")]
    pub severity: Option<String>,
    /// Number of signals.
    #[serde(deserialize_with = "or_no_number")]
    pub signals_detected: Option<Number>,
    /// Unix milliseconds.
    #[serde(deserialize_with = "or_no_number")]
    pub first_detected: Option<Number>,
    /// Unix milliseconds.
    #[serde(deserialize_with = "or_no_number")]
    pub last_detected: Option<Number>,
    /// Title of the latest signal.
    #[serde(deserialize_with = "or_default")]
    pub last_activity_title: Option<String>,
    /// Configuration risks.
    #[serde(deserialize_with = "or_default")]
    pub config_risks: Option<ConfigRisks>,
    /// What the cloud's provider says about the entity.
    #[serde(deserialize_with = "or_default")]
    pub entity_metadata: Option<EntityMetadata>,
    /// What is passed on as it is.
    #[serde(flatten)]
    pub details: Details,
}

/// Members of `data.attributes` that are passed on as they are, whatever they hold.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all(deserialize = "camelCase"))]
pub struct Details {
    account_ids: Option<Value>,
    /// Before June 2026 only.
    #[serde(rename(deserialize = "entityID"))]
    entity_id: Option<Value>,
    entity_name: Option<Value>,
    entity_providers: Option<Value>,
    entity_roles: Option<Value>,
    entity_sub_types: Option<Value>,
    entity_type: Option<Value>,
    entity_types: Option<Value>,
}

/// `configRisks`: six flags.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all(deserialize = "camelCase"))]
pub struct ConfigRisks {
    has_identity_risk: Option<Value>,
    has_misconfiguration: Option<Value>,
    has_privileged_role: Option<Value>,
    is_privileged: Option<Value>,
    is_production: Option<Value>,
    is_publicly_accessible: Option<Value>,
}

/// `entityMetadata`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all(deserialize = "camelCase"))]
pub struct EntityMetadata {
    /// AWS.
    #[serde(rename(deserialize = "accountID"))]
    account_id: Option<Value>,
    environments: Option<Value>,
    mitre_tactics: Option<Value>,
    mitre_techniques: Option<Value>,
    /// Google Cloud.
    #[serde(rename(deserialize = "projectID"))]
    project_id: Option<Value>,
    services: Option<Value>,
    sources: Option<Value>,
    /// Azure.
    #[serde(rename(deserialize = "subscriptionID"))]
    subscription_id: Option<Value>,
}

/// `{"errors": [...]}`: the body of a refusal. The page promises objects, the servers often send text.
#[derive(Debug, Deserialize)]
pub struct Errors {
    /// At least one in every body that Datadog itself wrote.
    pub errors: Vec<ErrorItem>,
}

/// One error, in either form.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ErrorItem {
    /// `"Not found"`.
    Text(String),
    /// `{"title": ..., "detail": ...}`, each optional.
    Object(serde_json::Map<String, Value>),
}

impl ErrorItem {
    /// What it says, for people.
    pub fn words(&self) -> &str {
        match self {
            ErrorItem::Text(text) => text,
            ErrorItem::Object(item) => ["detail", "title", "code"]
                .into_iter()
                .find_map(|key| item.get(key)?.as_str())
                .unwrap_or_default(),
        }
    }
}

/// The errors in `body`, where it has the form in which Datadog itself refuses.
pub fn errors(body: &[u8]) -> Option<Vec<ErrorItem>> {
    let Errors { errors } = object(body).ok()?;
    (!errors.is_empty()).then_some(errors)
}

/// Whether `body` is a page of the list of scores.
pub fn is_list(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct List {
        data: Value,
    }
    object::<List>(body).is_ok_and(|list| list.data.is_array())
}
