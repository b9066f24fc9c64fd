//! Exactly once: outputs, dead letters and offsets of a short while in one transaction.
//!
//! Contract: an alert is complete when the transaction with its output *and* its offset is committed; until then it is
//! kept, so that an aborted transaction is sent again from memory and the consumer need not go back. A transaction
//! holds the oldest open alerts of each of its partitions and no others. What a time-out or a dead producer leaves in
//! doubt is decided by the broker: a new producer ends what the old one left, then the committed offsets say whether
//! it counts. A lane that lost its place in the group commits nothing: the broker checks the generation.
//!
//! A coordinator that comes back from an outage ends transactions without telling partitions that have no leader at that
//! moment (Apache Kafka 4.3.1 logs "likely deleted already and hence can be skipped"): their records then belong to the
//! next transaction of the same id, and come out twice; offsets stay in doubt for ever. The first transaction that
//! reaches a partition, after a start and after an outage, is therefore taken back, so that the partition hears of an
//! abort, and sent again for good; and each new producer releases the group's offsets.
//!
//! Every call to the broker is made in short steps, with polls of the consumer between them.
//!
//! | file | owns |
//! |---|---|
//! | this one | the transactions of a lane, what goes into one, and what a failure makes of it |
//! | `window` | the records of the open one |
//! | `ending` | how it is ended: flush, offsets, commit or abort |
//! | `doubt` | one of which nobody knows whether it was committed |

mod doubt;
mod ending;
mod window;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::sink::transaction::TransactionError;
use crate::sink::{SinkError, Token};
use crate::source::LaneError;
use crate::source::core::Core;
use crate::source::departure::{After, RETRY};

use self::window::{Place, Window};

/// How long records are gathered. A commit takes about 5 ms, and until then no reader sees them.
const WINDOW: Duration = Duration::from_millis(100);
/// One step of a call to the broker. A lane polls between them.
const SLICE: Duration = Duration::from_secs(1);
/// After an abort that the group asked for: a poll tells what became of our partitions.
const HOLD: Duration = Duration::from_millis(100);
/// A transaction that was open for longer has seen an outage.
const OUTAGE: Duration = Duration::from_secs(2);
/// Two producers that fence each other do so again and again; one that was late is fenced once.
const DUEL: Duration = Duration::from_secs(60);

/// How often a topic must not be there: a broker that has just come back may not know it yet.
const MISSED: u32 = 3;

/// Where a partition starts that has no committed offset: (topic, partition, offset).
pub type Start = (String, i32, i64);

/// The transactions of a lane.
pub struct Transactions {
    /// The producer's transactional id.
    id: String,
    /// When the coordinator ends a transaction by itself.
    timeout: Duration,
    window: Window,
    stage: Stage,
    /// Whether the producer has an open transaction.
    begun: bool,
    /// Where partitions start, until a transaction has committed it.
    starts: Vec<Start>,
    /// What the transaction that is being committed commits.
    added: Vec<Start>,
    /// Partitions where nothing of an earlier transaction can be left open.
    clean: BTreeSet<Place>,
    /// Whether a transaction is taken back for that, and nothing else.
    cleanses: bool,
    /// Nothing is sent before.
    hold: Option<Instant>,
    fenced: Option<Instant>,
    /// How often in a row a topic of ours was not there.
    missed: u32,
    /// Since when nobody knows whether the last transaction counts.
    doubt: Option<Instant>,
}

/// How far the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It takes records.
    Open,
    /// Its records are waited for.
    Flushing(Instant),
    /// Its offsets are added.
    Adding(Instant),
    /// It is being committed.
    Committing(Instant),
    /// It is being taken back.
    Aborting(Instant),
    /// The producer is of no more use.
    Broken,
    /// A new producer makes itself known.
    Renewing,
    /// The offsets of the last one's transaction are released.
    Releasing,
    /// The broker is asked whether the last one's transaction counts.
    Asking,
}

impl Transactions {
    /// For a producer with the transactional id `id`, whose transactions the coordinator ends after `timeout`.
    pub fn new(id: String, timeout: Duration) -> Self {
        Transactions {
            id,
            timeout,
            window: Window::default(),
            stage: Stage::Open,
            begun: false,
            starts: Vec::new(),
            added: Vec::new(),
            clean: BTreeSet::new(),
            cleanses: false,
            hold: None,
            fenced: None,
            missed: 0,
            doubt: None,
        }
    }

    /// Notes that the producer has a record.
    pub fn sent(&mut self, token: Token, assignment: usize, offset: i64, now: Instant) {
        self.window.add(token, assignment, offset, now);
    }

    /// Lets go of a partition and its alerts.
    pub fn forget(&mut self, assignment: usize, topic: &str, partition: i32, gone: impl Fn(Token) -> bool) {
        let sealed = matches!(self.stage, Stage::Committing(_));
        self.window.forget(assignment, sealed, gone);
        self.settle(topic, partition);
        self.added.retain(|(name, number, _)| (name.as_str(), *number) != (topic, partition));
    }

    /// Notes that a partition has a committed offset: where it starts need not be committed any more.
    pub(super) fn settle(&mut self, topic: &str, partition: i32) {
        self.starts.retain(|(name, number, _)| (name.as_str(), *number) != (topic, partition));
    }

    /// Sends nothing until `until`.
    pub fn hold(&mut self, until: Instant) {
        self.hold = Some(until);
    }

    /// Notes that the open transaction cannot be committed.
    pub fn refuse(&mut self) {
        self.window.refuse();
    }

    /// Ends the transaction: its alerts.
    fn reset(&mut self) -> Vec<Token> {
        self.stage = Stage::Open;
        self.begun = false;
        self.cleanses = false;
        self.window.take()
    }
}

impl Core {
    /// Whether records may be handed to the producer now: always, but for a transaction that is being ended.
    pub(super) fn may_send(&mut self, now: Instant) -> Result<bool, LaneError> {
        let Some(t) = &mut self.transactions else { return Ok(true) };
        if t.stage != Stage::Open || t.hold.is_some_and(|until| now < until) || t.window.is_refused() {
            return Ok(false);
        }
        t.hold = None;
        if t.window.len() >= (self.settings.in_flight / 2).max(1) {
            return Ok(false);
        }
        if !t.begun {
            match self.sink.begin() {
                Ok(_) => t.begun = true,
                Err(error) => {
                    self.failed(error, now)?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What became of a record in a transaction.
    pub(super) fn reported(
        &mut self,
        token: Token,
        result: Result<i32, SinkError>,
        now: Instant,
    ) -> Result<(), LaneError> {
        let Some(t) = &mut self.transactions else { return Ok(()) };
        let error = match result {
            Ok(partition) => {
                let is_dead = self.slots.get(token).and_then(|slot| slot.is_dead());
                t.window.acknowledge(is_dead.map(|is_dead| (is_dead, partition)));
                return Ok(());
            }
            Err(error) => error,
        };
        t.window.refuse();
        if matches!(error, SinkError::Withdrawn { .. }) {
            return Ok(());
        }
        // What it is sent as next time; that follows from the abort.
        if let Some(slot) = self.slots.get(token) {
            slot.unsend();
            if self.refused(token, error, now)? == After::Later
                && let Some(t) = &mut self.transactions
            {
                t.hold(now + RETRY);
            }
        }
        Ok(())
    }

    /// The producer of this number cannot go on.
    pub(super) fn broken(&mut self, producer: u32, why: String, now: Instant) -> Result<(), LaneError> {
        if !self.sink.is(producer) {
            return Ok(());
        }
        match &self.transactions {
            None => Err(LaneError::Producer(why)),
            // The call that meets it says more; when none does, this is enough.
            Some(t) if matches!(t.stage, Stage::Open) => self.failed(TransactionError::Renew(why), now),
            Some(_) => Ok(()),
        }
    }

    /// For how long nobody has known whether the last transaction counts.
    pub fn in_doubt_for(&self, now: Instant) -> Option<Duration> {
        let since = self.transactions.as_ref()?.doubt?;
        Some(now.saturating_duration_since(since))
    }

    /// Takes where partitions start, to be committed with the next transaction.
    pub fn start(&mut self, starts: Vec<Start>, now: Instant) {
        if let Some(t) = &mut self.transactions
            && !starts.is_empty()
        {
            t.starts.extend(starts);
            t.window.open(now);
        }
    }

    /// Takes back what a stop leaves open, so that readers need not wait for the coordinator to do it.
    pub fn abandon(&mut self, bound: Duration) {
        let Some(t) = &self.transactions else { return };
        if t.begun
            && !matches!(
                t.stage,
                Stage::Committing(_) | Stage::Broken | Stage::Renewing | Stage::Releasing | Stage::Asking
            )
        {
            let _ = self.sink.abort(bound);
        }
    }

    /// Puts the alerts of a transaction that does not count back at the head of what may leave, in their order.
    pub(super) fn send_again(&mut self, now: Instant) -> Result<(), LaneError> {
        // Word of its records is here by now: it must not be taken for that of the next.
        self.collect(now)?;
        let Some(t) = &mut self.transactions else { return Ok(()) };
        for token in t.reset().into_iter().rev() {
            if let Some(slot) = self.slots.get(token) {
                slot.unsend();
                self.outbox.push_front(self.slots.renew(token));
            }
        }
        if !t.starts.is_empty() {
            t.window.open(now);
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, error: TransactionError, now: Instant) -> Result<(), LaneError> {
        let Some(t) = &mut self.transactions else { return Ok(()) };
        match &error {
            TransactionError::Denied(_) => return Err(LaneError::Transaction(error)),
            TransactionError::Abort(_) => {
                tracing::warn!(%error, "a transaction is taken back and its alerts are sent again");
                t.stage = Stage::Aborting(now);
                return Ok(());
            }
            TransactionError::Renew(_) => {}
            TransactionError::Fenced(_) => {
                // The coordinator fences whoever is late; then nobody else is to blame.
                let late = t.window.opened().is_some_and(|opened| now >= opened + t.timeout);
                if !late && t.fenced.replace(now).is_some_and(|before| now < before + DUEL) {
                    return Err(LaneError::Fenced(t.id.clone()));
                }
            }
        }
        tracing::warn!(%error, "a transaction is in doubt; the broker will be asked");
        t.doubt.get_or_insert(now);
        t.stage = Stage::Broken;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_goes_while_it_is_committed_does_not_stop_the_commit() {
        let now = Instant::now();
        let mut t = Transactions::new("id".to_owned(), Duration::from_secs(5));
        t.sent(Token { slot: 1, generation: 0 }, 0, 7, now);
        t.stage = Stage::Committing(now);
        t.forget(0, "alerts", 0, |_| true);
        assert!(!t.window.is_refused() && t.window.len() == 0);
    }

    #[test]
    fn where_a_partition_starts_is_not_committed_after_its_alerts() {
        let mut t = Transactions::new("id".to_owned(), Duration::from_secs(5));
        let start = |partition, offset| ("alerts".to_owned(), partition, offset);
        t.starts = vec![start(0, 5), start(1, 9)];
        t.settle("alerts", 0);
        assert_eq!(t.starts, [start(1, 9)]);
    }
}
