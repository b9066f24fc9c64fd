//! The bearer token: bought with the key pair, kept until shortly before its end, bought once for all who wait.
//!
//! Contract: whoever waits while another's exchange is under way gets what that one got, token or failure. A
//! token never reaches `Debug`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

use super::wire::Grant;
use crate::provider::{Failure, lenient};

/// The life of a token that does not say when it ends, or says that it is over already (a clock is wrong).
const ASSUMED_LIFE: Duration = Duration::from_secs(600);
/// The longest that a token is used, whatever it says.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A token is replaced this long before its end, or a tenth of its life before it where that is less.
const EARLY: Duration = Duration::from_secs(60);

/// A bearer token and the tenant that it is for.
#[derive(Clone, Debug)]
pub struct Token {
    /// The whole value of `Authorization`.
    pub authorization: SecretString,
    /// The value of `X-Apprity-Tenant-Id`.
    pub tenant: String,
    /// To be replaced from here on.
    renew_at: Instant,
    /// Counts the tokens of one [`Tokens`].
    serial: u64,
}

impl Token {
    /// The token that `grant` gives. `wall` is the time of day, `now` the same moment on the monotonic clock.
    ///
    /// # Errors
    /// `malformed_response` when token or tenant is missing or cannot stand in a header.
    pub fn new(grant: &Grant, wall: Timestamp, now: Instant) -> Result<Token, Failure> {
        let fit = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let access = grant.access_token.as_ref().and_then(lenient::text).filter(fit);
        let access =
            access.ok_or_else(|| Failure::malformed("the token's answer has no usable accessToken"))?;
        let tenant = grant.tenant_id.as_ref().and_then(lenient::text).filter(fit);
        let tenant = tenant.ok_or_else(|| Failure::malformed("the token's answer has no usable tenantId"))?;
        let end = grant.expires_at.as_ref().and_then(lenient::moment);
        let life = end.and_then(|end| Duration::try_from(end.duration_since(wall)).ok());
        let life = life.filter(|life| !life.is_zero()).unwrap_or(ASSUMED_LIFE).min(LONGEST_LIFE);
        let renew_at = now + (life - EARLY.min(life / 10));
        Ok(Token { authorization: format!("Bearer {access}").into(), tenant, renew_at, serial: 0 })
    }
}

/// The token of one provider instance.
#[derive(Debug, Default)]
pub struct Tokens {
    kept: Mutex<Kept>,
    /// Held by the one who buys.
    buying: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    /// Serial of the newest token.
    serial: u64,
    /// Serial of the newest token that the vendor refused.
    refused: u64,
    /// Exchanges that have ended, and how the last one failed.
    exchanges: u64,
    failure: Option<Failure>,
}

impl Tokens {
    /// The kept token, or what `exchange` gives when there is none that is still good.
    ///
    /// # Errors
    /// Those of the exchange, also of another's that ended while this one waited for it.
    pub async fn get<E, F>(&self, exchange: E) -> Result<Token, Failure>
    where
        E: FnOnce() -> F,
        F: Future<Output = Result<Token, Failure>>,
    {
        let seen = {
            let kept = self.kept();
            if let Some(token) = kept.usable(Instant::now()) {
                return Ok(token);
            }
            kept.exchanges
        };
        let _buying = self.buying.lock().await;
        {
            let kept = self.kept();
            if let Some(token) = kept.usable(Instant::now()) {
                return Ok(token);
            }
            if kept.exchanges > seen
                && let Some(failure) = &kept.failure
            {
                return Err(failure.clone());
            }
        }
        let result = exchange().await;
        let mut kept = self.kept();
        kept.exchanges += 1;
        match result {
            Ok(mut token) => {
                kept.serial += 1;
                token.serial = kept.serial;
                kept.token = Some(token.clone());
                kept.failure = None;
                Ok(token)
            }
            Err(failure) => {
                kept.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// Remembers that the vendor refused `token`.
    pub fn refused(&self, token: &Token) {
        let mut kept = self.kept();
        kept.refused = kept.refused.max(token.serial);
    }

    /// Throws the token away, unless it is newer than the last one that was refused: then another asker who met
    /// the same refusal has replaced it already.
    pub fn renew(&self) {
        let mut kept = self.kept();
        if kept.refused == 0 || kept.serial <= kept.refused {
            kept.token = None;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing is done under the lock that could panic half-way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn usable(&self, now: Instant) -> Option<Token> {
        self.token.as_ref().filter(|token| now < token.renew_at).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::provider::FailureKind;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    const WALL: &str = "2026-01-01T00:00:00Z";

    fn token(grant: Value, now: Instant) -> Result<Token, Failure> {
        let grant = Grant::read(grant.to_string().as_bytes()).unwrap();
        Token::new(&grant, WALL.parse().unwrap(), now)
    }

    fn life(expires_at: Value) -> Duration {
        let now = Instant::now();
        let grant = json!({"accessToken": "v2.x", "tenantId": "t", "expiresAt": expires_at});
        token(grant, now).unwrap().renew_at - now
    }

    #[test]
    fn a_token_is_replaced_before_it_ends() {
        for (expires_at, seconds) in [
            (json!("2026-01-01T01:00:00Z"), 3540),
            (json!("2026-01-01T01:00:00.000"), 3540),
            (json!("2026-01-01T00:01:40Z"), 90),
            (json!(1_767_225_600 + 3600), 3540),
            (json!((1_767_225_600_i64 + 3600) * 1000), 3540),
            (json!("1767229200000"), 3540),
            (json!("2027-01-01T00:00:00Z"), 24 * 3600 - 60),
            (json!("2025-12-31T00:00:00Z"), 540),
            (json!("in an hour"), 540),
            (json!(null), 540),
        ] {
            assert_eq!(life(expires_at.clone()), Duration::from_secs(seconds), "{expires_at}");
        }
    }

    #[test]
    fn a_grant_without_token_or_tenant_is_malformed() {
        for grant in [
            json!({}),
            json!({"accessToken": "v2.x"}),
            json!({"tenantId": "t"}),
            json!({"accessToken": "", "tenantId": "t"}),
            json!({"accessToken": "v2\r\nx: y", "tenantId": "t"}),
            json!({"accessToken": {"v2": 1}, "tenantId": "t"}),
        ] {
            let failure = token(grant.clone(), Instant::now()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::MalformedResponse, "{grant}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let tokens = Tokens::default();
        let token = token(json!({"accessToken": "v2.hush", "tenantId": "t"}), Instant::now()).unwrap();
        tokens.kept().token = Some(token.clone());
        assert!(!format!("{token:?} {tokens:?}").contains("hush"));
    }

    fn fresh() -> Result<Token, Failure> {
        token(json!({"accessToken": "v2.x", "tenantId": "t"}), Instant::now())
    }

    /// Sixteen askers at once; how many exchanges they made and how many of them got a token.
    async fn crowd(tokens: &Arc<Tokens>, outcome: fn() -> Result<Token, Failure>) -> (u64, usize) {
        let exchanges = Arc::new(AtomicU64::new(0));
        let askers: Vec<_> = (0..16)
            .map(|_| {
                let (tokens, exchanges) = (Arc::clone(tokens), Arc::clone(&exchanges));
                tokio::spawn(async move {
                    let buy = || async {
                        exchanges.fetch_add(1, Ordering::SeqCst);
                        // Lets every other asker arrive before this exchange ends.
                        for _ in 0..100 {
                            tokio::task::yield_now().await;
                        }
                        outcome()
                    };
                    tokens.get(buy).await.is_ok()
                })
            })
            .collect();
        let mut served = 0;
        for asker in askers {
            served += usize::from(asker.await.unwrap());
        }
        (exchanges.load(Ordering::SeqCst), served)
    }

    #[tokio::test]
    async fn many_askers_make_one_exchange_and_share_what_it_brings() {
        let tokens = Arc::new(Tokens::default());
        let refuse = || Err(Failure::new(FailureKind::Unauthorised, "no"));
        assert_eq!(crowd(&tokens, refuse).await, (1, 0));
        assert_eq!(crowd(&tokens, fresh).await, (1, 16));
        assert_eq!(crowd(&tokens, fresh).await, (0, 16));
    }

    #[tokio::test]
    async fn a_token_is_used_until_it_is_to_be_replaced() {
        let tokens = Tokens::default();
        let token = tokens.get(|| async { fresh() }).await.unwrap();
        let just_before = token.renew_at.checked_sub(Duration::from_millis(1)).unwrap();
        assert!(tokens.kept().usable(just_before).is_some());
        assert!(tokens.kept().usable(token.renew_at).is_none());
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once_however_many_met_the_refusal() {
        let tokens = Tokens::default();
        let first = tokens.get(|| async { fresh() }).await.unwrap();
        tokens.refused(&first);
        tokens.refused(&first);
        tokens.renew();
        let second = tokens.get(|| async { fresh() }).await.unwrap();
        assert_ne!(first.serial, second.serial);
        tokens.renew();
        let still = tokens.get(|| async { panic!("the second token is still good") }).await.unwrap();
        assert_eq!(second.serial, still.serial);
        tokens.refused(&second);
        tokens.renew();
        assert_ne!(tokens.get(|| async { fresh() }).await.unwrap().serial, second.serial);
    }
}
