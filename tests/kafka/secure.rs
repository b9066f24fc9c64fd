//! Connections as they are in production: TLS with a client certificate, SASL over TLS. Needs `KAFKA_SECURE=1`.

use std::time::Duration;

use crate::harness::kafka::Stage;
use crate::harness::service::{Ended, Service, Settings, command, config};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};
use crate::{DEFAULT, broker};

/// The variable, or `None` and a word about it.
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        say(&format!("skipped: {name} is not set; start the broker with KAFKA_SECURE=1"));
    }
    value
}

/// What the last error of a service says that has ended.
pub fn error_of(ended: &Ended) -> String {
    let line = ended.log.lines().rfind(|line| line.contains("\"ERROR\"")).expect("an error is logged");
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["error"].as_str().expect("an error").to_owned()
}

/// A hundred alerts over the connection that `kafka` describes; the log.
fn run(kafka: &str, env: &[(&str, &str)]) -> String {
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(1);
    let inputs = stage.produce((0..100).map(|n| alerts::mixed(n, 20, 2)).collect());
    let mut settings = Settings::of(&stage, "", vendors.providers("") + "log: {level: debug}\n");
    settings.kafka = kafka.to_owned();
    let mut service = Service::start_with(&settings.text(), env);
    service.assigned(2);
    stage.wait_for(100, Duration::from_secs(30));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.repeated), (100, 0));
    check::all_committed(&stage);
    ended.log
}

#[test]
fn mutual_tls_works() {
    let Some(_broker) = broker() else { return };
    let Some(brokers) = variable("KAFKA_TLS_BROKERS") else { return };
    let [ca, certificate, key] =
        ["KAFKA_CA", "KAFKA_CERTIFICATE", "KAFKA_KEY"].map(|n| std::env::var(n).unwrap());
    run(
        &format!(
            "brokers: ['{brokers}'], security: tls, tls: {{ca: '{ca}', certificate: '{certificate}', key: '{key}'}}"
        ),
        &[],
    );
}

#[test]
fn every_sasl_mechanism_works_and_its_password_is_never_logged() {
    let Some(_broker) = broker() else { return };
    let Some(brokers) = variable("KAFKA_SASL_TLS_BROKERS") else { return };
    let [ca, user, password] =
        ["KAFKA_CA", "KAFKA_USERNAME", "KAFKA_PASSWORD"].map(|n| std::env::var(n).unwrap());
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let log = run(
            &format!(
                "brokers: ['{brokers}'], security: sasl_tls, tls: {{ca: '{ca}'}}, \
                 sasl: {{mechanism: {mechanism}, username: {user}, password: {{env: SASL_PASSWORD}}}}"
            ),
            &[("SASL_PASSWORD", &password)],
        );
        assert!(!log.contains(&password), "{mechanism}: the password is logged");
    }
}

/// What a start and `check --connect` have to say about a connection that cannot be made.
struct Wrong {
    what: &'static str,
    kafka: String,
    /// Words of both.
    words: &'static [&'static str],
}

#[test]
fn what_is_refused_at_the_door_ends_the_start_and_the_check_with_its_cure() {
    let Some(_broker) = broker() else { return };
    let Some(sasl) = variable("KAFKA_SASL_TLS_BROKERS") else { return };
    let [ca, plaintext, tls, expired, elsewhere] = [
        "KAFKA_CA",
        "KAFKA_BROKERS",
        "KAFKA_TLS_BROKERS",
        "KAFKA_EXPIRED_BROKERS",
        "KAFKA_ELSEWHERE_BROKERS",
    ]
    .map(|name| std::env::var(name).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.pem");
    std::fs::write(&other, rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem()).unwrap();
    let other = other.display().to_string();
    let password = |mechanism: &str| {
        format!(
            "brokers: ['{sasl}'], security: sasl_tls, tls: {{ca: '{ca}'}}, \
             sasl: {{mechanism: {mechanism}, username: alice, password: hunter2}}"
        )
    };
    let over_tls =
        |brokers: &str, ca: &str| format!("brokers: ['{brokers}'], security: tls, tls: {{ca: '{ca}'}}");
    let name = "brokers: ['kafka.riskstream.invalid:9092'], security: plaintext".to_owned();
    let wrong = |what, kafka, words| Wrong { what, kafka, words };
    let cases = [
        wrong(
            "a wrong password, PLAIN",
            password("PLAIN"),
            &["Invalid username or password", "Correct kafka.sasl"],
        ),
        wrong(
            "a wrong password, SCRAM",
            password("SCRAM-SHA-256"),
            &["invalid credentials", "Correct kafka.sasl"],
        ),
        wrong("an expired certificate", over_tls(&expired, &ca), &["expired", "Renew it at the broker"]),
        wrong(
            "a certificate for another name",
            over_tls(&elsewhere, &ca),
            &["is for other names: kafka.example.com", "advertised.listeners"],
        ),
        wrong(
            "an unknown authority",
            over_tls(&tls, &other),
            &["not signed by an authority in", "kafka.tls.ca"],
        ),
        wrong("a name that nobody knows", name, &["kafka.riskstream.invalid", "resolve", "Correct the name"]),
    ];
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    // All at once: each waits for a quarter of a minute.
    std::thread::scope(|scope| {
        for case in &cases {
            let mut settings = Settings::of(&stage, "", "");
            settings.kafka.clone_from(&case.kafka);
            let text = settings.text();
            scope.spawn(move || {
                let mut service = Service::start(&text);
                wait("readiness says what is wrong", Duration::from_secs(14), || {
                    let (code, body) = service.get("/readyz");
                    assert_eq!(code, 503, "{}", case.what);
                    body.contains("waiting for a Kafka broker")
                        && body.contains("://") | body.contains("resolve")
                });
                let ended = service.ended(Duration::from_secs(40));
                assert_eq!(ended.code, Some(1), "{}: {}", case.what, ended.log);
                let error = error_of(&ended);
                say(&format!("{}: ended with {:?}: {error}", case.what, ended.code));

                let (_folder, file) = config(&text);
                let checked = command(&["check", "--connect", "--config", file.to_str().unwrap()], b"", &[]);
                assert_eq!(checked.status.code(), Some(1), "{}", case.what);
                let told = String::from_utf8(checked.stdout).unwrap();
                for word in case.words {
                    assert!(
                        error.contains(word) && told.contains(word),
                        "{}: {word} in {error}\n{told}",
                        case.what
                    );
                }
                assert!(!ended.log.contains("hunter2") && !told.contains("hunter2"), "the password is shown");
                if case.what.contains("password") {
                    let listed = command(&["dlq", "list", "--config", file.to_str().unwrap()], b"", &[]);
                    let listed = String::from_utf8(listed.stderr).unwrap();
                    assert!(listed.contains(case.words[0]), "{listed}");
                }
            });
        }
        // The listener is another one than kafka.security says: that may be an outage, so it is waited for, aloud.
        for (what, kafka) in [
            ("TLS to a plaintext port", over_tls(&plaintext, &ca)),
            ("plaintext to a TLS port", format!("brokers: ['{tls}'], security: plaintext")),
            ("no SASL to a SASL port", over_tls(&sasl, &ca)),
        ] {
            let mut settings = Settings::of(&stage, "", "");
            settings.kafka = kafka;
            scope.spawn(move || {
                let mut service = Service::start(&settings.text());
                wait(what, Duration::from_secs(14), || {
                    let (_, body) = service.get("/readyz");
                    body.contains("kafka.security may not be what its listener speaks")
                });
                service.ends_well();
            });
        }
    });
}
