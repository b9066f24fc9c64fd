//! The input topics of a lane: which ones the configuration means, and where the alerts of each go.
//!
//! Contract: a topic that was not there at the start, and a partition that was added since, are looked at when they are
//! assigned, before their first alert; no output goes to a partition that does not exist. A topic that the configuration
//! does not mean is an error and never read past. [`Inputs`] is pure; [`learn`] asks the broker.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use crate::admin::health::LaneHealth;
use crate::alert::Formats;
use crate::alert::decode::Select;
use crate::config::{Config, InputTopic, OutputPartition};
use crate::sink::partition::Chooser;
use crate::source::LaneError;
use crate::source::core::Core;
use crate::source::recreated::{self, Ids};

/// Bound of one question.
pub const ASK: Duration = Duration::from_secs(2);
/// How long is asked before the process ends rather than guess.
pub const BOUND: Duration = Duration::from_secs(20);

/// An input topic as a lane sees it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The format that the configuration names for its alerts.
    pub format: Option<String>,
    /// How the format of its alerts is found: as [`Topic::select`] last found it.
    pub select: Select,
    /// Which output partition its alerts go to.
    pub chooser: Chooser,
    /// Its partitions, when they were last counted.
    pub inputs: i32,
    /// What commits say of it: which of all topics that ever had its name it is. `None` where the broker does not tell.
    pub mark: Option<String>,
    /// Whether it is another one than at the start.
    pub reborn: bool,
}

impl Topic {
    /// Finds its format by name in `formats`, where it has one.
    pub fn select(&mut self, formats: &Formats) {
        let named = self.format.as_deref().and_then(|name| formats.id(name));
        self.select = named.map_or(Select::Auto, Select::Named);
    }
}

/// What the configuration says of input topics.
#[derive(Clone, Debug)]
pub struct Inputs {
    rules: Vec<InputTopic>,
    output: String,
    wanted: Option<OutputPartition>,
    /// Topics and their partitions when the lane started.
    first: HashMap<String, i32>,
}

impl Inputs {
    /// From the configuration.
    pub fn new(config: &Config) -> Self {
        Inputs {
            // A name says more than a pattern.
            rules: {
                let mut rules = config.input.topics.clone();
                rules.sort_by_key(|topic| topic.pattern.is_some());
                rules
            },
            output: config.output.topic.clone(),
            wanted: config.output.partition,
            first: HashMap::new(),
        }
    }

    /// Notes a topic that is there at the start.
    pub fn found(&mut self, topic: &str, count: i32) {
        self.first.insert(topic.to_owned(), count);
    }

    /// Any of those that were there at the start.
    pub fn any(&self) -> Option<&str> {
        self.first.keys().next().map(String::as_str)
    }

    /// Notes those that patterns match.
    pub fn found_by_patterns(&mut self, metadata: &Metadata) {
        let patterns: Vec<_> = self.rules.iter().filter(|rule| rule.pattern.is_some()).collect();
        let names = metadata.topics().iter().map(|topic| topic.name());
        let matching = names.filter(|name| patterns.iter().any(|rule| rule.matches(name)));
        let found = matching.filter_map(|name| Some((name.to_owned(), count(metadata, name)?)));
        self.first.extend(found.collect::<Vec<_>>());
    }

    /// Whether a partition came after the start. All of it is read then, wherever a new group starts: it is the group
    /// that is not new.
    pub fn is_new(&self, topic: &str, partition: i32) -> bool {
        self.first.get(topic).is_none_or(|first| partition >= *first)
    }

    /// What a lane notes of topic `name`, of `inputs` partitions, while the output has `outputs`.
    ///
    /// # Errors
    /// The configuration does not mean it, or wants more of the output than it has.
    pub fn topic(&self, name: &str, inputs: i32, outputs: i32) -> Result<Topic, LaneError> {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(name)) else {
            return Err(LaneError::Topic {
                role: "input",
                topic: name.to_owned(),
                why: "the group gave us a partition of it, and the configuration does not name it".to_owned(),
                cure: "Give each set of input topics a group of its own (input.group)",
            });
        };
        let chooser = chooser(self.wanted, name, inputs, &self.output, outputs)?;
        let (name, format) = (name.to_owned(), rule.format.clone());
        Ok(Topic { name, format, select: Select::Auto, chooser, inputs, mark: None, reborn: false })
    }

    /// Whether the outputs of a topic are placed by key though nobody asked for that.
    pub fn is_misfit(&self, topic: &Topic) -> bool {
        topic.chooser != Chooser::Same && self.wanted.is_none()
    }

    /// Of the topics of `partitions`, those that must be counted (again): unknown ones, such as have grown, and those
    /// whose counts did not fit.
    pub fn unsure<'p>(&self, known: &[Topic], partitions: &'p [(String, i32)]) -> Vec<&'p str> {
        let mut unsure: Vec<&str> = Vec::new();
        for (name, partition) in partitions {
            let sure = known
                .iter()
                .find(|topic| topic.name == *name)
                .is_some_and(|topic| *partition < topic.inputs && !self.is_misfit(topic));
            if !sure && !unsure.contains(&name.as_str()) {
                unsure.push(name);
            }
        }
        unsure
    }
}

/// Says that outputs of a topic are placed by key.
pub fn tell_misfit(topic: &Topic, outputs: i32) {
    tracing::warn!(
        topic = topic.name,
        inputs = topic.inputs,
        outputs,
        "input and output have different partition counts: outputs are placed by key"
    );
}

/// Looks at the topics of partitions that become ours, where there is something to learn. Blocks for as long as the
/// broker takes, within a bound.
///
/// # Errors
/// [`LaneError::Topic`], and a broker that does not tell.
pub fn learn<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    core: &mut Core,
    inputs: &Inputs,
    partitions: &[(String, i32)],
    health: &LaneHealth,
) -> Result<(), LaneError> {
    count_partitions(consumer, core, inputs, partitions, health)?;
    let mut names: Vec<&str> = partitions.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let ids = recreated::ids(consumer.client(), &names, ASK);
    if let Some(cluster) = consumer.client().fetch_cluster_id(ASK) {
        for (name, id) in ids {
            core.identify(&name, recreated::mark(&cluster, &id));
        }
    }
    Ok(())
}

fn count_partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    core: &mut Core,
    inputs: &Inputs,
    partitions: &[(String, i32)],
    health: &LaneHealth,
) -> Result<(), LaneError> {
    let unsure = inputs.unsure(core.topics(), partitions);
    let Some(first) = unsure.first() else { return Ok(()) };
    let until = Instant::now() + BOUND;
    let outputs = patient(until, health, || core.outputs(ASK))?;
    // One question for one topic, and one for all where there are several.
    let topic = (unsure.len() == 1).then_some(*first);
    let metadata = patient(until, health, || consumer.fetch_metadata(topic, ASK))?;
    for name in unsure {
        // Of a topic that goes in this very moment, what was assigned is all that is known.
        let assigned =
            partitions.iter().filter(|(topic, _)| topic == name).map(|(_, number)| number + 1).max();
        let topic = inputs.topic(name, count(&metadata, name).max(assigned).unwrap_or(0), outputs)?;
        tracing::info!(topic = topic.name, inputs = topic.inputs, outputs, "partitions counted");
        if inputs.is_misfit(&topic) {
            tell_misfit(&topic, outputs);
        }
        core.learn(topic);
    }
    Ok(())
}

/// Which partition of `output` alerts of the input topic `name` go to.
///
/// # Errors
/// The configuration wants more of the output than it has.
pub fn chooser(
    wanted: Option<OutputPartition>,
    name: &str,
    inputs: i32,
    output: &str,
    outputs: i32,
) -> Result<Chooser, LaneError> {
    let chooser = Chooser::new(wanted, inputs, outputs);
    if chooser != Chooser::Same && wanted == Some(OutputPartition::Input) {
        return Err(LaneError::Topic {
            role: "output",
            topic: output.to_owned(),
            why: format!("{outputs} partitions, but {name} has {inputs} and output.partition is input"),
            cure: "Give the output at least as many partitions, or set output.partition to key",
        });
    }
    Ok(chooser)
}

/// Holds what the broker says now against the topics that we read.
///
/// # Errors
/// [`LaneError::Recreated`].
pub fn compare(known: &[Topic], ids: &Ids) -> Result<(), LaneError> {
    let recreated = known.iter().find(|topic| {
        let other = |mark: &str| ids.get(&topic.name).is_some_and(|id| !mark.ends_with(&format!(" {id}")));
        topic.mark.as_deref().is_some_and(other)
    });
    recreated.map_or(Ok(()), |topic| Err(LaneError::Recreated(topic.name.clone())))
}

/// Partitions of a topic, by metadata that should tell of it.
pub fn count(metadata: &Metadata, topic: &str) -> Option<i32> {
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none())?;
    i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)
}

/// Asks until there is an answer, and says in readiness that one is waited for.
///
/// # Errors
/// None came in time.
pub fn patient<T>(
    until: Instant,
    health: &LaneHealth,
    mut ask: impl FnMut() -> Result<T, KafkaError>,
) -> Result<T, LaneError> {
    loop {
        health.beat();
        match ask() {
            Ok(found) => {
                health.well();
                return Ok(found);
            }
            Err(error) if Instant::now() >= until => {
                return Err(LaneError::Consumer(format!(
                    "no broker tells how many partitions our topics have: {error}"
                )));
            }
            Err(error) => health.trouble(format!("waiting for a Kafka broker: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::path::Path;

    use super::*;

    fn inputs(yaml: &str) -> Inputs {
        let config =
            Config::parse("test", yaml, Path::new(""), []).unwrap_or_else(|problems| panic!("{problems}"));
        Inputs::new(&config)
    }

    #[test]
    fn a_name_says_more_than_a_pattern_and_the_first_pattern_more_than_the_next() {
        let inputs = inputs(
            "input: {format: ecs, topics: ['^a', {pattern: '^ab', format: ocsf}, {name: abc, format: auto}]}",
        );
        let formats = Formats::built_in();
        let named = |name: &str| Select::Named(formats.id(name).unwrap());
        for (name, select) in [("ab", named("ecs")), ("abc", Select::Auto)] {
            let mut topic = inputs.topic(name, 1, 1).unwrap();
            topic.select(&formats);
            assert_eq!(topic.select, select, "{name}");
        }
        let error = inputs.topic("b", 1, 1).unwrap_err().to_string();
        assert!(error.contains("a group of its own"), "never read past: {error}");
    }

    #[test]
    fn a_partition_that_was_added_is_looked_at_and_a_misfit_at_every_assignment() {
        let inputs = inputs("input: {topics: [a, b]}");
        let fits = inputs.topic("a", 4, 4).unwrap();
        let misfit = inputs.topic("b", 4, 8).unwrap();
        assert_eq!(fits.chooser.choose(3, true), Some(3));
        let known = [fits, misfit];
        let of = |partitions: &[(&str, i32)]| {
            let partitions: Vec<_> =
                partitions.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
            inputs.unsure(&known, &partitions).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(of(&[("a", 0), ("a", 3)]).is_empty(), "what is known is not asked again");
        assert_eq!(of(&[("a", 4), ("a", 5)]), ["a"]);
        assert_eq!(of(&[("b", 0), ("b", 1)]), ["b"], "the output may fit by now");
        assert_eq!(of(&[("c", 0), ("a", 0)]), ["c"]);
        assert_eq!(inputs.topic("b", 8, 8).unwrap().chooser.choose(7, true), Some(7), "it fits now");
    }

    #[test]
    fn a_topic_with_another_id_is_another_topic_and_one_that_is_not_told_of_may_be_the_same() {
        let mut topic = inputs("input: {topics: [a]}").topic("a", 1, 1).unwrap();
        let told = |id: &str| Ids::from([("a".to_owned(), id.to_owned())]);
        assert!(compare(&[topic.clone()], &told("id-1")).is_ok(), "nothing is known of it");
        topic.mark = Some(recreated::mark("cluster", "id-1"));
        assert!(compare(&[topic.clone()], &told("id-1")).is_ok());
        assert!(compare(&[topic.clone()], &Ids::new()).is_ok());
        let error = compare(&[topic], &told("id-2")).unwrap_err().to_string();
        assert!(error.contains("\"a\" was deleted and created again"), "{error}");
    }

    #[test]
    fn no_output_goes_to_a_partition_that_does_not_exist() {
        let by_input = inputs("{input: {topics: [a]}, output: {partition: input}}");
        assert_eq!(by_input.topic("a", 4, 8).unwrap().chooser, Chooser::Same);
        let error = by_input.topic("a", 8, 4).unwrap_err().to_string();
        assert!(error.contains("4 partitions, but a has 8"), "{error}");
        let free = inputs("input: {topics: [a]}");
        for number in 0..8 {
            assert!(
                free.topic("a", 8, 4).unwrap().chooser.choose(number, false).is_none_or(|output| output < 4)
            );
        }
    }
}
