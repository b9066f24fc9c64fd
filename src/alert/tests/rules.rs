//! The rule language, one feature at a time.

use super::*;

/// Entities as `kind value path path...`.
fn entities(yaml_entities: &str, alert: &str) -> Vec<String> {
    let decoder =
        with(&format!("name: mine\npriority: 9\nmatch: [{{/id: {{present: true}}}}]\n{yaml_entities}"));
    let decoded = decode(&decoder, alert).unwrap();
    assert_eq!(decoded.format.map(|id| decoder.formats().name(id)), Some("mine"));
    found(&decoded).iter().map(|(kind, value, paths)| format!("{kind} {value} {}", paths.join(" "))).collect()
}

#[test]
fn numbers_are_identifiers_exactly_as_written() {
    let found = entities(
        "entities: [{kind: user, paths: [/n, '$.list[?@.t==1].n', '$.m[*]']}]",
        r#"{"id":1,"n":123456789012345678901234567890,"list":[{"t":1,"n":1e400},{"t":1,"n":18446744073709551617}],"m":[-0,1.10,true,null]}"#,
    );
    // The tree of a filter cannot hold 1e400, so that nothing of that list is read.
    assert_eq!(found, ["user 123456789012345678901234567890 /n", "user -0 /m/0", "user 1.10 /m/1"]);
    let found = entities(
        "entities: [{kind: user, paths: ['$.list[?@.t==1].n']}]",
        r#"{"id":1,"list":[{"t":2,"n":5},{"t":1,"n":18446744073709551617}]}"#,
    );
    assert_eq!(found, ["user 18446744073709551617 /list/1/n"]);
}

#[test]
fn two_spellings_are_one_entity_with_the_first_as_its_value() {
    let found = entities(
        "entities: [{kind: host, paths: [/a, /b, /c]}, {kind: user, paths: [/a]}]",
        r#"{"id":1,"a":"WS-1.Example.com","c":" ws-1.example.COM. ","b":"ws-2"}"#,
    );
    assert_eq!(found, ["host WS-1.Example.com /a /c", "user WS-1.Example.com /a", "host ws-2 /b"]);
}

#[test]
fn entities_of_both_occurrences_of_a_key_are_taken() {
    let found = entities(
        "entities: [{kind: user, paths: [/u/n]}]",
        r#"{"id":1,"u":{"n":"a","n":"b"},"u":{"n":"c"}}"#,
    );
    assert_eq!(found, ["user a /u/n", "user b /u/n", "user c /u/n"]);
}

#[test]
fn escapes_in_keys_and_values_are_undone_and_pointers_escaped() {
    let found = entities(
        "entities: [{kind: user, paths: ['/a~1b/m~0n', \"$['x y'].*\"]}]",
        r#"{"id":1,"\u0061/b":{"m~n":"ACME\\j\u0064oe"},"x y":{"k/\u007e":"z"}}"#,
    );
    assert_eq!(found, ["user ACME\\jdoe /a~1b/m~0n", "user z /x y/k~1~0"]);
}

#[test]
fn a_list_at_the_end_of_a_path_stands_for_its_texts() {
    let found =
        entities("entities: [{kind: user, paths: [/u]}]", r#"{"id":1,"u":["a",["b"],{"c":"d"},null,"e"]}"#);
    assert_eq!(found, ["user a /u/0", "user e /u/4"]);
}

#[test]
fn a_pointer_token_that_is_a_number_is_an_index_and_a_name() {
    let rule = "entities: [{kind: user, paths: [/u/0/n]}]";
    assert_eq!(entities(rule, r#"{"id":1,"u":[{"n":"a"},{"n":"b"}]}"#), ["user a /u/0/n"]);
    assert_eq!(entities(rule, r#"{"id":1,"u":{"0":{"n":"a"}}}"#), ["user a /u/0/n"]);
}

#[test]
fn a_name_beside_a_wildcard_is_reached_by_both() {
    let found = entities(
        "entities: [{kind: user, paths: ['$.u.*.n']}, {kind: host, paths: [/u/x/n]}, {kind: file, paths: ['$.u[*].m.k']}]",
        r#"{"id":1,"u":{"x":{"n":"a","m":{"k":"f"}},"y":{"n":"b"}}}"#,
    );
    // The order between rules at one place is that of the tree.
    let mut found = found;
    found.sort();
    assert_eq!(found, ["file f /u/x/m/k", "host a /u/x/n", "user a /u/x/n", "user b /u/y/n"]);
}

#[test]
fn the_first_source_with_an_entity_wins_when_told_so() {
    let rule = "entities: [{kind: user, take: first, paths: ['{/d}\\{/n}', /n, /m]}]";
    assert_eq!(entities(rule, r#"{"id":1,"m":"c","n":"a","d":"ACME"}"#), ["user ACME\\a /n /d"]);
    assert_eq!(entities(rule, r#"{"id":1,"m":"c","n":"a","d":null}"#), ["user a /n"]);
    assert_eq!(entities(rule, r#"{"id":1,"m":"c","n":"N/A","d":""}"#), ["user c /m"]);
}

#[test]
fn labels_split_at_the_first_separator_only() {
    let found = entities(
        "entities: [{labels: {host: host, '@usr.id': {arn: cloud_identity, else: user}}, paths: ['$.e[*]']}]",
        r#"{"id":1,"e":["HOST:i-1","@usr.id:arn:aws:iam::1:user/a","@usr.id: b ","@x:y","host:","host","@usr.id:\u0063"]}"#,
    );
    assert_eq!(
        found,
        ["host i-1 /e/0", "cloud_identity arn:aws:iam::1:user/a /e/1", "user b /e/2", "user c /e/6"]
    );
}

#[test]
fn pairs_are_read_whatever_the_order_of_their_members() {
    let rule = "entities: [{pairs: {Actor: user, '7': ip}, name: k, value: v, paths: ['$.d[*]', /one]}]";
    let found = entities(
        rule,
        r#"{"id":1,"d":[{"k":"actor","v":"a"},{"v":["10.0.0.1",{"x":1}],"k":7},{"k":"Actor"},{"v":"b"},{"k":"other","v":"c"},"x"],"one":[{"k":"Actor","v":"d"}]}"#,
    );
    assert_eq!(found, ["user a /d/0/v", "ip 10.0.0.1 /d/1/v/0", "user d /one/0/v"]);
}

#[test]
fn many_matches_of_a_filter_cost_no_more_than_the_alerts_length() {
    let item = r#"{"t":"u","n":"x"},"#;
    let alert = format!("{{\"id\":1,\"l\":[{}{{}}]}}", item.repeat(30_000));
    let begun = std::time::Instant::now();
    let found = entities("entities: [{kind: user, paths: [\"$.l[?@.t=='u'].n\"]}]", &alert);
    assert_eq!(found.len(), 1);
    // Quadratic, this takes minutes.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_part_of_a_text_is_an_identifier() {
    let found = entities(
        "entities: [{kind: host, part: before, paths: [/h]}, {kind: endpoint, part: after, paths: [/h]}, {kind: domain, part: after, separator: '@', paths: [/e]}]",
        r#"{"id":1,"h":["a:1","b"],"e":"x@example.org"}"#,
    );
    assert_eq!(found, ["host a /h/0", "endpoint 1 /h/0", "host b /h/1", "domain example.org /e"]);
}

#[test]
fn a_rule_applies_only_under_its_conditions() {
    let rule = "entities: [{kind: user, when: {/t: [u, 1, true], /x: {present: false}}, paths: [/v]}]";
    for (alert, count) in [
        (r#"{"id":1,"v":"a","t":"u"}"#, 1),
        (r#"{"id":1,"t":["z","u"],"v":"a","x":null}"#, 1),
        (r#"{"id":1,"t":1,"v":"a"}"#, 1),
        (r#"{"id":1,"t":true,"v":"a"}"#, 1),
        (r#"{"id":1,"t":"w","v":"a"}"#, 0),
        (r#"{"id":1,"t":"u","v":"a","x":0}"#, 0),
        (r#"{"id":1,"v":"a"}"#, 0),
    ] {
        assert_eq!(entities(rule, alert).len(), count, "{alert}");
    }
}

#[test]
fn dotted_names_and_nested_ones_are_the_same_place() {
    let rule = "dotted: true\nentities: [{kind: user, paths: [/a/b/c]}]";
    let found = entities(rule, r#"{"id":1,"a.b.c":"1","a":{"b.c":"2","b":{"c":"3"}},"a.b":{"c":"4"}}"#);
    assert_eq!(found, ["user 1 /a.b.c", "user 2 /a/b.c", "user 3 /a/b/c", "user 4 /a.b/c"]);
}

#[test]
fn roots_and_spellings_multiply_the_paths() {
    let decoder = with(
        "name: mine\nroots: ['', /detail]\nspellings: [pascal]\nmatch: [{/theType: x}]\nentities: [{kind: user, paths: [/userName]}]",
    );
    for alert in [
        r#"{"theType":"x","userName":"a"}"#,
        r#"{"TheType":"x","UserName":"a"}"#,
        r#"{"detail":{"theType":"x","userName":"a"}}"#,
        r#"{"detail":{"TheType":"x","UserName":"a"}}"#,
    ] {
        assert_eq!(decode(&decoder, alert).unwrap().found.len(), 1, "{alert}");
    }
    assert_eq!(decode(&decoder, r#"{"theType":"y","userName":"a"}"#).unwrap().format, None);
}

#[test]
fn patterns_of_the_format_are_ignored_beside_the_usual_and_those_of_a_rule_instead() {
    let found = entities(
        "ignore: ['svc-*']\nentities: [{kind: user, paths: [/a]}, {kind: service_account, paths: [/a], ignore: []}]",
        r#"{"id":1,"a":["svc-x","SYSTEM","jdoe"]}"#,
    );
    assert_eq!(
        found,
        [
            "service_account svc-x /a/0",
            "service_account SYSTEM /a/1",
            "user jdoe /a/2",
            "service_account jdoe /a/2"
        ]
    );
}

#[test]
fn entities_beyond_the_bound_are_counted_once_each_and_paths_are_bounded() {
    let formats = Formats::with_user_files(&[(
        "u".into(),
        "{name: mine, match: [{/u: {present: true}}], entities: [{kind: user, paths: [/u]}]}".into(),
    )])
    .unwrap();
    let decoder = Decoder::new(Arc::new(formats), Options { max_entities: 3, ..options() });
    let decoded = decode(&decoder, r#"{"u":["a","b","c","d","a","e","d"]}"#).unwrap();
    assert_eq!(decoded.entities_cut, 2);
    assert_eq!(
        found(&decoded),
        [
            (EntityKind::User, "a", vec!["/u/0", "/u/4"]),
            (EntityKind::User, "b", vec!["/u/1"]),
            (EntityKind::User, "c", vec!["/u/2"])
        ]
    );
    let many = format!("{{\"u\":[{}\"a\"]}}", "\"a\",".repeat(100));
    assert_eq!(decode(&decoder, &many).unwrap().found.get(0).unwrap().paths.len(), 16);
}

#[test]
fn priority_then_the_number_of_conditions_then_the_users_own_decides() {
    let ecs = r#"{"ecs":{"version":"8"},"event":{"kind":"signal"},"mine":1}"#;
    for (yaml, wins) in [
        ("{name: mine, priority: -20, match: [{/mine: 1}], entities: [{kind: user, paths: [/u]}]}", "ecs"),
        ("{name: mine, priority: -10, match: [{/mine: 1}], entities: [{kind: user, paths: [/u]}]}", "mine"),
        ("{name: mine, match: [{/mine: {prefix: '1'}}], entities: [{kind: user, paths: [/u]}]}", "mine"),
        ("{name: mine, match: [{/mine: 2}], entities: [{kind: user, paths: [/u]}]}", "ecs"),
    ] {
        let decoder = with(yaml);
        let format = decode(&decoder, ecs).unwrap().format.unwrap();
        assert_eq!(decoder.formats().name(format), wins, "{yaml}");
    }
}

#[test]
fn a_named_format_is_used_whatever_the_alert_looks_like() {
    let decoder = decoder();
    let named = Select::Named(decoder.formats().id("cortex_xdr").unwrap());
    let mut scratch = Scratch::default();
    let decoded = decoder.decode(br#"{"user_name":"jdoe"}"#, named, &mut scratch).unwrap();
    assert_eq!(decoded.found.len(), 1);
}

#[test]
fn a_user_format_may_replace_a_built_in_one_but_not_by_accident() {
    let mine = |extra: &str| {
        let text = format!("name: ecs\n{extra}match: [{{/x: 1}}]\nentities: [{{kind: user, paths: [/u]}}]");
        Formats::with_user_files(&[("mine.yaml".into(), text)])
    };
    let problems = mine("").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].to_string().starts_with("mine.yaml:1:7: \"ecs\" is a built-in format"),
        "{}",
        problems[0]
    );
    let formats = mine("replaces: ecs\n").unwrap();
    assert_eq!(formats.names().filter(|name| *name == "ecs").count(), 1);
    assert!(mine("replaces: nothing\n").is_err());
}

#[test]
fn every_problem_of_a_file_is_told_with_its_line_and_a_cure() {
    let text = "\
name: My Format
vender: datadog
match: []
entities:
  - {kind: usr, paths: [/a]}
  - {kind: user, paths: [user.name]}
  - {kind: user, labels: {a: user}, paths: [/a]}
  - {kind: user, paths: ['$.a[?']}
  - {kind: user, take: one, paths: ['{$.a[*]}-x']}
";
    let problems = Formats::with_user_files(&[("f.yaml".into(), text.into())]).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for (line, part) in [(2, "did you mean `vendor`?"), (1, "only a-z")] {
        assert!(
            told.iter().any(|t| t.starts_with(&format!("f.yaml:{line}:")) && t.contains(part)),
            "{part}: {told:#?}"
        );
    }
    let text = text.replace("My Format", "mine").replace("vender: datadog\n", "");
    let problems = Formats::with_user_files(&[("f.yaml".into(), text)]).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for (line, part) in [
        (2, "at least one item"),
        (4, "unknown entity kind"),
        (5, "neither a pointer"),
        (6, "exactly one of"),
        (7, "not a JSONPath"),
        (8, "without wildcards"),
        (8, "`first` or `all`"),
    ] {
        assert!(
            told.iter().any(|t| t.starts_with(&format!("f.yaml:{line}:")) && t.contains(part)),
            "{part}: {told:#?}"
        );
    }
    for text in [
        "",
        "[]",
        "name: [",
        "name: x",
        "name: auto\nmatch: [{/a: 1}]\nentities: [{kind: user, paths: [/a]}]",
    ] {
        assert!(Formats::with_user_files(&[("f.yaml".into(), text.into())]).is_err(), "{text}");
    }
}
