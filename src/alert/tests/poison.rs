//! Bytes that no producer should send, and the shape of what it does send.

use super::*;

fn label(text: &str) -> &'static str {
    decode(&decoder(), text).map_or_else(|error| error.label(), |_| "decoded")
}

#[test]
fn what_is_no_json_object_is_refused_by_kind() {
    for (text, wanted) in [
        ("", "empty"),
        (" \r\n\t", "empty"),
        ("[]", "not_an_object"),
        (" [1] ", "not_an_object"),
        ("\"alert\"", "not_an_object"),
        ("1", "not_an_object"),
        ("null", "not_an_object"),
        ("true", "not_an_object"),
        ("[1", "not_json"),
        ("{", "not_json"),
        ("{\"a\":NaN}", "not_json"),
        ("{\"a\":Infinity}", "not_json"),
        ("{\"a\":01}", "not_json"),
        ("{\"a\":1,}", "not_json"),
        ("{'a':1}", "not_json"),
        ("{\"a\":\"\u{1}\"}", "not_json"),
        ("{\"a\":\"\\x\"}", "not_json"),
        ("{\"a\u{0}\":1}", "not_json"),
        ("{\"user\":{\"a\n\":1}}", "not_json"),
        ("<html>", "not_json"),
        ("\u{feff}{}", "not_json"),
        ("{}{}", "trailing_bytes"),
        ("{} x", "trailing_bytes"),
        ("{}\0", "trailing_bytes"),
        ("1 2", "trailing_bytes"),
        ("{}", "decoded"),
        ("\n {\"a\": 1e999, \"b\": \"\\ud800\", \"\\ud800\": {}} \r\n", "decoded"),
    ] {
        assert_eq!(label(text), wanted, "{text:?}");
    }
}

#[test]
fn valid_json_that_the_parsers_own_types_cannot_hold_is_read_where_rules_look() {
    let text = r#"{"eventVersion":"1","eventSource":"s","userIdentity":1e999,"sourceIPAddress":"192.0.2.1"}"#;
    let decoder = decoder();
    let decoded = decode(&decoder, text).unwrap();
    assert_eq!(found(&decoded), [(EntityKind::Ip, "192.0.2.1", vec!["/sourceIPAddress"])]);
    let text = r#"{"detail":"\ud800","detail":1e999,"ecs":{"version":8,"\udead":[]},"user":{"name":"a"}}"#;
    let decoded = decode(&decoder, text).unwrap();
    assert_eq!(found(&decoded), [(EntityKind::User, "a", vec!["/user/name"])]);
}

#[test]
fn errors_say_where_and_hold_no_alert_content() {
    let secret = "{\"password\":\"hunter2\",\n\"b\":hunter2}";
    let error = decode(&decoder(), secret).unwrap_err();
    assert_eq!(error, DecodeError::NotJson { line: 2, column: 5, what: "expected value" });
    assert!(!error.to_string().contains("hunter2"));
    assert!(decode(&decoder(), "\u{feff}{}").unwrap_err().to_string().contains("byte order mark"));
    let error = decoder().decode(b"{\"a\":\"\xff\"}", Select::Auto, &mut Scratch::default()).unwrap_err();
    assert_eq!(error, DecodeError::NotUtf8 { offset: 6 });
    assert_eq!(decode(&decoder(), "{}\n {}").unwrap_err(), DecodeError::TrailingBytes { line: 2, column: 2 });
}

#[test]
fn a_million_levels_are_too_deep_wherever_they_stand() {
    let deep = 1_000_000;
    let decoder = Decoder::new(Arc::new(Formats::built_in()), Options { max_bytes: 100 << 20, ..options() });
    for text in [
        "[".repeat(deep),
        format!("{{\"a\":{}{}}}", "[".repeat(deep), "]".repeat(deep)),
        format!("{{\"userIdentity\":{}1{}}}", "{\"arn\":".repeat(deep), "}".repeat(deep)),
        format!("{{\"risk\":{}1{}}}", "{\"schema\":".repeat(deep), "}".repeat(deep)),
    ] {
        let error = decoder.decode(text.as_bytes(), Select::Auto, &mut Scratch::default()).unwrap_err();
        assert_eq!(error, DecodeError::TooDeep { max: 512 });
    }
}

#[test]
fn depth_counts_levels_and_not_brackets() {
    let decoder = Decoder::new(Arc::new(Formats::built_in()), Options { max_depth: 3, ..options() });
    assert!(decode(&decoder, r#"{"a":[[1]],"b":[[2]],"c":"[[[[[[\"[[["}"#).is_ok());
    assert_eq!(decode(&decoder, r#"{"a":[[{}]]}"#).unwrap_err().label(), "too_deep");
    // Deep, yet allowed: nothing overflows, wherever it stands.
    let decoder = Decoder::new(
        Arc::new(Formats::built_in()),
        Options { max_depth: 2_000_000, max_bytes: 1 << 30, ..options() },
    );
    for key in ["a", "userIdentity", "risk", "evidence", "Entities"] {
        let text = format!("{{\"{key}\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(decode(&decoder, &text).is_ok(), "{key}");
    }
}

#[test]
fn an_alert_longer_than_allowed_is_too_large() {
    let decoder = Decoder::new(Arc::new(Formats::built_in()), Options { max_bytes: 10, ..options() });
    assert!(decode(&decoder, "{\"a\": 123}").is_ok());
    assert_eq!(decode(&decoder, "{\"a\": 1234}").unwrap_err(), DecodeError::TooLarge { bytes: 11, max: 10 });
}

#[test]
fn a_sample_cut_at_any_byte_is_refused() {
    let decoder = decoder();
    let mut scratch = Scratch::default();
    for line in EXAMPLES.lines().step_by(5) {
        for cut in 0..line.len() {
            let result = decoder.decode(&line.as_bytes()[..cut], Select::Auto, &mut scratch);
            assert!(matches!(result, Err(DecodeError::NotJson { .. } | DecodeError::Empty)), "{cut}");
        }
    }
}

#[test]
fn the_scratch_carries_nothing_from_one_alert_to_the_next() {
    let decoder = decoder();
    let mut scratch = Scratch::default();
    let cut = EXAMPLES.lines().next().unwrap();
    let _ = decoder.decode(&cut.as_bytes()[..cut.len() - 1], Select::Auto, &mut scratch);
    let decoded = decoder.decode(b"{}", Select::Auto, &mut scratch).unwrap();
    assert_eq!((decoded.format, decoded.found.len()), (None, 0));
}

#[test]
fn a_name_of_half_an_alert_above_thousands_of_entities_is_written_down_a_few_times_at_most() {
    let name = "n".repeat(100_000);
    let pairs: String = (0..3000).map(|n| format!(r#"{{"k":"Actor","v":"u{n}"}},"#)).collect();
    let alert = format!(r#"{{"id":1,"x":{{"{name}":{{"list":[{pairs}null]}}}}}}"#);
    let sources = [
        "{pairs: {Actor: user}, name: k, value: v, paths: ['$.x.*.list[*]']}",
        "{kind: user, paths: ['$.x.*.list[*].v']}",
        // A filter: what is below it is for the library.
        "{kind: user, paths: [\"$.x[?@.list].list[?@.k=='Actor'].v\"]}",
    ];
    for source in sources {
        let decoder = with(&format!("name: mine\nmatch: [{{/id: {{present: true}}}}]\nentities: [{source}]"));
        let mut scratch = Scratch::default();
        let decoded = decoder.decode(alert.as_bytes(), Select::Auto, &mut scratch).unwrap();
        assert_eq!((decoded.found.len(), decoded.entities_cut), (100, 2900), "{source}");
        let first = decoded.found.get(0).unwrap();
        assert_eq!(first.value, "u0", "{source}");
        assert_eq!(first.paths.iter().collect::<Vec<_>>(), [format!("/x/{name}/list/0/v")], "{source}");
        let pointers: usize = decoded.found.iter().flat_map(|found| found.paths.iter()).map(str::len).sum();
        assert!(pointers < 2_000_000, "{source}: {pointers}");
        assert!(scratch.memory.written() < 2_000_000, "{source}: {}", scratch.memory.written());
    }
}

#[test]
fn the_shape_names_the_closing_brace_and_whether_there_is_a_member() {
    let decoder = decoder();
    let shape = |text: &str| decode(&decoder, text).unwrap().shape;
    assert_eq!(shape("{}"), Shape { close: 1, empty: true, members: vec![] });
    assert_eq!(shape(" { } \n"), Shape { close: 3, empty: true, members: vec![] });
    assert_eq!(shape("{\"a\":{}}"), Shape { close: 7, empty: false, members: vec![] });
    assert_eq!(shape("{\"\":1} "), Shape { close: 5, empty: false, members: vec![] });
}

#[test]
fn every_top_level_occurrence_of_the_output_member_is_noted() {
    let text = concat!(
        r#"{"risk":{"schema":"riskstream/v1","score":1},"#,
        r#""r\u0069sk" : "mine","a":{"risk":1},"ri\\sk":1,"\"risk":2,"#,
        r#" "riskstream": {"x":[1,2],"sch\u0065ma":"risks\u0074ream/v9"} ,"risk":{"schema":1},"risk":null}"#
    );
    let decoder = decoder();
    let members = decode(&decoder, text).unwrap().shape.members;
    let seen: Vec<_> = members.iter().map(|m| (&text[m.span.clone()], m.ours, m.fallback)).collect();
    assert_eq!(
        seen,
        [
            (r#""risk":{"schema":"riskstream/v1","score":1}"#, true, false),
            (r#""r\u0069sk" : "mine""#, false, false),
            (r#""riskstream": {"x":[1,2],"sch\u0065ma":"risks\u0074ream/v9"}"#, true, true),
            (r#""risk":{"schema":1}"#, false, false),
            (r#""risk":null"#, false, false),
        ]
    );
}

#[test]
fn an_output_member_whose_name_needs_escapes_is_found() {
    let options = Options { member: "my \"risk\"\\".into(), ..options() };
    let decoder = Decoder::new(Arc::new(Formats::built_in()), options);
    let text = r#"{"a\"":1,"my \"risk\"\\":{}}"#;
    let members = decode(&decoder, text).unwrap().shape.members;
    assert_eq!(members.len(), 1);
    assert_eq!(&text[members[0].span.clone()], r#""my \"risk\"\\":{}"#);
}

#[test]
fn entities_in_a_foreign_output_member_count_and_in_ours_do_not() {
    let decoder =
        with("{name: mine, match: [{/id: {present: true}}], entities: [{kind: user, paths: [/risk/user]}]}");
    for (text, count) in [
        (r#"{"id":1,"risk":{"user":"a"}}"#, 1),
        (r#"{"id":1,"risk":{"user":"a","schema":"riskstream/v1"}}"#, 0),
    ] {
        assert_eq!(decode(&decoder, text).unwrap().found.len(), count, "{text}");
    }
}
