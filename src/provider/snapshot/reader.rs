//! The task that reads a provider's list at its interval, and the same once for a command.
//!
//! Contract: every page goes through the provider's guard as a background call, so that its quota holds and another key is tried
//! where one is refused; a task ends with its guard or its runtime. Nothing logged here holds an identifier.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::walk::{Step, Walk};
use super::{Snapshot, Table};
use crate::cache::ttl::Moment;
use crate::provider::Failure;
use crate::provider::error::Verdict;
use crate::provider::guard::Guard;
use crate::provider::limiter::Priority;

/// How often a command lets reading fail without getting any further.
const TRIES: u32 = 3;

/// Has the list of `guard`'s provider read at its interval on `runtime`, where one is configured, for as long as somebody else holds
/// the guard.
pub fn start(guard: &Arc<Guard>, runtime: &Handle) {
    if let Some(walk) = walk(guard) {
        runtime.spawn(read(Arc::downgrade(guard), walk));
    }
}

/// Reads the list of `guard`'s provider once, where one is configured. Before each pause `note` hears what failed and how long it is.
///
/// # Errors
/// That of a page that was refused or could not be read in three attempts, or of a list that would be no better the next time.
pub async fn once(guard: &Guard, note: impl Fn(&str)) -> Result<Option<Arc<Table>>, Failure> {
    let Some(mut walk) = walk(guard) else { return Ok(None) };
    let mut failed = None::<Failure>;
    loop {
        match step(guard, &mut walk).await {
            Stepped::Wait(pause) => {
                if let Some(failure) = failed.take() {
                    let seconds = pause.as_secs_f64().ceil();
                    note(&format!(
                        "a page of the vendor's list could not be read: {failure}; again in {seconds} s"
                    ));
                }
                tokio::time::sleep(pause).await;
            }
            Stepped::Page => {}
            Stepped::Done => return Ok(guard.snapshot().and_then(Snapshot::table)),
            Stepped::Useless(failure) => return Err(failure),
            Stepped::Failed(failure) => {
                // Whoever is refused is left alone for long, and is refused again.
                if walk.failures() >= TRIES || failure.kind.verdict() == Verdict::Refused {
                    return Err(failure);
                }
                failed = Some(failure);
            }
        }
    }
}

fn walk(guard: &Guard) -> Option<Walk> {
    let (snapshot, bulk) = guard.snapshot().zip(guard.provider().bulk())?;
    let now = Instant::now().into_std();
    // A table that was inherited is not due before its time.
    let age = snapshot.table().map(|table| Moment::from(now).since(table.begun()));
    let due = now + age.map_or(Duration::ZERO, |age| snapshot.rules.interval.saturating_sub(age));
    Some(Walk::new(snapshot.rules, bulk.listing(), due))
}

async fn read(guard: Weak<Guard>, mut walk: Walk) {
    loop {
        // Not held while it waits.
        let Some(held) = guard.upgrade() else { return };
        let stepped = step(&held, &mut walk).await;
        drop(held);
        if let Stepped::Wait(pause) = stepped {
            tokio::time::sleep(pause).await;
        }
    }
}

/// What became of a step.
enum Stepped {
    Wait(Duration),
    Page,
    Done,
    /// A page could not be read.
    Failed(Failure),
    /// The pages were read, and make no list.
    Useless(Failure),
}

async fn step(guard: &Guard, walk: &mut Walk) -> Stepped {
    let (Some(snapshot), Some(bulk)) = (guard.snapshot(), guard.provider().bulk()) else {
        return Stepped::Done;
    };
    // In the background there may be no slot for ever while alerts take them all: what was late once waits its turn among them.
    let priority = if walk.failures() > 0 { Priority::Alert } else { Priority::Refresh };
    let read = match walk.next(Instant::now().into_std()) {
        Step::Wait(pause) => return Stepped::Wait(pause),
        Step::Read(cursor) => guard.page(bulk, cursor, priority, snapshot.timeout()).await,
    };
    let now = Instant::now().into_std();
    let taken = match read {
        Ok(page) => walk.took(page, now, Timestamp::now()).map_err(Stepped::Useless),
        Err(failure) => {
            walk.failed(&failure, now);
            Err(Stepped::Failed(failure))
        }
    };
    match taken {
        Ok(None) => Stepped::Page,
        Ok(Some(table)) => {
            told(guard, &table);
            snapshot.take(table);
            Stepped::Done
        }
        Err(stepped) => {
            if let Stepped::Failed(failure) | Stepped::Useless(failure) = &stepped {
                guard.meter().snapshot_read("failed");
                if snapshot.failed(failure) {
                    tracing::warn!(provider = guard.name(), %failure, "a page of the vendor's list could not be read");
                }
            }
            stepped
        }
    }
}

/// Says that a table was read.
fn told(guard: &Guard, table: &Table) {
    guard.meter().snapshot_read(if table.is_cut() { "cut" } else { "complete" });
    let (provider, entities, bytes) = (guard.name(), table.entities(), table.bytes());
    if entities == 0 {
        tracing::warn!(provider, "the vendor's list is empty: check site, account or end point");
    } else if table.is_full() {
        tracing::warn!(
            provider,
            entities,
            bytes,
            "the vendor's list is longer than `snapshot.capacity` holds: absence from it says nothing until that is raised"
        );
    } else if table.is_cut() {
        tracing::warn!(
            provider,
            entities,
            bytes,
            "the vendor gave less than its whole list: absence from it says nothing"
        );
    } else {
        tracing::info!(provider, entities, bytes, "the vendor's list was read");
    }
}
