//! What stands around a call to a vendor: breaker, retries, a fresh sign-in, and an eye on the answers.
//!
//! Contract: [`Guard::ask`] ends within its bound whatever the vendor does; a vendor that is not well or
//! refuses us is left alone for a while, which is logged once per opening; nothing logged or told here holds
//! an identifier. Limiter and time-out are the [`super::transport`]'s.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::breaker::{Breaker, Change, Condition, Ended, Leave, Reason};
use super::doubt::{Doubt, Tally};
use super::error::Verdict;
use super::gate::{Gate, LONG};
use super::limiter::Priority;
use super::meter::Meter;
use super::retry::{self, Budget};
use super::snapshot::{Bulk, Page, Snapshot, Told};
use super::transport::{Call, Sent};
use super::{Answer, Asking, Failure, FailureKind, Provider};
use crate::config::provider::{Common, Retry};
use crate::entity::{Entity, EntityKind};
use crate::telemetry::AUDIT;

/// A provider and what protects it and us from each other.
pub struct Guard {
    name: String,
    provider: Box<dyn Provider>,
    retry: Retry,
    /// How long the vendor may make a retry wait where the look-up itself has no bound.
    max_wait: Duration,
    meter: Arc<dyn Meter>,
    gate: Option<Arc<Gate>>,
    audit: bool,
    /// Whether another guard has taken its place.
    retired: AtomicBool,
    snapshot: Option<Snapshot>,
    watch: Mutex<Watch>,
}

/// What changes with every call.
struct Watch {
    breaker: Breaker,
    budget: Budget,
    tally: Tally,
    /// When the last fresh sign-in was asked for, and whether there was another one to be had.
    renewed: Option<(Instant, bool)>,
    /// The failure that opened the breaker, and when it first did.
    trouble: Option<(Failure, Timestamp)>,
}

/// How a provider is, for readiness and the status page.
#[derive(Clone, Debug)]
pub struct GuardState {
    /// The instance's name.
    pub provider: String,
    /// Whether it is asked.
    pub condition: Condition,
    /// What opened the breaker and when it first did, until it closes.
    pub trouble: Option<(Failure, Timestamp)>,
    /// Set when almost all of many answers are unknown.
    pub doubt: Option<Doubt>,
    /// How long the vendor wants to be left alone, where that is long.
    pub closed_for: Option<Duration>,
    /// What is wrong with its snapshot.
    pub snapshot: Option<String>,
}

impl GuardState {
    /// What is wrong with the provider, in a sentence for people; `None` when it is well.
    pub fn problem(&self) -> Option<String> {
        let name = &self.provider;
        let problem = self.vendors_problem();
        match (problem, &self.snapshot) {
            (Some(problem), Some(snapshot)) => Some(format!("{problem}; {snapshot}")),
            (None, Some(snapshot)) => Some(format!("{name}: {snapshot}")),
            (problem, None) => problem,
        }
    }

    fn vendors_problem(&self) -> Option<String> {
        let name = &self.provider;
        match (&self.trouble, &self.doubt) {
            (Some((failure, since)), _) => Some(format!("{name}: {failure}, since {since:.0}")),
            (None, Some(doubt)) => Some(format!("{name}: {doubt}")),
            (None, None) => {
                let seconds = self.closed_for?.as_secs();
                Some(format!(
                    "{name}: rate_limited: the vendor asks to be left alone for another {seconds} s"
                ))
            }
        }
    }
}

impl Guard {
    /// Puts a guard around a provider.
    pub fn new(name: &str, provider: Box<dyn Provider>, common: &Common, meter: Arc<dyn Meter>) -> Self {
        meter.breaker(Condition::Closed);
        Guard {
            name: name.to_owned(),
            provider,
            retry: common.retry,
            max_wait: common.max_wait,
            meter,
            gate: None,
            audit: false,
            retired: AtomicBool::new(false),
            snapshot: None,
            watch: Mutex::new(Watch {
                breaker: Breaker::new(common.breaker),
                budget: Budget::new(Instant::now().into_std()),
                tally: Tally::default(),
                renewed: None,
                trouble: None,
            }),
        }
    }

    /// Lets it tell how long the vendor's quota is closed.
    #[must_use]
    pub fn with_gate(self, gate: Arc<Gate>) -> Self {
        Guard { gate: Some(gate), ..self }
    }

    /// Has it log each look-up, or not.
    #[must_use]
    pub fn with_audit(self, audit: bool) -> Self {
        Guard { audit, ..self }
    }

    /// Where its requests wait for the vendor's quota.
    pub fn gate(&self) -> Option<&Arc<Gate>> {
        self.gate.as_ref()
    }

    /// Lets it keep the vendor's list, where the vendor has one and `config` says so; an old one stands in for `stale`.
    #[must_use]
    pub fn with_snapshot(self, config: &Common, stale: Duration) -> Self {
        let (list, refused_for) = (&config.snapshot, config.breaker.refused_for);
        let snapshot = Snapshot::new(list, stale, refused_for).filter(|_| self.provider.bulk().is_some());
        Guard { snapshot, ..self }
    }

    /// Another one has taken its place: what is under way ends, and says nothing of how the provider is.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.meter.retire();
    }

    /// Tells how the breaker is.
    pub fn tell_breaker(&self) {
        self.meter.breaker(self.watch().breaker.condition(Instant::now().into_std()));
    }

    /// The vendor's list, where it is kept.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Begins with the list that `before` keeps, where both would read the same one: after a change of the configuration.
    pub fn inherit(&self, before: &Guard) {
        if let Some((snapshot, old)) = self.snapshot.as_ref().zip(before.snapshot.as_ref())
            && self.provider.identity() == before.provider.identity()
        {
            snapshot.inherit(old);
        }
    }

    /// What the vendor's list says to a question, where it is kept.
    pub fn listed(&self, kind: EntityKind, id: &str, now: std::time::Instant) -> Option<Told> {
        let (snapshot, bulk) = self.snapshot.as_ref().zip(self.provider.bulk())?;
        Some(snapshot.tell(bulk, kind, id, now))
    }

    /// Where what happens is counted.
    pub fn meter(&self) -> &dyn Meter {
        self.meter.as_ref()
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The provider itself: what it can be asked, where it is, and its probe, which no breaker keeps back.
    pub fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }

    /// How the provider is now.
    pub fn state(&self) -> GuardState {
        let watch = self.watch();
        GuardState {
            provider: self.name.clone(),
            condition: watch.breaker.condition(Instant::now().into_std()),
            trouble: watch.trouble.clone(),
            doubt: watch.tally.doubt(),
            closed_for: self.gate.as_ref().and_then(|gate| gate.closed_for()).filter(|wait| *wait >= LONG),
            snapshot: self.snapshot.as_ref().and_then(|kept| kept.problem(Instant::now().into_std())),
        }
    }

    /// Whether the vendor is left alone, or tried with one call, because its answers took too long: then none is to be expected
    /// soon. One that refused or failed did so at once.
    pub fn is_avoided(&self) -> bool {
        match self.watch().breaker.reason() {
            None => false,
            Some(Reason::Slow) => true,
            Some(Reason::Failed(kind)) => matches!(kind, FailureKind::Timeout | FailureKind::Unreachable),
        }
    }

    /// Asks about one entity, within `bound` where there is one (on the command line there is none).
    ///
    /// # Errors
    /// Every [`FailureKind`]; `deadline` when the bound came first.
    pub async fn ask(
        &self,
        entity: &Entity,
        priority: Priority,
        bound: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let started = Instant::now();
        let until = bound.map(|bound| started + bound);
        let call = Call { priority, until, timeout: None };
        // Pinned: else each way to wait for it would have room for all of it, in every flight.
        let asking = pin!(self.attempts(entity, call));
        let answer = match until {
            None => asking.await,
            Some(until) => tokio::time::timeout_at(until, asking).await.unwrap_or_else(|_| {
                Err(Failure::new(FailureKind::Deadline, "the look-up's time was over before the answer came"))
            }),
        };
        if let Ok(answer) = &answer {
            self.watch().tally.count(answer);
        }
        if self.audit {
            self.tell(entity, &answer, started.elapsed());
        }
        answer
    }

    /// The audit line of a look-up: who was asked about whom, and what came of it. The identifier is told by its hash, so that a
    /// line can be found for an entity, and no entity for a line but by trying all.
    fn tell(&self, entity: &Entity, answer: &Result<Answer, Failure>, took: Duration) {
        let outcome = match answer {
            Ok(Answer::Scored(_)) => "scored",
            Ok(Answer::Unknown { .. }) => "unknown",
            Err(failure) => failure.kind.label(),
        };
        tracing::info!(
            target: AUDIT,
            provider = %self.name,
            host = self.provider.host(),
            kind = entity.kind.label(),
            identifier_sha256 = hex(digest(&SHA256, entity.id.as_bytes()).as_ref()),
            outcome,
            milliseconds = took.as_millis() as u64,
            "looked up",
        );
    }

    async fn attempts(&self, entity: &Entity, call: Call) -> Result<Answer, Failure> {
        self.watch().budget.call(Instant::now().into_std());
        let mut made = 0;
        let mut last = None;
        loop {
            let leave = match self.admit() {
                Ok(leave) => leave,
                // It opened between two attempts: the first one's failure says more.
                Err(open) => return Err(last.unwrap_or(open)),
            };
            let (answer, sent) = self.attempt(|| self.provider.ask(entity), call).await;
            leave.record(&answer, sent);
            let failure = match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            made += 1;
            // What we ourselves kept back has waited already for as long as it may.
            let ours = failure.kind == FailureKind::RateLimited && sent.requests == 0;
            let left =
                call.until.map_or(self.max_wait, |until| until.saturating_duration_since(Instant::now()));
            let wait = match retry::wait(&self.retry, made, &failure, random(), Some(left)) {
                Some(wait) if !ours => wait,
                _ => return Err(failure),
            };
            if !self.watch().budget.take(Instant::now().into_std()) {
                return Err(failure);
            }
            self.meter.retry(failure.kind);
            tokio::time::sleep(wait).await;
            last = Some(failure);
        }
    }

    /// One attempt, and a second one with a fresh sign-in or another key when the first is refused.
    async fn attempt<'a, T>(
        &self,
        ask: impl Fn() -> Asking<'a, T>,
        call: Call,
    ) -> (Result<T, Failure>, Sent) {
        let started = Instant::now();
        let (mut answer, mut sent) = call.watched(ask()).await;
        let refused = answer.as_ref().err().map(|failure| failure.kind);
        if let Some(why @ (FailureKind::Unauthorised | FailureKind::Forbidden)) = refused
            && self.renew(started, why)
        {
            (answer, sent) = call.watched(ask()).await;
        }
        (answer, sent)
    }

    /// Reads one page of the vendor's list, once, each of its requests within `timeout`. The breaker has no say in it and hears
    /// nothing of it: a list that is refused, slow or broken says nothing about look-ups, nor they about the list. Whoever reads it
    /// waits longer with every failure.
    ///
    /// # Errors
    /// Every [`FailureKind`] but `deadline` and `breaker_open`.
    pub async fn page(
        &self,
        bulk: &dyn Bulk,
        cursor: Option<&str>,
        priority: Priority,
        timeout: Duration,
    ) -> Result<Page, Failure> {
        let call = Call { priority, until: None, timeout: Some(timeout) };
        self.attempt(|| bulk.page(cursor), call).await.0
    }

    /// Asks for a fresh sign-in, unless another call did so after this one had `started`: a hundred calls that
    /// are refused together need one new token, not a hundred. Whether it is worth asking again.
    fn renew(&self, started: Instant, why: FailureKind) -> bool {
        let mut watch = self.watch();
        match watch.renewed {
            Some((renewed, anew)) if renewed > started => anew,
            _ => {
                // It does not wait, so that the lock may be held.
                let anew = self.provider.renew(why);
                watch.renewed = Some((Instant::now(), anew));
                anew
            }
        }
    }

    fn admit(&self) -> Result<Admitted<'_>, Failure> {
        let mut watch = self.watch();
        let now = Instant::now().into_std();
        let before = watch.breaker.condition(now);
        match watch.breaker.admit(now) {
            Ok(leave) => {
                if before == Condition::HalfOpen {
                    self.meter.breaker(Condition::HalfOpen);
                }
                Ok(Admitted { guard: self, leave: Some(leave) })
            }
            Err(wait) => {
                let cause = match &watch.trouble {
                    Some((failure, _)) => failure.to_string(),
                    None => "it failed too often".to_owned(),
                };
                Err(Failure {
                    kind: FailureKind::BreakerOpen,
                    detail: format!("{} is left alone for a while ({cause})", self.name),
                    retry_after: Some(wait).filter(|wait| !wait.is_zero()),
                })
            }
        }
    }

    fn learn(&self, leave: Leave, ended: Ended, failure: Option<&Failure>) {
        let mut watch = self.watch();
        match watch.breaker.record(leave, ended, Instant::now().into_std()) {
            None => {}
            Some(_) if self.retired.load(Ordering::Relaxed) => {}
            Some(Change::Closed) => {
                watch.trouble = None;
                self.meter.breaker(Condition::Closed);
                tracing::warn!(provider = %self.name, "the vendor answers again: the breaker is closed");
            }
            Some(Change::Opened(reason, time)) => {
                let failure = match (reason, failure) {
                    (Reason::Failed(_), Some(failure)) => failure.clone(),
                    (Reason::Failed(kind), _) => Failure::new(kind, "too many calls failed"),
                    (Reason::Slow, _) => {
                        Failure::new(FailureKind::Timeout, "too many calls were slower than `breaker.slow`")
                    }
                };
                // A probe that fails while the vendor is down is no news; that it still refuses us is.
                let news = watch.trouble.is_none() || failure.kind.verdict() == Verdict::Refused;
                if news {
                    tracing::warn!(
                        provider = %self.name,
                        reason = failure.kind.label(),
                        detail = %failure.detail,
                        seconds = time.as_secs_f64(),
                        "the vendor is left alone: the breaker is open",
                    );
                }
                let since = watch.trouble.take().map_or_else(Timestamp::now, |(_, since)| since);
                watch.trouble = Some((failure, since));
                self.meter.breaker(Condition::Open);
            }
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // No code panics while it holds the lock, so a poisoned one holds what it should.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave for one attempt, which goes back to the breaker however the attempt ends.
struct Admitted<'g> {
    guard: &'g Guard,
    leave: Option<Leave>,
}

impl Admitted<'_> {
    fn record<T>(mut self, answer: &Result<T, Failure>, sent: Sent) {
        let ended = match answer {
            // It came from what the vendor's code remembers.
            Ok(_) if sent.requests == 0 => Ended::Untold,
            Ok(_) => Ended::Answered(sent.slowest),
            Err(failure) => Ended::Failed(failure.kind, sent.slowest),
        };
        if let Some(leave) = self.leave.take() {
            self.guard.learn(leave, ended, answer.as_ref().err());
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            self.guard.learn(leave, Ended::Untold, None);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number in 0..1, different every time: every hasher is seeded anew.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
