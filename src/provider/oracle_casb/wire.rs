//! The JSON of the token and of the user risk report, as leniently as it can be read.
//!
//! Contract: every field is optional, `null` is absent, unknown fields are ignored, and no shape of one field
//! makes the rest unreadable: values stay JSON until [`super::normalise`] gives them a meaning. Columns are known
//! by their name, never by their place: a column was inserted between 2017 and 2020. Pure.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};

use crate::provider::lenient;

/// The largest unpacked report: a hundred rows of a kilobyte each, many times over.
pub const MAX_UNPACKED: u64 = 8 << 20;

/// The answer to the exchange of the key pair.
#[derive(Debug)]
pub struct Grant {
    /// The bearer token.
    pub access_token: Option<Value>,
    /// When it ends.
    pub expires_at: Option<Value>,
    /// The tenant, for a header of every other call.
    pub tenant_id: Option<Value>,
}

/// One page of the report.
#[derive(Debug, Default)]
pub struct Report {
    /// `ReportResponse`.
    pub report_type: Option<Value>,
    /// The tenant's id, in spite of its name.
    pub tenant_name: Option<Value>,
    /// `userrisk`.
    pub report_id: Option<Value>,
    /// The most rows that a page has.
    pub max_count: Option<Value>,
    /// The rows of all pages.
    pub total_count: Option<Value>,
    /// The rows of this page.
    pub size: Option<Value>,
    /// For people.
    pub title: Option<Value>,
    /// For people.
    pub description: Option<Value>,
    /// Where the next page starts; absent on the last one.
    pub next_marker: Option<String>,
    /// The rows; `None` where the list itself is missing or not a list.
    pub rows: Option<Vec<Row>>,
}

/// What one application instance knows of one user.
#[derive(Debug, Default)]
pub struct Row {
    /// The sort of application: `SFDC`.
    pub app_name: Option<Value>,
    /// The name of the instance.
    pub app_instance: Option<Value>,
    /// The id of the instance.
    pub app_instance_id: Option<Value>,
    /// The row's own id; not on the vendor's page, but in answers of 2020.
    pub row_id: Option<Value>,
    /// Columns by name, in the vendor's order.
    pub columns: Vec<(String, Value)>,
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It begins like gzip and is not, or is more than [`MAX_UNPACKED`].
    #[error("the gzip body is damaged or unpacks to more than 8 MiB")]
    Gzip,
    /// It is not a JSON object.
    #[error("the body is not a JSON object")]
    Json,
}

/// Unpacks a body of `application/gzip`, which is a media type here and no content encoding, so that the HTTP
/// client leaves it packed. Known by its first bytes, with which no JSON begins.
pub fn unpack(body: &[u8]) -> Result<Cow<'_, [u8]>, Unreadable> {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(body));
    }
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(body).take(MAX_UNPACKED + 1).read_to_end(&mut unpacked);
    match read {
        Ok(size) if size as u64 <= MAX_UNPACKED => Ok(Cow::Owned(unpacked)),
        _ => Err(Unreadable::Gzip),
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    serde_json::from_slice(&unpack(body)?).map_err(|_| Unreadable::Json)
}

impl Grant {
    /// Reads the answer to the exchange.
    pub fn read(body: &[u8]) -> Result<Grant, Unreadable> {
        let mut body = object(body)?;
        Ok(Grant {
            access_token: take(&mut body, "accessToken"),
            expires_at: take(&mut body, "expiresAt"),
            tenant_id: take(&mut body, "tenantId"),
        })
    }
}

impl Report {
    /// Reads one page.
    pub fn read(body: &[u8]) -> Result<Report, Unreadable> {
        let mut body = object(body)?;
        let rows = match body.remove("userRiskScores") {
            Some(Value::Array(rows)) => Some(rows.into_iter().map(Row::read).collect()),
            _ => None,
        };
        Ok(Report {
            report_type: take(&mut body, "type"),
            tenant_name: take(&mut body, "tenantName"),
            report_id: take(&mut body, "reportId"),
            max_count: take(&mut body, "maxCount"),
            total_count: take(&mut body, "totalCount"),
            size: take(&mut body, "size"),
            title: take(&mut body, "title"),
            description: take(&mut body, "description"),
            next_marker: take(&mut body, "nextMarkerPosition").as_ref().and_then(lenient::text),
            rows,
        })
    }
}

impl Row {
    fn read(row: Value) -> Row {
        let Value::Object(mut row) = row else { return Row::default() };
        let details = match row.remove("userRiskDetails") {
            Some(Value::Array(details)) => details,
            _ => Vec::new(),
        };
        let column = |detail: Value| {
            let Value::Object(mut detail) = detail else { return None };
            let name = lenient::text(&take(&mut detail, "displayname")?)?;
            Some((name, take(&mut detail, "value")?))
        };
        Row {
            app_name: take(&mut row, "appname"),
            app_instance: take(&mut row, "appinstance"),
            app_instance_id: take(&mut row, "appInstanceId"),
            row_id: take(&mut row, "rowId"),
            columns: details.into_iter().filter_map(column).collect(),
        }
    }
}

fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    object.remove(name).filter(|value| !value.is_null())
}
