//! The worked examples, as they are shipped, against the simulated pages of their vendors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::entity::Entity;
use crate::provider::gate::Limiters;
use crate::provider::guard::Guard;
use crate::provider::meter::NoMeter;
use crate::provider::testing::{knowing, simulated};
use crate::provider::{Answer, FailureKind, registry};
use crate::simulator::Simulator;
use crate::simulator::others::{OTHERS, SECRET};

macro_rules! example {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../config/examples/providers/", $name, ".yaml")))
    };
}

const EXAMPLES: [(&str, &str); 6] = [
    example!("okta"),
    example!("entra"),
    example!("crowdstrike"),
    example!("elastic"),
    example!("splunk"),
    example!("sentinelone"),
];

/// The example's provider, with the simulator in the vendor's place and without the limit, which the vendor's quota gives.
fn guard(simulator: &Simulator, name: &str, yaml: &str, secret: &str) -> Guard {
    let place = simulator.base_url(name);
    let (base, token) = match name {
        "entra" => (format!("{place}/v1.0"), format!("{place}/tenant/oauth2/v2.0/token")),
        _ => (place.clone(), format!("{place}/oauth2/token")),
    };
    let key = |suffix: &str| format!("RISKSTREAM__PROVIDERS__{}__{suffix}", name.to_uppercase());
    let mut env = vec![(key("BASE_URL"), base)];
    if yaml.contains("    limit:") {
        env.push((key("LIMIT__REQUESTS"), "1000000".to_owned()));
    }
    if yaml.contains("token_url:") {
        env.push((key("AUTH__TOKEN_URL"), token));
    }
    // Every variable that the example names.
    let named = yaml.split("{env: ").skip(1).filter_map(|rest| rest.split('}').next());
    env.extend(named.map(|name| (name.to_owned(), secret.to_owned())));
    let config =
        Config::parse(name, yaml, Path::new(""), env).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    let [provider] = &config.providers[..] else { panic!("{name}: one provider each") };
    registry::build(provider, &Limiters::default(), Arc::new(NoMeter)).unwrap()
}

/// Identifiers of the kind that the example asks about, some of them hostile.
fn entities(guard: &Guard) -> Vec<Entity> {
    let kind = guard.provider().kinds()[0];
    let usual = (0..40).map(|number| format!("user{number}@example.com"));
    let hostile = [
        "o'neil@example.com",
        "a\"b\\c@example.com",
        "x' or '1' eq '1",
        "a b&c=d?e#f%41/g@example.com",
        "jörg@example.com",
    ];
    usual.chain(hostile.map(str::to_owned)).map(|id| Entity::new(kind, &id)).collect()
}

#[test]
fn there_is_an_example_for_each_of_the_others() {
    assert_eq!(EXAMPLES.map(|(name, _)| name), OTHERS);
}

#[tokio::test]
async fn every_example_asks_about_exactly_whom_it_is_asked_about_and_understands_the_answer() {
    for (name, yaml) in EXAMPLES {
        let (simulator, _) = simulated(name, knowing(0.8)).await;
        let guard = guard(&simulator, name, yaml, SECRET);
        guard.provider().probe().await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        let (mut known, mut unknown) = (0, 0);
        for entity in entities(&guard) {
            let profile = simulator.world().profile(&entity.id);
            let answer =
                guard.provider().ask(&entity).await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
            match (&answer, &profile) {
                (Answer::Scored(scored), Some(profile)) => {
                    known += 1;
                    // Within the steps of a vendor that has only levels.
                    let distance = (scored.score.value() - profile.score).abs();
                    let bound = if scored.raw.score.is_some() { 1.0 } else { 60.0 };
                    assert!(distance <= bound, "{name}: {scored:?} for {profile:?}");
                }
                (Answer::Unknown { .. }, None) => unknown += 1,
                // Was at risk once.
                (Answer::Unknown { .. }, Some(_)) if name == "entra" => {}
                other => panic!("{name}: {entity:?}: {other:?}"),
            }
            let asked = simulator.world().calls(name).by_entity;
            let resolved = yaml.contains("resolve:") && profile.is_none();
            assert!(
                resolved || asked.contains_key(&*entity.id),
                "{name}: {entity:?} was not asked about as it is"
            );
        }
        assert!(known > 20 && unknown > 2, "{name}: {known} known, {unknown} unknown");
    }
}

#[tokio::test]
async fn every_example_tells_a_wrong_secret_as_one() {
    for (name, yaml) in EXAMPLES {
        let (simulator, _) = simulated(name, knowing(1.0)).await;
        let guard = guard(&simulator, name, yaml, "wrong");
        let failure = guard.provider().ask(&entities(&guard)[0]).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unauthorised, "{name}: {failure}");
    }
}
