//! `riskstream dlq redrive`: dead letters sent again.
//!
//! Contract: what would be sent is counted first, so that a person can be asked; only then is anything written, to
//! configured topics and to that of the markers. A signal ends it after the records that are under way, a second one at
//! once.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, IsTerminal, Write};
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use super::destination::Rules;
use super::markers::Markers;
use super::pace::Pace;
use super::pass::{Extent, Pass};
use super::reader::Reader;
use super::report::Report;
use super::through::Through;
use super::topics::{Settings, Topics};
use super::window::{LETTERS, Sender, Topic};
use super::writer::{Batches, Writer};
use super::{Desk, RedriveArguments, Site, To};
use crate::cli::output::note;
use crate::cli::{End, for_people, is_closed_pipe};
use crate::config::Config;
use crate::engine::Engine;
use crate::source::topics::Inputs;
use crate::supervisor::Stop;

/// Runs the command.
pub fn run(arguments: &RedriveArguments) -> Result<(), End> {
    let started = Instant::now();
    let desk = Desk::open(&arguments.config.config, arguments.to == To::Output)?;
    let filter = desk.filter(&arguments.selection)?;
    let Desk { config, engine, recogniser, runtime } = desk;
    let rules = rules(&config, arguments)?;
    let reader = Reader::new(&config)?;
    let spans = reader.spans(&config.dead_letters.topic, "dead_letters.topic", filter.since)?;
    let markers = if arguments.no_markers { None } else { Markers::open(&config)? };
    let limit = arguments.limit.unwrap_or(u64::MAX);
    // A second's worth at most.
    let window = arguments.rate.map_or(LETTERS, |rate| rate.a_second().min(LETTERS));
    let to = arguments.to;
    let mut pass = Pass { config: &config, reader, spans, filter, recogniser, rules, limit, window, to };
    let book = markers.as_ref().map(|markers| &markers.book);
    let people = for_people(arguments.json);

    if arguments.dry_run {
        let mut report = Report::new(people, None);
        let result = pass.dry(book, &engine.pipeline().decoder, &mut report);
        return end(report.summary(started.elapsed()), result);
    }

    let Extent { letters: total, hopeless, topics } = pass.count(book, &engine.pipeline().decoder)?;
    let written = match arguments.to {
        To::Input => topics.clone(),
        To::Output => BTreeSet::from([config.output.topic.clone()]),
    };
    let but = match hopeless {
        0 => String::new(),
        _ => format!(", though {hopeless} cannot be read with this configuration either"),
    };
    confirm(total, &but, &written, arguments.yes)?;
    let asking = Topics::new(&config, &runtime)?;
    let markers =
        if total > 0 && !arguments.no_markers { Some(remember(markers, &config, &asking)?) } else { markers };
    let settings = if total > 0 { settings(&asking, &config, &written) } else { Settings::default() };
    let through = match arguments.to {
        To::Input => None,
        To::Output => Some(through(&engine, &config, &pass.reader, &topics)?),
    };
    let mut sender = Sender {
        config: &config,
        to: arguments.to,
        topics: known(&pass.reader, &settings, &written),
        writer: Writer::new(&config, Batches::Single)?,
        markers,
        through,
        pace: Pace::new(arguments.rate, Instant::now()),
        stop: Stop::default(),
    };
    let stop = sender.stop.clone();
    runtime.block_on(end_at_signals(stop.clone()))?;
    let mut report = Report::new(people, Some(total));
    let result = pass.send(&mut sender, &mut report);
    let good = report.summary(started.elapsed());
    if arguments.no_markers && total > 0 {
        note("nothing of this is remembered (--no-markers)");
    }
    if stop.requested() {
        note("stopped by a signal: the rest was not sent");
    }
    // Look-ups that nobody waits for any more end here.
    runtime.shutdown_background();
    // Enough was read, but not enough was sent.
    if result.as_ref().is_err_and(is_closed_pipe) {
        note("nobody reads what becomes of the letters any more: the rest was not sent");
        return Err(End::Quiet);
    }
    end(good && !stop.requested(), result)
}

fn end(good: bool, result: anyhow::Result<()>) -> Result<(), End> {
    result?;
    if good { Ok(()) } else { Err(End::Quiet) }
}

fn rules<'c>(config: &'c Config, arguments: &'c RedriveArguments) -> Result<Rules<'c>, End> {
    let topics = config.input.topics.as_slice();
    let topic_to = arguments.topic_to.as_deref();
    if let Some(name) = topic_to.filter(|name| !topics.iter().any(|topic| topic.matches(name))) {
        let known = topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(End::Usage(format!("--topic-to {name}: not one of input.topics; write one of: {known}")));
    }
    Ok(Rules { topics, topic_to, max_redrives: arguments.max_redrives, again: arguments.again })
}

/// Asks whether to go on, where more than one letter would be sent.
fn confirm(total: u64, but: &str, destinations: &BTreeSet<String>, yes: bool) -> Result<(), End> {
    if total <= 1 || yes {
        return Ok(());
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(End::Usage(format!(
            "{total} dead letters would be sent{but}, and nobody can be asked here: add --yes, or look first with \
             --dry-run"
        )));
    }
    let to = destinations.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    write!(std::io::stderr(), "Send {total} dead letters to {to}{but}? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    note("nothing was sent");
    Err(End::Quiet)
}

/// The markers, made where there are none yet.
fn remember<'c>(
    markers: Option<Markers<'c>>,
    config: &'c Site,
    asking: &Topics<'_>,
) -> anyhow::Result<Markers<'c>> {
    match markers {
        Some(markers) => Ok(markers),
        None => Markers::create(config, asking),
    }
}

/// What is known of the topics that are written to; says so where that of the markers forgets them.
fn settings(asking: &Topics<'_>, config: &Config, destinations: &BTreeSet<String>) -> Settings {
    let markers = config.dead_letters.markers.as_str();
    let names: Vec<&str> = destinations.iter().map(String::as_str).chain([markers]).collect();
    let settings = asking.settings(&names);
    if settings.get(markers, "cleanup.policy").is_some_and(|policy| policy != "compact") {
        note(&format!(
            "topic {markers} is not only compacted, so what was redriven will be forgotten: set its cleanup.policy to \
             compact"
        ));
    }
    settings
}

/// The topics that are written to. One that cannot be costs only its own letters: a header named it.
fn known(
    reader: &Reader,
    settings: &Settings,
    written: &BTreeSet<String>,
) -> HashMap<String, Result<Topic, String>> {
    let topic = |name: &String| {
        let topic = match reader.partitions(name) {
            Ok(Some(partitions)) => Ok(Topic { partitions, retention: settings.retention(name) }),
            Ok(None) => {
                Err(format!("topic {name} does not exist: create it, or send to another with --topic-to"))
            }
            Err(error) => Err(format!("{error:#}")),
        };
        (name.clone(), topic)
    };
    written.iter().map(topic).collect()
}

/// The pipeline, for alerts of these input topics.
fn through(
    engine: &Engine,
    config: &Config,
    reader: &Reader,
    topics: &BTreeSet<String>,
) -> anyhow::Result<Through> {
    let outputs = reader.partitions(&config.output.topic)?.unwrap_or(1);
    let (inputs, pipeline) = (Inputs::new(config), engine.pipeline());
    let mut known = Vec::new();
    for name in topics {
        // Of one that is gone, outputs go by key.
        if let Some(count) = reader.partitions(name)? {
            let mut topic = inputs.topic(name, count, outputs)?;
            topic.select(&pipeline.formats);
            known.push(topic);
        }
    }
    Ok(Through::new(engine, known))
}

async fn end_at_signals(stop: Stop) -> anyhow::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                stop.request();
                if stop.now() {
                    note("ended at once: what was under way may have been sent");
                    std::process::exit(1);
                }
            }
        });
    }
    Ok(())
}
