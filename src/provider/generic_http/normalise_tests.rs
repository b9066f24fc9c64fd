//! What answers become, by rules.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::config::{self, Config};
use super::*;
use crate::provider::testing::{self, kind, read_keys, scored};

/// The vendor that these tests speak to, with further keys of `answer` and of the provider.
fn rules(answer: &str, others: &str) -> Rules {
    let yaml = format!(
        "base_url: https://risk.example.com\nkinds: [user]\nrequest: {{path: '/{{value}}'}}\nanswer: {{{answer}}}\n{others}"
    );
    let (config, problems) = read_keys::<Config>(&yaml, config::read);
    assert_eq!(problems, "", "{yaml}");
    config.unwrap().rules
}

fn ask(rules: &Rules, status: u16, body: &Value) -> Result<Answer, Failure> {
    ask_text(rules, status, &body.to_string())
}

fn ask_text(rules: &Rules, status: u16, body: &str) -> Result<Answer, Failure> {
    answer(rules, "jdoe", (status, body.as_bytes()), None, &Scale::default())
}

const UNKNOWN: Result<Answer, Failure> = Ok(Answer::Unknown { detail: None });

#[test]
fn a_number_goes_from_its_range_to_the_common_scale() {
    for (range, number, expected) in [
        ("", json!(85), 85.0),
        (", range: [0, 1]", json!(0.853), 85.3),
        (", range: [0, 1000]", json!("250"), 25.0),
        (", range: [-1, 1]", json!(0), 50.0),
        (", range: [0, 10]", json!(11), 100.0),
        (", range: [1, 10]", json!(0), 0.0),
    ] {
        let rules = rules(&format!("score: $.s{range}"), "");
        let found = scored(ask(&rules, 200, &json!({"s": number})));
        assert_eq!(found.score.value(), expected, "{range} {number}");
        assert_eq!(found.raw.score, lenient::number(&number));
    }
}

#[test]
fn a_word_is_a_level_of_ours_or_what_words_say() {
    let rules = rules("level: $.l, words: {moderate: medium, none: info, HIDDEN: no_level}", "");
    for (word, level, score) in
        [("HIGH", Level::High, 90.0), ("Moderate", Level::Medium, 60.0), ("none", Level::Info, 0.0)]
    {
        let found = scored(ask(&rules, 200, &json!({"l": word})));
        assert_eq!(
            (found.level, found.score.value(), found.raw.level.as_deref()),
            (level, score, Some(word))
        );
    }
    assert_eq!(ask(&rules, 200, &json!({"l": "hidden"})), Ok(Answer::Unknown { detail: Some("no_level") }));
    let failure = ask(&rules, 200, &json!({"l": "aggressive"})).unwrap_err();
    assert_eq!(failure.kind, FailureKind::MalformedResponse);
    assert!(failure.detail.contains("answer.words") && !failure.detail.contains("aggressive"), "{failure}");
}

#[test]
fn number_and_word_are_the_vendors_own_and_one_alone_gives_the_other() {
    let rules = rules("score: $.s, level: $.l", "");
    let both = scored(ask(&rules, 200, &json!({"s": 10, "l": "critical"})));
    assert_eq!((both.score.value(), both.level), (10.0, Level::Critical));
    let number = scored(ask(&rules, 200, &json!({"s": 75})));
    assert_eq!((number.score.value(), number.level), (75.0, Level::High));
    // A word that nobody told us beside a number costs nothing.
    let strange = scored(ask(&rules, 200, &json!({"s": 75, "l": "purple"})));
    assert_eq!((strange.level, strange.raw.level.as_deref()), (Level::High, Some("purple")));
}

#[test]
fn of_several_rows_the_highest_counts_and_of_others_none() {
    let rules = rules("row: '$.users[*]', identifier: $.name, score: $.s", "");
    let body =
        json!({"users": [{"name": "JDoe", "s": 20}, {"name": "jdoe", "s": 30}, {"name": "jdoe2", "s": 90}]});
    assert_eq!(scored(ask(&rules, 200, &body)).score.value(), 30.0);
    assert_eq!(ask(&rules, 200, &json!({"users": [{"name": "jdoe2", "s": 90}]})), UNKNOWN);
}

#[test]
fn unknown_is_what_a_condition_says_and_nothing_else() {
    let rules = rules(
        "row: '$.users[0]', score: $.s",
        "unknown: [{status: [404, 410], at: $.code, equals: not_found}, {at: $.users, empty: true}]",
    );
    assert_eq!(ask(&rules, 404, &json!({"code": "NOT_FOUND"})), UNKNOWN);
    assert_eq!(ask(&rules, 200, &json!({"users": []})), UNKNOWN);
    for (status, body, expected) in [
        (404, json!({"code": "no_such_path"}), FailureKind::BadRequest),
        (404, json!("<html>"), FailureKind::BadRequest),
        (200, json!({"code": "not_found"}), FailureKind::MalformedResponse),
        (200, json!({"people": []}), FailureKind::MalformedResponse),
        (200, json!({"users": [{"t": 1}]}), FailureKind::MalformedResponse),
        (200, json!({"users": [{"s": "high"}]}), FailureKind::MalformedResponse),
        (500, json!({"users": []}), FailureKind::ServerError),
    ] {
        assert_eq!(kind(ask(&rules, status, &body)), expected, "{status} {body}");
    }
}

#[test]
fn a_page_of_a_proxy_is_never_the_vendors_word() {
    let rules = rules("score: $.s", "unknown: [{status: 404}, {status: 403, contains: 'not found'}]");
    assert_eq!(ask(&rules, 404, &json!({})), UNKNOWN);
    assert_eq!(ask_text(&rules, 404, ""), UNKNOWN);
    assert_eq!(ask_text(&rules, 403, "user NOT FOUND"), UNKNOWN);
    for (status, expected) in [(404, FailureKind::BadRequest), (403, FailureKind::MalformedResponse)] {
        assert_eq!(kind(ask_text(&rules, status, "<html>not found</html>")), expected);
    }
}

#[test]
fn a_failure_behind_status_200_is_one_and_goes_before_unknown() {
    let rules = rules(
        "row: $.data, score: $.s",
        "failed:
  - {at: '$.errors[*].code', equals: [FORBIDDEN], reason: forbidden}
  - {at: $.errors, empty: false}
unknown: [{at: $.data, missing: true}]",
    );
    assert_eq!(ask(&rules, 200, &json!({"errors": []})), UNKNOWN);
    assert_eq!(kind(ask(&rules, 200, &json!({"errors": [{"code": "forbidden"}]}))), FailureKind::Forbidden);
    assert_eq!(kind(ask(&rules, 200, &json!({"errors": ["down"]}))), FailureKind::ServerError);
    assert_eq!(scored(ask(&rules, 200, &json!({"data": {"s": 1}, "errors": null}))).score.value(), 1.0);
}

#[test]
fn every_status_without_a_condition_is_the_failure_that_http_says() {
    let rules = rules("score: $.s", "");
    for (status, expected) in [
        (302, FailureKind::MalformedResponse),
        (400, FailureKind::BadRequest),
        (401, FailureKind::Unauthorised),
        (402, FailureKind::Unlicensed),
        (403, FailureKind::Forbidden),
        (404, FailureKind::BadRequest),
        (408, FailureKind::Timeout),
        (418, FailureKind::BadRequest),
        (422, FailureKind::BadRequest),
        (429, FailureKind::RateLimited),
        (500, FailureKind::ServerError),
        (504, FailureKind::Timeout),
        (599, FailureKind::ServerError),
    ] {
        assert_eq!(kind(ask(&rules, status, &json!({"s": 1}))), expected, "{status}");
    }
    for body in ["", "null", "[]", "7", "{", "{\"s\":null}", "<html>"] {
        assert_eq!(kind(ask_text(&rules, 200, body)), FailureKind::MalformedResponse, "{body}");
    }
}

#[test]
fn details_are_read_where_they_are_and_left_out_where_they_are_not() {
    let rules = rules(
        "score: $.s, delta: $.d, signals: $.n, first_seen: $.first, last_seen: $.last, reasons: ['$.why[*]', $.note],
         attributes: {state: $.state, gone: $.gone, nothing: $.nothing}, scale: 'points of ours'",
        "",
    );
    let body = json!({"s": 5, "d": -2, "n": "7", "first": "2026-01-01", "last": 1_767_225_600, "why": ["a", 3, {}, ""],
        "note": "b", "state": {"x": [1]}, "nothing": null});
    let found = scored(ask(&rules, 200, &body));
    assert_eq!((found.delta, found.signals), (Some((-2).into()), Some(7)));
    assert_eq!(found.first_seen, found.last_seen);
    assert_eq!(found.reasons, ["a", "3", "b"]);
    assert_eq!(Value::Object(found.attributes), json!({"state": {"x": [1]}}));
    assert_eq!(found.raw.scale, "points of ours");
    let bare = scored(ask(&rules, 200, &json!({"s": 5})));
    assert!(bare.reasons.is_empty() && bare.attributes.is_empty() && bare.first_seen.is_none());
}

proptest! {
    #[test]
    fn whatever_the_vendor_sends_is_an_answer_with_a_score_or_a_failure(
        status in 100u16..600,
        body in testing::json(&["s", "l", "users", "name", "errors"], &["jdoe", "high", "not_found", "1e999"]),
    ) {
        let rules = rules(
            "row: '$.users[*]', identifier: $.name, score: $.s, level: $.l",
            "unknown: [{at: $.users, empty: true}]",
        );
        if let Ok(Answer::Scored(_)) = ask(&rules, status, &body) {
            prop_assert!((200..300).contains(&status) && body.to_string().contains("jdoe"));
        }
    }
}
