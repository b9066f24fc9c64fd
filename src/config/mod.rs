//! Configuration: from YAML and environment to checked types, all problems at once.
//!
//! Owns the file's keys and their defaults. Contract: [`Config`] holds only values that can be used; whoever
//! has one need not check again. The only place that reads our own settings from the environment.

pub mod raw;
pub mod secret;
pub mod section;

pub use secret::Secret;
pub use section::Section;
