//! Tokens that requests carry: fetched once for all who wait, replaced before they end, used on while a renewal fails.
//!
//! What a token end point of OAuth answers is read here as well (RFC 6749, 5.1 and 5.2). Contract: who waited for a fetch
//! that failed gets that failure and does not try again; a token that the vendor refused is forgotten, and its
//! successor is not. No token ever reaches an error or `Debug`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;

use super::limiter::Priority;
use super::transport::Call;
use super::{Failure, FailureKind};
use crate::http::Response;

/// A token is replaced this long before its end, or a fifth of its life before it where that is less: early enough that no
/// request sets out with one that ends on the way.
const EARLY: Duration = Duration::from_secs(300);
/// How long a failed renewal is left alone while the token is still good.
const PATIENCE: Duration = Duration::from_secs(5);
/// The life of a token whose maker does not tell it.
pub const ASSUMED_LIFE: Duration = Duration::from_secs(300);
/// The longest that a token is used, whatever it says.
pub const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The tokens of one provider instance. `T` is what a request needs of one.
pub struct Tokens<T> {
    state: Mutex<State<T>>,
    /// Held by the one who fetches.
    fetching: tokio::sync::Mutex<()>,
}

struct State<T> {
    token: Option<Arc<Token<T>>>,
    failed: Option<(Instant, Failure)>,
}

/// One token.
pub struct Token<T> {
    /// What a request needs of it.
    pub value: T,
    renew_at: Instant,
    ends_at: Instant,
    refused: AtomicBool,
}

impl<T> Token<T> {
    /// A token that is good for `life` from `now` on.
    pub fn new(value: T, life: Duration, now: Instant) -> Self {
        let life = life.min(LONGEST_LIFE);
        Token {
            value,
            renew_at: now + life - (life / 5).min(EARLY),
            ends_at: now + life,
            refused: AtomicBool::new(false),
        }
    }

    /// Notes that the vendor refused it (401), so that [`Tokens::renew`] forgets this one and not its successor.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }
}

impl<T> fmt::Debug for Token<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("renew_at", &self.renew_at).finish_non_exhaustive()
    }
}

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Tokens {
            state: Mutex::new(State { token: None, failed: None }),
            fetching: tokio::sync::Mutex::default(),
        }
    }
}

impl<T> Tokens<T> {
    /// A token that is good now: the kept one, or what `fetch` gives.
    ///
    /// # Errors
    /// Those of the fetch, also of another's that ended while this one waited for it.
    pub async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<Token<T>>, Failure>
    where
        F: Future<Output = Result<Token<T>, Failure>>,
    {
        let asked = Instant::now();
        let (current, failed_just_now) = {
            let state = self.state();
            let failed = state.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < PATIENCE);
            (state.token.clone(), failed)
        };
        let _alone = match current {
            Some(token) if asked < token.renew_at => return Ok(token),
            Some(token) if asked < token.ends_at => match self.fetching.try_lock() {
                Ok(alone) if !failed_just_now => alone,
                _ => return Ok(token),
            },
            _ => self.fetching.lock().await,
        };
        // Somebody else may have been here while we waited.
        {
            let state = self.state();
            match (&state.token, &state.failed) {
                (Some(token), _) if Instant::now() < token.renew_at => return Ok(Arc::clone(token)),
                (_, Some((at, failure))) if *at >= asked => return Err(failure.clone()),
                _ => {}
            }
        }
        // Others wait for it, too, so that no one's deadline may end it.
        let call = Call { priority: Priority::Alert, until: None, timeout: None };
        let fetched = call.scope(fetch()).await;
        let mut state = self.state();
        match fetched {
            Ok(token) => {
                let token = Arc::new(token);
                *state = State { token: Some(Arc::clone(&token)), failed: None };
                Ok(token)
            }
            Err(failure) => {
                let now = Instant::now();
                state.failed = Some((now, failure.clone()));
                state.token.clone().filter(|token| now < token.ends_at).ok_or(failure)
            }
        }
    }

    /// The token that a request sets out with which was given `token` and waited since: its successor, where there is one.
    pub fn latest(&self, token: Arc<Token<T>>) -> Arc<Token<T>> {
        self.state().token.clone().unwrap_or(token)
    }

    /// Forgets the token after a failure for the reason `why`, if another one is worth buying; whether it is. It is with
    /// `another` key than that which bought this one; with the same key, where the token itself was refused: a permission that
    /// is missing is missing for the next one as well.
    pub fn renew(&self, why: FailureKind, another: bool) -> bool {
        let mut state = self.state();
        if another {
            state.token = None;
            return true;
        }
        let refused = |token: &mut Arc<Token<T>>| token.refused.load(Ordering::Relaxed);
        why == FailureKind::Unauthorised && state.token.take_if(refused).is_some()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing is done under the lock that could panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl<T: Clone> Tokens<T> {
    /// Makes the token older.
    pub fn age(&self, by: Duration) {
        let mut state = self.state();
        state.failed = None;
        state.token = state.token.take().map(|token| {
            Arc::new(Token {
                value: token.value.clone(),
                renew_at: token.renew_at - by,
                ends_at: token.ends_at - by,
                refused: AtomicBool::new(false),
            })
        });
    }
}

/// The value of `Authorization` that a token makes, and the token's life: from `{"access_token": ..., "expires_in": ...}`, or
/// the whole text where it is no JSON object. `None` when it is no token.
pub fn bearer_in(text: &str, now: Instant) -> Option<Token<SecretString>> {
    let text = text.trim();
    let (token, life) = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => {
            let life = match object.get("expires_in") {
                Some(Value::Number(seconds)) => seconds.as_f64(),
                Some(Value::String(seconds)) => seconds.trim().parse().ok(),
                _ => None,
            };
            (object.get("access_token")?.as_str()?.to_owned(), life)
        }
        _ => (text.to_owned(), None),
    };
    let life = life
        .map(|seconds: f64| seconds.clamp(0.0, LONGEST_LIFE.as_secs_f64()))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(ASSUMED_LIFE);
    let plausible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    plausible.then(|| Token::new(format!("Bearer {token}").into(), life, now))
}

/// What a token end point of OAuth answered (RFC 6749, 5.1 and 5.2). `who` and `cure` say whom it refused and what to do,
/// `key` where its address is configured.
///
/// # Errors
/// `unauthorised` when it refuses, and what else it may say.
pub fn granted(
    response: &Response,
    who: &str,
    cure: &str,
    key: &str,
) -> Result<Token<SecretString>, Failure> {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    let word = |name| body.as_ref().and_then(|body| body.get(name)).and_then(Value::as_str);
    match response.status {
        200..=299 if word("access_token").is_some() => std::str::from_utf8(&response.body)
            .ok()
            .and_then(|text| bearer_in(text, Instant::now()))
            .ok_or_else(|| Failure::malformed("the token end point's access_token is no token")),
        400..=403 if word("error").is_some() => {
            // Only the code: descriptions may repeat what we sent.
            let code: String = word("error")
                .unwrap_or_default()
                .chars()
                .filter(|c| c.is_ascii_lowercase() || *c == '_')
                .take(40)
                .collect();
            let detail = format!("the token end point refused {who} ({code}): {cure}");
            Err(Failure::new(FailureKind::Unauthorised, detail))
        }
        429 => {
            Err(Failure::new(FailureKind::RateLimited, "the token end point asks us to slow down (HTTP 429)"))
        }
        status @ 500..=599 => {
            Err(Failure::new(FailureKind::ServerError, format!("the token end point failed (HTTP {status})")))
        }
        status => Err(Failure::malformed(format!(
            "HTTP {status} from the token end point is no answer of OAuth: check {key}, or the proxy between"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use std::sync::atomic::AtomicU64;

    const HOUR: Duration = Duration::from_secs(3600);

    type Fetched = Result<Token<u64>, Failure>;

    fn good() -> Fetched {
        Ok(Token::new(7, HOUR, Instant::now()))
    }

    fn no() -> Fetched {
        Err(Failure::new(FailureKind::Unauthorised, "no"))
    }

    /// Sixteen askers at once; how many fetches they made and how many of them got a token.
    async fn crowd(tokens: &Arc<Tokens<u64>>, outcome: fn() -> Fetched) -> (u64, usize) {
        let fetches = Arc::new(AtomicU64::new(0));
        let askers: Vec<_> = (0..16)
            .map(|_| {
                let (tokens, fetches) = (Arc::clone(tokens), Arc::clone(&fetches));
                tokio::spawn(async move {
                    let fetch = || async {
                        fetches.fetch_add(1, Ordering::SeqCst);
                        // Lets every other asker arrive before this fetch ends.
                        for _ in 0..100 {
                            tokio::task::yield_now().await;
                        }
                        outcome()
                    };
                    tokens.get(fetch).await.is_ok()
                })
            })
            .collect();
        let mut served = 0;
        for asker in askers {
            served += usize::from(asker.await.unwrap());
        }
        (fetches.load(Ordering::SeqCst), served)
    }

    #[tokio::test]
    async fn many_askers_make_one_fetch_and_share_what_it_brings() {
        let tokens = Arc::new(Tokens::default());
        assert_eq!(crowd(&tokens, no).await, (1, 0));
        assert_eq!(crowd(&tokens, good).await, (1, 16));
        assert_eq!(crowd(&tokens, good).await, (0, 16));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_before_it_ends_and_used_on_while_that_fails() {
        let fetched = |outcome: fn() -> Fetched, count: &'static AtomicU64| {
            move || {
                count.fetch_add(1, Ordering::SeqCst);
                async move { outcome() }
            }
        };
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let tokens = Tokens::default();
        for (after, outcome, fetches, served) in [
            (0, good as fn() -> Fetched, 1, true),
            (3299, no, 1, true),
            // Five minutes before its end it is to be replaced; that fails, which costs nobody anything.
            (1, no, 2, true),
            (4, no, 2, true),
            (1, no, 3, true),
            (295, no, 4, false),
            (1, good, 5, true),
        ] {
            tokio::time::advance(Duration::from_secs(after)).await;
            let got = tokens.get(fetched(outcome, &COUNT)).await;
            assert_eq!((COUNT.load(Ordering::SeqCst), got.is_ok()), (fetches, served), "after {after}");
        }
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once_however_many_met_the_refusal() {
        let tokens = Tokens::default();
        let first = tokens.get(|| async { good() }).await.unwrap();
        assert!(!tokens.renew(FailureKind::Unauthorised, false));
        let same = tokens.get(|| async { panic!("nobody refused it") }).await.unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        first.refuse();
        assert!(tokens.renew(FailureKind::Unauthorised, false));
        let second = tokens.get(|| async { good() }).await.unwrap();
        first.refuse();
        assert!(!tokens.renew(FailureKind::Unauthorised, false));
        let still = tokens.get(|| async { panic!("the second token is still good") }).await.unwrap();
        assert!(Arc::ptr_eq(&second, &still) && !Arc::ptr_eq(&first, &second));
    }

    #[tokio::test]
    async fn a_token_without_the_permission_is_replaced_only_by_one_of_another_key() {
        let tokens = Tokens::default();
        tokens.get(|| async { good() }).await.unwrap().refuse();
        assert!(!tokens.renew(FailureKind::Forbidden, false), "the next one would be refused as well");
        assert!(tokens.renew(FailureKind::Forbidden, true));
        assert!(!tokens.renew(FailureKind::Unauthorised, false), "it is gone");
    }

    #[test]
    fn a_token_tells_its_life_or_has_the_assumed_one_and_is_never_printed() {
        let now = Instant::now();
        for (text, seconds) in [
            (r#"{"access_token": "hush", "expires_in": 60}"#, Some(60)),
            (r#"{"access_token": "hush", "expires_in": "60"}"#, Some(60)),
            (r#"{"access_token": "hush", "expires_in": 1e99}"#, Some(86_400)),
            (r#"{"access_token": "hush", "expires_in": -1}"#, Some(0)),
            (r#"{"access_token": "hush", "expires_in": null}"#, Some(300)),
            (" hush\n", Some(300)),
            (r#"{"access_token": "two words"}"#, None),
            (r#"{"access_token": ""}"#, None),
            (r#"{"access_token": 7}"#, None),
            ("", None),
        ] {
            let token = bearer_in(text, now);
            assert_eq!(token.as_ref().map(|token| (token.ends_at - now).as_secs()), seconds, "{text}");
            assert!(!format!("{token:?}").contains("hush"));
        }
    }
}
