//! A token by OAuth's client credentials (RFC 6749, chapter 4.4): the request, and what its answer means.
//!
//! Contract: one call is one request within its time-out. Neither the secret nor the token is in any error. What only
//! a person can cure is told apart from an outage, and comes with the cure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{Token, TokenError, claims};
use crate::config::sasl::{self, ClientAuth};
use crate::http::{BuildError, Client, HttpError, ProxyChoice, Request, Settings};

/// The life of a token that does not say when it ends.
const ASSUMED_LIFE: Duration = Duration::from_secs(300);
/// Characters of the provider's own words that are shown.
const WORDS: usize = 200;
/// Everything but what RFC 6749's form encoding leaves as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

const CREDENTIALS: &str =
    "Correct kafka.sasl.client_id and client_secret; some providers take them with client_auth: post only";
const GRANT: &str = "Allow the client credentials grant for this client at the identity provider";
const AUDIENCE: &str = "Compare kafka.sasl.scope and audience with what the identity provider knows";
const ADDRESS: &str = "Correct kafka.sasl.token_endpoint: it is not where tokens are given";

/// An identity provider and who we are to it.
pub struct Oidc {
    config: sasl::Oidc,
    client: Client,
}

/// What a provider answers, be it well or not.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

impl Oidc {
    /// Sets up the way to the provider; nobody is asked yet.
    ///
    /// # Errors
    /// A file or a proxy of `config` that cannot be used.
    pub fn new(config: &sasl::Oidc) -> Result<Self, BuildError> {
        let client = Client::new(&Settings {
            connect_timeout: config.timeout.min(Duration::from_secs(5)),
            // A token and what is said of it; brokers take much less.
            body_limit: 1 << 20,
            proxy: config.proxy.clone().map_or(ProxyChoice::System, ProxyChoice::Via),
            ca: config.ca.clone(),
            allow_http: config.allow_http,
            ..Settings::default()
        })?;
        Ok(Oidc { config: config.clone(), client })
    }

    /// Asks for a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn fetch(&self) -> Result<Token, TokenError> {
        let response = self.client.send(self.request(), self.config.timeout).await;
        let response = response.map_err(|error| {
            let what = format!("{}: {error}", self.config.token_endpoint.host());
            match error {
                HttpError::Timeout(_) | HttpError::Unreachable(_) => TokenError::Unavailable(what),
                HttpError::Tls(_)
                | HttpError::BodyTooLarge(_)
                | HttpError::BodyBroken(_)
                | HttpError::BadRequest(_) => TokenError::Refused { what, cure: ADDRESS },
            }
        })?;
        self.judge(response.status, &response.body, SystemTime::now())
    }

    fn request(&self) -> Request {
        let config = &self.config;
        let secret = config.client_secret.current();
        let mut fields = vec![("grant_type", "client_credentials")];
        let more = [("scope", &config.scope), ("audience", &config.audience)];
        fields.extend(more.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        if config.client_auth == ClientAuth::Post {
            fields.extend([
                ("client_id", config.client_id.as_str()),
                ("client_secret", secret.expose_secret()),
            ]);
        }
        let request = Request::post_form(config.token_endpoint.whole(), &fields);
        if config.client_auth == ClientAuth::Post {
            return request;
        }
        let encoded = |text| utf8_percent_encode(text, RESERVED);
        let pair = format!("{}:{}", encoded(&config.client_id), encoded(secret.expose_secret()));
        request.secret_header("authorization", &format!("Basic {}", STANDARD.encode(pair)).into())
    }

    /// What an answer means that came at `now`.
    fn judge(&self, status: u16, body: &[u8], now: SystemTime) -> Result<Token, TokenError> {
        let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
        let host = self.config.token_endpoint.host();
        if status == 200 {
            return self.token(answer, now);
        }
        let code = answer.error.as_deref().unwrap_or_default();
        let mut what = format!("{host} answers {status}");
        for words in [answer.error.as_deref(), answer.error_description.as_deref()].into_iter().flatten() {
            what.push_str(": ");
            what.push_str(&self.harmless(words));
        }
        let cure = match (status, code) {
            (408 | 429 | 500.., _) | (_, "temporarily_unavailable" | "server_error" | "slow_down") => {
                return Err(TokenError::Unavailable(what));
            }
            (_, "invalid_client") | (401, _) => CREDENTIALS,
            (_, "unauthorized_client" | "unsupported_grant_type") => GRANT,
            (_, "invalid_scope" | "invalid_target" | "access_denied") | (403, _) => AUDIENCE,
            (400, "" | "invalid_request" | "invalid_grant") => AUDIENCE,
            (400, _) => CREDENTIALS,
            _ => ADDRESS,
        };
        Err(TokenError::Refused { what, cure })
    }

    fn token(&self, answer: Answer, now: SystemTime) -> Result<Token, TokenError> {
        let host = self.config.token_endpoint.host();
        let fit = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let Some(value) = answer.access_token.filter(fit) else {
            let what = format!("{host} answers 200 without a usable access_token");
            return Err(TokenError::Refused { what, cure: ADDRESS });
        };
        let claims = claims::read(&value);
        let said = answer.expires_in.as_ref().and_then(|life| match life {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        });
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let lives = [said, claims.exp.map(|end| end - since)];
        // Of what the provider and the token say, the shorter is right for both.
        let life = lives.into_iter().flatten().reduce(f64::min).unwrap_or(ASSUMED_LIFE.as_secs_f64());
        if life < 1.0 {
            return Err(TokenError::Refused {
                what: format!("{host} gives a token whose life is over, {:.0} s ago by our clock", -life),
                cure: "Compare the clocks of this machine and of the identity provider",
            });
        }
        let life = Duration::try_from_secs_f64(life).unwrap_or(ASSUMED_LIFE);
        let principal = self.config.principal.clone().or(claims.sub);
        Ok(Token {
            value: value.into(),
            principal: principal.unwrap_or_else(|| self.config.client_id.clone()),
            life,
            extensions: self.config.extensions.clone(),
        })
    }

    /// The provider's words without what does not belong on a terminal, and without our secret.
    fn harmless(&self, words: &str) -> String {
        let secret = self.config.client_secret.current();
        let secret = secret.expose_secret();
        let words = if secret.is_empty() { words.to_owned() } else { words.replace(secret, "***") };
        words.chars().filter(|c| !c.is_control()).take(WORDS).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::config::Secret;
    use crate::http::BaseUrl;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const NOW: u64 = 1_767_225_600;

    fn oidc(change: impl FnOnce(&mut sasl::Oidc)) -> Oidc {
        let mut config = sasl::Oidc {
            token_endpoint: BaseUrl::parse("https://login.example.com/token").unwrap(),
            client_id: "riskstream".to_owned(),
            client_secret: Secret::literal("hunter2"),
            client_auth: ClientAuth::Basic,
            scope: None,
            audience: None,
            extensions: Vec::new(),
            principal: None,
            timeout: Duration::from_secs(10),
            ca: None,
            proxy: None,
            allow_http: false,
        };
        change(&mut config);
        Oidc::new(&config).unwrap()
    }

    fn judge(status: u16, body: &str) -> Result<Token, TokenError> {
        oidc(|_| {}).judge(status, body.as_bytes(), UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn principal_and_life_come_from_the_token_and_else_from_the_answer() {
        let jwt = jwt(&format!(r#"{{"sub":"svc","exp":{}}}"#, NOW + 240));
        for (body, principal, life) in [
            (format!(r#"{{"access_token":"{jwt}"}}"#), "svc", 240),
            (format!(r#"{{"access_token":"{jwt}","expires_in":300}}"#), "svc", 240),
            (format!(r#"{{"access_token":"{jwt}","expires_in":"60"}}"#), "svc", 60),
            (
                r#"{"access_token":"opaque","expires_in":3600,"token_type":"Bearer"}"#.to_owned(),
                "riskstream",
                3600,
            ),
            (r#"{"access_token":"opaque"}"#.to_owned(), "riskstream", 300),
        ] {
            let token = judge(200, &body).unwrap();
            assert_eq!(
                (token.principal.as_str(), token.life),
                (principal, Duration::from_secs(life)),
                "{body}"
            );
        }
        let named = oidc(|config| config.principal = Some("me".to_owned()));
        let token =
            named.judge(200, format!(r#"{{"access_token":"{jwt}"}}"#).as_bytes(), SystemTime::UNIX_EPOCH);
        assert_eq!(token.unwrap().principal, "me");
    }

    #[test]
    fn what_a_person_must_cure_is_told_apart_from_an_outage() {
        for (status, body, cure) in [
            (401, r#"{"error":"invalid_client"}"#, Some("client_secret")),
            (400, r#"{"error":"invalid_client"}"#, Some("client_secret")),
            (401, "<html>", Some("client_secret")),
            (400, r#"{"error":"unauthorized_client"}"#, Some("grant")),
            (400, r#"{"error":"invalid_scope"}"#, Some("scope")),
            (403, r#"{"error":"access_denied"}"#, Some("audience")),
            (404, "", Some("token_endpoint")),
            (302, "", Some("token_endpoint")),
            (200, "<html>", Some("token_endpoint")),
            (200, r#"{"access_token":"two words"}"#, Some("token_endpoint")),
            (200, r#"{"access_token":"a","expires_in":0}"#, Some("clocks")),
            (503, "", None),
            (429, r#"{"error":"slow_down"}"#, None),
            (400, r#"{"error":"temporarily_unavailable"}"#, None),
        ] {
            let error = judge(status, body).unwrap_err();
            match (cure, &error) {
                (Some(word), TokenError::Refused { .. }) => {
                    assert!(error.to_string().contains(word), "{error}")
                }
                (None, TokenError::Unavailable(_)) => {}
                _ => panic!("{status} {body}: {error:?}"),
            }
        }
    }

    #[test]
    fn a_token_that_is_over_is_not_used() {
        let body =
            format!(r#"{{"access_token":"{}","expires_in":300}}"#, jwt(&format!(r#"{{"exp":{}}}"#, NOW - 7)));
        let error = judge(200, &body).unwrap_err().to_string();
        assert!(error.contains("7 s ago") && error.contains("clocks"), "{error}");
    }

    #[test]
    fn the_providers_words_are_shown_without_the_secret_and_without_escapes() {
        let words = r#"{"error":"invalid_client","error_description":"secret hunter2 is \u001b[31mwrong"}"#;
        let error = judge(401, words).unwrap_err().to_string();
        assert!(error.contains("secret *** is [31mwrong") && !error.contains("hunter2"), "{error}");
        let long = judge(400, &format!(r#"{{"error":"{}"}}"#, "x".repeat(9_000))).unwrap_err().to_string();
        assert!(long.len() < 500, "{}", long.len());
    }
}
