//! From the vendor's bodies, as they stand in the fixtures, to answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::provider::google_secops::filter;
use crate::provider::google_secops::wire::Page;
use crate::provider::{FailureKind, testing};
use crate::score::Level;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/vendors/google_secops/", $name, ".json"))
    };
}

fn read(body: &[u8], name: &str, window: Window) -> Answer {
    answer(&Page::read(body).unwrap().rows, &[name], window, &Scale::default())
}

fn scored(body: &[u8], name: &str, window: Window) -> Scored {
    match read(body, name, window) {
        Answer::Scored(scored) => *scored,
        unknown => panic!("{unknown:?}"),
    }
}

const HOST: &str = "ws-17.corp.example.com";

#[test]
fn both_spellings_of_the_vendors_page_say_the_same() {
    let snake = scored(fixture!("user_snake_case"), "john.doe@example.com", Window::Day);
    let camel = scored(fixture!("user_camel_case"), "John.Doe@example.com", Window::Day);
    assert_eq!(snake.raw, camel.raw);
    assert_eq!(camel.attributes["raw_risk_score"], json!(1740.0));
    let mut attributes = camel.attributes.clone();
    attributes.insert("raw_risk_score".to_owned(), json!(1740));
    assert_eq!(attributes, snake.attributes);
    assert_eq!(Scored { attributes: snake.attributes.clone(), ..camel }, snake);
}

#[test]
fn everything_that_a_row_says_is_kept() {
    let scored = scored(fixture!("user_snake_case"), "john.doe@example.com", Window::Day);
    assert_eq!((scored.score.to_string().as_str(), scored.level), ("85.6", Level::High));
    assert_eq!(scored.raw, Raw { score: Some(856.into()), level: None, scale: SCALE.into() });
    assert_eq!(scored.delta, Some(42.into()));
    assert_eq!(scored.signals, Some(15));
    assert_eq!(scored.first_seen, Some("2026-05-28T16:04:05.045123456Z".parse().unwrap()));
    assert_eq!(scored.last_seen, Some("2026-05-29T13:59:59Z".parse().unwrap()));
    assert_eq!(
        Value::Object(scored.attributes),
        json!({
            "risk_window": {"start_time": "2026-05-28T14:00:00Z", "end_time": "2026-05-29T14:00:00Z"},
            "raw_risk_score": 1740,
            "risk_delta": {"risk_score_delta": 42, "risk_score_numeric_delta": 254, "previous_risk_score": 602,
                           "previous_range_end_time": "2026-05-28T14:00:00Z"},
            "raw_risk_delta": {"risk_score_delta": 200, "risk_score_numeric_delta": 1330, "previous_risk_score": 410,
                               "previous_range_end_time": "2026-05-28T14:00:00Z"},
            "entity_id": "am9obi5kb2VAZXhhbXBsZS5jb206RU1BSUw6Y29ycA==",
            "entity_indicator": {"email": "john.doe@example.com"},
            "entity_type": "USER", "namespace": "corp", "user_id": "jdoe",
            "email_addresses": ["john.doe@example.com"], "display_name": "John Doe",
        })
    );
}

#[test]
fn a_score_that_is_left_out_of_a_row_is_zero_and_no_row_is_unknown() {
    let zero = scored(fixture!("zero_left_out"), HOST, Window::Day);
    assert_eq!((zero.score, zero.level), (Score::ZERO, Level::Info));
    assert_eq!((zero.raw.score, zero.signals, zero.delta), (Some(0.into()), Some(0), Some(0.into())));
    assert_eq!(read(fixture!("nothing_found"), HOST, Window::Day), Answer::Unknown { detail: None });
}

#[test]
fn the_configured_window_counts_and_of_several_the_latest() {
    assert_eq!(scored(fixture!("two_windows"), HOST, Window::Day).raw.score, Some(120.into()));
    assert_eq!(scored(fixture!("two_windows"), HOST, Window::Week).raw.score, Some(910.into()));
}

#[test]
fn without_a_row_of_the_configured_window_the_latest_counts() {
    let body = br#"{"entity_risk_scores": [
        {"risk_score": 700, "risk_window": {"start_time": "2026-05-28T00:00:00Z", "end_time": "2026-05-29T00:00:00Z"}},
        {"risk_score": 300, "risk_window": {"start_time": "2026-05-29T00:00:00Z", "end_time": "2026-05-30T00:00:00Z"}},
        {"risk_score": 900}]}"#;
    assert_eq!(scored(body, HOST, Window::Week).raw.score, Some(300.into()));
}

#[test]
fn the_list_gives_no_score_of_a_window_that_a_look_up_would_not_be_told_of() {
    let now: Timestamp = "2026-05-29T14:00:00Z".parse().unwrap();
    let told = |rows: &[(&str, &str)], window: Window| {
        let row = |(start, end): &(&str, &str)| {
            json!({"entity_indicator": {"hostname": HOST}, "risk_score": 500,
                   "risk_window": {"start_time": start, "end_time": end}})
        };
        let body = json!({"entity_risk_scores": rows.iter().map(row).collect::<Vec<_>>()});
        let page = Page::read(body.to_string().as_bytes()).unwrap();
        let from = filter::begin(window, Duration::ZERO, now);
        let page = listed(&page, window, from, &Scale::default()).unwrap();
        let best = page.rows.into_iter().max_by_key(|row| row.rank).unwrap();
        matches!(best.answer, Ok(Answer::Scored(_)))
    };
    let day = ("2026-05-28T13:50:00Z", "2026-05-29T13:50:00Z");
    let week = ("2026-05-22T13:50:00Z", "2026-05-29T13:50:00Z");
    let march = ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
    for (rows, window, expected) in [
        (&[day][..], Window::Day, true),
        (&[week], Window::Day, false),
        (&[week, day], Window::Day, true),
        (&[march], Window::Day, false),
        (&[march], Window::Week, false),
        (&[week], Window::Week, true),
        (&[day], Window::Week, true),
    ] {
        assert_eq!(told(rows, window), expected, "{rows:?}");
    }
}

#[test]
fn a_row_about_another_entity_is_not_an_answer() {
    let unknown = Answer::Unknown { detail: Some("other_entities") };
    assert_eq!(read(fixture!("other_entity"), HOST, Window::Day), unknown);
    assert_eq!(read(fixture!("user_snake_case"), "doe@example.com", Window::Day), unknown);
}

#[test]
fn an_entity_may_be_known_by_another_of_its_names() {
    let by_sid = scored(fixture!("user_snake_case"), "S-1-5-21-1-2-3-1001", Window::Day);
    assert_eq!(by_sid.raw.score, Some(856.into()));
}

#[test]
fn what_is_no_page_of_scores_is_malformed_and_never_a_score_or_unknown() {
    for body in [
        "",
        "null",
        "[]",
        "\"\"",
        "<html>",
        "{\"entity_risk_scores\":[",
        r#"{"status": "log in first"}"#,
        r#"{"error": {"code": 500}}"#,
        r#"{"entity_risk_scores": {}}"#,
        r#"{"entity_risk_scores": [1]}"#,
        r#"{"entity_risk_scores": [{}]}"#,
        r#"{"entity_risk_scores": [{"x": 1}]}"#,
        r#"{"entity_risk_scores": [{"risk_score": "high"}]}"#,
        r#"{"entity_risk_scores": [{"risk_score": true}]}"#,
        r#"{"entity_risk_scores": [{"riskScore": "NaN"}]}"#,
        r#"{"entity_risk_scores": [], "next_page_token": 7}"#,
    ] {
        let failure = Page::read(body.as_bytes()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::MalformedResponse, "{body}");
    }
}

#[test]
fn numbers_may_be_spelled_in_any_way() {
    for (spelling, expected) in [
        ("856", "85.6"),
        ("856.0", "85.6"),
        ("\"856\"", "85.6"),
        ("8.56e2", "85.6"),
        ("1001", "100"),
        ("-1", "0"),
    ] {
        let body = format!(r#"{{"entityRiskScores": [{{"riskScore": {spelling}}}]}}"#);
        assert_eq!(scored(body.as_bytes(), HOST, Window::Day).score.to_string(), expected, "{spelling}");
    }
}

/// What means something to us among the keys and texts of any JSON.
const NAMES: [&str; 14] = [
    "entity_risk_scores",
    "nextPageToken",
    "entity",
    "metadata",
    "riskScore",
    "risk_delta",
    "riskWindow",
    "start_time",
    "endTime",
    "detections_count",
    "entityIndicator",
    "email",
    "user",
    "x",
];
const WORDS: [&str; 2] = ["2026-05-29T14:00:00Z", "-99999999999-01-01T00:00:00Z"];

/// JSON that looks like the vendor's, with anything in it.
fn nearly() -> impl Strategy<Value = Value> {
    testing::json(&NAMES, &WORDS)
}

fn row_count(body: &Value) -> usize {
    body.get("entity_risk_scores").and_then(Value::as_array).map_or(0, Vec::len)
}

proptest! {
    #[test]
    fn no_body_panics_or_is_a_score_without_a_row(body in nearly(), rows in prop::collection::vec(nearly(), 0..3)) {
        for body in [body, json!({"entity_risk_scores": rows})] {
            if let Ok(page) = Page::read(body.to_string().as_bytes()) {
                prop_assert_eq!(page.rows.len(), row_count(&body));
                if let Answer::Scored(scored) = answer(&page.rows, &[HOST], Window::Day, &Scale::default()) {
                    prop_assert!(row_count(&body) > 0);
                    prop_assert!(scored.raw.score.is_some());
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_malformed(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(page) = Page::read(&body) {
            prop_assert!(page.rows.is_empty());
        }
    }
}
