//! The keys of a vendor that nobody knew before: its request, its way to sign in, and what its answers mean.
//!
//! Contract: a [`Config`] can be asked: its request has a place for the identifier, every place is safe where it stands,
//! every path is a JSONPath, and there is a number or a word to read. Never holds a secret's value.

use std::cell::Cell;

use serde_json::Value;

use super::bulk::Rule;
use super::normalise::{Condition, Details, Meaning, Path, Rules, Test};
use super::template::{Body, Template};
use crate::config::secret::Fingerprint;
use crate::config::words::{hint, or};
use crate::config::{Secret, Section, routes};
use crate::entity::EntityKind;
use crate::http::BaseUrl;
use crate::provider::FailureKind;
use crate::score::Level;

/// What a vendor can be blamed for: the reasons that a condition under `failed` may give.
const REASONS: [FailureKind; 9] = [
    FailureKind::ServerError,
    FailureKind::RateLimited,
    FailureKind::Timeout,
    FailureKind::Unauthorised,
    FailureKind::Forbidden,
    FailureKind::Unlicensed,
    FailureKind::BadRequest,
    FailureKind::Unresolved,
    FailureKind::MalformedResponse,
];

/// In `answer.words`: the vendor knows the entity and has no level for it.
const NO_LEVEL: &str = "no_level";

/// What `check --connect` asks about where nothing is written.
const PROBE: &str = "riskstream-probe";

/// `type: generic_http`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What it can be asked about.
    pub kinds: Vec<EntityKind>,
    /// What is sent before, where the vendor answers for ids of its own only, and where such an id stands in the answer.
    pub resolve: Option<(Recipe, Path)>,
    /// What is sent.
    pub request: Recipe,
    /// How we sign in.
    pub auth: Auth,
    /// What the answers mean.
    pub rules: Rules,
    /// Whom `check --connect` asks about.
    pub probe: String,
    /// How the vendor's list is read, where it has one.
    pub bulk: Option<Rule>,
}

/// What is sent about an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Segments of the path below the base address.
    pub path: Vec<Template>,
    /// Parameters of the address.
    pub query: Vec<(String, Template)>,
    /// Headers.
    pub headers: Vec<(String, HeaderText)>,
    /// What is posted; a GET has nothing.
    pub payload: Option<Payload>,
}

/// A header's value.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderText {
    /// Written in the configuration.
    Plain(String),
    /// Never shown.
    Secret(Secret),
}

/// What is posted.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// JSON.
    Json(Body),
    /// Form fields.
    Form(Vec<(String, Template)>),
}

/// How we sign in.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// By a client certificate, a secret header, or not at all.
    Nothing,
    /// `Authorization: SCHEME TOKEN`.
    Token {
        /// The word before the token.
        scheme: String,
        /// The token.
        token: Secret,
    },
    /// `Authorization: Basic`.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that an OAuth end point gives for the client's credentials (RFC 6749, 4.4).
    Client {
        /// The end point.
        token_url: BaseUrl,
        /// Who we are there.
        client_id: String,
        /// What proves it.
        client_secret: Secret,
        /// Whether both go into the header instead of the form.
        basic: bool,
        /// What we ask for, and other fields of the form.
        fields: Vec<(&'static str, String)>,
    },
}

/// Reads the vendor's own keys; `None` when a problem was recorded.
pub fn read(section: &mut Section<'_>) -> Option<Config> {
    if !section.has("base_url") {
        section.problem("base_url", "missing", "write base_url: https://... of the vendor's API");
    }
    let allow_http = section.flag("allow_http").unwrap_or(false);
    let kinds = routes::kinds(section, "kinds");
    if kinds.is_empty() && !section.has("identifiers") {
        section.problem(
            "kinds",
            "nothing to ask about",
            "write kinds: [user], or templates under identifiers",
        );
    }
    let resolve = section.section("resolve").map(resolve);
    let request = match section.section("request") {
        Some(mut request) => {
            let read = recipe(&mut request);
            request.finish();
            read
        }
        None => {
            section.problem("request", "missing", "write request: {path: '/risk/users/{value}'}");
            None
        }
    };
    let auth = section.section("auth").map_or(Some(Auth::Nothing), |auth| self::auth(auth, allow_http));
    let conditions = conditions(section);
    let rules = match section.section("answer") {
        Some(answer) => rules(answer, conditions),
        None => {
            section.problem("answer", "missing", "write answer: {score: $.risk.score, level: $.risk.level}");
            None
        }
    };
    let identifier = rules.as_ref().and_then(|rules| rules.identifier.as_ref());
    let bulk = section.section("bulk").map(|bulk| Rule::read(bulk, identifier));
    let probe = section.text("probe").unwrap_or_else(|| PROBE.to_owned());
    Some(Config {
        kinds,
        resolve: resolve.map_or(Some(None), |read| read.map(Some))?,
        request: request?,
        auth: auth?,
        bulk: bulk.map_or(Some(None), |read| read.map(Some))?,
        rules: rules?,
        probe,
    })
}

/// A request, and `take`: where the vendor's own id stands in its answer.
fn resolve(mut section: Section<'_>) -> Option<(Recipe, Path)> {
    let take = section.required_text("take", "$.id").map(|text| Path::parse(&text));
    if let Some(Err(error)) = &take {
        section.problem("take", format!("not a JSONPath ({error})"), "write one, such as $.id");
    }
    let read = recipe(&mut section);
    section.finish();
    read.zip(take.and_then(Result::ok))
}

fn recipe(section: &mut Section<'_>) -> Option<Recipe> {
    let recipe = Recipe::read(section)?;
    if !recipe.has_place() {
        let cure = "write {value} where the identifier goes: in path, query, body or form";
        section.problem("", "no place for the identifier", cure);
    }
    Some(recipe)
}

impl Recipe {
    /// Reads what is to be sent, with a place for the identifier or without.
    pub fn read(section: &mut Section<'_>) -> Option<Recipe> {
        let method = section.choice("method", &[("GET", false), ("POST", true)]);
        let path = path(section);
        let query = section.section("query").map_or(Some(Vec::new()), templates);
        let headers = section.section("headers").map_or(Some(Vec::new()), headers);
        let json = body(section);
        let form = section.section("form").map(templates);
        let payload = match (json, form) {
            (Some(_), Some(_)) => {
                section.problem("form", "beside body", "write one of body and form");
                None
            }
            (Some(json), None) => json.map(|json| Some(Payload::Json(json))),
            (None, Some(form)) => form.map(|form| Some(Payload::Form(form))),
            (None, None) => Some(None),
        };
        let posts = matches!(payload, Some(Some(_)));
        match method {
            Some(false) if posts => section.problem("method", "a GET with a body", "write method: POST"),
            Some(true) if matches!(payload, Some(None)) => {
                section.problem(
                    "method",
                    "a POST without a body",
                    "write body or form; body: '{}' for an empty one",
                );
            }
            _ => {}
        }
        Some(Recipe { path: path?, query: query?, headers: headers?, payload: payload? })
    }

    /// Whether it has a place for the identifier.
    pub fn has_place(&self) -> bool {
        let within = |templates: &[(String, Template)]| templates.iter().any(|(_, text)| text.has_place());
        let payload = match &self.payload {
            None => false,
            Some(Payload::Json(body)) => body.has_place(),
            Some(Payload::Form(fields)) => within(fields),
        };
        payload || within(&self.query) || self.path.iter().any(Template::has_place)
    }
}

fn path(section: &mut Section<'_>) -> Option<Vec<Template>> {
    let Some(text) = section.text("path") else { return Some(Vec::new()) };
    if text.contains(['?', '#', '%']) {
        let cure = "write the path as it reads, not encoded, and what comes behind ? under query";
        section.problem("path", "not a path", cure);
        return None;
    }
    let mut segments = Vec::new();
    for segment in text.strip_prefix('/').unwrap_or(&text).split('/') {
        match Template::segment(segment) {
            Ok(_) if matches!(segment, "" | "." | "..") => {
                section.problem("path", "a segment that is no name", "write it without //, /./ and /../");
                return None;
            }
            Ok(template) => segments.push(template),
            Err((what, cure)) => {
                section.problem("path", what, cure);
                return None;
            }
        }
    }
    Some(segments)
}

/// Every entry as a template; `None` when one is not.
fn templates(section: Section<'_>) -> Option<Vec<(String, Template)>> {
    let mut all = Some(Vec::new());
    for entry in section.entries() {
        let Some(text) = section.entry_text(entry) else {
            all = None;
            continue;
        };
        match Template::value(&text) {
            Ok(template) => {
                if let Some(all) = &mut all {
                    all.push((entry.key.clone(), template));
                }
            }
            Err((what, cure)) => {
                section.problem_of_key(entry, what, cure);
                all = None;
            }
        }
    }
    all
}

/// Headers: texts, or secrets.
fn headers(section: Section<'_>) -> Option<Vec<(String, HeaderText)>> {
    use crate::config::raw;
    let mut all = Some(Vec::new());
    for entry in section.entries() {
        let value = match &entry.value.value {
            raw::Value::Map(_) => section.entry_secret(entry).map(HeaderText::Secret),
            _ => section.entry_text(entry).map(HeaderText::Plain),
        };
        let name = entry.key.to_ascii_lowercase();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            section.problem_of_key(entry, "not the name of a header", "write letters, digits and -");
            all = None;
        } else if matches!(&*name, "host" | "content-length" | "transfer-encoding" | "connection") {
            section.problem_of_key(
                entry,
                "not a header of yours",
                "remove it: it follows from the address and the body",
            );
            all = None;
        } else if let (Some(all), Some(value)) = (&mut all, value) {
            all.push((name, value));
        } else {
            all = None;
        }
    }
    all
}

/// The body: `Some(None)` when a problem was recorded.
fn body(section: &mut Section<'_>) -> Option<Option<Body>> {
    let text = section.text("body")?;
    let problem = |section: &mut Section<'_>, what: String, cure: String| {
        section.problem("body", what, cure);
        Some(None)
    };
    let value: Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(error) => {
            let cure = "write JSON in single quotes: body: '{\"user\": \"{value}\"}'";
            return problem(section, format!("not JSON ({error})"), cure.to_owned());
        }
    };
    match Body::new(value) {
        Ok(body) => Some(Some(body)),
        Err((what, cure)) => problem(section, what, cure),
    }
}

fn auth(mut section: Section<'_>, allow_http: bool) -> Option<Auth> {
    // All are read, so that none is reported as unknown beside a problem.
    let ways = ["token", "username", "token_url"].map(|key| section.has(key));
    let scheme = section.text("scheme");
    let token = section.rotating_secret("token");
    let (username, password) = (section.text("username"), section.rotating_secret("password"));
    let token_url = section.url("token_url");
    let (client_id, client_secret) = (section.text("client_id"), section.rotating_secret("client_secret"));
    let basic = section.choice("client_auth", &[("post", false), ("basic", true)]).unwrap_or(false);
    let fields: Vec<_> = ["scope", "audience", "resource"]
        .into_iter()
        .filter_map(|key| section.text(key).map(|text| (key, text)))
        .collect();
    let mut missing = |key: &str, given: bool| {
        if !given && !section.has(key) {
            section.problem(key, "missing", format!("write {key}"));
        }
    };
    let auth = match ways {
        [true, false, false] => {
            let scheme = scheme.unwrap_or_else(|| "Bearer".to_owned());
            token.map(|token| Auth::Token { scheme, token })
        }
        [false, true, false] => {
            missing("password", password.is_some());
            Some(())
                .and(username.zip(password))
                .map(|(username, password)| Auth::Basic { username, password })
        }
        [false, false, true] => {
            missing("client_id", client_id.is_some());
            missing("client_secret", client_secret.is_some());
            let plain = token_url.as_ref().is_some_and(|url| url.is_plain() && !url.is_loopback());
            if plain && !allow_http {
                let cure = "write https://, or allow_http: true where the network between is trusted";
                section.problem("token_url", "unencrypted", cure);
            }
            token_url.zip(client_id).zip(client_secret).map(|((token_url, client_id), client_secret)| {
                Auth::Client { token_url, client_id, client_secret, basic, fields }
            })
        }
        _ => {
            let cure = "write token (and scheme), or username and password, or token_url, client_id and client_secret; \
                        without auth nothing is sent";
            section.problem("", "not one way to sign in", cure);
            None
        }
    };
    section.finish();
    auth
}

fn rules(mut section: Section<'_>, conditions: Option<Vec<(Condition, Meaning)>>) -> Option<Rules> {
    let sound = Cell::new(true);
    let parse = |section: &mut Section<'_>, key: &str, text: &str| match Path::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            section.problem(key, format!("not a JSONPath ({error})"), "write one, such as $.risk.score");
            sound.set(false);
            None
        }
    };
    let at = |section: &mut Section<'_>, key: &'static str| {
        let text = section.text(key)?;
        parse(section, key, &text)
    };
    let row = at(&mut section, "row").or_else(|| Path::parse("$").ok());
    let identifier = at(&mut section, "identifier");
    let (score, level) = (at(&mut section, "score"), at(&mut section, "level"));
    let (delta, signals) = (at(&mut section, "delta"), at(&mut section, "signals"));
    let (first_seen, last_seen) = (at(&mut section, "first_seen"), at(&mut section, "last_seen"));
    let reasons = section.texts("reasons").unwrap_or_default();
    let reasons = reasons.iter().filter_map(|text| parse(&mut section, "reasons", text)).collect();
    let mut attributes = Vec::new();
    if let Some(mut named) = section.section("attributes") {
        for (name, text) in named.all_texts() {
            let path = parse(&mut named, &name, &text);
            attributes.extend(path.map(|path| (name, path)));
        }
    }
    let range = range(&mut section);
    let words = section.section("words").map(words).unwrap_or_default();
    if !section.has("score") && !section.has("level") {
        section.problem("", "nothing to read", "write score: $.risk.score, level: $.risk.level, or both");
        sound.set(false);
    }
    let scale = section.text("scale").unwrap_or_else(|| match (&score, range) {
        (Some(_), Some((low, high))) => format!("{low} to {high}"),
        _ => "levels".to_owned(),
    });
    section.finish();
    let details = Details { delta, signals, first_seen, last_seen, reasons, attributes };
    let conditions = conditions?;
    let rules =
        Rules { conditions, row: row?, identifier, score, range: range?, scale, level, words, details };
    sound.get().then_some(rules)
}

/// The lowest and the highest number of the vendor; 0 to 100 where nothing is written.
fn range(section: &mut Section<'_>) -> Option<(f64, f64)> {
    let Some(texts) = section.texts("range") else { return Some((0.0, 100.0)) };
    let numbers: Vec<f64> =
        texts.iter().filter_map(|text| text.parse().ok()).filter(|n: &f64| n.is_finite()).collect();
    match *numbers {
        [low, high] if low < high && texts.len() == 2 => Some((low, high)),
        _ => {
            section.problem(
                "range",
                "not a range",
                "write the lowest and the highest score: range: [0, 1000]",
            );
            None
        }
    }
}

fn words(mut section: Section<'_>) -> Vec<(String, Option<Level>)> {
    let mut words = Vec::new();
    for (word, level) in section.all_texts() {
        match level.parse() {
            Ok(level) => words.push((word, Some(level))),
            Err(_) if level == NO_LEVEL => words.push((word, None)),
            Err(_) => {
                let mut labels: Vec<&str> = Level::ALL.iter().map(|level| level.label()).collect();
                labels.push(NO_LEVEL);
                let what = format!("not a level{}", hint(&level, &labels));
                section.problem(&word, what, format!("write {}", or(&labels)));
            }
        }
    }
    words
}

/// `failed` before `unknown`: what says both is not to be taken for an answer.
fn conditions(section: &mut Section<'_>) -> Option<Vec<(Condition, Meaning)>> {
    let mut all = Some(Vec::new());
    for key in ["failed", "unknown"] {
        for mut item in section.list(key).unwrap_or_default() {
            let labels = REASONS.map(|kind| (kind.label(), kind));
            let meaning = match key {
                "failed" => {
                    Meaning::Failed(item.choice("reason", &labels).unwrap_or(FailureKind::ServerError))
                }
                _ => Meaning::Unknown,
            };
            match (&mut all, condition(item)) {
                (Some(all), Some(condition)) => all.push((condition, meaning)),
                _ => all = None,
            }
        }
    }
    all
}

fn condition(mut section: Section<'_>) -> Option<Condition> {
    let mut sound = true;
    let mut statuses = Vec::new();
    for text in section.texts("status").unwrap_or_default() {
        match text.parse::<u16>() {
            Ok(status) if (100..600).contains(&status) => statuses.push(status),
            _ => {
                section.problem("status", "not an HTTP status", "write status: 404, or [404, 410]");
                sound = false;
            }
        }
    }
    let at = section.text("at").map(|text| Path::parse(&text));
    if let Some(Err(error)) = &at {
        section.problem("at", format!("not a JSONPath ({error})"), "write one, such as $.error.code");
        sound = false;
    }
    let mut tests: Vec<Test> = Vec::new();
    tests.extend(section.flag("empty").map(|empty| if empty { Test::Empty } else { Test::Filled }));
    tests.extend(section.flag("missing").map(|missing| if missing { Test::Missing } else { Test::Filled }));
    tests.extend(section.texts("equals").map(Test::Equals));
    tests.extend(section.texts("contains").map(Test::Contains));
    let path = at.as_ref().and_then(|at| at.as_ref().ok()).cloned();
    let says = match (tests.pop(), tests.is_empty()) {
        (Some(test), true) => Some((path, test)),
        (None, _) if at.is_none() && !statuses.is_empty() => None,
        // What is wrong has been told.
        _ if !sound => None,
        _ => {
            let cure =
                "write status, and what is to be there: at with one of equals, contains, empty, missing";
            section.problem("", "not a condition", cure);
            sound = false;
            None
        }
    };
    section.finish();
    sound.then_some(Condition { statuses, says })
}

impl Config {
    /// There is none but `base_url` of the common keys.
    pub fn base_url(&self) -> Option<&BaseUrl> {
        None
    }

    /// What the vendor counts a quota against: whoever signs in.
    pub fn credential(&self) -> Vec<Fingerprint> {
        let headers = self.request.headers.iter().filter_map(|(_, text)| match text {
            HeaderText::Secret(secret) => Some(secret.fingerprint()),
            HeaderText::Plain(_) => None,
        });
        let auth = match &self.auth {
            Auth::Nothing => None,
            Auth::Token { token: secret, .. }
            | Auth::Basic { password: secret, .. }
            | Auth::Client { client_secret: secret, .. } => Some(secret.fingerprint()),
        };
        headers.chain(auth).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::provider::testing::read_keys;

    const GOOD: &str = "base_url: https://risk.example.com
kinds: [user]
request: {path: '/users/{value}/risk'}
answer: {score: $.score}
";

    fn problems(yaml: &str) -> String {
        read_keys(yaml, |section| {
            section.know(&["allow_http", "identifiers"]);
            read(section)
        })
        .1
    }

    #[test]
    fn the_least_is_an_address_a_kind_a_request_and_a_score() {
        assert_eq!(problems(GOOD), "");
        for (part, told) in [
            ("base_url: https://risk.example.com\n", "base_url: missing"),
            ("kinds: [user]\n", "kinds: nothing to ask about"),
            ("request: {path: '/users/{value}/risk'}\n", "request: missing"),
            ("answer: {score: $.score}\n", "answer: missing"),
        ] {
            let found = problems(&GOOD.replace(part, ""));
            assert!(found.contains(told), "{part}: {found}");
        }
    }

    #[test]
    fn every_problem_has_its_place_and_its_cure() {
        for (part, instead, told) in [
            ("'/users/{value}/risk'", "'/users/me'", "no place for the identifier"),
            ("'/users/{value}/risk'", "'/users?id={value}'", "under query"),
            ("'/users/{value}/risk'", "'/users//{value}'", "without //"),
            ("'/users/{value}/risk'", "'/users/{value|up}'", "write one of {value}"),
            ("'/users/{value}/risk'", "/u, query: {q: \"name eq '{value}'\"}", "write {value|odata}"),
            ("'/users/{value}/risk'", "/u, method: GET, body: '{\"u\":\"{value}\"}'", "write method: POST"),
            ("'/users/{value}/risk'", "'/u/{value}', method: POST", "a POST without a body"),
            ("'/users/{value}/risk'", "/u, body: 'user={value}'", "not JSON"),
            ("'/users/{value}/risk'", "/u, body: '{}', form: {u: '{value}'}", "one of body and form"),
            ("'/users/{value}/risk'", "'/u/{value}', headers: {host: x}", "not a header of yours"),
            ("$.score", "score", "not a JSONPath"),
            ("$.score", "$.s, range: [100, 0]", "range: [0, 1000]"),
            ("$.score", "$.s, words: {bad: worst}", "write info, low, medium, high, critical or no_level"),
            ("score: $.score", "reasons: [$.r]", "nothing to read"),
            ("score: $.score", "scor: $.score", "unknown key; write score"),
            ("kinds: [user]", "kinds: [usr]", "nearest is user"),
            ("kinds: [user]", "kinds: [user]\nunknown: [{status: 700}]", "not an HTTP status"),
            ("kinds: [user]", "kinds: [user]\nunknown: [{at: $.x}]", "not a condition"),
            ("kinds: [user]", "kinds: [user]\nfailed: [{status: 200, reason: deadline}]", "not a choice"),
            ("kinds: [user]", "kinds: [user]\nauth: {scheme: SSWS}", "not one way to sign in"),
            ("kinds: [user]", "kinds: [user]\nauth: {username: a}", "auth.password: missing"),
            (
                "kinds: [user]",
                "kinds: [user]\nauth: {token_url: http://x.example, client_id: a, client_secret: s}",
                "unencrypted",
            ),
        ] {
            let found = problems(&GOOD.replace(part, instead));
            assert!(found.contains(told), "{instead}: {found}");
        }
    }

    #[test]
    fn a_secret_may_be_a_token_a_password_a_header_or_a_clients() {
        for auth in [
            "auth: {scheme: SSWS, token: {env: KEY}}",
            "auth: {username: elastic, password: {env: KEY}}",
            "auth: {token_url: https://login.example.com/token, client_id: a, client_secret: {env: KEY}, scope: s}",
        ] {
            let (config, problems) = read_keys(&format!("{GOOD}{auth}"), read);
            assert_eq!(problems, "", "{auth}");
            let config = config.unwrap();
            assert_eq!(config.credential().len(), 1);
            assert!(!format!("{config:?}").contains("value of KEY"));
        }
        let yaml = GOOD.replace("/risk'", "/risk', headers: {x-key: {env: KEY}, accept: text/json}");
        assert_eq!(read_keys(&yaml, read).0.unwrap().credential().len(), 1);
    }
}
