//! Oracle CASB Cloud Service: the risk of users ("Get user risk score report").
//!
//! A GET of the report about one user, with a token bought by a key pair (`token.rs`). Contract: the token is
//! kept, bought once for all who wait, and replaced before it ends; the report is read to its end, but for at
//! most `MAX_PAGES` pages.

pub mod config;
mod normalise;
mod token;
mod wire;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::time::Instant;

use crate::entity::{Entity, EntityKind};
use crate::http::{BaseUrl, Request, Response};
use crate::provider::snapshot::{Bulk, Page};
use crate::provider::templates::Templates;
use crate::provider::tokens::{Token, Tokens};
use crate::provider::transport::Transport;
use crate::provider::{Answer, Asking, Failure, FailureKind, Provider, SignIn, quota};
use crate::score::Scale;

pub use config::{Config, read};
use normalise::{Place, Reading};
use token::Tenancy;
use wire::{Grant, Report};

const TOKEN_PATH: [&str; 3] = ["api", "v1", "token"];
/// The vendor's page spells the report `Userrisk`, its example and every known client `userrisk`.
const REPORT_PATH: [&str; 5] = ["api", "v1", "reports", "details", "userrisk"];
/// The most rows that the vendor gives at once.
const PAGE_SIZE: &str = "100";
/// One user's rows fit one page: more come only where the vendor does not heed `userName`.
const MAX_PAGES: usize = 10;
/// Longer than any e-mail (254) or account name.
const LONGEST_USER: usize = 320;

/// An Oracle CASB tenant.
pub struct OracleCasb {
    config: Config,
    base: BaseUrl,
    scale: Scale,
    templates: Templates,
    transport: Transport,
    tokens: Tokens<Tenancy>,
}

impl OracleCasb {
    /// A tenant at `base`. `identifiers` are templates by kind; a kind that is listed is asked about.
    pub fn new(
        config: Config,
        base: BaseUrl,
        scale: Scale,
        identifiers: Vec<(EntityKind, String)>,
        transport: Transport,
    ) -> Self {
        let templates = Templates::new(&[EntityKind::User], identifiers);
        OracleCasb { config, base, scale, templates, transport, tokens: Tokens::default() }
    }

    async fn risk(&self, user: &str) -> Result<Answer, Failure> {
        let mut reading = Reading::new(user);
        let mut marker = None;
        for _ in 0..MAX_PAGES {
            let mut query = vec![("userName", user), ("pagesize", PAGE_SIZE)];
            query.extend(marker.as_deref().map(|marker| ("markerPosition", marker)));
            let page = self.report(self.token().await?, query).await?;
            marker = reading.page(page)?;
            if marker.is_none() {
                return reading.answer(true, &self.scale);
            }
        }
        reading.answer(false, &self.scale)
    }

    async fn report(
        &self,
        mut token: Arc<Token<Tenancy>>,
        mut query: Vec<(&str, &str)>,
    ) -> Result<Report, Failure> {
        query.extend(self.config.application_type.as_deref().map(|name| ("applicationType", name)));
        query.extend(
            self.config.application_instance.as_deref().map(|name| ("applicationInstanceName", name)),
        );
        let request = Request::get(self.url(&REPORT_PATH, &query)?).header("accept", "application/json");
        let build = || {
            token = self.tokens.latest(Arc::clone(&token));
            Ok(request
                .secret_header("authorization", &token.value.authorization)
                .header("x-apprity-tenant-id", &token.value.tenant))
        };
        let response = self.transport.send(build).await?;
        accept(&response).inspect_err(|failure| {
            if failure.kind == FailureKind::Unauthorised {
                token.refuse();
            }
        })?;
        Report::read(&response.body).map_err(Failure::malformed)
    }

    async fn token(&self) -> Result<Arc<Token<Tenancy>>, Failure> {
        self.tokens.get(|| self.exchange()).await
    }

    async fn exchange(&self) -> Result<Token<Tenancy>, Failure> {
        let (key, secret) = (self.config.access_key.current(), self.config.access_secret.current());
        let pair = json!({"accessKey": key.expose_secret(), "accessSecret": secret.expose_secret()});
        let request =
            Request::post_json(self.url(&TOKEN_PATH, &[])?, &pair).header("accept", "application/json");
        let response = self.transport.send_unmetered(request).await?;
        accept(&response)?;
        let grant = Grant::read(&response.body).map_err(Failure::malformed)?;
        token::granted(&grant, Timestamp::now(), Instant::now())
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String, Failure> {
        self.base
            .join(path, "", query)
            .ok_or_else(|| Failure::new(FailureKind::BadRequest, "no address can be built from base_url"))
    }

    /// The user name to ask about.
    fn user(&self, entity: &Entity) -> Result<String, Failure> {
        let invalid = |why| Err(Failure::new(FailureKind::InvalidIdentifier, why));
        if !is_user(&entity.id) {
            return invalid("a user name is not empty, has no control characters and at most 320 bytes");
        }
        let user = self.templates.fill(entity);
        user.map_or_else(
            || invalid("Oracle CASB knows users; another kind needs a template in identifiers"),
            Ok,
        )
    }
}

/// Whether something can be the name of a user.
fn is_user(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= LONGEST_USER && !name.contains(char::is_control)
}

/// Lets any 2xx pass: the token is answered with 201 by the page and with 200 by others.
fn accept(response: &Response) -> Result<(), Failure> {
    if (200..300).contains(&response.status) {
        return Ok(());
    }
    let mut failure = normalise::refusal(response.status, &response.body);
    failure.retry_after = quota::wait(response.status, &response.headers, Timestamp::now());
    Err(failure)
}

impl Provider for OracleCasb {
    fn kinds(&self) -> &[EntityKind] {
        self.templates.kinds()
    }

    fn ask<'a>(&'a self, entity: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(async move { self.risk(&self.user(entity)?).await })
    }

    fn renew(&self, why: FailureKind) -> bool {
        let (key, secret) = (self.config.access_key.next(), self.config.access_secret.next());
        self.tokens.renew(why, key || secret)
    }

    fn bulk(&self) -> Option<&dyn Bulk> {
        Some(self)
    }

    fn probe(&self) -> Asking<'_, ()> {
        Box::pin(async move { self.report(self.token().await?, vec![("pagesize", "1")]).await.map(drop) })
    }

    fn host(&self) -> &str {
        self.base.host()
    }

    fn sign_in(&self) -> Option<SignIn> {
        Some(SignIn { what: "access_key and access_secret", host: Ok(self.base.host().to_owned()) })
    }

    fn identity(&self) -> String {
        let Self { config, scale, templates, .. } = self;
        let address = self.url(&REPORT_PATH, &[]).unwrap_or_default();
        let applications = (&config.application_type, &config.application_instance);
        // The access key names the tenant, which the address does not.
        let tenant = config.access_key.tag();
        format!("oracle_casb {address} {tenant} {applications:?} {templates:?} {scale:?}")
    }
}

/// The report about everybody. It names users as they are written somewhere, so that names are compared without case.
impl Bulk for OracleCasb {
    fn page<'a>(&'a self, cursor: Option<&'a str>) -> Asking<'a, Page> {
        Box::pin(async move {
            let place = Place::of(cursor);
            let mut query = vec![("pagesize", PAGE_SIZE)];
            query.extend(place.marker.map(|marker| ("markerPosition", marker)));
            normalise::page(self.report(self.token().await?, query).await?, place, &self.scale)
        })
    }

    fn name<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        let name = self.templates.spell(kind, id).filter(|_| is_user(id))?;
        Some(if name.chars().any(char::is_uppercase) { name.to_lowercase().into() } else { name })
    }
}
