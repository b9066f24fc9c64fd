//! Every host that the service sends something to: identifiers to vendors, credentials to whoever gives tokens for them,
//! alerts to brokers, and all of it through proxies.
//!
//! Contract: what is not here receives nothing from us. A program that a configuration names (`token_command`) does what it
//! does; it is named, and where it goes is not known here. Nothing is contacted.

use serde_json::json;

use crate::config::{Config, Sasl, Security, environment};
use crate::engine::Engine;
use crate::entity::EntityKind;
use crate::http::BaseUrl;
use crate::pipeline::Pipeline;
use crate::routing::Decision;

/// One row of the egress table.
pub struct Flow {
    kind: EntityKind,
    /// `None`: every other format.
    format: Option<String>,
    provider: Option<(String, String)>,
    rule: Option<String>,
}

impl Flow {
    /// For people.
    pub fn row(&self) -> Vec<String> {
        let (provider, host) = self.provider.clone().unwrap_or_else(|| {
            (console::style("nobody: several know it, add a route").yellow().to_string(), String::new())
        });
        vec![
            self.kind.label().to_owned(),
            self.rule.clone().or(self.format.clone()).unwrap_or_else(|| "any other format".to_owned()),
            provider,
            host,
        ]
    }

    /// For a pipe.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "kind": self.kind.label(),
            "format": self.format,
            "route": self.rule,
            "provider": self.provider.as_ref().map(|(name, _)| name),
            "host": self.provider.as_ref().map(|(_, host)| host),
        })
    }
}

/// Which kinds go to which host: the routes first, then what holds without one.
pub fn flows(engine: &Engine, config: &Config) -> Vec<Flow> {
    let pipeline = engine.pipeline();
    let Pipeline { routing, roster, formats, .. } = &*pipeline;
    let target = |decision: Decision| match decision {
        Decision::Ask(provider) => roster
            .get(provider)
            .map(|seat| (seat.name().to_owned(), seat.carrier.guard.provider().host().to_owned())),
        Decision::Unrouted | Decision::Ignored => None,
    };
    let mut flows = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        let guard =
            route.provider.as_ref().and_then(|name| roster.guards().find(|guard| guard.name() == name));
        let known = guard.map(|guard| guard.provider().kinds().to_vec()).unwrap_or_default();
        let kinds = if route.kinds.is_empty() { &known } else { &route.kinds };
        for &kind in kinds {
            flows.push(Flow {
                kind,
                format: None,
                provider: guard
                    .map(|guard| (guard.name().to_owned(), guard.provider().host().to_owned()))
                    .or_else(|| Some(("nobody".to_owned(), String::new()))),
                rule: Some(format!("routes[{index}]")),
            });
        }
    }
    for kind in EntityKind::ALL {
        let other = routing.without_route(None, kind);
        for name in formats.names() {
            let decision = routing.without_route(formats.id(name), kind);
            if decision != other && decision != Decision::Ignored {
                flows.push(Flow {
                    kind,
                    format: Some(name.to_owned()),
                    provider: target(decision),
                    rule: None,
                });
            }
        }
        if other != Decision::Ignored {
            flows.push(Flow { kind, format: None, provider: target(other), rule: None });
        }
    }
    flows
}

/// One host that receives something else than identifiers.
pub struct Other {
    what: String,
    of: String,
    /// Or why it is not known.
    host: Result<String, String>,
}

impl Other {
    /// For people.
    pub fn row(&self) -> Vec<String> {
        let host = match &self.host {
            Ok(host) => host.clone(),
            Err(why) => console::style(format!("not known: {why}")).yellow().to_string(),
        };
        vec![self.what.clone(), self.of.clone(), host]
    }

    /// For a pipe.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "sends": self.what,
            "for": self.of,
            "host": self.host.as_ref().ok(),
            "unknown": self.host.as_ref().err(),
        })
    }
}

/// What a proxy sees.
const THROUGH: &str = "the names of vendors' hosts, and what is encrypted for them";

/// Where the environment names a proxy, for whoever has none of their own.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Who receives something beside vendors that are asked: brokers, token end points, proxies.
pub fn others(engine: &Engine, config: &Config) -> Vec<Other> {
    let other = |what: &str, of: &str, host| Other { what: what.to_owned(), of: of.to_owned(), host };
    let proxy = |of: &str, url: &BaseUrl| other(THROUGH, of, Ok(url.host().to_owned()));
    let mut all = Vec::new();
    for broker in &config.kafka.brokers {
        all.push(other("alerts, to this and the cluster's other brokers", "kafka", Ok(broker.clone())));
    }
    match &config.kafka.security {
        Security::SaslTls(_, Sasl::Oidc(oidc)) | Security::SaslPlaintext(Sasl::Oidc(oidc)) => {
            let host = Ok(oidc.token_endpoint.host().to_owned());
            all.push(other("client_id and client_secret, for a token", "kafka.sasl", host));
            all.extend(oidc.proxy.iter().map(|url| proxy("kafka.sasl", url)));
        }
        Security::SaslTls(_, Sasl::MskIam(_)) | Security::SaslPlaintext(Sasl::MskIam(_)) => {
            let why = "the environment decides it: STS, or the machine's own metadata".to_owned();
            all.push(other("what AWS wants to see for credentials", "kafka.sasl", Err(why)));
        }
        _ => {}
    }
    for guard in engine.pipeline().roster.guards() {
        if let Some(sign_in) = guard.provider().sign_in() {
            let what = format!("{}, for a token", sign_in.what);
            all.push(other(&what, &format!("providers.{}", guard.name()), sign_in.host));
        }
    }
    for provider in &config.providers {
        let of = format!("providers.{}", provider.name);
        all.extend(provider.common.proxy.iter().map(|url| proxy(&of, url)));
    }
    for (name, value) in environment().filter(|(name, _)| PROXIES.contains(&name.as_str())) {
        // It may hold a password: no more than the host is shown.
        let host = BaseUrl::parse(&value).map(|url| url.host().to_owned());
        all.push(other(THROUGH, &name, host.map_err(|_| "it is not the address of a host alone".to_owned())));
    }
    all
}
