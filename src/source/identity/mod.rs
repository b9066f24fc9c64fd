//! Tokens for the connections to Kafka (OAUTHBEARER): got from an identity provider, renewed in the background, and
//! handed to every client that is alive.
//!
//! | file | owns |
//! |---|---|
//! | this one | the token of now, what is wrong with getting the next, who is told |
//! | [`renewal`] | when the next one is asked for |
//! | [`oidc`], [`claims`] | an identity provider's answer |
//! | `msk` | AWS, in a build with the feature `msk-iam` |
//! | [`supplied`] | a client that is given each new token as long as it lives |
//!
//! librdkafka's callback for tokens is not used: it runs on whatever thread polls, tries again after ten seconds only,
//! and rdkafka's form of it has no room for extensions. Contract: a token is pushed to every client as soon as it is
//! there; an identity provider that fails changes nothing until the token's life is over, and all goes on by itself
//! when it is back. A token is never printed.

pub mod claims;
#[cfg(feature = "msk-iam")]
pub mod msk;
pub mod oidc;
pub mod renewal;
pub mod supplied;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::runtime::Handle;

use crate::config::{Kafka, Sasl, Security};
use crate::http::BuildError;
use crate::metrics::Metrics;
use crate::source::refusal::PATIENCE;

pub use supplied::Supplied;

/// A token, as its provider gives it.
#[derive(Clone, Debug)]
pub struct Token {
    /// What the broker is shown.
    pub value: SecretString,
    /// Whose it is.
    pub principal: String,
    /// How long it is good from now on.
    pub life: Duration,
    /// What the broker is told beside it.
    pub extensions: Vec<(String, String)>,
}

/// Why there is no new token. Holds neither a secret nor a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Only a person can change that.
    #[error("no token for Kafka: {what}. {cure}")]
    Refused {
        /// What came back.
        what: String,
        /// What to do.
        cure: &'static str,
    },
    /// It may pass by itself.
    #[error("no token for Kafka: {0}")]
    Unavailable(String),
}

impl TokenError {
    /// The outcome of a request that ended so, as a metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            TokenError::Refused { .. } => "refused",
            TokenError::Unavailable(_) => "unavailable",
        }
    }
}

/// Where tokens come from.
enum Provider {
    Oidc(Box<oidc::Oidc>),
    #[cfg(feature = "msk-iam")]
    MskIam(msk::MskIam),
}

impl Provider {
    async fn fetch(&self) -> Result<Token, TokenError> {
        match self {
            Provider::Oidc(oidc) => oidc.fetch().await,
            #[cfg(feature = "msk-iam")]
            Provider::MskIam(msk) => msk.fetch().await,
        }
    }
}

/// What is wrong with getting tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// For people.
    pub what: String,
    /// Whether no token is left that is still good.
    pub blocked: bool,
}

/// Our identity to the brokers. Without OAUTHBEARER it is empty, and nothing here does anything. Clones share it.
#[derive(Clone, Default)]
pub struct Identity(Option<Arc<Shared>>);

struct Shared {
    provider: Provider,
    state: Mutex<State>,
    clients: Mutex<supplied::Clients>,
    started: AtomicBool,
    ended: AtomicBool,
}

#[derive(Default)]
struct State {
    token: Option<Current>,
    failure: Option<Failing>,
}

struct Current {
    token: Arc<Token>,
    until: Instant,
}

struct Failing {
    error: TokenError,
    /// Since when only refusals have come.
    refused_since: Option<Instant>,
}

impl Identity {
    /// The identity that `kafka` describes; nobody is asked yet.
    ///
    /// # Errors
    /// A file or proxy of `kafka.sasl` that cannot be used.
    pub fn new(kafka: &Kafka) -> Result<Self, BuildError> {
        let (Security::SaslTls(_, sasl) | Security::SaslPlaintext(sasl)) = &kafka.security else {
            return Ok(Identity::default());
        };
        let provider = match sasl {
            Sasl::Oidc(oidc) => Provider::Oidc(Box::new(oidc::Oidc::new(oidc)?)),
            #[cfg(feature = "msk-iam")]
            Sasl::MskIam(msk) => Provider::MskIam(msk::MskIam::new(msk)),
            // Without the feature no configuration passes that has it.
            #[cfg(not(feature = "msk-iam"))]
            Sasl::MskIam(_) => return Ok(Identity::default()),
            Sasl::Password(_) => return Ok(Identity::default()),
        };
        Ok(Identity(Some(Arc::new(Shared {
            provider,
            state: Mutex::default(),
            clients: Mutex::default(),
            started: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }))))
    }

    /// Gets tokens from now on, on `runtime`. Once.
    pub fn start(&self, runtime: &Handle, metrics: Option<Arc<Metrics>>) {
        if let Some(shared) = &self.0
            && !shared.started.swap(true, Ordering::Relaxed)
        {
            runtime.spawn(renewal::run(Arc::downgrade(shared), metrics));
        }
    }

    /// What is wrong `now`, if anything is.
    pub fn trouble(&self, now: Instant) -> Option<Trouble> {
        let state = self.0.as_ref()?.state();
        let left = state.token.as_ref().map(|current| current.until.saturating_duration_since(now));
        let left = left.filter(|left| !left.is_zero());
        match (&state.failure, left) {
            (None, Some(_)) => None,
            (None, None) if state.token.is_none() => {
                Some(Trouble { what: "waiting for the first token for Kafka".to_owned(), blocked: true })
            }
            // The next one is under way.
            (None, None) => Some(Trouble { what: "the token for Kafka is over".to_owned(), blocked: true }),
            (Some(failing), None) => Some(Trouble { what: failing.error.to_string(), blocked: true }),
            (Some(failing), Some(left)) => {
                let what = format!("{}; the present one is good for {} s", failing.error, left.as_secs());
                Some(Trouble { what, blocked: false })
            }
        }
    }

    /// The refusal that has been the only answer for long enough, with no token left: waiting does not help.
    pub fn overdue(&self, now: Instant) -> Option<TokenError> {
        let state = self.0.as_ref()?.state();
        let usable = state.token.as_ref().is_some_and(|current| now < current.until);
        let failing = state.failure.as_ref().filter(|_| !usable)?;
        let since = failing.refused_since?;
        (now >= since + PATIENCE).then(|| failing.error.clone())
    }

    /// Whether the provider's last word was a refusal.
    pub fn is_refused(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| {
            shared.state().failure.as_ref().is_some_and(|failing| failing.refused_since.is_some())
        })
    }

    /// Whom the newest token names.
    pub fn principal(&self) -> Option<String> {
        self.0.as_ref()?.state().token.as_ref().map(|current| current.token.principal.clone())
    }

    /// Whether what renews the token has ended, which it never does by itself.
    pub fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.ended.load(Ordering::Relaxed))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.0.is_some()).finish()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is done under the lock that could panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, supplied::Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a token that came at `now` and hands it round; whether one had failed before it.
    fn succeed(&self, token: Token, now: Instant) -> bool {
        let token = Arc::new(token);
        let recovered = {
            let mut state = self.state();
            state.token = Some(Current { until: now + token.life, token: Arc::clone(&token) });
            state.failure.take().is_some()
        };
        self.clients().tell(&token, token.life);
        recovered
    }

    fn fail(&self, error: TokenError, now: Instant) {
        let mut state = self.state();
        let before = state.failure.as_ref().and_then(|failing| failing.refused_since);
        let refused_since = match &error {
            TokenError::Refused { .. } => before.or(Some(now)),
            TokenError::Unavailable(_) => None,
        };
        state.failure = Some(Failing { error, refused_since });
    }

    /// The token of `now`, and how long it is still good.
    fn current(&self, now: Instant) -> Option<(Arc<Token>, Duration)> {
        let state = self.state();
        let current = state.token.as_ref()?;
        let left = current.until.saturating_duration_since(now);
        (!left.is_zero()).then(|| (Arc::clone(&current.token), left))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::path::Path;

    use crate::config::Config;

    pub(super) fn identity(endpoint: &str) -> Identity {
        let text = format!(
            "allow_literal_secrets: true\nkafka: {{security: sasl_plaintext, sasl: {{mechanism: OAUTHBEARER, \
             token_endpoint: '{endpoint}', client_id: riskstream, client_secret: hunter2}}}}\n"
        );
        Identity::new(&Config::parse("test", &text, Path::new(""), []).unwrap().kafka).unwrap()
    }

    fn token(seconds: u64) -> Token {
        let life = Duration::from_secs(seconds);
        Token { value: "hush".into(), principal: "p".to_owned(), life, extensions: Vec::new() }
    }

    fn refused() -> TokenError {
        TokenError::Refused { what: "401: invalid_client".to_owned(), cure: "Correct the secret" }
    }

    #[test]
    fn a_failing_provider_is_told_at_once_and_stops_nobody_before_the_token_is_over() {
        let (identity, now) = (identity("http://127.0.0.1:1/token"), Instant::now());
        let shared = identity.0.as_ref().expect("there is an identity");
        assert!(identity.trouble(now).unwrap().blocked, "no token yet");
        shared.succeed(token(60), now);
        assert_eq!(identity.trouble(now), None);
        shared.fail(TokenError::Unavailable("login: no connection".to_owned()), now);
        let trouble = identity.trouble(now + Duration::from_secs(20)).unwrap();
        assert!(!trouble.blocked && trouble.what.contains("good for 40 s"), "{trouble:?}");
        let trouble = identity.trouble(now + Duration::from_secs(60)).unwrap();
        assert!(trouble.blocked && trouble.what.contains("no connection"), "{trouble:?}");
        assert!(shared.succeed(token(60), now + Duration::from_secs(61)), "it recovered");
        assert_eq!(identity.trouble(now + Duration::from_secs(62)), None);
    }

    #[test]
    fn only_refusals_that_last_while_no_token_is_left_are_final() {
        let (identity, now) = (identity("http://127.0.0.1:1/token"), Instant::now());
        let shared = identity.0.as_ref().expect("there is an identity");
        shared.fail(refused(), now);
        assert_eq!(identity.overdue(now), None);
        shared.fail(refused(), now + PATIENCE / 2);
        assert_eq!(identity.overdue(now + PATIENCE), Some(refused()));
        shared.fail(TokenError::Unavailable("503".to_owned()), now + PATIENCE);
        assert_eq!(identity.overdue(now + PATIENCE * 9), None, "an outage may pass");
        shared.fail(refused(), now + PATIENCE);
        shared.succeed(token(3600), now);
        shared.fail(refused(), now);
        assert_eq!(identity.overdue(now + PATIENCE * 2), None, "there is a token");
    }

    #[test]
    fn without_tokens_there_is_nothing_to_do_and_nothing_wrong() {
        let identity = Identity::new(&Config::default().kafka).unwrap();
        assert_eq!((identity.trouble(Instant::now()), identity.has_ended()), (None, false));
        assert_eq!(identity.overdue(Instant::now()), None);
    }

    #[test]
    fn neither_a_token_nor_the_secret_is_printed() {
        let identity = identity("http://127.0.0.1:1/token");
        identity.0.as_ref().expect("there is an identity").succeed(token(60), Instant::now());
        let printed = format!("{identity:?} {:?}", token(1));
        assert!(!printed.contains("hush") && !printed.contains("hunter2"), "{printed}");
    }
}
