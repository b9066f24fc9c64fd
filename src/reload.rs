//! Taking a changed configuration over while alerts flow: at SIGHUP, and when one of its files has changed.
//!
//! Contract: a configuration is taken whole or not at all; one that is wrong changes nothing, and log, metrics and readiness
//! say why until it is mended. What only a restart changes stays as it is, and that is said. A file that is being written is
//! left alone until it has been still for a second. Owns the looking and the telling; [`Engine::take`] does the rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::health::Notes;
use crate::config::mark::Mark;
use crate::config::{self, Config};
use crate::engine::{Engine, EngineError, Taken};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts at a configuration that was refused: what it lacks may be another file than those that are watched.
const RETRY: Duration = Duration::from_secs(10);
/// Under which the notes of readiness are known.
const NOTE: &str = "configuration";

/// A configuration as it was when it was read, and whoever asks for another reading since.
pub struct Seen {
    file: PathBuf,
    running: Config,
    marks: Marks,
    hangups: Signal,
}

impl Seen {
    /// What was just read from `file`. From here on SIGHUP does not end the process. To be called on a runtime.
    ///
    /// # Errors
    /// SIGHUP cannot be listened to.
    pub fn new(file: &Path, running: &Config) -> std::io::Result<Seen> {
        let (marks, hangups) = (marks(files(file, running)), signal(SignalKind::hangup())?);
        Ok(Seen { file: file.to_owned(), running: running.clone(), marks, hangups })
    }
}

/// What is needed for a reload.
pub struct Reload {
    file: PathBuf,
    hangups: Signal,
    engine: Arc<Engine>,
    notes: Arc<Notes>,
    /// What is in use.
    running: Config,
    watch: Watch,
    /// When the last configuration was refused, and why, until one is taken.
    refused: Option<(Instant, String)>,
}

impl Reload {
    /// Takes over what changes in the files of `seen` for `engine`, which was built from them.
    pub fn new(seen: Seen, engine: Arc<Engine>, notes: Arc<Notes>) -> Reload {
        let Seen { file, running, marks, hangups } = seen;
        let watch = Watch { tried: marks.clone(), seen: marks };
        Reload { file, hangups, engine, notes, running, watch, refused: None }
    }

    /// Starts looking, on the runtime of the caller and for as long as that lives.
    pub fn start(mut self) {
        tokio::spawn(async move {
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let asked = tokio::select! {
                    _ = self.hangups.recv() => true,
                    _ = looks.tick() => false,
                };
                let turn = tokio::task::spawn_blocking(move || {
                    self.turn(asked, Instant::now());
                    self
                });
                self = match turn.await {
                    Ok(back) => back,
                    Err(error) => {
                        tracing::error!(%error, "changes of the configuration are no longer seen; this is a bug");
                        return;
                    }
                };
            }
        });
    }

    /// Looks, and takes over what has changed; in any case where somebody `asked`.
    fn turn(&mut self, asked: bool, now: Instant) {
        let files = self.watch.tried.iter().map(|(file, _)| file.clone()).collect();
        let changed = self.watch.look(marks(files));
        let again = self.refused.as_ref().is_some_and(|(at, _)| now >= *at + RETRY);
        if !(asked || changed || again) {
            return;
        }
        match self.attempt() {
            Ok((taken, kept)) => {
                self.refused = None;
                // Whoever sees the figure finds the words.
                self.tell(&taken, &kept);
                self.engine.metrics.reloads.taken(SystemTime::now(), !kept.is_empty());
            }
            Err(why) => {
                let known = self.refused.as_ref().is_some_and(|(_, known)| *known == why);
                if asked || changed || !known {
                    let file = self.file.display();
                    tracing::error!(%file, %why, "the configuration has changed and is not taken: the one before stays in use");
                    self.notes.set(NOTE, Some(format!("{file} has changed and is not taken: {why}")));
                    self.engine.metrics.reloads.refused();
                }
                self.refused = Some((now, why));
            }
        }
    }

    /// Reads all of it, and puts it in use; what that changed, and which keys take a restart.
    fn attempt(&mut self) -> Result<(Taken, Vec<&'static str>), String> {
        // Before anything is read: what changes from here on is seen by the next look.
        let before = marks(vec![self.file.clone()]);
        // Reading from a pipe would wait for whoever writes into it.
        if self.file.exists() && !self.file.is_file() {
            self.watch.tried(before);
            return Err(format!("{} is no file; put one there", self.file.display()));
        }
        let loaded = Config::load(&self.file, config::environment());
        let mut config = match loaded {
            Ok(config) => config,
            Err(problems) => {
                self.watch.tried(before);
                return Err(problems.to_string());
            }
        };
        let kept = config.keep_from(&self.running);
        let mut files = files(&self.file, &config);
        files.retain(|file| *file != self.file);
        self.watch.tried(before.into_iter().chain(marks(files)).collect());
        self.would_lose(&config)?;
        let taken = self.engine.take(&config).map_err(|error| match error {
            EngineError::NoSuchFormat { topic, name, .. } if kept.contains(&"input") => format!(
                "a restart is needed: input has changed, and what is in use until then names format {name:?} for topic {topic}, which \
                 is gone"
            ),
            error => error.to_string(),
        })?;
        self.running = config;
        Ok((taken, kept))
    }

    /// Refuses what is more likely an accident than a wish: a file that was cut short, a folder that is not there.
    fn would_lose(&self, config: &Config) -> Result<(), String> {
        let providers = self.running.providers.len();
        if config.providers.is_empty() && providers > 0 {
            return Err(format!(
                "{} names no provider, and {providers} are in use; write them, or restart for a service that asks nobody",
                self.file.display()
            ));
        }
        let formats = self.running.formats.len();
        if config.formats.is_empty() && formats > 0 && !config.format_folders.is_empty() {
            return Err(format!(
                "formats: no file matches, and {formats} are in use; put them back, or take the pattern out of {}",
                self.file.display()
            ));
        }
        Ok(())
    }

    fn tell(&self, taken: &Taken, kept: &[&str]) {
        let Taken { added, removed, changed, moved } = taken;
        let list = |names: &[String]| names.join(", ");
        tracing::info!(
            file = %self.file.display(),
            added = list(added),
            removed = list(removed),
            changed = list(changed),
            moved = list(moved),
            "the configuration was read again and is in use"
        );
        let restart = (!kept.is_empty()).then(|| {
            let (file, keys) = (self.file.display(), kept.join(", "));
            format!("{file} has changed, and a restart is needed for: {keys}")
        });
        self.notes.set(NOTE, restart);
    }
}

/// The files of a configuration, and the folders in which others may come to belong to it. Secrets look at their files
/// themselves.
fn files(file: &Path, config: &Config) -> Vec<PathBuf> {
    let providers = config.providers.iter().map(|provider| &provider.common);
    let certificates = providers.flat_map(|common| [&common.ca, &common.client_cert]).flatten();
    let mut files = vec![file.to_owned()];
    files.extend(config.formats.iter().chain(&config.format_folders).chain(certificates).cloned());
    files
}

type Marks = Vec<(PathBuf, Option<Mark>)>;

fn marks(files: Vec<PathBuf>) -> Marks {
    files
        .into_iter()
        .map(|file| {
            let mark = Mark::at(&file);
            (file, mark)
        })
        .collect()
}

/// When files have changed and are still.
struct Watch {
    /// As they were when the last attempt read them.
    tried: Marks,
    /// As they were at the last look.
    seen: Marks,
}

impl Watch {
    /// Takes in how the files are now; whether they changed since the last attempt, and not since the last look.
    fn look(&mut self, now: Marks) -> bool {
        let still = self.seen == now;
        self.seen = now;
        still && self.seen != self.tried
    }

    /// An attempt has read them as they are in `marks`.
    fn tried(&mut self, marks: Marks) {
        self.tried = marks;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_change_counts_once_and_only_when_it_is_still() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        let now = || marks(paths.to_vec());
        let mut watch = Watch { tried: now(), seen: now() };
        assert!(!watch.look(now()), "nothing has changed");
        std::fs::write(&paths[0], "a").unwrap();
        assert!(!watch.look(now()), "somebody may still be writing");
        std::fs::write(&paths[0], "ab").unwrap();
        assert!(!watch.look(now()), "somebody was");
        assert!(watch.look(now()));
        assert!(watch.look(now()), "until somebody reads it");
        watch.tried(now());
        assert!(!watch.look(now()));
        std::fs::remove_file(&paths[0]).unwrap();
        assert!(!watch.look(now()));
        assert!(watch.look(now()), "that it is gone is a change as well");
    }

    #[test]
    fn what_was_read_and_changed_while_it_was_read_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let now = || marks(vec![file.path().to_owned()]);
        let before = now();
        let mut watch = Watch { tried: Vec::new(), seen: before.clone() };
        std::fs::write(file.path(), "more").unwrap();
        watch.tried(before);
        assert!(!watch.look(now()));
        assert!(watch.look(now()));
    }
}
