//! Builds the parts, starts them, and stops them in order.
//!
//! Contract: [`Engine::build`] is the same for the service and for every command, so that what a person tries on a
//! file is what runs. The service stops in this order: not ready, no more polling, drain, flush, store, leave the
//! group; each within its bound, and an unexpected end of any part ends the process with an error.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::admin::alarm::Alarm;
use crate::admin::health::{Health, LaneHealth};
use crate::admin::server;
use crate::alert::{Decoder, FormatProblem, Formats, Options};
use crate::cache::flight::Carrier;
use crate::cache::{Cache, Flights, Lifetimes};
use crate::compose::Composer;
use crate::config::snapshot::Mode;
use crate::config::{Config, Flood, FloodAction, words};
use crate::metrics::{Metrics, MetricsError};
use crate::pipeline::Pipeline;
use crate::pipeline::budget::Budgets;
use crate::provider::gate::Limiters;
use crate::provider::guard::Guard;
use crate::provider::meter::{Meter, NoMeter};
use crate::provider::registry::{self, BuildError, TYPES};
use crate::provider::snapshot::reader;
use crate::routing::{BadRoute, Candidate, Routing};
use crate::source::LaneError;
use crate::source::identity::Identity;
use crate::source::lane::Lane;
use crate::source::limits::Latest;
use crate::source::watch::Watch;
use crate::supervisor::Stop;

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
    #[error("providers.{name}: {error}")]
    Provider {
        /// The instance.
        name: String,
        /// Why.
        error: BuildError,
    },
    /// A bug.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

fn lines<T: std::fmt::Display>(problems: &[T]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A lane could not go on.
    #[error("lane {lane}: {error}")]
    Lane {
        /// Its number.
        lane: usize,
        /// Why.
        error: LaneError,
    },
    /// A lane's thread ended without saying why.
    #[error("lane {0} ended unexpectedly; this is a bug, and its log lines above say where")]
    Panic(usize),
    /// The admin port cannot be opened.
    #[error("admin.listen: cannot listen on {address}: {error}. Free the port or choose another")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The admin port is gone while the service runs.
    #[error("admin.listen: the server at {address} ended unexpectedly: {why}")]
    Admin {
        /// Where it listened.
        address: std::net::SocketAddr,
        /// Why.
        why: String,
    },
    /// The identity to the brokers cannot be set up.
    #[error("kafka.sasl: {0}")]
    Identity(#[from] crate::http::BuildError),
    /// What renews Kafka's token is gone.
    #[error("the task that renews the token for Kafka ended unexpectedly; this is a bug")]
    Renewal,
    /// More dead letters than `dead_letters.flood` allows, and its action is `stop`.
    #[error(
        "dead_letters.flood: {dead} of {read} alerts within {per:?} became dead letters, and the action is stop. What was \
         acknowledged is committed, the rest is read again: look at them with `riskstream dlq list`, correct what writes \
         them, then start again, or set dead_letters.flood.action to report"
    )]
    Flood {
        /// Dead letters within the span.
        dead: u64,
        /// Alerts read within it.
        read: u64,
        /// The span.
        per: Duration,
    },
    /// A second signal ended the stop.
    #[error("stopped at once by a second signal; what was in flight will be read again")]
    Interrupted,
    /// The stop took longer than `pipeline.shutdown`.
    #[error("the stop took longer than pipeline.shutdown; what was in flight will be read again")]
    Overdue,
}

/// The parts that enrich alerts, without Kafka.
pub struct Engine {
    /// The steps.
    pub pipeline: Arc<Pipeline>,
    /// The providers, by position.
    pub guards: Vec<Arc<Guard>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Engine {
    /// Builds the parts that `config` describes; calls to vendors will run on `runtime`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn build(config: &Config, runtime: Handle) -> Result<Engine, EngineError> {
        Engine::assemble(config, runtime, Some(FLIGHT))
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
        Engine::assemble(&config, runtime, None)
    }

    /// Has the lists of vendors read at their intervals on `runtime`, where that is configured, as long as this engine is there.
    pub fn read_snapshots(&self, runtime: &Handle) {
        self.guards.iter().for_each(|guard| reader::start(guard, runtime));
    }

    /// Reads the lists of those providers that are asked by snapshot alone, once: a command has nobody else to ask. With
    /// `mode: both` it looks each entity up. What cannot be read is told to `note`.
    pub async fn read_once(&self, note: impl Fn(&str)) {
        for guard in &self.guards {
            if guard.snapshot().is_some_and(|snapshot| snapshot.mode() == Mode::Snapshot) {
                note(&format!("{}: reading the vendor's list (mode: snapshot)", guard.name()));
                if let Err(failure) = reader::once(guard).await {
                    note(&format!("{}: the vendor's list could not be read: {failure}", guard.name()));
                }
            }
        }
    }

    fn assemble(config: &Config, runtime: Handle, bound: Option<Duration>) -> Result<Engine, EngineError> {
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
        let names: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
        let metrics = Arc::new(Metrics::new(&names)?);
        let limiters = Limiters::default();
        let mut carriers = Vec::new();
        let mut candidates = Vec::new();
        let mut guards = Vec::new();
        for (index, provider) in config.providers.iter().enumerate() {
            let meter: Arc<dyn Meter> = match metrics.provider(index) {
                Some(metrics) => Arc::new(metrics),
                None => Arc::new(NoMeter),
            };
            let guard = registry::build(provider, &limiters, meter)
                .map_err(|error| EngineError::Provider { name: provider.name.clone(), error })?;
            let guard = guard.with_audit(config.log.audit);
            let guard = Arc::new(guard.with_snapshot(&provider.common.snapshot, config.cache.stale));
            candidates.push(Candidate {
                name: provider.name.clone(),
                vendor: provider.vendor.label(),
                kinds: guard.provider().kinds().to_vec(),
            });
            guards.push(Arc::clone(&guard));
            carriers.push(Carrier { guard, lifetimes: Lifetimes::new(provider.common.ttl, &config.cache) });
        }
        let routing = Routing::new(&config.routes, &candidates, &formats).map_err(EngineError::Routes)?;
        let cache = Arc::new(Cache::new(config.cache.capacity));
        let decoder = Decoder::new(
            Arc::clone(&formats),
            Options {
                member: config.output.member.clone(),
                max_bytes: config.pipeline.max_alert_bytes,
                max_depth: config.pipeline.max_depth,
                max_entities: config.pipeline.max_entities,
            },
        );
        let pipeline = Arc::new(Pipeline {
            formats,
            decoder,
            routing,
            flights: Flights::new(cache, carriers, runtime, bound),
            budgets: Budgets::new(config.pipeline.look_ups),
            names: candidates.into_iter().map(|candidate| candidate.name).collect(),
            composer: Composer::new(&config.output),
            metrics: Arc::clone(&metrics),
        });
        Ok(Engine { pipeline, guards, metrics })
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

/// A lane's thread, and what it says of itself.
type RunningLane = (thread::JoinHandle<Result<(), LaneError>>, Arc<LaneHealth>);

/// The service, running.
pub struct Service {
    lanes: Vec<RunningLane>,
    health: Arc<Health>,
    identity: Identity,
    stop: Stop,
    shutdown: Duration,
    server: server::Running,
    alarm: Alarm,
    flood: Flood,
    /// Where the admin port listens, once chosen.
    pub admin: std::net::SocketAddr,
}

impl Service {
    /// Starts the admin port and the lanes.
    ///
    /// # Errors
    /// [`RunError::Identity`], [`RunError::Listen`] and [`RunError::Lane`].
    pub async fn start(config: Arc<Config>, engine: &Engine, stop: Stop) -> Result<Service, RunError> {
        let count = config.pipeline.threads.max(1);
        let words: Vec<Arc<LaneHealth>> = (0..count).map(|_| Arc::default()).collect();
        let identity = Identity::new(&config.kafka)?;
        identity.start(&Handle::current(), Some(Arc::clone(&engine.metrics)));
        let health = Health::new(words.clone(), engine.guards.clone(), config.pipeline.drain);
        let health = Arc::new(health.with_identity(&identity));
        let server = server::start(&config.admin, engine, Arc::clone(&health))
            .await
            .map_err(|error| RunError::Listen { address: config.admin.listen, error })?;
        engine.read_snapshots(&Handle::current());
        let limits = Arc::<Latest>::default();
        let watch = Watch {
            config: Arc::clone(&config),
            identity: identity.clone(),
            metrics: Arc::clone(&engine.metrics),
            notes: health.notes(),
            limits: Arc::clone(&limits),
            stop: stop.clone(),
        };
        // Nothing depends on it, and it ends with the process.
        if let Err(error) = thread::Builder::new().name("watch".to_owned()).spawn(move || watch.run()) {
            tracing::warn!(%error, "the watch could not be started");
        }
        let mut lanes = Vec::new();
        for (number, word) in words.into_iter().enumerate() {
            let lane = Lane {
                number,
                config: Arc::clone(&config),
                pipeline: Arc::clone(&engine.pipeline),
                health: Arc::clone(&word),
                notes: health.notes(),
                limits: Arc::clone(&limits),
                identity: identity.clone(),
                stop: stop.clone(),
            };
            let handle = thread::Builder::new()
                .name(format!("lane-{number}"))
                .spawn(move || lane.run())
                .map_err(|error| RunError::Lane { lane: number, error: LaneError::Thread(error) })?;
            lanes.push((handle, word));
        }
        let (shutdown, admin, flood) = (config.pipeline.shutdown, server.address, config.dead_letters.flood);
        let alarm = Alarm::new(flood, Arc::clone(&engine.metrics), Arc::clone(&health), Instant::now());
        Ok(Service { lanes, health, identity, stop, shutdown, server, alarm, flood, admin })
    }

    /// Whether every lane has subscribed.
    pub fn is_started(&self) -> bool {
        self.lanes.iter().all(|(_, word)| word.is_started())
    }

    /// Blocks until a stop is requested or a part ends, then stops everything within `pipeline.shutdown`.
    ///
    /// # Errors
    /// [`RunError`]: the first part that failed, or a stop that took too long.
    pub fn wait(mut self) -> Result<(), RunError> {
        let mut result = Ok(());
        while !self.stop.requested() && self.lanes.iter().all(|(lane, _)| !lane.is_finished()) {
            if let Some(why) = self.server.ended() {
                result = Err(RunError::Admin { address: self.admin, why });
                break;
            }
            if self.identity.has_ended() {
                result = Err(RunError::Renewal);
                break;
            }
            if let Some(counts) = self.alarm.look(Instant::now())
                && self.flood.action == FloodAction::Stop
            {
                result = Err(RunError::Flood { dead: counts.dead, read: counts.read, per: self.flood.per });
                break;
            }
            self.stop.wait(Duration::from_millis(50));
        }
        self.health.stopping();
        // A part may have ended by itself: the others must not go on alone.
        self.stop.fail();
        let until = Instant::now() + self.shutdown;
        for (number, (lane, _)) in self.lanes.into_iter().enumerate() {
            while !lane.is_finished() && Instant::now() < until && !self.stop.now() {
                thread::park_timeout(Duration::from_millis(5));
            }
            let ended = if lane.is_finished() {
                match lane.join() {
                    Ok(result) => result.map_err(|error| RunError::Lane { lane: number, error }),
                    Err(_) => Err(RunError::Panic(number)),
                }
            } else if self.stop.now() {
                Err(RunError::Interrupted)
            } else {
                Err(RunError::Overdue)
            };
            if result.is_ok() {
                result = ended;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use tokio::sync::oneshot;

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

    /// A service with one lane that does nothing but wait for the stop.
    fn idle(end: oneshot::Receiver<std::io::Result<()>>) -> Service {
        let (stop, word) = (Stop::default(), Arc::<LaneHealth>::default());
        let lane = thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.wait(Duration::from_secs(60)) {}
                Ok(())
            }
        });
        let admin = "127.0.0.1:9464".parse().unwrap();
        let health = Arc::new(Health::new(vec![Arc::clone(&word)], Vec::new(), Duration::from_secs(1)));
        let flood = Config::default().dead_letters.flood;
        let metrics = Arc::new(Metrics::new(&[]).unwrap());
        Service {
            lanes: vec![(lane, word)],
            alarm: Alarm::new(flood, metrics, Arc::clone(&health), Instant::now()),
            flood,
            health,
            identity: Identity::default(),
            stop,
            shutdown: Duration::from_secs(60),
            server: server::Running::new(admin, end),
            admin,
        }
    }

    #[test]
    fn an_admin_port_that_closes_by_itself_ends_the_service_with_an_error_that_names_it() {
        let (tell, end) = oneshot::channel();
        tell.send(Err(std::io::Error::other("no more handles"))).unwrap();
        let error = idle(end).wait().unwrap_err().to_string();
        assert!(error.contains("admin.listen") && error.contains("no more handles"), "{error}");

        let (tell, end) = oneshot::channel::<std::io::Result<()>>();
        drop(tell);
        assert!(matches!(idle(end).wait(), Err(RunError::Admin { .. })), "a task that panicked is gone, too");
    }

    #[test]
    fn a_requested_stop_is_no_error_and_leaves_the_admin_port_open() {
        let (tell, end) = oneshot::channel();
        let service = idle(end);
        service.stop.request();
        assert!(service.wait().is_ok());
        assert!(tell.send(Ok(())).is_err(), "only now nobody listens to it");
    }
}
