//! Step 4: which provider is asked about an entity, and so what leaves the network for where.
//!
//! Contract: the first route of the configuration that matches decides. Without one, an entity is asked of the
//! vendor whose alert it stands in, else of the only provider that knows its kind. Where several do, nobody is
//! asked until a route says who: an identifier never goes to a vendor by accident. Pure.

use std::collections::HashMap;

use crate::alert::format::{FormatId, Formats};
use crate::cache::key::ProviderId;
use crate::config::Route;
use crate::entity::EntityKind;

/// What becomes of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This provider is asked.
    Ask(ProviderId),
    /// Nobody is asked although somebody could be, and the alert says so: a route names it without a provider,
    /// or several providers know its kind.
    Unrouted,
    /// No provider knows the kind: the alert does not mention it.
    Ignored,
}

/// A provider as routing sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What stands for its account in the cache.
    pub id: ProviderId,
    /// The instance's name.
    pub name: String,
    /// Its type: `datadog`.
    pub vendor: &'static str,
    /// What it can be asked about.
    pub kinds: Vec<EntityKind>,
}

/// A route that names a provider which does not exist or cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRoute {
    /// The provider is not configured.
    #[error("routes[{index}].provider: no provider is named {name:?}; write one of: {known}")]
    NoSuchProvider {
        /// Position in `routes`.
        index: usize,
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The format is not known.
    #[error("routes[{index}].formats: no format is named {name:?}; write one of: {known}")]
    NoSuchFormat {
        /// Position in `routes`.
        index: usize,
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The provider does not know any of the kinds.
    #[error(
        "routes[{index}].kinds: {provider} cannot be asked about {kind}; it knows {known}. Give it a template under `identifiers`, or name another provider"
    )]
    KindNotKnown {
        /// Position in `routes`.
        index: usize,
        /// The provider named.
        provider: String,
        /// The kind that it does not know.
        kind: EntityKind,
        /// What it knows.
        known: String,
    },
}

struct Rule {
    topics: Vec<String>,
    formats: Vec<FormatId>,
    kinds: Vec<EntityKind>,
    identifiers: Vec<regex::Regex>,
    decision: Decision,
}

/// The routes, resolved.
pub struct Routing {
    rules: Vec<Rule>,
    /// Without a rule, by the alert's format, then by kind.
    by_format: HashMap<FormatId, ByKind>,
    /// The same for an alert of no known format.
    formatless: ByKind,
}

/// A decision for each kind, in the order of [`EntityKind::ALL`].
type ByKind = [Decision; EntityKind::ALL.len()];

impl Routing {
    /// Resolves `routes` against what there is.
    ///
    /// # Errors
    /// Every route that names something that does not exist.
    pub fn new(
        routes: &[Route],
        candidates: &[Candidate],
        formats: &Formats,
    ) -> Result<Routing, Vec<BadRoute>> {
        let mut problems = Vec::new();
        let rules =
            routes.iter().enumerate().map(|(i, r)| rule(i, r, candidates, formats, &mut problems)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let by_vendor = |vendor: Option<&str>| -> ByKind {
            EntityKind::ALL.map(|kind| match (only(kind, vendor, candidates), vendor) {
                (Decision::Ignored, Some(_)) => only(kind, None, candidates),
                (decision, _) => decision,
            })
        };
        let by_format = formats.names().filter_map(|name| formats.id(name));
        let by_format = by_format.map(|id| (id, by_vendor(formats.vendor(id)))).collect();
        Ok(Routing { rules, by_format, formatless: by_vendor(None) })
    }

    /// Who is asked about the entity with the canonical identifier `id`, which stands in an alert of `format`
    /// from `topic`.
    pub fn decide(&self, topic: &str, format: Option<FormatId>, kind: EntityKind, id: &str) -> Decision {
        for rule in &self.rules {
            let matches = (rule.topics.is_empty() || rule.topics.iter().any(|t| t == topic))
                && (rule.formats.is_empty() || format.is_some_and(|f| rule.formats.contains(&f)))
                && (rule.kinds.is_empty() || rule.kinds.contains(&kind))
                && (rule.identifiers.is_empty() || rule.identifiers.iter().any(|p| p.is_match(id)));
            if matches {
                return rule.decision;
            }
        }
        self.without_route(format, kind)
    }

    /// Who is asked where no route matches.
    pub fn without_route(&self, format: Option<FormatId>, kind: EntityKind) -> Decision {
        let by_kind = format.and_then(|format| self.by_format.get(&format)).unwrap_or(&self.formatless);
        by_kind.get(kind as usize).copied().unwrap_or(Decision::Ignored)
    }
}

/// The only candidate of a vendor (or of all) that knows a kind.
fn only(kind: EntityKind, vendor: Option<&str>, candidates: &[Candidate]) -> Decision {
    let mut known = candidates
        .iter()
        .filter(|c| c.kinds.contains(&kind) && vendor.is_none_or(|vendor| vendor == c.vendor));
    match (known.next(), known.next()) {
        (None, _) => Decision::Ignored,
        (Some(candidate), None) => Decision::Ask(candidate.id),
        (Some(_), Some(_)) => Decision::Unrouted,
    }
}

fn rule(
    index: usize,
    route: &Route,
    candidates: &[Candidate],
    formats: &Formats,
    problems: &mut Vec<BadRoute>,
) -> Rule {
    let mut ids = Vec::new();
    for name in &route.formats {
        match formats.id(name) {
            Some(id) => ids.push(id),
            None => problems.push(BadRoute::NoSuchFormat {
                index,
                name: name.clone(),
                known: formats.names().collect::<Vec<_>>().join(", "),
            }),
        }
    }
    let decision = match &route.provider {
        None => Decision::Unrouted,
        Some(name) => match candidates.iter().find(|c| c.name == *name) {
            Some(candidate) => {
                for &kind in route.kinds.iter().filter(|kind| !candidate.kinds.contains(kind)) {
                    problems.push(BadRoute::KindNotKnown {
                        index,
                        provider: name.clone(),
                        kind,
                        known: labels(&candidate.kinds),
                    });
                }
                Decision::Ask(candidate.id)
            }
            None => {
                problems.push(BadRoute::NoSuchProvider {
                    index,
                    name: name.clone(),
                    known: candidates.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", "),
                });
                Decision::Unrouted
            }
        },
    };
    // A route without kinds covers only those that its provider can be asked about.
    let kinds = match (&route.provider, route.kinds.is_empty()) {
        (Some(name), true) => {
            candidates.iter().find(|c| c.name == *name).map(|c| c.kinds.clone()).unwrap_or_default()
        }
        _ => route.kinds.clone(),
    };
    Rule {
        topics: route.topics.clone(),
        formats: ids,
        kinds,
        identifiers: route.identifiers.clone(),
        decision,
    }
}

fn labels(kinds: &[EntityKind]) -> String {
    kinds.iter().map(|kind| kind.label()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use EntityKind::*;

    fn candidates() -> Vec<Candidate> {
        vec![
            candidate(0, "dd", "datadog", &[CloudIdentity]),
            candidate(1, "xdr", "cortex_xdr", &[User, Endpoint]),
            candidate(2, "cf", "cloudflare", &[User]),
        ]
    }

    fn candidate(id: u16, name: &str, vendor: &'static str, kinds: &[EntityKind]) -> Candidate {
        Candidate { id: ProviderId(id), name: name.to_owned(), vendor, kinds: kinds.to_vec() }
    }

    fn route(kinds: &[EntityKind], identifiers: &[&str], provider: Option<&str>) -> Route {
        Route {
            topics: vec![],
            formats: vec![],
            kinds: kinds.to_vec(),
            identifiers: identifiers.iter().map(|p| regex::Regex::new(p).unwrap()).collect(),
            provider: provider.map(str::to_owned),
        }
    }

    #[test]
    fn the_vendor_of_the_alert_is_asked_before_anyone_else() {
        let formats = Formats::built_in();
        let routing = Routing::new(&[], &candidates(), &formats).unwrap();
        let decide = |format, kind| routing.decide("t", formats.id(format), kind, "x");
        assert_eq!(decide("cloudflare", User), Decision::Ask(ProviderId(2)));
        assert_eq!(decide("cortex_xdr", User), Decision::Ask(ProviderId(1)));
        assert_eq!(
            decide("cloudflare", CloudIdentity),
            Decision::Ask(ProviderId(0)),
            "the only one that knows"
        );
        assert_eq!(decide("ecs", User), Decision::Unrouted, "two know users, so a route must say which");
        assert_eq!(decide("ecs", Ip), Decision::Ignored);
    }

    #[test]
    fn the_first_matching_route_wins() {
        let formats = Formats::built_in();
        let routes = [
            route(&[User], &["@partner\\.example$"], None),
            route(&[User], &["@example\\.com$"], Some("cf")),
            route(&[], &[], Some("xdr")),
        ];
        let routing = Routing::new(&routes, &candidates(), &formats).unwrap();
        let decide = |kind, id| routing.decide("t", formats.id("cortex_xdr"), kind, id);
        assert_eq!(decide(User, "a@partner.example"), Decision::Unrouted);
        assert_eq!(decide(User, "a@example.com"), Decision::Ask(ProviderId(2)));
        assert_eq!(decide(User, "a@elsewhere.example"), Decision::Ask(ProviderId(1)));
        assert_eq!(
            decide(CloudIdentity, "arn"),
            Decision::Ask(ProviderId(0)),
            "xdr cannot be asked about it"
        );
    }

    #[test]
    fn every_bad_route_is_reported() {
        let formats = Formats::built_in();
        let mut odd = route(&[Ip], &[], Some("dd"));
        odd.formats = vec!["nonesuch".into()];
        let problems =
            Routing::new(&[odd, route(&[], &[], Some("nobody"))], &candidates(), &formats).err().unwrap();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
