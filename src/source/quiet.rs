//! Errors that repeat: librdkafka reports one for every attempt to reconnect, dozens a second in an outage.
//!
//! Contract: the first of a kind is told at once, then one in every interval, with how many were not. Pure: `now`
//! is passed in.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

/// Between two words about the same kind of error.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was said of each kind of error, and when.
#[derive(Debug, Default)]
pub struct Quiet(Vec<(Option<RDKafkaErrorCode>, Said)>);

#[derive(Debug)]
struct Said {
    at: Instant,
    untold: u64,
}

impl Quiet {
    /// Whether an error of this kind is to be told `now`: if so, how many have not been since the last time.
    pub fn tell(&mut self, kind: Option<RDKafkaErrorCode>, now: Instant) -> Option<u64> {
        match self.0.iter_mut().find(|(known, _)| *known == kind).map(|(_, said)| said) {
            Some(said) if now < said.at + INTERVAL => {
                said.untold += 1;
                None
            }
            Some(said) => {
                said.at = now;
                Some(std::mem::take(&mut said.untold))
            }
            None => {
                self.0.push((kind, Said { at: now, untold: 0 }));
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
        let down = Some(RDKafkaErrorCode::AllBrokersDown);
        assert_eq!(quiet.tell(down, now), Some(0));
        for _ in 0..5 {
            assert_eq!(quiet.tell(down, now + INTERVAL / 2), None);
        }
        assert_eq!(quiet.tell(None, now), Some(0), "another kind is not held back");
        assert_eq!(quiet.tell(down, now + INTERVAL), Some(5));
    }
}
