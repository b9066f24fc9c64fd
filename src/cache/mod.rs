//! Step 5: answers with lifetimes, and one flight per question.
//!
//! [`key`] is what a question is told apart by, [`ttl`] how long an answer lives, [`entry`] one answer in memory,
//! [`store`] where they are kept within a bound of bytes, [`flight`] how many askers share one call. Only `flight` knows of tasks; the
//! rest takes `now` as a parameter.

pub mod entry;
pub mod flight;
pub mod key;
pub mod store;
pub mod ttl;

#[cfg(test)]
mod expiry_tests;

pub use entry::{Content, Entry};
pub use flight::{Flights, Landing, Waiter};
pub use key::{Key, Question};
pub use store::{Cache, Found};
pub use ttl::Lifetimes;
