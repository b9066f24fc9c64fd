//! What holds for any alert: the one pass finds what a naive reading of the tree finds, and never panics.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;
use serde_json_path::JsonPath;

use super::*;

/// One rule for each kind, so that the kind tells the path.
const PATHS: [(&str, &str); 8] = [
    ("user", "/a/b"),
    ("host", "$.a[*]"),
    ("endpoint", "$.a[*].b"),
    ("cloud_identity", "$.*.c"),
    ("ip", "$.c[0]"),
    ("domain", "$.b.*[1].a"),
    ("file", "$.l[?@.a=='u'].b"),
    ("service_account", "/x/0/c"),
];

static SUBJECT: LazyLock<Decoder> = LazyLock::new(|| {
    let rules: String = PATHS
        .iter()
        .map(|(kind, path)| format!("  - {{kind: {kind}, ignore: [], paths: [\"{path}\"]}}\n"))
        .collect();
    let text = format!("name: mine\nmatch: [{{/never: 1}}]\nentities:\n{rules}");
    Decoder::new(
        Arc::new(Formats::with_user_files(&[("f".into(), text)]).unwrap()),
        Options { max_entities: 10_000, ..options() },
    )
});

/// The texts at a place, as the format language defines them: a text, a number, or each of a list of these.
fn texts(pointer: String, value: &Value, out: &mut Vec<(String, String)>) {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            out.extend(one(item).map(|text| (format!("{pointer}/{index}"), text)));
        }
    } else {
        out.extend(one(value).map(|text| (pointer, text)));
    }
}

/// The same by way of a tree: slow, and nearly too simple to be wrong.
fn reference(tree: &Value) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut entities: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (kind, path) in PATHS {
        let mut found = Vec::new();
        if path.starts_with('/') {
            if let Some(value) = tree.pointer(path) {
                texts(path.to_owned(), value, &mut found);
            }
        } else {
            for node in JsonPath::parse(path).unwrap().query_located(tree).iter() {
                texts(node.location().to_json_pointer(), node.node(), &mut found);
            }
        }
        let kind: EntityKind = kind.parse().unwrap();
        for (pointer, text) in found {
            if kind != EntityKind::Ip || text.parse::<std::net::IpAddr>().is_ok() {
                let id = crate::entity::canonical(kind, &text).into_owned();
                entities.entry((kind.label().to_owned(), id)).or_default().insert(pointer);
            }
        }
    }
    entities
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec!["u", "V", " w ", "10.0.0.1", "x\"y\\z", "é\u{1F600}", "", "a/b~c"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 5, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), object(inner).boxed()]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["a", "b", "c", "l", "x", "0", "1", "risk", "riskstream", "q\"\\"]);
    prop::collection::btree_map(key.prop_map(String::from), inner, 0..6)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// Two ways of writing the same document.
fn written(tree: &Value, pretty: bool) -> String {
    if pretty { serde_json::to_string_pretty(tree).unwrap() } else { tree.to_string() }
}

proptest! {
    #[test]
    fn one_pass_finds_what_the_tree_has(tree in object(value()), pretty: bool) {
        let decoder = &*SUBJECT;
        let named = Select::Named(decoder.formats().id("mine").unwrap());
        let text = written(&tree, pretty);
        let mut scratch = Scratch::default();
        let decoded = decoder.decode(text.as_bytes(), named, &mut scratch).unwrap();
        let mut entities = BTreeMap::new();
        for (kind, value, paths) in found(&decoded) {
            let id = crate::entity::canonical(kind, value).into_owned();
            let paths: BTreeSet<String> = paths.into_iter().map(String::from).collect();
            prop_assert!(entities.insert((kind.label().to_owned(), id), paths).is_none(), "found twice");
        }
        prop_assert_eq!(entities, reference(&tree));
    }

    #[test]
    fn a_member_spliced_in_before_the_brace_gives_valid_json(
        tree in object(value()), pretty: bool, before in "[ \n]{0,3}", after in "[ \t\r\n]{0,3}",
    ) {
        let text = format!("{before}{}{after}", written(&tree, pretty));
        let shape = decode(&decoder(), &text).unwrap().shape;
        prop_assert_eq!(&text[shape.close..=shape.close], "}");
        prop_assert_eq!(shape.empty, tree.as_object().unwrap().is_empty());
        let comma = if shape.empty { "" } else { "," };
        let spliced = format!("{}{comma}\"new\":1{}", &text[..shape.close], &text[shape.close..]);
        let spliced: Value = serde_json::from_str(&spliced).unwrap();
        prop_assert_eq!(&spliced["new"], &Value::from(1));
        for key in ["risk", "riskstream"] {
            let noted: Vec<_> = shape.members.iter().filter(|m| m.fallback == (key == "riskstream")).collect();
            prop_assert_eq!(noted.len(), usize::from(tree.get(key).is_some()));
            for member in noted {
                let alone: Value = serde_json::from_str(&format!("{{{}}}", &text[member.span.clone()])).unwrap();
                prop_assert_eq!(alone.get(key), tree.get(key));
            }
        }
    }

    #[test]
    fn planted_identifiers_are_found_where_they_were_planted(
        mut tree in object(value()), id in "[a-z]{3,12}@example\\.com", host in "[a-z]{3,12}-[0-9]{1,4}",
    ) {
        let root = tree.as_object_mut().unwrap();
        root.insert("ecs".into(), json!({"version": "8.11"}));
        root.insert("user".into(), json!({"email": id, "junk": root.get("a").cloned()}));
        root.insert("host.name".into(), json!([host]));
        let text = tree.to_string();
        let decoder = decoder();
        let decoded = decode(&decoder, &text).unwrap();
        prop_assert_eq!(decoded.format.map(|id| decoder.formats().name(id)), Some("ecs"));
        let mut entities = found(&decoded);
        entities.sort();
        prop_assert_eq!(
            entities,
            vec![
                (EntityKind::User, id.as_str(), vec!["/user/email"]),
                (EntityKind::Host, host.as_str(), vec!["/host.name/0"]),
            ]
        );
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoder().decode(&bytes, Select::Auto, &mut Scratch::default());
    }

    #[test]
    fn no_change_of_a_sample_makes_it_panic(line in 0usize..36, at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = EXAMPLES.lines().nth(line).unwrap().as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let accepted = decoder().decode(&bytes, Select::Auto, &mut Scratch::default()).is_ok();
        prop_assert_eq!(accepted, serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() && std::str::from_utf8(&bytes).is_ok());
    }
}
