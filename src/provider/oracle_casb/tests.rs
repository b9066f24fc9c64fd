//! Oracle CASB from both ends: every fixture through the pure part, and the provider over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::config::Config;
use super::normalise::{Reading, refusal};
use super::wire::{Grant, Report, Unreadable, unpack};
use super::{MAX_PAGES, OracleCasb};
use crate::config::Secret;
use crate::config::provider::Common;
use crate::entity::{Entity, EntityKind};
use crate::http::BaseUrl;
use crate::provider::guard::Guard;
use crate::provider::limiter::Priority;
use crate::provider::meter::NoMeter;
use crate::provider::recorder::{Recorder, Told, told, told_bytes};
use crate::provider::testing;
use crate::provider::transport::Transport;
use crate::provider::{Answer, Failure, FailureKind, Provider, Scored};
use crate::score::{Level, Scale, Score};
use crate::simulator::oracle_casb as page;
use crate::simulator::{Limit, Options, Simulator, World};

macro_rules! fixtures {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vendors/oracle_casb/", $name, ".json"
        )).as_slice())),*]
    };
}

/// Every fixture, by file name without `.json`.
const FIXTURES: [(&str, &[u8]); 17] = fixtures![
    "drifted_columns",
    "empty",
    "empty_null",
    "error",
    "level_unknown_word",
    "nine_columns",
    "no_level",
    "no_list",
    "no_user_column",
    "only_others",
    "rows_of_others",
    "score_not_a_number",
    "score_only",
    "several_applications",
    "token",
    "typed_values",
    "vendor_page",
];

const JANE: &str = "jane.doe@acme.example";

fn fixture(name: &str) -> &'static [u8] {
    FIXTURES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no fixture {name}")).1
}

fn read_as(user: &str, body: &[u8]) -> Result<Answer, Failure> {
    let mut reading = Reading::new(user);
    let page = Report::read(body).map_err(Failure::malformed)?;
    let next = reading.page(page)?;
    reading.answer(next.is_none(), &Scale::default())
}

fn scored_as(user: &str, name: &str) -> Scored {
    match read_as(user, fixture(name)) {
        Ok(Answer::Scored(scored)) => *scored,
        other => panic!("{name}: {other:?}"),
    }
}

fn scored(name: &str) -> Scored {
    scored_as(JANE, name)
}

fn score(value: f64) -> Score {
    Score::clamped(value).unwrap()
}

#[test]
fn every_fixture_file_is_read_by_a_test() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vendors/oracle_casb");
    let files: BTreeSet<_> =
        std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, FIXTURES.iter().map(|(name, _)| format!("{name}.json")).collect());
}

#[test]
fn the_vendors_own_example_is_read_whole() {
    let found = scored_as("LeiaMacintosh@mycompany.com", "vendor_page");
    assert_eq!((found.score, found.level), (Score::ZERO, Level::Info));
    assert_eq!(found.raw.score, Some(0.into()));
    assert_eq!(found.raw.level.as_deref(), Some("Normal"));
    assert_eq!(found.last_seen, "2017-10-24T00:00:00Z".parse().ok());
    assert_eq!(found.reasons, ["Total IP network prefix for all events (count 3, average 1)"]);
    let instance = "bd4716ef-d9b3-4348-8793-347134edce7a";
    assert_eq!(
        Value::Object(found.attributes),
        json!({
            "app_name": "SFDC", "app_instance": "publiceventsapi", "app_instance_id": instance,
            "risk_level": "Normal", "user_name": "leiamacintosh@mycompany.com", "maximum_risk_score": 0,
            "reasons": {
                "app_instance_id": instance, "time": "2017-10-24T23:29:38Z",
                "factors": {"NETWRK_PREFIX_EVENTS": "Total IP network prefix for all events"},
            },
            "detected_date": "2017-10-24T00:00:00Z", "detected_date_iso": "2017-10-24T00:00:00Z",
            "reasons_average": {"NETWRK_PREFIX_EVENTS": 1}, "reasons_counts": {"NETWRK_PREFIX_EVENTS": 3},
            "rows": 1,
            "report": {
                "type": "ReportResponse", "tenant_name": "e6d29a75-cdaf-4dfa-b35d-90c77899eb10",
                "report_id": "userrisk", "max_count": 100, "total_count": 6, "size": 6,
                "title": "Users at risk",
                "description": "User risk scores based on LORIC's analysis of suspicious activity patterns",
            },
        })
    );
    for user in ["andylemarc", "carlagomez", "billwong", "suelee", "sashakopek"] {
        let found = scored_as(&format!("{user}@mycompany.com"), "vendor_page");
        assert_eq!((found.score, found.level), (Score::ZERO, Level::Info), "{user}");
    }
}

#[test]
fn scores_and_levels_are_read_however_they_are_spelled() {
    for (name, expected, level, raw_level) in [
        ("nine_columns", 0.0, Level::Info, Some("Normal")),
        ("several_applications", 85.5, Level::High, Some("High")),
        ("rows_of_others", 20.0, Level::Low, Some("Low")),
        // No number: the points of the level stand for it.
        ("score_not_a_number", 60.0, Level::Medium, Some("Medium")),
        // No level: it follows from the number.
        ("score_only", 75.0, Level::High, None),
        ("drifted_columns", 60.0, Level::Medium, Some("medium")),
        ("typed_values", 85.0, Level::High, Some("HIGH")),
    ] {
        let found = scored(name);
        assert_eq!((found.score, found.level), (score(expected), level), "{name}");
        assert_eq!(found.raw.level.as_deref(), raw_level, "{name}");
    }
    assert_eq!(scored("score_not_a_number").raw.score, None);
}

#[test]
fn the_riskiest_application_speaks_and_the_others_stand_beside_it() {
    let found = scored("several_applications");
    assert_eq!(found.raw.score, serde_json::Number::from_f64(85.5));
    assert_eq!(found.attributes["app_name"], json!("O365"));
    assert_eq!(found.attributes["row_id"], json!("r-2"));
    assert_eq!(found.attributes["peer_group"], json!({"peergroup": "other", "size": "12"}));
    assert_eq!(found.attributes["rows"], json!(3));
    let others = found.attributes["other_rows"].as_array().unwrap();
    let others: Vec<_> = others.iter().map(|row| (&row["app_name"], &row["maximum_risk_score"])).collect();
    assert_eq!(others, [(&json!("BOX"), &json!(42)), (&json!("SFDC"), &json!(0.0))]);
    assert_eq!(found.last_seen, "2020-09-02T00:00:00Z".parse().ok());
    assert_eq!(
        found.reasons,
        ["Failed sign-ins (count 40)", "Total IP network prefix for all events (count 3, average 1)"]
    );
}

#[test]
fn columns_that_changed_are_kept_as_they_came() {
    let found = scored("drifted_columns");
    assert_eq!(found.attributes["reasons"], json!("see [console"));
    assert_eq!(found.attributes["reasons_average"], json!("none"));
    assert_eq!(found.attributes["top_location"], json!("Lima"));
    assert_eq!(found.attributes["new_column2024"], json!("x"));
    assert_eq!(found.reasons, Vec::<String>::new());

    let found = scored("typed_values");
    assert_eq!(found.attributes["reasons"], json!([{"A": "first"}, {"B": 2}]));
    assert_eq!(found.reasons, ["first (count 1)", "2"]);
    assert_eq!(found.last_seen, "2020-09-01T00:00:00Z".parse().ok());
}

#[test]
fn unknown_has_no_score() {
    for name in ["empty", "empty_null", "only_others"] {
        assert_eq!(read_as(JANE, fixture(name)), Ok(Answer::Unknown { detail: None }), "{name}");
    }
    assert_eq!(read_as(JANE, fixture("no_level")), Ok(Answer::Unknown { detail: Some("no_level") }));
}

#[test]
fn a_part_of_a_report_about_others_does_not_make_a_user_unknown() {
    let others = |total: u64| {
        let mut page: Value = serde_json::from_slice(fixture("only_others")).unwrap();
        page["totalCount"] = json!(total);
        read_as(JANE, page.to_string().as_bytes()).map_err(|failure| failure.kind)
    };
    assert_eq!(others(1), Ok(Answer::Unknown { detail: None }));
    assert_eq!(others(5000), Err(FailureKind::MalformedResponse));
}

#[test]
fn what_is_not_understood_is_malformed() {
    for name in ["level_unknown_word", "no_list", "no_user_column", "error", "token"] {
        let failure = read_as(JANE, fixture(name)).expect_err(name);
        assert_eq!(failure.kind, FailureKind::MalformedResponse, "{name}");
    }
    for body in ["", "null", "[]", "<html></html>", "\u{1f}\u{8b}"] {
        assert!(read_as(JANE, body.as_bytes()).is_err(), "{body:?}");
    }
}

#[test]
fn every_status_has_its_kind() {
    use FailureKind::*;
    for (status, kind) in [
        (302, MalformedResponse),
        (400, BadRequest),
        (401, Unauthorised),
        (403, Forbidden),
        // An application instance, never a user.
        (404, BadRequest),
        (408, Timeout),
        (418, BadRequest),
        (429, RateLimited),
        (500, ServerError),
        (503, ServerError),
        (504, Timeout),
    ] {
        assert_eq!(refusal(status, fixture("error")).kind, kind, "{status}");
    }
    assert!(refusal(403, b"").detail.contains("CASB APIs are not enabled"));
    assert_eq!(refusal(404, b"").kind, BadRequest);
    assert_eq!(refusal(404, b" <html>").kind, MalformedResponse);
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_gzip_body_is_unpacked_within_a_bound() {
    let body = fixture("nine_columns");
    assert_eq!(unpack(&packed(body)).unwrap().as_ref(), body);
    assert_eq!(unpack(body).unwrap().as_ref(), body);
    assert_eq!(unpack(&packed(&vec![b' '; 9 << 20])), Err(Unreadable::Gzip));
    let mut damaged = packed(body);
    damaged.truncate(damaged.len() / 2);
    assert_eq!(unpack(&damaged), Err(Unreadable::Gzip));
}

#[test]
fn a_token_is_read_from_the_answer_of_the_exchange() {
    let grant = Grant::read(fixture("token")).unwrap();
    assert_eq!(grant.access_token, Some(json!("v2.fixture")));
    assert_eq!(grant.expires_at, Some(json!("2020-09-01T12:00:00.000Z")));
}

#[test]
fn the_configuration_names_what_is_missing() {
    let read = |yaml: &str| testing::read_keys(yaml, super::read);
    let (config, problems) = read(
        "base_url: https://api.example.com\naccess_key: {env: KEY}\naccess_secret: {env: SECRET}\napplication_type: AWS\n",
    );
    let config = config.unwrap_or_else(|| panic!("{problems}"));
    assert_eq!(config.application_type.as_deref(), Some("AWS"));
    assert!(!format!("{config:?}").contains("value of"));

    let (config, problems) = read("application_instance: x\n");
    assert!(config.is_none());
    for key in ["base_url", "access_key", "access_secret"] {
        assert!(problems.contains(key), "{key} is not in {problems}");
    }
}

fn config() -> Config {
    Config {
        access_key: Secret::literal(page::ACCESS_KEY),
        access_secret: Secret::literal(page::ACCESS_SECRET),
        application_type: None,
        application_instance: None,
    }
}

fn provider(base: &BaseUrl, config: Config) -> OracleCasb {
    OracleCasb::new(config, base.clone(), Scale::default(), Vec::new(), Transport::for_tests(base))
}

fn jane() -> Entity {
    Entity::new(EntityKind::User, JANE)
}

async fn simulator(known: f64) -> (Simulator, BaseUrl) {
    testing::simulated("oracle_casb", testing::knowing(known)).await
}

/// The simulated page alone, with tokens that the test holds.
async fn tenant(tokens: &Arc<page::Tokens>) -> BaseUrl {
    let world = Arc::new(World::new(Options { known: 1.0, ..Options::default() }));
    let router = page::router_with(world, Arc::clone(tokens));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = BaseUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

#[tokio::test]
async fn a_user_is_asked_about_and_scored() {
    let (simulator, base) = simulator(1.0).await;
    let casb = provider(&base, config());
    for user in ["jane.doe@acme.example", "ACME\\J\u{f6}rg & S\u{f8}n?=#/%"] {
        let expected = simulator.world().profile(user).unwrap().score;
        match casb.ask(&Entity::new(EntityKind::User, user)).await {
            Ok(Answer::Scored(found)) => assert_eq!(found.score, score(expected)),
            other => panic!("{user}: {other:?}"),
        }
    }
    assert_eq!(casb.probe().await, Ok(()));
}

#[tokio::test]
async fn who_the_vendor_does_not_know_is_unknown() {
    let (_simulator, base) = simulator(0.0).await;
    let casb = provider(&base, config());
    assert_eq!(casb.ask(&jane()).await, Ok(Answer::Unknown { detail: None }));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (simulator, base) = simulator(1.0).await;
    let disabled = Config {
        access_key: Secret::literal(page::DISABLED_ACCESS_KEY),
        access_secret: Secret::literal(page::DISABLED_ACCESS_SECRET),
        ..config()
    };
    for (config, kind) in [
        (Config { access_secret: Secret::literal("wrong"), ..config() }, FailureKind::Unauthorised),
        (disabled, FailureKind::Forbidden),
        (Config { application_instance: Some("nowhere".into()), ..config() }, FailureKind::BadRequest),
    ] {
        assert_eq!(provider(&base, config.clone()).ask(&jane()).await.unwrap_err().kind, kind);
        assert_eq!(provider(&base, config).probe().await.unwrap_err().kind, kind);
    }
    let limit = Limit { requests: 1, per_ms: 3_600_000, sliding: true };
    simulator.world().set_limit("oracle_casb", Some(limit));
    let casb = provider(&base, config());
    assert!(casb.ask(&jane()).await.is_ok());
    let failure = casb.ask(&jane()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    assert!(failure.retry_after.is_some());
}

#[tokio::test]
async fn only_the_configured_application_is_looked_at() {
    let (_simulator, base) = simulator(1.0).await;
    let (kind, name, id) = page::APPLICATIONS[1];
    let config =
        Config { application_type: Some(kind.into()), application_instance: Some(name.into()), ..config() };
    match provider(&base, config).ask(&jane()).await {
        Ok(Answer::Scored(found)) => assert_eq!(found.attributes["app_instance_id"], json!(id)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_token_serves_many_askers() {
    let tokens = Arc::new(page::Tokens::new(Duration::from_secs(3600)));
    let casb = Arc::new(provider(&tenant(&tokens).await, config()));
    let askers: Vec<_> = (0..8)
        .map(|_| {
            let casb = Arc::clone(&casb);
            tokio::spawn(async move { casb.ask(&jane()).await.map(drop) })
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.await.unwrap(), Ok(()));
    }
    assert_eq!(tokens.count(), 1);
}

#[tokio::test]
async fn a_revoked_token_is_refused_once_and_replaced_once() {
    let tokens = Arc::new(page::Tokens::new(Duration::from_secs(3600)));
    let casb = provider(&tenant(&tokens).await, config());
    assert!(casb.ask(&jane()).await.is_ok());
    tokens.revoke_all();
    for _ in 0..2 {
        assert_eq!(casb.ask(&jane()).await.unwrap_err().kind, FailureKind::Unauthorised);
    }
    casb.renew(FailureKind::Unauthorised);
    assert!(casb.ask(&jane()).await.is_ok());
    // The second of the two who were refused comes late.
    casb.renew(FailureKind::Unauthorised);
    assert!(casb.ask(&jane()).await.is_ok());
    assert_eq!(tokens.count(), 2);
}

#[tokio::test]
async fn behind_the_guard_a_revoked_token_is_not_noticed() {
    let tokens = Arc::new(page::Tokens::new(Duration::from_secs(3600)));
    let casb = provider(&tenant(&tokens).await, config());
    let guard = Guard::new("casb", Box::new(casb), &Common::for_tests(), Arc::new(NoMeter));
    for _ in 0..2 {
        assert!(guard.ask(&jane(), Priority::Alert, None).await.is_ok());
        tokens.revoke_all();
    }
    assert_eq!(tokens.count(), 2);
}

#[tokio::test]
async fn a_token_that_says_it_is_over_is_tried_all_the_same() {
    // More likely than not a clock is wrong. This one is over indeed, and costs one refusal, not an exchange a call.
    let tokens = Arc::new(page::Tokens::new(Duration::ZERO));
    let casb = provider(&tenant(&tokens).await, config());
    for _ in 0..2 {
        assert_eq!(casb.ask(&jane()).await.unwrap_err().kind, FailureKind::Unauthorised);
    }
    assert_eq!(tokens.count(), 1);
}

fn grant() -> Told {
    told_bytes(200, fixture("token"))
}

/// A report with one row about `user`, and where the next page starts.
fn one_row(user: &str, value: &str, marker: Option<&str>) -> Told {
    let row = json!({"userRiskDetails": [
        {"displayname": "User name", "value": user}, {"displayname": "Maximum Risk Score", "value": value},
    ]});
    told(200, json!({"nextMarkerPosition": marker, "userRiskScores": [row]}).to_string())
}

#[tokio::test]
async fn requests_are_sent_exactly() {
    let server = Recorder::start([grant(), told_bytes(200, fixture("rows_of_others"))]).await;
    let config = Config {
        application_type: Some("AWS".into()),
        application_instance: Some("a&b=c d".into()),
        ..config()
    };
    let casb = provider(&server.base(""), config);
    assert!(casb.ask(&jane()).await.is_ok());
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].method.as_str(), asked[0].target.as_str()), ("POST", "/api/v1/token"));
    let pair: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(pair, json!({"accessKey": page::ACCESS_KEY, "accessSecret": page::ACCESS_SECRET}));
    assert_eq!(
        (asked[1].method.as_str(), asked[1].target.as_str()),
        (
            "GET",
            "/api/v1/reports/details/userrisk?userName=jane.doe%40acme.example&pagesize=100\
             &applicationType=AWS&applicationInstanceName=a%26b%3Dc%20d"
        )
    );
    assert_eq!(asked[1].header("authorization"), "Bearer v2.fixture");
    assert_eq!(asked[1].header("x-apprity-tenant-id"), "e6d29a75-cdaf-4dfa-b35d-90c77899eb10");
}

#[tokio::test]
async fn a_hostile_user_is_never_sent() {
    let server = Recorder::start([]).await;
    let casb = provider(&server.base(""), config());
    for bad in ["", "a\nb", &"a".repeat(400)] {
        let failure = casb.ask(&Entity::new(EntityKind::User, bad)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidIdentifier);
    }
    let host = Entity::new(EntityKind::Host, "ws-17");
    assert_eq!(casb.ask(&host).await.unwrap_err().kind, FailureKind::InvalidIdentifier);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_packed_report_is_read() {
    let report = told_bytes(200, packed(fixture("several_applications")));
    let server = Recorder::start([grant(), report.header("content-type", "application/gzip")]).await;
    let found = provider(&server.base(""), config()).ask(&jane()).await;
    assert!(matches!(found, Ok(Answer::Scored(found)) if found.score == score(85.5)));
}

#[tokio::test]
async fn pages_are_followed_to_the_last_one() {
    let server = Recorder::start([
        grant(),
        one_row("john@acme.example", "99", Some("a/1")),
        one_row("JANE.DOE@acme.example", "30", Some("b")),
        // The same marker again: there is no further page.
        one_row(JANE, "55", Some("b")),
    ])
    .await;
    match provider(&server.base(""), config()).ask(&jane()).await {
        Ok(Answer::Scored(found)) => {
            assert_eq!(found.score, score(55.0));
            assert_eq!(found.attributes["rows"], json!(2));
            assert!(!found.attributes.contains_key("report_cut"));
        }
        other => panic!("{other:?}"),
    }
    let first = "/api/v1/reports/details/userrisk?userName=jane.doe%40acme.example&pagesize=100";
    let [second, third] = ["a%2F1", "b"].map(|marker| format!("{first}&markerPosition={marker}"));
    assert_eq!(server.targets()[1..], [first.to_owned(), second, third]);
}

#[tokio::test]
async fn a_report_without_an_end_is_cut_and_never_called_unknown() {
    let endless = |user: &'static str| {
        let page = move |n: usize| one_row(user, "5", Some(&n.to_string()));
        Recorder::start(std::iter::once(grant()).chain((0..2 * MAX_PAGES).map(page)))
    };
    let server = endless("john@acme.example").await;
    let failure = provider(&server.base(""), config()).ask(&jane()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::MalformedResponse);
    assert_eq!(server.asked().len(), 1 + MAX_PAGES);

    let server = endless(JANE).await;
    match provider(&server.base(""), config()).ask(&jane()).await {
        Ok(Answer::Scored(found)) => assert_eq!(found.attributes["report_cut"], json!(true)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_told_by_its_status() {
    for (told, kind) in [
        (told(500, "oops"), FailureKind::ServerError),
        (told(403, "{}"), FailureKind::Forbidden),
        (told(201, "not JSON"), FailureKind::MalformedResponse),
        (told(201, "{}"), FailureKind::MalformedResponse),
    ] {
        let server = Recorder::start([told]).await;
        assert_eq!(provider(&server.base(""), config()).ask(&jane()).await.unwrap_err().kind, kind);
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn what_answers_depend_on_is_in_the_identity_and_the_keys_are_not() {
    let base = BaseUrl::parse("https://api.example.net").unwrap();
    let identity = |config: Config| provider(&base, config).identity();
    let one = identity(config());
    assert!(one.contains("api.example.net") && !one.contains(page::ACCESS_KEY));
    assert_ne!(one, identity(Config { access_key: Secret::literal("another tenant's"), ..config() }));
    assert_ne!(one, identity(Config { application_type: Some("AWS".into()), ..config() }));
}

/// JSON of any form, with the names that mean something to us among its keys and texts.
fn some_json() -> impl Strategy<Value = Value> {
    let leaf = testing::leaf(&[JANE, "85", "High", "{\"A\":\"1\"}", "[1,{\"A\":[]}]"]);
    let column = prop::sample::select(vec![
        "Risk Level",
        "User name",
        "Maximum Risk Score",
        "Reasons",
        "ReasonsCounts",
        "ReasonsAverage",
        "Peer Group",
        "Detected Date",
        "Other \u{130} Column",
    ]);
    let detail =
        (column, leaf.clone()).prop_map(|(name, value)| json!({"displayname": name, "value": value}));
    let name = prop::sample::select(vec![
        "userRiskScores",
        "userRiskDetails",
        "appname",
        "totalCount",
        "nextMarkerPosition",
        "other",
    ]);
    prop_oneof![leaf, detail].prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec(inner.clone(), 0..8)
                .prop_map(|details| json!({"appname": "X", "userRiskDetails": details})),
            testing::object(name.clone(), inner, 4),
        ]
    })
}

/// A score needs a number or a level, and a row about the user.
fn is_honest(body: &[u8], answer: &Result<Answer, Failure>) -> bool {
    let Ok(Answer::Scored(scored)) = answer else { return true };
    let text = String::from_utf8_lossy(&unpack(body).unwrap()).to_lowercase();
    text.contains(JANE) && (scored.raw.score.is_some() || scored.raw.level.is_some())
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_or_invention(mut body in prop::collection::vec(any::<u8>(), 0..200), gzip: bool) {
        if gzip {
            body.splice(0..0, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        }
        prop_assert!(is_honest(&body, &read_as(JANE, &body)));
        let _ = Grant::read(&body);
    }

    #[test]
    fn any_json_is_read_without_panic_or_invention(rows in some_json()) {
        for body in [rows.clone(), json!({"userRiskScores": rows})] {
            let body = body.to_string();
            prop_assert!(is_honest(body.as_bytes(), &read_as(JANE, body.as_bytes())));
        }
    }
}

/// A page of the report: user and score of each row.
fn report(rows: &[(&str, &str)], total: Value, next: Value) -> Told {
    let row = |(user, score): &(&str, &str)| {
        json!({"appname": "SFDC", "userRiskDetails": [
            {"displayname": "User name", "value": user}, {"displayname": "Maximum Risk Score", "value": score},
        ]})
    };
    let rows: Vec<Value> = rows.iter().map(row).collect();
    let body =
        json!({"userRiskScores": rows, "totalCount": total, "maxCount": 100, "nextMarkerPosition": next});
    told(200, body.to_string())
}

async fn everybody(pages: Vec<Told>) -> (Result<(Vec<(String, f64)>, bool), Failure>, Vec<String>) {
    let grant = told(201, String::from_utf8_lossy(fixture("token")).into_owned());
    let recorder = Recorder::start([grant].into_iter().chain(pages)).await;
    let casb = provider(&recorder.base(""), config());
    let read = testing::listed(&casb).await;
    let owned = |rows: Vec<crate::provider::snapshot::Row>| {
        testing::scores(&rows).into_iter().map(|(name, score)| (name.to_owned(), score)).collect()
    };
    let targets = recorder.targets().into_iter().skip(1).collect();
    (read.map(|(rows, cut)| (owned(rows), cut)), targets)
}

#[tokio::test]
async fn the_report_about_everybody_is_read_to_its_end_and_no_further() {
    let path = "/api/v1/reports/details/userrisk?pagesize=100";
    let (read, targets) = everybody(vec![
        report(
            &[("Jane@acme.example", "10"), ("jane@ACME.example", "70"), ("bob", "0.0")],
            json!(4),
            json!("m 1"),
        ),
        report(&[("jane@acme.example", "90")], json!(4), json!("m 2")),
    ])
    .await;
    let rows = vec![
        ("bob".to_owned(), 0.0),
        ("jane@acme.example".to_owned(), 70.0),
        ("jane@acme.example".to_owned(), 90.0),
    ];
    assert_eq!(read, Ok((rows, false)), "all 4 rows were read, whatever marker comes");
    assert_eq!(targets, [path.to_owned(), format!("{path}&markerPosition=m%201")]);

    let a = || report(&[("a", "1")], Value::Null, json!("m"));
    let (read, targets) = everybody(vec![a(), a()]).await;
    assert_eq!((read.unwrap().1, targets.len()), (false, 2), "a marker that stays ends it");
    let (read, _) = everybody(vec![report(&[("a", "1")], json!(5), Value::Null)]).await;
    assert!(read.unwrap().1, "fewer than were promised");
    let (read, _) = everybody(vec![a(), report(&[], json!(5), json!("n"))]).await;
    assert!(read.unwrap().1, "an empty page ends it, too early");
    let (read, _) = everybody(vec![told_bytes(200, fixture("empty"))]).await;
    assert_eq!(read, Ok((vec![], false)));
}

#[tokio::test]
async fn a_report_about_everybody_that_is_odd_is_told() {
    for (name, expected) in [
        ("no_list", Err(FailureKind::MalformedResponse)),
        ("no_user_column", Err(FailureKind::MalformedResponse)),
        ("score_not_a_number", Ok(60.0)),
        ("level_unknown_word", Ok(-2.0)),
        ("no_level", Ok(-1.0)),
    ] {
        let (read, _) = everybody(vec![told_bytes(200, fixture(name))]).await;
        assert_eq!(read.map(|(rows, _)| rows[0].1).map_err(|failure| failure.kind), expected, "{name}");
    }
}

#[tokio::test]
async fn the_simulated_report_about_everybody_scores_as_look_ups_do() {
    let (_simulator, base) = simulator(1.0).await;
    let casb = provider(&base, config());
    let (rows, cut) = testing::listed(&casb).await.unwrap();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!((names.len(), cut), (250, false));
    let asked = testing::scored(casb.ask(&Entity::new(EntityKind::User, &rows[7].name)).await);
    let listed = testing::scored(rows[7].answer.clone().map_err(|kind| Failure::new(kind, "")));
    assert_eq!((listed.score, listed.level), (asked.score, asked.level));
    let bulk = casb.bulk().unwrap();
    assert_eq!(bulk.name(EntityKind::User, "J\u{d6}RG").as_deref(), Some("j\u{f6}rg"));
    assert_eq!((bulk.name(EntityKind::User, " "), bulk.name(EntityKind::Host, "a")), (None, None));
}
