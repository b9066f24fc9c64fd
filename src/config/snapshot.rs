//! `providers.*.mode` and `snapshot`: whether a vendor's whole list is read, and how.

use std::time::Duration;

use crate::config::Section;
use crate::provider::snapshot::Listing;

/// The longest interval. Scores of weeks ago say nothing of today.
const MOST: Duration = Duration::from_secs(7 * 24 * 3600);

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each entity is asked about.
    Lookup,
    /// The vendor's list is read at an interval, and no entity is asked about.
    Snapshot,
    /// The list is read, and who is not in it is asked about where its absence says nothing.
    Both,
}

/// `mode` and `snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// Whether the list is read.
    pub mode: Mode,
    /// From the beginning of one reading to that of the next (default 15 min).
    pub interval: Duration,
    /// Bound of the table in bytes (default 64 MiB); there are two while one takes the place of the other.
    pub capacity: u64,
    /// Bound of the request for one page (default 30 s).
    pub timeout: Duration,
}

impl Snapshots {
    /// Look-ups alone, with the defaults of what stands under `snapshot`.
    pub const NONE: Snapshots = Snapshots {
        mode: Mode::Lookup,
        interval: Duration::from_secs(15 * 60),
        capacity: 64 << 20,
        timeout: Duration::from_secs(30),
    };

    /// Reads both keys.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let modes = [("lookup", Mode::Lookup), ("snapshot", Mode::Snapshot), ("both", Mode::Both)];
        let mode = section.choice("mode", &modes).unwrap_or(Mode::Lookup);
        if section.has("snapshot") && !section.has("mode") {
            section.problem("snapshot", "nothing without mode", "write mode: snapshot, or mode: both");
        }
        let mut section = section.section_or_empty("snapshot");
        let least = Duration::from_secs(1);
        let interval = section.duration("interval").unwrap_or(Snapshots::NONE.interval);
        if interval < least {
            section.problem("interval", "too short to read a list in", "write at least 1s");
        } else if interval > MOST {
            let cure = "write at most 7d: a list is believed for two intervals";
            section.problem("interval", "too long to believe a list", cure);
        }
        let capacity = section.bytes("capacity").unwrap_or(Snapshots::NONE.capacity);
        if capacity < 1 << 20 {
            section.problem("capacity", "too small to work with", "write at least 1MiB");
        }
        let timeout = section.positive_duration("timeout").unwrap_or(Snapshots::NONE.timeout);
        section.finish();
        Snapshots { mode, interval: interval.max(least), capacity, timeout }
    }

    /// Reports a mode that the vendor's `listing` does not serve.
    pub(crate) fn check(&self, section: &mut Section<'_>, listing: Option<Listing>) {
        match (self.mode, listing) {
            (Mode::Lookup, _) | (Mode::Both, Some(_)) | (Mode::Snapshot, Some(Listing::Everybody)) => {}
            (Mode::Snapshot, Some(Listing::Riskiest)) => section.problem(
                "mode",
                "the vendor lists its riskiest entities only, so that a list alone would leave the others out",
                "write both",
            ),
            (_, None) => section.problem(
                "mode",
                "there is no list to read",
                "write lookup, or say under bulk how the vendor's list is read",
            ),
        }
    }
}
