//! Google SecOps (Chronicle): `entityRiskScores.query`, one filtered query for one entity.
//!
//! There is no look-up by id: the question is a filter ([`filter`]), the answer a list, and an entity that the
//! vendor does not know is an empty list. The quota is small (about one query a second for calls of this
//! kind, as far as it is published), so a long `ttl` pays.

pub mod auth;
mod command;
pub mod config;
pub mod filter;
pub mod normalise;
#[cfg(test)]
mod tests;
pub mod wire;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use self::config::{Config, Credential};
use self::wire::Page;
use crate::entity::{Entity, EntityKind};
use crate::http::{BaseUrl, Request};
use crate::provider::snapshot::{self, Bulk};
use crate::provider::templates::Templates;
use crate::provider::tokens::Tokens;
use crate::provider::transport::Transport;
use crate::provider::{Answer, Asking, Failure, FailureKind, Provider, SignIn};
use crate::score::Scale;

/// The most pages that one question may take. An entity has two rows, so more than one page means that the
/// vendor holds back, and many that it ignores the filter.
const PAGES: usize = 5;

/// Rows on a page of the list: the vendor gives 10,000 at once, which is more than a body may have.
const ROWS: u64 = 500;

/// One Google SecOps instance.
pub struct GoogleSecops {
    config: Config,
    base: BaseUrl,
    scale: Scale,
    templates: Templates,
    transport: Transport,
    tokens: Tokens<SecretString>,
}

impl GoogleSecops {
    /// A provider that asks `base`, which is [`Config::base_url`] unless the configuration replaces it.
    ///
    /// `identifiers` are templates by kind, see [`filter::check`]; one that does not pass it makes its kind
    /// one that cannot be asked about.
    pub fn new(
        config: Config,
        base: BaseUrl,
        scale: Scale,
        identifiers: Vec<(EntityKind, String)>,
        transport: Transport,
    ) -> Self {
        let templates = Templates::new(&filter::KINDS, identifiers);
        let templates = templates.only(|kind, template| filter::check(kind, template).is_ok());
        GoogleSecops { config, base, scale, templates, transport, tokens: Tokens::default() }
    }

    async fn look_up(&self, entity: &Entity) -> Result<Answer, Failure> {
        if !self.kinds().contains(&entity.kind) {
            return Err(Failure::new(
                FailureKind::InvalidIdentifier,
                format!("Google SecOps is not asked about {} entities here", entity.kind),
            ));
        }
        let question = filter::question(entity, self.templates.get(entity.kind))?;
        let window = filter::risk_window(self.config.window, self.config.slack, Timestamp::now());
        let filter = format!("{} AND {window}", question.condition);
        let mut rows = Vec::new();
        let mut token = None;
        let mut whole = false;
        for _ in 0..PAGES {
            let page = self.page(Some(&filter), self.config.page_size, token.as_deref()).await?;
            rows.extend(page.rows);
            match page.next {
                None => {
                    whole = true;
                    break;
                }
                next if next == token => return Err(Failure::malformed("next_page_token repeats itself")),
                next => token = next,
            }
        }
        let answer =
            normalise::answer(&rows, &[&question.value, &entity.id], self.config.window, &self.scale);
        // What was not read could still hold the entity: only a found one is an answer.
        match answer {
            Answer::Unknown { .. } if !whole => Err(Failure::malformed(format!(
                "more than {PAGES} pages for one entity: the condition in `identifiers` seems not to select it"
            ))),
            answer => Ok(answer),
        }
    }

    /// One page. All parameters but the token are the same for every page, as the vendor demands.
    async fn page(&self, filter: Option<&str>, size: u64, token: Option<&str>) -> Result<Page, Failure> {
        let size = size.to_string();
        let mut query: Vec<_> = filter.map(|filter| ("filter", filter)).into_iter().collect();
        query.push(("pageSize", &size));
        query.extend(self.config.order_by.as_deref().map(|order| ("orderBy", order)));
        query.extend(token.map(|token| ("pageToken", token)));
        let Config { project, location, instance, .. } = &self.config;
        let path = [
            "v1alpha",
            "projects",
            project,
            "locations",
            location,
            "instances",
            instance,
            "entityRiskScores",
        ];
        let url = self.base.join(&path, ":query", &query).ok_or_else(|| {
            Failure::new(
                FailureKind::BadRequest,
                "project, location and instance make no path: check their spelling",
            )
        })?;
        let credential = &self.config.credential;
        let mut token = auth::token(&self.tokens, credential, &self.transport).await?;
        let build = || {
            token = auth::latest(&self.tokens, credential, Arc::clone(&token))?;
            Ok(Request::get(url).secret_header("authorization", &token.value))
        };
        let response = self.transport.send(build).await?;
        if (200..300).contains(&response.status) {
            return Page::read(&response.body);
        }
        let failure = wire::refusal(&response, Timestamp::now());
        if failure.kind == FailureKind::Unauthorised {
            token.refuse();
        }
        Err(failure)
    }
}

impl Provider for GoogleSecops {
    fn kinds(&self) -> &[EntityKind] {
        self.templates.kinds()
    }

    fn ask<'a>(&'a self, entity: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(self.look_up(entity))
    }

    fn renew(&self, why: FailureKind) -> bool {
        let next = match &self.config.credential {
            Credential::ServiceAccount(secret) | Credential::Token(secret) => secret.next(),
            Credential::Command(_) => false,
        };
        self.tokens.renew(why, next)
    }

    fn bulk(&self) -> Option<&dyn Bulk> {
        Some(self)
    }

    fn probe(&self) -> Asking<'_, ()> {
        Box::pin(async move {
            let window = filter::risk_window(self.config.window, self.config.slack, Timestamp::now());
            self.page(Some(&window), 1, None).await.map(|_| ())
        })
    }

    fn host(&self) -> &str {
        self.base.host()
    }

    fn sign_in(&self) -> Option<SignIn> {
        let Credential::ServiceAccount(json) = &self.config.credential else { return None };
        let host = auth::ServiceAccount::read(&json.current()).map(|account| account.host().to_owned());
        Some(SignIn { what: "a claim that the service account's key signed", host })
    }

    fn identity(&self) -> String {
        let Self { config, scale, templates, .. } = self;
        let Config { project, location, instance, window, slack, .. } = config;
        let place = format!("google_secops {} {project}/{location}/{instance}", self.base.host());
        format!("{place} {} {slack:?} {templates:?} {scale:?}", window.label())
    }
}

/// The same query without a filter.
impl Bulk for GoogleSecops {
    fn page<'a>(&'a self, cursor: Option<&'a str>) -> Asking<'a, snapshot::Page> {
        Box::pin(async move {
            let page = Box::pin(GoogleSecops::page(self, None, ROWS, cursor)).await?;
            let from = filter::begin(self.config.window, self.config.slack, Timestamp::now());
            normalise::listed(&page, self.config.window, from, &self.scale)
        })
    }

    /// By what the entity is asked: the member of the indicator and its value. One that a condition on something else selects has
    /// no name in the list.
    fn name<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        if !self.templates.kinds().contains(&kind) {
            return None;
        }
        let entity = Entity { kind, id: id.into() };
        let question = filter::question(&entity, self.templates.get(kind)).ok()?;
        let member = filter::indicator(&question.condition)?;
        Some(normalise::name(member, &question.value).into())
    }
}
