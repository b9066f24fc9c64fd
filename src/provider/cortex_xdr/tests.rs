//! Cortex XDR from both ends: every fixture through the pure part, and the provider over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::config::{Config, KeyType};
use super::normalise::{Question, answer};
use super::{CortexXdr, sign};
use crate::config::Secret;
use crate::entity::{Entity, EntityKind};
use crate::http::{BaseUrl, Request};
use crate::provider::recorder::{Recorder, told, told_bytes};
use crate::provider::testing;
use crate::provider::transport::Transport;
use crate::provider::{Answer, Failure, FailureKind, Provider, Scored};
use crate::score::{Level, Scale, Score};
use crate::simulator::cortex_xdr::{ADVANCED, ApiKey, NO_MODULE, NO_ROLE, STANDARD};
use crate::simulator::{Limit, Simulator};

macro_rules! fixtures {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vendors/cortex_xdr/", $name
        )).as_slice())),*]
    };
}

/// Every fixture, by file name.
const FIXTURES: [(&str, &[u8]); 29] = fixtures![
    "failed.json",
    "forbidden.json",
    "found_endpoint.json",
    "found_user.json",
    "invalid_json.json",
    "level_lower_case.json",
    "level_only.json",
    "level_unknown_word.json",
    "no_level.json",
    "no_module.json",
    "not_found.json",
    "not_found_at_root.json",
    "not_found_in_objects.json",
    "not_found_under_data.json",
    "older_tenant.json",
    "other_id.json",
    "other_type.json",
    "proxy_page.html",
    "drifted_types.json",
    "reply_empty.json",
    "reply_list.json",
    "reply_null.json",
    "risky_hosts.json",
    "risky_users.json",
    "score_not_a_number.json",
    "score_zero.json",
    "unauthorised.json",
    "unlicensed.json",
    "wrong_call.txt",
];

fn fixture(name: &str) -> &'static [u8] {
    FIXTURES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no fixture {name}")).1
}

const JDOE: Question<'_> = Question { kind: EntityKind::User, id: "ACME/jdoe" };

fn read(status: u16, name: &str) -> Result<Answer, Failure> {
    answer(JDOE, status, fixture(name), &Scale::default())
}

fn scored(name: &str) -> Scored {
    testing::scored(read(200, name))
}

fn score(value: f64) -> Score {
    Score::clamped(value).unwrap()
}

#[test]
fn every_fixture_file_is_read_by_a_test() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vendors/cortex_xdr");
    let files: BTreeSet<_> =
        std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, FIXTURES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn every_field_of_an_answer_is_carried() {
    let found = scored("found_user.json");
    assert_eq!((found.score, found.level), (score(72.0), Level::High));
    assert_eq!(found.raw.score, Some(72.into()));
    assert_eq!(found.raw.level.as_deref(), Some("HIGH"));
    assert_eq!((found.delta, found.signals), (None, Some(2)));
    assert_eq!(found.first_seen, "2023-01-31T00:00:00Z".parse().ok());
    assert_eq!(found.last_seen, "2023-02-02T00:00:00Z".parse().ok());
    assert_eq!(
        found.reasons,
        ["Credential dumping (critical, 80 points)", "Uncommon sign-in (low, 15 points)"]
    );
    assert_eq!(
        Value::Object(found.attributes),
        json!({
            "type": "user", "id": "acme/JDoe", "email": "jdoe@acme.example",
            "score": 95, "norm_risk_score": 72, "risk_level": "HIGH",
            "reasons": [
                {"date_created": "2023-02-02", "description": "Credential dumping",
                 "severity": "SEV_050_CRITICAL", "status": "STATUS_010_NEW", "points": 80},
                {"date_created": "2023-01-31", "description": "Uncommon sign-in",
                 "severity": "SEV_020_LOW", "status": "STATUS_010_NEW", "points": 15},
            ],
        })
    );
}

#[test]
fn scores_and_levels_are_read_however_they_are_spelled() {
    for (name, expected, level, raw_level) in [
        ("found_user.json", 72.0, Level::High, Some("HIGH")),
        // Without risk_level it follows from the score.
        ("older_tenant.json", 15.0, Level::Info, None),
        ("score_zero.json", 0.0, Level::Info, None),
        ("drifted_types.json", 72.5, Level::Critical, Some("Critical")),
        ("level_only.json", 60.0, Level::Medium, Some("Medium")),
        ("level_unknown_word.json", 50.0, Level::Medium, Some("SEVERE")),
        ("level_lower_case.json", 10.0, Level::Low, Some("low")),
    ] {
        let found = scored(name);
        assert_eq!((found.score, found.level), (score(expected), level), "{name}");
        assert_eq!(found.raw.level.as_deref(), raw_level, "{name}");
    }
    assert!(scored("older_tenant.json").raw.scale.starts_with("score,"));
    assert_eq!(scored("level_only.json").raw.score, None);
}

#[test]
fn reasons_survive_drift() {
    let found = scored("drifted_types.json");
    assert_eq!(found.reasons, ["Uncommon sign-in (15 points)", "No points"]);
    assert_eq!(found.attributes["score"], json!(95));
    assert_eq!(found.attributes["reasons"][0]["points"], json!(15));
    assert_eq!(found.attributes["reasons"][0]["date_created"], json!(1_675_123_200_000_i64));
    assert_eq!(found.first_seen, "2023-01-31T00:00:00Z".parse().ok());
}

#[test]
fn an_endpoint_is_answered_without_regard_to_case() {
    let id = "0123456789abcdef0123456789abcdef";
    let asked = Question { kind: EntityKind::Endpoint, id };
    let found = answer(asked, 200, fixture("found_endpoint.json"), &Scale::default());
    assert!(matches!(found, Ok(Answer::Scored(scored)) if scored.level == Level::Medium));
    // The same as an answer about a user is not one.
    let asked = Question { kind: EntityKind::User, id };
    let failure = answer(asked, 200, fixture("found_endpoint.json"), &Scale::default()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::MalformedResponse);
}

#[test]
fn unknown_has_no_score() {
    for name in
        ["not_found.json", "not_found_in_objects.json", "not_found_at_root.json", "not_found_under_data.json"]
    {
        assert_eq!(read(500, name), Ok(Answer::Unknown { detail: None }), "{name}");
        // The same under 200: the error's own code counts.
        assert_eq!(read(200, name), Ok(Answer::Unknown { detail: None }), "{name}");
    }
    assert_eq!(read(200, "no_level.json"), Ok(Answer::Unknown { detail: Some("no_level") }));
}

#[test]
fn every_failure_has_its_kind() {
    use FailureKind::*;
    for (status, name, kind) in [
        (500, "no_module.json", Unlicensed),
        (500, "failed.json", ServerError),
        (200, "failed.json", ServerError),
        (500, "wrong_call.txt", BadRequest),
        (500, "proxy_page.html", ServerError),
        (404, "proxy_page.html", MalformedResponse),
        (404, "failed.json", BadRequest),
        (200, "proxy_page.html", MalformedResponse),
        (302, "proxy_page.html", MalformedResponse),
        (502, "proxy_page.html", ServerError),
        (503, "failed.json", ServerError),
        (400, "invalid_json.json", BadRequest),
        (401, "unauthorised.json", Unauthorised),
        (200, "unauthorised.json", Unauthorised),
        (402, "unlicensed.json", Unlicensed),
        (403, "forbidden.json", Forbidden),
        (403, "no_module.json", Unlicensed),
        (429, "failed.json", RateLimited),
        (200, "reply_list.json", MalformedResponse),
        (200, "reply_null.json", MalformedResponse),
        (200, "reply_empty.json", MalformedResponse),
        (200, "other_id.json", MalformedResponse),
        (200, "other_type.json", MalformedResponse),
        (200, "score_not_a_number.json", MalformedResponse),
    ] {
        let failure = read(status, name).expect_err(name);
        assert_eq!(failure.kind, kind, "{status} {name}: {failure}");
        assert!(!failure.detail.to_lowercase().contains("jdoe"), "{failure}");
    }
}

#[test]
fn nobody_speaks_for_the_vendor_by_the_name_of_an_account() {
    let error = |id: &str, more: &str| {
        let body = json!({"reply": {"err_code": 500, "err_msg": format!("cannot score '{id}' {more}")}});
        let asked = Question { kind: EntityKind::User, id };
        answer(asked, 500, body.to_string().as_bytes(), &Scale::default()).map_err(|failure| failure.kind)
    };
    assert_eq!(error("ACME/No identity threat", "now"), Err(FailureKind::ServerError));
    assert_eq!(error("ACME/was not found", "now"), Err(FailureKind::ServerError));
    assert_eq!(error("ACME/No identity threat", "as it was not found"), Ok(Answer::Unknown { detail: None }));
}

#[test]
fn the_configuration_names_what_is_missing() {
    let read = |yaml: &str| testing::read_keys(yaml, super::read);
    let (config, problems) = read("fqdn: acme.xdr.us.example.com\nkey_id: 7\nkey: {env: KEY}\n");
    let config = config.unwrap_or_else(|| panic!("{problems}"));
    assert_eq!(config.key_type, KeyType::Advanced);
    assert_eq!(config.base_url().map(BaseUrl::host), Some("api-acme.xdr.us.example.com"));
    assert!(!format!("{config:?}").contains("value of"));

    let (config, problems) = read("fqdn: 'a b'\nkey_type: Standard\n");
    assert!(config.is_none());
    for key in ["fqdn", "key_id", "key", "key_type"] {
        assert!(problems.contains(key), "{key} is not in {problems}");
    }
}

fn config(key: ApiKey, key_type: KeyType) -> Config {
    Config { address: None, key_id: key.id.to_owned(), key: Secret::literal(key.key), key_type }
}

fn provider(base: &BaseUrl, config: Config) -> CortexXdr {
    let templates = vec![(EntityKind::User, "ACME/{value}".to_owned())];
    CortexXdr::new(config, base.clone(), Scale::default(), templates, Transport::for_tests(base))
}

async fn simulator(known: f64) -> (Simulator, BaseUrl) {
    testing::simulated("cortex_xdr", testing::knowing(known)).await
}

fn user(id: &str) -> Entity {
    Entity::new(EntityKind::User, id)
}

#[tokio::test]
async fn users_and_endpoints_are_asked_about_with_both_types_of_key() {
    let (simulator, base) = simulator(1.0).await;
    for config in [config(STANDARD, KeyType::Standard), config(ADVANCED, KeyType::Advanced)] {
        let cortex = provider(&base, config);
        for (entity, sent) in [
            (user("ACME\\jdoe"), "ACME/jdoe"),
            (user("jdoe"), "ACME/jdoe"),
            (user("ACME\\J\u{f6}rg \"the\" O'Neill"), "ACME/J\u{f6}rg \"the\" O'Neill"),
            (
                Entity::new(EntityKind::Endpoint, "0123456789abcdef0123456789abcdef"),
                "0123456789abcdef0123456789abcdef",
            ),
        ] {
            let expected = simulator.world().profile(sent).unwrap().score.round();
            match cortex.ask(&entity).await {
                Ok(Answer::Scored(found)) => {
                    assert_eq!(found.score, score(expected), "{sent}");
                    assert_eq!(found.attributes["id"], json!(sent));
                }
                other => panic!("{sent}: {other:?}"),
            }
        }
        cortex.probe().await.unwrap();
    }
}

#[tokio::test]
async fn who_the_vendor_does_not_know_is_unknown_and_proves_the_connection() {
    let (_simulator, base) = simulator(0.0).await;
    let cortex = provider(&base, config(ADVANCED, KeyType::Advanced));
    assert_eq!(cortex.ask(&user("ACME\\jdoe")).await, Ok(Answer::Unknown { detail: None }));
    assert_eq!(cortex.probe().await, Ok(()));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (simulator, base) = simulator(1.0).await;
    let wrong = Config { key: Secret::literal("wrong"), ..config(ADVANCED, KeyType::Advanced) };
    for (config, kind) in [
        (wrong, FailureKind::Unauthorised),
        (config(ADVANCED, KeyType::Standard), FailureKind::Unauthorised),
        (config(STANDARD, KeyType::Advanced), FailureKind::Unauthorised),
        (config(NO_ROLE, KeyType::Standard), FailureKind::Forbidden),
        (config(NO_MODULE, KeyType::Standard), FailureKind::Unlicensed),
    ] {
        let cortex = provider(&base, config);
        assert_eq!(cortex.ask(&user("ACME\\jdoe")).await.unwrap_err().kind, kind);
        assert_eq!(cortex.probe().await.unwrap_err().kind, kind);
    }
    // A base address that is one path too long meets the vendor's plain 500.
    let elsewhere = BaseUrl::parse(&format!("{}/more", simulator.base_url("cortex_xdr"))).unwrap();
    let cortex = provider(&elsewhere, config(ADVANCED, KeyType::Advanced));
    assert_eq!(cortex.probe().await.unwrap_err().kind, FailureKind::BadRequest);
}

#[tokio::test]
async fn the_quota_of_the_vendor_is_rate_limited() {
    let (simulator, base) = simulator(1.0).await;
    let limit = Limit { requests: 1, per_ms: 3_600_000, sliding: true };
    simulator.world().set_limit("cortex_xdr", Some(limit));
    let cortex = provider(&base, config(ADVANCED, KeyType::Advanced));
    assert!(cortex.ask(&user("ACME\\jdoe")).await.is_ok());
    assert_eq!(cortex.ask(&user("ACME\\jdoe")).await.unwrap_err().kind, FailureKind::RateLimited);
}

#[tokio::test]
async fn a_replayed_signature_is_refused() {
    let (_simulator, base) = simulator(1.0).await;
    let transport = Transport::for_tests(&base);
    let (nonce, timestamp) = ("n".repeat(64), Timestamp::now().as_millisecond().to_string());
    let signature = SecretString::from(sign::signature(ADVANCED.key, &nonce, &timestamp));
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let url = base.join(&["public_api", "v1", super::CALL], "", &[]).unwrap();
        let request = Request::post_json(url, &json!({"request_data": {"id": "ACME/jdoe"}}))
            .header("x-xdr-auth-id", ADVANCED.id)
            .header("x-xdr-nonce", &nonce)
            .header("x-xdr-timestamp", &timestamp)
            .secret_header("authorization", &signature);
        statuses.push(transport.send(|| Ok(request)).await.unwrap().status);
    }
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test]
async fn every_attempt_is_signed_anew_and_sent_exactly() {
    let slow_down = || told(429, "slow down").header("retry-after", "7");
    let server = Recorder::start([slow_down(), slow_down()]).await;
    let base = server.base("");
    // A vendor that asks for a pause closes the gate, so that each attempt needs a transport of its own.
    for _ in 0..2 {
        let failure =
            provider(&base, config(ADVANCED, KeyType::Advanced)).ask(&user("ACME\\jdoe")).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited);
        assert_eq!(failure.retry_after, Some(std::time::Duration::from_secs(7)));
    }
    let seen = server.asked();
    assert_eq!(seen.len(), 2);
    for request in &seen {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/public_api/v1/get_risk_score")
        );
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("x-xdr-auth-id"), ADVANCED.id);
        let (nonce, timestamp) = (request.header("x-xdr-nonce"), request.header("x-xdr-timestamp"));
        assert_eq!(request.header("authorization"), sign::signature(ADVANCED.key, nonce, timestamp));
        let age = Timestamp::now().as_millisecond() - timestamp.parse::<i64>().unwrap();
        assert!((0..60_000).contains(&age), "{age}");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body, json!({"request_data": {"id": "ACME/jdoe"}}));
    }
    assert_ne!(seen[0].header("x-xdr-nonce"), seen[1].header("x-xdr-nonce"));
}

#[tokio::test]
async fn a_standard_key_is_sent_as_it_is_and_a_bad_identifier_never() {
    let server = Recorder::start([told_bytes(200, fixture("found_user.json"))]).await;
    let cortex = provider(&server.base(""), config(STANDARD, KeyType::Standard));
    for bad in [user("NT AUTHORITY\\SYSTEM"), user("WS-17$"), Entity::new(EntityKind::Endpoint, "WS-17")] {
        assert_eq!(cortex.ask(&bad).await.unwrap_err().kind, FailureKind::InvalidIdentifier);
    }
    assert!(server.asked().is_empty());
    cortex.ask(&user("ACME\\jdoe")).await.unwrap();
    let request = &server.asked()[0];
    assert_eq!(request.header("authorization"), STANDARD.key);
    assert_eq!(request.header("x-xdr-nonce"), "");
}

#[test]
fn what_answers_depend_on_is_in_the_identity_and_the_key_is_not() {
    let _runtime = tokio::runtime::Runtime::new().unwrap();
    let base = BaseUrl::parse("https://api-acme.example").unwrap();
    let cortex = provider(&base, config(ADVANCED, KeyType::Advanced));
    assert!(cortex.identity().contains("https://api-acme.example/public_api/v1/get_risk_score 12"));
    assert!(cortex.identity().contains("ACME/{value}") && !cortex.identity().contains(ADVANCED.key));
    assert_eq!(cortex.host(), "api-acme.example");
    assert_eq!(cortex.kinds(), [EntityKind::User, EntityKind::Endpoint]);
}

/// What means something to us among the keys and texts of any JSON.
const NAMES: [&str; 17] = [
    "reply",
    "data",
    "type",
    "id",
    "score",
    "norm_risk_score",
    "risk_level",
    "reasons",
    "points",
    "description",
    "severity",
    "date created",
    "date_created",
    "err_code",
    "err_msg",
    "err_extra",
    "other",
];
const WORDS: [&str; 6] = ["ACME/jdoe", "85", "HIGH", "user", "was not found", "2023-01-31"];

/// A score needs a number or a level in the reply.
fn is_honest(body: &[u8], answer: &Result<Answer, Failure>) -> bool {
    let Ok(Answer::Scored(scored)) = answer else { return true };
    let body: Value = serde_json::from_slice(body).unwrap();
    let said = |name: &str| !body["reply"][name].is_null();
    (scored.raw.score.is_some() && (said("score") || said("norm_risk_score")))
        || (scored.raw.level.is_some() && said("risk_level"))
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_or_invention(
        status in prop_oneof![Just(200u16), Just(500), 100u16..600],
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assert!(is_honest(&body, &answer(JDOE, status, &body, &Scale::default())));
    }

    #[test]
    fn any_json_is_read_without_panic_or_invention(
        status in prop_oneof![Just(200u16), Just(500), 100u16..600],
        reply in testing::json(&NAMES, &WORDS),
    ) {
        for body in [reply.clone(), json!({"reply": reply})] {
            let body = body.to_string();
            prop_assert!(is_honest(body.as_bytes(), &answer(JDOE, status, body.as_bytes(), &Scale::default())));
        }
    }
}

#[tokio::test]
async fn both_lists_of_the_riskiest_are_read_each_with_an_empty_object() {
    let recorder = Recorder::start([
        told_bytes(200, fixture("risky_users.json")),
        told_bytes(200, fixture("risky_hosts.json")),
    ])
    .await;
    let base = recorder.base("");
    let cortex = provider(&base, config(ADVANCED, KeyType::Advanced));
    let (rows, cut) = testing::listed(&cortex).await.unwrap();
    let expected = [
        ("acme/jdoe", 72.0),
        ("acme/asmith", 0.0),
        ("acme/odd", -2.0),
        ("0123456789abcdef0123456789abcdef", 15.0),
    ];
    assert_eq!(testing::scores(&rows), expected);
    assert!(cut, "a row without an id is told");
    assert_eq!(recorder.targets(), ["/public_api/v1/get_risky_users", "/public_api/v1/get_risky_hosts"]);
    assert!(recorder.asked().iter().all(|asked| asked.body == "{}"));
    let bulk = cortex.bulk().unwrap();
    assert_eq!(bulk.listing(), crate::provider::snapshot::Listing::Riskiest);
    let name = |kind, id| bulk.name(kind, id).map(|name| name.into_owned());
    assert_eq!(name(EntityKind::User, r"ACME\JDoe").as_deref(), Some("acme/jdoe"));
    assert_eq!(name(EntityKind::User, "jdoe").as_deref(), Some("acme/jdoe"), "by the template");
    let agent = "0123456789ABCDEF0123456789ABCDEF";
    assert_eq!(name(EntityKind::Endpoint, agent), Some(agent.to_lowercase()));
    assert_eq!(
        (name(EntityKind::Endpoint, "ws-1"), name(EntityKind::User, r"NT AUTHORITY\SYSTEM")),
        (None, None)
    );
}

#[tokio::test]
async fn what_is_no_list_is_told_as_a_look_up_would_tell_it() {
    for (status, name, expected) in [
        (200, "found_user.json", FailureKind::MalformedResponse),
        (500, "not_found.json", FailureKind::MalformedResponse),
        (500, "no_module.json", FailureKind::Unlicensed),
        (500, "wrong_call.txt", FailureKind::BadRequest),
        (401, "unauthorised.json", FailureKind::Unauthorised),
        (403, "proxy_page.html", FailureKind::MalformedResponse),
    ] {
        let recorder = Recorder::start([told_bytes(status, fixture(name))]).await;
        let cortex = provider(&recorder.base(""), config(ADVANCED, KeyType::Advanced));
        assert_eq!(testing::kind(testing::listed(&cortex).await), expected, "{name}");
    }
}

#[tokio::test]
async fn the_simulated_lists_say_the_same_as_look_ups() {
    let (simulator, base) = simulator(1.0).await;
    let cortex = provider(&base, config(STANDARD, KeyType::Standard));
    simulator.world().list("cortex_xdr", (0..150).map(|n| format!("ACME/u{n}")).collect());
    let (rows, _) = testing::listed(&cortex).await.unwrap();
    assert_eq!(rows.len(), 100, "the riskiest only");
    let asked = cortex.ask(&user(&rows[0].name.to_uppercase().replace("ACME/U", "ACME/u"))).await.unwrap();
    assert_eq!(rows[0].answer.as_ref(), Ok(&asked));
}
