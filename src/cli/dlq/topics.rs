//! What is asked of the broker about topics, and the one topic that is ever created: that of the markers.
//!
//! Contract: what cannot be learned (an old broker, no DescribeConfigs) is `None`, never a guess; creating says what is
//! missing and what to do about it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::bail;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Runtime;

use super::Site;
use super::reader::Heard;
use crate::source::client;
use crate::source::identity::Supplied;

/// Bound of creating a topic.
const ASK: Duration = Duration::from_secs(10);
/// Bound of a question that can go without an answer.
const DESCRIBE: Duration = Duration::from_secs(2);

/// What is known of the settings of topics.
#[derive(Debug, Default)]
pub struct Settings(HashMap<String, HashMap<String, String>>);

impl Settings {
    /// One setting of a topic.
    pub fn get(&self, topic: &str, name: &str) -> Option<&str> {
        self.0.get(topic)?.get(name).map(String::as_str)
    }

    /// For how many milliseconds a topic keeps records, by their timestamps; `None` when that is not known or does not
    /// depend on the timestamps that we write.
    pub fn retention(&self, topic: &str) -> Option<i64> {
        if self.get(topic, "message.timestamp.type") == Some("LogAppendTime") {
            return None;
        }
        self.get(topic, "retention.ms")?.parse().ok()
    }
}

/// Asks and creates.
pub struct Topics<'r> {
    admin: Supplied<AdminClient<Heard>>,
    runtime: &'r Runtime,
}

impl<'r> Topics<'r> {
    /// With the configuration's connection.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn new(config: &Site, runtime: &'r Runtime) -> anyhow::Result<Topics<'r>> {
        let admin = AdminClient::from_config_and_context(&client::common(&config.kafka), Heard::default())?;
        let admin = Supplied::new(admin, &config.identity);
        Ok(Topics { admin, runtime })
    }

    /// The settings of topics, in one question.
    pub fn settings(&self, topics: &[&str]) -> Settings {
        let options = AdminOptions::new().request_timeout(Some(DESCRIBE));
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let described = self.runtime.block_on(self.admin.describe_configs(&resources, &options));
        let mut settings = Settings::default();
        for topic in described.unwrap_or_default().into_iter().flatten() {
            let OwnedResourceSpecifier::Topic(name) = topic.specifier else { continue };
            let values = topic.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            settings.0.insert(name, values.collect());
        }
        settings
    }

    /// Creates the topic of the markers.
    ///
    /// # Errors
    /// It is not there and we may not create it.
    pub fn create_markers(&self, topic: &str) -> anyhow::Result<()> {
        let wanted = NewTopic::new(topic, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
        let created = self.runtime.block_on(self.admin.create_topics([&wanted], &options));
        let why = match created.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => return Ok(()),
            Ok(Some(Err((_, error)))) => error.to_string(),
            Ok(None) => "the broker gave no answer".to_owned(),
            Err(error) => error.to_string(),
        };
        bail!(
            "dead_letters.markers: topic {topic} does not exist and cannot be created: {why}. It remembers what was \
             redriven: create it with cleanup.policy=compact, or grant our principal Create on it, or go without with \
             --no-markers"
        )
    }
}
