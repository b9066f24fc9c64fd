//! Starts the parts of the service, and stops them in order.
//!
//! Contract: the service stops in this order: not ready, no more polling, drain, flush, store, leave the
//! group; each within its bound, and an unexpected end of any part ends the process with an error.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::admin::alarm::Alarm;
use crate::admin::health::{Health, LaneHealth, Notes};
use crate::admin::server;
use crate::config::{Config, Flood, FloodAction};
use crate::engine::Engine;
use crate::sink::updates::Updates;
use crate::source::LaneError;
use crate::source::identity::Identity;
use crate::source::lane::Lane;
use crate::source::limits::Latest;
use crate::source::watch::Watch;
use crate::supervisor::Stop;

/// How long a stop waits at most for the updates that were handed over.
const UPDATES: Duration = Duration::from_secs(2);

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

/// A lane's thread, and what it says of itself.
type RunningLane = (thread::JoinHandle<Result<(), LaneError>>, Arc<LaneHealth>);

/// The service, running.
pub struct Service {
    lanes: Vec<RunningLane>,
    health: Arc<Health>,
    identity: Identity,
    updates: Option<Arc<Updates>>,
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
        let health = Health::new(words.clone(), config.pipeline.drain);
        let health = Arc::new(health.with_providers(engine.live()).with_identity(&identity));
        let server = server::start(&config.admin, engine, Arc::clone(&health))
            .await
            .map_err(|error| RunError::Listen { address: config.admin.listen, error })?;
        let updates = Updates::new(&config, &identity, &engine.metrics)
            .map_err(|error| RunError::Lane { lane: 0, error: LaneError::Client(error) })?;
        engine.read_snapshots(Handle::current());
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
        let (mut lanes, together) = (Vec::new(), Arc::new(()));
        for (number, word) in words.into_iter().enumerate() {
            let lane = Lane {
                number,
                config: Arc::clone(&config),
                live: engine.live(),
                health: Arc::clone(&word),
                notes: health.notes(),
                limits: Arc::clone(&limits),
                identity: identity.clone(),
                updates: updates.clone(),
                stop: stop.clone(),
                together: Arc::clone(&together),
            };
            let handle = thread::Builder::new()
                .name(format!("lane-{number}"))
                .spawn(move || lane.run())
                .map_err(|error| RunError::Lane { lane: number, error: LaneError::Thread(error) })?;
            lanes.push((handle, word));
        }
        let (shutdown, admin, flood) = (config.pipeline.shutdown, server.address, config.dead_letters.flood);
        let alarm = Alarm::new(flood, Arc::clone(&engine.metrics), Arc::clone(&health), Instant::now());
        Ok(Service { lanes, health, identity, updates, stop, shutdown, server, alarm, flood, admin })
    }

    /// Where to note what people should know.
    pub fn notes(&self) -> Arc<Notes> {
        self.health.notes()
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
        if let Some(updates) = self.updates
            && !self.stop.now()
        {
            updates.close(UPDATES.min(until.saturating_duration_since(Instant::now())));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::sync::oneshot;

    use super::*;
    use crate::metrics::Metrics;

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
        let health = Arc::new(Health::new(vec![Arc::clone(&word)], Duration::from_secs(1)));
        let flood = Config::default().dead_letters.flood;
        let metrics = Arc::new(Metrics::new(&[]).unwrap());
        Service {
            lanes: vec![(lane, word)],
            alarm: Alarm::new(flood, metrics, Arc::clone(&health), Instant::now()),
            flood,
            health,
            identity: Identity::default(),
            updates: None,
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
