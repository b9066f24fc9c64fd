//! Datadog: the risk score of a cloud identity, from Cloud SIEM's entity risk scores.
//!
//! Contract: one GET per question; the identifier is one percent-encoded path segment, so that no identifier reaches
//! another route. Sources: the vendor's page "Get Entity Risk Score" (public beta: its shape changed in 2026) and the
//! vendor's SDKs. The list is read in pages of one query, the highest scores first.

pub mod config;
pub mod normalise;
pub mod wire;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::Timestamp;

use crate::entity::{Entity, EntityKind};
use crate::http::{BaseUrl, Request, Response};
use crate::provider::snapshot::{Bulk, Page};
use crate::provider::templates::Templates;
use crate::provider::transport::Transport;
use crate::provider::{Answer, Asking, Failure, FailureKind, Provider, quota};
use crate::score::Scale;

pub use config::Config;

const PATH: [&str; 4] = ["api", "v2", "security-entities", "risk-scores"];

/// Rows of a page of the list: 1000 at most by the vendor's page, and half of that keeps well below the bound of a body.
const ROWS: &str = "500";

/// Longer identifiers are not asked about: AWS ends ARNs at 2048 characters, and servers end URLs at 8 KiB.
const LONGEST_ID: usize = 2048;

/// One Datadog organisation.
pub struct Datadog {
    config: Config,
    base: BaseUrl,
    scale: Scale,
    templates: Templates,
    transport: Transport,
}

impl Datadog {
    /// A provider that asks at `base`. It answers for `cloud_identity`, and for every kind that `identifiers` gives
    /// a template for Datadog's entity id.
    pub fn new(
        config: Config,
        base: BaseUrl,
        scale: Scale,
        identifiers: Vec<(EntityKind, String)>,
        transport: Transport,
    ) -> Self {
        let templates = Templates::new(&[EntityKind::CloudIdentity], identifiers);
        Datadog { config, base, scale, templates, transport }
    }

    /// The URL of an entity's score, where the identifier can be one path segment that stays one.
    fn url(&self, entity: &Entity) -> Option<String> {
        let id = self.id(entity.kind, &entity.id)?;
        let [api, version, group, scores] = PATH;
        self.base.join(&[api, version, group, scores, &id], "", &[])
    }

    /// Datadog's id of an entity, where it can be one.
    fn id<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        // A proxy that decodes %2F and tidies the path would turn these into another route.
        let climbs = |id: &str| id.split(['/', '\\']).any(|part| matches!(part, "." | ".."));
        let bad =
            |id: &str| id.is_empty() || climbs(id) || id.len() > LONGEST_ID || id.contains(char::is_control);
        self.templates.spell(kind, id).filter(|id| !bad(id))
    }

    async fn get(&self, url: String) -> Result<Response, Failure> {
        let build = || {
            Ok(Request::get(url)
                .header("accept", "application/json")
                .secret_header("dd-api-key", &self.config.api_key.current())
                .secret_header("dd-application-key", &self.config.application_key.current()))
        };
        self.transport.send(build).await
    }
}

impl Provider for Datadog {
    fn kinds(&self) -> &[EntityKind] {
        self.templates.kinds()
    }

    fn ask<'a>(&'a self, entity: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(async move {
            let url = self.url(entity).ok_or_else(|| {
                Failure::new(
                    FailureKind::InvalidIdentifier,
                    "not an entity id that Datadog can be asked about: empty, too long, with control characters \
                     or with path segments that climb",
                )
            })?;
            let response = self.get(url).await?;
            if response.status == 400 {
                tracing::debug!(said = words(&response.body), "Datadog refuses the request");
            }
            let wait = quota::wait(response.status, &response.headers, Timestamp::now());
            normalise::answer(response.status, &response.body, wait, &self.scale)
        })
    }

    fn renew(&self, _why: FailureKind) -> bool {
        let (api, application) = (self.config.api_key.next(), self.config.application_key.next());
        api || application
    }

    fn bulk(&self) -> Option<&dyn Bulk> {
        Some(self)
    }

    fn probe(&self) -> Asking<'_, ()> {
        Box::pin(async move {
            let url = self.base.join(&PATH, "", &[("page[size]", "1")]);
            let url = url.ok_or_else(|| Failure::new(FailureKind::BadRequest, "check `base_url`"))?;
            let response = self.get(url).await?;
            let wait = quota::wait(response.status, &response.headers, Timestamp::now());
            match response.status {
                200 if wire::is_list(&response.body) => Ok(()),
                200 => Err(Failure::malformed("200 without Datadog's list of scores: check `base_url`")),
                status => Err(normalise::refusal(status, &response.body, wait)),
            }
        })
    }

    fn host(&self) -> &str {
        self.base.host()
    }

    fn identity(&self) -> String {
        // The API key names the organisation, which the address does not.
        let Self { config, base, scale, templates, .. } = self;
        format!("datadog {} {} {templates:?} {scale:?}", base.host(), config.api_key.tag())
    }
}

/// The list: `page[queryId]` of the first page keeps the next ones in what was true then.
impl Bulk for Datadog {
    fn page<'a>(&'a self, cursor: Option<&'a str>) -> Asking<'a, Page> {
        Box::pin(async move {
            let place = normalise::Place::of(cursor);
            let number = place.number.to_string();
            let mut pairs =
                vec![("page[size]", ROWS), ("page[number]", &number), ("filter[sort]", "riskScore:desc")];
            pairs.extend(Some(("page[queryId]", place.query)).filter(|(_, query)| !query.is_empty()));
            let url = self.base.join(&PATH, "", &pairs);
            let url = url.ok_or_else(|| Failure::new(FailureKind::BadRequest, "check `base_url`"))?;
            let response = self.get(url).await?;
            let wait = quota::wait(response.status, &response.headers, Timestamp::now());
            normalise::page(response.status, &response.body, wait, place, &self.scale)
        })
    }

    fn name<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        self.id(kind, id)
    }
}

/// What a refusal says, for debugging only: it may repeat the identifier.
fn words(body: &[u8]) -> String {
    let errors = wire::errors(body).unwrap_or_default();
    let words: Vec<_> = errors.iter().map(wire::ErrorItem::words).collect();
    words.join("; ").chars().take(200).collect()
}
