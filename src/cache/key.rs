//! What a question is told apart by: provider instance, entity kind and canonical identifier.
//!
//! Contract: an identifier is hashed once, when it is found in an alert, and a question is looked up without allocating.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::entity::{self, EntityKind};

/// A provider instance: its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(pub u16);

/// A question that is owned.
#[derive(Clone, Debug)]
pub struct Key {
    hash: u64,
    /// Who is asked.
    pub provider: ProviderId,
    /// About what sort of thing.
    pub kind: EntityKind,
    /// The canonical identifier.
    pub id: Box<str>,
}

/// A question as it is looked up: borrowed, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    hash: u64,
    /// Who is asked.
    pub provider: ProviderId,
    /// About what sort of thing.
    pub kind: EntityKind,
    /// The canonical identifier.
    pub id: &'a str,
}

impl<'a> Question<'a> {
    /// A question about the canonical identifier `id`.
    pub fn new(provider: ProviderId, kind: EntityKind, id: &'a str) -> Self {
        Self::hashed(provider, kind, id, entity::hash(kind, id))
    }

    /// The same where [`entity::hash`] is known.
    pub fn hashed(provider: ProviderId, kind: EntityKind, id: &'a str, hash: u64) -> Self {
        // What is spread well stays so whatever it is combined with; the factor moves a small number to all bits.
        let hash = hash ^ u64::from(provider.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Question { hash, provider, kind, id }
    }

    /// What stands for it in tables. Two questions have the same only by an accident that nobody can bring about, so
    /// whoever finds something by it looks whose it is.
    pub(crate) fn number(&self) -> u64 {
        self.hash
    }

    /// The same question, owned.
    pub fn to_key(&self) -> Key {
        Key { hash: self.hash, provider: self.provider, kind: self.kind, id: self.id.into() }
    }
}

impl Key {
    /// The same question, borrowed.
    pub fn question(&self) -> Question<'_> {
        Question { hash: self.hash, provider: self.provider, kind: self.kind, id: &self.id }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.question() == other.question()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Hands on the hash that a [`Question`] carries already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prehashed(u64);

impl BuildHasher for Prehashed {
    type Hasher = Prehashed;

    fn build_hasher(&self) -> Prehashed {
        Prehashed(0)
    }
}

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never reached by our keys; correct all the same.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_equals_its_key_and_no_other() {
        let key = Question::new(ProviderId(1), EntityKind::User, "a").to_key();
        assert_eq!(Question::new(ProviderId(1), EntityKind::User, "a").to_key(), key);
        for (provider, kind, id) in
            [(0, EntityKind::User, "a"), (1, EntityKind::Host, "a"), (1, EntityKind::User, "b")]
        {
            assert_ne!(Question::new(ProviderId(provider), kind, id).to_key(), key);
        }
    }
}
