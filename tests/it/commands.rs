//! The commands as a person or a script runs them: what is on stdout, what on stderr, and the exit code.

use std::path::Path;

use serde_json::Value;

use crate::harness::kafka::Stage;
use crate::harness::service::{Settings, command, config};
use crate::harness::vendors::Vendors;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/alerts.ndjson");

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration of all five vendors, without Kafka.
fn vendors_only(vendors: &Vendors) -> String {
    format!("allow_literal_secrets: true\n{}", vendors.providers(""))
}

#[test]
fn extract_says_of_each_alert_what_would_be_looked_up() {
    let alerts = std::fs::read(EXAMPLES).unwrap();
    let out = command(&["extract", EXAMPLES], b"", &[]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let lines = lines(&out.stdout);
    assert_eq!(lines.len(), alerts.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count());
    assert_eq!(lines[0]["format"], "aws_cloudtrail");
    assert_eq!(lines[0]["entities"][0]["kind"], "cloud_identity");
    assert_eq!(lines[0]["entities"][0]["value"], "arn:aws:iam::123456789012:user/john.doe");
    assert!(lines.iter().all(|line| line["format"] != "unknown"), "every example is of a known format");
}

#[test]
fn enrich_adds_a_risk_member_to_every_alert_and_nothing_else() {
    let vendors = Vendors::start(0);
    let (_folder, file) = config(&vendors_only(&vendors));
    let out = command(&["enrich", "--config", file.to_str().unwrap(), EXAMPLES], b"", &[]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let alerts = std::fs::read_to_string(EXAMPLES).unwrap();
    let enriched = text(&out.stdout);
    assert_eq!(enriched.lines().count(), alerts.lines().count());
    let mut asked = 0;
    for (before, after) in alerts.lines().zip(enriched.lines()) {
        let (rest, risk) = crate::harness::check::without_risk(after.as_bytes()).unwrap();
        assert_eq!(text(&rest), before);
        asked += risk["entities"].as_array().unwrap().iter().filter(|e| e["provider"].is_string()).count();
    }
    assert!(asked > 20, "the examples name entities: {asked}");
    let summary = lines(&out.stderr).pop().unwrap();
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("read"), alerts.lines().count() as u64);
    assert_eq!(
        count("complete") + count("partial") + count("failed") + count("no_entities"),
        count("read"),
        "{summary}"
    );
}

#[test]
fn a_bad_line_is_reported_by_its_number_and_costs_only_itself() {
    let vendors = Vendors::start(0);
    let (_folder, file) = config(&vendors_only(&vendors));
    let input = b"{\"a\":1}\n{\"a\":\n{\"b\":2}\n";
    for arguments in [vec!["enrich", "--config", file.to_str().unwrap()], vec!["extract"]] {
        let out = command(&arguments, input, &[]);
        assert_eq!(out.status.code(), Some(1), "{arguments:?}");
        assert_eq!(lines(&out.stdout).len(), 2, "{arguments:?}");
        assert!(text(&out.stderr).contains("stdin:2: "), "{}", text(&out.stderr));
    }
}

#[test]
fn lookup_prints_one_answer() {
    let vendors = Vendors::start(0);
    let (_folder, file) = config(&vendors_only(&vendors));
    let ask = |arguments: &[&str]| {
        let all = [&["lookup", "--json", "--config", file.to_str().unwrap()], arguments].concat();
        command(&all, b"", &[])
    };
    let out = ask(&["cloud_identity", "arn:aws:iam::123456789012:user/john.doe"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let answer = lines(&out.stdout).remove(0);
    assert_eq!((&answer["provider"], &answer["source"]), (&"datadog".into(), &"provider".into()), "{answer}");
    assert!(matches!(answer["status"].as_str(), Some("scored" | "unknown")), "{answer}");

    let out = ask(&["user", "john.doe@example.com"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("provider"), "it says how to choose: {}", text(&out.stderr));
    let out = ask(&["--provider", "datadgo", "user", "john.doe@example.com"]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("datadog"), "it says who there is: {}", text(&out.stderr));
    assert_eq!(ask(&["dragon", "x"]).status.code(), Some(2));

    let stopped = Vendors::start(0);
    let text = vendors_only(&stopped).replace("type: datadog", "retry: {attempts: 1}, type: datadog");
    drop(stopped);
    let (_folder, file) = config(&text);
    let out =
        command(&["lookup", "--json", "--config", file.to_str().unwrap(), "cloud_identity", "a"], b"", &[]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(lines(&out.stdout)[0]["reason"], "unreachable");
}

#[test]
fn the_shipped_configuration_is_correct() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/riskstream.yaml");
    let env = [("DD_API_KEY", "a"), ("DD_APPLICATION_KEY", "b")];
    let out = command(&["check", "--config", file.to_str().unwrap()], b"", &env);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(
        lines(&out.stdout).iter().any(|line| line["host"] == "api.datadoghq.com"),
        "{}",
        text(&out.stdout)
    );
    assert!(lines(&out.stdout).iter().any(|line| line["memory"] == "all"));
}

#[test]
fn check_names_every_host_that_is_sent_anything() {
    let key = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/vendors/google_secops/service_account.json");
    let settings = format!(
        "allow_literal_secrets: true
kafka:
  brokers: [one.example:9093, two.example:9093]
  security: sasl_tls
  sasl: {{mechanism: OAUTHBEARER, token_endpoint: 'https://login.example/token', client_id: a, client_secret: b, proxy: 'http://p1.example:3128'}}
providers:
  secops:
    {{type: google_secops, project: p, location: us, instance: 2c46cdd9-92e3-5e5f-b3cf-0123456789ab, credentials: {{file: {}}}}}
  casb: {{type: oracle_casb, base_url: 'https://casb.example', access_key: a, access_secret: b, proxy: 'http://p2.example:3128'}}
  own:
    type: generic_http
    base_url: https://own.example
    kinds: [host]
    request: {{path: '/risk/{{value}}'}}
    auth: {{token_url: 'https://sso.example/token', client_id: a, client_secret: hunter2}}
    answer: {{score: $.score}}
",
        key.display()
    );
    let (_folder, file) = config(&settings);
    let env = [("HTTPS_PROXY", "http://me:hunter2@p3.example:3128")];
    let out = command(&["check", "--json", "--config", file.to_str().unwrap()], b"", &env);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let others: Vec<_> = lines(&out.stdout).into_iter().filter(|line| line.get("sends").is_some()).collect();
    let told: Vec<_> = others.iter().map(|o| (o["for"].as_str().unwrap(), o["host"].as_str())).collect();
    let expected = [
        ("kafka", Some("one.example:9093")),
        ("kafka", Some("two.example:9093")),
        ("kafka.sasl", Some("login.example")),
        ("kafka.sasl", Some("p1.example:3128")),
        ("providers.secops", Some("oauth2.googleapis.com")),
        ("providers.casb", Some("casb.example")),
        ("providers.own", Some("sso.example")),
        ("providers.casb", Some("p2.example:3128")),
        ("HTTPS_PROXY", None),
    ];
    assert_eq!(told, expected, "{others:?}");
    assert!(!text(&out.stdout).contains("hunter2") && !text(&out.stderr).contains("hunter2"));
}

#[test]
fn check_connect_asks_the_broker_and_every_vendor() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let settings = Settings::of(&stage, "", vendors.providers("")).text();
    let check = |settings: &str| {
        let (_folder, file) = config(settings);
        let out = command(&["check", "--connect", "--config", file.to_str().unwrap()], b"", &[]);
        let all = lines(&out.stdout).into_iter().filter(|line| line.get("connection").is_some());
        (out.status.code(), all.collect::<Vec<_>>(), text(&out.stderr))
    };
    let (code, connections, errors) = check(&settings);
    assert_eq!(code, Some(0), "{errors}\n{connections:?}");
    assert_eq!(connections.len(), 3 + 5, "three topics and five vendors: {connections:?}");
    assert!(connections.iter().all(|line| line["ok"] == true), "{connections:?}");

    let wrong = settings.replace(riskstream::simulator::cloudflare::TOKEN, "another-token");
    let (code, connections, _) = check(&wrong);
    assert_eq!(code, Some(1));
    let bad: Vec<_> = connections.iter().filter(|line| line["ok"] == false).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0]["error"].as_str().unwrap().starts_with("unauthorised"), "{bad:?}");

    // As a start would end.
    let more = Stage::embedded(3);
    let mut settings = Settings::of(&more, "", vendors.providers(""));
    settings.topics = format!(
        "input: {{topics: [{}]}}\noutput: {{topic: {}, partition: input}}\ndead_letters: {{topic: {}}}\n",
        more.input, more.dead, more.output
    );
    let (code, connections, _) = check(&settings.text());
    assert_eq!(code, Some(1), "{connections:?}");
    let bad: Vec<_> = connections.iter().filter(|line| line["ok"] == false).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0]["error"].as_str().unwrap().contains("at least as many partitions"), "{bad:?}");
}

#[test]
fn check_and_run_refuse_what_librdkafka_refuses_and_never_show_a_value() {
    let stage = Stage::embedded(1);
    let right = Settings::of(&stage, "", "").text();
    for (maps, places) in [
        ("properties: {sasl.kerberos.nmae: s3cr3t}", vec!["kafka.properties.sasl.kerberos.nmae"]),
        ("consumer: {max.poll.interval.ms: 30000}", vec!["kafka.consumer.max.poll.interval.ms"]),
        ("properties: {fetch.max.bytes: 2000000000}", vec!["kafka.properties.fetch.max.bytes"]),
        ("properties: {message.max.bytes: 20000000}", vec!["kafka.properties.message.max.bytes"]),
        (
            "consumer: {fetch.mni.bytes: s3cr3t}, producer: {linger.ms: s3cr3t, compression.type: s3cr3t}",
            vec![
                "kafka.consumer.fetch.mni.bytes",
                "kafka.producer.linger.ms",
                "kafka.producer.compression.type",
            ],
        ),
    ] {
        let (_folder, file) = config(&right.replace("kafka: {", &format!("kafka: {{{maps}, ")));
        for name in ["check", "run"] {
            let out = command(&[name, "--config", file.to_str().unwrap()], b"", &[]);
            let errors = text(&out.stderr);
            assert_eq!(out.status.code(), Some(78), "{name} {maps}: {errors}");
            let keys: Vec<_> = lines(&out.stderr).into_iter().map(|line| line["key"].clone()).collect();
            assert_eq!(keys.len(), places.len(), "each once, {name} {maps}: {errors}");
            assert!(places.iter().all(|place| keys.contains(&(*place).into())), "{name} {maps}: {errors}");
            assert!(!errors.contains("s3cr3t"), "{errors}");
        }
    }
}

#[test]
fn enrich_waits_for_a_low_quota_as_long_as_it_takes() {
    let vendors = Vendors::start(0);
    let more = ", limit: {requests: 20, per: 1s}, max_wait: 100ms, queue: 10";
    let text_of = format!("allow_literal_secrets: true\nproviders:\n{}", vendors.provider("datadog", more));
    let (_folder, file) = config(&text_of);
    let alerts: String = (0..60)
        .map(|n| {
            format!(
                "{{\"eventVersion\":\"1.11\",\"eventSource\":\"iam.amazonaws.com\",\"eventName\":\"CreateAccessKey\",\
                 \"userIdentity\":{{\"type\":\"IAMUser\",\"arn\":\"arn:aws:iam::123456789012:user/u{n}\"}}}}\n"
            )
        })
        .collect();
    let out = command(&["enrich", "--config", file.to_str().unwrap()], alerts.as_bytes(), &[]);
    let summary = lines(&out.stderr).pop().unwrap();
    assert_eq!(summary["complete"], 60, "{summary}");
    assert_eq!(vendors.questions().len(), 60);
}

#[test]
fn exit_codes_tell_usage_from_configuration() {
    for arguments in [
        &["run"][..],
        &["fly"],
        &["lookup", "--config"],
        &[],
        &["extract", "--format", "nope", EXAMPLES],
        &["simulate", "--latency", "soon"],
    ] {
        assert_eq!(command(arguments, b"", &[]).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(command(&["--help"], b"", &[]).status.code(), Some(0));
    let wrong =
        "kafka: {brokers: [k:1], topcis: 1}\npipeline: {order: random}\nroutes: [{provider: nobody}]\n";
    let vendors = Vendors::start(0);
    let (_folder, file) = config(&vendors_only(&vendors));
    let out =
        command(&["enrich", "--format", "nope", "--config", file.to_str().unwrap(), EXAMPLES], b"", &[]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    let (_folder, file) = config(wrong);
    for name in ["run", "check", "enrich"] {
        let out = command(&[name, "--config", file.to_str().unwrap()], b"", &[]);
        assert_eq!(out.status.code(), Some(78), "{name}: {}", text(&out.stderr));
        let problems = text(&out.stderr);
        for place in ["topcis", "order", "nobody"] {
            assert!(problems.contains(place), "{name} lists all problems at once:\n{problems}");
        }
    }
    let out = command(&["run", "--config", "/nowhere.yaml"], b"", &[]);
    assert_eq!(out.status.code(), Some(78));
}
