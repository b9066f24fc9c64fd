//! `dead_letters`: their topic, what is remembered of those that were redriven, and when there are too many.
//!
//! Contract: none of its topics is one that alerts are read from or enriched alerts are written to.

use std::time::Duration;

use super::input::{TOPIC, is_topic};
use super::read::output_topic;
use super::{Input, Output, Section};

/// `dead_letters`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetters {
    /// Their topic.
    pub topic: String,
    /// What happens when the topic does not take one.
    pub on_failure: OnFailure,
    /// The compacted topic in which `dlq redrive` remembers what it did.
    pub markers: String,
    /// When there are too many of them.
    pub flood: Flood,
}

/// `dead_letters.on_failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Send it again until it is taken. Others go on, but nothing behind it is committed, and reading stops once the
    /// ledger behind it is long: nothing is lost.
    Wait,
    /// Stop the process with an error.
    Stop,
}

/// `dead_letters.flood`: within `per`, at least so many, and at least that share of the alerts read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flood {
    /// Share of the alerts read, above 0 and up to 1.
    pub share: f64,
    /// The span of time that is looked at.
    pub per: Duration,
    /// Fewer are never a flood.
    pub at_least: u64,
    /// What follows.
    pub action: FloodAction,
}

/// `dead_letters.flood.action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodAction {
    /// Say so: log, metric, readiness detail. Whoever can write bad records must not be able to stop the rest.
    Report,
    /// Also stop the process with an error.
    Stop,
}

pub(super) fn read(mut section: Section<'_>, input: &Input, output: &Output) -> DeadLetters {
    let reactions = [("wait", OnFailure::Wait), ("stop", OnFailure::Stop)];
    let topic = output_topic(&mut section, "security.alerts.dead-letters", input);
    if topic == output.topic {
        let cure = "write another: playbooks must not meet dead letters";
        section.problem("topic", format!("{} is the output topic too", output.topic), cure);
    }
    if output.updates.as_ref() == Some(&topic) {
        let cure = "write another: who reads updates must not meet dead letters";
        section.problem("topic", format!("{topic} is the topic of updates (output.updates) too"), cure);
    }
    let on_failure = section.choice("on_failure", &reactions).unwrap_or(OnFailure::Wait);
    let markers = markers(&mut section, &topic, input, output);
    let flood = flood(section.section_or_empty("flood"));
    section.finish();
    DeadLetters { topic, on_failure, markers, flood }
}

fn markers(section: &mut Section<'_>, topic: &str, input: &Input, output: &Output) -> String {
    let markers = section.text("markers").unwrap_or_else(|| format!("{topic}.redriven"));
    let input_reads = |name: &str| input.topics.iter().any(|topic| topic.matches(name));
    let taken = if input_reads(&markers) {
        Some("an input topic")
    } else if markers == output.topic {
        Some("the output topic")
    } else if output.updates.as_ref() == Some(&markers) {
        Some("the topic of updates")
    } else if markers == topic {
        Some("the topic of the dead letters")
    } else {
        None
    };
    if let Some(taken) = taken {
        let usual = format!("{topic}.redriven");
        let cure = if usual == output.topic || input_reads(&usual) {
            "write another: it is compacted".to_owned()
        } else {
            format!("write another, such as {usual}: it is compacted")
        };
        section.problem("markers", format!("{markers} is {taken} too"), cure);
    } else if is_topic(topic) && !is_topic(&markers) {
        section.problem("markers", "not a topic", TOPIC);
    }
    markers
}

fn flood(mut section: Section<'_>) -> Flood {
    let actions = [("report", FloodAction::Report), ("stop", FloodAction::Stop)];
    let flood = Flood {
        share: section.number("share", 0.001..=1.0).unwrap_or(0.1),
        per: section.positive_duration("per").unwrap_or(Duration::from_secs(60)),
        at_least: section.integer("at_least", 1..=1_000_000_000).unwrap_or(100),
        action: section.choice("action", &actions).unwrap_or(FloodAction::Report),
    };
    if flood.per < Duration::from_secs(1) {
        section.problem("per", "counters are looked at once a second", "write at least 1s");
    }
    section.finish();
    flood
}
