//! What topics allow: known before a record is refused, and said at the start.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check};
use crate::{DEFAULT, broker};

/// A stage whose three topics have these settings.
fn stage(input: &[(&str, &str)], output: &[(&str, &str)], dead: &[(&str, &str)]) -> Stage {
    let mut stage = Stage::real(1, DEFAULT, DEFAULT);
    for name in [&mut stage.input, &mut stage.output, &mut stage.dead] {
        name.push_str("-limited");
    }
    for (name, settings) in [(&stage.input, input), (&stage.output, output), (&stage.dead, dead)] {
        stage.create_with(name, 1, settings);
    }
    stage
}

#[test]
fn what_its_topic_would_refuse_is_known_before_and_nobody_loses_a_place() {
    let Some(_broker) = broker() else { return };
    let hour = 3_600_000;
    let any = ("message.timestamp.after.max.ms", "9223372036854775807");
    let stage = stage(
        &[any],
        &[("message.timestamp.before.max.ms", "86400000"), ("max.message.bytes", "20000")],
        &[],
    );
    let vendors = Vendors::start(5);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let alert = |n: usize| {
        let text = String::from_utf8(alerts::of("datadog", &alerts::entity("datadog", n % 50), n)).unwrap();
        // Every seventh is of tomorrow, every eleventh of last week, every 13th too large for the output.
        let timestamp = match n {
            n if n % 7 == 3 => Some(now + 24 * hour),
            n if n % 11 == 5 => Some(now - 7 * 24 * hour),
            _ => None,
        };
        let noise = if n % 13 == 6 { 30_000 } else { 10 };
        let text = text.replacen('{', &format!("{{\"noise\":\"{}\",", "x".repeat(noise)), 1);
        NewRecord { key: Some(b"k".to_vec()), timestamp, ..NewRecord::value(0, text) }
    };
    let inputs = stage.produce((0..5_000).map(alert).collect());
    let mut service = Service::start(&Settings::of(&stage, "", vendors.providers("")).text());
    stage.wait_for(inputs.len(), Duration::from_secs(60));
    let refused = service.metric("riskstream_dead_letters_total{reason=\"output_too_large\"}").unwrap();
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    check::all_committed(&stage);
    let (outputs, letters) = (stage.outputs(), stage.dead_letters());
    assert_eq!((outputs.len() + letters.len(), letters.len()), (5_000, refused as usize));
    assert!(letters.len() > 300);
    let sources: Vec<i64> = outputs.iter().map(|output| check::source(&stage, output).1).collect();
    assert!(sources.is_sorted_by(|a, b| a < b), "an output lost its place");
    for (output, source) in outputs.iter().zip(sources) {
        let input = &inputs[source as usize];
        let strange = (source % 7 == 3) || (source % 11 == 5);
        match output.header("risk-timestamp") {
            None => assert_eq!((strange, output.timestamp), (false, input.timestamp)),
            Some(original) => {
                assert!(strange);
                assert_eq!(original.parse().ok(), input.timestamp);
                assert!(output.timestamp.unwrap() >= now, "it leaves with the time of now");
            }
        }
    }
}

#[test]
fn topics_that_do_not_fit_are_told_once_at_the_start() {
    let Some(_broker) = broker() else { return };
    let stage = stage(
        &[("retention.ms", "604800000"), ("max.message.bytes", "2000000")],
        &[
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "86400000"),
            ("max.message.bytes", "500000"),
        ],
        &[("cleanup.policy", "compact"), ("max.message.bytes", "1000000")],
    );
    let mut service = Service::start(&Settings::of(&stage, "threads: 3", "").text());
    service.assigned(1);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let warnings: Vec<&str> = ended.log.lines().filter(|line| line.contains("\"WARN\"")).collect();
    for words in [
        format!("output topic {} is compacted", stage.output),
        format!("dead-letter topic {} is compacted", stage.dead),
        format!("output topic {} (500000) is below output.max_bytes (900000)", stage.output),
        format!(
            "output topic {} keeps alerts for 24 hours, input topic {} for 7 days",
            stage.output, stage.input
        ),
        format!("dead-letter topic {} (1000000) is below that of input topic {}", stage.dead, stage.input),
    ] {
        let told = warnings.iter().filter(|line| line.contains(&words)).count();
        assert_eq!(told, 1, "{words} in {warnings:#?}");
    }
}
