//! What the lanes say of themselves, and what follows for liveness and readiness.
//!
//! Contract: a lane is alive while its polls make progress, whatever the broker and the vendors do. It is ready
//! once the broker has answered about our topics; having no partition is ready.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pipeline::live::Live;
use crate::source::LaneError;
use crate::source::identity::Identity;

/// One lane's word.
#[derive(Debug)]
pub struct LaneHealth {
    epoch: Instant,
    beat: AtomicU64,
    started: AtomicBool,
    trouble: Mutex<Option<String>>,
    failed: Mutex<Option<LaneError>>,
}

impl Default for LaneHealth {
    fn default() -> Self {
        LaneHealth {
            epoch: Instant::now(),
            beat: AtomicU64::new(0),
            started: AtomicBool::new(false),
            trouble: Mutex::new(None),
            failed: Mutex::new(None),
        }
    }
}

impl LaneHealth {
    /// The lane made progress.
    pub fn beat(&self) {
        self.beat.store(self.epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago it last did.
    pub fn silence(&self) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_millis(self.beat.load(Ordering::Relaxed)))
    }

    /// It subscribed to its topics.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether it did.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Something keeps it from working.
    pub fn trouble(&self, what: String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_deref() != Some(what.as_str()) {
            tracing::warn!("{what}");
            *trouble = Some(what);
        }
    }

    /// Nothing does any more.
    pub fn well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What keeps it from working.
    pub fn current_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An error inside a callback, which cannot return it.
    pub fn fail(&self, error: LaneError) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// That error, once.
    pub fn failed(&self) -> Option<LaneError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What people should know though it keeps nobody from working, each by the word that it is known under.
#[derive(Debug, Default)]
pub struct Notes(Mutex<BTreeMap<String, String>>);

impl Notes {
    /// Notes `what` under `word`, or that it is over.
    pub fn set(&self, word: &str, what: Option<String>) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = notes.get(word) == what.as_ref();
        match what {
            Some(what) => {
                if !known {
                    tracing::warn!("{what}");
                    notes.insert(word.to_owned(), what);
                }
            }
            None => drop(notes.remove(word)),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// The process, as `/livez` and `/readyz` see it.
pub struct Health {
    lanes: Vec<Arc<LaneHealth>>,
    notes: Arc<Notes>,
    live: Option<Arc<Live>>,
    identity: Identity,
    /// A lane that is silent for longer is not alive.
    silence: Duration,
    stopping: AtomicBool,
}

/// Whether traffic should come, and why not.
#[derive(Debug, serde::Serialize)]
pub struct Readiness {
    /// Whether it should.
    pub ready: bool,
    /// What keeps it from being ready, for people.
    pub reasons: Vec<String>,
    /// What is wrong with the way to Kafka and does not stop it yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kafka: Vec<String>,
    /// What is wrong with vendors. Alerts still flow, marked, so it does not make the process unready.
    pub providers: Vec<String>,
    /// What else people should know; alerts go on.
    pub notes: Vec<String>,
}

impl Health {
    /// Health of these parts; a lane may be silent for `drain` and a little more.
    pub fn new(lanes: Vec<Arc<LaneHealth>>, drain: Duration) -> Self {
        Health {
            lanes,
            notes: Arc::default(),
            live: None,
            identity: Identity::default(),
            silence: drain + Duration::from_secs(10),
            stopping: AtomicBool::new(false),
        }
    }

    /// With the providers of the pipeline in use.
    #[must_use]
    pub fn with_providers(mut self, live: Arc<Live>) -> Self {
        self.live = Some(live);
        self
    }

    /// With an identity to the brokers that has to be renewed.
    #[must_use]
    pub fn with_identity(mut self, identity: &Identity) -> Self {
        self.identity = identity.clone();
        self
    }

    /// Where to note what people should know.
    pub fn notes(&self) -> Arc<Notes> {
        Arc::clone(&self.notes)
    }

    /// The process is about to end.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Lanes that make no progress, for people; empty when all is well.
    pub fn silent(&self) -> Vec<String> {
        let silent = self.lanes.iter().enumerate().filter(|(_, lane)| lane.silence() > self.silence);
        silent
            .map(|(number, lane)| format!("lane {number} has not polled for {} s", lane.silence().as_secs()))
            .collect()
    }

    /// Whether traffic should come.
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("stopping".to_owned());
        }
        for (number, lane) in self.lanes.iter().enumerate() {
            match lane.current_trouble() {
                Some(trouble) => reasons.push(format!("lane {number}: {trouble}")),
                None if !lane.is_started() => reasons.push(format!("lane {number} is starting")),
                None => {}
            }
        }
        let mut kafka = Vec::new();
        match self.identity.trouble(Instant::now()) {
            Some(trouble) if trouble.blocked => reasons.push(trouble.what),
            Some(trouble) => kafka.push(trouble.what),
            None => {}
        }
        let pipeline = self.live.as_ref().map(|live| live.get());
        let guards = pipeline.iter().flat_map(|pipeline| pipeline.roster.guards());
        let providers = guards.filter_map(|guard| guard.state().problem()).collect();
        Readiness { ready: reasons.is_empty(), reasons, kafka, providers, notes: self.notes.all() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_says_why_not() {
        let lane = Arc::new(LaneHealth::default());
        let health = Health::new(vec![Arc::clone(&lane)], Duration::from_secs(20));
        assert_eq!(health.readiness().reasons, ["lane 0 is starting"]);
        lane.started();
        assert!(health.readiness().ready);
        lane.trouble("waiting for a Kafka broker".to_owned());
        assert_eq!(health.readiness().reasons, ["lane 0: waiting for a Kafka broker"]);
        lane.well();
        health.notes().set("topics", Some("no topic matches ^a".to_owned()));
        let readiness = health.readiness();
        assert!(readiness.ready, "a note keeps nobody from working");
        assert_eq!(readiness.notes, ["no topic matches ^a"]);
        health.notes().set("topics", None);
        assert!(health.readiness().notes.is_empty());
        health.stopping();
        assert_eq!(health.readiness().reasons, ["stopping"]);
        assert!(health.silent().is_empty());
    }
}
