//! Where requests wait until they may leave: the order of the waiting, and the waking.
//!
//! One [`Gate`] per credential, with one [`Limiter`] in it; every provider instance that uses the credential
//! enters it with its own bound on requests under way. Contract: the most urgent waits shortest, within a
//! priority the first come leaves first, what becomes more urgent while it waits moves up, a waiting that cannot end in time fails at once, and what is
//! abandoned while it waits takes no slot.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use super::limiter::{Limiter, Priority};
use super::quota::Quota;
use crate::config::provider::Limit;
use crate::config::secret::Fingerprint;

/// From here on a closed quota is worth telling people: shorter ones are the vendor's daily round.
pub const LONG: Duration = Duration::from_secs(30);

/// Every gate, by credential.
#[derive(Debug, Default)]
pub struct Limiters {
    gates: Mutex<HashMap<Credential, Arc<Gate>>>,
}

/// What tells one credential from another without holding it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credential {
    vendor: &'static str,
    host: String,
    secrets: Vec<Fingerprint>,
}

impl Credential {
    /// The key of a credential: what the vendor at `host` counts a quota against.
    pub fn new(vendor: &'static str, host: &str, secrets: Vec<Fingerprint>) -> Self {
        Credential { vendor, host: host.to_owned(), secrets }
    }
}

impl Limiters {
    /// The gate of a credential, made at first use. Where instances that share one disagree about its limit,
    /// the stricter counts.
    pub fn gate(&self, credential: Credential, limit: Option<Limit>) -> Arc<Gate> {
        let mut gates = locked(&self.gates);
        let gate = gates.entry(credential).or_insert_with(|| Arc::new(Gate::new(limit)));
        gate.tighten(limit);
        Arc::clone(gate)
    }

    /// Holds each gate to the strictest of its limits in `uses`, and forgets gates that nobody uses any more and that remember
    /// nothing: what was taken of a quota counts for whoever comes back to it.
    pub fn settle(&self, uses: &[(&Arc<Gate>, Option<Limit>)]) {
        for (gate, _) in uses {
            let limits = uses.iter().filter(|(other, _)| Arc::ptr_eq(other, gate)).map(|(_, limit)| *limit);
            gate.relimit(limits.min_by(|a, b| rate(*a).total_cmp(&rate(*b))).flatten());
        }
        locked(&self.gates).retain(|_, gate| Arc::strong_count(gate) > 1 || gate.remembers());
    }
}

/// The one way out for the requests of a credential.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    /// Wakes the task that lets requests through as time passes.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    limit: Option<Limit>,
    members: Vec<Member>,
    /// Tickets given out so far; they order the waiting.
    tickets: u64,
    /// Whether the task runs that lets requests through as time passes.
    pumping: bool,
}

#[derive(Debug)]
struct Member {
    /// Requests that may still be under way at once.
    free: usize,
    /// Bound of the waiting.
    queue: usize,
    /// Whether the instance is no longer there.
    gone: bool,
    /// By priority.
    waiting: [VecDeque<(u64, oneshot::Sender<Instant>)>; 3],
}

/// How urgent a request is, which may rise while it waits: an alert may come to need what a refresh asks.
#[derive(Clone, Debug)]
pub struct Urgency {
    priority: Priority,
    raised: Option<watch::Receiver<Priority>>,
}

impl Urgency {
    /// As urgent as `priority`, and as what `raised` says where that is more.
    pub fn new(priority: Priority, raised: watch::Receiver<Priority>) -> Self {
        Urgency { priority, raised: Some(raised) }
    }

    fn now(&mut self) -> Priority {
        let raised = self.raised.as_ref().map(|raised| *raised.borrow());
        self.priority = raised.map_or(self.priority, |raised| raised.min(self.priority));
        self.priority
    }

    /// Waits until it is more urgent than before.
    async fn raised(&mut self) -> Priority {
        let before = self.priority;
        if let Some(raised) = &mut self.raised
            && let Ok(priority) = raised.wait_for(|priority| *priority < before).await
        {
            self.priority = *priority;
            return self.priority;
        }
        // Nobody is left who could raise it.
        std::future::pending().await
    }
}

impl From<Priority> for Urgency {
    fn from(priority: Priority) -> Self {
        Urgency { priority, raised: None }
    }
}

/// Why a request may not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many wait already as may.
    Full,
    /// No slot came, or can come, in time; nothing is left at the vendor for so long, where it said so.
    TooLong(Option<Duration>),
}

impl Gate {
    /// A gate with the configured limit.
    pub fn new(limit: Option<Limit>) -> Self {
        let state =
            State { limiter: Limiter::new(limit), limit, members: Vec::new(), tickets: 0, pumping: false };
        Gate { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Adds a provider instance with its bounds; the number names it.
    pub fn enter(&self, concurrency: usize, queue: usize) -> usize {
        let mut state = locked(&self.state);
        let member = Member { free: concurrency.max(1), queue, waiting: Default::default(), gone: false };
        match state.members.iter_mut().enumerate().find(|(_, member)| member.gone) {
            Some((number, place)) => {
                *place = member;
                number
            }
            None => {
                state.members.push(member);
                state.members.len() - 1
            }
        }
    }

    /// Waits for a slot of the limiter and a place among the requests under way, at most `max_wait`.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn pass(
        self: &Arc<Self>,
        member: usize,
        priority: impl Into<Urgency>,
        max_wait: Duration,
    ) -> Result<Pass, Refused> {
        let mut urgency = priority.into();
        let mut waiting = self.queue_up(member, urgency.now(), max_wait)?;
        let granted = async {
            loop {
                tokio::select! {
                    // The sender is only dropped with the gate, which this call holds.
                    granted = &mut waiting.granted => return granted.ok(),
                    priority = urgency.raised() => waiting.raise(priority),
                }
            }
        };
        if let Ok(Some(left)) = tokio::time::timeout(max_wait, granted).await {
            waiting.over = true;
            return Ok(Pass { gate: Arc::clone(self), member, left, answered: false });
        }
        let now = now();
        let closed = locked(&self.state).limiter.closed_until(now);
        Err(Refused::TooLong(closed.map(|until| until - now)))
    }

    fn queue_up(
        self: &Arc<Self>,
        member: usize,
        priority: Priority,
        max_wait: Duration,
    ) -> Result<Waiting, Refused> {
        let now = now();
        let mut state = locked(&self.state);
        if let Some(until) = state.limiter.closed_until(now).filter(|until| *until > now + max_wait) {
            return Err(Refused::TooLong(Some(until - now)));
        }
        let ticket = state.tickets;
        state.tickets += 1;
        let (grant, granted) = oneshot::channel();
        let Some(place) = state.members.get_mut(member) else { return Err(Refused::Full) };
        // Who can leave at once need not fit into the queue.
        place.line(priority).push_back((ticket, grant));
        state.pump(now);
        let place = state.members.get_mut(member);
        if let Some(place) = place.filter(|place| place.len() > place.queue) {
            let line = place.line(priority);
            if line.back().is_some_and(|(last, _)| *last == ticket) {
                line.pop_back();
                return Err(Refused::Full);
            }
        }
        if state.anyone_waits() && !state.pumping {
            state.pumping = true;
            tokio::spawn(pump(Arc::clone(self)));
        } else if state.pumping {
            // A newcomer may have to be let through earlier than what the task waits for.
            self.changed.notify_one();
        }
        Ok(Waiting { gate: Arc::clone(self), member, priority, ticket, granted, over: false })
    }

    /// Learns from a response: see [`Limiter::observe`]. Call it while the request's [`Pass`] is held: who
    /// waits is looked at again when that is dropped.
    ///
    /// Returns how long nothing may leave, where this response made that longer.
    pub fn observe(&self, status: u16, quota: &Quota) -> Option<Duration> {
        let (mut state, now) = (locked(&self.state), now());
        let before = state.limiter.closed_until(now);
        state.limiter.observe(status, quota, now);
        let closed = state.limiter.closed_until(now);
        closed.filter(|until| before.is_none_or(|before| *until > before)).map(|until| until - now)
    }

    /// How long nothing may leave.
    pub fn closed_for(&self) -> Option<Duration> {
        let now = now();
        locked(&self.state).limiter.closed_until(now).map(|until| until - now)
    }

    /// Requests of a member that wait now.
    pub fn waiting(&self, member: usize) -> usize {
        let state = locked(&self.state);
        state.members.get(member).map_or(0, Member::len)
    }

    fn tighten(&self, limit: Option<Limit>) {
        let mut state = locked(&self.state);
        if rate(limit) < rate(state.limit) {
            state.limit = limit;
            state.limiter.configure(limit);
        }
    }

    /// Whether something of before still counts.
    fn remembers(&self) -> bool {
        locked(&self.state).limiter.remembers(now())
    }

    /// Another limit from now on. What was taken of the old one counts.
    fn relimit(&self, limit: Option<Limit>) {
        let mut state = locked(&self.state);
        if limit != state.limit {
            state.limit = limit;
            state.limiter.configure(limit);
            // It may let through more than what those who wait wait for.
            self.changed.notify_one();
        }
    }

    /// Takes a provider instance out that has nothing under way; its number may become another one's.
    pub fn leave(&self, member: usize) {
        if let Some(member) = locked(&self.state).members.get_mut(member) {
            member.gone = true;
        }
    }
}

/// Requests a second in the long run.
fn rate(limit: Option<Limit>) -> f64 {
    limit.map_or(f64::INFINITY, |limit| {
        f64::from(limit.requests) * f64::from(limit.share.0)
            / f64::from(limit.share.1.max(1))
            / limit.per.as_secs_f64()
    })
}

impl Member {
    /// Requests that wait.
    fn len(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    fn line(&mut self, priority: Priority) -> &mut VecDeque<(u64, oneshot::Sender<Instant>)> {
        let [question, alert, refresh] = &mut self.waiting;
        match priority {
            Priority::Question => question,
            Priority::Alert => alert,
            Priority::Refresh => refresh,
        }
    }
}

impl State {
    /// Lets through whoever may leave at `now`; returns when the next one may, where only time keeps it.
    fn pump(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let (member, priority) = self.next()?;
            if let Err(at) = self.limiter.take(now, priority) {
                return Some(at);
            }
            let member = self.members.get_mut(member)?;
            let (_, grant) = member.line(priority).pop_front()?;
            // Whoever stops waiting leaves the line under the same lock, so there is somebody to hear this.
            match grant.send(now) {
                Ok(()) => member.free -= 1,
                Err(_) => self.limiter.cancel(now),
            }
        }
    }

    /// Who is next: the most urgent, then the longest waiting, of the members that may have one more under way.
    fn next(&mut self) -> Option<(usize, Priority)> {
        Priority::ALL.into_iter().find_map(|priority| {
            let able = self.members.iter_mut().enumerate().filter(|(_, member)| member.free > 0);
            let heads = able.filter_map(|(number, member)| {
                member.line(priority).front().map(|(ticket, _)| (*ticket, number))
            });
            heads.min().map(|(_, number)| (number, priority))
        })
    }

    fn anyone_waits(&self) -> bool {
        self.members.iter().any(|member| member.len() > 0)
    }
}

/// Lets requests through as time passes, until nobody waits.
async fn pump(gate: Arc<Gate>) {
    loop {
        let next = {
            let mut state = locked(&gate.state);
            let next = state.pump(now());
            if !state.anyone_waits() {
                state.pumping = false;
                return;
            }
            next
        };
        match next {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = gate.changed.notified() => {}
            },
            None => gate.changed.notified().await,
        }
    }
}

/// A request in line. Dropping it leaves the line.
struct Waiting {
    gate: Arc<Gate>,
    member: usize,
    priority: Priority,
    ticket: u64,
    granted: oneshot::Receiver<Instant>,
    /// Whether the slot was taken over by a [`Pass`].
    over: bool,
}

impl Waiting {
    /// Moves to the line of `priority`, with the place that its ticket gives it there.
    fn raise(&mut self, priority: Priority) {
        let mut state = locked(&self.gate.state);
        let Some(member) = state.members.get_mut(self.member) else { return };
        let line = member.line(self.priority);
        // Not in the line: it has been let through.
        let Ok(place) = line.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) else { return };
        let Some(waiting) = line.remove(place) else { return };
        let line = member.line(priority);
        let place = line.partition_point(|(ticket, _)| *ticket < self.ticket);
        line.insert(place, waiting);
        self.priority = priority;
        // It may leave where a refresh may not.
        self.gate.changed.notify_one();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = locked(&self.gate.state);
        let granted = self.granted.try_recv();
        if let Some(member) = state.members.get_mut(self.member) {
            if granted.is_ok() {
                member.free += 1;
            } else {
                let line = member.line(self.priority);
                if let Ok(place) = line.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) {
                    line.remove(place);
                }
            }
        }
        if let Ok(left) = granted {
            state.limiter.cancel(left);
        }
        self.gate.changed.notify_one();
    }
}

/// The right to have one request under way; dropping it gives the place to the next.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    member: usize,
    /// When the request left.
    left: Instant,
    answered: bool,
}

impl Pass {
    /// An answer came: it tells when the vendor may have counted the request.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = locked(&self.gate.state);
        if let Some(member) = state.members.get_mut(self.member) {
            member.free += 1;
        }
        let now = now();
        state.limiter.land(self.left, now, self.answered);
        state.pump(now);
        self.gate.changed.notify_one();
    }
}

/// The monotonic clock as the runtime sees it, so that tests may stop it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// No code panics while it holds the lock, so a poisoned one holds what it should.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
