//! The alerts that have left and wait for a late answer: how many, for how long.
//!
//! Pure: the time is passed in. Contract: never more of them, and never more bytes, than the bounds say, and none beyond
//! its time. Whoever is not admitted is handed back at once; nobody who waits is put out for another.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::sink::Token;

/// Alerts that may wait for late answers, as many as may be in flight, and this part of the bytes.
const PART: usize = 4;

/// What one takes beside what it brings: its places in the two lists.
const PLACE: usize = 256;

/// Bytes that wait at most where `in_flight_bytes` may be in flight.
pub const fn most(in_flight_bytes: usize) -> usize {
    in_flight_bytes / PART
}

/// One who waits.
#[derive(Debug)]
struct Held<T> {
    item: T,
    bytes: usize,
    until: Instant,
}

/// Those who wait, with what they bring.
#[derive(Debug)]
pub struct Waiting<T> {
    count: usize,
    most: usize,
    bytes: usize,
    all: HashMap<Token, Held<T>, ahash::RandomState>,
    /// In the order in which they came, and that is the order in which their time is over. Some are gone already.
    until: VecDeque<(Instant, Token)>,
}

impl<T> Waiting<T> {
    /// Room for `count` alerts of `most` bytes all together.
    pub fn new(count: usize, most: usize) -> Self {
        Waiting { count, most, bytes: 0, all: HashMap::default(), until: VecDeque::new() }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Lets `item`, which holds `bytes`, wait until `until`, or as long as whoever came last, where that is longer.
    ///
    /// # Errors
    /// The item, where there is no room for it.
    pub fn admit(&mut self, token: Token, item: T, bytes: usize, until: Instant) -> Result<(), T> {
        let bytes = bytes + PLACE;
        if self.all.len() >= self.count || self.bytes + bytes > self.most || self.all.contains_key(&token) {
            return Err(item);
        }
        // Those who are gone leave the list once they are most of it.
        if self.until.len() > 2 * self.all.len() + 64 {
            let all = &self.all;
            self.until.retain(|(until, token)| all.get(token).is_some_and(|held| held.until == *until));
        }
        let until = self.until.back().map_or(until, |(last, _)| until.max(*last));
        self.bytes += bytes;
        self.all.insert(token, Held { item, bytes, until });
        self.until.push_back((until, token));
        Ok(())
    }

    /// Whoever waits with this token, who then waits no longer.
    pub fn take(&mut self, token: Token) -> Option<T> {
        let Held { item, bytes, .. } = self.all.remove(&token)?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(item)
    }

    /// Lets go of all whose time is over; how many.
    pub fn expire(&mut self, now: Instant) -> usize {
        let mut gone = 0;
        while let Some((until, token)) = self.until.front().copied() {
            let waits = self.all.get(&token).is_some_and(|held| held.until == until);
            if waits && until > now {
                break;
            }
            self.until.pop_front();
            gone += usize::from(waits && self.take(token).is_some());
        }
        gone
    }

    /// Lets go of all; how many.
    pub fn clear(&mut self) -> usize {
        self.until.clear();
        self.bytes = 0;
        let gone = self.all.len();
        self.all.clear();
        gone
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn token(slot: u32) -> Token {
        Token { slot, generation: 7 }
    }

    #[test]
    fn above_either_bound_nobody_is_admitted_and_nobody_is_put_out() {
        let now = Instant::now();
        let mut waiting = Waiting::new(2, 10_000);
        assert_eq!(waiting.admit(token(1), 'a', 10, now), Ok(()));
        assert_eq!(waiting.admit(token(2), 'b', 10_000, now), Err('b'), "bytes");
        assert_eq!(waiting.admit(token(2), 'b', 10, now), Ok(()));
        assert_eq!(waiting.admit(token(3), 'c', 10, now), Err('c'), "count");
        assert_eq!(waiting.take(token(1)), Some('a'));
        assert_eq!(waiting.take(token(1)), None, "only once");
        assert_eq!(waiting.admit(token(3), 'c', 10, now), Ok(()));
    }

    #[test]
    fn whose_time_is_over_goes_and_others_stay() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut waiting = Waiting::new(10, 10_000);
        for slot in 0..4 {
            waiting.admit(token(slot), slot, 10, now + slot * second).unwrap();
        }
        assert_eq!(waiting.take(token(0)), Some(0));
        assert_eq!(waiting.expire(now + second), 1);
        assert_eq!((waiting.len(), waiting.take(token(2))), (2, Some(2)));
        assert_eq!(waiting.clear(), 1);
        assert!(waiting.is_empty() && waiting.bytes == 0);
    }

    proptest! {
        /// Against a list that is looked through each time.
        #[test]
        fn who_waits_is_as_in_a_plain_list_within_the_bounds(
            steps in prop::collection::vec((0u8..4, 0u32..40, 0usize..3_000), 1..400),
            count in 1usize..20,
            most in 1_000usize..20_000,
        ) {
            let start = Instant::now();
            let mut waiting = Waiting::new(count, most);
            let mut model: Vec<(u32, usize, Instant)> = Vec::new();
            for (at, (step, slot, bytes)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_millis(at as u64);
                let until = now + Duration::from_millis(50);
                match step {
                    0 | 1 => {
                        let held: usize = model.iter().map(|(_, bytes, _)| bytes + PLACE).sum();
                        let room = model.len() < count
                            && held + bytes + PLACE <= most
                            && !model.iter().any(|(known, ..)| *known == slot);
                        prop_assert_eq!(waiting.admit(token(slot), slot, bytes, until).is_ok(), room);
                        if room {
                            model.push((slot, bytes, until));
                        }
                    }
                    2 => {
                        let known = model.iter().position(|(known, ..)| *known == slot);
                        prop_assert_eq!(waiting.take(token(slot)), known.map(|place| model.remove(place).0));
                    }
                    _ => {
                        let before = model.len();
                        model.retain(|(_, _, until)| *until > now);
                        prop_assert_eq!(waiting.expire(now), before - model.len());
                    }
                }
                let held: usize = model.iter().map(|(_, bytes, _)| bytes + PLACE).sum();
                prop_assert_eq!((waiting.len(), waiting.bytes), (model.len(), held));
                prop_assert!(waiting.until.len() <= 2 * count + 65, "those who are gone are not kept");
            }
        }
    }
}
