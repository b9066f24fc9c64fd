//! What is asked of the broker about topics, and the one topic that is ever created: that of the markers.
//!
//! Contract: what cannot be learned (an old broker, no DescribeConfigs) is `None`, never a guess; creating says what is
//! missing and what to do about it.

use std::time::Duration;

use anyhow::bail;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Runtime;

use super::reader::Heard;
use crate::config::Config;
use crate::source::client;

/// Bound of one question.
const ASK: Duration = Duration::from_secs(10);

/// Asks and creates.
pub struct Topics<'r> {
    admin: AdminClient<Heard>,
    runtime: &'r Runtime,
}

impl<'r> Topics<'r> {
    /// With the configuration's connection.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn new(config: &Config, runtime: &'r Runtime) -> anyhow::Result<Topics<'r>> {
        let admin = AdminClient::from_config_and_context(&client::common(&config.kafka), Heard::default())?;
        Ok(Topics { admin, runtime })
    }

    /// One setting of a topic.
    pub fn setting(&self, topic: &str, name: &str) -> Option<String> {
        let options = AdminOptions::new().request_timeout(Some(ASK));
        let resources = [ResourceSpecifier::Topic(topic)];
        let described = self.runtime.block_on(self.admin.describe_configs(&resources, &options)).ok()?;
        let topic = described.into_iter().next()?.ok()?;
        topic.entries.into_iter().find(|entry| entry.name == name)?.value
    }

    /// For how many milliseconds a topic keeps records, by their timestamps; `None` when that is not known or does not
    /// depend on the timestamps that we write.
    pub fn retention(&self, topic: &str) -> Option<i64> {
        if self.setting(topic, "message.timestamp.type").as_deref() == Some("LogAppendTime") {
            return None;
        }
        self.setting(topic, "retention.ms")?.parse().ok()
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
