//! Datadog's pages: one entity's risk score, and the list of them.
//!
//! As strict as the vendor where it matters: two key headers, one percent-encoded path segment. Errors come in both
//! of the forms that the real servers use.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};

use super::population::Profile;
use super::world::{Quota, World};

/// What `DD-API-KEY` must be.
pub const API_KEY: &str = "simulated-datadog-api-key";
/// What `DD-APPLICATION-KEY` must be.
pub const APPLICATION_KEY: &str = "simulated-datadog-application-key";

const NAME: &str = "datadog";
const LIST: &str = "/api/v2/security-entities/risk-scores";

/// Entities that the list shows, as far as they are known. Any other known one can be asked for by its id.
const LISTED: [&str; 3] =
    ["arn:aws:iam::123456789012:user/john.doe", "arn:aws:iam::123456789012:role/deploy", "example/payments"];

/// The pages.
pub fn router(world: Arc<World>) -> Router {
    Router::new().route(LIST, any(list)).route(&format!("{LIST}/{{*id}}"), any(one)).with_state(world)
}

async fn one(State(world): State<Arc<World>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    admitted(&world, &method, &headers, || {
        let written =
            uri.path().strip_prefix(LIST).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        if written.contains('/') {
            return refuse(StatusCode::NOT_FOUND, "Not found");
        }
        let Some(id) = decoded(written) else {
            return refuse(StatusCode::BAD_REQUEST, "entity_id is not percent-encoded");
        };
        world.asked(NAME, &id);
        match world.profile(&id) {
            Some(profile) => axum::Json(json!({"data": entity(&id, &profile)})).into_response(),
            // Both forms were seen, so a client that knows only one of them shall stumble here.
            None if id.len() % 2 == 0 => refuse(StatusCode::NOT_FOUND, "Entity not found"),
            None => {
                let body = json!({"errors": [{"status": "404", "title": "Not Found", "detail": "entity not found"}]});
                (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
            }
        }
    })
}

async fn list(
    State(world): State<Arc<World>>,
    method: Method,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    admitted(&world, &method, &headers, || {
        page(&world, &query).unwrap_or_else(|what| refuse(StatusCode::BAD_REQUEST, what))
    })
}

/// A page of the list as it was when its first page was asked for.
fn page(world: &World, query: &BTreeMap<String, String>) -> Result<Response, &'static str> {
    let number = |name: &str, default: usize, most: usize| match query.get(name).map(|text| text.parse()) {
        None => Ok(default),
        Some(Ok(number)) if (1..=most).contains(&number) => Ok(number),
        Some(_) => Err("page is out of range"),
    };
    let (size, page) = (number("page[size]", 10, 1000)?, number("page[number]", 1, usize::MAX)?);
    let (walk, all) = match query.get("page[queryId]") {
        None => {
            let shown =
                || LISTED.iter().filter_map(|id| Some(((*id).to_owned(), world.profile(id)?))).collect();
            let mut known: Vec<(String, Profile)> = world.listed(NAME).unwrap_or_else(shown);
            if query.get("filter[sort]").is_some_and(|sort| sort == "riskScore:desc") {
                known.sort_by(|(_, one), (_, other)| other.score.total_cmp(&one.score));
            }
            let all: Vec<String> = known.into_iter().map(|(id, _)| id).collect();
            (world.keep_walk(NAME, all.clone()), all)
        }
        Some(id) => {
            let walk = id.strip_prefix("simulated-").and_then(|number| number.parse().ok());
            let walk = walk.ok_or("queryId is not known")?;
            (walk, world.walk(NAME, walk).ok_or("queryId is not known")?)
        }
    };
    let rows = all.iter().skip((page - 1).saturating_mul(size)).take(size);
    let data: Vec<Value> = rows.filter_map(|id| Some(entity(id, &world.profile(id)?))).collect();
    let meta = json!({
        "pageNumber": page, "pageSize": size, "queryId": format!("simulated-{walk}"), "totalRowCount": all.len(),
    });
    Ok(axum::Json(json!({"data": data, "meta": meta})).into_response())
}

/// Runs `page` for a GET with both keys and within the quota.
fn admitted(
    world: &World,
    method: &Method,
    headers: &HeaderMap,
    page: impl FnOnce() -> Response,
) -> Response {
    if method != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    }
    let keys = [("dd-api-key", API_KEY), ("dd-application-key", APPLICATION_KEY)];
    if keys.iter().any(|(name, _)| !headers.contains_key(*name)) {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    if keys.iter().any(|(name, key)| headers.get(*name).is_none_or(|value| value != key)) {
        return refuse(StatusCode::FORBIDDEN, "Forbidden");
    }
    let (response, quota) = match world.admit(NAME) {
        Ok(quota) => (page(), quota),
        // Without a body, as recorded.
        Err(quota) => (StatusCode::TOO_MANY_REQUESTS.into_response(), quota),
    };
    with_quota(response, quota)
}

fn with_quota(mut response: Response, quota: Quota) -> Response {
    if quota.is_limited() {
        let headers = response.headers_mut();
        headers.insert("x-ratelimit-limit", quota.limit.into());
        headers.insert("x-ratelimit-period", quota.period_seconds.into());
        headers.insert("x-ratelimit-remaining", quota.remaining.into());
        headers.insert("x-ratelimit-reset", quota.reset_seconds.into());
        headers.insert("x-ratelimit-name", HeaderValue::from_static("security_entity_risk_scores"));
    }
    response
}

fn refuse(status: StatusCode, what: &str) -> Response {
    (status, axum::Json(json!({"errors": [what]}))).into_response()
}

/// A path segment decoded; `None` when it holds what RFC 3986 wants encoded, or is not UTF-8.
fn decoded(written: &str) -> Option<String> {
    let strict = written.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte));
    let bytes = percent_encoding::percent_decode_str(written);
    if strict { bytes.decode_utf8().ok().map(|text| text.into_owned()) } else { None }
}

/// Every member that the vendor's page names.
fn entity(id: &str, profile: &Profile) -> Value {
    // A sum, so it goes beyond 100 where it is critical.
    let score = if profile.score >= 90.0 { 100.0 + (profile.score - 90.0) * 30.0 } else { profile.score };
    let score = score.round() as i64;
    let severity = match score {
        100.. => "critical",
        50.. => "high",
        25.. => "medium",
        10.. => "low",
        _ => "info",
    };
    let flag = |salt: u64| profile.pick(salt, 2) == 1;
    let name = id.rsplit(['/', ':']).next().unwrap_or(id);
    let account = format!("{:012}", profile.pick(1, 1_000_000_000_000));
    json!({
        "id": id,
        "type": "SecurityEntityRiskScore",
        "attributes": {
            "accountIds": [account],
            "configRisks": {
                "hasIdentityRisk": flag(2),
                "hasMisconfiguration": flag(3),
                "hasPrivilegedRole": flag(4),
                "isPrivileged": flag(5),
                "isProduction": flag(6),
                "isPubliclyAccessible": flag(7),
            },
            "entityMetadata": {
                "accountID": account,
                "environments": ["production", "us-east-1"],
                "mitreTactics": ["Credential Access", "Privilege Escalation"],
                "mitreTechniques": ["T1078", "T1098"],
                "projectID": "simulated-project",
                "services": ["api-gateway", "lambda"],
                "sources": ["cloudtrail", "cloud-security-posture-management"],
                "subscriptionID": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
            },
            "entityName": name,
            "entityProviders": ["AWS"],
            "entityRoles": [[]],
            "entitySubTypes": ["User Name"],
            "entityType": "aws_iam_user",
            "entityTypes": ["User Name"],
            "firstDetected": profile.first_seen.as_millisecond(),
            "lastActivityTitle": "Suspicious API call detected",
            "lastDetected": profile.last_seen.as_millisecond(),
            "riskScore": score,
            "riskScoreEvolution": profile.pick(8, 40) as i64 - 20,
            "severity": severity,
            "signalsDetected": profile.pick(9, 30) + 1,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::simulator::world::{Limit, Options};

    fn world(known: f64) -> Arc<World> {
        let limits = [(NAME.to_owned(), Limit { requests: 100, per_ms: 60_000, sliding: true })].into();
        Arc::new(World::new(Options { known, limits, ..Options::default() }))
    }

    async fn get(world: &Arc<World>, id: &str, keys: &[(&'static str, &'static str)]) -> Response {
        let headers = keys.iter().map(|(name, key)| (name.parse().unwrap(), key.parse().unwrap())).collect();
        let uri = format!("{LIST}/{id}").parse().unwrap();
        one(State(Arc::clone(world)), Method::GET, uri, headers).await
    }

    const KEYS: [(&str, &str); 2] = [("dd-api-key", API_KEY), ("dd-application-key", APPLICATION_KEY)];

    #[tokio::test]
    async fn an_id_is_one_strictly_encoded_segment() {
        let world = world(1.0);
        let found = get(&world, "example%2Fpayments", &KEYS).await;
        assert_eq!(found.status(), 200);
        assert_eq!(found.headers()["x-ratelimit-remaining"], "99");
        assert_eq!(world.calls(NAME).by_entity["example/payments"], 1);
        assert_eq!(get(&world, "example/payments", &KEYS).await.status(), 404);
        for written in ["a:b", "a+b", "a'b", "%FF"] {
            assert_eq!(get(&world, written, &KEYS).await.status(), 400, "{written}");
        }
    }

    #[tokio::test]
    async fn both_keys_must_be_there_and_right() {
        let [api, application] = KEYS;
        for (keys, status) in [
            (vec![], 401),
            (vec![api], 401),
            (vec![application], 401),
            (vec![api, ("dd-application-key", "wrong")], 403),
            (vec![("dd-api-key", "wrong"), application], 403),
        ] {
            assert_eq!(get(&world(1.0), "a", &keys).await.status(), status, "{keys:?}");
        }
    }

    #[tokio::test]
    async fn whoever_is_not_known_is_not_found_in_either_form_of_error() {
        assert_eq!(get(&world(0.0), "a", &KEYS).await.status(), 404);
        assert_eq!(get(&world(0.0), "ab", &KEYS).await.status(), 404);
    }

    #[test]
    fn severity_follows_the_vendors_table_and_scores_go_beyond_100() {
        let world = world(1.0);
        let mut highest = 0;
        for n in 0..2000 {
            let entity = entity("a", &world.profile(&n.to_string()).unwrap());
            let score = entity["attributes"]["riskScore"].as_i64().unwrap();
            let critical = entity["attributes"]["severity"] == "critical";
            assert_eq!(critical, score >= 100, "{score}");
            highest = highest.max(score);
        }
        assert!(highest > 200, "{highest}");
    }
}
