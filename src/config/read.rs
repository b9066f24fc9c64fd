//! The whole configuration from its document: every section, every default, and what must fit together.
//!
//! Contract: always gives a complete [`Config`]; it may be used only when the document has no problems.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::document::Document;
use crate::config::input::{TOPIC, is_topic};
use crate::config::provider::{scale_in, size};
use crate::config::{
    Admin, Cache, Config, Delivery, Input, Kafka, Lives, Log, LogFormat, OnConflict, Order, Output,
    OutputFormat, OutputPartition, Pipeline, ProviderConfig, Rate, Section, Ttl, dead_letters, input, kafka,
    routes,
};
use crate::score::Scale;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Reads everything.
pub(super) fn read(document: &Document) -> Config {
    let mut root = document.root();
    // The document itself acts on it: a secret may be read before this line would be.
    root.flag("allow_literal_secrets");
    let kafka = kafka::read(root.section_or_empty("kafka"));
    let input = input::read(root.section_or_empty("input"));
    let output = output(root.section_or_empty("output"), &input);
    let dead_letters = dead_letters::read(root.section_or_empty("dead_letters"), &input, &output);
    let (formats, format_folders) = formats(&mut root);
    let pipeline = pipeline(root.section_or_empty("pipeline"), &kafka);
    let cache = cache(root.section_or_empty("cache"));
    let scale = scale_in(&mut root, Scale::default());
    let entries = root.section("providers").map(|mut section| section.sections()).unwrap_or_default();
    let names: Vec<String> = entries.iter().map(|(name, _)| name.clone()).collect();
    let routes = routes::read(&mut root, &input.topics, &names);
    let read = |(name, section): (String, _)| ProviderConfig::read(&name, section, cache.ttl, scale);
    let providers = entries.into_iter().filter_map(read).collect();
    let admin = admin(root.section_or_empty("admin"));
    let log = log(root.section_or_empty("log"));
    root.finish();
    Config {
        kafka,
        input,
        output,
        dead_letters,
        formats,
        format_folders,
        pipeline,
        cache,
        providers,
        routes,
        admin,
        log,
    }
}

/// Reads the name of a topic that we write to: never one that we read from.
pub(super) fn output_topic(section: &mut Section<'_>, default: &str, input: &Input) -> String {
    let topic = section.text("topic").unwrap_or_else(|| default.to_owned());
    judge_topic(section, "topic", &topic, input);
    topic
}

/// Says what is wrong with a topic that we write to.
fn judge_topic(section: &mut Section<'_>, key: &'static str, topic: &str, input: &Input) {
    if !is_topic(topic) {
        section.problem(key, "not a topic", TOPIC);
    }
    if let Some(input) = input.topics.iter().find(|input| input.matches(topic)) {
        let (what, cure) = match input.pattern {
            None => (format!("{topic} is an input topic too"), "write another: this would go in circles"),
            Some(_) => (
                format!("{topic} is matched by the input pattern {}", input.name),
                "write another, or narrow the pattern: this would go in circles",
            ),
        };
        section.problem(key, what, cure);
    }
}

/// Where late answers go, which is neither where alerts come from nor where they go.
fn updates(section: &mut Section<'_>, input: &Input, output: &str) -> Option<String> {
    let topic = section.text("updates")?;
    judge_topic(section, "updates", &topic, input);
    if topic == output {
        let cure = "write another: who reads alerts must not meet updates";
        section.problem("updates", format!("{topic} is the output topic too"), cure);
    }
    Some(topic)
}

fn output(mut section: Section<'_>, input: &Input) -> Output {
    let formats =
        [("envelope", OutputFormat::Envelope), ("ocsf", OutputFormat::Ocsf), ("ecs", OutputFormat::Ecs)];
    let conflicts = [("rename", OnConflict::Rename), ("replace", OnConflict::Replace)];
    let partitions = [("input", OutputPartition::Input), ("key", OutputPartition::Key)];
    let topic = output_topic(&mut section, "security.alerts.enriched", input);
    let updates = updates(&mut section, input, &topic);
    let output = Output {
        topic,
        format: section.choice("format", &formats).unwrap_or(OutputFormat::Envelope),
        member: section.text("member").unwrap_or_else(|| "risk".to_owned()),
        max_bytes: bytes(&mut section, "max_bytes", 900_000, KIB),
        on_conflict: section.choice("on_conflict", &conflicts).unwrap_or(OnConflict::Rename),
        partition: section.choice("partition", &partitions),
        updates,
    };
    if output.member == "riskstream" && output.on_conflict == OnConflict::Rename {
        let cure = "write another name, or on_conflict: replace";
        section.problem("member", "the name to which a conflict is renamed", cure);
    }
    section.finish();
    output
}

/// Resolves the patterns of `formats`, and says in which folders they look. A pattern may match nothing; a plain name must exist.
fn formats(root: &mut Section<'_>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for pattern in root.texts_with_places("formats").unwrap_or_default() {
        if !pattern.text.contains(['*', '?', '[']) {
            let path = root.resolve(&pattern.text);
            if !path.is_file() {
                root.problem_at(&pattern, "no such file", format!("put a format at {}", path.display()));
            }
            files.push(path);
            continue;
        }
        let fixed = Path::new(&pattern.text).parent().unwrap_or(Path::new(""));
        let fixed = fixed.iter().take_while(|name| !name.to_string_lossy().contains(['*', '?', '[']));
        folders.push(root.resolve(&fixed.collect::<PathBuf>().to_string_lossy()));
        // The directory of the configuration is a name, not a pattern.
        let base = glob::Pattern::escape(&root.resolve("").to_string_lossy());
        let absolute = Path::new(&base).join(&pattern.text);
        match glob::glob(&absolute.to_string_lossy()) {
            Ok(paths) => {
                for path in paths {
                    match path {
                        Ok(path) if path.is_file() => files.push(path),
                        Ok(path) => {
                            let what = format!("{} is no file, or leads to none", path.display());
                            root.problem_at(&pattern, what, "remove it, or write a narrower pattern");
                        }
                        Err(error) => {
                            let what =
                                format!("cannot look into {}: {}", error.path().display(), error.error());
                            root.problem_at(
                                &pattern,
                                what,
                                "let us read the folder, or take the pattern out",
                            );
                        }
                    }
                }
            }
            Err(error) => {
                root.problem_at(&pattern, format!("not a pattern: {}", error.msg), "write ./formats/*.yaml")
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    (files, folders)
}

fn pipeline(mut section: Section<'_>, kafka: &Kafka) -> Pipeline {
    let orders = [("partition", Order::Partition), ("key", Order::Key), ("none", Order::None)];
    let pipeline = Pipeline {
        delivery: delivery(&mut section, kafka),
        order: section.choice("order", &orders).unwrap_or(Order::Partition),
        deadline: section.positive_duration("deadline").unwrap_or(Duration::from_secs(2)),
        in_flight: section.integer("in_flight", 1..=10_000_000).map_or(10_000, size),
        in_flight_bytes: bytes(&mut section, "in_flight_bytes", 64 * MIB, MIB),
        threads: section.integer("threads", 1..=256).map_or(1, size),
        drain: section.positive_duration("drain").unwrap_or(Duration::from_secs(20)),
        shutdown: section.positive_duration("shutdown").unwrap_or(Duration::from_secs(25)),
        max_alert_bytes: bytes(&mut section, "max_alert_bytes", MIB, KIB),
        // The stack of a lane bounds how deep a document can be walked.
        max_depth: section.integer("max_depth", 8..=1024).map_or(512, size),
        max_entities: section.integer("max_entities", 1..=10_000).map_or(100, size),
        look_ups: section.section("look_ups").and_then(rate),
    };
    let interval = kafka::max_poll_interval(kafka);
    for (wrong, key, what, cure) in [
        (
            pipeline.drain < pipeline.deadline,
            "drain",
            format!("shorter than the deadline of {:?}: alerts could not be finished", pipeline.deadline),
            "write a drain of at least pipeline.deadline".to_owned(),
        ),
        (
            pipeline.shutdown <= pipeline.drain,
            "shutdown",
            format!("not longer than the drain of {:?}", pipeline.drain),
            "write a shutdown above pipeline.drain".to_owned(),
        ),
        (
            pipeline.drain >= interval,
            "drain",
            format!("Kafka takes the partitions away after {interval:?}"),
            "write a drain below max.poll.interval.ms".to_owned(),
        ),
        (
            pipeline.in_flight_bytes < pipeline.max_alert_bytes,
            "in_flight_bytes",
            "smaller than one alert may be".to_owned(),
            format!("write at least max_alert_bytes, {} bytes", pipeline.max_alert_bytes),
        ),
    ] {
        if wrong {
            section.problem(key, what, cure);
        }
    }
    section.finish();
    pipeline
}

fn delivery(section: &mut Section<'_>, kafka: &Kafka) -> Delivery {
    let words = [("at_least_once", Delivery::AtLeastOnce), ("exactly_once", Delivery::ExactlyOnce)];
    let delivery = section.choice("delivery", &words).unwrap_or(Delivery::AtLeastOnce);
    if delivery == Delivery::ExactlyOnce && kafka.instance.is_none() {
        let cure = "write kafka.instance: NAME, or set RISKSTREAM__KAFKA__INSTANCE: another one for each process, the \
                    same after a restart";
        section.problem("delivery", "exactly_once needs a name of this process", cure);
    }
    delivery
}

/// Reads `{requests: N, per: 1m}`; `None` when a problem was recorded.
pub(super) fn rate(mut section: Section<'_>) -> Option<Rate> {
    for (key, cure) in [("requests", "write requests: 50"), ("per", "write per: 1s")] {
        if !section.has(key) {
            section.problem(key, "missing", cure);
        }
    }
    let requests = section.integer("requests", 1..=1_000_000).and_then(|number| u32::try_from(number).ok());
    let per = section.positive_duration("per");
    section.finish();
    Some(Rate { requests: requests?, per: per? })
}

fn cache(mut section: Section<'_>) -> Cache {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let lives = Lives { scored: minutes(15), unknown: minutes(5), failed: Duration::from_secs(30) };
    let fallback = Ttl::new(lives);
    let cache = Cache {
        capacity: bytes(&mut section, "capacity", 256 * MIB, MIB) as u64,
        ttl: Ttl::read(section.section_or_empty("ttl"), fallback),
        stale: section.duration("stale").unwrap_or(minutes(24 * 60)),
        jitter: section.number("jitter", 0.0..=0.5).unwrap_or(0.1),
        refresh_ahead: section.number("refresh_ahead", 0.1..=1.0).unwrap_or(0.8),
    };
    section.finish();
    cache
}

/// Reads a size that must not be below `least`.
fn bytes(section: &mut Section<'_>, key: &'static str, default: u64, least: u64) -> usize {
    let given = section.bytes(key).unwrap_or(default);
    if given < least {
        section.problem(key, "too small to work with", format!("write at least {least} bytes"));
    }
    size(given)
}

fn admin(mut section: Section<'_>) -> Admin {
    let default = SocketAddr::from(([127, 0, 0, 1], 9464));
    let listen = section.text("listen").map_or(Some(default), |text| text.parse().ok());
    if listen.is_none() {
        let cure = "write ADDRESS:PORT: 127.0.0.1:9464, or 0.0.0.0:9464 for every interface";
        section.problem("listen", "not an address", cure);
    }
    let token = section.secret("token");
    if token.as_ref().is_some_and(|token| !token.is_visible_ascii()) {
        section.problem(
            "token",
            "not fit for a header",
            "use letters, digits and signs, without white space",
        );
    }
    section.finish();
    Admin { listen: listen.unwrap_or(default), token }
}

fn log(mut section: Section<'_>) -> Log {
    let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
    let level = section.text("level").unwrap_or_else(|| "info".to_owned());
    if !level.split(',').all(is_directive) {
        section.problem(
            "level",
            "not a log filter",
            "write error, warn, info, debug or trace, or info,riskstream=debug",
        );
    }
    let format = section.choice("format", &formats).unwrap_or(LogFormat::Auto);
    let audit = section.flag("audit").unwrap_or(false);
    section.finish();
    Log { level, format, audit }
}

/// Whether `text` is `level` or `target=level`. A lone word of another kind is a slip, though `tracing` would
/// take it for a target.
fn is_directive(text: &str) -> bool {
    let (target, level) = text.split_once('=').unwrap_or(("", text));
    let named = target.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    named && matches!(level.trim(), "off" | "error" | "warn" | "info" | "debug" | "trace")
}
