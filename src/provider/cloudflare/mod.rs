//! Cloudflare Zero Trust: the risk level of a user.
//!
//! Contract: a score is asked for by UUID and nothing else; an e-mail is looked up in the account's own lists first
//! and never reaches a URL. Sources: the vendor's page "Get risk event/score information for a specific user", and
//! its pages on the summary and on Access users for the two lists.

pub mod config;
pub mod directory;
pub mod normalise;
pub mod wire;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::entity::{Entity, EntityKind, is_email};
use crate::http::{BaseUrl, Request, Response};
use crate::provider::error::Verdict;
use crate::provider::snapshot::{Bulk, Page};
use crate::provider::templates::Templates;
use crate::provider::transport::Transport;
use crate::provider::{Answer, Asking, Failure, FailureKind, Provider, quota};
use crate::score::Scale;

pub use config::{Config, Credential};
use directory::{Ids, Kept};

/// Users come and go in the summary with every event.
const SUMMARY_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The account's users change slowly, and reading them costs a request per hundred.
const USERS_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Pages of the account's users that are read, at a hundred users each: a sixth of the quota of five minutes.
const MOST_PAGES: u64 = 200;

/// One account.
pub struct Cloudflare {
    config: Config,
    base: BaseUrl,
    scale: Scale,
    templates: Templates,
    transport: Transport,
    summary: Kept<Ids>,
    users: Kept<Ids>,
}

impl Cloudflare {
    /// A provider that asks at `base`. It answers for `user`, and for every kind that `identifiers` gives a template
    /// for a UUID or e-mail.
    pub fn new(
        config: Config,
        base: BaseUrl,
        scale: Scale,
        identifiers: Vec<(EntityKind, String)>,
        transport: Transport,
    ) -> Self {
        Cloudflare {
            config,
            base,
            scale,
            templates: Templates::new(&[EntityKind::User], identifiers),
            transport,
            summary: Kept::new(SUMMARY_LIFETIME),
            users: Kept::new(USERS_LIFETIME),
        }
    }

    /// The id that a score is asked by.
    async fn id(&self, entity: &Entity) -> Result<Uuid, Failure> {
        let name = self.templates.fill(entity).unwrap_or_default();
        match directory::uuid(&name) {
            Some(id) => Ok(id),
            None if is_email(&name) => self.resolve(&name.to_lowercase()).await,
            None => Err(Failure::new(
                FailureKind::InvalidIdentifier,
                "Cloudflare knows users by UUID or e-mail, and this is neither",
            )),
        }
    }

    /// The id of an e-mail: from the summary, whose ids are surely the right ones and which holds whoever has a
    /// level, else from the account's users.
    async fn resolve(&self, email: &str) -> Result<Uuid, Failure> {
        let summary = self.summary.get(self.fetch_summary()).await?;
        if let Some(id) = summary.get(email) {
            return Ok(*id);
        }
        let users = self.users.get(self.fetch_users()).await?;
        users.get(email).copied().ok_or_else(|| {
            Failure::new(
                FailureKind::Unresolved,
                "the e-mail is neither in the account's risk summary nor among its users (which the token may read \
                 only with the permission `Access: Audit Logs Read`)",
            )
        })
    }

    async fn fetch_summary(&self) -> Result<Ids, Failure> {
        let summary: wire::Summary = self.list(&["zt_risk_scoring", "summary"], &[]).await?.0;
        Ok(directory::of_summary(summary.users.unwrap_or_default()))
    }

    async fn fetch_users(&self) -> Result<Ids, Failure> {
        let mut ids = Ids::new();
        for page in 1..=MOST_PAGES {
            let query = [("page", page.to_string()), ("per_page", "100".to_owned())];
            let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
            let (rows, info) = match self.list::<Vec<wire::AccessUser>>(&["access", "users"], &query).await {
                Ok(page) => page,
                // This list needs a permission of its own. Lacking it says nothing about the scores, which would be
                // the breaker's business, so it is the same as a list without users.
                Err(failure) if failure.kind.verdict() == Verdict::Refused => {
                    tracing::warn!("Cloudflare's list of users cannot be read: {failure}");
                    return Ok(Ids::new());
                }
                Err(failure) => return Err(failure),
            };
            let empty = rows.is_empty();
            let added = directory::add_users(&mut ids, rows);
            // Without a number of pages the list ends with an empty page, or one that repeats an earlier one.
            if empty || info.total_pages.map_or(!added, |total| page >= total) {
                return Ok(ids);
            }
        }
        tracing::warn!(pages = MOST_PAGES, "Cloudflare's list of users is longer than what is read of it");
        Ok(ids)
    }

    /// Reads a list of the account; `null` is an empty one.
    async fn list<T: DeserializeOwned + Default>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<(T, wire::ResultInfo), Failure> {
        let response = self.get(path, query).await?;
        let wait = quota::wait(response.status, &response.headers, Timestamp::now());
        let envelope = normalise::opened(response.status, &response.body, wait)?;
        let rows = envelope.result.map(serde_json::from_value).transpose();
        let rows = rows.map_err(|_| Failure::malformed("`result` is not the list that was asked for"))?;
        Ok((rows.unwrap_or_default(), envelope.result_info))
    }

    /// Asks for something of the account.
    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Response, Failure> {
        let mut segments = vec!["accounts", self.config.account_id.as_str()];
        segments.extend(path);
        let url = self.base.join(&segments, "", query);
        let url =
            url.ok_or_else(|| Failure::new(FailureKind::BadRequest, "check `account_id` and `base_url`"))?;
        let build = || {
            let request = Request::get(url).header("accept", "application/json");
            Ok(match &self.config.credential {
                Credential::Token(token) => {
                    let bearer = format!("Bearer {}", token.current().expose_secret());
                    request.secret_header("authorization", &SecretString::from(bearer))
                }
                Credential::Key { email, key } => {
                    request.header("x-auth-email", email).secret_header("x-auth-key", &key.current())
                }
            })
        };
        self.transport.send(build).await
    }
}

impl Provider for Cloudflare {
    fn kinds(&self) -> &[EntityKind] {
        self.templates.kinds()
    }

    fn ask<'a>(&'a self, entity: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(async move {
            let id = self.id(entity).await?.hyphenated().to_string();
            let response = self.get(&["zt_risk_scoring", &id], &[]).await?;
            let wait = quota::wait(response.status, &response.headers, Timestamp::now());
            normalise::answer(response.status, &response.body, wait, &self.scale)
        })
    }

    fn renew(&self, _why: FailureKind) -> bool {
        match &self.config.credential {
            Credential::Token(secret) | Credential::Key { key: secret, .. } => secret.next(),
        }
    }

    fn bulk(&self) -> Option<&dyn Bulk> {
        Some(self)
    }

    fn probe(&self) -> Asking<'_, ()> {
        Box::pin(async move {
            let (_, _): (wire::Summary, _) = self.list(&["zt_risk_scoring", "summary"], &[]).await?;
            Ok(())
        })
    }

    fn host(&self) -> &str {
        self.base.host()
    }

    fn identity(&self) -> String {
        let Self { config, base, scale, templates, .. } = self;
        format!("cloudflare {} {} {templates:?} {scale:?}", base.host(), config.account_id)
    }
}

/// The summary, which holds whoever has a level and is not documented to have pages.
impl Bulk for Cloudflare {
    fn page<'a>(&'a self, _cursor: Option<&'a str>) -> Asking<'a, Page> {
        Box::pin(async move {
            let (summary, info) = self.list(&["zt_risk_scoring", "summary"], &[]).await?;
            let mut page = normalise::listed(summary, &self.scale)?;
            // How further ones would be asked for is not known.
            page.cut |= info.total_pages.is_some_and(|pages| pages > 1);
            Ok(page)
        })
    }

    fn name<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        let name = self.templates.spell(kind, id)?;
        match directory::uuid(&name) {
            Some(id) => Some(id.hyphenated().to_string().into()),
            None => is_email(&name).then(|| name.to_lowercase().into()),
        }
    }
}
