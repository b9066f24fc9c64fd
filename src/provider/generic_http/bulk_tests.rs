//! Lists of vendors that nobody knew before: how pages are asked for over real HTTP, and what configurations are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::provider::FailureKind;
use crate::provider::generic_http::{Config, GenericHttp, config};
use crate::provider::recorder::{Recorder, Told, told};
use crate::provider::snapshot::Bulk;
use crate::provider::templates::Templates;
use crate::provider::testing::{self, kind, read_keys};
use crate::provider::transport::Transport;

const RULES: &str = "kinds: [user]\nrequest: {path: '/users/{value}'}\nanswer: {score: $.score, level: $.level, words: {none: no_level}}\n";

fn provider(recorder: &Recorder, bulk: &str) -> GenericHttp {
    let base = recorder.base("/v1");
    let yaml = format!("base_url: {}\n{RULES}bulk: {bulk}\n", base.whole());
    let (config, problems) = read_keys::<Config>(&yaml, config::read);
    assert_eq!(problems, "", "{yaml}");
    let transport = Transport::for_tests(&base);
    GenericHttp::new(config.unwrap(), base, Scale::default(), Vec::new(), transport)
}

fn page(rows: &[(&str, u64)], more: Value) -> Told {
    let rows: Vec<Value> = rows.iter().map(|(id, score)| json!({"id": id, "score": score})).collect();
    let mut body = json!({"items": rows});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    told(200, body.to_string())
}

const ROWS: &str = "rows: '$.items[*]', identifier: $.id, complete: true";

#[tokio::test]
async fn each_way_to_the_next_page_is_gone_to_its_end() {
    let pages = |markers: [Value; 2]| {
        let [one, two] = markers;
        [page(&[("Ann", 1), ("bob", 2)], one), page(&[("cid", 3)], two), page(&[], json!({}))]
    };
    let link =
        |marker: &str| json!({"next": format!("https://elsewhere.example.com/users?n=9&%24skip={marker}#x")});
    for (follow, markers, asked) in [
        ("", [json!({}), json!({})], vec!["?top=2"]),
        (
            ", next: $.next, marker: after",
            [json!({"next": "m&1"}), json!({"next": null})],
            vec!["?top=2", "?top=2&after=m%261"],
        ),
        (", next: $.next, marker: $skip", [link("m%261"), json!({})], vec!["?top=2", "?top=2&%24skip=m%261"]),
        (", page: p", [json!({}), json!({})], vec!["?top=2&p=1", "?top=2&p=2", "?top=2&p=3"]),
        (
            ", page: p, first_page: 0, total: $.total",
            [json!({"total": 3}), json!({"total": 3})],
            vec!["?top=2&p=0", "?top=2&p=1"],
        ),
        (", offset: from", [json!({}), json!({})], vec!["?top=2&from=0", "?top=2&from=2", "?top=2&from=3"]),
    ] {
        let recorder = Recorder::start(pages(markers)).await;
        let provider = provider(&recorder, &format!("{{path: /users, query: {{top: 2}}, {ROWS}{follow}}}"));
        let (rows, cut) = testing::listed(&provider).await.unwrap();
        let all = [("ann", 1.0), ("bob", 2.0), ("cid", 3.0)];
        assert_eq!(
            (testing::scores(&rows), cut),
            (all[..if asked.len() == 1 { 2 } else { 3 }].to_vec(), false),
            "{follow}"
        );
        let asked: Vec<String> = asked.iter().map(|query| format!("/v1/users{query}")).collect();
        assert_eq!(recorder.targets(), asked, "{follow}");
    }
}

#[tokio::test]
async fn what_asks_for_the_next_page_goes_where_the_request_has_its_own() {
    for (request, bodies) in [
        ("body: '{\"size\": 2}', offset: from", [r#"{"from":0,"size":2}"#, r#"{"from":1,"size":2}"#]),
        ("form: {size: 2}, next: $.next, marker: after", ["size=2", "size=2&after=m"]),
    ] {
        let recorder = Recorder::start([page(&[("a", 1)], json!({"next": "m"})), page(&[], json!({}))]).await;
        testing::listed(&provider(&recorder, &format!("{{path: /search, {request}, {ROWS}}}")))
            .await
            .unwrap();
        let sent: Vec<String> =
            recorder.asked().iter().map(|asked| String::from_utf8_lossy(&asked.body).into_owned()).collect();
        assert_eq!(sent, bodies);
    }
}

#[tokio::test]
async fn what_no_rule_explains_is_told() {
    let follow = format!("{{path: /users, {ROWS}, next: $.next, marker: after, total: $.total}}");
    let mixed = json!({"items": [{"id": "a", "level": "none"}, {"id": "b"}, {"score": 3}]});
    let recorder = Recorder::start([
        told(200, mixed.to_string()),
        page(&[("a", 1)], json!({"total": 2})),
        page(&[("a", 1)], json!({"next": "https://h.example.com/users?other=1"})),
        told(200, r#"{"items": [{"score": 3}]}"#),
        told(404, "{}"),
        told(200, "<html>"),
        told(200, r#"{"users": []}"#),
        told(401, "{}"),
    ])
    .await;
    let provider = provider(&recorder, &follow);
    let (rows, cut) = testing::listed(&provider).await.unwrap();
    assert_eq!(
        (testing::scores(&rows), cut),
        (vec![("a", -1.0), ("b", -2.0)], true),
        "no level; not understood; no name"
    );
    assert!(testing::listed(&provider).await.unwrap().1, "fewer than were promised");
    for expected in [
        FailureKind::MalformedResponse,
        FailureKind::MalformedResponse,
        FailureKind::BadRequest,
        FailureKind::MalformedResponse,
        FailureKind::MalformedResponse,
        FailureKind::Unauthorised,
    ] {
        assert_eq!(kind(testing::listed(&provider).await), expected);
    }
}

#[tokio::test]
async fn a_list_that_is_there_and_empty_is_one() {
    for body in [r#"{"items": []}"#, r#"{"items": null}"#] {
        let recorder = Recorder::start([told(200, body)]).await;
        let (rows, cut) =
            testing::listed(&provider(&recorder, &format!("{{path: /users, {ROWS}}}"))).await.unwrap();
        assert!(rows.is_empty() && !cut, "{body}");
    }
}

#[tokio::test]
async fn a_list_that_is_not_there_is_no_end_of_one_on_any_page() {
    for (path, first) in [
        ("$.items[*]", r#"{"items": [{"id": "a", "score": 1}]}"#),
        ("$.items[?@.id]", r#"{"items": [{"id": "a", "score": 1}]}"#),
    ] {
        for later in [r#"{"error": "busy"}"#, "{}", r#"{"items": {}}"#, r#"{"items": "none"}"#] {
            let recorder = Recorder::start([told(200, first), told(200, later)]).await;
            let bulk = format!("{{path: /users, rows: '{path}', identifier: $.id, complete: true, page: p}}");
            let failure = testing::listed(&provider(&recorder, &bulk)).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::MalformedResponse, "{later}");
            assert!(failure.detail.contains("on page 2: check bulk.rows"), "{failure}");
        }
    }
    // Where nobody says where the list would stand, the first page of all tells of somebody.
    let recorder = Recorder::start([told(200, "{}")]).await;
    let bulk = "{path: /users, rows: $.user, identifier: $.id, complete: true}";
    assert_eq!(kind(testing::listed(&provider(&recorder, bulk)).await), FailureKind::MalformedResponse);
}

#[tokio::test]
async fn only_nothing_is_the_end_of_a_list_whose_pages_follow_a_marker() {
    let follow = format!("{{path: /users, {ROWS}, next: $.next, marker: after}}");
    for (next, ends) in [
        (json!(null), true),
        (json!(false), true),
        (json!(" "), true),
        (json!(true), false),
        (json!({}), false),
        (json!({"href": "/users?after=2"}), false),
        (json!(["2"]), false),
    ] {
        let recorder = Recorder::start([page(&[("a", 1)], json!({"next": next}))]).await;
        let listed = testing::listed(&provider(&recorder, &follow)).await;
        if ends {
            assert!(!listed.unwrap().1, "{next}");
        } else {
            assert!(listed.unwrap_err().detail.contains("$.next.href"), "{next}");
        }
    }
}

#[tokio::test]
async fn a_cursor_may_look_like_the_beginning_of_a_link() {
    let follow = format!("{{path: /users, {ROWS}, next: $.next, marker: after}}");
    for (cursor, sent) in [("/9j+AbQ==", "%2F9j%2BAbQ%3D%3D"), ("?abc", "%3Fabc")] {
        let recorder =
            Recorder::start([page(&[("a", 1)], json!({"next": cursor})), page(&[], json!({}))]).await;
        testing::listed(&provider(&recorder, &follow)).await.unwrap();
        assert_eq!(recorder.targets()[1], format!("/v1/users?after={sent}"));
    }
}

#[tokio::test]
async fn a_promise_that_is_no_number_is_no_promise_kept() {
    let bulk = format!("{{path: /users, {ROWS}, total: $.total}}");
    for (total, read) in [
        (json!("1"), true),
        (json!(null), true),
        (json!({"value": 5, "relation": "eq"}), false),
        (json!("five"), false),
        (json!(-1), false),
    ] {
        let recorder = Recorder::start([page(&[("a", 1)], json!({"total": total}))]).await;
        let listed = testing::listed(&provider(&recorder, &bulk)).await;
        assert_eq!(listed.is_ok(), read, "{total}");
        assert!(read || listed.unwrap_err().detail.contains("$.total.value"), "{total}");
    }
}

#[tokio::test]
async fn a_list_answers_for_the_kinds_that_are_in_it() {
    let recorder = Recorder::start([]).await;
    let mut provider =
        provider(&recorder, "{path: /users, rows: '$[*]', identifier: $.id, complete: true, kinds: [user]}");
    provider.templates = Templates::new(&[EntityKind::User, EntityKind::Host], Vec::new());
    assert_eq!(provider.name(EntityKind::User, "Bob").as_deref(), Some("bob"));
    assert_eq!(provider.name(EntityKind::Host, "bob"), None);
}

#[test]
fn a_list_that_cannot_be_read_is_refused_with_what_to_write() {
    for (bulk, expected) in [
        (
            "{path: '/users/{value}', rows: $.a, identifier: $.id, complete: true}",
            "bulk: a place for an identifier",
        ),
        ("{path: /users, identifier: $.id, complete: true}", "bulk.rows: missing"),
        ("{path: /users, rows: $.a, complete: true}", "bulk.identifier: missing"),
        ("{path: /users, rows: $.a, identifier: $.id}", "bulk.complete: missing"),
        ("{path: /users, rows: items, identifier: $.id, complete: false}", "bulk.rows: not a JSONPath"),
        ("{path: /users, rows: $.a, identifier: $.id, complete: true, next: $.n}", "bulk.marker: missing"),
        (
            "{path: /users, rows: $.a, identifier: $.id, complete: true, page: p, offset: o}",
            "bulk: several ways",
        ),
        ("{path: /users, rows: $.a, identifier: $.id, complete: true, size: 3}", "bulk.size: unknown key"),
        (
            "{path: /users, rows: $.a, identifier: $.id, complete: true, marker: m}",
            "bulk.marker: nothing without next (given: m); write next as well",
        ),
        (
            "{path: /users, rows: $.a, identifier: $.id, complete: true, first_page: 0}",
            "bulk.first_page: nothing without page (given: 0)",
        ),
        (
            "{path: /users, query: {p: 1}, rows: $.a, identifier: $.id, complete: true, page: p}",
            "bulk.page: a parameter that query has already",
        ),
        (
            "{path: /users, form: {m: x}, rows: $.a, identifier: $.id, complete: true, next: $.n, marker: m}",
            "bulk.marker: a parameter that form has already",
        ),
        (
            "{path: /users, body: '{\"o\": 0}', rows: $.a, identifier: $.id, complete: true, offset: o}",
            "bulk.offset: a parameter that body has already",
        ),
        (
            "{path: /users, body: '[]', rows: $.a, identifier: $.id, complete: true, offset: o}",
            "bulk.offset: no place for it in the body",
        ),
        (
            "{path: /users, rows: $.a, identifier: $.id, complete: true, kinds: [usr]}",
            "bulk.kinds[0]: not an entity kind, nearest is user (given: usr)",
        ),
    ] {
        let yaml = format!("base_url: https://risk.example.com\n{RULES}bulk: {bulk}\n");
        let (_, problems) = read_keys::<Config>(&yaml, config::read);
        assert!(problems.contains(expected) && problems.lines().count() == 1, "{bulk}: {problems}");
    }
}
