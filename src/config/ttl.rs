//! `ttl`: how long answers are used, by outcome, by kind of entity, and by failure.
//!
//! Contract: what a provider writes goes before what `cache` says, the narrower before the wider within each. Pure.

use std::time::Duration;

use crate::config::words::or;
use crate::config::{Section, routes};
use crate::entity::EntityKind;
use crate::provider::FailureKind;

/// Lifetimes by outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Of a score.
    pub scored: Duration,
    /// Of "the vendor does not know it".
    pub unknown: Duration,
    /// Of a failure that is worth remembering and has no lifetime of its own.
    pub failed: Duration,
}

/// Lifetimes of every kind of entity and of every failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    kinds: [Lives; EntityKind::ALL.len()],
    failures: [Option<Duration>; FailureKind::ALL.len()],
}

impl Ttl {
    /// The same lifetimes for all kinds, and none of a single failure.
    pub const fn new(lives: Lives) -> Self {
        Ttl { kinds: [lives; EntityKind::ALL.len()], failures: [None; FailureKind::ALL.len()] }
    }

    /// Of answers about entities of `kind`.
    pub fn of(&self, kind: EntityKind) -> Lives {
        let [first, ..] = self.kinds;
        let found = EntityKind::ALL.iter().zip(self.kinds).find(|(known, _)| **known == kind);
        found.map_or(first, |(_, lives)| lives)
    }

    /// Of a failure to answer about an entity of `kind`.
    pub fn failed(&self, kind: EntityKind, failure: FailureKind) -> Duration {
        let own = FailureKind::ALL.iter().zip(self.failures).find(|(known, _)| **known == failure);
        own.and_then(|(_, life)| life).unwrap_or_else(|| self.of(kind).failed)
    }

    /// Reads `ttl`; what is absent is as in `fallback`.
    pub(super) fn read(mut section: Section<'_>, fallback: Ttl) -> Ttl {
        let mut ttl = fallback;
        let common = Written::read(&mut section);
        ttl.kinds.iter_mut().for_each(|lives| common.over(lives));
        for (failure, life) in FailureKind::ALL.into_iter().zip(&mut ttl.failures) {
            if failure.cacheable() {
                // A lifetime of all failures that is written here goes before one of a single failure written there.
                *life =
                    section.positive_duration(failure.label()).or(life.filter(|_| common.failed.is_none()));
            } else if section.entries().iter().any(|entry| entry.key == failure.label()) {
                section.know(&[failure.label()]);
                let kept: Vec<_> = FailureKind::ALL.into_iter().filter(|kind| kind.cacheable()).collect();
                let cure = format!(
                    "remove it; write {}",
                    or(&kept.iter().map(|kind| kind.label()).collect::<Vec<_>>())
                );
                section.problem(failure.label(), "never kept: it says nothing about the entity", cure);
            }
        }
        if let Some(mut kinds) = section.section("kinds") {
            for (name, mut own) in kinds.sections() {
                let own_lives = Written::read(&mut own);
                match routes::kind_named(&name) {
                    Ok(kind) => {
                        let place =
                            EntityKind::ALL.iter().zip(&mut ttl.kinds).find(|(known, _)| **known == kind);
                        place.into_iter().for_each(|(_, lives)| own_lives.over(lives));
                    }
                    Err((what, cure)) => own.problem("", what, cure),
                }
                own.finish();
            }
        }
        section.finish();
        ttl
    }
}

/// What is written of [`Lives`].
struct Written {
    scored: Option<Duration>,
    unknown: Option<Duration>,
    failed: Option<Duration>,
}

impl Written {
    fn read(section: &mut Section<'_>) -> Self {
        Written {
            scored: section.positive_duration("scored"),
            unknown: section.positive_duration("unknown"),
            failed: section.positive_duration("failed"),
        }
    }

    fn over(&self, lives: &mut Lives) {
        let Written { scored, unknown, failed } = *self;
        let Lives { scored: s, unknown: u, failed: f } = *lives;
        *lives =
            Lives { scored: scored.unwrap_or(s), unknown: unknown.unwrap_or(u), failed: failed.unwrap_or(f) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Document;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const COMMON: Ttl = Ttl::new(Lives { scored: seconds(900), unknown: seconds(300), failed: seconds(30) });

    /// Each text over those before it, as `cache.ttl` and a provider's are.
    fn read(texts: &[&str]) -> (Ttl, String) {
        let mut ttl = COMMON;
        let mut problems = String::new();
        for text in texts {
            let document = Document::parse("r.yaml", &format!("ttl: {text}"), []);
            ttl = Ttl::read(document.root().section("ttl").unwrap(), ttl);
            problems.push_str(&document.problems().to_string());
        }
        (ttl, problems)
    }

    #[test]
    fn the_narrower_goes_before_the_wider_and_the_provider_before_the_cache() {
        use EntityKind::{Ip, User};
        use FailureKind::{InvalidIdentifier, Timeout};
        let cache = "{scored: 10m, invalid_identifier: 1h, kinds: {ip: {scored: 1m, failed: 5s}}}";
        let (ttl, problems) = read(&[cache]);
        assert_eq!(problems, "");
        assert_eq!((ttl.of(User).scored, ttl.of(Ip).scored), (seconds(600), seconds(60)));
        assert_eq!((ttl.of(User).unknown, ttl.of(Ip).unknown), (seconds(300), seconds(300)));
        assert_eq!((ttl.failed(User, Timeout), ttl.failed(Ip, Timeout)), (seconds(30), seconds(5)));
        assert_eq!(ttl.failed(Ip, InvalidIdentifier), seconds(3600));

        let (ttl, _) = read(&[cache, "{scored: 2h, failed: 7s, timeout: 3s}"]);
        assert_eq!((ttl.of(User).scored, ttl.of(Ip).scored), (seconds(7200), seconds(7200)));
        assert_eq!((ttl.failed(User, InvalidIdentifier), ttl.failed(Ip, Timeout)), (seconds(7), seconds(3)));
    }

    #[test]
    fn what_is_never_kept_has_no_lifetime() {
        let (ttl, problems) = read(&["{deadline: 5s, kinds: {usr: {scored: 1s}, ip: {stored: 1s}}}"]);
        assert_eq!(ttl, COMMON);
        for told in ["ttl.deadline: never kept", "nearest is user", "ttl.kinds.ip.stored: unknown key"] {
            assert!(problems.contains(told), "{problems}");
        }
    }
}
