//! Errors that repeat: librdkafka reports one for every attempt to reconnect, dozens a second in an outage.
//!
//! Contract: the first of a kind is told at once, then one in every interval, with how many were not. Pure: `now`
//! is passed in.

use std::time::{Duration, Instant};

/// Between two words about the same thing.
const INTERVAL: Duration = Duration::from_secs(10);

/// Things remembered at once; texts of errors may hold addresses, of which there is no end.
const MOST: usize = 64;

/// What was said, and when.
#[derive(Debug, Default)]
pub struct Quiet(Vec<(String, Said)>);

#[derive(Debug)]
struct Said {
    at: Instant,
    untold: u64,
}

impl Quiet {
    /// Whether `what` is to be told `now`: if so, how often it was not since the last time.
    pub fn tell(&mut self, what: &str, now: Instant) -> Option<u64> {
        match self.0.iter_mut().find(|(known, _)| known == what).map(|(_, said)| said) {
            Some(said) if now < said.at + INTERVAL => {
                said.untold += 1;
                None
            }
            Some(said) => {
                said.at = now;
                Some(std::mem::take(&mut said.untold))
            }
            None => {
                if self.0.len() == MOST {
                    self.0.remove(0);
                }
                self.0.push((what.to_owned(), Said { at: now, untold: 0 }));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_error_is_told_once_in_an_interval_with_how_many_were_not() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.tell("down", now), Some(0));
        for _ in 0..5 {
            assert_eq!(quiet.tell("down", now + INTERVAL / 2), None);
        }
        assert_eq!(quiet.tell("refused", now), Some(0), "another kind is not held back");
        assert_eq!(quiet.tell("down", now + INTERVAL), Some(5));
    }
}
