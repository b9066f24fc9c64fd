//! The providers of one configuration, by the number that stands for each in the cache.
//!
//! Contract: a number stands for one account at one vendor for as long as the process lives, whatever the configuration
//! becomes: what is cached under it is true of no other. Numbers of accounts that went stay free.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::flight::Carrier;
use crate::cache::key::ProviderId;
use crate::config::mark::Mark;
use crate::config::snapshot::Mode;
use crate::config::{Lives, ProviderConfig, Ttl};
use crate::metrics::CacheQueries;
use crate::provider::guard::Guard;

/// What a provider was built from: two of the same need not both be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Make {
    config: ProviderConfig,
    /// The files that are read when it is built.
    files: [Option<Mark>; 2],
    /// How long its list may stand in, where it keeps one.
    stale: Option<Duration>,
}

impl Make {
    /// What is built from `config`, with its files as they are now, and a list that may stand in for `stale`.
    pub fn of(config: &ProviderConfig, stale: Duration) -> Make {
        let mut config = config.clone();
        let files =
            [&config.common.ca, &config.common.client_cert].map(|file| file.as_deref().and_then(Mark::at));
        // Lifetimes and quotas change without it.
        config.common.ttl =
            Ttl::new(Lives { scored: Duration::ZERO, unknown: Duration::ZERO, failed: Duration::ZERO });
        config.common.limit = None;
        let stale = (config.common.snapshot.mode != Mode::Lookup).then_some(stale);
        Make { config, files, stale }
    }
}

/// A provider in its place.
pub struct Seat {
    /// The number of its account.
    pub id: ProviderId,
    /// What it was built from.
    pub make: Make,
    /// How it is asked, and how long its answers live.
    pub carrier: Carrier,
    /// What is counted of questions to the cache about its entities.
    pub queries: CacheQueries,
}

impl Seat {
    /// The instance's name.
    pub fn name(&self) -> &str {
        self.carrier.guard.name()
    }
}

/// The providers of one configuration.
#[derive(Default)]
pub struct Roster {
    /// By number.
    seats: Vec<Option<Seat>>,
    /// Numbers in the order of the configuration.
    order: Vec<ProviderId>,
}

impl Roster {
    /// Of these, in the order of the configuration.
    pub fn new(seats: Vec<Seat>) -> Roster {
        let mut roster = Roster { seats: Vec::new(), order: seats.iter().map(|seat| seat.id).collect() };
        for seat in seats {
            let place = usize::from(seat.id.0);
            if roster.seats.len() <= place {
                roster.seats.resize_with(place + 1, || None);
            }
            if let Some(empty) = roster.seats.get_mut(place) {
                *empty = Some(seat);
            }
        }
        roster
    }

    /// The provider of a number.
    pub fn get(&self, id: ProviderId) -> Option<&Seat> {
        self.seats.get(usize::from(id.0))?.as_ref()
    }

    /// The one of that name.
    pub fn named(&self, name: &str) -> Option<&Seat> {
        self.iter().find(|seat| seat.name() == name)
    }

    /// What stands around each, in the order of the configuration.
    pub fn guards(&self) -> impl Iterator<Item = &Arc<Guard>> {
        self.iter().map(|seat| &seat.carrier.guard)
    }

    /// All, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.order.iter().filter_map(|id| self.get(*id))
    }
}
