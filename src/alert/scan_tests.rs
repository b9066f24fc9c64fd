//! The scanner against `serde_json`, which says what is JSON.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn accepts(text: &str) -> bool {
    let (mut scanner, mut open) = (Scanner::new(text), Open::default());
    let accepted = scanner.skip(&mut open).is_ok() && scanner.is_over();
    assert!(!accepted || open.depth == 0);
    accepted
}

fn agrees(text: &str) {
    assert_eq!(accepts(text), serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text:?}");
}

#[test]
fn what_is_json_is_what_serde_json_skips() {
    for text in [
        "",
        " ",
        "{}",
        "[]",
        " [ ] ",
        "{ }",
        "{",
        "}",
        "[",
        "]",
        "[}",
        "{]",
        "[,]",
        "[1,]",
        "[1 2]",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":1,"b":[{"c":null}]}"#,
        "{1:2}",
        r#"{"a":1}}"#,
        "[[[[]]]]",
        "[[[]]",
        "0",
        "-0",
        "01",
        "-01",
        "1.",
        ".1",
        "1.0",
        "1.e1",
        "1e",
        "1e+",
        "1e+9",
        "1E-99999",
        "1e999",
        "-",
        "--1",
        "+1",
        "0x1",
        "1_0",
        "1a",
        "123456789012345678901234567890",
        "true",
        "tru",
        "truee",
        "false",
        "null",
        "nul",
        "True",
        r#""""#,
        r#"""#,
        r#""a"#,
        r#""a\"#,
        r#""\x""#,
        r#""\u12""#,
        r#""\u12G4""#,
        r#""\u0041""#,
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\"\\\/\b\f\n\r\t""#,
        "\"\t\"",
        "\"\n\"",
        "\"\u{1f}\"",
        "\"\u{7f}\"",
        "\"\u{0}\"",
        "\u{0}",
        "\"\u{e9}\u{1f600}\"",
        "\u{feff}1",
        "\u{a0}1",
        "1\u{b}",
        "\t\r\n 1 \t\r\n",
        "\"seven77\"",
        "\"eight888\"",
        "\"nine99999\"",
        "nan",
        "Infinity",
        "[1,2,3,[4,{\"a\":[]}],\"x\"]",
        "// 1",
        "1 1",
        "\"a\" \"b\"",
        "'a'",
        "{\"a\":1,\"a\":2}",
    ] {
        agrees(text);
    }
}

#[test]
fn depth_costs_neither_the_stack_nor_a_wrong_answer() {
    let deep = format!("{}1{}", "[{\"a\":".repeat(100_000), "}]".repeat(100_000));
    assert!(accepts(&deep));
    assert!(!accepts(deep.get(..deep.len() - 1).unwrap_or_default()));
}

#[test]
fn every_bracket_is_closed_by_its_own_kind_at_every_depth() {
    for depth in 1..300 {
        let (open, close) = ("[{\"a\":".repeat(depth), "}]".repeat(depth));
        assert!(accepts(&format!("{open}[1,[2]],\"b\":[]{close}")), "{depth}");
        for at in [0, depth - 1, depth, 2 * depth - 1] {
            let mut wrong = close.clone().into_bytes();
            if let Some(byte) = wrong.get_mut(at) {
                *byte = if *byte == b'}' { b']' } else { b'}' };
            }
            let wrong = String::from_utf8(wrong).unwrap_or_default();
            assert!(!accepts(&format!("{open}1{wrong}")), "{depth}, {at}");
        }
    }
}

#[test]
fn a_key_is_seen_as_it_is_written() {
    let text = " \"a\\u0062\" : 1";
    let mut scanner = Scanner::new(text);
    let key = scanner.key();
    assert_eq!(key, Ok(Key { written: "a\\u0062", is_escaped: true, start: 1 }));
    assert_eq!(scanner.value(&mut Open::default()), Ok("1"));
    assert!(scanner.is_over());
}

/// Pieces of JSON, right and wrong, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\"",
        "\"a\"",
        "\"a\":",
        "\\",
        "\\\"",
        "\\u",
        "00e9",
        "\\ud83d",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E",
        "true",
        "false",
        "null",
        "t",
        "\u{1}",
        "\u{e9}",
        "longer than eight",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn pieces_in_any_order_are_judged_as_serde_json_does(text in pieces()) {
        agrees(&text);
    }

    #[test]
    fn any_text_is_judged_as_serde_json_does(text in any::<String>()) {
        agrees(&text);
        agrees(&format!("\"{text}\""));
    }

    #[test]
    fn a_document_with_one_byte_changed_is_judged_as_serde_json_does(
        value in json(),
        at in any::<prop::sample::Index>(),
        byte in 0u8..128,
    ) {
        let mut bytes = value.to_string().into_bytes();
        agrees(&value.to_string());
        let at = at.index(bytes.len());
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            agrees(&text);
        }
    }
}
