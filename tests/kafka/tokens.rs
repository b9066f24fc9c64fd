//! OAUTHBEARER against the real broker, which checks signature, issuer, audience and time of each token, and asks for a
//! new one every four seconds. Needs `KAFKA_SECURE=1`.

use std::time::Duration;

use serde_json::Value;

use crate::harness::identity::{CLIENT, IdentityProvider};
use crate::harness::kafka::{Feeder, Stage};
use crate::harness::service::{Ended, Service, Settings, command, config};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};
use crate::secure::{error_of, variable};
use crate::{DEFAULT, broker_alone};

const BOUND: Duration = Duration::from_secs(60);

/// The section `kafka` for tokens of `provider`, with `more` members of `sasl`.
fn kafka(provider: &IdentityProvider, more: &str) -> Option<String> {
    let brokers = variable("KAFKA_SASL_TLS_BROKERS")?;
    let (ca, endpoint) = (variable("KAFKA_CA")?, provider.endpoint());
    Some(format!(
        "brokers: ['{brokers}'], security: sasl_tls, tls: {{ca: '{ca}'}}, sasl: {{mechanism: OAUTHBEARER, \
         token_endpoint: '{endpoint}', client_id: {CLIENT}, scope: kafka, extensions: {{logicalCluster: lkc-1}}, {more}}}"
    ))
}

/// The provider, or `None` without a secure broker.
fn provider(life: u64) -> Option<IdentityProvider> {
    variable("KAFKA_TOKEN_KEY")?;
    Some(IdentityProvider::start(Duration::from_secs(life)))
}

const SECRET: &str = "client_secret: {env: CLIENT_SECRET}";

/// Feeds a handful of alerts at a time until `done`.
fn feed(feeder: &mut Feeder<'_>, sent: &mut usize, mut done: impl FnMut() -> bool) {
    wait("what the alerts flow for", BOUND, || {
        for _ in 0..5 {
            feeder.send(alerts::mixed(*sent, 20, 2));
            *sent += 1;
        }
        done()
    });
}

/// Nothing is lost or repeated, and no token or secret is in the log.
fn assert_whole(
    stage: &Stage,
    provider: &IdentityProvider,
    feeder: Feeder<'_>,
    sent: usize,
    service: Service,
) {
    let inputs = feeder.end();
    stage.wait_for(sent, BOUND);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = check::compare(stage, &inputs, true);
    assert_eq!((found.published, found.repeated), (sent, 0));
    check::all_committed(stage);
    assert_secret(provider, &ended.log);
}

fn assert_secret(provider: &IdentityProvider, log: &str) {
    assert!(!log.contains(&provider.secret()), "the secret is logged");
    for token in provider.tokens() {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!log.contains(signature), "a token is logged");
    }
}

#[test]
fn tokens_are_renewed_while_alerts_flow_and_no_connection_is_lost() {
    let Some(_broker) = broker_alone() else { return };
    for delivery in ["at_least_once", "exactly_once"] {
        let Some(provider) = provider(8) else { return };
        renewed(&provider, delivery);
    }
}

fn renewed(provider: &IdentityProvider, delivery: &str) {
    let Some(kafka) = kafka(provider, SECRET) else { return };
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(1);
    let delivery = format!("delivery: {delivery}");
    let mut settings = Settings::of(&stage, &delivery, vendors.providers("") + "log: {level: debug}\n");
    settings.kafka = kafka + ", instance: only";
    let (text, secret) = (settings.text(), provider.secret());
    let mut service = Service::start_with(&text, &[("CLIENT_SECRET", &secret)]);
    service.assigned(2);
    let (mut feeder, mut sent) = (Feeder::new(&stage), 0);
    // Four tokens of 8 s: every connection has shown several of them.
    feed(&mut feeder, &mut sent, || provider.tokens().len() >= 4);
    assert_eq!(service.get("/readyz").0, 200);
    let asked = service.metric("riskstream_kafka_tokens_total{outcome=\"ok\"}").unwrap();
    assert!(asked >= 4.0, "{asked}");
    let until = service.metric("riskstream_kafka_token_expiry_timestamp_seconds").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(until > now && until < now + 9.0, "{until}, and it is {now}");
    let form = provider.requests().remove(0);
    assert_eq!(form, "grant_type=client_credentials&scope=kafka");
    let log = service.log();
    say(&format!("{sent} alerts over {} tokens", provider.tokens().len()));
    assert!(!log.contains("AllBrokersDown") && !log.contains("Authentication"), "{log}");
    // Commands have tokens of their own.
    let (_folder, file) = config(&text);
    for arguments in [&["check", "--connect"][..], &["dlq", "list"]] {
        let arguments = [arguments, &["--config", file.to_str().unwrap()]].concat();
        let out = command(&arguments, b"", &[("CLIENT_SECRET", &secret)]);
        let told = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(0), "{arguments:?}: {told}");
        assert_secret(provider, &told);
    }
    assert_whole(&stage, provider, feeder, sent, service);
}

#[test]
fn a_provider_that_is_away_stops_nobody_until_the_token_is_over_and_all_goes_on_when_it_is_back() {
    let Some(_broker) = broker_alone() else { return };
    let Some(provider) = provider(10) else { return };
    let Some(kafka) = kafka(&provider, SECRET) else { return };
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(1);
    let mut settings = Settings::of(&stage, "", vendors.providers(""));
    settings.kafka = kafka;
    let mut service = Service::start_with(&settings.text(), &[("CLIENT_SECRET", &provider.secret())]);
    service.assigned(2);
    provider.change(|script| script.away = true);
    let (mut feeder, mut sent) = (Feeder::new(&stage), 0);
    let mut noted = false;
    // Readiness names the provider while alerts still flow, and gives up when the token is over.
    let mut published = 0.0;
    feed(&mut feeder, &mut sent, || {
        let (code, body) = service.get("/readyz");
        let said: Value = serde_json::from_str(&body).unwrap();
        if code == 200 && said["kafka"][0].as_str().is_some_and(|note| note.contains("no token for Kafka")) {
            noted = true;
            published = service.metric("riskstream_alerts_published_total").unwrap();
        }
        code == 503 && body.contains("no token for Kafka")
    });
    assert!(noted && published > 0.0, "alerts flow while the token is good");
    assert_eq!(service.get("/livez").0, 200);
    // Brokers have ended the connections by now, or will at once.
    let before = provider.tokens().len();
    provider.change(|script| script.away = false);
    let back = wait("ready again", BOUND, || service.get("/readyz").0 == 200);
    let flowing = wait("alerts flow again", BOUND, || {
        service.metric("riskstream_alerts_published_total").unwrap() >= sent as f64
    });
    say(&format!("ready {back:?} after the provider was back, all {sent} published {flowing:?} later"));
    assert!(provider.tokens().len() > before);
    assert_whole(&stage, &provider, feeder, sent, service);
}

#[test]
fn a_secret_that_was_changed_at_the_provider_is_named_and_the_new_one_read_from_its_file() {
    let Some(_broker) = broker_alone() else { return };
    let Some(provider) = provider(10) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, provider.secret()).unwrap();
    let Some(kafka) = kafka(&provider, &format!("client_secret: {{file: '{}'}}", file.display())) else {
        return;
    };
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(1);
    let mut settings = Settings::of(&stage, "", vendors.providers(""));
    settings.kafka = kafka;
    let mut service = Service::start(&settings.text());
    service.assigned(2);
    provider.change(|script| script.secret = "another".to_owned());
    let (mut feeder, mut sent) = (Feeder::new(&stage), 0);
    feed(&mut feeder, &mut sent, || {
        let (_, body) = service.get("/readyz");
        body.contains("401: invalid_client") && body.contains("kafka.sasl.client_id and client_secret")
    });
    std::fs::write(&file, "another\n").unwrap();
    let before = provider.tokens().len();
    feed(&mut feeder, &mut sent, || provider.tokens().len() > before && service.get("/readyz").0 == 200);
    assert_whole(&stage, &provider, feeder, sent, service);
}

#[test]
fn a_broker_that_begins_to_refuse_is_named_in_readiness_with_the_cure_and_all_goes_on_when_it_takes_us_again()
{
    let Some(_broker) = broker_alone() else { return };
    let Some(provider) = provider(6) else { return };
    let Some(kafka) = kafka(&provider, SECRET) else { return };
    let stage = Stage::real(2, DEFAULT, DEFAULT);
    let vendors = Vendors::start(1);
    let mut settings = Settings::of(&stage, "", vendors.providers(""));
    settings.kafka = kafka;
    let mut service = Service::start_with(&settings.text(), &[("CLIENT_SECRET", &provider.secret())]);
    service.assigned(2);
    let audience = std::env::var("KAFKA_TOKEN_AUDIENCE").unwrap();
    provider.change(|script| script.audience = "somebody-else".to_owned());
    let (mut feeder, mut sent) = (Feeder::new(&stage), 0);
    feed(&mut feeder, &mut sent, || {
        let (code, body) = service.get("/readyz");
        code == 503 && body.contains("invalid_token") && body.contains("kafka.sasl.audience")
    });
    assert!(service.log().contains("its audience (kafka.sasl.audience)"), "the log says it too");
    assert_eq!(service.get("/livez").0, 200);
    provider.change(|script| script.audience = audience);
    let back = wait("ready again", BOUND, || service.get("/readyz").0 == 200);
    say(&format!("ready {back:?} after the tokens were right again"));
    assert_whole(&stage, &provider, feeder, sent, service);
}

/// The end of a start that cannot go well, and what its last error says.
fn start(provider: &IdentityProvider, secret: &str) -> Option<(Ended, String)> {
    let mut settings = Settings::of(&Stage::real(1, DEFAULT, DEFAULT), "", "");
    settings.kafka = kafka(provider, SECRET)?;
    let text = settings.text();
    let (_folder, file) = config(&text);
    let arguments = ["check", "--connect", "--config", file.to_str().unwrap()];
    let checked = command(&arguments, b"", &[("CLIENT_SECRET", secret)]);
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8(checked.stdout).unwrap() + &String::from_utf8(checked.stderr).unwrap();
    assert_secret(provider, &told);
    let ended = Service::start_with(&text, &[("CLIENT_SECRET", secret)]).ended(Duration::from_secs(40));
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let error = error_of(&ended);
    assert_secret(provider, &ended.log);
    assert!(!ended.log.contains(secret) && !told.contains(secret), "the secret is shown");
    Some((ended, error + &told))
}

#[test]
fn what_keeps_tokens_from_working_ends_the_start_with_the_cure() {
    let Some(_broker) = broker_alone() else { return };
    let Some(provider) = provider(60) else { return };
    let Some((ended, told)) = start(&provider, "hunter2") else { return };
    say(&format!("a wrong secret ended the start after {:?}", ended.took));
    for part in ["401: invalid_client", "Correct kafka.sasl.client_id and client_secret"] {
        assert_eq!(told.matches(part).count(), 1 + 3, "the service once, check for each topic: {told}");
    }

    provider.change(|script| script.audience = "somebody-else".to_owned());
    let (_, told) = start(&provider, &provider.secret()).unwrap();
    assert!(told.matches("its audience (kafka.sasl.audience)").count() >= 2, "{told}");

    provider.change(|script| script.over = Duration::from_secs(90));
    let (_, told) = start(&provider, &provider.secret()).unwrap();
    let (before, _) = told.split_once(" s ago by our clock").expect(&told);
    let ago: u64 = before.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((90..120).contains(&ago) && told.matches("Compare the clocks").count() >= 2, "{told}");
}
