//! What Kafka's ACLs must allow: bob, who has no rights of his own, with the documented ones, and without each of them.
//! Needs `KAFKA_SECURE=1`.

use std::ffi::{CString, c_char};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::bindings as c;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use riskstream::config::Config;
use riskstream::source::access::{self, Answer, Finding, Operation, Resource, demand};
use riskstream::source::identity::Identity;
use serde_json::Value;

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings, command, config};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check, say, wait};
use crate::secure::{error_of, variable};
use crate::{DEFAULT, broker};

const BOUND: Duration = Duration::from_secs(30);

/// One entry of the list.
type Grant = (Resource, String, Operation);

/// Grants and takes back, as somebody who may.
struct Acls(AdminClient<DefaultClientContext>);

impl Acls {
    fn new() -> Acls {
        let brokers = std::env::var("KAFKA_BROKERS").unwrap();
        Acls(ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap())
    }

    fn grant(&self, grants: &[Grant]) {
        grants.iter().for_each(|grant| self.change(grant, true));
    }

    fn revoke(&self, grants: &[Grant]) {
        grants.iter().for_each(|grant| self.change(grant, false));
    }

    fn change(&self, (resource, name, operation): &Grant, grant: bool) {
        use c::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW as ALLOW;
        let literal = c::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL;
        let (kind, pattern) = match resource {
            Resource::Topic => (c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, literal),
            Resource::Group => (c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP, literal),
            Resource::TransactionalId => (
                c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
                c::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
            ),
        };
        let operation = match operation {
            Operation::Read => c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ,
            Operation::Write => c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE,
            Operation::Describe => c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DESCRIBE,
            Operation::DescribeConfigs => c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        };
        let [name, principal, host] =
            [name.as_str(), "User:bob", "*"].map(|text| CString::new(text).unwrap());
        let mut words: [c_char; 256] = [0; 256];
        let (words, size) = (words.as_mut_ptr(), words.len());
        let client = self.0.inner().native_ptr();
        // SAFETY: the client is alive; what is made here is ended here, the event before its queue; texts outlive the
        // calls, which copy them.
        unsafe {
            let queue = c::rd_kafka_queue_new(client);
            let (name, principal, host) = (name.as_ptr(), principal.as_ptr(), host.as_ptr());
            if grant {
                let mut acl = c::rd_kafka_AclBinding_new(
                    kind, name, pattern, principal, host, operation, ALLOW, words, size,
                );
                assert!(!acl.is_null());
                c::rd_kafka_CreateAcls(client, &mut acl, 1, std::ptr::null(), queue);
                c::rd_kafka_AclBinding_destroy(acl);
            } else {
                let mut acl = c::rd_kafka_AclBindingFilter_new(
                    kind, name, pattern, principal, host, operation, ALLOW, words, size,
                );
                assert!(!acl.is_null());
                c::rd_kafka_DeleteAcls(client, &mut acl, 1, std::ptr::null(), queue);
                c::rd_kafka_AclBinding_destroy(acl);
            }
            let event = c::rd_kafka_queue_poll(queue, 30_000);
            assert!(!event.is_null(), "no answer");
            let error = c::rd_kafka_event_error(event);
            assert_eq!(error, c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
            c::rd_kafka_event_destroy(event);
            c::rd_kafka_queue_destroy(queue);
        }
    }
}

/// The section `kafka` of bob; `None` without a secure broker.
fn bob() -> Option<String> {
    let brokers = variable("KAFKA_SASL_TLS_BROKERS")?;
    let [ca, user, password] = ["KAFKA_CA", "KAFKA_LIMITED_USERNAME", "KAFKA_LIMITED_PASSWORD"]
        .map(|name| std::env::var(name).unwrap());
    Some(format!(
        "brokers: ['{brokers}'], security: sasl_tls, tls: {{ca: '{ca}'}}, \
         sasl: {{mechanism: SCRAM-SHA-512, username: {user}, password: {password}}}"
    ))
}

fn parsed(text: &str) -> Config {
    Config::parse("test", text, Path::new(""), []).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is needed, entry by entry.
fn entries(needs: Vec<access::Need>) -> Vec<Grant> {
    let entry = |need: access::Need| {
        let name = need.name;
        need.operations.iter().map(move |operation| (need.resource, name.clone(), *operation))
    };
    needs.into_iter().flat_map(entry).collect()
}

/// Everything on the list but transactions.
fn list(config: &Config) -> Vec<Grant> {
    entries(access::needs(config, &[]))
}

/// Exit code of `check --connect`, and its lines about access.
fn checked(text: &str) -> (Option<i32>, Vec<Value>) {
    let (_folder, file) = config(text);
    let out = command(&["check", "--connect", "--config", file.to_str().unwrap()], b"", &[]);
    let lines = String::from_utf8(out.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (out.status.code(), lines.filter(|line| line.get("access").is_some()).collect())
}

/// What `check --connect` calls missing, as (name, operation).
fn missing(lines: &[Value]) -> Vec<(String, String)> {
    let of = |line: &Value| {
        let name = line["name"].as_str().unwrap().to_owned();
        let all = line["missing"].as_array().unwrap().clone();
        all.into_iter().map(move |operation| (name.clone(), operation.as_str().unwrap().to_owned()))
    };
    lines.iter().flat_map(of).collect()
}

/// Whether Kafka's own authorizer sees `grant` in the others.
fn implied(grant: &Grant, others: &[Grant]) -> bool {
    grant.2 == Operation::Describe
        && others.iter().any(|(resource, name, operation)| {
            (resource, name) == (&grant.0, &grant.1)
                && matches!(operation, Operation::Read | Operation::Write)
        })
}

/// Alerts of which the last is none.
fn some_and_poison(count: usize) -> Vec<NewRecord> {
    let mut records: Vec<NewRecord> = (1..count).map(|n| alerts::mixed(n, 10, 1)).collect();
    records.push(NewRecord::value(0, "not JSON"));
    records
}

#[test]
fn the_listed_acls_are_enough_and_each_that_is_missing_ends_the_start_and_is_named_by_check() {
    let Some(_broker) = broker() else { return };
    let Some(kafka) = bob() else { return };
    let (stage, vendors, acls) = (Stage::real(1, DEFAULT, DEFAULT), Vendors::start(1), Acls::new());
    let mut settings = Settings::of(&stage, "", vendors.providers(""));
    settings.kafka = kafka;
    let text = settings.text();
    let list = list(&parsed(&text));
    acls.grant(&list);

    wait("check finds nothing missing", BOUND, || checked(&text).0 == Some(0));
    let (_, lines) = checked(&text);
    assert!(lines.iter().all(|line| line["unknown"].is_null()), "{lines:?}");
    let lost: Vec<_> = lines.iter().filter(|line| !line["lost"].is_null()).collect();
    assert_eq!(lost.len(), 2, "DescribeConfigs of output and dead letters is wanted, not needed: {lost:?}");
    assert!(lost.iter().all(|line| line["cure"].as_str().unwrap().contains("--operation DescribeConfigs")));
    let inputs = stage.produce(some_and_poison(50));
    let mut service = Service::start(&text);
    service.assigned(1);
    stage.wait_for(50, BOUND);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead, found.repeated), (49, 1, 0));
    check::all_committed(&stage);

    for grant in &list {
        let others: Vec<Grant> = list.iter().filter(|other| *other != grant).cloned().collect();
        let (_, name, operation) = grant;
        acls.revoke(std::slice::from_ref(grant));
        if implied(grant, &others) {
            let (code, lines) = checked(&text);
            assert_eq!((code, missing(&lines)), (Some(0), vec![]), "{grant:?} is seen in the others");
        } else {
            let mut found = Vec::new();
            wait("check finds it", BOUND, || {
                found = missing(&checked(&text).1);
                !found.is_empty()
            });
            assert!(found.contains(&(name.clone(), operation.label().to_owned())), "{grant:?}: {found:?}");
            assert!(found.iter().all(|(missing, _)| missing == name), "{grant:?}: {found:?}");
            let ended = Service::start(&text).ended(BOUND);
            assert_eq!(ended.code, Some(1), "{grant:?}: {}", ended.log);
            let error = error_of(&ended);
            say(&format!("without {} on {name}, after {:?}: {error}", operation.label(), ended.took));
            assert!(error.contains(name) && error.contains(operation.label()), "{error}");
            assert!(error.contains("kafka-acls") || error.contains("check --connect"), "{error}");
        }
        acls.grant(std::slice::from_ref(grant));
    }
    acls.revoke(&list);
}

#[test]
fn an_acl_that_is_taken_away_while_alerts_flow_ends_the_service_with_the_cure_and_nothing_is_lost() {
    let Some(_broker) = broker() else { return };
    let Some(kafka) = bob() else { return };
    let (vendors, acls) = (Vendors::start(1), Acls::new());
    for (role, cure) in [
        ("input", "Read and Describe on"),
        ("output", "Write and Describe"),
        ("consumer", "Read on the group"),
    ] {
        let stage = Stage::real(1, DEFAULT, DEFAULT);
        let mut settings = Settings::of(&stage, "", vendors.providers(""));
        settings.kafka.clone_from(&kafka);
        let text = settings.text();
        let config = parsed(&text);
        let list = list(&config);
        acls.grant(&list);
        wait("check finds nothing missing", BOUND, || checked(&text).0 == Some(0));
        let mut inputs = stage.produce((0..20).map(|n| alerts::mixed(n, 10, 1)).collect());
        let mut service = Service::start(&text);
        service.assigned(1);
        stage.wait_for(20, BOUND);
        let need = access::needs(&config, &[]).into_iter().find(|need| need.role == role).unwrap();
        let taken: Vec<Grant> = list.iter().filter(|(_, name, _)| *name == need.name).cloned().collect();
        acls.revoke(&taken);
        inputs.extend(stage.produce((0..20).map(|n| alerts::mixed(n, 10, 1)).collect()));
        let ended = service.ended(Duration::from_secs(60));
        assert_eq!(ended.code, Some(1), "{role}: {}", ended.log);
        let error = error_of(&ended);
        say(&format!("{role} closed while running: {error}"));
        assert!(error.contains(cure), "{role}: {error}");

        acls.grant(&taken);
        wait("check finds nothing missing", BOUND, || checked(&text).0 == Some(0));
        let mut service = Service::start(&text);
        service.assigned(1);
        stage.wait_for(40, BOUND);
        wait("everything committed", BOUND, || stage.committed() == stage.ends());
        service.ends_well();
        check::compare(&stage, &inputs, true);
        acls.revoke(&list);
    }
}

#[test]
fn the_commands_that_check_prints_grant_what_is_missing() {
    let Some(_broker) = broker() else { return };
    let Some(kafka) = bob() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    let mut settings = Settings::of(&stage, "", "");
    settings.kafka = kafka;
    let text = settings.text();
    let (code, lines) = checked(&text);
    assert_eq!(code, Some(1));
    let commands: Vec<&str> = lines.iter().filter_map(|line| line["cure"].as_str()).collect();
    assert_eq!(commands.len(), 4, "{lines:?}");
    for command in commands {
        // As a shell reads it; the broker's own listener is the one that may change ACLs.
        let (_, arguments) = command.split_once(" --add ").expect(command);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/broker.sh");
        let line = format!("{script} acl --add {arguments}");
        let out = Command::new("bash").args(["-c", &line]).output().unwrap();
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    }
    let mut found = (None, Vec::new());
    wait("check finds nothing missing", BOUND, || {
        found = checked(&text);
        found.0 == Some(0)
    });
    assert!(found.1.iter().all(|line| line["lost"].is_null() && line["cure"].is_null()), "{:?}", found.1);
    let mut service = Service::start(&text);
    service.assigned(1);
    service.ends_well();
}

#[test]
fn whether_transactions_are_allowed_is_found_by_a_try() {
    let Some(_broker) = broker() else { return };
    let Some(kafka) = bob() else { return };
    let (stage, acls) = (Stage::real(1, DEFAULT, DEFAULT), Acls::new());
    let mut settings = Settings::of(&stage, "", "");
    settings.kafka = kafka;
    let config = parsed(&settings.text());
    let asked = || demand::transactions(&config, &Identity::default(), BOUND);
    let need = access::transactional(&stage.group);
    let list = entries(vec![need.clone()]);
    assert_eq!(asked(), Finding { need: need.clone(), answer: Answer::Closed });
    for grant in &list {
        let others: Vec<Grant> = list.iter().filter(|other| *other != grant).cloned().collect();
        acls.grant(&others);
        let expected = if implied(grant, &others) { vec![] } else { need.operations.to_vec() };
        wait("what is missing is found", BOUND, || asked().missing() == expected);
        acls.revoke(&others);
    }
    acls.grant(&list);
    wait("nothing is missing", BOUND, || asked().answer == Answer::Allowed(need.operations.to_vec()));
    acls.revoke(&list);
}

#[test]
fn exactly_once_needs_its_transactional_ids_as_well() {
    let Some(_broker) = broker() else { return };
    let Some(kafka) = bob() else { return };
    let (stage, vendors, acls) = (Stage::real(1, DEFAULT, DEFAULT), Vendors::start(1), Acls::new());
    let mut settings = Settings::of(&stage, "delivery: exactly_once", vendors.providers(""));
    settings.kafka = kafka + ", instance: only";
    let text = settings.text();
    let topics = list(&parsed(&text));
    let ids = entries(vec![access::transactional(&stage.group)]);
    acls.grant(&topics);
    let (code, lines) = checked(&text);
    let operations: Vec<_> = missing(&lines).into_iter().map(|(_, operation)| operation).collect();
    assert_eq!((code, operations), (Some(1), vec!["Write".to_owned(), "Describe".to_owned()]));
    let ended = Service::start(&text).ended(BOUND);
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let error = error_of(&ended);
    say(&format!("exactly once without its ids: {error}"));
    assert!(error.contains("transactional id") && error.contains("check --connect"), "{error}");

    acls.grant(&ids);
    wait("check finds nothing missing", BOUND, || checked(&text).0 == Some(0));
    let inputs = stage.produce(some_and_poison(50));
    let mut service = Service::start(&text);
    service.assigned(1);
    wait("everything committed", BOUND, || {
        assert!(!service.has_ended(), "{}", service.log());
        stage.committed().values().sum::<i64>() == 50
    });
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead, found.repeated), (49, 1, 0));
    acls.revoke(&ids);
    acls.revoke(&topics);
}
