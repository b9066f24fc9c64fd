//! Who the simulated vendors know, and with which risk.
//!
//! Pure: a function of a seed and the identifier, so that two runs, two replicas and two vendors agree, and
//! a test can compute what it should see. Case does not matter; anything else about the spelling does.

use jiff::{SignedDuration, Timestamp};

const DAY: u64 = 24 * 60 * 60;

/// What a vendor knows of one entity, before it is put in the vendor's own words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Risk from 0 to 100 in tenths: most are low, one in forty is above 90.
    pub score: f64,
    /// For whatever else a vendor's page needs to make up; see [`Profile::pick`].
    pub seed: u64,
    /// Up to 90 days before `last_seen`, in whole seconds.
    pub first_seen: Timestamp,
    /// Up to 14 days before the start of the simulator, in whole seconds.
    pub last_seen: Timestamp,
}

impl Profile {
    /// A number from 0 up to, not including, `below` (0 when that is 0); another one for each `salt`.
    pub fn pick(&self, salt: u64, below: u64) -> u64 {
        mix(self.seed ^ mix(salt)).checked_rem(below).unwrap_or(0)
    }
}

/// Everybody that the vendors know.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// Another seed is another population.
    pub seed: u64,
    /// The fraction of all identifiers that is known, 0 to 1.
    pub known: f64,
    /// The time that "last seen" counts back from.
    pub now: Timestamp,
}

impl Population {
    /// What is known of `id`; `None` when it is not known.
    pub fn profile(&self, id: &str) -> Option<Profile> {
        let seed = hash(self.seed, &id.to_lowercase());
        if fraction(mix(seed ^ 1)) >= self.known {
            return None;
        }
        let score = (fraction(mix(seed ^ 2)).powi(4) * 1000.0).round() / 10.0;
        let last_seen = before(self.now, mix(seed ^ 3) % (14 * DAY));
        let first_seen = before(last_seen, mix(seed ^ 4) % (90 * DAY));
        Some(Profile { score, seed, first_seen, last_seen })
    }
}

fn before(time: Timestamp, seconds: u64) -> Timestamp {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    let earlier = i64::try_from(seconds).map(SignedDuration::from_secs).map(|span| whole.checked_sub(span));
    earlier.ok().and_then(Result::ok).unwrap_or(whole)
}

/// A number in [0, 1) from the upper 53 bits.
pub(super) fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `value`.
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a, then mixed. Written out because the population must not change with a library's version.
fn hash(seed: u64, text: &str) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325 ^ mix(seed);
    mix(text.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn population(seed: u64, known: f64) -> Population {
        Population { seed, known, now: "2026-05-29T14:23:27.5Z".parse().unwrap() }
    }

    #[test]
    fn what_is_known_depends_on_seed_and_identifier_only_and_not_on_case() {
        let one = population(7, 0.9);
        assert_eq!(one.profile("John@Example.com"), one.profile("john@example.com"));
        assert_eq!(one.profile("ws-17"), population(7, 0.9).profile("ws-17"));
        let differs = (0..100).any(|n| {
            let id = format!("ws-{n}");
            one.profile(&id) != population(8, 0.9).profile(&id)
        });
        assert!(differs);
    }

    #[test]
    fn as_many_are_known_as_was_asked_for_and_few_are_critical() {
        let everybody: Vec<_> =
            (0..10_000).map(|n| population(1, 0.9).profile(&format!("user{n}@example.com"))).collect();
        let known: Vec<_> = everybody.iter().flatten().collect();
        assert!((8_800..9_200).contains(&known.len()), "{}", known.len());
        let critical = known.iter().filter(|profile| profile.score >= 90.0).count();
        let low = known.iter().filter(|profile| profile.score < 40.0).count();
        assert!(critical > 0 && critical < known.len() / 20, "{critical}");
        assert!(low > known.len() / 2, "{low}");
        assert!(known.iter().all(|profile| (0.0..=100.0).contains(&profile.score)));
    }

    #[test]
    fn all_or_nobody_can_be_known() {
        assert!((0..100).all(|n| population(1, 1.0).profile(&n.to_string()).is_some()));
        assert!((0..100).all(|n| population(1, 0.0).profile(&n.to_string()).is_none()));
    }

    #[test]
    fn an_entity_was_first_seen_before_it_was_last_seen_and_both_in_the_past() {
        let world = population(3, 1.0);
        for n in 0..200 {
            let profile = world.profile(&format!("host-{n}")).unwrap();
            assert!(profile.first_seen <= profile.last_seen && profile.last_seen <= world.now);
            assert!(profile.pick(1, 10) < 10 && profile.pick(1, 0) == 0);
        }
    }
}
