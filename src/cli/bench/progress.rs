//! What it is doing, on stderr: a line that changes on a terminal, and a line for each step elsewhere.
//!
//! Contract: results never run into it. It knows nothing of what is measured.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::figures::grouped;
use crate::cli::output::note;

/// Between two pictures: slow, as drawing takes time from what is measured.
const TICK: Duration = Duration::from_millis(500);

/// What is under way.
pub struct Progress {
    bar: ProgressBar,
    is_watched: bool,
}

impl Progress {
    /// Nothing yet.
    pub fn new() -> Progress {
        let is_watched = std::io::stderr().is_terminal();
        let bar = if is_watched { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        Progress { bar, is_watched }
    }

    /// A step begins.
    pub fn step(&self, what: &str) {
        if self.is_watched {
            self.bar.reset_elapsed();
            self.bar.set_prefix(what.to_owned());
            self.bar.set_message("");
            self.bar.enable_steady_tick(TICK);
        } else {
            note(&format!("bench: {what}"));
        }
    }

    /// How far the step is.
    pub fn at(&self, done: u64, of: u64) {
        if self.is_watched {
            self.bar.set_message(format!("{} of {}", grouped(done), grouped(of)));
        }
    }

    /// Writes something else, with the line out of the way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
