//! What reaches a lane from other threads, and how.
//!
//! Contract: the mailbox has room for more than can be under way, so that neither a flight nor the producer's thread
//! waits for the lane. Once the lane is gone, what is sent is nobody's: nothing is committed then either.

use std::sync::mpsc::SyncSender;

use crate::sink::{Deliveries, SinkError, Token};

/// What reaches a lane from other threads.
#[derive(Debug)]
pub enum Event {
    /// The last answer of a waiting alert has landed.
    Landed(Token),
    /// A record was acknowledged, in this partition, or refused.
    Delivered(Token, Result<i32, SinkError>),
    /// The producer of this number cannot go on.
    Broken(u32, String),
}

/// The producer's end of the mailbox.
pub struct Mailbox(pub SyncSender<Event>);

impl Deliveries for Mailbox {
    fn delivered(&self, token: Token, result: Result<i32, SinkError>) {
        // The lane is gone when nobody receives; then nothing is committed either.
        let _ = self.0.send(Event::Delivered(token, result));
    }

    fn broken(&self, producer: u32, why: String) {
        let _ = self.0.send(Event::Broken(producer, why));
    }
}
