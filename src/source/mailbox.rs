//! What reaches a lane from other threads, and how.
//!
//! Contract: whoever posts never waits for the lane: the mailbox grows to what can be under way, two words for each alert
//! in flight, and no further. The lane takes all of it at once, and may ask to be woken for many words rather than for
//! each. Once the lane is gone, what is posted is nobody's: nothing is committed then either.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sink::{Deliveries, Returned, Token};

/// What reaches a lane from other threads.
#[derive(Debug)]
pub enum Event {
    /// The last answer of a waiting alert has landed.
    Landed(Token),
    /// A record was acknowledged, in this partition of its topic, or finally refused.
    Delivered(Token, Result<i32, Box<Returned>>),
    /// The producer of this number cannot go on.
    Broken(u32, String),
}

/// A mailbox: the lane's end and everybody else's.
pub fn mailbox() -> (Post, Mail) {
    let shared = Arc::new(Shared::default());
    (Post(Arc::clone(&shared)), Mail(shared))
}

#[derive(Debug, Default)]
struct Shared {
    letters: Mutex<Letters>,
    enough: Condvar,
}

#[derive(Debug, Default)]
struct Letters {
    new: VecDeque<Event>,
    /// How many wake the lane; 0 while it does not sleep.
    awaited: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that flights and the producer have.
#[derive(Clone, Debug)]
pub struct Post(Arc<Shared>);

impl Post {
    /// Puts a word into the mailbox.
    pub fn send(&self, event: Event) {
        let mut letters = self.0.lock();
        letters.new.push_back(event);
        if letters.awaited != 0 && letters.new.len() >= letters.awaited {
            letters.awaited = 0;
            drop(letters);
            self.0.enough.notify_one();
        }
    }
}

/// The lane's end.
#[derive(Debug)]
pub struct Mail(Arc<Shared>);

impl Mail {
    /// Moves what has arrived behind what is in `letters`.
    pub fn take(&self, letters: &mut VecDeque<Event>) {
        let mut arrived = self.0.lock();
        if letters.is_empty() {
            std::mem::swap(letters, &mut arrived.new);
        } else {
            letters.append(&mut arrived.new);
        }
    }

    /// Sleeps until `many` words are there, at most `bound`.
    pub fn wait(&self, many: usize, bound: Duration) {
        let mut letters = self.0.lock();
        letters.awaited = many.max(1);
        let missing = |letters: &mut Letters| letters.new.len() < many.max(1);
        let mut letters = match self.0.enough.wait_timeout_while(letters, bound, missing) {
            Ok((letters, _)) => letters,
            Err(poisoned) => poisoned.into_inner().0,
        };
        letters.awaited = 0;
    }
}

impl Deliveries for Post {
    fn delivered(&self, token: Token, result: Result<i32, Returned>) {
        self.send(Event::Delivered(token, result.map_err(Box::new)));
    }

    fn broken(&self, producer: u32, why: String) {
        self.send(Event::Broken(producer, why));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn landed(slot: u32) -> Event {
        Event::Landed(Token { slot, generation: 0 })
    }

    fn slots(letters: &VecDeque<Event>) -> Vec<u32> {
        let slot = |event: &Event| match event {
            Event::Landed(token) => Some(token.slot),
            _ => None,
        };
        letters.iter().filter_map(slot).collect()
    }

    #[test]
    fn words_are_taken_all_at_once_behind_what_was_taken_before() {
        let (post, mail) = mailbox();
        let mut letters = VecDeque::new();
        (0..3).for_each(|slot| post.send(landed(slot)));
        mail.take(&mut letters);
        assert_eq!(slots(&letters), [0, 1, 2]);
        post.send(landed(3));
        mail.take(&mut letters);
        assert_eq!(slots(&letters), [0, 1, 2, 3]);
    }

    #[test]
    fn the_lane_sleeps_until_enough_words_are_there_and_no_longer_than_it_wants() {
        const LONG: Duration = Duration::from_secs(60);
        let (post, mail) = mailbox();
        let started = Instant::now();
        let writer = thread::spawn(move || (0..8).for_each(|slot| post.send(landed(slot))));
        mail.wait(8, LONG);
        let mut letters = VecDeque::new();
        mail.take(&mut letters);
        assert_eq!(letters.len(), 8, "one word alone does not wake it");
        writer.join().unwrap();
        mail.wait(1, Duration::from_millis(1));
        assert!(started.elapsed() < LONG, "nothing came, and it woke");
    }
}
