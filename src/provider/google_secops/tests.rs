//! The provider against the simulator, over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::auth::ServiceAccount;
use super::config::{Credential, Window};
use super::*;
use crate::config::Secret;
use crate::provider::testing;
use crate::score::Score;
use crate::simulator::google_secops::TOKEN;
use crate::simulator::{Answer as Spoiled, Fault, Limit, Simulator};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/vendors/google_secops/", $name, ".json"))
    };
}

const ACCOUNT: &str = fixture!("service_account");
const EMAIL: &str = "john.doe@example.com";

async fn simulator(known: f64) -> Simulator {
    testing::simulated("google_secops", testing::knowing(known)).await.0
}

fn base(simulator: &Simulator) -> BaseUrl {
    BaseUrl::parse(&simulator.base_url("google_secops")).unwrap()
}

/// The fixture's service account, with the simulator as its token end point.
fn account(simulator: &Simulator) -> String {
    let token_uri = format!("{}/token", simulator.base_url("google_secops"));
    ACCOUNT.replace("https://oauth2.googleapis.com/token", &token_uri)
}

fn config(credential: Credential) -> Config {
    Config {
        address: BaseUrl::parse("https://us-chronicle.googleapis.com").unwrap(),
        project: "acme-secops".to_owned(),
        location: "us".to_owned(),
        instance: "2c46cdd9-92e3-5e5f-b3cf-0123456789ab".to_owned(),
        credential,
        window: Window::Day,
        slack: Duration::ZERO,
        order_by: None,
        page_size: 100,
    }
}

fn with_config(simulator: &Simulator, config: Config) -> GoogleSecops {
    let base = base(simulator);
    let transport = Transport::for_tests(&base);
    GoogleSecops::new(config, base, Scale::default(), Vec::new(), transport)
}

fn provider(simulator: &Simulator, credential: Credential) -> GoogleSecops {
    with_config(simulator, config(credential))
}

fn by_account(simulator: &Simulator) -> GoogleSecops {
    provider(simulator, Credential::ServiceAccount(Secret::literal(&account(simulator))))
}

fn by_token(simulator: &Simulator) -> GoogleSecops {
    provider(simulator, Credential::Token(Secret::literal(TOKEN)))
}

fn user(id: &str) -> Entity {
    Entity::new(EntityKind::User, id)
}

async fn kind(provider: &GoogleSecops, entity: &Entity) -> FailureKind {
    testing::kind(provider.ask(entity).await)
}

fn token_calls(simulator: &Simulator) -> u64 {
    let calls = simulator.world().calls("google_secops");
    calls.by_path.get("POST /google_secops/token").copied().unwrap_or(0)
}

#[tokio::test]
async fn every_kind_gets_the_score_of_its_entity_in_whatever_spelling() {
    let simulator = simulator(1.0).await;
    let provider = by_token(&simulator);
    for number in 0..20 {
        for entity in [
            user(&format!("user{number}@example.com")),
            user(&format!(r#"ACME\u"ser{number}"#)),
            Entity::new(EntityKind::Host, &format!("ws-{number}")),
            Entity::new(EntityKind::Ip, &format!("10.0.0.{number}")),
            Entity::new(EntityKind::Ip, &format!("2001:db8::{number}")),
        ] {
            let expected = simulator.world().profile(&entity.id).unwrap().score;
            match provider.ask(&entity).await.unwrap() {
                Answer::Scored(scored) => {
                    assert_eq!(Some(scored.score), Score::clamped(expected), "{entity:?}")
                }
                unknown => panic!("{entity:?}: {unknown:?}"),
            }
        }
    }
    assert_eq!(simulator.world().calls("google_secops").by_entity.len(), 100);
}

#[tokio::test]
async fn an_entity_that_is_not_known_is_unknown() {
    let simulator = simulator(0.0).await;
    let answer = by_token(&simulator).ask(&user(EMAIL)).await;
    assert_eq!(answer, Ok(Answer::Unknown { detail: None }));
}

#[tokio::test]
async fn the_week_is_asked_for_when_it_is_configured() {
    let simulator = simulator(1.0).await;
    let token = || Credential::Token(Secret::literal(TOKEN));
    let week = with_config(&simulator, Config { window: Window::Week, ..config(token()) });
    let (week, day) =
        (week.ask(&user(EMAIL)).await.unwrap(), by_token(&simulator).ask(&user(EMAIL)).await.unwrap());
    let length = |answer: &Answer| match answer {
        Answer::Scored(scored) => {
            let edge = |name: &str| {
                scored.attributes["risk_window"][name].as_str().unwrap().parse::<Timestamp>().unwrap()
            };
            edge("end_time").duration_since(edge("start_time")).as_hours()
        }
        Answer::Unknown { .. } => 0,
    };
    assert_eq!((length(&week), length(&day)), (7 * 24, 24));
}

#[tokio::test]
async fn pages_are_walked_with_the_same_parameters() {
    let simulator = simulator(1.0).await;
    let token = Credential::Token(Secret::literal(TOKEN));
    let config =
        Config { page_size: 1, window: Window::Week, order_by: Some("risk_score".into()), ..config(token) };
    let provider = with_config(&simulator, config);
    assert!(matches!(provider.ask(&Entity::new(EntityKind::Host, "ws-1")).await, Ok(Answer::Scored(_))));
    let calls = simulator.world().calls("google_secops").by_path;
    let plain: Vec<_> = calls.keys().map(|path| path.split("&pageToken=").next().unwrap()).collect();
    assert_eq!(plain.len(), 2);
    assert_eq!(plain[0], plain[1]);
    assert!(plain[0].contains("&orderBy=risk_score"), "{}", plain[0]);
}

#[tokio::test]
async fn a_filter_that_selects_everybody_is_noticed() {
    let simulator = simulator(1.0).await;
    let base = base(&simulator);
    let config = Config { page_size: 2, ..config(Credential::Token(Secret::literal(TOKEN))) };
    let everybody = vec![(EntityKind::Host, r#"risk_score_version != "{value}""#.to_owned())];
    let transport = Transport::for_tests(&base);
    let provider = GoogleSecops::new(config, base, Scale::default(), everybody, transport);
    let failure = provider.ask(&Entity::new(EntityKind::Host, "elsewhere")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::MalformedResponse);
    assert!(failure.detail.contains("`identifiers`"), "{failure}");
    assert_eq!(simulator.world().calls("google_secops").total, PAGES as u64);
}

#[tokio::test]
async fn a_page_token_that_repeats_itself_ends_the_walk() {
    let simulator = simulator(1.0).await;
    let body = r#"{"entity_risk_scores": [{"risk_score": 5}], "next_page_token": "again"}"#;
    simulator.world().fault(Fault::status("/", 200, body));
    assert_eq!(kind(&by_token(&simulator), &user(EMAIL)).await, FailureKind::MalformedResponse);
    assert_eq!(simulator.world().calls("google_secops").total, 2);
}

#[tokio::test]
async fn what_cannot_be_asked_costs_no_request() {
    let simulator = simulator(1.0).await;
    let provider = by_token(&simulator);
    for entity in [
        Entity::new(EntityKind::Ip, "10.0.0.1 OR"),
        Entity::new(EntityKind::Host, "a\nb"),
        Entity::new(EntityKind::File, "/bin/sh"),
    ] {
        assert_eq!(kind(&provider, &entity).await, FailureKind::InvalidIdentifier);
    }
    assert_eq!(simulator.world().calls("google_secops").total, 0);
}

#[tokio::test]
async fn a_service_account_signs_in_once_for_everybody() {
    let simulator = simulator(1.0).await;
    let provider = Arc::new(by_account(&simulator));
    let asks: Vec<_> = (0..20)
        .map(|number| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { provider.ask(&user(&format!("u{number}@example.com"))).await })
        })
        .collect();
    for ask in asks {
        assert!(ask.await.unwrap().is_ok());
    }
    assert_eq!(token_calls(&simulator), 1);
    assert_eq!(simulator.world().calls("google_secops").total, 21);
}

#[tokio::test]
async fn who_waits_for_a_sign_in_that_fails_does_not_try_again() {
    let simulator = simulator(1.0).await;
    simulator.world().fault(Fault {
        latency: Some(crate::simulator::Latency::Fixed(200)),
        ..Fault::status("/google_secops/token", 503, "")
    });
    let provider = Arc::new(by_account(&simulator));
    let asks: Vec<_> = (0..10)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { kind(&provider, &user(EMAIL)).await })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.unwrap(), FailureKind::ServerError);
    }
    assert_eq!(token_calls(&simulator), 1);
    simulator.world().clear_faults();
    assert!(provider.ask(&user(EMAIL)).await.is_ok());
}

#[tokio::test]
async fn a_refused_token_is_fetched_anew_after_renew_and_only_then() {
    let simulator = simulator(1.0).await;
    let provider = by_account(&simulator);
    assert!(provider.ask(&user(EMAIL)).await.is_ok());
    provider.renew(FailureKind::Unauthorised);
    assert!(provider.ask(&user(EMAIL)).await.is_ok());
    assert_eq!(token_calls(&simulator), 1, "nothing was refused");
    simulator.world().fault(Fault::status("/google_secops/v1alpha", 401, fixture!("error_401")).times(1));
    assert_eq!(kind(&provider, &user(EMAIL)).await, FailureKind::Unauthorised);
    provider.renew(FailureKind::Unauthorised);
    provider.renew(FailureKind::Unauthorised);
    assert!(provider.ask(&user(EMAIL)).await.is_ok());
    assert_eq!(token_calls(&simulator), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_used_on_while_that_fails() {
    let simulator = simulator(1.0).await;
    let provider = by_account(&simulator);
    assert!(provider.ask(&user(EMAIL)).await.is_ok());
    // The simulator's tokens live for an hour, less a second.
    provider.tokens.age(Duration::from_secs(3400));
    simulator.world().fault(Fault::status("/google_secops/token", 503, ""));
    for _ in 0..3 {
        assert!(provider.ask(&user(EMAIL)).await.is_ok());
    }
    assert_eq!(token_calls(&simulator), 2, "one renewal is tried, and not by every question");
    provider.tokens.age(Duration::from_secs(200));
    assert_eq!(kind(&provider, &user(EMAIL)).await, FailureKind::ServerError, "it has ended");
    simulator.world().clear_faults();
    assert!(provider.ask(&user(EMAIL)).await.is_ok());
    assert_eq!(token_calls(&simulator), 4);
}

#[tokio::test]
async fn the_token_end_points_refusals_say_what_to_do() {
    let simulator = simulator(1.0).await;
    let ask = |body: &'static str, status| {
        simulator.world().set_faults(vec![Fault::status("/google_secops/token", status, body)]);
        let provider = by_account(&simulator);
        async move { provider.ask(&user(EMAIL)).await.unwrap_err() }
    };
    let failure = ask(fixture!("token_invalid_grant"), 400).await;
    assert_eq!(failure.kind, FailureKind::Unauthorised);
    assert!(failure.detail.contains("invalid_grant"), "{failure}");
    assert!(!failure.detail.contains("Signature"), "{failure}");
    assert_eq!(ask("<html>", 403).await.kind, FailureKind::MalformedResponse);
    assert_eq!(ask("{}", 200).await.kind, FailureKind::MalformedResponse);
    assert_eq!(ask("{}", 429).await.kind, FailureKind::RateLimited);
    assert_eq!(ask("", 502).await.kind, FailureKind::ServerError);
}

#[tokio::test]
async fn another_key_audience_or_time_is_refused_by_the_token_end_point() {
    let simulator = simulator(1.0).await;
    let base = base(&simulator);
    let transport = Transport::for_tests(&base);
    let url = base.join(&["token"], "", &[]).unwrap();
    let now = Timestamp::now();
    let mut statuses = Vec::new();
    for (json, time) in [
        (account(&simulator), now),
        (account(&simulator), now - jiff::SignedDuration::from_hours(2)),
        (account(&simulator), now + jiff::SignedDuration::from_hours(2)),
        (ACCOUNT.to_owned(), now),
    ] {
        let assertion = ServiceAccount::read(&SecretString::from(json)).unwrap().assertion(time).unwrap();
        use secrecy::ExposeSecret;
        for broken in [false, true] {
            let assertion = assertion.expose_secret().replace('.', if broken { ".A" } else { "." });
            let fields = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", assertion.as_str()),
            ];
            let response = transport.send_unmetered(Request::post_form(url.clone(), &fields)).await.unwrap();
            statuses.push(response.status);
        }
    }
    assert_eq!(statuses, [200, 400, 400, 400, 400, 400, 400, 400]);
}

#[test]
fn a_key_file_that_cannot_be_used_says_which_member_is_wrong_and_shows_none() {
    let read = |json: String| ServiceAccount::read(&SecretString::from(json)).map(|_| ()).unwrap_err();
    let uri = |uri: &str| read(ACCOUNT.replace("https://oauth2.googleapis.com/token", uri));
    assert!(uri("http://oauth2.googleapis.com/token").contains("token_uri"));
    assert!(uri("http://127.0.0.1.example.com/token").contains("token_uri"));
    assert!(read("hunter2".to_owned()).contains("not JSON"));
    assert!(read(ACCOUNT.replace("client_email", "x")).contains("client_email"));
    assert!(read(ACCOUNT.replace("service_account", "authorized_user")).contains("type"));
    let bad_key = read(ACCOUNT.replace("MII", "hunter2"));
    assert!(bad_key.contains("private_key") && !bad_key.contains("hunter2"), "{bad_key}");
    let debug = format!("{:?}", ServiceAccount::read(&SecretString::from(ACCOUNT)).unwrap());
    assert!(!debug.contains("PRIVATE") && !debug.contains("MII"), "{debug}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_can_print_the_token_bare_or_as_json() {
    let simulator = simulator(1.0).await;
    for printed in [TOKEN.to_owned(), format!(r#"{{"access_token": "{TOKEN}", "expires_in": 60}}"#)] {
        let words = ["echo".to_owned(), printed];
        let provider = provider(&simulator, Credential::Command(words.to_vec()));
        assert!(provider.ask(&user(EMAIL)).await.is_ok());
    }
    let provider = provider(&simulator, Credential::Command(vec!["echo".into(), "not logged in".into()]));
    assert_eq!(kind(&provider, &user(EMAIL)).await, FailureKind::Unauthorised);
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let simulator = simulator(1.0).await;
    let provider = provider(&simulator, Credential::Token(Secret::literal("wrong")));
    assert_eq!(kind(&provider, &user(EMAIL)).await, FailureKind::Unauthorised);
}

#[tokio::test]
async fn each_error_of_the_vendor_has_its_kind_and_repeats_nothing_of_the_question() {
    let simulator = simulator(1.0).await;
    let provider = by_token(&simulator);
    for (status, body, expected) in [
        (400, fixture!("error_400"), FailureKind::BadRequest),
        (401, fixture!("error_401"), FailureKind::Unauthorised),
        (403, fixture!("error_403"), FailureKind::Forbidden),
        (403, fixture!("error_403_service_disabled"), FailureKind::Forbidden),
        (404, fixture!("error_404"), FailureKind::BadRequest),
        (404, "<html>not found</html>", FailureKind::MalformedResponse),
        (403, "{}", FailureKind::MalformedResponse),
        (302, "", FailureKind::MalformedResponse),
        (429, fixture!("error_429"), FailureKind::RateLimited),
        (429, "", FailureKind::RateLimited),
        (500, "", FailureKind::ServerError),
        (502, "<html>", FailureKind::ServerError),
        (503, fixture!("error_503"), FailureKind::ServerError),
        (504, "", FailureKind::Timeout),
        (200, "<html>", FailureKind::MalformedResponse),
        (200, fixture!("error_403"), FailureKind::MalformedResponse),
    ] {
        simulator.world().set_faults(vec![Fault::status("/", status, body)]);
        let failure = provider.ask(&user(EMAIL)).await.unwrap_err();
        assert_eq!(failure.kind, expected, "{status} {body}");
        assert!(!failure.detail.contains(EMAIL), "{failure}");
        if body.contains("SERVICE_DISABLED") {
            assert!(failure.detail.contains("enable chronicle.googleapis.com"), "{failure}");
        }
    }
}

#[tokio::test]
async fn the_vendor_says_how_long_to_wait_in_a_header_or_in_the_body() {
    let simulator = simulator(1.0).await;
    let fault = || Fault::status("/", 429, fixture!("error_429"));
    for (fault, seconds) in [(fault(), 1.5), (fault().with_header("retry-after", "30"), 30.0)] {
        simulator.world().set_faults(vec![fault]);
        // A provider of its own each: the first one's limiter now waits.
        let failure = by_token(&simulator).ask(&user(EMAIL)).await.unwrap_err();
        assert_eq!(failure.retry_after, Some(Duration::from_secs_f64(seconds)));
    }
    simulator.world().clear_faults();
    simulator.world().set_limit("google_secops", Some(Limit { requests: 0, per_ms: 1000, sliding: true }));
    let failure = by_token(&simulator).ask(&user(EMAIL)).await.unwrap_err();
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::RateLimited, Some(Duration::from_secs(1))));
}

#[tokio::test]
async fn a_broken_answer_is_a_failure_and_never_a_score() {
    let simulator = simulator(1.0).await;
    let provider = by_token(&simulator);
    for (spoiled, expected) in [
        (Spoiled::Garbage, FailureKind::MalformedResponse),
        (Spoiled::Reset, FailureKind::Unreachable),
        (Spoiled::Truncated, FailureKind::Unreachable),
        (Spoiled::Huge(8 << 20), FailureKind::MalformedResponse),
        (Spoiled::Html(404), FailureKind::MalformedResponse),
    ] {
        simulator.world().set_faults(vec![Fault::new("/", spoiled.clone())]);
        assert_eq!(kind(&provider, &user(EMAIL)).await, expected, "{spoiled:?}");
    }
    simulator.world().set_faults(vec![Fault::new("/", Spoiled::Slow(20_000))]);
    assert!(provider.ask(&user(EMAIL)).await.is_ok(), "slow is not broken");
}

#[tokio::test]
async fn a_probe_proves_address_credential_and_instance() {
    let simulator = simulator(1.0).await;
    assert_eq!(by_account(&simulator).probe().await, Ok(()));
    let missing = Config { project: "missing".into(), ..config(Credential::Token(Secret::literal(TOKEN))) };
    let failure = with_config(&simulator, missing).probe().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::BadRequest);
    assert!(failure.detail.contains("project, location and instance"), "{failure}");
}

#[test]
fn keys_are_read_and_problems_name_them() {
    let read = |yaml: &str| testing::read_keys(yaml, config::read);
    let place = "project: acme\nlocation: europe\ninstance: 2c46cdd9-92e3-5e5f-b3cf-0123456789ab\n";
    let (config, problems) = read(&format!("{place}token: hunter2\nwindow: 7d\n"));
    assert_eq!(problems, "");
    let config = config.unwrap();
    assert_eq!(config.base_url().unwrap().host(), "europe-chronicle.googleapis.com");
    assert_eq!((config.window, config.page_size, config.slack), (Window::Week, 100, Duration::ZERO));
    assert!(!format!("{config:?}").contains("hunter2"));
    for (yaml, expected) in [
        (place.to_owned(), "no credential"),
        (format!("{place}token: a\ntoken_command: b\n"), "2 credentials: token, token_command"),
        (format!("{place}credentials: '{{}}'\n"), "the member token_uri is missing"),
        (format!("{place}token: a\nwindow: 12h\n"), "window"),
        (format!("{place}token: a\npage_sise: 5\n"), "page_size"),
        ("project: a/b\nlocation: us\ninstance: x\ntoken: a\n".to_owned(), "not a name that Google gives"),
        ("project: a\nlocation: evil.example/\ninstance: x\ntoken: a\n".to_owned(), "location"),
    ] {
        let (_, problems) = read(&yaml);
        assert!(problems.lines().count() == 1 && problems.contains(expected), "{expected}: {problems}");
    }
}

#[test]
fn a_service_account_that_is_not_on_this_machine_is_no_problem_offline() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("riskstream.yaml");
    let provider = "type: google_secops, project: acme, location: us, instance: x";
    let text = format!("providers: {{secops: {{{provider}, credentials: {{file: gone.json}}}}}}\n");
    std::fs::write(&file, text).unwrap();
    let problems = crate::config::Config::load(&file, []).unwrap_err().to_string();
    assert!(problems.contains("providers.secops.credentials"), "{problems}");
    assert!(crate::config::Config::load_offline(&file, []).is_ok());
}

#[tokio::test]
async fn everybody_is_read_without_a_filter_page_by_page_and_the_configured_window_counts() {
    let (simulator, _) = testing::simulated("google_secops", testing::knowing(1.0)).await;
    let hosts: Vec<String> = (0..600).map(|n| format!("ws-{n}.corp.example.com")).collect();
    simulator.world().list("google_secops", hosts.clone());
    let secops = by_token(&simulator);
    let (rows, cut) = testing::listed(&secops).await.unwrap();
    assert_eq!((rows.len(), cut), (1200, false), "each of two windows");
    let calls = simulator.world().calls("google_secops").by_path;
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert!(calls.keys().all(|path| !path.contains("filter=") && path.contains("pageSize=500")));
    let host = Entity::new(EntityKind::Host, "WS-17.corp.example.com.");
    let name = secops.bulk().unwrap().name(EntityKind::Host, &host.id).unwrap().into_owned();
    assert_eq!(name, "hostname=ws-17.corp.example.com");
    let best = rows.iter().filter(|row| row.name == name).max_by_key(|row| row.rank).unwrap();
    let listed = testing::scored(best.answer.clone().map_err(|kind| Failure::new(kind, "")));
    assert_eq!(listed.score, testing::scored(secops.ask(&host).await).score);
}

#[test]
fn a_row_is_called_by_its_indicator_in_either_spelling_and_else_by_what_it_describes() {
    let read = |rows: Value| {
        let page = Page::read(json!({"entityRiskScores": rows}).to_string().as_bytes()).unwrap();
        normalise::listed(&page, Window::Day, Timestamp::UNIX_EPOCH, &Scale::default())
    };
    let names = |rows: Value| {
        let page = read(rows).unwrap();
        (page.rows.into_iter().map(|row| row.name).collect::<Vec<_>>(), page.cut)
    };
    let noun = json!({"entity": {"hostname": "H", "ip": ["10.0.0.1"], "user": {"emailAddresses": ["A@b.example"], "userid": "u"}}});
    let described =
        ["hostname=h", "assetipaddress=10.0.0.1", "email=a@b.example", "username=u"].map(str::to_owned);
    assert_eq!(
        names(
            json!([{"entity_indicator": {"asset_ip_address": "10.0.0.1"}}, {"entityIndicator": {"assetIpAddress": "10.0.0.2"}}])
        ),
        (vec!["assetipaddress=10.0.0.1".to_owned(), "assetipaddress=10.0.0.2".to_owned()], false)
    );
    assert_eq!(names(json!([{"riskScore": 5, "entity": noun}])), (described.to_vec(), false));
    assert!(names(json!([{"risk_score": 5}, {"entity_indicator": {"email": "x@y.example"}}])).1);
    assert!(read(json!([{"risk_score": 5}])).is_err(), "nobody is named");
    let page = read(json!([{"entity_indicator": {"email": "x@y.example"}}])).unwrap();
    assert_eq!(
        testing::scored(page.rows[0].answer.clone().map_err(|kind| Failure::new(kind, ""))).score.value(),
        0.0
    );
}

#[test]
fn a_condition_on_one_member_of_the_indicator_has_a_name_in_the_list() {
    for (condition, member) in [
        (r#"entity_indicator.email: "a@b.example""#, Some("email")),
        (r#"entity_indicator.windows_sid = "S-1\\\"x""#, Some("windows_sid")),
        (r#"entity.file.sha256 = "x""#, None),
        (r#"entity_indicator.email = "x" AND risk_score > 5"#, None),
        (r#"entity_indicator.email = "x" AND a = "y""#, None),
        ("entity_indicator", None),
    ] {
        assert_eq!(filter::indicator(condition), member, "{condition}");
    }
}
