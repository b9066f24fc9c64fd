//! What all simulated vendors share: the population, the faults, the limits and the counts.
//!
//! One [`World`] stands behind one or more listeners and outlives them, so that a vendor can go away and come
//! back. Everything can be changed while calls are under way, from here or through [`super::control`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::calls::Calls;
use super::faults::{Fault, Latency, Script};
use super::population::{Population, Profile};

/// Lists that are kept for their further pages.
const WALKS: usize = 16;

/// How a simulator starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Another seed is another population (default 1).
    pub seed: u64,
    /// The fraction of identifiers that the vendors know, 0 to 1 (default 0.9).
    pub known: f64,
    /// The time that "last seen" counts back from (default: now).
    pub now: Timestamp,
    /// How long an answer takes (default: no time).
    pub latency: Latency,
    /// Quotas by vendor (default: none).
    pub limits: BTreeMap<String, Limit>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 1,
            known: 0.9,
            now: Timestamp::now(),
            latency: Latency::NONE,
            limits: BTreeMap::new(),
        }
    }
}

/// A vendor's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests in a window.
    pub requests: u32,
    /// Length of the window in milliseconds.
    pub per_ms: u64,
    /// Whether any stretch of that length is a window, rather than those aligned with the calendar.
    #[serde(default)]
    pub sliding: bool,
}

/// What is left of a vendor's quota after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a window.
    pub limit: u32,
    /// Length of the window, rounded up to whole seconds.
    pub period_seconds: u64,
    /// Requests left in this window.
    pub remaining: u32,
    /// Until there are more, rounded up to whole seconds.
    pub reset_seconds: u64,
}

impl Quota {
    /// The quota of a vendor that has none.
    pub const UNLIMITED: Quota =
        Quota { limit: u32::MAX, period_seconds: 1, remaining: u32::MAX, reset_seconds: 1 };

    /// Whether there is a quota, so that a page may tell of it in headers.
    pub fn is_limited(&self) -> bool {
        *self != Quota::UNLIMITED
    }
}

/// A limit and what was admitted under it.
#[derive(Debug)]
struct Meter {
    limit: Limit,
    /// When each request of the current window came, since the epoch; oldest first.
    admitted: VecDeque<Duration>,
}

impl Meter {
    fn admit(&mut self, now: Duration) -> Result<Quota, Quota> {
        let window = Duration::from_millis(self.limit.per_ms.max(1));
        let into = Duration::from_nanos((now.as_nanos() % window.as_nanos()) as u64);
        let start = if self.limit.sliding { now.saturating_sub(window) } else { now.saturating_sub(into) };
        let over = |time: &Duration| if self.limit.sliding { *time <= start } else { *time < start };
        while self.admitted.front().is_some_and(over) {
            self.admitted.pop_front();
        }
        let used = u32::try_from(self.admitted.len()).unwrap_or(u32::MAX);
        let fits = used < self.limit.requests;
        if fits {
            self.admitted.push_back(now);
        }
        let first = if self.limit.sliding { self.admitted.front().copied().unwrap_or(now) } else { start };
        let quota = Quota {
            limit: self.limit.requests,
            period_seconds: whole_seconds(window),
            remaining: self.limit.requests.saturating_sub(used).saturating_sub(u32::from(fits)),
            reset_seconds: whole_seconds((first + window).saturating_sub(now)),
        };
        if fits { Ok(quota) } else { Err(quota) }
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// What all vendors share. Put it in an `Arc`.
#[derive(Debug)]
pub struct World {
    population: Population,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    latency: Latency,
    script: Script,
    meters: BTreeMap<String, Meter>,
    calls: BTreeMap<String, Calls>,
    drawn: u64,
    /// Whom each vendor's list shows.
    listed: BTreeMap<String, Vec<String>>,
    /// Lists as they were when their first page was asked for, by vendor and number.
    walks: BTreeMap<usize, (String, Vec<String>)>,
}

impl World {
    /// A world before its first call.
    pub fn new(options: Options) -> Self {
        let Options { seed, known, now, latency, limits } = options;
        let meters = limits
            .into_iter()
            .map(|(vendor, limit)| (vendor, Meter { limit, admitted: VecDeque::new() }))
            .collect();
        World {
            population: Population { seed, known, now },
            started: Instant::now(),
            state: Mutex::new(State {
                latency,
                script: Script::default(),
                meters,
                calls: BTreeMap::new(),
                listed: BTreeMap::new(),
                walks: BTreeMap::new(),
                drawn: 0,
            }),
        }
    }

    /// What the vendors know of `id`; `None` when they do not know it.
    pub fn profile(&self, id: &str) -> Option<Profile> {
        self.population.profile(id)
    }

    /// The time that the population counts back from.
    pub fn now(&self) -> Timestamp {
        self.population.now
    }

    /// Charges one request to the vendor's quota: `Err` when it does not fit, [`Quota::UNLIMITED`] when there
    /// is no quota.
    pub fn admit(&self, vendor: &str) -> Result<Quota, Quota> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match self.state().meters.get_mut(vendor) {
            Some(meter) => meter.admit(now),
            None => Ok(Quota::UNLIMITED),
        }
    }

    /// Counts a question about `entity`: each vendor's page calls it with the identifier it read.
    pub fn asked(&self, vendor: &str, entity: &str) {
        self.state().calls.entry(vendor.to_owned()).or_default().asked(entity);
    }

    /// Changes whom a vendor's list shows, as far as they are known.
    pub fn list(&self, vendor: &str, entities: Vec<String>) {
        self.state().listed.insert(vendor.to_owned(), entities);
    }

    /// Whom a vendor's list shows now, where that was said: those of them that are known.
    pub(super) fn listed(&self, vendor: &str) -> Option<Vec<(String, Profile)>> {
        let entities = self.state().listed.get(vendor).cloned()?;
        Some(entities.into_iter().filter_map(|id| self.profile(&id).map(|profile| (id, profile))).collect())
    }

    /// Keeps a list as it is now for its further pages; the number names it. The oldest of many goes.
    pub(super) fn keep_walk(&self, vendor: &str, entities: Vec<String>) -> usize {
        let walks = &mut self.state().walks;
        let number = walks.last_key_value().map_or(0, |(last, _)| last + 1);
        walks.insert(number, (vendor.to_owned(), entities));
        if walks.len() > WALKS {
            walks.pop_first();
        }
        number
    }

    /// A list that was kept.
    pub(super) fn walk(&self, vendor: &str, number: usize) -> Option<Vec<String>> {
        let state = self.state();
        let (owner, entities) = state.walks.get(&number)?;
        (owner == vendor).then(|| entities.clone())
    }

    /// Forgets every list that was kept: cursors in use lead nowhere.
    pub fn forget_walks(&self) {
        self.state().walks.values_mut().for_each(|(owner, _)| owner.clear());
    }

    /// Adds a fault to the end of the script.
    pub fn fault(&self, fault: Fault) {
        self.state().script.push(fault, Instant::now());
    }

    /// Replaces the script.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        let now = Instant::now();
        let script = &mut self.state().script;
        script.clear();
        faults.into_iter().for_each(|fault| script.push(fault, now));
    }

    /// Ends all faults; calls that hang go on hanging.
    pub fn clear_faults(&self) {
        self.state().script.clear();
    }

    /// Changes how long answers take.
    pub fn set_latency(&self, latency: Latency) {
        self.state().latency = latency;
    }

    /// Changes a vendor's quota; `None` removes it. The new one starts unused.
    pub fn set_limit(&self, vendor: &str, limit: Option<Limit>) {
        let meters = &mut self.state().meters;
        match limit {
            Some(limit) => drop(meters.insert(vendor.to_owned(), Meter { limit, admitted: VecDeque::new() })),
            None => drop(meters.remove(vendor)),
        }
    }

    /// What was asked of `vendor` until now.
    pub fn calls(&self, vendor: &str) -> Calls {
        self.state().calls.get(vendor).cloned().unwrap_or_default()
    }

    /// The same for every vendor that was asked anything.
    pub fn all_calls(&self) -> BTreeMap<String, Calls> {
        self.state().calls.clone()
    }

    /// Starts counting anew.
    pub fn forget_calls(&self) {
        self.state().calls.values_mut().for_each(Calls::forget);
    }

    /// A call arrived: counts it, and says how long it takes and what spoils it.
    pub(super) fn begin(&self, vendor: &str, path: &str, line: String) -> (Duration, Option<Fault>) {
        let mut state = self.state();
        // Under the lock, so that arrivals are in their order.
        let arrival = self.started.elapsed();
        state.calls.entry(vendor.to_owned()).or_default().begin(line, arrival);
        state.drawn = state.drawn.wrapping_add(1);
        let fault = state.script.next(path, Instant::now());
        let latency = fault.as_ref().and_then(|fault| fault.latency).unwrap_or(state.latency);
        (latency.duration(state.drawn), fault)
    }

    /// A call ended.
    pub(super) fn end(&self, vendor: &str) {
        if let Some(calls) = self.state().calls.get_mut(vendor) {
            calls.end();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(requests: u32, per_ms: u64, sliding: bool) -> Meter {
        Meter { limit: Limit { requests, per_ms, sliding }, admitted: VecDeque::new() }
    }

    #[test]
    fn a_calendar_window_gives_everything_back_at_its_end() {
        let mut meter = meter(2, 10_000, false);
        let at = |millis: u64| Duration::from_millis(1_000_000 + millis);
        let quota =
            |remaining, reset_seconds| Quota { limit: 2, period_seconds: 10, remaining, reset_seconds };
        assert_eq!(meter.admit(at(7_500)), Ok(quota(1, 3)));
        assert_eq!(meter.admit(at(8_000)), Ok(quota(0, 2)));
        assert_eq!(meter.admit(at(9_999)), Err(quota(0, 1)));
        assert_eq!(meter.admit(at(10_000)), Ok(quota(1, 10)));
    }

    #[test]
    fn a_sliding_window_gives_back_what_is_older_than_itself() {
        let mut meter = meter(2, 1_000, true);
        let at = |millis: u64| Duration::from_millis(50_000 + millis);
        assert!(meter.admit(at(900)).is_ok());
        assert!(meter.admit(at(1_000)).is_ok());
        assert!(meter.admit(at(1_500)).is_err());
        assert!(meter.admit(at(1_900)).is_ok());
        assert!(meter.admit(at(1_950)).is_err());
    }

    #[test]
    fn without_a_limit_everything_is_admitted() {
        let world = World::new(Options::default());
        assert_eq!(world.admit("datadog"), Ok(Quota::UNLIMITED));
        world.set_limit("datadog", Some(Limit { requests: 0, per_ms: 1000, sliding: false }));
        assert!(world.admit("datadog").is_err());
        world.set_limit("datadog", None);
        assert!(world.admit("datadog").is_ok());
    }
}
