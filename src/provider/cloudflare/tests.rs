//! What Cloudflare's answers become, how e-mails find their UUID, and what is sent to get there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::Secret;
use crate::provider::Scored;
use crate::provider::recorder::{Recorder, told};
use crate::provider::testing::{self, kind};
use crate::score::{Level, Points, Score};
use crate::simulator::cloudflare as pages;
use crate::simulator::server::Simulator;
use crate::simulator::world::{Limit, Options};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/vendors/cloudflare/", $name))
    };
}

const ID: &str = "2c46cdd9-92e3-5e5f-b3cf-0123456789ab";
const OTHER_ID: &str = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e";
const LOWER_ID: &str = "11111111-2222-5333-8444-555555555555";

fn answer(status: u16, body: &str) -> Result<Answer, Failure> {
    normalise::answer(status, body.as_bytes(), None, &Scale::default())
}

fn scored(body: &str) -> Scored {
    testing::scored(answer(200, body))
}

const UNKNOWN: Result<Answer, Failure> = Ok(Answer::Unknown { detail: None });
const NO_LEVEL: Result<Answer, Failure> = Ok(Answer::Unknown { detail: Some("no_level") });

#[test]
fn the_pages_own_example_is_read_whole() {
    let scored = scored(fixture!("user.json"));
    assert_eq!((scored.score.value(), scored.level), (30.0, Level::Low));
    assert_eq!((scored.raw.score, scored.raw.level.as_deref()), (None, Some("low")));
    assert_eq!((scored.delta, scored.signals), (None, Some(1)));
    let moment = "2019-12-27T18:11:19.117Z".parse().ok();
    assert_eq!((scored.first_seen, scored.last_seen), (moment, moment));
    assert_eq!(scored.reasons, ["name"]);
    assert_eq!(
        Value::Object(scored.attributes),
        json!({
            "email": "email",
            "name": "name",
            "last_reset_time": "2019-12-27T18:11:19.117Z",
            "events": [{
                "id": "id",
                "name": "name",
                "risk_level": "low",
                "timestamp": "2019-12-27T18:11:19.117Z",
                "event_details": {},
            }],
        })
    );
}

#[test]
fn reasons_are_behaviours_highest_level_first_then_latest_each_once() {
    let scored = scored(fixture!("user_high.json"));
    assert_eq!((scored.score.value(), scored.level, scored.signals), (90.0, Level::High, Some(5)));
    assert_eq!(
        scored.reasons,
        [
            "New country",
            "Impossible travel",
            "SentinelOne threat detected",
            "High number of DLP policies triggered",
        ]
    );
    assert_eq!(scored.first_seen.unwrap().to_string(), "2026-05-01T08:00:00Z");
    assert_eq!(scored.last_seen.unwrap().to_string(), "2026-05-29T14:00:00Z");
    assert_eq!(scored.attributes["events"][1]["event_details"], json!({"from": "NL", "to": "AQ"}));
    assert!(!scored.attributes.contains_key("last_reset_time"));
}

#[test]
fn the_number_comes_from_the_points_of_the_configuration() {
    let points = Points { high: Score::clamped(77.0).unwrap(), ..Points::default() };
    let scale = Scale { points, ..Scale::default() };
    let answer = normalise::answer(200, fixture!("user_high.json").as_bytes(), None, &scale).unwrap();
    assert!(matches!(answer, Answer::Scored(scored) if scored.score.value() == 77.0));
}

#[test]
fn members_of_another_form_do_not_hide_the_level() {
    let scored = scored(fixture!("user_odd.json"));
    assert_eq!((scored.level, scored.raw.level.as_deref()), (Level::High, Some("HIGH")));
    assert_eq!(Value::Object(scored.attributes), json!({"email": ["a"], "name": 7, "events": []}));
}

#[test]
fn a_user_without_a_level_is_unknown_and_not_zero() {
    assert_eq!(answer(200, fixture!("user_reset.json")), NO_LEVEL);
    assert_eq!(answer(200, fixture!("user_null_level.json")), NO_LEVEL);
}

#[test]
fn an_answer_without_a_user_is_unknown() {
    assert_eq!(answer(200, fixture!("result_null.json")), UNKNOWN);
    assert_eq!(answer(200, fixture!("result_empty.json")), UNKNOWN);
}

#[test]
fn a_404_in_cloudflares_envelope_is_unknown_unless_it_is_about_the_path_or_the_credentials() {
    assert_eq!(answer(404, fixture!("not_found.json")), UNKNOWN);
    assert_eq!(answer(404, fixture!("not_found_empty_result.json")), UNKNOWN);
    assert_eq!(kind(answer(404, fixture!("no_route.json"))), FailureKind::BadRequest);
    assert_eq!(kind(answer(404, fixture!("authentication.json"))), FailureKind::Unauthorised);
    for body in [fixture!("proxy.html"), "", "{}", r#"{"errors":["Not found"]}"#] {
        assert_eq!(kind(answer(404, body)), FailureKind::MalformedResponse, "{body}");
    }
    assert_eq!(kind(answer(404, fixture!("user.json"))), FailureKind::BadRequest);
}

#[test]
fn what_is_not_understood_is_malformed() {
    for body in [
        fixture!("user_new_level.json"),
        fixture!("result_list.json"),
        fixture!("proxy.html"),
        "",
        "null",
        "{}",
        r#"{"result":{"risk_level":"high"}}"#,
        r#"{"success":"true","result":{"risk_level":"high"}}"#,
        r#"[true,[],{"risk_level":"high"},{}]"#,
        r#"{"success":true,"result":"high"}"#,
        r#"{"success":true,"result":{"risk_level":"high"}"#,
    ] {
        assert_eq!(kind(answer(200, body)), FailureKind::MalformedResponse, "{body}");
    }
}

#[test]
fn success_false_is_a_failure_with_any_status() {
    assert_eq!(kind(answer(200, fixture!("not_found.json"))), FailureKind::BadRequest);
    assert_eq!(kind(answer(200, fixture!("text_code.json"))), FailureKind::BadRequest);
    assert_eq!(kind(answer(200, fixture!("authentication.json"))), FailureKind::Unauthorised);
}

#[test]
fn codes_about_credentials_count_more_than_the_status_but_a_403_lacks_a_permission() {
    for body in
        [fixture!("authentication.json"), fixture!("invalid_token.json"), fixture!("invalid_headers.json")]
    {
        assert_eq!(kind(answer(400, body)), FailureKind::Unauthorised);
        assert_eq!(kind(answer(401, body)), FailureKind::Unauthorised);
        assert_eq!(kind(answer(403, body)), FailureKind::Forbidden);
        assert_eq!(kind(answer(429, body)), FailureKind::RateLimited);
        assert_eq!(kind(answer(500, body)), FailureKind::ServerError);
    }
}

#[test]
fn every_status_has_its_failure_whatever_the_form_of_its_body() {
    for (status, expected) in [
        (400, FailureKind::BadRequest),
        (401, FailureKind::Unauthorised),
        (402, FailureKind::Unlicensed),
        (403, FailureKind::Forbidden),
        (405, FailureKind::BadRequest),
        (408, FailureKind::Timeout),
        (409, FailureKind::BadRequest),
        (429, FailureKind::RateLimited),
        (500, FailureKind::ServerError),
        (503, FailureKind::ServerError),
        (504, FailureKind::Timeout),
        (522, FailureKind::Timeout),
        (530, FailureKind::ServerError),
        (204, FailureKind::MalformedResponse),
        (302, FailureKind::MalformedResponse),
    ] {
        for body in ["", "{}", fixture!("throttled.json"), fixture!("text_code.json")] {
            let failure = answer(status, body).unwrap_err();
            assert_eq!(failure.kind, expected, "{status} {body}");
            assert!(failure.detail.contains(&status.to_string()), "{failure}");
        }
    }
    let failure = answer(400, fixture!("throttled.json")).unwrap_err();
    assert!(failure.detail.starts_with("HTTP 400, code 971: "), "{failure}");
}

#[test]
fn a_firewalls_page_does_not_speak_for_our_credentials() {
    for status in [401, 403] {
        assert_eq!(kind(answer(status, fixture!("proxy.html"))), FailureKind::MalformedResponse);
    }
}

#[test]
fn no_word_of_a_route_passes_for_an_id() {
    for word in [
        "summary",
        "behaviors",
        "integrations",
        "",
        "2c46cdd992e35e5fb3cf0123456789ab",
        "{2c46cdd9-92e3-5e5f-b3cf-0123456789ab}",
        "urn:uuid:2c46cdd9-92e3-5e5f-b3cf-0123456789ab",
        "2c46cdd9-92e3-5e5f-b3cf-0123456789a/",
        "2c46cdd9-92e3-5e5f-b3cf-0123456789ab/../summary",
    ] {
        assert_eq!(directory::uuid(word), None, "{word}");
    }
    assert_eq!(directory::uuid(&ID.to_uppercase()).unwrap().to_string(), ID);
}

#[test]
fn of_two_users_with_one_email_the_one_with_the_higher_level_counts() {
    let envelope = normalise::opened(200, fixture!("summary.json").as_bytes(), None).unwrap();
    let summary: wire::Summary = serde_json::from_value(envelope.result.unwrap()).unwrap();
    let ids = directory::of_summary(summary.users.unwrap());
    assert_eq!(ids.len(), 1, "rows without a UUID or an e-mail are no users: {ids:?}");
    assert_eq!(ids["ada@example.com"].to_string(), ID);
}

fn problems(yaml: &str) -> (Option<Config>, String) {
    testing::read_keys(yaml, config::read)
}

#[test]
fn there_is_exactly_one_way_to_sign_in() {
    const ACCOUNT: &str = "account_id: 0123456789ABCDEF0123456789abcdef\n";
    for good in ["token: a", "email: a@example.com\nkey: b"] {
        let (config, problems) = problems(&format!("{ACCOUNT}{good}\n"));
        let config = config.expect(&problems);
        assert_eq!(config.account_id, "0123456789abcdef0123456789abcdef");
        assert_eq!(config.base_url().unwrap().host(), "api.cloudflare.com");
        assert_eq!(config.credential().len(), 1);
    }
    for bad in [
        "",
        "email: a@example.com",
        "key: b",
        "token: a\nkey: b",
        "token: a\nemail: a@example.com",
        "token: a\nemail: a@example.com\nkey: b",
        "email: somebody\nkey: b",
        "email: jörg@example.com\nkey: b",
    ] {
        let (config, problems) = problems(&format!("{ACCOUNT}{bad}\n"));
        assert!(config.is_none() && problems.lines().count() == 1, "{bad}: {problems}");
        assert!(!problems.contains("unknown key"), "{bad}: {problems}");
    }
}

#[test]
fn an_account_id_is_32_hexadecimal_digits() {
    for bad in ["", "abc", "0123456789abcdef0123456789abcdeg", "../../user/0123456789abcdef0123456", ID] {
        let (config, problems) = problems(&format!("account_id: \"{bad}\"\ntoken: a\n"));
        assert!(config.is_none() && problems.contains("account_id"), "{bad}: {problems}");
    }
}

fn config() -> Config {
    Config {
        address: BaseUrl::parse("https://api.cloudflare.com/client/v4").unwrap(),
        account_id: pages::ACCOUNT_ID.to_owned(),
        credential: Credential::Token(Secret::literal(pages::TOKEN)),
    }
}

fn cloudflare_with(config: Config, base: BaseUrl) -> Cloudflare {
    let templates = vec![(EntityKind::ServiceAccount, "{value}@svc.example.com".to_owned())];
    let transport = Transport::for_tests(&base);
    Cloudflare::new(config, base, Scale::default(), templates, transport)
}

fn cloudflare(base: BaseUrl) -> Cloudflare {
    cloudflare_with(config(), base)
}

fn user(id: &str) -> Entity {
    Entity::new(EntityKind::User, id)
}

fn path(rest: &str) -> String {
    format!("/client/v4/accounts/{}/{rest}", pages::ACCOUNT_ID)
}

#[tokio::test]
async fn a_uuid_is_asked_about_at_once_with_the_token() {
    let recorder = Recorder::start([told(200, fixture!("user.json"))]).await;
    let provider = cloudflare(recorder.base("/client/v4"));
    assert!(provider.ask(&user(&ID.to_uppercase())).await.is_ok());
    let asked = &recorder.asked()[0];
    assert_eq!((asked.method.as_str(), &asked.target), ("GET", &path(&format!("zt_risk_scoring/{ID}"))));
    assert_eq!(asked.header("authorization"), format!("Bearer {}", pages::TOKEN));
    assert!(!asked.headers.contains_key("x-auth-key") && !asked.headers.contains_key("x-auth-email"));
}

#[tokio::test]
async fn an_email_and_key_are_sent_instead_of_a_token() {
    let recorder = Recorder::start([told(200, fixture!("user.json"))]).await;
    let credential = Credential::Key { email: pages::EMAIL.to_owned(), key: Secret::literal(pages::KEY) };
    let provider = cloudflare_with(Config { credential, ..config() }, recorder.base("/client/v4"));
    assert!(provider.ask(&user(ID)).await.is_ok());
    let asked = &recorder.asked()[0];
    assert_eq!((asked.header("x-auth-email"), asked.header("x-auth-key")), (pages::EMAIL, pages::KEY));
    assert!(!asked.headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_email_is_found_in_the_summary_which_is_read_once() {
    let recorder = Recorder::start([
        told(200, fixture!("summary.json")),
        told(200, fixture!("user_high.json")),
        told(200, fixture!("user_high.json")),
    ])
    .await;
    let provider = cloudflare(recorder.base("/client/v4"));
    for _ in 0..2 {
        assert!(matches!(provider.ask(&user("Ada@EXAMPLE.com")).await, Ok(Answer::Scored(_))));
    }
    let score = path(&format!("zt_risk_scoring/{ID}"));
    assert_eq!(recorder.targets(), [path("zt_risk_scoring/summary"), score.clone(), score]);
}

#[tokio::test]
async fn an_email_without_events_is_found_among_the_users_which_are_read_page_by_page() {
    let recorder = Recorder::start([
        told(200, fixture!("summary.json")),
        told(200, fixture!("access_users_1.json")),
        told(200, fixture!("access_users_2.json")),
        told(200, fixture!("user_reset.json")),
        told(404, fixture!("not_found.json")),
    ])
    .await;
    let provider = cloudflare(recorder.base("/client/v4"));
    assert_eq!(provider.ask(&user("grace@example.com")).await, NO_LEVEL);
    assert_eq!(provider.ask(&user("linus@example.com")).await, UNKNOWN);
    assert_eq!(kind(provider.ask(&user("word@example.com")).await), FailureKind::Unresolved);
    assert_eq!(
        recorder.targets(),
        [
            path("zt_risk_scoring/summary"),
            path("access/users?page=1&per_page=100"),
            path("access/users?page=2&per_page=100"),
            path(&format!("zt_risk_scoring/{OTHER_ID}")),
            path(&format!("zt_risk_scoring/{LOWER_ID}")),
        ]
    );
}

#[tokio::test]
async fn a_list_of_users_without_a_number_of_pages_ends_with_an_empty_or_repeated_page() {
    let rows = json!({"success": true, "result": [{"id": ID, "email": "a@b"}]}).to_string();
    for end in [rows.clone(), fixture!("result_null.json").to_owned()] {
        let answers = [told(200, fixture!("result_null.json")), told(200, rows.clone()), told(200, end)];
        let recorder = Recorder::start(answers).await;
        let provider = cloudflare(recorder.base("/client/v4"));
        assert_eq!(kind(provider.ask(&user("nobody@b")).await), FailureKind::Unresolved);
        assert_eq!(recorder.targets().len(), 3);
    }
}

#[tokio::test]
async fn a_token_that_may_not_list_users_is_not_a_refusal_of_the_scores() {
    let recorder =
        Recorder::start([told(200, fixture!("summary.json")), told(403, fixture!("authentication.json"))])
            .await;
    let provider = cloudflare(recorder.base("/client/v4"));
    for _ in 0..2 {
        assert_eq!(kind(provider.ask(&user("grace@example.com")).await), FailureKind::Unresolved);
    }
    assert_eq!(recorder.targets().len(), 2, "the refusal is remembered");
}

#[tokio::test]
async fn a_failed_list_is_read_again_for_the_next_who_asks() {
    let recorder = Recorder::start([
        told(503, ""),
        told(200, fixture!("proxy.html")),
        told(200, fixture!("summary.json")),
        told(200, fixture!("user_high.json")),
    ])
    .await;
    let provider = cloudflare(recorder.base("/client/v4"));
    assert_eq!(kind(provider.ask(&user("ada@example.com")).await), FailureKind::ServerError);
    assert_eq!(kind(provider.ask(&user("ada@example.com")).await), FailureKind::MalformedResponse);
    assert!(provider.ask(&user("ada@example.com")).await.is_ok());
}

#[tokio::test]
async fn what_is_neither_uuid_nor_email_is_not_sent() {
    let recorder = Recorder::start([]).await;
    let provider = cloudflare(recorder.base("/client/v4"));
    for id in
        ["summary", "behaviors", "integrations", "", ".", "..", "../summary", "ACME\\jdoe", "a@b@c", "a b@c"]
    {
        assert_eq!(kind(provider.ask(&user(id)).await), FailureKind::InvalidIdentifier, "{id}");
    }
    let host = Entity::new(EntityKind::Host, ID);
    assert_eq!(kind(provider.ask(&host).await), FailureKind::InvalidIdentifier);
    assert!(recorder.asked().is_empty());
}

#[tokio::test]
async fn other_kinds_are_asked_about_through_their_template() {
    let summary =
        json!({"success": true, "result": {"users": [{"user_id": ID, "email": "bot@svc.example.com"}]}});
    let recorder = Recorder::start([told(200, summary.to_string()), told(200, fixture!("user.json"))]).await;
    let provider = cloudflare(recorder.base("/client/v4"));
    assert_eq!(provider.kinds(), [EntityKind::User, EntityKind::ServiceAccount]);
    assert!(provider.ask(&Entity::new(EntityKind::ServiceAccount, "Bot")).await.is_ok());
}

#[tokio::test]
async fn after_a_429_the_whole_wait_is_passed_on_within_reason() {
    for (value, seconds) in [("300", 300), ("86400", 3600), ("99999999999999999999", 3600)] {
        let refusal = told(429, fixture!("throttled.json")).header("retry-after", value);
        let recorder = Recorder::start([refusal]).await;
        let failure = cloudflare(recorder.base("/client/v4")).ask(&user(ID)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(seconds)));
    }
}

#[tokio::test]
async fn neither_debug_output_nor_identity_shows_the_token() {
    let provider = cloudflare(BaseUrl::parse("http://127.0.0.1:1").unwrap());
    let text = format!("{:?} {}", config(), provider.identity());
    assert!(!text.contains(pages::TOKEN), "{text}");
    assert!(provider.identity().contains(pages::ACCOUNT_ID));
}

async fn simulator(options: Options) -> (Simulator, BaseUrl) {
    testing::simulated("cloudflare", options).await
}

#[tokio::test]
async fn the_simulated_vendor_is_understood_by_uuid_and_by_email() {
    let (simulator, base) = simulator(Options { known: 0.8, ..Options::default() }).await;
    let provider = cloudflare(base);
    assert_eq!(provider.probe().await, Ok(()));
    let mut seen = [0; 3];
    for email in (0..60).map(pages::email) {
        let by_email = provider.ask(&user(&email)).await;
        let by_id = provider.ask(&user(&pages::user_id(&email).to_string())).await.unwrap();
        match (by_email, simulator.world().profile(&email)) {
            (Ok(Answer::Scored(scored)), Some(profile)) => {
                assert_eq!(scored.attributes["email"], email.as_str());
                assert_eq!(scored.last_seen, Some(profile.last_seen));
                assert_eq!(Answer::Scored(scored), by_id);
                seen[0] += 1;
            }
            (Ok(answer @ Answer::Unknown { detail: Some("no_level") }), Some(_)) => {
                assert_eq!(answer, by_id);
                seen[1] += 1;
            }
            (Err(failure), None) => {
                assert_eq!((failure.kind, Ok(by_id)), (FailureKind::Unresolved, UNKNOWN));
                seen[2] += 1;
            }
            (answer, profile) => panic!("{email}: {answer:?} for {profile:?}"),
        }
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_reading_of_the_lists() {
    let (simulator, base) = simulator(Options { known: 1.0, ..Options::default() }).await;
    let provider = Arc::new(cloudflare(base));
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { provider.ask(&user(&pages::email(n))).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    // The summary, three pages of 250 users, and one question for each.
    assert_eq!(simulator.world().calls("cloudflare").total, 1 + 3 + 20);
}

#[tokio::test]
async fn the_simulated_vendor_checks_credentials_account_and_quota() {
    let limit = Limit { requests: 2, per_ms: 60_000, sliding: true };
    let limits = [("cloudflare".to_owned(), limit)].into();
    let (_simulator, base) = simulator(Options { limits, ..Options::default() }).await;
    let wrong = Credential::Token(Secret::literal("wrong"));
    let wrong = cloudflare_with(Config { credential: wrong, ..config() }, base.clone());
    assert_eq!(kind(wrong.ask(&user(ID)).await), FailureKind::Unauthorised);
    let wrong = Credential::Key { email: pages::EMAIL.to_owned(), key: Secret::literal("wrong") };
    let wrong = cloudflare_with(Config { credential: wrong, ..config() }, base.clone());
    assert_eq!(kind(wrong.probe().await), FailureKind::Unauthorised);
    let stranger = Config { account_id: "f".repeat(32), ..config() };
    assert_eq!(kind(cloudflare_with(stranger, base.clone()).probe().await), FailureKind::Forbidden);
    assert_eq!(cloudflare(base.clone()).probe().await, Ok(()));
    let failure = cloudflare(base).probe().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    assert!(failure.retry_after.is_some_and(|wait| wait > Duration::from_secs(50)), "{failure:?}");
}

#[tokio::test]
async fn whoever_waited_for_a_failed_fetch_does_not_repeat_it() {
    let kept = Arc::new(Kept::<u8>::new(Duration::from_secs(60)));
    let (started, begun) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let first = tokio::spawn({
        let kept = Arc::clone(&kept);
        async move {
            kept.get(async {
                started.send(()).unwrap();
                released.await.unwrap();
                Err(Failure::malformed("first"))
            })
            .await
        }
    });
    begun.await.unwrap();
    let mut second = Box::pin(kept.get(async { Ok(2) }));
    // Polled once, so that it asked before the first came back.
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx).is_pending())).await);
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Err(Failure::malformed("first")));
    assert_eq!(second.await, Err(Failure::malformed("first")));
    assert_eq!(kept.get(async { Ok(3) }).await.as_deref(), Ok(&3));
    assert_eq!(kept.get(async { Ok(4) }).await.as_deref(), Ok(&3), "kept for its lifetime");
}

#[tokio::test]
async fn a_fetch_that_is_abandoned_is_made_by_the_next_and_an_old_value_is_fetched_anew() {
    let kept = Kept::<u8>::new(Duration::ZERO);
    {
        let mut abandoned = Box::pin(kept.get(std::future::pending()));
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(abandoned.as_mut().poll(cx).is_pending())).await
        );
    }
    assert_eq!(kept.get(async { Ok(1) }).await.as_deref(), Ok(&1));
    assert_eq!(kept.get(async { Ok(2) }).await.as_deref(), Ok(&2));
}

/// JSON that is sometimes of Cloudflare's form.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let scalar = || {
        prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop::sample::select(vec!["low", "HIGH", "severe", ""]).prop_map(Value::from),
            Just(json!([[]])),
            Just(json!([{"name": 1, "risk_level": "high", "timestamp": "x"}])),
        ]
    };
    let names = prop::sample::select(vec!["risk_level", "events", "email", "last_reset_time", "other"]);
    let result = prop::collection::btree_map(names, scalar(), 0..5);
    let envelope = (scalar(), result, scalar()).prop_map(
        |(success, result, errors)| json!({"success": success, "result": result, "errors": errors}),
    );
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        scalar().prop_map(|value| serde_json::to_vec(&json!({"success": true, "result": value})).unwrap()),
        envelope.prop_map(|value| serde_json::to_vec(&value).unwrap()),
    ]
}

proptest! {
    #[test]
    fn no_body_panics_and_none_becomes_a_score_without_a_level_in_it(
        status in prop_oneof![Just(200u16), 100u16..600],
        body in bodies(),
    ) {
        if let Ok(Answer::Scored(scored)) = normalise::answer(status, &body, None, &Scale::default()) {
            prop_assert_eq!(status, 200);
            let body: Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(&body["success"], &Value::Bool(true));
            let written = body["result"]["risk_level"].as_str().unwrap();
            prop_assert_eq!(written.to_ascii_lowercase(), scored.level.label());
        }
    }

    #[test]
    fn whatever_passes_for_an_id_is_36_harmless_characters(text in "\\PC{0,40}|[0-9a-fA-F-]{36}") {
        if let Some(id) = directory::uuid(&text) {
            let id = id.hyphenated().to_string();
            prop_assert!(id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
        }
    }
}

#[tokio::test]
async fn the_summary_is_read_once_for_all_and_names_each_by_id_and_by_email() {
    let recorder = Recorder::start([told(200, fixture!("summary.json"))]).await;
    let provider = cloudflare(recorder.base("/client/v4"));
    let (rows, cut) = testing::listed(&provider).await.unwrap();
    let expected = [
        (LOWER_ID, 30.0),
        ("ada@example.com", 30.0),
        (ID, 90.0),
        ("ada@example.com", 90.0),
        ("word@example.com", 90.0),
    ];
    assert_eq!(testing::scores(&rows), expected);
    assert!(cut, "a user with neither is told");
    let scored = testing::scored(rows[2].answer.clone().map_err(|kind| Failure::new(kind, "")));
    assert_eq!(
        (scored.level, scored.raw.level.as_deref(), scored.signals),
        (Level::High, Some("high"), Some(5))
    );
    assert_eq!(scored.last_seen.unwrap().to_string(), "2026-05-29T14:00:00Z");
    assert_eq!(Value::Object(scored.attributes), json!({"email": "ada@example.com", "name": "Ada"}));
    assert_eq!(recorder.targets(), [path("zt_risk_scoring/summary")]);
    let name = |id: &str| provider.bulk().unwrap().name(EntityKind::User, id).map(|name| name.into_owned());
    assert_eq!(name(&ID.to_uppercase()).as_deref(), Some(ID));
    assert_eq!(name("Ada@Example.com").as_deref(), Some("ada@example.com"));
    assert_eq!(name("jdoe"), None);
}

#[tokio::test]
async fn a_summary_that_is_not_whole_or_not_there_is_told() {
    let summary = |users: Value, info: Value| {
        told(200, json!({"success": true, "result": {"users": users}, "result_info": info}).to_string())
    };
    let user = json!([{"user_id": ID, "max_risk_level": "colossal"}, {"user_id": OTHER_ID}]);
    let recorder = Recorder::start([
        summary(user, json!({"total_pages": 2})),
        summary(json!([]), Value::Null),
        summary(Value::Null, Value::Null),
        told(200, fixture!("result_null.json")),
        told(403, fixture!("authentication.json")),
    ])
    .await;
    let provider = cloudflare(recorder.base(""));
    let (rows, cut) = testing::listed(&provider).await.unwrap();
    assert_eq!(rows[0].answer, Err(FailureKind::MalformedResponse));
    assert_eq!(rows[1].answer, Ok(Answer::Unknown { detail: Some("no_level") }));
    assert!(cut, "how further pages are asked for is not known");
    assert_eq!(testing::listed(&provider).await.unwrap(), (vec![], false));
    for expected in [FailureKind::MalformedResponse, FailureKind::MalformedResponse, FailureKind::Forbidden] {
        assert_eq!(kind(testing::listed(&provider).await), expected);
    }
}
