//! `riskstream demo`: everything in one process.

use super::End;

/// Runs the demo.
pub fn run(_seconds: Option<u64>, _rate: u64) -> Result<(), End> {
    Err(End::Quiet)
}
