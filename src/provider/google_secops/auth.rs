//! Bearer tokens: from a service account's key, from a program, or as they are.
//!
//! Contract: a token is kept as [`Tokens`] does, but for one that is configured as it is, which may have been rotated. No key
//! and no token ever reaches an error or `Debug`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::command;
use super::config::Credential;
use crate::config::secret::Secret;
use crate::http::{BaseUrl, Request};
use crate::provider::tokens::{Token, Tokens, bearer_in, granted};
use crate::provider::transport::Transport;
use crate::provider::{Failure, FailureKind};

/// The scope that the vendor's page asks for.
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The life of what we sign; Google takes an hour at most.
const ASSERTION_LIFE: Duration = Duration::from_secs(3600);
/// A token that is good now: fetched, or as it is configured.
///
/// # Errors
/// `unauthorised` when the key, the program or the token end point refuses; else what the way there failed of.
pub async fn token(
    tokens: &Tokens<SecretString>,
    credential: &Credential,
    transport: &Transport,
) -> Result<Arc<Token<SecretString>>, Failure> {
    match credential {
        // It may have been rotated, so it is never kept.
        Credential::Token(secret) => configured(secret).map(Arc::new),
        _ => tokens.get(|| fetch(credential, transport)).await,
    }
}

/// The token that a request sets out with which was given `token` and waited since.
///
/// # Errors
/// `unauthorised` when what is configured as one is none any more.
pub fn latest(
    tokens: &Tokens<SecretString>,
    credential: &Credential,
    token: Arc<Token<SecretString>>,
) -> Result<Arc<Token<SecretString>>, Failure> {
    match credential {
        Credential::Token(secret) => configured(secret).map(Arc::new),
        _ => Ok(tokens.latest(token)),
    }
}

fn configured(secret: &Secret) -> Result<Token<SecretString>, Failure> {
    bearer_in(secret.current().expose_secret(), Instant::now())
        .ok_or_else(|| refused("`token` holds something that is no token: blanks, or nothing at all"))
}

async fn fetch(credential: &Credential, transport: &Transport) -> Result<Token<SecretString>, Failure> {
    match credential {
        Credential::Token(secret) => configured(secret),
        Credential::Command(words) => {
            let output = command::run(words, command::TIMEOUT).await?;
            bearer_in(output.expose_secret(), Instant::now()).ok_or_else(|| {
                refused(
                    "token_command printed no token: its output must be the token, or JSON with access_token",
                )
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
            let response = transport.send_unmetered(Request::post_form(url, &fields)).await?;
            let cure = "check that its key is active and this machine's clock is right";
            granted(&response, "the service account", cure, "token_uri")
        }
    }
}

fn refused(detail: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Unauthorised, detail)
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

    /// Where it is changed for a token.
    pub fn host(&self) -> &str {
        self.token_uri.host()
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
