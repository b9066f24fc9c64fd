//! Palo Alto Cortex XDR: the risk of users and endpoints ("Get Risk Score", Identity Threat Module).
//!
//! One POST per question. Contract: an advanced key signs every attempt anew; an identifier that the API cannot
//! take (`identifier.rs`) costs no request.

pub mod config;
mod identifier;
mod normalise;
pub mod sign;
mod wire;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::entity::{Entity, EntityKind};
use crate::http::{BaseUrl, Request};
use crate::provider::templates::Templates;
use crate::provider::transport::Transport;
use crate::provider::{Answer, Asking, Failure, FailureKind, Provider, quota};
use crate::score::Scale;

pub use config::{Config, KeyType, read};
use normalise::Question;

/// The call. The page has it without a slash at its end; both forms work.
const PATH: [&str; 3] = ["public_api", "v1", "get_risk_score"];

/// An id in the right form that no tenant has: "was not found" proves address, key, permission and licence.
const PROBE: &str = "RISKSTREAM/connection-test";

/// A Cortex XDR tenant.
pub struct CortexXdr {
    config: Config,
    base: BaseUrl,
    scale: Scale,
    templates: Templates,
    transport: Transport,
    random: SystemRandom,
}

impl CortexXdr {
    /// A tenant at `base`. `identifiers` are templates by kind; a kind that is listed is asked about.
    pub fn new(
        config: Config,
        base: BaseUrl,
        scale: Scale,
        identifiers: Vec<(EntityKind, String)>,
        transport: Transport,
    ) -> Self {
        let templates = Templates::new(&[EntityKind::User, EntityKind::Endpoint], identifiers);
        CortexXdr { config, base, scale, templates, transport, random: SystemRandom::new() }
    }

    async fn risk(&self, asked: Question<'_>) -> Result<Answer, Failure> {
        let response = self.transport.send(self.request(asked.id)?).await?;
        normalise::answer(asked, response.status, &response.body, &self.scale).map_err(|mut failure| {
            failure.retry_after = quota::wait(response.status, &response.headers, Timestamp::now());
            failure
        })
    }

    fn request(&self, id: &str) -> Result<Request, Failure> {
        let request = Request::post_json(self.url()?, &json!({"request_data": {"id": id}}))
            .header("accept", "application/json")
            .header("x-xdr-auth-id", &self.config.key_id);
        let key = self.config.key.current();
        Ok(match self.config.key_type {
            KeyType::Standard => request.secret_header("authorization", &key),
            KeyType::Advanced => {
                let nonce = sign::nonce(&self.random).map_err(|_| {
                    Failure::new(
                        FailureKind::BadRequest,
                        "this machine has no randomness to sign a request with",
                    )
                })?;
                let timestamp = Timestamp::now().as_millisecond().to_string();
                let signature = SecretString::from(sign::signature(key.expose_secret(), &nonce, &timestamp));
                request
                    .header("x-xdr-nonce", &nonce)
                    .header("x-xdr-timestamp", &timestamp)
                    .secret_header("authorization", &signature)
            }
        })
    }

    fn url(&self) -> Result<String, Failure> {
        self.base
            .join(&PATH, "", &[])
            .ok_or_else(|| Failure::new(FailureKind::BadRequest, "no address can be built from base_url"))
    }
}

impl Provider for CortexXdr {
    fn kinds(&self) -> &[EntityKind] {
        self.templates.kinds()
    }

    fn ask<'a>(&'a self, entity: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(async move {
            let id = identifier::id(entity, self.templates.get(entity.kind))?;
            self.risk(Question { kind: entity.kind, id: &id }).await
        })
    }

    fn renew(&self, why: FailureKind) -> bool {
        // Each attempt has a signature of its own.
        self.config.key.next() || why == FailureKind::Unauthorised
    }

    fn probe(&self) -> Asking<'_, ()> {
        Box::pin(async move { self.risk(Question { kind: EntityKind::User, id: PROBE }).await.map(drop) })
    }

    fn host(&self) -> &str {
        self.base.host()
    }

    fn identity(&self) -> String {
        // The key belongs to it: what a key may see depends on its role.
        let Self { config, scale, templates, .. } = self;
        let address = self.url().unwrap_or_default();
        format!("cortex_xdr {address} {} {templates:?} {scale:?}", config.key_id)
    }
}
