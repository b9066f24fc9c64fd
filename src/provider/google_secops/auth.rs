//! Bearer tokens: from a service account's key, from a program, or as they are.
//!
//! Contract: a token is fetched once however many ask at the same time, renewed before it ends, and used on
//! while a renewal fails. Who waited for a fetch that failed gets that failure and does not try again. No key
//! and no token ever reaches an error or `Debug`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::command;
use super::config::Credential;
use crate::http::{BaseUrl, Request, Response};
use crate::provider::limiter::Priority;
use crate::provider::transport::{Call, Transport};
use crate::provider::{Failure, FailureKind};

/// The scope that the vendor's page asks for.
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The life of what we sign; Google takes an hour at most.
const ASSERTION_LIFE: Duration = Duration::from_secs(3600);
/// The life of a token whose maker does not tell it.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);

/// How long a failed renewal is left alone while the token is still good.
const PATIENCE: Duration = Duration::from_secs(5);

/// The tokens of one provider instance.
pub struct Tokens {
    credential: Credential,
    state: Mutex<State>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    failed: Option<(Instant, Failure)>,
}

/// One token.
pub struct Token {
    /// The value of the header `Authorization`.
    pub header: SecretString,
    renew_at: Instant,
    ends_at: Instant,
    refused: AtomicBool,
}

impl Token {
    fn new(text: &str, life: Duration, now: Instant) -> Self {
        Token {
            header: format!("Bearer {text}").into(),
            // Early enough that no request sets out with a token that ends on the way.
            renew_at: now + life - (life / 5).min(Duration::from_secs(300)),
            ends_at: now + life,
            refused: AtomicBool::new(false),
        }
    }

    /// Notes that the vendor refused it (401), so that [`Tokens::renew`] forgets this one and not its successor.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }
}

impl Tokens {
    /// Tokens by `credential`; nothing is fetched yet.
    pub fn new(credential: Credential) -> Self {
        Tokens { credential, state: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// `unauthorised` when the key, the program or the token end point refuses; else what the way there failed of.
    pub async fn get(&self, transport: &Transport) -> Result<Arc<Token>, Failure> {
        if let Credential::Token(_) = &self.credential {
            return self.fetch(transport).await.map(Arc::new);
        }
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
        let call = Call { priority: Priority::Alert, until: None };
        let fetched = call.scope(self.fetch(transport)).await;
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

    /// Forgets the token if it is one that was refused.
    pub fn renew(&self) {
        let token = &mut self.state().token;
        if token.as_ref().is_some_and(|token| token.refused.load(Ordering::Relaxed)) {
            *token = None;
        }
    }

    /// Makes the token older.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        let mut state = self.state();
        state.failed = None;
        state.token = state.token.take().map(|token| {
            Arc::new(Token {
                header: token.header.clone(),
                renew_at: token.renew_at - by,
                ends_at: token.ends_at - by,
                refused: AtomicBool::new(false),
            })
        });
    }

    async fn fetch(&self, transport: &Transport) -> Result<Token, Failure> {
        match &self.credential {
            Credential::Token(secret) => token_in(secret.current().expose_secret()).ok_or_else(|| {
                refused("`token` holds something that is no token: blanks, or nothing at all")
            }),
            Credential::Command(words) => {
                let output = command::run(words, command::TIMEOUT).await?;
                token_in(output.expose_secret()).ok_or_else(|| {
                    refused("token_command printed no token: its output must be the token, or JSON with access_token")
                })
            }
            Credential::ServiceAccount(json) => {
                // Read each time: keys are rotated.
                let account = ServiceAccount::read(&json.current()).map_err(refused)?;
                let assertion = account.assertion(Timestamp::now()).map_err(refused)?;
                let fields = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", assertion.expose_secret()),
                ];
                let url = account.token_uri.join(&[], "", &[]).ok_or_else(|| refused("bad token_uri"))?;
                exchanged(&transport.send_unmetered(Request::post_form(url, &fields)).await?)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(detail: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Unauthorised, detail)
}

/// The token in `{"access_token": ..., "expires_in": ...}`, or the whole text where it is no JSON object.
pub(super) fn token_in(text: &str) -> Option<Token> {
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
        .map(|seconds| seconds.clamp(0.0, 86_400.0))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(DEFAULT_LIFE);
    let plausible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    plausible.then(|| Token::new(&token, life, Instant::now()))
}

/// What the token end point answered (RFC 6749, 5.1 and 5.2).
fn exchanged(response: &Response) -> Result<Token, Failure> {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    let word = |name| body.as_ref().and_then(|body| body.get(name)).and_then(Value::as_str);
    match response.status {
        200..=299 if word("access_token").is_some() => std::str::from_utf8(&response.body)
            .ok()
            .and_then(token_in)
            .ok_or_else(|| Failure::malformed("the token end point's access_token is no token")),
        400..=403 if word("error").is_some() => {
            // Only the code: descriptions may repeat what we sent.
            let code: String = word("error")
                .unwrap_or_default()
                .chars()
                .filter(|c| c.is_ascii_lowercase() || *c == '_')
                .take(40)
                .collect();
            Err(refused(format!(
                "the token end point refused the service account ({code}): check that its key is active and this \
                 machine's clock is right"
            )))
        }
        429 => {
            Err(Failure::new(FailureKind::RateLimited, "the token end point asks us to slow down (HTTP 429)"))
        }
        status @ 500..=599 => {
            Err(Failure::new(FailureKind::ServerError, format!("the token end point failed (HTTP {status})")))
        }
        status => Err(Failure::malformed(format!(
            "HTTP {status} from the token end point is no answer of OAuth: check token_uri, or the proxy between"
        ))),
    }
}

/// A service account's key file, as far as we need it.
pub struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    token_uri: BaseUrl,
    /// As written: the token end point compares it.
    audience: String,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("token_uri", &self.audience).finish_non_exhaustive()
    }
}

impl ServiceAccount {
    /// Reads the JSON that Google makes.
    ///
    /// # Errors
    /// Says which member is wrong, and never what is in it.
    pub fn read(json: &SecretString) -> Result<Self, String> {
        let file: Value = serde_json::from_str(json.expose_secret())
            .map_err(|_| "not JSON: not a service account's key file")?;
        let member = |name: &str| file.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let required = |name: &str| member(name).ok_or_else(|| format!("the member {name} is missing"));
        if let Some(other) = member("type").filter(|kind| *kind != "service_account") {
            let other: String = other.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
            return Err(format!("its type is {other:?}, not service_account"));
        }
        let audience = required("token_uri")?.to_owned();
        let token_uri = BaseUrl::parse(&audience).map_err(|bad| format!("token_uri: {bad}"))?;
        if token_uri.is_plain() && !token_uri.is_loopback() {
            return Err("token_uri is http://: it would send the signature in the open".to_owned());
        }
        let bad_key = || "private_key is not an RSA key in PKCS#8 PEM form".to_owned();
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(required("private_key")?.as_bytes()).map_err(|_| bad_key())?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| bad_key())?;
        Ok(ServiceAccount {
            email: required("client_email")?.to_owned(),
            key_id: member("private_key_id").map(str::to_owned),
            key,
            token_uri,
            audience,
        })
    }

    /// A signed claim to be this account (RFC 7523), good for an hour from `now`.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn assertion(&self, now: Timestamp) -> Result<SecretString, String> {
        let issued = now.as_second();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let (Some(id), Some(header)) = (&self.key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), json!(id));
        }
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.audience,
            "iat": issued,
            "exp": issued.saturating_add_unsigned(ASSERTION_LIFE.as_secs()),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "private_key cannot sign".to_owned())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}
