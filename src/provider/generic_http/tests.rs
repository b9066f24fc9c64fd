//! The provider over real HTTP: what is sent, how it signs in, and what it makes of answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::provider::recorder::{Recorder, told};
use crate::provider::testing::{kind, read_keys, scored};

const SCORE: &str = r#"{"score": 85}"#;
const TOKEN: &str = r#"{"access_token": "first", "expires_in": 3600}"#;

/// A provider at `recorder` with these keys; `BASE` in them is where it listens.
fn provider(recorder: &Recorder, yaml: &str) -> GenericHttp {
    let base = recorder.base("/v1");
    let yaml = format!("base_url: {}\nkinds: [user]\n{yaml}", base.whole());
    let yaml = yaml.replace("BASE", recorder.base("").whole().trim_end_matches('/'));
    let (config, problems) = read_keys::<Config>(&yaml, config::read);
    assert_eq!(problems, "", "{yaml}");
    let transport = Transport::for_tests(&base);
    GenericHttp::new(config.unwrap(), base, Scale::default(), Vec::new(), transport)
}

fn user(id: &str) -> Entity {
    Entity::new(EntityKind::User, id)
}

const READS: &str = "answer: {score: $.score}\n";
const ASKS: &str = "request: {path: '/users/{value}/risk'}\n";

#[tokio::test]
async fn an_identifier_is_one_segment_of_the_path_and_one_value_of_the_query() {
    let recorder = Recorder::start([told(200, SCORE)]).await;
    let asks =
        "request: {path: '/users/{value}/a b', query: {$filter: \"name eq '{value|odata}'\", top: 1}}\n";
    let provider = provider(&recorder, &format!("{asks}{READS}"));
    assert_eq!(scored(provider.ask(&user("o'hara/?#&x=1@example.com")).await).score.value(), 85.0);
    assert_eq!(
        recorder.targets(),
        ["/v1/users/o%27hara%2F%3F%23%26x%3D1%40example.com/a%20b\
          ?%24filter=name%20eq%20%27o%27%27hara%2F%3F%23%26x%3D1%40example.com%27&top=1"]
    );
}

#[tokio::test]
async fn a_body_is_json_or_a_form_and_headers_are_as_configured() {
    for (asks, content_type, expected) in [
        (
            r#"request: {path: /_search, headers: {x-tenant: acme, X-Key: {env: KEY}}, body: '{"q": {"user": "{value}"}, "size": 1}'}"#,
            "application/json",
            r#"{"q":{"user":"a\"b\\c"},"size":1}"#,
        ),
        (
            "request: {path: /search, headers: {x-tenant: acme, x-key: {env: KEY}}, form: {search: 'user=\"{value|quoted}\"', n: 1}}",
            "application/x-www-form-urlencoded",
            "search=user%3D%22a%5C%22b%5C%5Cc%22&n=1",
        ),
    ] {
        let recorder = Recorder::start([told(200, SCORE)]).await;
        let provider = provider(&recorder, &format!("{asks}\n{READS}"));
        scored(provider.ask(&user(r#"a"b\c"#)).await);
        let asked = &recorder.asked()[0];
        assert_eq!((asked.method.as_str(), asked.header("content-type")), ("POST", content_type));
        assert_eq!(asked.body, expected);
        assert_eq!((asked.header("x-tenant"), asked.header("x-key")), ("acme", "value of KEY"));
        assert_eq!(asked.header("authorization"), "");
    }
}

#[tokio::test]
async fn a_token_and_a_password_stand_in_the_header_authorization() {
    for (auth, expected) in [
        ("auth: {token: {env: KEY}}", "Bearer value of KEY"),
        ("auth: {scheme: SSWS, token: {env: KEY}}", "SSWS value of KEY"),
        // elastic:value of KEY
        ("auth: {username: elastic, password: {env: KEY}}", "Basic ZWxhc3RpYzp2YWx1ZSBvZiBLRVk="),
    ] {
        let recorder = Recorder::start([told(200, SCORE)]).await;
        let provider = provider(&recorder, &format!("{ASKS}{READS}{auth}"));
        scored(provider.ask(&user("jdoe")).await);
        assert_eq!(recorder.asked()[0].header("authorization"), expected);
    }
}

#[tokio::test]
async fn a_client_buys_one_token_and_another_one_after_a_refusal() {
    let recorder = Recorder::start([
        told(201, TOKEN),
        told(200, SCORE),
        told(200, SCORE),
        told(401, "{}"),
        told(200, TOKEN.replace("first", "second")),
        told(200, SCORE),
    ])
    .await;
    let auth = "auth: {token_url: BASE/oauth2/token, client_id: us, client_secret: {env: KEY}, scope: 'risk read'}\n";
    let provider = provider(&recorder, &format!("{ASKS}{READS}{auth}"));
    for _ in 0..2 {
        scored(provider.ask(&user("jdoe")).await);
    }
    assert_eq!(kind(provider.ask(&user("jdoe")).await), FailureKind::Unauthorised);
    assert!(provider.renew(FailureKind::Unauthorised) && !provider.renew(FailureKind::Unauthorised));
    scored(provider.ask(&user("jdoe")).await);

    let asked = recorder.asked();
    let (asking, buying) = ("/v1/users/jdoe/risk", "/oauth2/token");
    assert_eq!(recorder.targets(), [buying, asking, asking, asking, buying, asking]);
    assert_eq!(
        asked[0].body,
        "grant_type=client_credentials&client_id=us&client_secret=value%20of%20KEY&scope=risk%20read"
    );
    assert_eq!(asked[1].header("authorization"), "Bearer first");
    assert_eq!(asked[5].header("authorization"), "Bearer second");
}

#[tokio::test]
async fn a_client_may_stand_in_the_header_and_a_refusal_says_what_to_check() {
    let refused = r#"{"error": "invalid_client", "error_description": "value of KEY"}"#;
    let recorder = Recorder::start([told(400, refused)]).await;
    let auth =
        "auth: {token_url: BASE/t/, client_id: 'u:s', client_secret: {env: KEY}, client_auth: basic}\n";
    let provider = provider(&recorder, &format!("{ASKS}{READS}{auth}"));
    let failure = provider.ask(&user("jdoe")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unauthorised);
    assert!(
        failure.detail.contains("invalid_client") && failure.detail.contains("client_secret"),
        "{failure}"
    );
    assert!(!failure.detail.contains("value of"), "{failure}");
    let asked = &recorder.asked()[0];
    assert_eq!((asked.target.as_str(), &asked.body[..]), ("/t/", &b"grant_type=client_credentials"[..]));
    // u%3As:value%20of%20KEY
    assert_eq!(asked.header("authorization"), "Basic dSUzQXM6dmFsdWUlMjBvZiUyMEtFWQ==");
}

#[tokio::test]
async fn a_vendor_with_ids_of_its_own_is_asked_for_the_id_first() {
    let recorder = Recorder::start([
        told(200, r#"{"id": "00u/1"}"#),
        told(200, SCORE),
        told(404, r#"{"code": "E7"}"#),
        told(200, "{}"),
    ])
    .await;
    let resolve =
        "resolve: {path: '/users/{value}', take: $.id}\nunknown: [{status: 404, at: $.code, equals: E7}]\n";
    let provider = provider(&recorder, &format!("{resolve}{ASKS}{READS}"));
    scored(provider.ask(&user("jdoe@example.com")).await);
    assert_eq!(provider.ask(&user("a")).await, Ok(Answer::Unknown { detail: None }));
    assert_eq!(kind(provider.ask(&user("b")).await), FailureKind::Unresolved);
    assert_eq!(
        recorder.targets(),
        ["/v1/users/jdoe%40example.com", "/v1/users/00u%2F1/risk", "/v1/users/a", "/v1/users/b"]
    );
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_sent() {
    let recorder = Recorder::start([]).await;
    let provider = provider(&recorder, &format!("{ASKS}{READS}"));
    for id in ["..", "a/../b", "a\\..\\b", "a\nb", &"x".repeat(2049)] {
        assert_eq!(kind(provider.ask(&user(id)).await), FailureKind::InvalidIdentifier, "{id:?}");
    }
    assert_eq!(
        kind(provider.ask(&Entity::new(EntityKind::Host, "ws-1")).await),
        FailureKind::InvalidIdentifier
    );
    assert!(recorder.asked().is_empty());
}

#[tokio::test]
async fn a_vendor_says_how_long_it_wants_to_be_left_alone() {
    let recorder = Recorder::start([told(429, "{}").header("retry-after", "7")]).await;
    let provider = provider(&recorder, &format!("{ASKS}{READS}"));
    let failure = provider.ask(&user("jdoe")).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.retry_after.map(|wait| wait.as_secs())),
        (FailureKind::RateLimited, Some(7))
    );
}

#[tokio::test]
async fn the_probe_asks_about_nobody_and_takes_any_answer_for_well() {
    let unknown = "unknown: [{status: 404, at: $.code, equals: E404}]\n";
    let recorder = Recorder::start([told(404, json!({"code": "E404"}).to_string()), told(404, "{}")]).await;
    let provider = provider(&recorder, &format!("{ASKS}{READS}{unknown}probe: nobody@example.com\n"));
    assert_eq!(provider.probe().await, Ok(()));
    let failure = provider.probe().await.unwrap_err();
    assert!(failure.detail.contains("`unknown`"), "{failure}");
    assert_eq!(recorder.targets(), ["/v1/users/nobody%40example.com/risk"; 2]);
}

#[tokio::test]
async fn what_answers_depend_on_is_the_identity_and_no_secret_is_in_it() {
    let recorder = Recorder::start([]).await;
    let identity = |yaml: &str| provider(&recorder, yaml).identity();
    let first = identity(&format!("{ASKS}{READS}auth: {{token: {{env: KEY}}}}"));
    assert_eq!(first, identity(&format!("{ASKS}{READS}auth: {{token: {{env: KEY}}}}")));
    for other in [
        format!("{ASKS}{READS}auth: {{token: {{env: SECRET}}}}"),
        format!("{ASKS}answer: {{score: $.risk}}\nauth: {{token: {{env: KEY}}}}"),
        format!("request: {{path: '/u/{{value}}'}}\n{READS}auth: {{token: {{env: KEY}}}}"),
    ] {
        assert_ne!(first, identity(&other), "{other}");
    }
    assert!(!first.contains("value of"), "{first}");
}

#[tokio::test]
async fn hostile_answers_are_failures_that_repeat_nothing() {
    let long = json!({"score": {"jdoe": "x".repeat(1000)}}).to_string();
    for body in ["", "null", "{\"score\":\"jdoe\"}", "<html>jdoe</html>", long.as_str(), "\u{feff}{}"] {
        let recorder = Recorder::start([told(200, body)]).await;
        let provider = provider(&recorder, &format!("{ASKS}{READS}"));
        let failure = provider.ask(&user("jdoe")).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::MalformedResponse, "{body}");
        assert!(!failure.detail.contains("jdoe"), "{failure}");
    }
}
