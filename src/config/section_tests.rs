//! What readers accept, and what they say about the rest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use proptest::prelude::*;

use super::{Document, Section, parse_for_tests};

/// Reads `yaml` with `read` and gives the problems as lines.
fn problems(yaml: &str, read: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
    let document = Document::parse("t.yaml", yaml, []);
    let mut root = document.root();
    read(&mut root);
    root.finish();
    document.problems().iter().map(ToString::to_string).collect()
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn values_are_read_as_they_are_spelled() {
    let document = parse_for_tests(
        "id: 007\nflag: true\nratio: 0.5\nwait: 250ms\nsize: 64MiB\nkey: literal\nlist: [a, 1]\none: x\nnone: ~\n",
    );
    let mut root = document.root();
    assert_eq!(root.text("id").as_deref(), Some("007"));
    assert_eq!(root.flag("flag"), Some(true));
    assert_eq!(root.number("ratio", 0.0..=1.0), Some(0.5));
    assert_eq!(root.duration("wait"), Some(Duration::from_millis(250)));
    assert_eq!(root.bytes("size"), Some(64 << 20));
    assert!(root.secret("key").is_some());
    assert_eq!(root.texts("list"), Some(vec!["a".to_owned(), "1".to_owned()]));
    assert_eq!(root.texts("one"), Some(vec!["x".to_owned()]));
    assert!(!root.has("none") && root.text("none").is_none());
    assert!(root.text("absent").is_none());
    root.finish();
    assert!(document.problems().is_empty(), "{}", document.problems());
}

#[test]
fn a_problem_says_file_line_column_key_value_and_cure() {
    let lines = problems("a: 1\nb:\n  wait: 5\n", |root| {
        root.integer("a", 2..=3);
        root.section("b").unwrap().duration("wait");
    });
    assert_eq!(
        lines,
        [
            "t.yaml:1:4: a: out of range (given: 1); write a whole number from 2 to 3",
            "t.yaml:3:9: b.wait: not a duration (given: 5); add the unit: 5s or 5ms",
        ]
    );
}

#[test]
fn an_unknown_key_names_the_nearest_known_one_and_not_its_value() {
    let lines = problems("timout: hunter2\nzebra: 1\n", |root| {
        root.know(&["timeout", "limit"]);
    });
    assert_eq!(
        lines,
        [
            "t.yaml:1:1: timout: unknown key; write timeout",
            "t.yaml:2:1: zebra: unknown key; remove it; known here: limit, timeout",
        ]
    );
}

#[test]
fn a_missing_key_shows_an_example() {
    let lines = problems("{}\n", |root| {
        root.required_text("project", "my-project-1");
        root.required_secret("token");
    });
    assert_eq!(
        lines,
        [
            "t.yaml:1:1: project: missing; write project: my-project-1",
            "t.yaml:1:1: token: missing; write token: {env: NAME} or token: {file: PATH}",
        ]
    );
}

#[test]
fn a_word_outside_the_choice_gets_the_choice() {
    let lines = problems("order: partitoin\n", |root| {
        root.choice("order", &[("partition", 1), ("key", 2), ("none", 3)]);
    });
    assert_eq!(
        lines,
        [
            "t.yaml:1:8: order: not a choice, nearest is partition (given: partitoin); write partition, key or none"
        ]
    );
}

#[test]
fn wrong_forms_are_named() {
    let lines = problems("a: [1]\nb: {c: d}\nc: word\nd: word\ne: yes\n", |root| {
        root.text("a");
        root.texts("b");
        root.section("c");
        root.list("d");
        root.flag("e");
    });
    assert_eq!(
        lines,
        [
            "t.yaml:1:4: a: not a single value (given: a list); write one value",
            "t.yaml:2:4: b: not a list (given: a mapping); write a list of words: [...], or lines that begin with `- `",
            "t.yaml:3:4: c: not a mapping; write `key: value` lines, indented, or {key: value}",
            "t.yaml:4:4: d: not a list; write a list of mappings: [...], or lines that begin with `- `",
            "t.yaml:5:4: e: not a flag in YAML 1.2 (given: yes); write true",
        ]
    );
}

#[test]
fn a_literal_secret_is_refused_and_never_repeated() {
    let document = Document::parse("t.yaml", "{api_key: hunter2, wait: hunter3, api_keyy: hunter4}\n", []);
    let mut root = document.root();
    assert!(root.secret("api_key").is_none());
    root.duration("wait");
    root.finish();
    let problems = document.problems();
    assert_eq!(problems.len(), 3);
    for text in [problems.to_string(), problems.for_people(false, 100), problems.json_lines()] {
        assert!(!text.contains("hunter2") && !text.contains("hunter4"), "{text}");
        // What was read as a duration is no secret, and shown.
        assert!(text.contains("hunter3"), "{text}");
    }
}

#[test]
fn a_secret_that_is_not_there_is_a_problem_with_its_cure() {
    let yaml = "a: {env: GONE}\nb: {env: EMPTY}\nc: {file: no/such}\nd: {env: X, file: y}\ne: {}\nf: {evn: X}\ng: [x]\n";
    let document = Document::parse("t.yaml", yaml, env(&[("EMPTY", "\n")]));
    let mut root = document.root();
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        assert!(root.secret(key).is_none(), "{key}");
    }
    let lines: Vec<_> = document.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines[0],
        "t.yaml:1:10: a.env: the environment variable is not set (given: GONE); set GONE, or write {file: PATH}"
    );
    assert_eq!(
        lines[1],
        "t.yaml:2:10: b.env: the environment variable is empty (given: EMPTY); set EMPTY, or write {file: PATH}"
    );
    assert!(lines[2].starts_with("t.yaml:3:11: c.file: the file cannot be read"), "{}", lines[2]);
    assert_eq!(lines[3], "t.yaml:4:4: d: both env and file; write {env: NAME} or {file: PATH}");
    assert_eq!(lines[4], "t.yaml:5:4: e: neither env nor file; write {env: NAME} or {file: PATH}");
    assert_eq!(lines[5], "t.yaml:6:4: f: neither env nor file; write {env: NAME} or {file: PATH}");
    assert_eq!(lines[6], "t.yaml:6:5: f.evn: unknown key; write env");
    assert_eq!(lines[7], "t.yaml:7:4: g: not a secret; write {env: NAME} or {file: PATH}");
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    for text in ["https://me:hunter2@proxy", "https://proxy/?token=hunter2"] {
        let found = problems(&format!("proxy: {text}\n"), |root| {
            assert!(root.url("proxy").is_none());
        });
        assert!(found[0].starts_with("t.yaml:1:8: proxy: ") && !found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn an_address_that_cannot_be_used_says_what_to_write() {
    let found = problems("base_url: ftp://x\n", |root| assert!(root.url("base_url").is_none()));
    assert!(found[0].contains("(given: ftp://x); write https://"), "{found:?}");
}

#[test]
fn a_secret_in_the_place_of_its_name_is_not_repeated() {
    let document = Document::parse("t.yaml", "a: {env: hunter2}\n", []);
    assert!(document.root().secret("a").is_none());
    let shown = document.problems().for_people(false, 100) + &document.problems().to_string();
    assert!(!shown.contains("hunter2") && shown.contains("the environment variable is not set"), "{shown}");
}

#[test]
fn one_value_of_a_variable_does_not_betray_its_neighbour() {
    let pair = [("RISKSTREAM__A".to_owned(), "{wait: 5, key: hunter2, empty: ''}".to_owned())];
    let document = Document::parse("t.yaml", "", pair);
    let mut section = document.root().section("a").unwrap();
    section.duration("wait");
    assert!(section.secret("key").is_some() && section.secret("empty").is_none());
    section.problem("key", "too short", "write a longer one");
    let text = document.problems().to_string();
    assert!(
        text.contains("(given: 5)") && text.contains("a.empty: empty") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn variables_are_laid_over_the_file() {
    let document = Document::parse(
        "t.yaml",
        "kafka: {brokers: [x:1], Group: g}\nroutes: [{provider: a}]\n",
        env(&[
            ("RISKSTREAM__KAFKA__BROKERS", "a:9092, b:9092"),
            ("riskstream__kafka__group", "'h: 1'"),
            ("RISKSTREAM__ROUTES__0__PROVIDER", "b"),
            ("RISKSTREAM__CACHE__TTL", "{scored: 1m}"),
            ("RISKSTREAM__API_KEY", "hunter2"),
            ("RISKSTREAM_PORT", "tcp://10.0.0.1"),
        ]),
    );
    let mut root = document.root();
    let mut kafka = root.section("kafka").unwrap();
    assert_eq!(kafka.texts("brokers").unwrap(), ["a:9092", "b:9092"]);
    assert_eq!(kafka.text("Group").as_deref(), Some("h: 1"));
    assert_eq!(root.list("routes").unwrap()[0].text("provider").as_deref(), Some("b"));
    let mut ttl = root.section("cache").unwrap().section("ttl").unwrap();
    assert_eq!(ttl.duration("scored"), Some(Duration::from_secs(60)));
    assert_eq!(format!("{:?}", root.secret("api_key").unwrap()), "Secret(env RISKSTREAM__API_KEY)");
    root.section("cache").unwrap().know(&["ttl"]);
    root.finish();
    assert!(document.problems().is_empty(), "{}", document.problems());
}

#[test]
fn a_problem_of_a_variable_names_the_variable() {
    let document = Document::parse(
        "t.yaml",
        "",
        env(&[
            ("RISKSTREAM__WAIT", "5"),
            ("RISKSTREAM__A", " "),
            ("RISKSTREAM__B", "[x"),
            ("RISKSTREAM____C", "1"),
        ]),
    );
    document.root().duration("wait");
    let mut lines: Vec<_> = document.problems().iter().map(ToString::to_string).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "environment variable RISKSTREAM__A: a: the variable is empty; unset it, or write null for the default",
            "environment variable RISKSTREAM__B: b: the value is not YAML; close its brackets and quotes, or put it in single quotes",
            "environment variable RISKSTREAM__WAIT: wait: not a duration (given: 5); add the unit: 5s or 5ms",
            "environment variable RISKSTREAM____C: .c: an empty level in the name; write two underscores between levels: RISKSTREAM__LOG__LEVEL",
        ]
    );
}

/// Reads everything in every way.
fn read_all(document: &Document) {
    let mut root = document.root();
    for key in ["a", "b", "c"] {
        let _ = (root.text(key), root.texts(key), root.flag(key), root.integer(key, 0..=9));
        let _ = (root.duration(key), root.bytes(key), root.secret(key), root.items(key).is_some());
        if let Some(mut inner) = root.section(key) {
            let _ = (inner.all_texts(), inner.sections().len());
            inner.finish();
        }
        let _ = root.list(key).map(|items| items.into_iter().for_each(Section::finish));
    }
    root.finish();
    let problems = document.problems();
    let _ = (problems.to_string(), problems.for_people(true, 80), problems.json_lines());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        read_all(&Document::parse("t.yaml", &text, []));
    }

    #[test]
    fn nothing_that_looks_like_yaml_panics(
        text in "([abc]|: |- |\\n|  |\\[|\\]|\\{|\\}|, |&x |\\*x|!t |'|\"|\\||>|#|---\\n|\\.\\.\\.|\\? |\\t|\\r\\n|é|~){0,40}",
    ) {
        read_all(&Document::parse("t.yaml", &text, []));
    }

    #[test]
    fn no_variable_panics(name in "[A-C_0-1]{0,8}", value in "\\PC{0,20}") {
        let name = format!("RISKSTREAM__{name}");
        read_all(&Document::parse("t.yaml", "a: {b: 1}\nb: [1, {a: 2}]\n", [(name, value)]));
    }

    #[test]
    fn what_was_not_read_as_text_is_never_shown(
        before in "[a-zé ]{0,9}", quote in "['\"]?", newline in "\n|\r\n", bom in "\u{feff}?",
    ) {
        let text = format!(
            "{bom}# {before}{newline}a: {{wait: x, api_key: {quote}hunter2{quote}, keyy: {quote}hunter2{quote}}}{newline}",
        );
        let document = Document::parse("t.yaml", &text, []);
        let mut section = document.root().section("a").unwrap();
        section.duration("wait");
        section.secret("api_key");
        section.finish();
        let shown = document.problems().for_people(false, 200);
        prop_assert!(shown.contains(&format!("[t.yaml:2:{}]", 11)), "{shown}");
        prop_assert!(!shown.contains("hunter"), "{shown}");
        prop_assert!(shown.contains("wait: x"), "{shown}");
    }
}

#[test]
fn deep_nesting_and_alias_bombs_are_refused() {
    for text in [
        "- ".repeat(100_000),
        "[".repeat(200),
        format!("{}x", "? ".repeat(5000)),
        (0..40)
            .map(|n| format!("k{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", if n == 0 { 0 } else { n - 1 }))
            .collect(),
        std::iter::once("k0: &a0 [x, x, x]\n".to_owned())
            .chain((1..40).map(|n| format!("k{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1)))
            .collect(),
    ] {
        let document = Document::parse("t.yaml", &text, []);
        assert_eq!(document.problems().len(), 1, "{}", document.problems());
        read_all(&document);
    }
}

#[test]
fn the_text_itself_can_be_wrong() {
    for (text, expected) in [
        ("a: 1\na: 2\n", "t.yaml:2:1: a: the key stands twice; first in line 1; remove one of the two"),
        ("a: 1\n---\nb: 2\n", "t.yaml:2:1: a second YAML document begins; keep one document"),
        ("- a\n", "t.yaml:1:1: not a mapping"),
        ("a: !secret x\n", "t.yaml:1:4: the tag !secret means nothing here; remove the tag"),
        ("[a]: x\n", "t.yaml:1:1: a key that is not a word; write `key: value`"),
        ("a: [1\nb: 2\n", "t.yaml:"),
        ("a:\n\tb: 1\n", "t.yaml:2:"),
    ] {
        let document = Document::parse("t.yaml", text, []);
        let problems = document.problems();
        assert!(problems.to_string().starts_with(expected), "{problems}");
    }
}

#[test]
fn a_syntax_error_hides_lines_that_sound_like_a_secret() {
    let document = Document::parse("t.yaml", "a:\n  api_key: \"hunter2\n  b: 'x\n", []);
    let problems = document.problems();
    assert_eq!(problems.len(), 1);
    assert!(!problems.for_people(false, 80).contains("hunter2"), "{}", problems.for_people(false, 80));
}

#[test]
fn a_secret_may_be_a_list_while_it_is_rotated_and_every_member_is_checked() {
    let document =
        Document::parse("t.yaml", "key: [{env: NEW}, {env: OLD}]\n", env(&[("NEW", "n"), ("OLD", "o")]));
    let secret = document.root().rotating_secret("key").unwrap();
    assert_eq!(format!("{secret:?}"), "[Secret(env NEW), Secret(env OLD)]");
    assert!(document.problems().is_empty(), "{}", document.problems());
    for (yaml, told) in [
        ("key: [{env: NOWHERE}, {env: NOBODY}]", 2),
        ("key: []", 1),
        ("key: [hunter2]", 1),
        ("key: [[hunter2]]", 1),
    ] {
        let found = problems(yaml, |section| assert!(section.rotating_secret("key").is_none()));
        assert_eq!(found.len(), told, "{found:?}");
        assert!(!found.join("").contains("hunter2"), "{found:?}");
    }
    // Keys that belong together change together.
    for (yaml, told) in [
        ("{one: [{env: A}, {env: A}], other: [{env: A}, {env: A}]}", 0),
        ("{one: {env: A}, other: [{env: A}, {env: A}]}", 0),
        ("{one: [{env: A}, {env: A}, {env: A}], other: [{env: A}, {env: A}]}", 1),
    ] {
        let document = Document::parse("t.yaml", yaml, env(&[("A", "a")]));
        assert!(document.root().required_rotating_pair(["one", "other"]).is_some());
        let found = document.problems().to_string();
        assert_eq!(found.contains("other: a list of 2, and one is one of 3"), told == 1, "{found}");
    }
    // Where no vendor is, one is enough.
    let found = problems("key: [hunter2]", |section| assert!(section.secret("key").is_none()));
    assert!(found[0].contains("not a secret") && !found[0].contains("hunter2"), "{found:?}");
}
