//! What holds for every output whatever the alert, and one example of each format.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::alert::{Occurrence, OwnedPaths};
use crate::provider::{Answer, Raw, Scored};

/// Reads what `alert::decode` would find out, the slow and obvious way.
fn shape(text: &str) -> Shape {
    let members = tree::spans(text).unwrap();
    let named = members.iter().filter(|(name, ..)| name == "risk" || name == "riskstream");
    Shape {
        close: text.rfind('}').unwrap(),
        empty: members.is_empty(),
        members: named
            .map(|(name, span, ours)| Occurrence {
                span: span.clone(),
                ours: *ours,
                fallback: name == "riskstream",
            })
            .collect(),
    }
}

fn composer(format: OutputFormat, on_conflict: OnConflict, max_bytes: usize) -> Composer {
    Composer::new(&Output {
        topic: "out".into(),
        format,
        member: "risk".into(),
        max_bytes,
        on_conflict,
        partition: None,
        updates: None,
    })
}

fn envelope() -> Composer {
    composer(OutputFormat::Envelope, OnConflict::Rename, usize::MAX)
}

fn compose(composer: &Composer, alert: &str, entities: &[EntityOutcome<'_>]) -> (String, Summary) {
    let mut out = b"left over from the alert before".to_vec();
    let shape = shape(alert);
    let input = Input {
        original: alert.as_bytes(),
        shape: &shape,
        format: Some("acme"),
        entities_cut: 0,
        key_and_header_bytes: OVERHEAD,
    };
    let summary = composer.compose(input, entities, &mut out);
    (String::from_utf8(out).unwrap(), summary)
}

/// Bytes of key and headers in these tests.
const OVERHEAD: usize = 50;

fn at() -> Timestamp {
    "2026-05-29T14:23:27.5Z".parse().unwrap()
}

fn scored(score: f64, level: Level) -> Rendered {
    let scored = Scored {
        score: Score::clamped(score).unwrap(),
        level,
        raw: Raw { score: Some(240.into()), level: Some("HIGH".into()), scale: "sum of impacts".into() },
        delta: Some(12.into()),
        signals: Some(15),
        first_seen: None,
        last_seen: Some(at()),
        reasons: vec!["Suspicious \"API\" call".into()],
        attributes: json!({"is_privileged": false}).as_object().unwrap().clone(),
    };
    Rendered::of(&Answer::Scored(Box::new(scored)), at())
}

fn unknown() -> Rendered {
    Rendered::of(&Answer::Unknown { detail: Some("no_level") }, at())
}

fn entity<'a>(kind: EntityKind, value: &'a str, paths: &[String], outcome: Outcome<'a>) -> EntityOutcome<'a> {
    let provider = (!matches!(outcome, Outcome::Unrouted)).then_some("datadog");
    // Borrowed for as long as a test lasts.
    let paths: &OwnedPaths = Box::leak(Box::new(paths.iter().map(String::as_str).collect()));
    EntityOutcome { kind, value, paths: paths.get(), provider, outcome }
}

fn hit(answer: &Rendered) -> Outcome<'_> {
    Outcome::Answered { answer: answer.get(), age: Duration::from_millis(12_900), source: Source::Cache }
}

fn user(outcome: Outcome<'_>) -> EntityOutcome<'_> {
    entity(EntityKind::User, "jdoe", &[], outcome)
}

/// Breaks a text into lines and changes nothing else of it: order and spelling of members are a contract.
fn pretty(text: &str) -> String {
    let (mut lines, mut depth, mut in_string, mut escaped) = (String::new(), 0, false, false);
    for character in text.chars() {
        let opens = !in_string && matches!(character, '{' | '[');
        let closes = !in_string && matches!(character, '}' | ']');
        if closes {
            depth -= 1;
            lines.truncate(lines.trim_end().len());
            if !lines.ends_with(['{', '[']) {
                lines.push_str(&format!("\n{:1$}", "", depth * 2));
            }
        }
        lines.push(character);
        depth += usize::from(opens);
        if opens || (!in_string && character == ',') {
            lines.push_str(&format!("\n{:1$}", "", depth * 2));
        }
        in_string ^= character == '"' && !escaped;
        escaped = in_string && character == '\\' && !escaped;
    }
    lines
}

/// The value without what is empty in it.
fn pruned(mut value: Value) -> Value {
    fn prune(value: &mut Value) -> bool {
        match value {
            Value::Object(members) => members.retain(|_, member| prune(member)),
            Value::Array(items) => items.retain_mut(prune),
            _ => return true,
        }
        !matches!(value, Value::Object(members) if members.is_empty()) && value != &json!([])
    }
    prune(&mut value);
    value
}

#[test]
fn the_status_says_how_far_the_alert_could_be_answered() {
    let (answer, nothing) = (scored(50.0, Level::Medium), unknown());
    let failed = user(Outcome::Failed(FailureKind::Timeout));
    for (entities, cut, status) in [
        (vec![], 0, AlertStatus::NoEntities),
        (vec![user(Outcome::Unrouted)], 0, AlertStatus::NoEntities),
        (vec![user(hit(&answer)), user(hit(&nothing))], 0, AlertStatus::Complete),
        (vec![user(hit(&nothing)), user(Outcome::Unrouted)], 0, AlertStatus::Complete),
        (vec![user(hit(&nothing)), failed], 0, AlertStatus::Partial),
        (vec![user(hit(&answer))], 3, AlertStatus::Partial),
        (vec![failed, user(Outcome::Unrouted)], 0, AlertStatus::Failed),
        (vec![failed], 3, AlertStatus::Failed),
        (vec![user(Outcome::Unrouted)], 3, AlertStatus::Partial),
    ] {
        assert_eq!(Summary::of(&entities, cut).status, status, "{entities:?} {cut}");
    }
}

#[test]
fn the_score_and_the_level_are_each_the_highest() {
    let (one, two, nothing) = (scored(85.0, Level::High), scored(20.0, Level::Critical), unknown());
    let summary = Summary::of(&[user(hit(&one)), user(hit(&two)), user(hit(&nothing))], 0);
    assert_eq!(summary.score, Score::clamped(85.0));
    assert_eq!(summary.level, Some(Level::Critical));
    assert_eq!(Summary::of(&[user(hit(&nothing))], 0).score, None);
}

#[test]
fn a_zero_is_a_score_and_unknown_is_none() {
    let (zero, nothing) = (scored(0.0, Level::Info), unknown());
    let (text, summary) = compose(&envelope(), "{}", &[user(hit(&nothing)), user(hit(&zero))]);
    assert_eq!(summary.score, Some(Score::ZERO));
    let risk: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(risk["risk"]["score"], 0);
    assert_eq!(risk["risk"]["entities"][0].get("score"), None);
    assert_eq!(risk["risk"]["entities"][0]["detail"], "no_level");
}

#[test]
fn the_member_goes_before_the_closing_brace_and_nothing_else_changes() {
    let risk = r#""risk":{"schema":"riskstream/v1","status":"no_entities","format":"acme","entities":[]}"#;
    for (alert, expected) in [
        ("{}", format!("{{{risk}}}")),
        (" { }\n", format!(" {{ {risk}}}\n")),
        (r#"{"a":1.0e+1 , "a":{} }"#, format!(r#"{{"a":1.0e+1 , "a":{{}} ,{risk}}}"#)),
    ] {
        assert_eq!(compose(&envelope(), alert, &[]).0, expected);
    }
}

#[test]
fn earlier_members_of_ours_go_with_exactly_one_comma() {
    let ours = r#"{"schema":"riskstream/v0"}"#;
    for (alert, rest) in [
        (format!(r#"{{"risk":{ours}}}"#), "{}"),
        (format!(r#"{{ "risk" : {ours} , "a":1}}"#), r#"{  "a":1}"#),
        (format!(r#"{{"a":1, "risk":{ours} , "b":2}}"#), r#"{"a":1 , "b":2}"#),
        (format!(r#"{{"risk":{ours},"riskstream":{ours},"a":1,"r\u0069sk":{ours}}}"#), r#"{"a":1}"#),
    ] {
        let (expected, _) = compose(&envelope(), rest, &[]);
        assert_eq!(compose(&envelope(), &alert, &[]).0, expected, "{alert}");
    }
}

#[test]
fn a_foreign_member_stays_or_is_replaced_as_configured() {
    let rename = envelope();
    let replace = composer(OutputFormat::Envelope, OnConflict::Replace, usize::MAX);
    let keys = |composer: &Composer, alert: &str| -> Vec<String> {
        let (text, _) = compose(composer, alert, &[]);
        tree::spans(&text).unwrap().into_iter().map(|(name, _, ours)| format!("{name} {ours}")).collect()
    };
    let foreign = r#"{"risk":7,"a":1}"#;
    assert_eq!(keys(&rename, foreign), ["risk false", "a false", "riskstream true"]);
    assert_eq!(keys(&replace, foreign), ["a false", "risk true"]);
    let both = r#"{"risk":7,"riskstream":8,"riskstream":{"schema":"riskstream/v1"}}"#;
    assert_eq!(keys(&rename, both), ["risk false", "riskstream false", "riskstream true"]);
    assert_eq!(keys(&replace, both), ["riskstream false", "risk true"]);
}

#[test]
fn details_are_cut_before_the_alert_goes_out_bare() {
    let answer = scored(85.0, Level::High);
    let entities = [user(hit(&answer))];
    let alert = r#"{"a":1,"risk":{"schema":"riskstream/v1","forged":true}}"#;
    let (whole, summary) = compose(&envelope(), alert, &entities);
    assert_eq!(summary.cut, Cut::Nothing);
    let reserved = OVERHEAD + headers::RESERVED;

    let tight = composer(OutputFormat::Envelope, OnConflict::Rename, whole.len() + reserved);
    assert_eq!(compose(&tight, alert, &entities), (whole.clone(), summary));
    let tighter = composer(OutputFormat::Envelope, OnConflict::Rename, whole.len() + reserved - 1);
    let (short, summary) = compose(&tighter, alert, &entities);
    assert_eq!(summary.cut, Cut::Details);
    let value: Value = serde_json::from_str(&short).unwrap();
    assert_eq!(value["risk"]["truncated"], true);
    assert_eq!(value["risk"]["entities"][0]["score"], 85);
    assert_eq!(value["risk"]["entities"][0].get("reasons"), None);

    let none = composer(OutputFormat::Envelope, OnConflict::Rename, 1);
    let (bare, summary) = compose(&none, alert, &entities);
    assert_eq!((bare.as_str(), summary.cut), (r#"{"a":1}"#, Cut::Bare));
    assert_eq!(summary.score, Score::clamped(85.0));
}

#[test]
fn an_identifier_repeated_without_end_does_not_push_the_score_out() {
    let answer = scored(85.0, Level::High);
    let paths: Vec<_> = (0..1000).map(|index| format!("/users/{index}/name")).collect();
    let entities = [entity(EntityKind::User, "jdoe", &paths, hit(&answer))];
    let bounded = composer(OutputFormat::Envelope, OnConflict::Rename, 1000);
    let (text, summary) = compose(&bounded, r#"{"a":1}"#, &entities);
    assert_eq!(summary.cut, Cut::Details);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["risk"]["entities"][0]["paths"], json!(["/users/0/name"]));
}

#[test]
fn an_alert_of_no_known_format_and_entities_beyond_the_bound_are_marked() {
    let input = Input {
        original: b"{}",
        shape: &shape("{}"),
        format: None,
        entities_cut: 7,
        key_and_header_bytes: 0,
    };
    let mut out = Vec::new();
    envelope().compose(input, &[], &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"risk":{"schema":"riskstream/v1","status":"partial","format":"unknown","entities_cut":7,"entities":[]}}"#
    );
}

#[test]
fn a_stale_answer_says_so_and_why() {
    let answer = unknown();
    let source = Source::Stale(FailureKind::BreakerOpen);
    let stale = user(Outcome::Answered { answer: answer.get(), age: Duration::from_secs(90_000), source });
    let mut out = b"before".to_vec();
    envelope().one(&stale, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"kind":"user","value":"jdoe","paths":[],"provider":"datadog","status":"unknown","detail":"no_level","as_of":"2026-05-29T14:23:27Z","age_seconds":90000,"source":"stale","stale_reason":"breaker_open"}"#
    );
}

/// One of each outcome, as a format would find them.
fn example(format: OutputFormat, alert: &str, places: [&str; 4]) -> String {
    let paths = places.map(|place| vec![place.to_owned()]);
    let (high, low, nothing) = (scored(85.5, Level::Critical), scored(20.0, Level::Low), unknown());
    let entities = [
        entity(EntityKind::User, "jdoe", &paths[0], hit(&high)),
        entity(EntityKind::Host, "ws-17", &paths[1], hit(&low)),
        entity(EntityKind::Ip, "10.0.0.1", &paths[2], hit(&nothing)),
        entity(EntityKind::User, "O'Neil \"x\"", &paths[3], Outcome::Failed(FailureKind::Timeout)),
        entity(EntityKind::File, "a.exe", &[], Outcome::Unrouted),
    ];
    let composer = composer(format, OnConflict::Rename, usize::MAX);
    let (once, _) = compose(&composer, alert, &entities);
    let (twice, _) = compose(&composer, &once, &entities);
    assert_eq!(once, twice);
    // When nothing is known any more, what we overwrote is back and what we added is gone.
    let (bare, _) = compose(&Composer { max_bytes: 0, ..composer }, &once, &[]);
    format!("{}\n\nrestored: {bare}", pretty(&once))
}

#[test]
fn an_alert_in_the_envelope() {
    insta::assert_snapshot!(example(
        OutputFormat::Envelope,
        r#"{"id":"a1","user":{"name":"jdoe"}}"#,
        ["/user/name", "/host", "/ip", "/owner/name"],
    ));
}

#[test]
fn an_alert_as_ocsf() {
    let alert = r#"{"class_uid":2004,"risk_score":12.50,"actor":{"user":{"name":"jdoe","risk_level":"Low"}},
        "device":{"hostname":"ws-17","ip":"10.0.0.1"},"unmapped":{"x":1},
        "enrichments":[{"name":"device.ip","value":"10.0.0.1","data":{"country":"NZ"}}],
        "evidences":[{"user":{"name":"oneil"}}]}"#;
    insta::assert_snapshot!(example(
        OutputFormat::Ocsf,
        alert,
        ["/actor/user/name", "/device/hostname", "/device/ip", "/evidences/0/user/name"],
    ));
}

#[test]
fn an_alert_as_nested_ecs() {
    let alert = r#"{"@timestamp":"2026-05-29T14:00:00Z","event":{"risk_score":21.0,"kind":"alert"},
        "user":{"name":"jdoe","risk":{"calculated_score":1.50,"static_level":"Low"}},"host":{"name":"ws-17"}}"#;
    insta::assert_snapshot!(example(
        OutputFormat::Ecs,
        alert,
        ["/user/name", "/host/name", "/source/ip", "/source/user/name"],
    ));
}

#[test]
fn an_alert_as_dotted_ecs() {
    let alert = r#"{"@timestamp":"2026-05-29T14:00:00Z","user.name":"jdoe","user.risk.static_level":"Low",
        "host":{"risk.calculated_level":"High","name":"ws-17"},"riskstream":"somebody else's"}"#;
    insta::assert_snapshot!(example(
        OutputFormat::Ecs,
        alert,
        ["/user.name", "/host/name", "/source.ip", "/source.user.name"],
    ));
}

#[test]
fn what_stands_in_the_way_in_ecs_stays() {
    let answer = scored(85.0, Level::High);
    let paths = ["/user.name".to_owned()];
    let entities = [entity(EntityKind::User, "jdoe", &paths, hit(&answer))];
    let ecs = composer(OutputFormat::Ecs, OnConflict::Rename, usize::MAX);
    let (text, _) = compose(&ecs, r#"{"user":{"risk":"high"}}"#, &entities);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["user"], json!({"risk": "high"}));
    assert_eq!(value["event"]["risk_score"], 85);
    assert_eq!(value["riskstream"]["entities"][0]["score"], 85);
}

#[test]
fn a_foreign_value_under_our_name_is_kept_and_comes_back() {
    let ocsf = composer(OutputFormat::Ocsf, OnConflict::Rename, usize::MAX);
    for alert in [
        r#"{"unmapped":{"riskstream":null,"x":1}}"#,
        r#"{"unmapped":"text","enrichments":{"a":1}}"#,
        r#"{"unmapped":null}"#,
    ] {
        let (once, _) = compose(&ocsf, alert, &[]);
        assert!(once.contains(r#""original":{"/"#), "{once}");
        assert_eq!(compose(&ocsf, &once, &[]).0, once);
        let (restored, _) = compose(&Composer { max_bytes: 0, ..ocsf.clone() }, &once, &[]);
        assert_eq!(restored.replace(r#","enrichments":[]"#, ""), alert);
    }
}

#[test]
fn a_forged_record_cannot_bring_back_what_speaks_in_our_name() {
    let ours = r#"{"schema":"riskstream/v1","score":0}"#;
    let alert = format!(
        r#"{{"risk":{ours},"enrichments":1,"unmapped":{{"riskstream":{{"schema":"riskstream/v1",
        "written":["/enrichments","/unmapped","/unmapped/riskstream","/class_uid"],
        "original":{{"/enrichments":[{{"data":{ours}}}],"/unmapped":{{"riskstream":{ours}}},"/unmapped/riskstream":{ours},
        "/class_uid":1}}}}}},"class_uid":2004}}"#
    );
    let ocsf = composer(OutputFormat::Ocsf, OnConflict::Rename, 0);
    assert_eq!(compose(&ocsf, &alert, &[]).0, r#"{"enrichments":1,"unmapped":{},"class_uid":2004}"#);
    let alert = format!(
        r#"{{"a":1,"riskstream":{{"schema":"riskstream/v1","written":["riskstream","a"],"original":{{"riskstream":{ours},"a":2}}}}}}"#
    );
    let ecs = composer(OutputFormat::Ecs, OnConflict::Rename, 0);
    assert_eq!(compose(&ecs, &alert, &[]).0, r#"{"a":1}"#);
}

/// JSON texts with odd spellings and with the names that formats look at.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("-1.50E+2".to_owned()),
        Just("12345678901234567890123".to_owned()),
        Just("{}".to_owned()),
        Just("[ ]".to_owned()),
        Just(r#"{"schema":"riskstream/v0"}"#.to_owned()),
        Just(r#""\ud83d\ude00 \/ }""#.to_owned()),
        ".{0,8}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            any_object(inner.clone()),
            proptest::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(" , "))),
        ]
    })
}

fn any_object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let name = prop_oneof![
        proptest::sample::select(vec![
            "risk",
            "r\\u0069sk",
            "riskstream",
            "user",
            "user.name",
            "user.risk",
            "host",
            "event",
            "static_score",
            "user.risk.static_level",
            "risk.static_score_norm",
            "event.risk_score",
            "risk_score",
            "risk_level",
            "device",
            "unmapped",
            "enrichments",
            "data",
            "class_uid",
            "schema",
            "written",
            "original",
            "name",
        ])
        .prop_map(str::to_owned),
        "[a-z.]{0,3}",
    ];
    let space = proptest::sample::select(vec!["", " ", "\n\t"]);
    proptest::collection::vec((name, value, space), 0..5).prop_map(|members| {
        let members = members.into_iter().map(|(name, value, s)| format!("{s}\"{name}\"{s}:{s}{value}{s}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

/// An owned entity: kind, value, paths, what became of it.
type Found = (EntityKind, String, Vec<String>, usize);

fn any_entities() -> impl Strategy<Value = Vec<Found>> {
    let path = proptest::sample::select(vec![
        "/user/name",
        "/user.name",
        "/host/name",
        "/agent/id",
        "/device/hostname",
        "/actor/user/uid",
        "/a~1b/0",
        "/user/0/name",
        "/\"\\",
    ])
    .prop_map(str::to_owned);
    let kind = proptest::sample::select(EntityKind::ALL.to_vec());
    proptest::collection::vec((kind, ".{0,12}", proptest::collection::vec(path, 0..3), 0usize..5), 0..4)
}

fn with_entities<T>(found: &[Found], use_them: impl FnOnce(&[EntityOutcome<'_>]) -> T) -> T {
    let answers = [scored(85.5, Level::Critical), scored(3.0, Level::Low), unknown()];
    let outcomes: Vec<_> = found
        .iter()
        .map(|(kind, value, paths, what)| {
            let outcome = match answers.get(*what) {
                Some(answer) => hit(answer),
                None if *what == 3 => Outcome::Failed(FailureKind::Deadline),
                None => Outcome::Unrouted,
            };
            entity(*kind, value, paths, outcome)
        })
        .collect();
    use_them(&outcomes)
}

fn any_format() -> impl Strategy<Value = OutputFormat> {
    proptest::sample::select(vec![OutputFormat::Envelope, OutputFormat::Ocsf, OutputFormat::Ecs])
}

fn any_conflict() -> impl Strategy<Value = OnConflict> {
    proptest::sample::select(vec![OnConflict::Rename, OnConflict::Replace])
}

proptest! {
    #[test]
    fn taking_our_member_out_gives_the_alerts_bytes(alert in any_object(any_json()), found in any_entities()) {
        let before = shape(&alert);
        prop_assume!(before.members.iter().all(|member| !member.ours));
        let (enriched, _) = with_entities(&found, |entities| compose(&envelope(), &alert, entities));
        prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&enriched).is_ok());
        let nothing = composer(OutputFormat::Envelope, OnConflict::Rename, 0);
        prop_assert_eq!(compose(&nothing, &enriched, &[]).0, alert);
    }

    #[test]
    fn composing_twice_gives_what_composing_once_gives(
        alert in any_object(any_json()),
        found in any_entities(),
        format in any_format(),
        on_conflict in any_conflict(),
    ) {
        let composer = composer(format, on_conflict, usize::MAX);
        with_entities(&found, |entities| {
            let (once, summary) = compose(&composer, &alert, entities);
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&once).is_ok());
            prop_assert_eq!(compose(&composer, &once, entities), (once, summary));
            Ok(())
        })?;
    }

    #[test]
    fn what_was_overwritten_comes_back(
        alert in any_object(any_json()),
        found in any_entities(),
        format in any_format(),
    ) {
        let alert = alert.replace("riskstream/", "elsewhere/");
        let whole = composer(format, OnConflict::Rename, usize::MAX);
        let (enriched, _) = with_entities(&found, |entities| compose(&whole, &alert, entities));
        let (restored, _) = compose(&Composer { max_bytes: 0, ..whole }, &enriched, &[]);
        let value = |text: &str| pruned(serde_json::from_str(text).unwrap());
        prop_assert_eq!(value(&restored), value(&alert));
    }

    #[test]
    fn the_output_stays_within_the_bound_whenever_the_alert_does(
        alert in any_object(any_json()),
        found in any_entities(),
        format in any_format(),
        spare in 0usize..3000,
    ) {
        let max_bytes = alert.len() + OVERHEAD + headers::RESERVED + spare;
        let composer = composer(format, OnConflict::Rename, max_bytes);
        let (text, summary) = with_entities(&found, |entities| compose(&composer, &alert, entities));
        let mut headers = 0;
        headers::each(&summary, |name, value| headers += name.len() + value.len());
        prop_assert!(text.len() + OVERHEAD + headers <= max_bytes);
        prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
    }
}
