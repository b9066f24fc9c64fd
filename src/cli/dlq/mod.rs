//! `riskstream dlq`: dead letters, looked at and sent again.
//!
//! Contract: `list` and `show` only read, without a consumer group. `redrive` writes to the configured topics and to no
//! other, remembers what it did in the markers' topic, and tells a letter that it sent from one that may have been.
//!
//! | file | owns |
//! |---|---|
//! | `letter` | a dead letter and what its headers say (pure) |
//! | `filter` | which ones are meant (pure) |
//! | `destination` | where one may go, and whether (pure) |
//! | `marker` | what is remembered of those that were sent again (pure) |
//! | `pace` | how fast (pure) |
//! | `reader`, `writer`, `topics`, `markers` | Kafka |
//! | `original` | what is sent: the letter, or the record that it points to |
//! | `through` | the pipeline, for `--to output` |
//! | `pass` | going over the letters: to count, to say what would happen, to send |
//! | `window`, `report` | letters that are sent together, and what is said of them |
//! | `list`, `show`, `redrive` | the commands |

mod destination;
mod filter;
mod letter;
mod list;
mod marker;
mod markers;
mod original;
mod pace;
mod pass;
mod reader;
mod redrive;
mod report;
mod show;
mod through;
mod topics;
mod window;
mod writer;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::{ConfigArgument, End, engine_problem, load};
use crate::alert::{Decoder, Formats, Options, Scratch, Select};
use crate::config::Config;
use crate::engine::Engine;
use crate::source::identity::Identity;
use crate::source::topics::Inputs;
use crate::telemetry;
use filter::{Filter, When};
use letter::{Letter, Place};
use pace::Rate;

/// Arguments of `dlq`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists dead letters, with a count by reason.
    #[command(
        after_help = "Reads the whole topic as it stands, or from --since on, without a consumer group.

Examples:
  riskstream dlq list --config riskstream.yaml --since 1h
  riskstream dlq list --config riskstream.yaml --reason not_json,too_large --topic security.alerts
  riskstream dlq list --config riskstream.yaml --format unknown | jq -r .message | sort | uniq -c"
    )]
    List(ListArguments),
    /// Shows one dead letter whole: headers, key, value, cause, and whether it was redriven.
    #[command(after_help = "Examples:
  riskstream dlq show --config riskstream.yaml 0/42
  riskstream dlq show --config riskstream.yaml 0/42 | jq -r .value > alert.json")]
    Show(ShowArguments),
    /// Sends dead letters again: to the input topic they came from, or through the pipeline to the output topic.
    #[command(
        after_help = "Each letter that is sent is remembered in the topic dead_letters.markers, so that a second redrive
skips it (--again sends it once more). A letter that came back --max-redrives times is refused.
Where more than one letter would be sent, a terminal asks first; elsewhere --yes is needed.
Exit code 1 when a letter was refused or failed, or may have been sent by a redrive that did not end.

Examples:
  riskstream dlq redrive --config riskstream.yaml --reason too_large --dry-run
  riskstream dlq redrive --config riskstream.yaml --reason too_large --since 2h --rate 50/s
  riskstream dlq redrive --config riskstream.yaml --at 0/42
  riskstream dlq redrive --config riskstream.yaml --reason output_too_large --to output --yes"
    )]
    Redrive(RedriveArguments),
}

/// Which letters.
#[derive(Debug, Args)]
struct Selection {
    /// Only these reasons: not_json, too_large, ... (the label of riskstream_dead_letters_total), with commas.
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = filter::reason)]
    reason: Vec<String>,
    /// Only dead letters written since then: 30m, 2h, 7d, or 2026-05-29T14:00:00Z.
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Only dead letters written before then.
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Only originals of these topics.
    #[arg(long, value_name = "TOPIC", value_delimiter = ',')]
    topic: Vec<String>,
    /// Only originals of these partitions.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    partition: Vec<i32>,
    /// Only alerts of these formats, or `unknown`, which is also what cannot be read.
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    format: Vec<String>,
    /// Only the dead letters at these places of their own topic.
    #[arg(long, value_name = "PARTITION/OFFSET", value_delimiter = ',')]
    at: Vec<Place>,
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    selection: Selection,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// JSON lines, also on a terminal.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShowArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// JSON, also on a terminal.
    #[arg(long)]
    json: bool,
    /// Where it stands in the dead-letter topic.
    #[arg(value_name = "PARTITION/OFFSET")]
    place: Place,
}

/// Where dead letters are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// To the input topic they came from: the service takes them as it would any alert.
    Input,
    /// Through the pipeline of this command, with its vendors, to the output topic.
    Output,
}

impl To {
    const fn label(self) -> &'static str {
        match self {
            To::Input => "input",
            To::Output => "output",
        }
    }
}

#[derive(Debug, Args)]
struct RedriveArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    selection: Selection,
    /// Where to.
    #[arg(long, value_enum, default_value = "input")]
    to: To,
    /// One of the configured input topics, for all of them, instead of the one that each came from.
    #[arg(long, value_name = "NAME")]
    topic_to: Option<String>,
    /// Sends at most so many; what was redriven before does not count.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// At most so many: 50/s, 100/m.
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
    /// Says what would happen and writes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
    /// Also those that were redriven before, or may have been.
    #[arg(long)]
    again: bool,
    /// Refuses a letter that was redriven so often already and came back.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    max_redrives: u8,
    /// Remembers nothing: whatever runs later cannot know what was redriven.
    #[arg(long)]
    no_markers: bool,
    /// JSON lines, also on a terminal.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), End> {
    match &arguments.command {
        Command::List(a) => list::run(a),
        Command::Show(a) => show::run(a),
        Command::Redrive(a) => redrive::run(a),
    }
}

/// The configuration, and who we are to the brokers that it names.
struct Site {
    config: Config,
    identity: Identity,
}

impl Deref for Site {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// What every command begins with.
struct Desk {
    config: Site,
    engine: Engine,
    recogniser: Recogniser,
    // Last, so that it outlives what runs on it.
    runtime: Runtime,
}

impl Desk {
    /// Reads the configuration; with `patient` look-ups wait for their turn.
    fn open(path: &Path, patient: bool) -> Result<Desk, End> {
        let config = load(path)?;
        telemetry::start(&config.log);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let handle = runtime.handle().clone();
        let engine = if patient { Engine::patient(&config, handle) } else { Engine::build(&config, handle) };
        let engine = engine.map_err(|error| engine_problem(path, &error))?;
        if patient {
            runtime.block_on(engine.read_once(super::output::note));
        }
        let recogniser = Recogniser::new(&config, &engine.pipeline().formats);
        let identity = Identity::new(&config.kafka)?;
        identity.start(runtime.handle(), None);
        Ok(Desk { config: Site { config, identity }, engine, recogniser, runtime })
    }

    /// The selection as a filter.
    fn filter(&self, selection: &Selection) -> Result<Filter, End> {
        let formats = &self.engine.pipeline().formats;
        for name in &selection.format {
            if name != UNKNOWN && formats.id(name).is_none() {
                let known = formats.names().collect::<Vec<_>>().join(", ");
                return Err(End::Usage(format!(
                    "--format {name}: not a known format; write one of: {UNKNOWN}, {known}"
                )));
            }
        }
        let now = Timestamp::now().as_millisecond();
        Ok(Filter {
            reasons: selection.reason.clone(),
            since: selection.since.map(|when| when.resolve(now)),
            until: selection.until.map(|when| when.resolve(now)),
            topics: selection.topic.clone(),
            partitions: selection.partition.clone(),
            formats: selection.format.clone(),
            at: selection.at.clone(),
        })
    }
}

/// The format of what no format recognises.
const UNKNOWN: &str = "unknown";

/// Finds the format of an original.
struct Recogniser {
    formats: Arc<Formats>,
    decoder: Decoder,
    scratch: Scratch,
    inputs: Inputs,
}

impl Recogniser {
    fn new(config: &Config, formats: &Arc<Formats>) -> Recogniser {
        let options = Options {
            member: config.output.member.clone(),
            // What is too large to be enriched has a format all the same.
            max_bytes: usize::MAX,
            max_depth: config.pipeline.max_depth,
            max_entities: 0,
        };
        Recogniser {
            formats: Arc::clone(formats),
            decoder: Decoder::new(Arc::clone(formats), options),
            scratch: Scratch::default(),
            inputs: Inputs::new(config),
        }
    }

    /// The format of a letter's original; `unknown` also where it cannot be read or only a pointer is there.
    fn format(&mut self, letter: &Letter) -> &str {
        let Some(value) = letter.value.as_deref().filter(|_| !letter.is_pointer()) else { return UNKNOWN };
        // As the service would find it, whatever the topic's partitions are.
        let topic = letter.origin().and_then(|origin| self.inputs.topic(&origin.topic, 1, 1).ok());
        let select = topic.map_or(Select::Auto, |mut topic| {
            topic.select(&self.formats);
            topic.select
        });
        let format =
            self.decoder.decode(value, select, &mut self.scratch).ok().and_then(|decoded| decoded.format);
        format.map_or(UNKNOWN, |format| self.formats.name(format))
    }
}

/// A time for people and for JSON; empty when there is none.
fn time(millis: Option<i64>) -> String {
    let time = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
