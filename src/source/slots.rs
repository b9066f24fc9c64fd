//! The alerts in flight of one lane: a table with reused places, counted in alerts and in bytes.
//!
//! Contract: a place is told apart by its generation, so that word of an earlier user's delivery changes nothing. What
//! is counted is what is held, the spare room of buffers, what an alert waits with and the producer's copy included.
//! Buffers are kept for the next user, up to a bound.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::message::OwnedHeaders;

use crate::commit::ledger::Charge;
use crate::compose::Summary;
use crate::pipeline::Pending;
use crate::sink::Token;
use crate::sink::dead_letter::Cause;

/// A buffer above this many bytes is given back when its alert is done.
const KEEP: usize = 8 * 1024;

/// Bytes that alerts in flight may hold where no more are taken from `bound` on: what they become is composed as long
/// as there is this much room, then only as outputs are delivered.
pub const fn most(bound: usize) -> usize {
    bound / 2 * 3
}

/// Bytes of buffers that are kept for the next users, all together.
pub const KEPT: usize = 8 << 20;

/// Bytes of those in places that nobody uses; the rest is that of [`Spares`].
const IDLE: usize = KEPT - Spares::MOST * KEEP;

/// What is known of an alert in flight.
pub struct Slot {
    generation: u32,
    /// The assignment it came from.
    pub assignment: usize,
    /// Which assignment of that partition.
    pub epoch: u64,
    /// Its place in the ledger.
    pub charge: Option<Charge>,
    /// Its offset.
    pub offset: i64,
    /// Its line; `None` waits for nobody.
    pub group: Option<u64>,
    /// Its key; empty where it has none.
    pub key: Vec<u8>,
    /// Whether it has one.
    pub has_key: bool,
    /// Its value as it came.
    pub value: Vec<u8>,
    /// Whether it has none: a tombstone.
    pub tombstone: bool,
    /// Its headers, without those that are ours.
    pub headers: Option<OwnedHeaders>,
    /// How often it says that it was redriven.
    pub redriven: u8,
    /// Its timestamp, Unix milliseconds.
    pub timestamp: Option<i64>,
    /// Bytes of its headers.
    pub header_bytes: usize,
    /// Whether it goes in a batch of its own, because the broker refused one that it was in.
    pub alone: bool,
    /// Whether it leaves with the time of now, because the broker refused its own.
    pub now_instead: bool,
    /// When it was polled.
    pub polled: Instant,
    /// When it was handed to the producer.
    pub sent: Instant,
    /// The enriched event, once composed. At least once, the producer alone has it from then on.
    pub output: Vec<u8>,
    /// Bytes of it that only the producer has.
    pub given: usize,
    /// Bytes of what it waits with: its entities, and the questions about them.
    pub waiting: usize,
    /// Answers that come too late for it, once it is composed without them.
    pub owed: Option<Owed>,
    /// Bytes that it was counted with.
    counted: usize,
    /// How far it is.
    pub state: State,
}

impl Slot {
    /// Bytes that it holds.
    fn held(&self) -> usize {
        self.header_bytes + self.waiting + self.given + self.buffers()
    }

    /// Bytes that it was counted with.
    pub fn counted(&self) -> usize {
        self.counted
    }

    fn buffers(&self) -> usize {
        self.key.capacity() + self.value.capacity() + self.output.capacity()
    }

    /// Whether the producer has it as a dead letter; `None` when it has not got it.
    pub fn is_dead(&self) -> Option<bool> {
        match &self.state {
            State::Sent(product) => Some(matches!(product, Product::Dead(_) | Product::Pointer(_))),
            _ => None,
        }
    }

    /// Notes that the producer has not got it after all, with the value that it gives back.
    pub fn take_back(&mut self, value: Vec<u8>) {
        if matches!(self.state, State::Sent(Product::Enriched(_))) {
            self.output = value;
        }
        self.given = 0;
        self.unsend();
    }

    /// Notes that the producer has not got it after all.
    pub fn unsend(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Free) {
            State::Sent(product) => State::Ready(product),
            other => other,
        };
    }
}

/// What an alert is owed that was composed before all its answers were there.
pub struct Owed {
    /// What its flights tell when they have landed: its token as it was then.
    pub token: Token,
    /// Its entities.
    pub pending: Arc<Pending>,
}

/// How far an alert is.
pub enum State {
    /// Nobody uses the place.
    Free,
    /// Answers are under way.
    Waiting(Arc<Pending>),
    /// They are there, or the deadline is over; it is composed when it leaves, not before, so that what waits for
    /// another is held once and not twice.
    Answered(Arc<Pending>),
    /// It can leave when it is its turn.
    Ready(Product),
    /// The producer has it.
    Sent(Product),
}

/// What an alert became.
#[derive(Clone, Debug)]
pub enum Product {
    /// An enriched event, in `output`.
    Enriched(Summary),
    /// A tombstone, passed on.
    Tombstone,
    /// A dead letter.
    Dead(Cause),
    /// A dead letter that its topic did not take: a pointer to the record.
    Pointer(Cause),
}

/// Buffers that outputs are composed in. Most are copied by the producer right away: the next one uses the same memory,
/// which the processor still has at hand.
#[derive(Default)]
pub struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// Buffers that are kept.
    const MOST: usize = 64;

    /// An empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next output.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < Self::MOST && (1..=KEEP).contains(&buffer.capacity()) {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// The table.
#[derive(Default)]
pub struct Slots {
    table: Vec<Slot>,
    free: Vec<u32>,
    bytes: usize,
    /// Bytes of buffers that nobody uses.
    kept: usize,
}

impl Slots {
    /// Alerts in flight.
    pub fn len(&self) -> usize {
        self.table.len() - self.free.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in flight: keys, headers and values as they came, what they wait with, and outputs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a place; its buffers are empty. [`Slots::count`] must follow whenever what it holds has changed.
    pub fn take(&mut self, now: Instant) -> Token {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.table.get_mut(index as usize)
        {
            slot.polled = now;
            self.kept = self.kept.saturating_sub(slot.buffers());
            return Token { slot: index, generation: slot.generation };
        }
        let index = self.table.len() as u32;
        self.table.push(Slot {
            generation: 0,
            assignment: 0,
            epoch: 0,
            charge: None,
            offset: 0,
            group: None,
            key: Vec::new(),
            has_key: false,
            value: Vec::new(),
            tombstone: false,
            headers: None,
            redriven: 0,
            timestamp: None,
            header_bytes: 0,
            alone: false,
            now_instead: false,
            polled: now,
            sent: now,
            output: Vec::new(),
            given: 0,
            waiting: 0,
            owed: None,
            counted: 0,
            state: State::Free,
        });
        Token { slot: index, generation: 0 }
    }

    /// The place of a token, unless its user is gone.
    pub fn get(&mut self, token: Token) -> Option<&mut Slot> {
        self.table.get_mut(token.slot as usize).filter(|slot| slot.generation == token.generation)
    }

    /// Whether the user of a token is still there.
    pub fn has(&self, token: Token) -> bool {
        self.table.get(token.slot as usize).is_some_and(|slot| slot.generation == token.generation)
    }

    /// A new token for the same user: word of what it was sent as before changes nothing.
    pub fn renew(&mut self, token: Token) -> Token {
        match self.get(token) {
            Some(slot) => {
                slot.generation = slot.generation.wrapping_add(1);
                Token { slot: token.slot, generation: slot.generation }
            }
            None => token,
        }
    }

    /// The place at an index, with its token.
    pub fn at(&mut self, index: u32) -> Option<(Token, &mut Slot)> {
        let slot = self.table.get_mut(index as usize)?;
        Some((Token { slot: index, generation: slot.generation }, slot))
    }

    /// Counts what the place of a token holds by now.
    pub fn count(&mut self, token: Token) {
        if let Some(slot) = self.table.get_mut(token.slot as usize)
            && slot.generation == token.generation
        {
            let held = slot.held();
            self.bytes = (self.bytes + held).saturating_sub(slot.counted);
            slot.counted = held;
        }
    }

    /// Whether the producer has anything.
    pub fn any_sent(&self) -> bool {
        self.table.iter().any(|slot| matches!(slot.state, State::Sent(_)))
    }

    /// Gives a place back.
    pub fn release(&mut self, token: Token) {
        if let Some(slot) = self.table.get_mut(token.slot as usize)
            && slot.generation == token.generation
        {
            self.bytes = self.bytes.saturating_sub(slot.counted);
            (slot.counted, slot.header_bytes, slot.waiting, slot.given) = (0, 0, 0, 0);
            slot.generation = slot.generation.wrapping_add(1);
            slot.state = State::Free;
            slot.charge = None;
            slot.owed = None;
            slot.now_instead = false;
            slot.alone = false;
            slot.headers = None;
            for buffer in [&mut slot.key, &mut slot.value, &mut slot.output] {
                buffer.clear();
                if buffer.capacity() > KEEP || self.kept + buffer.capacity() > IDLE {
                    *buffer = Vec::new();
                }
                self.kept += buffer.capacity();
            }
            self.free.push(token.slot);
        }
    }

    /// Whoever uses a place.
    pub fn each(&self) -> impl Iterator<Item = &Slot> {
        self.table.iter().filter(|slot| !matches!(slot.state, State::Free))
    }

    /// Every place in use, for a drain that ran out of time.
    pub fn used(&self) -> Vec<Token> {
        self.table
            .iter()
            .enumerate()
            .filter(|(_, slot)| !matches!(slot.state, State::Free))
            .map(|(index, slot)| Token { slot: index as u32, generation: slot.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_released_place_does_not_answer_to_its_old_token() {
        let mut slots = Slots::default();
        let now = Instant::now();
        let first = slots.take(now);
        slots.get(first).unwrap().value.extend_from_slice(b"an alert");
        slots.count(first);
        slots.count(first);
        assert_eq!((slots.len(), slots.bytes()), (1, 8));
        slots.release(first);
        assert_eq!((slots.len(), slots.bytes()), (0, 0));
        let second = slots.take(now);
        assert_eq!(second.slot, first.slot);
        assert!(slots.get(first).is_none());
        assert!(slots.get(second).unwrap().value.is_empty());
        slots.release(first);
        assert_eq!(slots.len(), 1, "an old token frees nothing");
        let again = slots.renew(second);
        assert!(slots.has(again) && !slots.has(second));
        assert_eq!(slots.renew(second), second, "a token without a user stays one");
    }

    #[test]
    fn buffers_are_kept_and_counted_within_their_bound() {
        let mut slots = Slots::default();
        let now = Instant::now();
        let tokens: Vec<Token> = (0..4_000).map(|_| slots.take(now)).collect();
        for token in &tokens {
            slots.get(*token).unwrap().value.extend_from_slice(&[b'x'; 4_000]);
            slots.count(*token);
        }
        assert_eq!(slots.bytes(), 16_000_000);
        tokens.iter().for_each(|token| slots.release(*token));
        assert_eq!(slots.bytes(), 0);
        let kept = |slots: &Slots| slots.table.iter().map(Slot::buffers).sum::<usize>();
        assert_eq!(slots.kept, kept(&slots));
        assert!(slots.kept <= IDLE && slots.kept > IDLE / 2, "{}", slots.kept);
        // Whoever uses a buffer again counts all of it.
        let small = slots.table.iter().filter(|slot| slot.buffers() > 0).count();
        let tokens: Vec<Token> = (0..4_000).map(|_| slots.take(now)).collect();
        for token in &tokens {
            slots.count(*token);
        }
        assert_eq!((slots.bytes(), slots.kept), (small * 4_000, 0));
    }
}
