//! Builds the parts that enrich alerts from a configuration, and again when it has changed.
//!
//! Contract: [`Engine::build`] is the same for the service and for every command, so that what a person tries on a
//! file is what runs. [`Engine::take`] takes all of a new configuration or nothing: the cache stays, a provider that did not
//! change stays with its connections, its breaker and its quota, and one whose account or host changed finds no answer of the
//! old one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::alert::{Decoder, FormatProblem, Formats, Options};
use crate::cache::flight::Carrier;
use crate::cache::key::ProviderId;
use crate::cache::{Cache, Flights, Lifetimes};
use crate::compose::Composer;
use crate::config::snapshot::Mode;
use crate::config::{Config, ProviderConfig, words};
use crate::metrics::{Metrics, MetricsError};
use crate::pipeline::Pipeline;
use crate::pipeline::budget::Budgets;
use crate::pipeline::live::Live;
use crate::pipeline::roster::{Make, Roster, Seat};
use crate::provider::gate::Limiters;
use crate::provider::guard::Guard;
use crate::provider::registry::{self, BuildError, TYPES};
use crate::provider::snapshot::reader;
use crate::routing::{BadRoute, Candidate, Routing};

/// Bound of one flight of the service, retries and waiting for the vendor's quota included. Longer than any sensible
/// deadline of an alert: an answer that comes late for one is in time for the next.
const FLIGHT: Duration = Duration::from_secs(30);

/// How long a look-up of a command may wait for its turn: for ever, in a form that can be added to a clock.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What keeps the parts from being built: all of it is configuration.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A file with alert formats cannot be read.
    #[error("formats: cannot read {path}: {error}. Correct the path or its permissions")]
    FormatFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Alert formats with mistakes.
    #[error("{}", lines(.0))]
    Formats(Vec<FormatProblem>),
    /// An input topic names a format that does not exist.
    #[error("input.topics: {topic} has format {name:?}, which is not known; write one of: auto, {known}")]
    NoSuchFormat {
        /// The topic.
        topic: String,
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Routes with mistakes.
    #[error("{}", lines(.0))]
    Routes(Vec<BadRoute>),
    /// A provider that cannot be set up.
    #[error("{error}")]
    Provider {
        /// The instance.
        name: String,
        /// Why.
        error: BuildError,
    },
    /// More accounts than can be told apart, one after another.
    #[error("providers: more than 65,535 accounts since the start; restart the process")]
    Accounts,
    /// A bug.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

fn lines<T: std::fmt::Display>(problems: &[T]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The parts that enrich alerts, without Kafka.
pub struct Engine {
    live: Arc<Live>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    flights: Arc<Flights>,
    limiters: Limiters,
    accounts: Mutex<Accounts>,
    /// Where lists of vendors are read, once they are.
    readers: OnceLock<Handle>,
}

/// What a new configuration changed about providers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Those that were not there.
    pub added: Vec<String>,
    /// Those that are no longer there.
    pub removed: Vec<String>,
    /// Those whose settings changed; they start anew, with the answers that are cached.
    pub changed: Vec<String>,
    /// Of these, those that are asked elsewhere or as somebody else; their old answers are not used.
    pub moved: Vec<String>,
}

impl Engine {
    /// Builds the parts that `config` describes; calls to vendors will run on `runtime`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn build(config: &Config, runtime: Handle) -> Result<Engine, EngineError> {
        Engine::start(config, runtime, Some(FLIGHT))
    }

    /// As [`build`](Engine::build), for commands: a look-up waits for its turn as long as that takes. How many wait
    /// is the command's to bound.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn patient(config: &Config, runtime: Handle) -> Result<Engine, EngineError> {
        let mut config = config.clone();
        for provider in &mut config.providers {
            provider.common.queue = usize::MAX;
            provider.common.max_wait = PATIENCE;
        }
        Engine::start(&config, runtime, None)
    }

    /// The pipeline in use.
    pub fn pipeline(&self) -> Arc<Pipeline> {
        self.live.get()
    }

    /// Where the pipeline in use is found, also later.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Has the lists of vendors read at their intervals on `runtime`, where that is configured, as long as their providers are
    /// there; those of later configurations as well.
    pub fn read_snapshots(&self, runtime: Handle) {
        let runtime = self.readers.get_or_init(|| runtime);
        self.pipeline().roster.guards().for_each(|guard| reader::start(guard, runtime));
    }

    /// Reads the lists of those providers that are asked by snapshot alone, once: a command has nobody else to ask. With
    /// `mode: both` it looks each entity up. What cannot be read is told to `note`.
    pub async fn read_once(&self, note: impl Fn(&str)) {
        for guard in self.pipeline().roster.guards() {
            if guard.snapshot().is_some_and(|snapshot| snapshot.mode() == Mode::Snapshot) {
                let note = |what: &str| note(&format!("{}: {what}", guard.name()));
                note("reading the vendor's list (mode: snapshot)");
                if let Err(failure) = reader::once(guard, note).await {
                    note(&format!("the vendor's list could not be read: {failure}"));
                }
            }
        }
    }

    /// Puts a new configuration in use, whose keys that take a restart are as they were.
    ///
    /// # Errors
    /// [`EngineError`]; then nothing has changed.
    pub fn take(&self, config: &Config) -> Result<Taken, EngineError> {
        let before = self.live.get();
        // All that is new once for nothing: what cannot be built is found before anything that is in use is touched.
        let (metrics, limiters) = (Arc::new(metrics_of(config)?), Limiters::default());
        let parts = Parts { metrics: &metrics, flights: &self.flights, limiters: &limiters };
        parts.assemble(config, Some(&before), &mut Accounts::default())?;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = Parts { metrics: &self.metrics, flights: &self.flights, limiters: &self.limiters };
        let after = parts.assemble(config, Some(&before), &mut accounts)?;
        self.settle(config, &after);
        let names = |pipeline: &Pipeline| -> Vec<String> {
            pipeline.roster.iter().map(|seat| seat.name().to_owned()).collect()
        };
        let (old, new) = (names(&before), names(&after));
        let both = |differ: &dyn Fn(&Seat, &Seat) -> bool| -> Vec<String> {
            let pairs =
                after.roster.iter().filter_map(|seat| Some((before.roster.named(seat.name())?, seat)));
            pairs.filter(|(old, new)| differ(old, new)).map(|(_, new)| new.name().to_owned()).collect()
        };
        let taken = Taken {
            changed: both(&|old, new| !Arc::ptr_eq(&old.carrier.guard, &new.carrier.guard)),
            moved: both(&|old, new| old.id != new.id),
            added: new.iter().filter(|name| !old.contains(name)).cloned().collect(),
            removed: old.into_iter().filter(|name| !new.contains(name)).collect(),
        };
        if let Some(runtime) = self.readers.get() {
            let known = |guard: &Arc<Guard>| before.roster.guards().any(|old| Arc::ptr_eq(old, guard));
            after
                .roster
                .guards()
                .filter(|guard| !known(guard))
                .for_each(|guard| reader::start(guard, runtime));
        }
        let stays = |guard: &Arc<Guard>| after.roster.guards().any(|new| Arc::ptr_eq(new, guard));
        before.roster.guards().filter(|guard| !stays(guard)).for_each(|guard| guard.retire());
        // The one before told the same series how it is.
        after.roster.guards().for_each(|guard| guard.tell_breaker());
        self.live.replace(after);
        taken.removed.iter().for_each(|name| self.metrics.forget_provider(name));
        Ok(taken)
    }

    fn start(config: &Config, runtime: Handle, bound: Option<Duration>) -> Result<Engine, EngineError> {
        let metrics = Arc::new(metrics_of(config)?);
        let flights = Flights::new(Arc::new(Cache::new(config.cache.capacity)), runtime, bound);
        let limiters = Limiters::default();
        let mut accounts = Accounts::default();
        let parts = Parts { metrics: &metrics, flights: &flights, limiters: &limiters };
        let pipeline = parts.assemble(config, None, &mut accounts)?;
        let engine = Engine {
            live: Arc::new(Live::new(Arc::clone(&pipeline))),
            metrics,
            flights,
            limiters,
            accounts: Mutex::new(accounts),
            readers: OnceLock::new(),
        };
        engine.settle(config, &pipeline);
        Ok(engine)
    }

    /// Holds every quota to what `config` says of the providers of `pipeline`, which was built from it.
    fn settle(&self, config: &Config, pipeline: &Pipeline) {
        let limited = pipeline.roster.iter().zip(&config.providers);
        let limits = limited.filter_map(|(seat, own)| Some((seat.carrier.guard.gate()?, own.common.limit)));
        self.limiters.settle(&limits.collect::<Vec<_>>());
    }
}

/// Metrics with a series for each provider.
fn metrics_of(config: &Config) -> Result<Metrics, MetricsError> {
    Metrics::new(&config.providers.iter().map(|provider| provider.name.as_str()).collect::<Vec<_>>())
}

/// What all configurations of a process share.
struct Parts<'e> {
    metrics: &'e Arc<Metrics>,
    flights: &'e Arc<Flights>,
    limiters: &'e Limiters,
}

impl Parts<'_> {
    fn assemble(
        &self,
        config: &Config,
        before: Option<&Arc<Pipeline>>,
        accounts: &mut Accounts,
    ) -> Result<Arc<Pipeline>, EngineError> {
        let formats = Arc::new(formats(config)?);
        for topic in &config.input.topics {
            if let Some(name) = topic.format.as_deref().filter(|name| formats.id(name).is_none()) {
                return Err(EngineError::NoSuchFormat {
                    topic: topic.name.clone(),
                    name: name.to_owned(),
                    known: formats.names().collect::<Vec<_>>().join(", "),
                });
            }
        }
        let mut candidates = Vec::new();
        let mut seats = Vec::new();
        for provider in &config.providers {
            let old = before.and_then(|before| before.roster.named(&provider.name));
            let seat = self.seat(provider, config, old, accounts)?;
            candidates.push(Candidate {
                id: seat.id,
                name: provider.name.clone(),
                vendor: provider.vendor.label(),
                kinds: seat.carrier.guard.provider().kinds().to_vec(),
            });
            seats.push(seat);
        }
        let routing = Routing::new(&config.routes, &candidates, &formats).map_err(EngineError::Routes)?;
        let options = Options {
            member: config.output.member.clone(),
            max_bytes: config.pipeline.max_alert_bytes,
            max_depth: config.pipeline.max_depth,
            max_entities: config.pipeline.max_entities,
        };
        Ok(Arc::new(Pipeline {
            decoder: Decoder::new(Arc::clone(&formats), options),
            formats,
            routing,
            flights: Arc::clone(self.flights),
            budgets: match before {
                // What was spent stays spent; formats that changed places share what they have.
                Some(before) if before.budgets.rate() == config.pipeline.look_ups => {
                    Arc::clone(&before.budgets)
                }
                _ => Arc::new(Budgets::new(config.pipeline.look_ups)),
            },
            roster: Roster::new(seats),
            deadline: config.pipeline.deadline,
            composer: Composer::new(&config.output),
            metrics: Arc::clone(self.metrics),
        }))
    }

    /// The seat of a provider: the one that it has, where nothing but its lifetimes and its quota changed.
    fn seat(
        &self,
        provider: &ProviderConfig,
        config: &Config,
        old: Option<&Seat>,
        accounts: &mut Accounts,
    ) -> Result<Seat, EngineError> {
        let name = &provider.name;
        let lifetimes = Lifetimes::new(provider.common.ttl, &config.cache);
        let make = Make::of(provider, config.cache.stale);
        if let Some(old) = old.filter(|old| old.make == make) {
            let carrier = Carrier::new(Arc::clone(&old.carrier.guard), lifetimes);
            return Ok(Seat { id: old.id, make, carrier, queries: old.queries.clone() });
        }
        let guard = registry::build(provider, self.limiters, Arc::new(self.metrics.provider(name)))
            .map_err(|error| EngineError::Provider { name: name.clone(), error })?;
        let guard = guard.with_audit(config.log.audit);
        let guard = Arc::new(guard.with_snapshot(&provider.common, config.cache.stale));
        let id = accounts.number(&guard, old).ok_or(EngineError::Accounts)?;
        if let Some(old) = old.filter(|old| old.id == id) {
            guard.inherit(&old.carrier.guard);
        }
        Ok(Seat { id, make, carrier: Carrier::new(guard, lifetimes), queries: self.metrics.cache(name) })
    }
}

/// The numbers of accounts at vendors, for as long as the process lives.
#[derive(Default)]
struct Accounts(HashMap<(String, String), ProviderId>);

impl Accounts {
    /// The number of the account that `guard` asks at; that of `old` where it is the same. `None` when there are no more.
    fn number(&mut self, guard: &Guard, old: Option<&Seat>) -> Option<ProviderId> {
        let identity = guard.provider().identity();
        // Asked now of both: a key that was rotated in its file is the same account.
        if let Some(old) = old.filter(|old| old.carrier.guard.provider().identity() == identity) {
            return Some(old.id);
        }
        let next = u16::try_from(self.0.len()).ok().map(ProviderId);
        let key = (guard.name().to_owned(), identity);
        match self.0.get(&key) {
            Some(id) => Some(*id),
            None => {
                self.0.insert(key, next?);
                next
            }
        }
    }
}

/// The built-in formats and the user's.
fn formats(config: &Config) -> Result<Formats, EngineError> {
    let mut files = Vec::new();
    for path in &config.formats {
        let text = std::fs::read_to_string(path)
            .map_err(|error| EngineError::FormatFile { path: path.clone(), error })?;
        files.push((path.display().to_string(), text));
    }
    let unknown = |vendor: &str| {
        (!TYPES.contains(&vendor)).then(|| {
            let (near, known) = (words::hint(vendor, &TYPES), words::or(&TYPES));
            format!("vendor: not a type of provider{near} (given: {vendor}); write {known}, or leave it out")
        })
    };
    Formats::with_user_files(&files)
        .and_then(|formats| formats.with_vendors(unknown))
        .map_err(EngineError::Formats)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The formats of a configuration that names one file with a format of this `vendor`.
    fn formats_of(vendor: &str) -> Result<Formats, String> {
        let folder = tempfile::tempdir().unwrap();
        let rules = "match: [{/a: 1}]\nentities: [{kind: user, paths: [/b]}]\n";
        std::fs::write(folder.path().join("mine.yaml"), format!("name: mine\nvendor: {vendor}\n{rules}"))
            .unwrap();
        let file = folder.path().join("riskstream.yaml");
        std::fs::write(&file, "formats: [./mine.yaml]\n").unwrap();
        formats(&Config::load_offline(&file, []).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_format_of_a_vendor_that_does_not_exist_is_answered_with_those_that_do() {
        let formats = formats_of("cortex_xdr").unwrap();
        assert_eq!(formats.vendor(formats.id("mine").unwrap()), Some("cortex_xdr"));
        let error = formats_of("cortex-xdr").unwrap_err();
        let place = "mine.yaml:2:9: vendor: not a type of provider, nearest is cortex_xdr (given: cortex-xdr); write ";
        assert!(error.contains(place) && error.contains("oracle_casb"), "{error}");
        assert!(formats_of("splunk").is_err_and(|error| !error.contains("nearest")));
    }
}
