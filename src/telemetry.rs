//! Logging: readable on a terminal, JSON lines in a pipe.
//!
//! Contract: logs go to stderr, so that results on stdout stay clean. No alert content and no identifier is
//! logged at `info` and above, no secret ever: that is each caller's duty, and tested end to end. A log that nobody
//! reads stops nothing.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// The target of audit lines (`log.audit`).
pub const AUDIT: &str = "riskstream::audit";

/// Starts logging. Called once; a second call changes nothing.
pub fn start(log: &Log) {
    // What is asked for by a key of its own does not depend on the level.
    let level = if log.audit { format!("{},{AUDIT}=info", log.level) } else { log.level.clone() };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of a line that cannot be written on the same stderr, and panic: whoever logs must not end
        // because nobody reads.
        .log_internal_errors(false);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    // An earlier start wins; that is what a test or a demo wants.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(terminal).with_target(false).try_init()
    };
}
