//! The configuration as a whole: the shipped file, the defaults, and one test per class of mistake.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use regex::Regex;

use super::provider::Common;
use super::{Config, Document, Lives, Problems, Property, Secret, Security, Ttl, read};
use crate::entity::EntityKind;
use crate::score::Scale;

const SHIPPED: &str = include_str!("../../config/riskstream.yaml");

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(yaml: &str) -> Result<Config, Problems> {
    Config::parse("r.yaml", yaml, Path::new(""), env(&[("PASSWORD", "hunter2"), ("SPACED", "two words")]))
}

fn lines(yaml: &str) -> Vec<String> {
    match parse(yaml) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Asserts that `yaml` has exactly one problem, and that it reads as `expected`.
#[track_caller]
fn assert_problem(yaml: &str, expected: &str) {
    assert_eq!(lines(yaml), [expected], "{yaml}");
}

/// `yaml` without the top-level blocks of these names.
fn without(yaml: &str, blocks: &[&str]) -> String {
    let mut dropping = false;
    let mut kept = String::new();
    for line in yaml.lines() {
        if line.starts_with(|c: char| c.is_ascii_lowercase()) {
            dropping = blocks.iter().any(|block| line.starts_with(&format!("{block}:")));
        }
        if !dropping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn the_shipped_file_holds_the_defaults() {
    let shipped = parse(&without(SHIPPED, &["providers"])).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(format!("{shipped:#?}"), format!("{:#?}", Config::default()));
}

#[test]
fn the_shipped_file_names_every_key_outside_the_providers() {
    let text = without(SHIPPED, &["providers"]);
    let document = Document::parse("r.yaml", &text, []);
    read::read(&document);
    assert!(document.problems().is_empty(), "{}", document.problems());
    // What stands only in comments.
    let tls = ["ca", "certificate", "key", "key_password", "verify_hostname"];
    let password = ["mechanism", "username", "password"];
    let token =
        ["token_endpoint", "client_id", "client_secret", "client_auth", "scope", "audience", "extensions"];
    let more = ["principal", "timeout", "proxy", "allow_http"];
    for key in tls.iter().chain(&password).chain(&token).chain(&more) {
        assert!(text.contains(&format!("#   {key}: ")), "{key}");
    }
    for key in ["partition", "token", "look_ups"] {
        assert!(text.contains(&format!("  # {key}: ")), "{key}");
    }
}

#[test]
fn what_the_shipped_file_calls_a_default_of_providers_is_one() {
    let commented = Regex::new(r"(?m)^    # (allow_http|retry|breaker|mode|snapshot): ").unwrap();
    assert_eq!(commented.find_iter(SHIPPED).count(), 5);
    let document = Document::parse("r.yaml", &commented.replace_all(SHIPPED, "    $1: "), []);
    let cache = Config::default().cache.ttl;
    let mut root = document.root();
    let mut sample = root.section("providers").unwrap().section("datadog").unwrap();
    let shipped = Common::read(&mut sample, cache, Scale::default());

    let empty = Document::parse("r.yaml", "", []);
    let default = Common::read(&mut empty.root(), cache, Scale::default());
    let example = Common { limit: shipped.limit, ttl: shipped.ttl, ..default };
    assert_eq!(format!("{shipped:#?}"), format!("{example:#?}"));
    let lives = Lives { scored: Duration::from_secs(1800), ..cache.of(EntityKind::User) };
    assert_eq!(shipped.ttl, Ttl::new(lives));
    assert!(document.problems().is_empty(), "{}", document.problems());
}

#[test]
fn the_shipped_file_can_be_used_as_it_is() {
    let keys = env(&[("DD_API_KEY", "a"), ("DD_APPLICATION_KEY", "b")]);
    let config = Config::parse("r.yaml", SHIPPED, Path::new(""), keys).unwrap();
    let names: Vec<_> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["datadog"]);
    assert_eq!(config.providers[0].common.limit.unwrap().share, (1, 1));
}

#[test]
fn every_vendor_has_an_example_that_can_be_used() {
    let uncommented = Regex::new(r"(?m)^  # ( *[a-z_]+:)").unwrap().replace_all(SHIPPED, "  $1");
    let blocks = ["kafka", "input", "output", "dead_letters", "pipeline", "cache", "admin", "log"];
    // A service account needs a key of its own; the other ways to sign in are as good here.
    let text = without(&uncommented, &blocks).replace(
        "credentials: {file: /run/secrets/google/service-account.json}",
        "token: {env: GOOGLE_TOKEN}",
    );
    let document = Document::parse("r.yaml", &text, []).offline();
    let config = read::read(&document);
    assert!(document.problems().is_empty(), "{}", document.problems());
    let types: Vec<_> = config.providers.iter().map(|provider| provider.vendor.label()).collect();
    assert_eq!(types, crate::provider::registry::TYPES);
}

#[test]
fn an_unknown_vendor_is_one_problem_and_its_keys_none() {
    let found = lines("providers: {a: {type: dataadog, api_key: hunter2, site: x}}");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("r.yaml:1:23: providers.a.type: ") && found[0].contains("datadog"),
        "{found:?}"
    );
}

#[test]
fn a_key_that_a_vendor_does_not_have_is_unknown_there() {
    let found = lines(
        "providers: {a: {type: cloudflare, account_id: 0123456789abcdef0123456789abcdef, token: {env: PASSWORD}, site: x, tiemout: 1s}}",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("providers.a.site: unknown key"), "{found:?}");
    assert!(found[1].ends_with("providers.a.tiemout: unknown key; write timeout"), "{found:?}");
}

#[test]
fn plain_http_needs_a_word_unless_it_stays_on_this_machine() {
    for (yaml, fine) in [
        ("base_url: http://vendor.example.com", false),
        ("base_url: http://vendor.example.com\nallow_http: true", true),
        ("base_url: http://127.0.0.1:8080", true),
        ("base_url: https://vendor.example.com", true),
        ("proxy: http://proxy.example.com:3128", true),
    ] {
        let document = Document::parse("r.yaml", yaml, []);
        Common::read(&mut document.root(), Config::default().cache.ttl, Scale::default());
        let found = document.problems().to_string();
        assert_eq!(found.is_empty(), fine, "{yaml}: {found}");
        assert!(
            fine || found.contains("base_url: unencrypted (given: http://vendor.example.com)"),
            "{found}"
        );
    }
}

#[test]
fn ten_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let yaml = r#"kafka:
  brokers: [kafka-1.example.com:9092]
  consumer: {enable.auto.commit: true}
input:
  topics: [alerts, alerts]
  grup: riskstream
output: {topic: alerts}
pipeline: {deadline: 2, drain: 30s, delivery: exactly_once}
cache: {jitter: 0.9}
levels: {low: 50}
routes:
  - {kinds: [users], provider: nobody}
admin: {listen: ":9464", token: hunter2}
log: {level: infoo}
"#;
    let problems = parse(yaml).unwrap_err();
    assert!(problems.len() >= 10);
    insta::assert_snapshot!("ten_mistakes_as_lines", problems.to_string());
    insta::assert_snapshot!("ten_mistakes_for_people", problems.for_people(false, 100));
    insta::assert_snapshot!("ten_mistakes_as_json", problems.json_lines());
    assert!(problems.for_people(true, 100).contains('\u{1b}'));
    assert!(!problems.for_people(false, 100).contains('\u{1b}'));
    for text in [problems.to_string(), problems.for_people(true, 100), problems.json_lines()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn brokers_elsewhere_need_a_word_on_security() {
    assert_problem(
        "kafka: {brokers: 'localhost:9092,kafka:9092'}",
        "r.yaml:1:1: kafka.security: missing, and a broker is not on this machine; write security: sasl_tls (or tls, sasl_plaintext, plaintext)",
    );
    for fine in ["localhost", "127.0.0.1:9092", "'[::1]:9092'"] {
        assert_eq!(lines(&format!("kafka: {{brokers: [{fine}]}}")), [""; 0], "{fine}");
    }
    assert_eq!(lines("kafka: {brokers: [kafka:9092], security: plaintext}"), [""; 0]);
}

#[test]
fn a_broker_is_a_host_and_a_port() {
    for wrong in ["SSL://kafka:9092", "kafka:port", "kafka:0", "a b:1", "''", "'[::1'"] {
        let yaml = format!("kafka: {{security: plaintext, brokers: [{wrong}]}}");
        let found = lines(&yaml);
        assert!(found[0].contains("kafka.brokers[0]: not a broker"), "{found:?}");
    }
    assert_problem(
        "kafka: {brokers: []}",
        "r.yaml:1:18: kafka.brokers: no broker; write brokers: [host:9092]",
    );
}

#[test]
fn sasl_over_tls_is_read_whole() {
    let yaml = "kafka:\n  brokers: [kafka:9093]\n  security: sasl_tls\n  tls: {verify_hostname: false}\n  sasl: {mechanism: SCRAM-SHA-512, username: u, password: {env: PASSWORD}}\n";
    let Security::SaslTls(tls, sasl) = parse(yaml).unwrap().kafka.security else { panic!() };
    assert!(!tls.verify_hostname);
    assert_eq!(
        format!("{sasl:?}"),
        r#"Password(Password { mechanism: "SCRAM-SHA-512", username: "u", password: Secret(env PASSWORD) })"#
    );
}

#[test]
fn what_belongs_to_another_security_is_refused() {
    assert_problem(
        "kafka: {security: sasl_plaintext}",
        "r.yaml:1:1: kafka.sasl: missing; write sasl: {mechanism: SCRAM-SHA-512, username: NAME, password: {env: NAME}}",
    );
    assert_problem(
        "kafka: {security: plaintext, tls: {}}",
        "r.yaml:1:35: kafka.tls: not used by this kafka.security; write security: tls or sasl_tls, or remove it",
    );
    let found = lines("kafka: {security: tls, tls: {certificate: no/such.pem}}");
    assert!(
        found[0].contains("kafka.tls.certificate: no such file (given: no/such.pem); put a readable file at"),
        "{found:?}"
    );
    assert!(found[1].contains("kafka.tls.certificate: needs key too"), "{found:?}");
}

#[test]
fn properties_that_carry_a_guarantee_are_refused_with_our_key() {
    for (name, cure) in [
        (
            "enable.auto.commit",
            "remove it: an offset is committed once its output is acknowledged, never on a timer",
        ),
        ("group.id", "use input.group"),
        ("bootstrap.servers", "use kafka.brokers"),
        ("acks", "remove it: outputs are acknowledged by all replicas, in order, however long that takes"),
        ("sasl.password", "use kafka.sasl.password"),
        (
            "queue.buffering.max.messages",
            "remove it: pipeline.in_flight and pipeline.in_flight_bytes bound the memory",
        ),
    ] {
        for map in ["properties", "consumer", "producer"] {
            assert_problem(
                &format!("kafka: {{{map}: {{{name}: x}}}}"),
                &format!(
                    "r.yaml:1:{}: kafka.{map}.{name}: not a property that can be set here; {cure}",
                    12 + map.len()
                ),
            );
        }
    }
}

#[test]
fn other_properties_are_text_or_secret_and_a_password_is_never_text() {
    let kafka =
        parse("kafka: {properties: {client.id: 7, ssl.keystore.password: {env: PASSWORD}, linger.ms: ~}}")
            .unwrap()
            .kafka;
    assert_eq!(
        format!("{:?}", kafka.properties),
        r#"{"client.id": Text("7"), "ssl.keystore.password": Secret(Secret(env PASSWORD))}"#
    );
    assert_problem(
        "kafka: {properties: {ssl.keystore.password: hunter2}}",
        "r.yaml:1:45: kafka.properties.ssl.keystore.password: a secret in plain sight; write {env: NAME} or {file: PATH}; allow_literal_secrets: true permits it for trials",
    );
    assert_problem(
        "kafka: {properties: {client.id: [x]}}",
        "r.yaml:1:33: kafka.properties.client.id: not a single value (given: a list); write one value",
    );
}

#[test]
fn a_property_can_be_set_in_the_environment_with_underscores() {
    let pair = env(&[("RISKSTREAM__KAFKA__CONSUMER__GROUP_INSTANCE_ID", "riskstream-0")]);
    let config = Config::parse("r.yaml", "", Path::new(""), pair).unwrap();
    let id = config.kafka.consumer.get("group.instance.id");
    assert!(matches!(id, Some(Property::Text(text)) if text == "riskstream-0"), "{id:?}");
    let pair = env(&[("RISKSTREAM__KAFKA__CONSUMER__GROUP_ID", "x")]);
    assert_eq!(
        Config::parse("r.yaml", "", Path::new(""), pair).unwrap_err().to_string(),
        "environment variable RISKSTREAM__KAFKA__CONSUMER__GROUP_ID: kafka.consumer.group_id: not a property that can be set here; use input.group"
    );
}

#[test]
fn topics_are_distinct_and_legal() {
    assert_problem(
        "input: {topics: [a, {name: a}]}",
        "r.yaml:1:28: input.topics[1].name: the topic stands twice (given: a); remove one of the two",
    );
    assert_problem(
        "input: {topics: [a/b]}",
        "r.yaml:1:18: input.topics[0]: not a topic (given: a/b); write 1 to 249 of letters, digits, `.`, `_` and `-`",
    );
    assert_problem(
        "input: {topics: []}",
        "r.yaml:1:17: input.topics: no topic; write topics: [security.alerts]",
    );
    assert_problem(
        "output: {topic: security.alerts}",
        "r.yaml:1:17: output.topic: security.alerts is an input topic too (given: security.alerts); write another: this would go in circles",
    );
    assert_problem(
        "dead_letters: {topic: security.alerts.enriched}",
        "r.yaml:1:23: dead_letters.topic: security.alerts.enriched is the output topic too (given: security.alerts.enriched); write another: playbooks must not meet dead letters",
    );
}

#[test]
fn updates_have_a_topic_of_their_own_or_there_are_none() {
    assert_eq!(parse("").unwrap().output.updates, None);
    assert_eq!(parse("output: {updates: late}").unwrap().output.updates.as_deref(), Some("late"));
    assert_problem(
        "output: {updates: security.alerts}",
        "r.yaml:1:19: output.updates: security.alerts is an input topic too (given: security.alerts); write another: this would go in circles",
    );
    assert_problem(
        "output: {updates: a/b}",
        "r.yaml:1:19: output.updates: not a topic (given: a/b); write 1 to 249 of letters, digits, `.`, `_` and `-`",
    );
    assert_problem(
        "output: {topic: a, updates: a}",
        "r.yaml:1:29: output.updates: a is the output topic too (given: a); write another: who reads alerts must not meet updates",
    );
    assert_problem(
        "{output: {updates: a}, dead_letters: {topic: a}}",
        "r.yaml:1:46: dead_letters.topic: a is the topic of updates (output.updates) too (given: a); write another: who reads updates must not meet dead letters",
    );
    assert_problem(
        "{output: {updates: a}, dead_letters: {topic: dead, markers: a}}",
        "r.yaml:1:61: dead_letters.markers: a is the topic of updates too (given: a); write another, such as dead.redriven: it is compacted",
    );
}

#[test]
fn a_pattern_means_the_names_that_begin_as_it_says() {
    let topics = parse(r"input: {topics: ['^sec\.[a-z]+$', {pattern: '^aws-', format: ocsf}, plain]}")
        .unwrap()
        .input
        .topics;
    let matching = |name: &str| topics.iter().position(|topic| topic.matches(name));
    for (name, expected) in [
        ("sec.alerts", Some(0)),
        ("sec.alerts.enriched", None),
        ("a.sec.alerts", None),
        ("secxalerts", None),
        ("aws-findings", Some(1)),
        ("my-aws-findings", None),
        ("plain", Some(2)),
        ("plainer", None),
    ] {
        assert_eq!(matching(name), expected, "{name}");
    }
    assert_eq!(topics[1].format.as_deref(), Some("ocsf"));
    let subscriptions: Vec<_> = topics.iter().map(|topic| topic.subscription()).collect();
    assert_eq!(subscriptions, [r"^(^sec\.[a-z]+$).*$", "^(^aws-).*$", "plain"]);
}

#[test]
fn a_pattern_that_is_read_in_different_ways_or_in_circles_is_refused() {
    for (pattern, what) in [
        (r"^a\d", r"\d is not read the same way"),
        (r"^a\w+", r"\w is not read"),
        ("^(?i)a", "(? is not read"),
        ("^a+?", "+? is not read"),
        ("^a{2}+", "}+ is not read"),
        ("^a[b&&c]", "& is not read"),
        ("^[[:alpha:]]", "[ is not read"),
        (r"^[\.]", r"\ is not read"),
        ("^a b", "  is not read"),
        ("^(a", "not a regular expression"),
        ("^_?_?c", "__consumer_offsets, a topic of Kafka's own"),
    ] {
        let text = format!("input: {{topics: ['{pattern}']}}");
        let problems = parse(&text).unwrap_err().to_string();
        assert!(
            problems.starts_with("r.yaml:1:18: input.topics[0]: ") && problems.contains(what),
            "{problems}"
        );
    }
    assert_problem(
        "input: {topics: [{pattern: security}]}",
        r"r.yaml:1:28: input.topics[0].pattern: a pattern that does not begin with ^ (given: security); write it like '^security\.alerts\.[a-z]+$'",
    );
    assert_problem(
        "input: {topics: [{pattern: ^a, name: a}]}",
        "r.yaml:1:38: input.topics[0].name: stands beside a pattern; remove one of the two",
    );
    for (yaml, place) in [
        (
            r"{input: {topics: ['^security\.']}}",
            "output.topic: security.alerts.enriched is matched by the input pattern",
        ),
        (
            r"{input: {topics: ['^security\.alerts\.dead']}}",
            "dead_letters.topic: security.alerts.dead-letters is matched by the input pattern",
        ),
        ("{input: {topics: ['^a|b']}, output: {topic: b.out}}", "output.topic: b.out is matched"),
    ] {
        let problems = parse(yaml).unwrap_err().to_string();
        assert!(problems.contains(place) && problems.contains("narrow the pattern"), "{problems}");
    }
    assert!(
        parse(r"input: {topics: ['^security\.alerts$', '^security\.alerts\.(aws|gcp)(-[0-9]{1,3})?$']}")
            .is_ok()
    );
}

#[test]
fn a_route_may_name_a_topic_that_a_pattern_matches() {
    assert!(
        parse("{input: {topics: ['^aws-']}, routes: [{topics: [aws-findings], provider: none}]}").is_ok()
    );
    let problems = parse("{input: {topics: ['^aws-']}, routes: [{topics: [gcp], provider: none}]}");
    assert!(problems.unwrap_err().to_string().contains("not an input topic"));
}

#[test]
fn what_is_remembered_of_dead_letters_has_a_topic_of_its_own() {
    let markers = |yaml: &str| parse(yaml).map(|config| config.dead_letters.markers).unwrap();
    assert_eq!(markers(""), "security.alerts.dead-letters.redriven");
    assert_eq!(markers("dead_letters: {topic: dead}"), "dead.redriven");
    assert_eq!(markers("dead_letters: {topic: dead, markers: sent}"), "sent");
    assert_problem(
        "dead_letters: {topic: dead, markers: dead}",
        "r.yaml:1:38: dead_letters.markers: dead is the topic of the dead letters too (given: dead); write another, such as dead.redriven: it is compacted",
    );
    assert_problem(
        "dead_letters: {topic: dead, markers: security.alerts}",
        "r.yaml:1:38: dead_letters.markers: security.alerts is an input topic too (given: security.alerts); write another, such as dead.redriven: it is compacted",
    );
    assert_problem(
        "{input: {topics: [dead.redriven]}, dead_letters: {topic: dead}}",
        "r.yaml:1:36: dead_letters.markers: dead.redriven is an input topic too; write another: it is compacted",
    );
    assert_eq!(
        lines(&format!("dead_letters: {{topic: {}}}", "d".repeat(245))).len(),
        1,
        "the default is too long"
    );
}

#[test]
fn a_flood_is_a_share_a_span_and_a_number() {
    let flood = parse("dead_letters: {flood: {share: 0.5, per: 5m, at_least: 7, action: stop}}")
        .unwrap()
        .dead_letters
        .flood;
    assert_eq!((flood.share, flood.per, flood.at_least), (0.5, Duration::from_secs(300), 7));
    assert_eq!(flood.action, super::FloodAction::Stop);
    for (yaml, key) in [
        ("{share: 0}", "share"),
        ("{share: 1.5}", "share"),
        ("{per: 10ms}", "per"),
        ("{at_least: 0}", "at_least"),
        ("{action: panic}", "action"),
        ("{atleast: 1}", "atleast"),
    ] {
        let found = lines(&format!("dead_letters: {{flood: {yaml}}}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&format!("dead_letters.flood.{key}: ")), "{found:?}");
    }
}

#[test]
fn a_topic_without_a_format_has_the_common_one() {
    let input = parse("input: {format: ocsf, topics: [a, {name: b, format: ecs}, {name: c, format: auto}]}")
        .unwrap()
        .input;
    let formats: Vec<_> = input.topics.iter().map(|topic| topic.format.as_deref()).collect();
    assert_eq!(formats, [Some("ocsf"), Some("ecs"), None]);
    assert_eq!(parse("input: {format: ocsf}").unwrap().input.topics[0].format.as_deref(), Some("ocsf"));
}

#[test]
fn bounds_of_the_pipeline_fit_together() {
    for (yaml, expected) in [
        (
            "{drain: 25s}",
            "r.yaml:1:1: pipeline.shutdown: not longer than the drain of 25s; write a shutdown above pipeline.drain",
        ),
        (
            "{deadline: 21s}",
            "r.yaml:1:1: pipeline.drain: shorter than the deadline of 21s: alerts could not be finished; write a drain of at least pipeline.deadline",
        ),
        (
            "{drain: 300s, shutdown: 301s}",
            "r.yaml:1:19: pipeline.drain: Kafka takes the partitions away after 300s (given: 300s); write a drain below max.poll.interval.ms",
        ),
        (
            "{max_alert_bytes: 65MiB}",
            "r.yaml:1:1: pipeline.in_flight_bytes: smaller than one alert may be; write at least max_alert_bytes, 68157440 bytes",
        ),
        (
            "{delivery: exactly_once}",
            "r.yaml:1:22: pipeline.delivery: exactly_once needs a name of this process (given: exactly_once); write kafka.instance: NAME, or set RISKSTREAM__KAFKA__INSTANCE: another one for each process, the same after a restart",
        ),
        (
            "{threads: 0}",
            "r.yaml:1:21: pipeline.threads: out of range (given: 0); write a whole number from 1 to 256",
        ),
        ("{deadline: 0s}", "r.yaml:1:22: pipeline.deadline: zero (given: 0s); write a duration above zero"),
    ] {
        assert_problem(&format!("pipeline: {yaml}"), expected);
    }
    let longer =
        "kafka: {consumer: {max.poll.interval.ms: 600000}}\npipeline: {drain: 300s, shutdown: 301s}\n";
    assert_eq!(lines(longer), [""; 0]);
}

#[test]
fn lifetimes_and_fractions_are_in_range() {
    for (yaml, expected) in [
        (
            "{ttl: {scored: 0s}}",
            "r.yaml:1:23: cache.ttl.scored: zero (given: 0s); write a duration above zero",
        ),
        (
            "{jitter: 0.6}",
            "r.yaml:1:17: cache.jitter: out of range (given: 0.6); write a number from 0 to 0.5",
        ),
        (
            "{refresh_ahead: 0}",
            "r.yaml:1:24: cache.refresh_ahead: out of range (given: 0); write a number from 0.1 to 1",
        ),
        (
            "{capacity: 1}",
            "r.yaml:1:19: cache.capacity: too small to work with (given: 1); write at least 1048576 bytes",
        ),
        (
            "{capacity: 1XB}",
            "r.yaml:1:19: cache.capacity: not a size (given: 1XB); write a number and a unit: 900KB (thousands), 64MiB (1024 times 1024)",
        ),
    ] {
        assert_problem(&format!("cache: {yaml}"), expected);
    }
}

#[test]
fn levels_and_points_ascend() {
    assert_problem(
        "levels: {low: 50}",
        "r.yaml:1:1: levels: not ascending; write low <= medium <= high <= critical; now 50, 40, 70, 90",
    );
    assert_problem(
        "points: {info: 50}",
        "r.yaml:1:1: points: not ascending; write info <= low <= medium <= high <= critical",
    );
    assert_problem(
        "points: {critical: 101}",
        "r.yaml:1:20: points.critical: out of range (given: 101); write a number from 0 to 100",
    );
}

#[test]
fn routes_name_what_is_configured() {
    for (yaml, expected) in [
        (
            "{topics: [x], provider: none}",
            "r.yaml:1:20: routes[0].topics[0]: not an input topic (given: x); write security.alerts, or add it to input.topics",
        ),
        (
            "{kinds: [users], provider: none}",
            "r.yaml:1:19: routes[0].kinds[0]: not an entity kind, nearest is user (given: users); write user, host, endpoint, cloud_identity, ip, domain, file or service_account",
        ),
        (
            "{provider: datadog}",
            "r.yaml:1:21: routes[0].provider: not a configured provider (given: datadog); write none",
        ),
        (
            "{kinds: [user]}",
            "r.yaml:1:10: routes[0].provider: missing; write provider: the name of a provider, or none",
        ),
        (
            "{provider: none, identifiers: ['(']}",
            "r.yaml:1:41: routes[0].identifiers[0]: not a regular expression: unclosed group (given: (); write one, such as '@example\\.com$'",
        ),
        (
            "{provider: none, identifiers: ['(a{1000}){1000}']}",
            "r.yaml:1:41: routes[0].identifiers[0]: a pattern that takes too much memory (given: (a{1000}){1000}); write smaller repetitions",
        ),
    ] {
        assert_problem(&format!("routes: [{yaml}]"), expected);
    }
    let config = parse("routes: [{kinds: [user, host], identifiers: '@x$', provider: none}]").unwrap();
    assert!(config.routes[0].provider.is_none() && config.routes[0].identifiers[0].is_match("a@x"));
}

#[test]
fn the_listener_the_token_and_the_log_are_checked() {
    assert_problem(
        "admin: {listen: ':9464'}",
        "r.yaml:1:17: admin.listen: not an address (given: :9464); write ADDRESS:PORT: 127.0.0.1:9464, or 0.0.0.0:9464 for every interface",
    );
    assert_problem(
        "admin: {token: {env: SPACED}}",
        "r.yaml:1:16: admin.token: not fit for a header; use letters, digits and signs, without white space",
    );
    assert_problem(
        "log: {level: infoo}",
        "r.yaml:1:14: log.level: not a log filter (given: infoo); write error, warn, info, debug or trace, or info,riskstream=debug",
    );
    assert_eq!(lines("log: {level: 'warn,riskstream::source=trace'}"), [""; 0]);
}

#[test]
fn a_list_is_read_where_the_vendor_has_one_and_within_what_can_be_meant() {
    let datadog = |more: &str| {
        lines(&format!(
            "providers: {{a: {{type: datadog, site: datadoghq.com, api_key: {{env: PASSWORD}}, application_key: \
             {{env: PASSWORD}}, {more}}}}}"
        ))
    };
    for (more, expected) in [
        ("mode: snapshot", ""),
        ("mode: both, snapshot: {interval: 1m, capacity: 1MiB, timeout: 5s}", ""),
        ("mode: snapshots", "providers.a.mode: not a choice, nearest is snapshot (given: snapshots); write "),
        ("mode: both, snapshot: 1h", "providers.a.snapshot: not a mapping"),
        ("mode: lookup, snapshot: {interval: 1m}", ""),
        ("snapshot: {interval: 1m}", "providers.a.snapshot: nothing without mode; write mode: snapshot, or"),
        (
            "mode: both, snapshot: {interval: 10ms}",
            "providers.a.snapshot.interval: too short to read a list in",
        ),
        (
            "mode: both, snapshot: {interval: 999d}",
            "providers.a.snapshot.interval: too long to believe a list",
        ),
        ("mode: both, snapshot: {capacity: 1KB}", "providers.a.snapshot.capacity: too small to work with"),
        ("mode: both, snapshot: {every: 1m}", "providers.a.snapshot.every: unknown key"),
    ] {
        let found = datadog(more);
        let fine = if expected.is_empty() {
            found.is_empty()
        } else {
            found.len() == 1 && found[0].contains(expected)
        };
        assert!(fine, "{more}: {found:?}");
    }
}

#[test]
fn a_list_says_whom_it_is_of_where_several_kinds_are_asked_about() {
    let generic = |kinds: &str, bulk: &str, more: &str| {
        lines(&format!(
            "providers: {{a: {{type: generic_http, base_url: 'https://risk.example.com', kinds: [{kinds}], request: {{path: \
             '/{{value}}'}}, answer: {{score: $.score}}, bulk: {{path: /all, rows: '$.all[*]', identifier: $.id, complete: \
             true{bulk}}}{more}}}}}"
        ))
    };
    for (kinds, bulk, more, expected) in [
        ("user", "", ", mode: snapshot", ""),
        ("user, host", ", kinds: [user, host]", ", mode: snapshot", ""),
        ("user, host", ", kinds: [user]", ", mode: both", ""),
        ("user, host", "", "", "providers.a.bulk: does not say whom it lists"),
        ("user", "", ", identifiers: {host: 'h/{value}'}", "providers.a.bulk: does not say whom it lists"),
        (
            "user",
            ", kinds: [host]",
            "",
            "providers.a.bulk: lists host entities, which nobody asks about here",
        ),
        (
            "user, host",
            ", kinds: [user]",
            ", mode: snapshot",
            "providers.a.mode: bulk lists user entities only, so that nothing would be known of host entities",
        ),
    ] {
        let found = generic(kinds, bulk, more);
        let fine = if expected.is_empty() {
            found.is_empty()
        } else {
            found.len() == 1 && found[0].contains(expected)
        };
        assert!(fine, "{kinds} {bulk} {more}: {found:?}");
    }
}

#[test]
fn the_keys_of_every_provider_are_checked() {
    for (yaml, expected) in [
        ("limit: {requests: 5}", "r.yaml:1:1: limit.per: missing; write per: 1s"),
        (
            "limit: {requests: 5, per: 1s, share: 2/1}",
            "r.yaml:1:38: limit.share: not a share (given: 2/1); write 1/N for one of N replicas: 1/3",
        ),
        (
            "retry: {attempts: 11}",
            "r.yaml:1:19: retry.attempts: out of range (given: 11); write a whole number from 1 to 10",
        ),
        (
            "retry: {backoff: 3s}",
            "r.yaml:1:18: retry.backoff: backoff is above max_backoff (given: 3s); write backoff <= max_backoff (default 2s)",
        ),
        (
            "breaker: {ratio: 0}",
            "r.yaml:1:18: breaker.ratio: out of range (given: 0); write a number from 0.01 to 1",
        ),
        (
            "identifiers: {user: x}",
            "r.yaml:1:21: identifiers.user: no place for the identifier (given: x); write {value} where the identifier goes",
        ),
        (
            "identifiers: {usr: '{value}'}",
            "r.yaml:1:20: identifiers.usr: not an entity kind, nearest is user (given: {value}); write user, host, endpoint, cloud_identity, ip, domain, file or service_account",
        ),
    ] {
        let document = Document::parse("r.yaml", yaml, []);
        Common::read(&mut document.root(), Config::default().cache.ttl, Scale::default());
        assert_eq!(document.problems().to_string(), expected, "{yaml}");
    }
}

#[test]
fn a_providers_own_lifetimes_and_cuts_stand_beside_the_common_ones() {
    let document = Document::parse("r.yaml", "ttl: {failed: 1s}\nlevels: {high: 60}\npoints: {low: 5}\n", []);
    let cache = Config::default().cache.ttl;
    let common = Common::read(&mut document.root(), cache, Scale::default());
    let lives = Lives { failed: Duration::from_secs(1), ..cache.of(EntityKind::User) };
    assert_eq!(common.ttl, Ttl::new(lives));
    assert_eq!((common.scale.levels.high, common.scale.levels.critical), (60.0, 90.0));
    assert_eq!((common.scale.points.low.whole(), common.scale.points.medium.whole()), (5, 60));
}

#[test]
fn a_name_that_cannot_be_a_label_is_refused() {
    for name in ["Data Dog", "none", "é", "''"] {
        let found = lines(&format!("providers: {{{name}: {{type: datadog}}}}"));
        assert!(found.iter().any(|line| line.contains("not a name for a provider")), "{found:?}");
    }
}

#[test]
fn globs_are_relative_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    // A name that would be a pattern.
    let base = folder.path().join("[a]");
    std::fs::create_dir_all(base.join("formats")).unwrap();
    for name in ["b.yaml", "a.yaml", "c.txt"] {
        std::fs::write(base.join("formats").join(name), "").unwrap();
    }
    let file = base.join("r.yaml");
    std::fs::write(&file, "formats: [./formats/*.yaml, formats/c.txt, none/*.yaml]").unwrap();
    let formats = Config::load(&file, []).unwrap().formats;
    let names: Vec<_> = formats.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.yaml", "b.yaml", "c.txt"]);
    assert!(formats.iter().all(|path| path.is_file()));

    std::fs::write(&file, "formats: [gone.yaml]").unwrap();
    let problems = Config::load(&file, []).unwrap_err().to_string();
    assert!(
        problems.contains(":1:11: formats[0]: no such file (given: gone.yaml); put a format at"),
        "{problems}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let problems = Config::load(Path::new("no/such/riskstream.yaml"), []).unwrap_err();
    let text = problems.to_string();
    assert!(text.starts_with("no/such/riskstream.yaml: cannot be read: "), "{text}");
    assert!(problems.for_people(false, 80).contains("no/such/riskstream.yaml"));
}

#[test]
fn offline_nobody_asks_for_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.yaml");
    std::fs::write(&file, "admin: {token: {env: GONE}}\nkafka: {security: tls, tls: {ca: gone.pem}}\n")
        .unwrap();
    assert_eq!(Config::load(&file, []).unwrap_err().len(), 2);
    assert!(Config::load_offline(&file, []).is_ok());
}

#[test]
fn a_literal_secret_is_fine_where_the_file_says_so() {
    let config = parse("admin: {token: hunter2}\nallow_literal_secrets: true\n").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let same: Vec<_> = config.admin.token.iter().map(Secret::fingerprint).collect();
    assert_eq!(same, [Secret::literal("hunter2").fingerprint()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_configuration_panics(
        key in "kafka|input|output|dead_letters|formats|pipeline|cache|providers|levels|points|routes|admin|log",
        inner in "brokers|security|topics|topic|ttl|x|deadline|listen|level|properties|sasl|retry",
        value in "\\PC{0,20}|-?[0-9]{1,20}(s|d|KB|GiB)?|\\[a, b\\]|\\{type: x, name: y\\}|\\[\\{provider: z, kinds: user\\}\\]|'[(*{\\[]{1,9}'",
        form in 0..4,
    ) {
        let yaml = match form {
            0 => format!("{key}: {value}"),
            1 => format!("{key}:\n  {inner}: {value}"),
            2 => format!("{key}: {{{inner}: {value}}}"),
            _ => format!("{key}:\n  - {inner}: {value}"),
        };
        if let Err(problems) = parse(&yaml) {
            let _ = (problems.to_string(), problems.for_people(true, 60), problems.json_lines());
            for problem in problems.iter() {
                prop_assert!(!problem.what.is_empty() && !problem.cure.is_empty(), "{problem}");
            }
        }
    }
}
