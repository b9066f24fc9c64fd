//! From an e-mail to the UUID that Cloudflare asks for: two lists of the account, kept for a while.
//!
//! Contract: a list is fetched once for all who ask at the same time, and kept for its lifetime; a failed fetch
//! answers those who waited for it and nobody after them. Bounded: no more than 100,000 users of a list are kept.
//! Never asks anything itself: what to fetch is passed in.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use uuid::Uuid;

use super::normalise;
use super::wire::{AccessUser, SummaryUser};
use crate::entity::is_uuid;
use crate::provider::Failure;
use crate::score::Level;

/// Users of one list that are kept.
const MOST_USERS: usize = 100_000;

/// Bytes of both lists while a new one takes the place of the old, at about 100 for each user.
pub const MOST_BYTES: u64 = 4 * MOST_USERS as u64 * 100;

/// The id of each e-mail in lower case.
pub type Ids = HashMap<Box<str>, Uuid>;

/// A value that is fetched when it is asked for and kept for a while.
pub struct Kept<T> {
    lifetime: Duration,
    last: Mutex<Option<Fetched<T>>>,
}

struct Fetched<T> {
    at: Instant,
    outcome: Result<Arc<T>, Failure>,
}

impl<T> Kept<T> {
    /// Nothing yet; what will be fetched is kept for `lifetime`.
    pub fn new(lifetime: Duration) -> Self {
        Kept { lifetime, last: Mutex::new(None) }
    }

    /// The kept value, or what `fetch` gives. Dropping the future lets the next asker fetch.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub async fn get(&self, fetch: impl Future<Output = Result<T, Failure>>) -> Result<Arc<T>, Failure> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(Fetched { at, outcome }) = &*last {
            let came_while_waiting = *at >= asked;
            if came_while_waiting || (outcome.is_ok() && at.elapsed() < self.lifetime) {
                return outcome.clone();
            }
        }
        let outcome = fetch.await.map(Arc::new);
        *last = Some(Fetched { at: Instant::now(), outcome: outcome.clone() });
        outcome
    }
}

/// The UUID that `text` is, hyphenated as in Cloudflare's URLs; so no word of a route can pass for an id.
pub fn uuid(text: &str) -> Option<Uuid> {
    if is_uuid(text) { Uuid::try_parse(text).ok() } else { None }
}

/// The ids in the summary. Where an e-mail occurs twice, the user with the higher level counts.
pub fn of_summary(rows: Vec<SummaryUser>) -> Ids {
    let mut best: HashMap<Box<str>, (Option<Level>, Uuid)> = HashMap::new();
    for row in rows.into_iter().take(MOST_USERS) {
        let level = row.max_risk_level.as_deref().and_then(normalise::level);
        let (Some(email), Some(id)) = (row.email, row.user_id.as_deref().and_then(uuid)) else { continue };
        let found = best.entry(email.to_lowercase().into()).or_insert((level, id));
        if level > found.0 {
            *found = (level, id);
        }
    }
    best.into_iter().map(|(email, (_, id))| (email, id)).collect()
}

/// Adds a page of the account's users; whether it held anybody new.
pub fn add_users(ids: &mut Ids, rows: Vec<AccessUser>) -> bool {
    let before = ids.len();
    for row in rows {
        let id = row.id.as_deref().and_then(uuid).or_else(|| row.uid.as_deref().and_then(uuid));
        let (Some(email), Some(id)) = (row.email, id) else { continue };
        if ids.len() < MOST_USERS {
            ids.entry(email.to_lowercase().into()).or_insert(id);
        }
    }
    ids.len() > before
}
