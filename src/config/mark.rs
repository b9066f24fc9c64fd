//! What tells one version of a file from the next without reading it.
//!
//! Contract: a mounted file is replaced by another inode, an edited one gets another time or length, and one that may be read again another time. The mark of a folder
//! changes when a name in it comes, goes or is replaced.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::SystemTime;

/// The mark of one version. Symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    modified: Option<SystemTime>,
    /// When anything about it changed, who may read it included, in seconds and nanoseconds.
    changed: (i64, i64),
    length: u64,
    inode: u64,
}

impl Mark {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let (inode, changed) = {
            use std::os::unix::fs::MetadataExt;
            (metadata.ino(), (metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (inode, changed) = (0, (0, 0));
        Mark { modified: metadata.modified().ok(), changed, length: metadata.len(), inode }
    }

    /// Bytes in the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Of what stands at `path`; `None` where nothing can be seen there.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Mark::of(&metadata))
    }
}
