//! What Datadog's answers become, and what is sent to get them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::Secret;
use crate::provider::Scored;
use crate::provider::recorder::{Recorder, told};
use crate::provider::testing::{self, kind};
use crate::score::Level;
use crate::simulator::datadog as pages;
use crate::simulator::server::Simulator;
use crate::simulator::world::{Limit, Options};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/vendors/datadog/", $name))
    };
}

const ARN: &str = "arn:aws:iam::123456789012:user/john.doe";

fn answer(status: u16, body: &str) -> Result<Answer, Failure> {
    normalise::answer(status, body.as_bytes(), None, &Scale::default())
}

fn scored(body: &str) -> Scored {
    testing::scored(answer(200, body))
}

#[test]
fn the_pages_own_example_is_read_whole() {
    let scored = scored(fixture!("score.json"));
    assert_eq!((scored.score.value(), scored.level), (85.0, Level::Critical));
    assert_eq!(scored.raw.score.unwrap().to_string(), "85");
    assert_eq!(scored.raw.level.as_deref(), Some("critical"));
    assert_eq!(scored.delta.unwrap().to_string(), "12");
    assert_eq!(scored.signals, Some(15));
    assert_eq!(scored.first_seen.unwrap().to_string(), "2026-05-15T20:23:24.661Z");
    assert_eq!(scored.last_seen.unwrap().to_string(), "2026-05-29T14:23:27.093Z");
    assert_eq!(scored.reasons, ["Suspicious API call detected"]);
    assert_eq!(
        Value::Object(scored.attributes),
        json!({
            "entity_id": ARN,
            "account_ids": ["222233334444", "3333333555555"],
            "has_identity_risk": false,
            "has_misconfiguration": true,
            "has_privileged_role": true,
            "is_privileged": false,
            "is_production": true,
            "is_publicly_accessible": true,
            "account_id": "123456789012",
            "environments": ["production", "us-east-1"],
            "mitre_tactics": ["Credential Access", "Privilege Escalation"],
            "mitre_techniques": ["T1078", "T1098"],
            "project_id": "my-gcp-project",
            "services": ["api-gateway", "lambda"],
            "sources": ["cloudtrail", "cloud-security-posture-management"],
            "subscription_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
            "entity_name": "john.doe",
            "entity_providers": ["AWS"],
            "entity_roles": [[]],
            "entity_sub_types": ["Root"],
            "entity_type": "aws_iam_user",
            "entity_types": ["Root", "User Name"],
        })
    );
}

#[test]
fn the_shape_before_june_2026_is_read_and_its_floats_stay_as_written() {
    let scored = scored(fixture!("score_floats.json"));
    assert_eq!((scored.score.value(), scored.level), (85.5, Level::Critical));
    assert_eq!(scored.raw.score.unwrap().to_string(), "85.5");
    assert_eq!(scored.delta.unwrap().to_string(), "12.3");
    assert_eq!(scored.attributes["entity_roles"], json!(["Admin", "Developer"]));
    assert_eq!(scored.attributes["entity_id"], ARN);
}

#[test]
fn a_score_above_100_is_clamped_and_kept_as_it_was() {
    let scored = scored(fixture!("score_unbounded.json"));
    assert_eq!((scored.score.value(), scored.level), (100.0, Level::Critical));
    assert_eq!(scored.raw.score.unwrap().to_string(), "240");
    assert_eq!(scored.delta.unwrap().to_string(), "-60");
}

#[test]
fn a_score_without_a_severity_gets_the_level_of_our_own_cuts() {
    let bare = scored(fixture!("score_bare.json"));
    assert_eq!((bare.score.value(), bare.level, bare.raw.level), (42.0, Level::Medium, None));
    assert_eq!(Value::Object(bare.attributes), json!({"entity_id": "DataDog/dd-source"}));
    let odd = scored(fixture!("score_new_severity.json"));
    assert_eq!((odd.level, odd.raw.level.as_deref()), (Level::Critical, Some("catastrophic")));
    assert_eq!((odd.signals, odd.reasons.len()), (None, 0));
}

#[test]
fn numbers_may_be_text_and_times_may_be_floats() {
    let scored = scored(fixture!("score_text.json"));
    assert_eq!((scored.score.value(), scored.level, scored.signals), (72.5, Level::High, Some(7)));
    assert_eq!(scored.delta.unwrap().to_string(), "-3");
    assert_eq!(scored.first_seen.unwrap().as_millisecond(), 1_778_876_604_661);
    assert_eq!(scored.last_seen.unwrap().as_millisecond(), 1_780_064_607_093);
}

#[test]
fn null_is_absence_and_zero_is_a_score() {
    let scored = scored(fixture!("score_nulls.json"));
    assert_eq!((scored.score.value(), scored.level), (0.0, Level::Info));
    assert_eq!((scored.delta, scored.signals, scored.first_seen), (None, None, None));
    assert!(scored.attributes.is_empty() && scored.reasons.is_empty());
}

#[test]
fn a_200_without_a_score_is_malformed() {
    for body in [
        fixture!("score_missing.json"),
        fixture!("list.json"),
        fixture!("proxy.html"),
        fixture!("error_text.json"),
        "",
        "null",
        "{}",
        r#"{"data":null}"#,
        r#"{"data":{"attributes":{"riskScore":"high"}}}"#,
        r#"{"data":{"attributes":{"riskScore":1e999}}}"#,
        r#"[{"attributes":{"riskScore":85}}]"#,
        r#"{"data":{"attributes":{"riskScore":85}}"#,
    ] {
        assert_eq!(kind(answer(200, body)), FailureKind::MalformedResponse, "{body}");
    }
}

#[test]
fn a_404_in_datadogs_own_words_is_unknown_in_all_the_forms_seen() {
    for body in [
        fixture!("error_objects.json"),
        fixture!("error_text.json"),
        fixture!("error_text_404.json"),
        fixture!("error_title.json"),
        fixture!("error_detail.json"),
        fixture!("error_code.json"),
    ] {
        assert_eq!(answer(404, body), Ok(Answer::Unknown { detail: None }), "{body}");
    }
}

#[test]
fn a_404_from_anybody_else_is_malformed() {
    for body in
        [fixture!("proxy.html"), "", "{}", r#"{"errors":[]}"#, r#"{"errors":"x"}"#, r#"{"errors":[1]}"#]
    {
        assert_eq!(kind(answer(404, body)), FailureKind::MalformedResponse, "{body}");
    }
}

#[test]
fn every_status_has_its_failure_whatever_the_form_of_its_body() {
    for (status, expected) in [
        (400, FailureKind::BadRequest),
        (401, FailureKind::Unauthorised),
        (402, FailureKind::BadRequest),
        (403, FailureKind::Forbidden),
        (405, FailureKind::BadRequest),
        (408, FailureKind::Timeout),
        (414, FailureKind::BadRequest),
        (429, FailureKind::RateLimited),
        (500, FailureKind::ServerError),
        (503, FailureKind::ServerError),
        (504, FailureKind::Timeout),
        (599, FailureKind::ServerError),
        (204, FailureKind::MalformedResponse),
        (302, FailureKind::MalformedResponse),
    ] {
        for body in ["", fixture!("error_429.json"), fixture!("error_objects.json"), "{}"] {
            let failure = answer(status, body).unwrap_err();
            assert_eq!(failure.kind, expected, "{status} {body}");
            assert!(failure.detail.contains(&status.to_string()), "{failure}");
        }
    }
}

#[test]
fn a_firewalls_page_does_not_speak_for_our_credentials() {
    for status in [401, 403] {
        assert_eq!(kind(answer(status, fixture!("proxy.html"))), FailureKind::MalformedResponse);
    }
}

#[test]
fn a_failure_never_repeats_what_the_vendor_says() {
    for status in [200, 400, 401, 403, 404, 429, 500] {
        let body = format!(r#"{{"errors":[{{"title":"{ARN}"}}], "data": "{ARN}""#);
        let failure = answer(status, &body).unwrap_err();
        assert!(!failure.to_string().contains("john"), "{failure}");
    }
}

fn problems(yaml: &str) -> (Option<Config>, String) {
    testing::read_keys(yaml, config::read)
}

#[test]
fn all_nine_sites_are_known_in_every_spelling_that_datadog_uses() {
    for site in config::SITES {
        for spelling in [site.to_owned(), format!("app.{site}"), format!("api.{site}"), site.to_uppercase()] {
            let (config, problems) = problems(&format!("site: {spelling}\napi_key: a\napplication_key: b\n"));
            assert_eq!(config.expect(&problems).base_url().unwrap().host(), format!("api.{site}"));
        }
    }
}

#[test]
fn keys_never_go_to_a_site_that_is_not_datadogs() {
    for site in ["example.com", "datadoghq.com.example.com", "app.api.datadoghq.com", "datadoghq.com/x", "eu"]
    {
        let (config, problems) = problems(&format!("site: {site}\napi_key: a\napplication_key: b\n"));
        assert!(config.is_none() && problems.contains("not a Datadog site"), "{site}: {problems}");
    }
}

#[test]
fn every_missing_key_is_reported_at_once_and_an_address_of_its_own_needs_no_site() {
    let (config, all) = problems("base_url: ~\n");
    assert!(config.is_none());
    assert!(["site", "api_key", "application_key"].iter().all(|key| all.contains(key)), "{all}");
    let (config, problems) =
        problems("base_url: https://proxy.example.com\napi_key: a\napplication_key: b\n");
    assert!(config.is_some(), "{problems}");
}

fn config() -> Config {
    Config {
        address: BaseUrl::parse("https://api.datadoghq.com").unwrap(),
        api_key: Secret::literal(pages::API_KEY),
        application_key: Secret::literal(pages::APPLICATION_KEY),
    }
}

fn datadog(base: BaseUrl) -> Datadog {
    let templates = vec![
        (EntityKind::Host, "host:{value}".to_owned()),
        (EntityKind::ServiceAccount, "{value}@project/{value}".to_owned()),
    ];
    let transport = Transport::for_tests(&base);
    Datadog::new(config(), base, Scale::default(), templates, transport)
}

#[tokio::test]
async fn a_question_is_one_get_with_both_keys_and_one_encoded_segment() {
    let recorder = Recorder::start([told(200, fixture!("score.json"))]).await;
    let provider = datadog(recorder.base("/prefix"));
    let answer = provider.ask(&Entity::new(EntityKind::CloudIdentity, ARN)).await.unwrap();
    assert!(matches!(answer, Answer::Scored(_)));
    let asked = &recorder.asked()[0];
    assert_eq!(asked.method, "GET");
    assert_eq!(
        asked.target,
        "/prefix/api/v2/security-entities/risk-scores/arn%3Aaws%3Aiam%3A%3A123456789012%3Auser%2Fjohn.doe"
    );
    assert_eq!(asked.header("dd-api-key"), pages::API_KEY);
    assert_eq!(asked.header("dd-application-key"), pages::APPLICATION_KEY);
    assert_eq!(asked.header("accept"), "application/json");
}

#[tokio::test]
async fn an_identifier_of_any_bytes_stays_one_segment() {
    for (id, segment) in [
        ("DataDog/dd-source", "DataDog%2Fdd-source"),
        ("a b~c", "a%20b~c"),
        ("100%", "100%25"),
        ("%2e%2e", "%252e%252e"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("zoë", "zo%C3%AB"),
        ("..;a", "..%3Ba"),
        ("http://host/x@y", "http%3A%2F%2Fhost%2Fx%40y"),
    ] {
        let recorder = Recorder::start([told(404, fixture!("error_text.json"))]).await;
        let provider = datadog(recorder.base(""));
        let answer = provider.ask(&Entity::new(EntityKind::CloudIdentity, id)).await;
        assert_eq!(answer, Ok(Answer::Unknown { detail: None }), "{id}");
        assert_eq!(recorder.targets(), [format!("/api/v2/security-entities/risk-scores/{segment}")]);
    }
}

#[tokio::test]
async fn an_identifier_that_no_encoding_saves_is_not_sent() {
    let long = "a".repeat(2049);
    let recorder = Recorder::start([]).await;
    let provider = datadog(recorder.base(""));
    for id in ["", ".", "..", "../../api/v1/keys", "a/../b", "a\\..\\b", "a\nb", "a\0b", &long] {
        let answer = provider.ask(&Entity::new(EntityKind::CloudIdentity, id)).await;
        assert_eq!(kind(answer), FailureKind::InvalidIdentifier, "{id:?}");
    }
    let answer = provider.ask(&Entity::new(EntityKind::Ip, "10.0.0.1")).await;
    assert_eq!(kind(answer), FailureKind::InvalidIdentifier);
    assert!(recorder.asked().is_empty());
}

#[tokio::test]
async fn other_kinds_are_asked_about_through_their_template() {
    let recorder =
        Recorder::start([told(200, fixture!("score.json")), told(200, fixture!("score.json"))]).await;
    let provider = datadog(recorder.base(""));
    assert_eq!(provider.kinds(), [EntityKind::CloudIdentity, EntityKind::Host, EntityKind::ServiceAccount]);
    provider.ask(&Entity::new(EntityKind::Host, "i-1")).await.unwrap();
    provider.ask(&Entity::new(EntityKind::ServiceAccount, "{value}")).await.unwrap();
    let list = "/api/v2/security-entities/risk-scores";
    assert_eq!(
        recorder.targets(),
        [format!("{list}/host%3Ai-1"), format!("{list}/%7Bvalue%7D%40project%2F%7Bvalue%7D")]
    );
}

#[tokio::test]
async fn after_a_429_the_quotas_reset_says_how_long_to_wait() {
    for (name, value, wait) in [
        ("x-ratelimit-reset", "3", Some(3)),
        ("retry-after", "7", Some(7)),
        ("retry-after", "99999999", Some(3600)),
        ("x-other", "1", None),
    ] {
        // As recorded: an empty body, and something remaining.
        let refusal = told(429, "").header("x-ratelimit-remaining", "9").header(name, value);
        let recorder = Recorder::start([refusal]).await;
        let provider = datadog(recorder.base(""));
        let failure = provider.ask(&Entity::new(EntityKind::CloudIdentity, ARN)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited);
        assert_eq!(failure.retry_after, wait.map(Duration::from_secs), "{name}: {value}");
    }
}

#[tokio::test]
async fn the_probe_reads_one_row_of_the_list() {
    let recorder = Recorder::start([
        told(200, fixture!("list.json")),
        told(200, "{}"),
        told(403, fixture!("error_text.json")),
        told(404, fixture!("error_text.json")),
    ])
    .await;
    let provider = datadog(recorder.base(""));
    assert_eq!(provider.probe().await, Ok(()));
    for expected in [FailureKind::MalformedResponse, FailureKind::Forbidden, FailureKind::MalformedResponse] {
        assert_eq!(provider.probe().await.unwrap_err().kind, expected);
    }
    assert_eq!(recorder.targets()[0], "/api/v2/security-entities/risk-scores?page%5Bsize%5D=1");
}

#[tokio::test]
async fn neither_debug_output_nor_identity_shows_a_key() {
    let base = BaseUrl::parse("http://127.0.0.1:1").unwrap();
    let provider = datadog(base.clone());
    let text = format!("{:?} {}", config(), provider.identity());
    assert!(!text.contains(pages::API_KEY) && !text.contains(pages::APPLICATION_KEY), "{text}");
    let other = Config { api_key: Secret::literal("another"), ..config() };
    let other = Datadog::new(other, base.clone(), Scale::default(), vec![], Transport::for_tests(&base));
    assert_ne!(provider.identity(), other.identity(), "two organisations share no answers");
}

async fn simulator(options: Options) -> (Simulator, Datadog) {
    let (simulator, base) = testing::simulated("datadog", options).await;
    (simulator, datadog(base))
}

#[tokio::test]
async fn the_simulated_vendor_is_understood() {
    let (simulator, provider) = simulator(Options { known: 0.5, ..Options::default() }).await;
    assert_eq!(provider.probe().await, Ok(()));
    let (mut scores, mut unknown) = (0, 0);
    for n in 0..40 {
        let id = format!("arn:aws:iam::{n}:user/jörg ?#%");
        let answer = provider.ask(&Entity::new(EntityKind::CloudIdentity, &id)).await.unwrap();
        match (answer, simulator.world().profile(&id)) {
            (Answer::Scored(scored), Some(profile)) => {
                assert_eq!(scored.attributes["entity_id"], id.as_str());
                assert_eq!(scored.last_seen, Some(profile.last_seen));
                assert_eq!(scored.attributes.len(), 22);
                scores += 1;
            }
            (Answer::Unknown { detail: None }, None) => unknown += 1,
            (answer, profile) => panic!("{id}: {answer:?} for {profile:?}"),
        }
    }
    assert!(scores > 5 && unknown > 5, "{scores} {unknown}");
}

#[tokio::test]
async fn the_simulated_vendor_checks_keys_and_quota() {
    let limit = Limit { requests: 1, per_ms: 60_000, sliding: true };
    let limits = [("datadog".to_owned(), limit)].into();
    let (simulator, provider) = simulator(Options { limits, known: 1.0, ..Options::default() }).await;
    let entity = Entity::new(EntityKind::CloudIdentity, ARN);
    assert!(provider.ask(&entity).await.is_ok());
    let base = BaseUrl::parse(&simulator.base_url("datadog")).unwrap();
    // Another transport, whose limiter has not seen that the quota is used up.
    let failure = datadog(base.clone()).ask(&entity).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    assert!(failure.retry_after.is_some_and(|wait| wait > Duration::from_secs(50)), "{failure:?}");
    let wrong = Config { application_key: Secret::literal("wrong"), ..config() };
    let wrong = Datadog::new(wrong, base.clone(), Scale::default(), vec![], Transport::for_tests(&base));
    assert_eq!(kind(wrong.ask(&entity).await), FailureKind::Forbidden);
}

/// JSON that is sometimes of Datadog's form.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9.]{0,6}".prop_map(Value::from),
        Just(json!([[]])),
        Just(json!({"hasIdentityRisk": {}})),
    ];
    let names = prop::sample::select(vec![
        "riskScore",
        "severity",
        "firstDetected",
        "signalsDetected",
        "configRisks",
        "entityRoles",
        "entityMetadata",
        "lastActivityTitle",
        "other",
    ]);
    let attributes = prop::collection::btree_map(names, scalar, 0..6);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        attributes.clone().prop_map(|a| serde_json::to_vec(&a).unwrap()),
        attributes.clone().prop_map(|a| serde_json::to_vec(&json!({"data": a})).unwrap()),
        attributes.prop_map(|a| serde_json::to_vec(&json!({"data": {"id": "a", "attributes": a}})).unwrap()),
    ]
}

proptest! {
    #[test]
    fn no_body_panics_and_none_becomes_a_score_without_a_number_in_it(
        status in prop_oneof![Just(200u16), 100u16..600],
        body in bodies(),
    ) {
        if let Ok(Answer::Scored(scored)) = normalise::answer(status, &body, None, &Scale::default()) {
            prop_assert_eq!(status, 200);
            let body: Value = serde_json::from_slice(&body).unwrap();
            let written = &body["data"]["attributes"]["riskScore"];
            let number = written.as_f64().or_else(|| written.as_str()?.parse().ok()).unwrap();
            prop_assert_eq!(Some(scored.score), crate::score::Score::clamped(number));
        }
    }
}

#[test]
fn no_identifier_leaves_its_segment() {
    let provider = datadog(BaseUrl::parse("https://api.datadoghq.com").unwrap());
    let list = "https://api.datadoghq.com/api/v2/security-entities/risk-scores/";
    proptest!(|(id in "\\PC{0,30}|[./\\\\%?#a]{0,8}")| {
        let entity = Entity { kind: EntityKind::CloudIdentity, id: id.as_str().into() };
        if let Some(url) = provider.url(&entity) {
            let segment = url.strip_prefix(list).unwrap();
            let strict = segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b));
            prop_assert!(strict && !matches!(segment, "" | "." | ".."));
            prop_assert_eq!(percent_encoding::percent_decode_str(segment).decode_utf8().unwrap(), id);
        }
    });
}

#[tokio::test]
async fn the_list_is_read_in_pages_of_one_query_and_says_the_same_as_look_ups() {
    let (simulator, base) = testing::simulated("datadog", testing::knowing(1.0)).await;
    let names: Vec<String> = (0..1200).map(|n| format!("example/repository-{n}")).collect();
    simulator.world().list("datadog", names.clone());
    let provider = datadog(base);
    let bulk = provider.bulk().unwrap();
    let first = bulk.page(None).await.unwrap();
    assert_eq!(first.rows.len(), 500);
    // What changes meanwhile does not matter to a query under way.
    simulator.world().list("datadog", Vec::new());
    let second = bulk.page(first.next.as_deref()).await.unwrap();
    let third = bulk.page(second.next.as_deref()).await.unwrap();
    assert_eq!((second.rows.len(), third.rows.len(), third.next, third.cut), (500, 200, None, false));
    let rows: Vec<_> = [first.rows, second.rows, third.rows].concat();
    let scores = testing::scores(&rows);
    assert!(scores.is_sorted_by(|one, other| one.1 >= other.1), "the highest come first");
    let mut there: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let mut names = names;
    there.sort();
    names.sort();
    assert_eq!(there, names);
    for row in rows.iter().step_by(300) {
        let asked = provider.ask(&Entity::new(EntityKind::CloudIdentity, &row.name)).await.unwrap();
        assert_eq!(row.answer.as_ref(), Ok(&asked));
    }
}

#[tokio::test]
async fn a_page_may_be_as_short_as_the_vendor_likes_and_an_early_end_is_told() {
    let list = |rows: &[&str], total: Value| {
        let row = |id: &&str| json!({"id": id, "attributes": {"riskScore": 7}});
        let data: Vec<Value> = rows.iter().map(row).collect();
        told(200, json!({"data": data, "meta": {"queryId": "q 1", "totalRowCount": total}}).to_string())
    };
    let recorder = Recorder::start([list(&["a"], json!(3)), list(&["b", "c"], json!(3))]).await;
    let (rows, cut) = testing::listed(&datadog(recorder.base(""))).await.unwrap();
    assert_eq!((testing::scores(&rows), cut), (vec![("a", 7.0), ("b", 7.0), ("c", 7.0)], false));
    let list_of = "/api/v2/security-entities/risk-scores?page%5Bsize%5D=500&page%5Bnumber%5D=";
    let sort = "&filter%5Bsort%5D=riskScore%3Adesc";
    let second = format!("{list_of}2{sort}&page%5BqueryId%5D=q%201");
    assert_eq!(recorder.targets(), [format!("{list_of}1{sort}"), second]);

    let recorder = Recorder::start([list(&["a"], json!(3)), list(&[], json!(3))]).await;
    let (rows, cut) = testing::listed(&datadog(recorder.base(""))).await.unwrap();
    assert_eq!((rows.len(), cut), (1, true), "fewer than were promised");

    let recorder = Recorder::start([list(&["a"], Value::Null), list(&[], Value::Null)]).await;
    let (rows, cut) = testing::listed(&datadog(recorder.base(""))).await.unwrap();
    assert_eq!((rows.len(), cut), (1, false), "without a number of rows it ends with an empty page");
}

#[tokio::test]
async fn a_row_that_is_not_understood_is_there_and_one_without_an_id_spoils_the_page() {
    let odd = json!({"data": [{"id": "a", "attributes": {"riskScore": "high"}}, {"id": "b", "attributes": {"riskScore": 1}}],
        "meta": {"totalRowCount": 2}});
    let nobody = json!({"data": [{"attributes": {"riskScore": 1}}]});
    let answers = [
        told(200, odd.to_string()),
        told(200, nobody.to_string()),
        told(200, fixture!("score.json")),
        told(200, fixture!("proxy.html")),
        told(403, fixture!("error_text.json")),
        told(400, fixture!("error_objects.json")),
    ];
    let recorder = Recorder::start(answers).await;
    let provider = datadog(recorder.base(""));
    let (rows, _) = testing::listed(&provider).await.unwrap();
    assert_eq!(rows[0].answer, Err(FailureKind::MalformedResponse));
    assert!(rows[1].answer.is_ok());
    for expected in [
        FailureKind::MalformedResponse,
        FailureKind::MalformedResponse,
        FailureKind::MalformedResponse,
        FailureKind::Forbidden,
        FailureKind::BadRequest,
    ] {
        assert_eq!(kind(testing::listed(&provider).await), expected);
    }
}

#[test]
fn an_entity_is_called_what_datadog_calls_it_and_what_it_cannot_know_has_no_name() {
    let provider = datadog(BaseUrl::parse("https://api.datadoghq.com").unwrap());
    let name = |kind, id| provider.bulk().unwrap().name(kind, id).map(|name| name.into_owned());
    assert_eq!(name(EntityKind::CloudIdentity, ARN).as_deref(), Some(ARN));
    assert_eq!(name(EntityKind::Host, "ws-1").as_deref(), Some("host:ws-1"));
    assert_eq!((name(EntityKind::CloudIdentity, "a/../b"), name(EntityKind::Ip, "10.0.0.1")), (None, None));
}
