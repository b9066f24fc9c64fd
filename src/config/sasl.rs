//! `kafka.sasl`: who we are to the brokers, and how we prove it.
//!
//! Contract: which keys there are follows from the mechanism; keys of another one are problems. A token is only ever
//! fetched over TLS, unless its address is loopback or the file says otherwise.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Secret, Section};
use crate::http::BaseUrl;

/// Whether this build can sign for AWS.
const MSK_IAM: bool = cfg!(feature = "msk-iam");

/// `kafka.sasl`, by mechanism.
#[derive(Clone, Debug, PartialEq)]
pub enum Sasl {
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`.
    Password(Password),
    /// `OAUTHBEARER`.
    Oidc(Box<Oidc>),
    /// `AWS_MSK_IAM`, which is OAUTHBEARER with a token that is signed here.
    MskIam(MskIam),
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq)]
pub struct Password {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// Who we are.
    pub username: String,
    /// How we prove it.
    pub password: Secret,
}

/// A token of an identity provider, by OAuth's client credentials.
#[derive(Clone, Debug, PartialEq)]
pub struct Oidc {
    /// Where tokens are given.
    pub token_endpoint: BaseUrl,
    /// Who we are there.
    pub client_id: String,
    /// How we prove it.
    pub client_secret: Secret,
    /// Where in the request both stand.
    pub client_auth: ClientAuth,
    /// What the token is to be good for, words with spaces between.
    pub scope: Option<String>,
    /// Whom the token is to be for.
    pub audience: Option<String>,
    /// What the brokers are told beside the token.
    pub extensions: Vec<(String, String)>,
    /// Our name to the brokers; the token's `sub` when absent.
    pub principal: Option<String>,
    /// Bound of one request.
    pub timeout: Duration,
    /// PEM file of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// HTTP proxy; `None` follows `HTTPS_PROXY` and `NO_PROXY`.
    pub proxy: Option<BaseUrl>,
    /// Whether `http://` is fine for hosts that are not loopback.
    pub allow_http: bool,
}

/// `client_auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the header `Authorization`.
    Basic,
    /// In the form.
    Post,
}

/// AWS's own identity.
#[derive(Clone, Debug, PartialEq)]
pub struct MskIam {
    /// The cluster's region.
    pub region: String,
}

/// Which keys belong to a mechanism.
#[derive(Clone, Copy)]
enum Form {
    Password(&'static str),
    Oidc,
    MskIam,
}

/// Reads `sasl`.
pub(super) fn read(mut section: Section<'_>) -> Option<Sasl> {
    let words = [
        ("PLAIN", Form::Password("PLAIN")),
        ("SCRAM-SHA-256", Form::Password("SCRAM-SHA-256")),
        ("SCRAM-SHA-512", Form::Password("SCRAM-SHA-512")),
        ("OAUTHBEARER", Form::Oidc),
        ("AWS_MSK_IAM", Form::MskIam),
    ];
    if !section.has("mechanism") {
        let cure = "write mechanism: SCRAM-SHA-512, SCRAM-SHA-256, PLAIN, OAUTHBEARER or AWS_MSK_IAM";
        section.problem("mechanism", "missing", cure);
    }
    // Which keys there are depends on the mechanism: without a known one, none can be called unknown.
    let sasl = match section.choice("mechanism", &words)? {
        Form::Password(mechanism) => password(&mut section, mechanism).map(Sasl::Password),
        Form::Oidc => oidc(&mut section).map(|oidc| Sasl::Oidc(Box::new(oidc))),
        Form::MskIam => msk_iam(&mut section).map(Sasl::MskIam),
    };
    section.finish();
    sasl
}

fn password(section: &mut Section<'_>, mechanism: &str) -> Option<Password> {
    let username = section.required_text("username", "riskstream");
    let password = section.required_secret("password");
    Some(Password { mechanism: mechanism.to_owned(), username: username?, password: password? })
}

fn oidc(section: &mut Section<'_>) -> Option<Oidc> {
    let allow_http = section.flag("allow_http").unwrap_or(false);
    if !section.has("token_endpoint") {
        let cure = "write token_endpoint: https://login.example.com/oauth2/token";
        section.problem("token_endpoint", "missing", cure);
    }
    let token_endpoint = section.url("token_endpoint");
    if token_endpoint.as_ref().is_some_and(|url| url.is_plain() && !url.is_loopback() && !allow_http) {
        let cure = "write https://, or allow_http: true where the network between is trusted";
        section.problem("token_endpoint", "unencrypted", cure);
    }
    let client_id = section.required_text("client_id", "riskstream");
    let client_secret = section.required_secret("client_secret");
    let places = [("basic", ClientAuth::Basic), ("post", ClientAuth::Post)];
    let client_auth = section.choice("client_auth", &places).unwrap_or(ClientAuth::Basic);
    let (scope, audience, principal) =
        (section.text("scope"), section.text("audience"), section.text("principal"));
    let extensions = section.section("extensions").map(extensions).unwrap_or_default();
    let timeout = section.positive_duration("timeout").unwrap_or(Duration::from_secs(10));
    // The way to a proxy may be plain: what goes through it is encrypted end to end.
    let (ca, proxy) = (section.file("ca"), section.url("proxy"));
    Some(Oidc {
        token_endpoint: token_endpoint?,
        client_id: client_id?,
        client_secret: client_secret?,
        client_auth,
        scope,
        audience,
        extensions,
        principal,
        timeout,
        ca,
        proxy,
        allow_http,
    })
}

/// Reads `extensions`, whose names and values are those of RFC 7628.
fn extensions(mut section: Section<'_>) -> Vec<(String, String)> {
    let extensions = section.all_texts();
    for (key, value) in &extensions {
        if key == "auth" || !key.chars().all(|c| c.is_ascii_alphabetic()) {
            section.problem(key, "not a name for an extension", "write letters only, and not `auth`");
        } else if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            section.problem(key, "not a value for an extension", "write visible ASCII");
        }
    }
    extensions
}

fn msk_iam(section: &mut Section<'_>) -> Option<MskIam> {
    if !MSK_IAM {
        let cure = "build it in: cargo build --release --features msk-iam";
        section.problem("mechanism", "not in this build", cure);
    }
    let region = section.required_text("region", "eu-central-1")?;
    // It becomes part of a host's name.
    if !region.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        section.problem("region", "not a region", "write one as AWS does: eu-central-1");
        return None;
    }
    Some(MskIam { region })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Security};

    fn read(sasl: &str) -> Result<Sasl, Vec<String>> {
        let env = [("SECRET".to_owned(), "hunter2".to_owned())];
        let yaml = format!("kafka: {{brokers: [kafka:9093], security: sasl_tls, sasl: {{{sasl}}}}}");
        match Config::parse("r.yaml", &yaml, Path::new(""), env) {
            Ok(Config { kafka, .. }) => match kafka.security {
                Security::SaslTls(_, sasl) => Ok(sasl),
                other => panic!("{other:?}"),
            },
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    fn problems(sasl: &str) -> Vec<String> {
        let found = read(sasl).unwrap_err();
        // File, line and column are another test's.
        found.iter().map(|line| line.split_once(": kafka.sasl").unwrap().1.to_owned()).collect()
    }

    const SHORT: &str = "mechanism: OAUTHBEARER, client_id: riskstream, client_secret: {env: SECRET}";

    #[test]
    fn a_provider_of_tokens_is_read_whole_and_its_secret_is_not_printed() {
        let more = "token_endpoint: 'https://login.example.com/oauth2/token/', scope: 'kafka read', audience: kafka, \
                    extensions: {logicalCluster: lkc-1}, principal: riskstream, client_auth: post, timeout: 3s";
        let sasl = read(&format!("{SHORT}, {more}")).unwrap();
        assert!(!format!("{sasl:?}").contains("hunter2"));
        let Sasl::Oidc(oidc) = sasl else { panic!("{sasl:?}") };
        assert_eq!(oidc.token_endpoint.whole(), "https://login.example.com/oauth2/token/");
        assert_eq!((oidc.client_id.as_str(), oidc.client_auth), ("riskstream", ClientAuth::Post));
        assert_eq!((oidc.scope.as_deref(), oidc.audience.as_deref()), (Some("kafka read"), Some("kafka")));
        assert_eq!(oidc.extensions, [("logicalCluster".to_owned(), "lkc-1".to_owned())]);
        assert_eq!((oidc.principal.as_deref(), oidc.timeout), (Some("riskstream"), Duration::from_secs(3)));
    }

    #[test]
    fn everything_that_a_provider_of_tokens_lacks_is_said_at_once() {
        let found = problems(
            "mechanism: OAUTHBEARER, username: u, client_auth: header, extensions: {auth: x, a-b: c, ok: \"\\u0001\"}",
        );
        for (place, what) in [
            (".token_endpoint", "missing; write token_endpoint: https://"),
            (".client_id", "missing"),
            (".client_secret", "missing; write client_secret: {env: NAME}"),
            (".client_auth", "not a choice"),
            (".extensions.auth", "not a name for an extension"),
            (".extensions.a-b", "not a name for an extension"),
            (".extensions.ok", "not a value for an extension"),
            (".username", "unknown key"),
        ] {
            let told =
                found.iter().any(|line| line.starts_with(&format!("{place}: ")) && line.contains(what));
            assert!(told, "{place} {what}: {found:#?}");
        }
        assert_eq!(found.len(), 8, "{found:#?}");
    }

    #[test]
    fn a_token_comes_encrypted_unless_it_stays_on_this_machine_or_the_file_says_otherwise() {
        let found = problems(&format!("{SHORT}, token_endpoint: 'http://login.example.com/token'"));
        assert!(
            found[0].starts_with(".token_endpoint: unencrypted (given: http://login.example.com"),
            "{found:?}"
        );
        for fine in [
            "'http://127.0.0.1:1/t'",
            "'https://login.example.com'",
            "'http://login.example.com', allow_http: true",
        ] {
            read(&format!("{SHORT}, token_endpoint: {fine}")).unwrap();
        }
    }

    #[test]
    fn a_mechanism_is_one_that_there_is() {
        assert!(problems("username: u")[0].contains("or AWS_MSK_IAM"));
        let found = problems("mechanism: OAUTHBEARERR, username: u");
        assert_eq!(found.len(), 1, "which keys belong to it is not known: {found:?}");
        assert!(found[0].contains("not a choice") && found[0].contains("AWS_MSK_IAM"), "{found:?}");
    }

    #[test]
    fn librdkafkas_own_way_to_tokens_is_refused_with_ours() {
        let yaml = "kafka: {properties: {sasl.oauthbearer.client.secret: x, enable.sasl.oauthbearer.unsecure.jwt: true}}";
        let found = Config::parse("r.yaml", yaml, Path::new(""), []).unwrap_err().to_string();
        assert_eq!(found.matches("use kafka.sasl with mechanism: OAUTHBEARER").count(), 2, "{found}");
    }

    #[test]
    fn aws_needs_a_region_tls_and_a_build_that_can_sign() {
        let found = read("mechanism: AWS_MSK_IAM, region: eu-central-1");
        if MSK_IAM {
            assert!(matches!(found, Ok(Sasl::MskIam(MskIam { region })) if region == "eu-central-1"));
            assert!(problems("mechanism: AWS_MSK_IAM, region: 'evil.example/'")[0].contains("not a region"));
        } else {
            let mut found = problems("mechanism: AWS_MSK_IAM");
            found.sort();
            let cure = "not in this build (given: AWS_MSK_IAM); build it in: cargo build --release --features msk-iam";
            let region = ".region: missing; write region: eu-central-1";
            assert_eq!(found, [format!(".mechanism: {cure}"), region.to_owned()]);
        }
    }
}
