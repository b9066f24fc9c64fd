//! Palo Alto Cortex XDR: the risk of users and endpoints ("Get Risk Score", Identity Threat Module).
//!
//! One POST per question, and one for each of its two lists, which hold the riskiest only. Contract: an advanced key signs
//! every attempt anew; an identifier that the API cannot take (`identifier.rs`) costs no request.

pub mod config;
mod identifier;
mod normalise;
pub mod sign;
mod wire;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::Timestamp;
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::entity::{Entity, EntityKind};
use crate::http::{BaseUrl, Request, Response};
use crate::provider::snapshot::{Bulk, Listing, Page};
use crate::provider::templates::Templates;
use crate::provider::transport::Transport;
use crate::provider::{Answer, Asking, Failure, FailureKind, Provider, quota};
use crate::score::Scale;

pub use config::{Config, KeyType, read};
use normalise::Question;

/// The call. The page has it without a slash at its end; both forms work.
const CALL: &str = "get_risk_score";

/// The lists, and whom they are about. The vendor's own client has other paths, which its servers do not know.
const LISTS: [(&str, EntityKind); 2] =
    [("get_risky_users", EntityKind::User), ("get_risky_hosts", EntityKind::Endpoint)];

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
        let response = self.post(CALL, &json!({"request_data": {"id": asked.id}})).await?;
        normalise::answer(asked, response.status, &response.body, &self.scale).map_err(|mut failure| {
            failure.retry_after = quota::wait(response.status, &response.headers, Timestamp::now());
            failure
        })
    }

    async fn post(&self, call: &str, body: &Value) -> Result<Response, Failure> {
        let request = Request::post_json(self.url(call)?, body)
            .header("accept", "application/json")
            .header("x-xdr-auth-id", &self.config.key_id);
        self.transport.send(|| self.signed(request)).await
    }

    fn signed(&self, request: Request) -> Result<Request, Failure> {
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

    fn url(&self, call: &str) -> Result<String, Failure> {
        self.base
            .join(&["public_api", "v1", call], "", &[])
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

    fn bulk(&self) -> Option<&dyn Bulk> {
        Some(self)
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
        let address = self.url(CALL).unwrap_or_default();
        format!("cortex_xdr {address} {} {templates:?} {scale:?}", config.key_id)
    }
}

/// One page for each list; the cursor is the list's call.
impl Bulk for CortexXdr {
    fn page<'a>(&'a self, cursor: Option<&'a str>) -> Asking<'a, Page> {
        Box::pin(async move {
            let place =
                cursor.map_or(0, |cursor| LISTS.iter().take_while(|(call, _)| *call != cursor).count());
            let Some((call, kind)) = LISTS.get(place) else {
                return Err(Failure::new(FailureKind::BadRequest, "there is no such list"));
            };
            let response = self.post(call, &json!({})).await?;
            let page = normalise::list(*kind, response.status, &response.body, &self.scale);
            let page = page.map_err(|failure| Failure {
                retry_after: quota::wait(response.status, &response.headers, Timestamp::now()),
                ..failure
            })?;
            let next = LISTS.get(place + 1).map(|(call, _)| (*call).to_owned());
            Ok(Page { next, ..page })
        })
    }

    fn name<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        let entity = Entity { kind, id: id.into() };
        let id = identifier::id(&entity, self.templates.get(kind)).ok()?;
        Some(identifier::fold(&id).into())
    }

    fn listing(&self) -> Listing {
        Listing::Riskiest
    }
}
