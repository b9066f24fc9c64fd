//! When the next token is asked for.
//!
//! Contract: at about four fifths of a token's life, spread a little so that replicas do not ask together; after a
//! failure soon, then ever more seldom, for ever. The provider's secret is read again for each request.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::{Shared, TokenError};
use crate::metrics::Metrics;
use crate::source::quiet::Quiet;

/// Before the first repetition; doubles.
const FIRST: Duration = Duration::from_millis(500);
/// Between two attempts in an outage.
const LONGEST: Duration = Duration::from_secs(10);
/// Between two attempts while the provider refuses.
const REFUSED: Duration = Duration::from_secs(30);

/// Notes the end of the task, which never comes by itself.
struct Ended(Weak<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.ended.store(true, Ordering::Relaxed);
        }
    }
}

/// Gets tokens as long as anybody has the identity.
pub(super) async fn run(shared: Weak<Shared>, metrics: Option<Arc<Metrics>>) {
    let _ended = Ended(shared.clone());
    let (mut failures, mut quiet) = (0_u32, Quiet::default());
    loop {
        let wait = {
            let Some(shared) = shared.upgrade() else { return };
            let result = shared.provider.fetch().await;
            if let Some(metrics) = &metrics {
                metrics.token(result.as_ref().map_or_else(TokenError::label, |_| "ok"));
            }
            match result {
                Ok(token) => {
                    failures = 0;
                    let (life, principal) = (token.life, token.principal.clone());
                    if let Some(metrics) = &metrics {
                        metrics.token_expires(SystemTime::now() + life);
                    }
                    if shared.succeed(token, Instant::now()) {
                        tracing::info!(
                            principal,
                            seconds = life.as_secs(),
                            "there is a token for Kafka again"
                        );
                    } else {
                        tracing::debug!(principal, seconds = life.as_secs(), "a new token for Kafka");
                    }
                    renewal(life, random())
                }
                Err(error) => {
                    failures += 1;
                    if let Some(untold) = quiet.tell(&error.to_string(), Instant::now()) {
                        tracing::error!(target: "riskstream::kafka", untold, "{error}");
                    }
                    let wait = backoff(failures, &error, random());
                    shared.fail(error, Instant::now());
                    wait
                }
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// How long a token is used before the next one is asked for. `random` is in 0..1.
fn renewal(life: Duration, random: f64) -> Duration {
    life.mul_f64(0.8 - 0.1 * random)
}

/// How long to wait after so many failures in a row. `random` is in 0..1.
fn backoff(failures: u32, error: &TokenError, random: f64) -> Duration {
    let longest = match error {
        TokenError::Refused { .. } => REFUSED,
        TokenError::Unavailable(_) => LONGEST,
    };
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(longest).mul_f64(1.0 - 0.2 * random)
}

fn random() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_at_seven_to_eight_tenths_of_its_life() {
        for (random, seconds) in [(0.0, 80), (0.5, 75), (1.0, 70)] {
            assert_eq!(renewal(Duration::from_secs(100), random), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn attempts_become_seldom_and_never_end() {
        let outage = TokenError::Unavailable(String::new());
        let refused = TokenError::Refused { what: String::new(), cure: "" };
        let waits = |error: &TokenError| [1, 2, 3, 9, u32::MAX].map(|n| backoff(n, error, 0.0).as_millis());
        assert_eq!(waits(&outage), [500, 1000, 2000, 10_000, 10_000]);
        assert_eq!(waits(&refused), [500, 1000, 2000, 30_000, 30_000]);
        assert_eq!(backoff(1, &outage, 1.0).as_millis(), 400);
    }
}
