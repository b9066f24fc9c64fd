//! Step 10: which offsets may be committed.
//!
//! [`ledger`] and [`policy`] are pure: what is finished, and when to say so. [`committer`] is the only part
//! that talks to Kafka.

pub mod committer;
pub mod ledger;
pub mod policy;
