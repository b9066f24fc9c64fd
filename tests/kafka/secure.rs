//! Connections as they are in production: TLS with a client certificate, SASL over TLS. Needs `KAFKA_SECURE=1`.

use std::time::Duration;

use crate::harness::kafka::Stage;
use crate::harness::service::{Ended, Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say};
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
