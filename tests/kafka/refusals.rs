//! What the broker refuses: outputs that are too large, and topics that are not there.

use std::time::Duration;

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check};
use crate::{DEFAULT, broker};

#[test]
fn an_output_that_its_topic_does_not_take_becomes_a_dead_letter_and_the_next_go_on() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, 20_000);
    let vendors = Vendors::start(5);
    let settings = Settings::of(&stage, "", vendors.providers("")).text();
    let alert = |n: usize, bytes: usize| {
        let alert = alerts::of("datadog", &alerts::entity("datadog", n), n);
        let mut text = String::from_utf8(alert).unwrap();
        let noise: String = (0..bytes).map(|i| char::from(b'a' + (i * 7919 % 26) as u8)).collect();
        text.insert_str(1, &format!("\"noise\":\"{noise}\","));
        NewRecord { key: Some(b"k".to_vec()), ..NewRecord::value(0, text) }
    };
    let inputs = stage.produce((0..50).map(|n| alert(n, if n % 10 == 5 { 50_000 } else { 10 })).collect());
    let mut service = Service::start(&settings);
    service.assigned(1);
    stage.wait_for(50, Duration::from_secs(60));
    let reasons = service.metric("riskstream_dead_letters_total{reason=\"output_too_large\"}");
    service.ends_well();
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead, found.repeated), (45, 5, 0));
    assert_eq!(reasons, Some(5.0));
    for letter in stage.dead_letters() {
        assert_eq!(letter.header("__connect.errors.stage"), Some("TASK_PUT"));
        assert_eq!(
            letter.header("__connect.errors.exception.class.name"),
            Some("riskstream.output_too_large")
        );
        let message = letter.header("__connect.errors.exception.message").unwrap();
        assert!(message.contains(&stage.output) && message.contains("max.message.bytes"), "{message}");
    }
    check::all_committed(&stage);
}

#[test]
fn a_topic_that_is_missing_ends_the_start_with_its_name_and_the_cure() {
    let Some(_broker) = broker() else { return };
    let stage = Stage::real(1, DEFAULT, DEFAULT);
    for (role, topic) in [("input", &stage.input), ("output", &stage.output), ("dead-letter", &stage.dead)] {
        let missing = format!("{topic}-missing");
        let mut settings = Settings::of(&stage, "", "");
        settings.topics = settings.topics.replace(topic.as_str(), &missing);
        let ended = Service::start(&settings.text()).ended(Duration::from_secs(30));
        assert_eq!(ended.code, Some(1), "{}", ended.log);
        let line = ended.log.lines().find(|line| line.contains("\"ERROR\"")).expect("an error is logged");
        for part in [role, &missing, "Create it"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
