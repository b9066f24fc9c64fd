//! Any vendor with an HTTP API: asked and understood as the configuration says.
//!
//! Contract: one request per question, or two where the vendor answers for ids of its own only; an identifier is one percent-encoded segment of the path, or a text that cannot
//! leave its place in query or body ([`template`]); what no rule explains is a failure ([`normalise`]). Credentials go to
//! `base_url`, and those of a client to its token end point, and nowhere else. Sources: the examples in `docs/vendors.md`
//! name theirs.

pub mod bulk;
pub mod config;
pub mod normalise;
pub mod template;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use self::config::{Auth, HeaderText, Payload, Recipe};
use crate::entity::{Entity, EntityKind};
use crate::http::{BaseUrl, Request};
use crate::provider::snapshot::{Bulk, Listing, Page};
use crate::provider::templates::Templates;
use crate::provider::tokens::{self, Token, Tokens};
use crate::provider::transport::Transport;
use crate::provider::{Answer, Asking, Failure, FailureKind, Provider, SignIn, quota};
use crate::score::Scale;

pub use config::Config;

/// Longer identifiers are not asked about: servers end URLs at 8 KiB.
const LONGEST_ID: usize = 2048;

/// One vendor, as configured.
pub struct GenericHttp {
    config: Config,
    base: BaseUrl,
    scale: Scale,
    templates: Templates,
    transport: Transport,
    tokens: Tokens<SecretString>,
}

impl GenericHttp {
    /// A vendor at `base`. It answers for the configured kinds, and for every kind that `identifiers` gives a template.
    pub fn new(
        config: Config,
        base: BaseUrl,
        scale: Scale,
        identifiers: Vec<(EntityKind, String)>,
        transport: Transport,
    ) -> Self {
        let templates = Templates::new(&config.kinds, identifiers);
        GenericHttp { config, base, scale, templates, transport, tokens: Tokens::default() }
    }

    async fn look_up(&self, id: &str) -> Result<Answer, Failure> {
        let rules = &self.config.rules;
        let resolved = match &self.config.resolve {
            None => None,
            Some((recipe, take)) => {
                let own = self
                    .send(recipe, self.request(recipe, id, None)?, |said, wait| {
                        normalise::own_id(rules, take, said, wait)
                    })
                    .await?;
                let Some(own) = own else { return Ok(Answer::Unknown { detail: None }) };
                Some(own)
            }
        };
        let id = resolved.as_deref().unwrap_or(id);
        let read = |said: (u16, &[u8]), wait| normalise::answer(rules, id, said, wait, &self.scale);
        let recipe = &self.config.request;
        self.send(recipe, self.request(recipe, id, None)?, read).await
    }

    /// Adds the secrets to `request` and sends it, and gives status, body and how long the vendor wants to be left alone to `read`.
    async fn send<T>(
        &self,
        recipe: &Recipe,
        request: Request,
        read: impl FnOnce((u16, &[u8]), Option<Duration>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut token = match &self.config.auth {
            Auth::Client { .. } => Some(self.tokens.get(|| self.exchange()).await?),
            _ => None,
        };
        let build = || {
            token = token.take().map(|token| self.tokens.latest(token));
            Ok(self.signed(recipe, request, token.as_deref()))
        };
        let response = self.transport.send(build).await?;
        let wait = quota::wait(response.status, &response.headers, Timestamp::now());
        read((response.status, &response.body), wait).inspect_err(|failure| {
            if failure.kind == FailureKind::Unauthorised
                && let Some(token) = &token
            {
                token.refuse();
            }
        })
    }

    /// The request about `id`, with one parameter `more`, without secrets yet.
    fn request(&self, recipe: &Recipe, id: &str, more: Option<(&str, String)>) -> Result<Request, Failure> {
        let path: Vec<String> = recipe.path.iter().map(|segment| segment.fill(id)).collect();
        let (in_query, in_payload) = if recipe.payload.is_none() { (more, None) } else { (None, more) };
        let query = recipe.query.iter().map(|(name, text)| (name.as_str(), text.fill(id)));
        let query: Vec<_> = query.chain(in_query).collect();
        let query: Vec<_> = query.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let url = self.base.join(&path, "", &query).ok_or_else(|| {
            Failure::new(
                FailureKind::BadRequest,
                "request.path and request.query make no address below base_url",
            )
        })?;
        let request = match &recipe.payload {
            None => Request::get(url),
            Some(Payload::Json(body)) => {
                let mut body = body.fill(id);
                if let (Some((name, value)), Some(members)) = (in_payload, body.as_object_mut()) {
                    // Numbers stay numbers: vendors check the types of what is posted.
                    let value = value.parse::<u64>().map_or(Value::String(value), Value::from);
                    members.insert(name.to_owned(), value);
                }
                Request::post_json(url, &body)
            }
            Some(Payload::Form(fields)) => {
                let fields = fields.iter().map(|(name, text)| (name.as_str(), text.fill(id)));
                let fields: Vec<_> = fields.chain(in_payload).collect();
                let fields: Vec<_> = fields.iter().map(|(name, text)| (*name, text.as_str())).collect();
                Request::post_form(url, &fields)
            }
        };
        Ok(request)
    }

    /// The request with its headers, and with what signs it: `token`, where one was fetched.
    fn signed(&self, recipe: &Recipe, request: Request, token: Option<&Token<SecretString>>) -> Request {
        let request = recipe.headers.iter().fold(request, |request, (name, text)| match text {
            HeaderText::Plain(text) => request.header(name, text),
            HeaderText::Secret(secret) => request.secret_header(name, &secret.current()),
        });
        let authorization = match &self.config.auth {
            Auth::Nothing => None,
            Auth::Token { scheme, token } => {
                Some(format!("{scheme} {}", token.current().expose_secret()).into())
            }
            Auth::Basic { username, password } => Some(basic(username, password.current().expose_secret())),
            Auth::Client { .. } => token.map(|token| token.value.clone()),
        };
        authorization.iter().fold(request, |request, value| request.secret_header("authorization", value))
    }

    /// A token for the client's credentials (RFC 6749, 4.4).
    async fn exchange(&self) -> Result<Token<SecretString>, Failure> {
        let Auth::Client { token_url, client_id, client_secret, basic: in_header, fields } =
            &self.config.auth
        else {
            return Err(Failure::new(FailureKind::Unauthorised, "there is no token end point: check `auth`"));
        };
        let secret = client_secret.current();
        let mut form = vec![("grant_type", "client_credentials")];
        if !in_header {
            form.extend([("client_id", client_id.as_str()), ("client_secret", secret.expose_secret())]);
        }
        form.extend(fields.iter().map(|(name, text)| (*name, text.as_str())));
        let mut request = Request::post_form(token_url.whole(), &form);
        if *in_header {
            // Both are encoded first (RFC 6749, 2.3.1).
            let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let pair = basic(&encoded(client_id), &encoded(secret.expose_secret()));
            request = request.secret_header("authorization", &pair);
        }
        let response = self.transport.send_unmetered(request).await?;
        let cure = "check client_id, client_secret and scope";
        tokens::granted(&response, "the client", cure, "auth.token_url")
    }

    /// What to ask about, where the identifier can be sent.
    fn identifier<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        let id = self.templates.spell(kind, id)?;
        // A proxy that decodes %2F and tidies the path would turn these into another route.
        let climbs = id.split(['/', '\\']).any(|part| matches!(part, "." | ".."));
        (!id.is_empty() && !climbs && id.len() <= LONGEST_ID && !id.contains(char::is_control)).then_some(id)
    }
}

fn basic(username: &str, password: &str) -> SecretString {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))).into()
}

impl Provider for GenericHttp {
    fn kinds(&self) -> &[EntityKind] {
        self.templates.kinds()
    }

    fn ask<'a>(&'a self, entity: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(async move {
            let id = self.identifier(entity.kind, &entity.id).ok_or_else(|| {
                Failure::new(
                    FailureKind::InvalidIdentifier,
                    "not an identifier that can be sent: empty, too long, with control characters or with path segments \
                     that climb",
                )
            })?;
            self.look_up(&id).await
        })
    }

    fn renew(&self, why: FailureKind) -> bool {
        match &self.config.auth {
            Auth::Nothing => false,
            Auth::Token { token: secret, .. } | Auth::Basic { password: secret, .. } => secret.next(),
            Auth::Client { client_secret, .. } => self.tokens.renew(why, client_secret.next()),
        }
    }

    fn bulk(&self) -> Option<&dyn Bulk> {
        self.config.bulk.as_ref().map(|_| self as &dyn Bulk)
    }

    fn probe(&self) -> Asking<'_, ()> {
        Box::pin(async move { self.look_up(&self.config.probe).await.map(drop) })
    }

    fn host(&self) -> &str {
        self.base.host()
    }

    fn sign_in(&self) -> Option<SignIn> {
        let Auth::Client { token_url, .. } = &self.config.auth else { return None };
        Some(SignIn { what: "client_id and client_secret", host: Ok(token_url.host().to_owned()) })
    }

    fn identity(&self) -> String {
        let Self { config, base, scale, templates, .. } = self;
        let Config { resolve, request, auth, rules, bulk, .. } = config;
        // Who signs in may decide which tenant answers, which the address does not.
        let tags: Vec<String> = config.credential().iter().map(|fingerprint| fingerprint.tag()).collect();
        format!(
            "generic_http {} {resolve:?} {request:?} {auth:?} {rules:?} {bulk:?} {templates:?} {scale:?} {}",
            base.whole(),
            tags.join(" ")
        )
    }
}

/// The list, where `bulk` says how it is read. Names are compared without case, as a look-up compares them.
impl Bulk for GenericHttp {
    fn page<'a>(&'a self, cursor: Option<&'a str>) -> Asking<'a, Page> {
        Box::pin(async move {
            let Some(rule) = &self.config.bulk else {
                return Err(Failure::new(FailureKind::BadRequest, "there is no list: write bulk"));
            };
            let place = bulk::Place::of(cursor);
            let request = self.request(&rule.request, "", rule.parameter(place))?;
            let rules = &self.config.rules;
            self.send(&rule.request, request, |said, wait| rule.page(rules, said, wait, place, &self.scale))
                .await
        })
    }

    fn name<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        let rule = self.config.bulk.as_ref()?;
        let name =
            self.identifier(kind, id).filter(|_| rule.kinds.is_empty() || rule.kinds.contains(&kind))?;
        Some(if name.chars().any(char::is_uppercase) { name.to_lowercase().into() } else { name })
    }

    fn listing(&self) -> Listing {
        self.config.bulk.as_ref().map_or(Listing::Riskiest, |rule| rule.listing)
    }
}
