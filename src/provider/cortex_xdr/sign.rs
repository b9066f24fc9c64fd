//! The signature of an advanced API key.
//!
//! Pure but for [`nonce`], which asks the system for randomness. Contract: a nonce is used once; the caller
//! makes a new one, with a new time, for every attempt, because the vendor refuses replays.

use ring::digest;
use ring::error::Unspecified;
use ring::rand::SecureRandom;

/// Length of a nonce.
pub const NONCE_LENGTH: usize = 64;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// The largest multiple of the alphabet's size that a byte can count to. Bytes from here on are thrown away:
/// folding them in would make the first letters likelier than the rest.
const FAIR: u8 = 248;

/// [`NONCE_LENGTH`] random letters and digits, each as likely as the others.
///
/// # Errors
/// When the system has no randomness to give.
pub fn nonce(random: &dyn SecureRandom) -> Result<String, Unspecified> {
    let mut nonce = String::with_capacity(NONCE_LENGTH);
    let mut bytes = [0; NONCE_LENGTH];
    loop {
        random.fill(&mut bytes)?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        for letter in fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62))) {
            nonce.push(char::from(*letter));
            if nonce.len() == NONCE_LENGTH {
                return Ok(nonce);
            }
        }
    }
}

/// The value of `Authorization`: the SHA-256 of key, nonce and timestamp as lower-case hexadecimal digits.
///
/// `timestamp` is the Unix time in milliseconds as it stands in `x-xdr-timestamp`.
pub fn signature(key: &str, nonce: &str, timestamp: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [key, nonce, timestamp] {
        context.update(part.as_bytes());
    }
    let mut hex = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        for half in [byte >> 4, byte & 0xf] {
            hex.extend(char::from_digit(u32::from(half), 16));
        }
    }
    hex
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use ring::rand::SystemRandom;
    use std::collections::HashSet;

    #[test]
    fn the_signature_of_the_check_vector_is_right() {
        assert_eq!(
            signature(&"A".repeat(128), &"b".repeat(64), "1700000000000"),
            "c825e9aa447a706b16332380c9e06c02e06abb57024e140892a927a23e79b2df"
        );
    }

    #[test]
    fn every_part_is_signed() {
        let signed = signature("key", "nonce", "1");
        for other in
            [signature("kez", "nonce", "1"), signature("key", "noncf", "1"), signature("key", "nonce", "2")]
        {
            assert_ne!(signed, other);
        }
    }

    #[test]
    fn a_nonce_is_64_letters_and_digits_and_never_the_same() {
        let random = SystemRandom::new();
        let nonces: Vec<_> = (0..200).map(|_| nonce(&random).unwrap()).collect();
        assert!(nonces.iter().all(|n| n.len() == 64 && n.bytes().all(|b| b.is_ascii_alphanumeric())));
        assert_eq!(nonces.iter().collect::<HashSet<_>>().len(), nonces.len());
    }

    #[test]
    fn no_letter_of_a_nonce_is_likelier_than_another() {
        let random = SystemRandom::new();
        let mut counts = [0u32; 256];
        for _ in 0..2000 {
            nonce(&random).unwrap().bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        }
        // 128,000 letters, 2064.5 of each expected, standard deviation 45. A plain modulo would give the
        // first eight of them 2500.
        for letter in ALPHABET {
            let count = counts[usize::from(*letter)];
            assert!((1750..2380).contains(&count), "{} came {count} times", char::from(*letter));
        }
    }
}
