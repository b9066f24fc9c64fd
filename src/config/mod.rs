//! Configuration: from YAML and environment to checked types, all problems at once.
//!
//! Owns the file's keys and their defaults. Contract: [`Config`] holds only values that can be used; whoever
//! has one need not check again. The only place that reads our own settings from the environment.

mod dead_letters;
mod document;
mod input;
mod kafka;
pub(crate) mod mark;
mod overrides;
mod problem;
pub mod provider;
pub(crate) mod raw;
mod read;
pub(crate) mod routes;
pub mod sasl;
pub mod secret;
pub mod section;
pub mod snapshot;
mod takeover;
mod ttl;
mod units;
pub(crate) mod words;

#[cfg(test)]
mod section_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::entity::EntityKind;

pub use dead_letters::{DeadLetters, Flood, FloodAction, OnFailure};
pub use document::Document;
pub use input::TopicPattern;
pub use problem::{Problem, Problems};
pub use provider::ProviderConfig;
pub use sasl::Sasl;
pub use secret::{Fingerprint, Secret};
pub use section::Section;
pub use ttl::{Lives, Ttl};
pub use units::duration;

/// Everything that `riskstream` can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster and how to reach it.
    pub kafka: Kafka,
    /// Where alerts come from.
    pub input: Input,
    /// Where enriched alerts go.
    pub output: Output,
    /// Where alerts go that cannot be enriched.
    pub dead_letters: DeadLetters,
    /// Files with the user's own alert formats, globs resolved.
    pub formats: Vec<PathBuf>,
    /// Folders in which a new file may become one of them.
    pub format_folders: Vec<PathBuf>,
    /// How alerts move.
    pub pipeline: Pipeline,
    /// How answers are kept.
    pub cache: Cache,
    /// The vendors, in the order of the file.
    pub providers: Vec<ProviderConfig>,
    /// Which entities go where; first match wins.
    pub routes: Vec<Route>,
    /// The HTTP port for metrics, probes and the API.
    pub admin: Admin,
    /// Logging.
    pub log: Log,
}

impl Config {
    /// Reads the file at `path` with the variables of `env` laid over it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Problems> {
        Self::of(Self::open(path, env)?)
    }

    /// As [`load`](Config::load), but secrets and files that it names may be absent: for commands that call
    /// nobody.
    ///
    /// # Errors
    /// Everything else that is wrong with it.
    pub fn load_offline(
        path: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        Self::of(Self::open(path, env)?.offline())
    }

    /// Reads `text`, which problems call `name`; paths in it are relative to `base`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        name: &str,
        text: &str,
        base: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        Self::of(Document::parse(name, text, env).relative_to(base))
    }

    fn open(path: &Path, env: impl IntoIterator<Item = (String, String)>) -> Result<Document, Problems> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let base = path.parent().unwrap_or(Path::new(""));
                Ok(Document::parse(name, &text, env).relative_to(base))
            }
            Err(error) => {
                let what = format!("cannot be read: {error}");
                Err(Problems::new(vec![Problem::of_file(name, what, "name a readable file of UTF-8 text")]))
            }
        }
    }

    fn of(document: Document) -> Result<Self, Problems> {
        let config = read::read(&document);
        let problems = document.problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

/// What an empty file means: every default, no providers.
impl Default for Config {
    fn default() -> Self {
        read::read(&Document::parse("defaults", "", []))
    }
}

/// The environment of this process, for [`Config::load`]. Variables that are not UTF-8 are left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// `kafka`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    /// `host:port` of at least one broker.
    pub brokers: Vec<String>,
    /// How the connection is secured.
    pub security: Security,
    /// The name of this process among those of the group, the same after a restart: `kafka.instance`, else the
    /// consumer's `group.instance.id`. Transactions need it.
    pub instance: Option<String>,
    /// librdkafka properties for every client, checked against the ones that carry our guarantees.
    pub properties: BTreeMap<String, Property>,
    /// librdkafka properties for the consumer.
    pub consumer: BTreeMap<String, Property>,
    /// librdkafka properties for the producer.
    pub producer: BTreeMap<String, Property>,
}

/// The value of a librdkafka property.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// As written.
    Text(String),
    /// By reference.
    Secret(Secret),
}

/// `kafka.security` with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Security {
    /// Neither encrypted nor authenticated. Must be written for brokers that are not loopback.
    Plaintext,
    /// TLS, with a client certificate where `tls` has one.
    Tls(Tls),
    /// SASL over TLS.
    SaslTls(Tls, Sasl),
    /// SASL without encryption.
    SaslPlaintext(Sasl),
}

/// `kafka.tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// PEM file of the authorities to trust; the system's when absent.
    pub ca: Option<PathBuf>,
    /// PEM file of our certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of our key.
    pub key: Option<PathBuf>,
    /// Password of the key.
    pub key_password: Option<Secret>,
    /// Whether the broker's name must be the certificate's. Only false when written.
    pub verify_hostname: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Tls { ca: None, certificate: None, key: None, key_password: None, verify_hostname: true }
    }
}

/// `input`.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Topics and the format of each.
    pub topics: Vec<InputTopic>,
    /// The consumer group.
    pub group: String,
    /// Where a new group starts: `earliest` or `latest`.
    pub offset_reset: OffsetReset,
    /// What happens when the committed offset no longer exists; `None` stops loudly.
    pub out_of_range: Option<OffsetReset>,
}

/// One input topic, or all that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputTopic {
    /// Its name, or the pattern as it was written.
    pub name: String,
    /// The pattern, where it is one.
    pub pattern: Option<TopicPattern>,
    /// The format of its alerts; `None` recognises it (`auto`).
    pub format: Option<String>,
}

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the oldest record.
    Earliest,
    /// At the next record.
    Latest,
}

/// `output`.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The topic that playbooks consume.
    pub topic: String,
    /// How the answers stand in the alert.
    pub format: OutputFormat,
    /// Name of the added member.
    pub member: String,
    /// Bound on value, key and headers of one enriched alert, in bytes.
    pub max_bytes: usize,
    /// What happens to a member of that name that is not ours.
    pub on_conflict: OnConflict,
    /// How the output's partition is chosen; `None`: as input when the counts agree, else by key.
    pub partition: Option<OutputPartition>,
    /// Where answers go that came after their alert had left; `None`: nowhere.
    pub updates: Option<String>,
}

/// `output.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// The alert's own bytes plus one member.
    Envelope,
    /// OCSF: `enrichments[]` and risk attributes.
    Ocsf,
    /// Elastic Common Schema: `*.risk.*`.
    Ecs,
}

/// `output.on_conflict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// A foreign member stays, ours is written as `riskstream`.
    Rename,
    /// A foreign member is replaced.
    Replace,
}

/// `output.partition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputPartition {
    /// The number of the input's partition.
    Input,
    /// By the key, as Java's default partitioner does (murmur2).
    Key,
}

/// `pipeline`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// What a crash may do.
    pub delivery: Delivery,
    /// Which order outputs keep.
    pub order: Order,
    /// How long an alert's look-ups may take from the moment it is polled.
    pub deadline: Duration,
    /// Alerts in flight, all lanes together.
    pub in_flight: usize,
    /// Bytes of alerts in flight, all lanes together.
    pub in_flight_bytes: usize,
    /// Lanes.
    pub threads: usize,
    /// Bound of a drain when partitions are taken away.
    pub drain: Duration,
    /// Bound of a stop.
    pub shutdown: Duration,
    /// A larger alert is a dead letter.
    pub max_alert_bytes: usize,
    /// A deeper alert is a dead letter.
    pub max_depth: usize,
    /// Entities of one alert that are looked up; the rest is left out, marked.
    pub max_entities: usize,
    /// Look-ups that the alerts of one topic and format may cause; the rest fails as `overloaded`.
    pub look_ups: Option<Rate>,
}

/// So many in any such span, in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: u32,
    /// The span.
    pub per: Duration,
}

/// `pipeline.delivery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing is lost; a crash repeats a suffix.
    AtLeastOnce,
    /// Outputs, dead letters and offsets in transactions: who reads with `read_committed` sees each alert once.
    ExactlyOnce,
}

/// `pipeline.order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Of each partition.
    Partition,
    /// Of each key.
    Key,
    /// None.
    None,
}

/// `cache`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Bound in bytes.
    pub capacity: u64,
    /// Lifetimes; a provider may have its own.
    pub ttl: Ttl,
    /// How long beyond its lifetime an answer may be used when the vendor cannot be asked.
    pub stale: Duration,
    /// Spread of lifetimes, 0 to 0.5: 0.1 is plus or minus a tenth.
    pub jitter: f64,
    /// Fraction of the lifetime after which a used answer is asked again in the background; 1 is never.
    pub refresh_ahead: f64,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Input topics it is for; empty: all.
    pub topics: Vec<String>,
    /// Alert formats it is for; empty: all.
    pub formats: Vec<String>,
    /// Kinds it is for; empty: all.
    pub kinds: Vec<EntityKind>,
    /// Patterns of which one must match the identifier; empty: any.
    pub identifiers: Vec<regex::Regex>,
    /// The instance to ask; `None` (`provider: none`) asks nobody.
    pub provider: Option<String>,
}

/// `admin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Bearer token of `/v1`; without it `/v1` is off.
    pub token: Option<Secret>,
}

/// `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter: `info`, `riskstream=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Whether each look-up at a vendor is logged, with its identifier hashed.
    pub audit: bool,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Readable on a terminal, JSON elsewhere.
    Auto,
    /// JSON lines.
    Json,
    /// For people.
    Text,
}

/// A document without environment in which secrets may be literal: for tests of whatever reads a [`Section`].
#[cfg(test)]
pub(crate) fn parse_for_tests(yaml: &str) -> Document {
    Document::parse("test.yaml", yaml, []).with_literals()
}
