//! Waiting at the gate, with a clock that the tests move.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use tokio::task::JoinSet;
use tokio::time::{Instant as Now, advance};

const SECOND: Duration = Duration::from_secs(1);
const PATIENT: Duration = Duration::from_secs(3600);

fn per_second(requests: u32) -> Option<Limit> {
    Some(Limit { requests, per: SECOND, share: (1, 1) })
}

fn blocked(seconds: u64) -> Quota {
    Quota { retry_after: Some(Duration::from_secs(seconds)), windows: Vec::new() }
}

/// Lets every task that can go on do so.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_gate_is_passed_without_waiting() {
    let gate = Arc::new(Gate::new(per_second(2)));
    let member = gate.enter(1, 1);
    let start = Now::now();
    drop(gate.pass(member, Priority::Alert, Duration::ZERO).await.unwrap());
    drop(gate.pass(member, Priority::Alert, Duration::ZERO).await.unwrap());
    assert_eq!(start.elapsed(), Duration::ZERO);
    let refused = gate.pass(member, Priority::Alert, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused, Refused::TooLong(None));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_passes_at_the_pace_of_the_limit() {
    let gate = Arc::new(Gate::new(per_second(10)));
    let member = gate.enter(1000, 1000);
    let start = Now::now();
    let mut crowd = JoinSet::new();
    for _ in 0..100 {
        let gate = gate.clone();
        crowd.spawn(async move { gate.pass(member, Priority::Alert, PATIENT).await.map(|_| Now::now()) });
    }
    let mut passed: Vec<_> = crowd.join_all().await.into_iter().map(Result::unwrap).collect();
    passed.sort();
    for (first, from) in passed.iter().enumerate() {
        assert!(passed[first..].iter().filter(|at| **at < *from + SECOND).count() <= 10);
    }
    let took = start.elapsed();
    assert!(took >= 9 * SECOND && took < 10 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_urgent_go_first_and_equals_in_the_order_they_came() {
    let gate = Arc::new(Gate::new(None));
    let member = gate.enter(1, 100);
    let only = gate.pass(member, Priority::Alert, PATIENT).await.unwrap();
    let (passed, mut order) = tokio::sync::mpsc::unbounded_channel();
    for (number, priority) in
        [Priority::Refresh, Priority::Alert, Priority::Question, Priority::Alert, Priority::Question]
            .into_iter()
            .enumerate()
    {
        let (gate, passed) = (gate.clone(), passed.clone());
        tokio::spawn(async move {
            let _pass = gate.pass(member, priority, PATIENT).await.unwrap();
            passed.send(number).unwrap();
        });
        settle().await;
    }
    drop((only, passed));
    let mut seen = Vec::new();
    while let Some(number) = order.recv().await {
        seen.push(number);
    }
    assert_eq!(seen, [2, 4, 1, 3, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_a_long_wait_ends_at_its_bound() {
    let gate = Arc::new(Gate::new(None));
    let member = gate.enter(1, 1);
    let _only = gate.pass(member, Priority::Alert, PATIENT).await.unwrap();
    let start = Now::now();
    let waiting = gate.pass(member, Priority::Alert, 5 * SECOND);
    tokio::pin!(waiting);
    assert!(futures_poll(&mut waiting).await.is_none());
    assert_eq!(gate.waiting(member), 1);
    assert_eq!(gate.pass(member, Priority::Question, PATIENT).await.unwrap_err(), Refused::Full);
    assert_eq!(waiting.await.unwrap_err(), Refused::TooLong(None));
    assert_eq!(start.elapsed(), 5 * SECOND);
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_is_abandoned_takes_neither_slot_nor_place() {
    let gate = Arc::new(Gate::new(per_second(2)));
    let member = gate.enter(1, 10);
    let first = gate.pass(member, Priority::Alert, PATIENT).await.unwrap();
    {
        let mut abandoned = Box::pin(gate.pass(member, Priority::Alert, PATIENT));
        assert!(futures_poll(&mut abandoned).await.is_none());
    }
    // Granted and then abandoned before it was noticed.
    let mut granted = Box::pin(gate.pass(member, Priority::Alert, PATIENT));
    assert!(futures_poll(&mut granted).await.is_none());
    drop(first);
    drop(granted);
    assert_eq!(gate.waiting(member), 0);
    let start = Now::now();
    drop(gate.pass(member, Priority::Alert, PATIENT).await.unwrap());
    assert!(start.elapsed() <= SECOND + SECOND / 20);
}

#[tokio::test(start_paused = true)]
async fn a_block_longer_than_the_wait_is_told_at_once_and_a_shorter_one_is_sat_out() {
    let gate = Arc::new(Gate::new(None));
    let member = gate.enter(1, 10);
    gate.observe(429, &blocked(300));
    let start = Now::now();
    let refused = gate.pass(member, Priority::Alert, 10 * SECOND).await.unwrap_err();
    assert_eq!(refused, Refused::TooLong(Some(300 * SECOND)));
    assert_eq!(start.elapsed(), Duration::ZERO);
    advance(295 * SECOND).await;
    drop(gate.pass(member, Priority::Alert, 10 * SECOND).await.unwrap());
    let waited = start.elapsed();
    assert!(waited >= 300 * SECOND && waited < 301 * SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_block_that_comes_later_holds_those_who_wait_already() {
    let gate = Arc::new(Gate::new(per_second(1)));
    let member = gate.enter(10, 10);
    drop(gate.pass(member, Priority::Alert, PATIENT).await.unwrap());
    let start = Now::now();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { gate.pass(member, Priority::Alert, PATIENT).await.map(drop) }
    });
    settle().await;
    gate.observe(429, &blocked(60));
    waiting.await.unwrap().unwrap();
    assert!(start.elapsed() >= 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn instances_share_the_quota_of_a_credential_but_not_their_places() {
    let limiters = Limiters::default();
    let gate = limiters.gate(credential("key"), per_second(3));
    assert!(
        Arc::ptr_eq(&gate, &limiters.gate(credential("key"), per_second(2))),
        "the stricter limit counts"
    );
    assert!(!Arc::ptr_eq(&gate, &limiters.gate(credential("other"), None)));
    let (one, other) = (gate.enter(1, 10), gate.enter(5, 10));
    let _held = gate.pass(one, Priority::Alert, PATIENT).await.unwrap();
    // The first instance's line does not hold up the second's.
    let mut stuck = Box::pin(gate.pass(one, Priority::Alert, PATIENT));
    assert!(futures_poll(&mut stuck).await.is_none());
    assert!(gate.pass(other, Priority::Alert, Duration::ZERO).await.is_ok());
    assert!(gate.pass(other, Priority::Alert, Duration::ZERO).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn instances_that_share_a_limit_take_turns_in_the_order_they_came() {
    let gate = Arc::new(Gate::new(per_second(1)));
    let members = [gate.enter(10, 10), gate.enter(10, 10)];
    drop(gate.pass(members[0], Priority::Alert, PATIENT).await.unwrap());
    let (passed, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..6 {
        let (gate, passed) = (gate.clone(), passed.clone());
        tokio::spawn(async move {
            let _pass = gate.pass(members[number % 2], Priority::Alert, PATIENT).await.unwrap();
            passed.send(number).unwrap();
        });
        settle().await;
    }
    drop(passed);
    let mut seen = Vec::new();
    while let Some(number) = order.recv().await {
        seen.push(number);
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
}

fn credential(secret: &str) -> Credential {
    Credential::new("datadog", "api.example", vec![crate::config::Secret::literal(secret).fingerprint()])
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_only_those_pass_who_need_not_wait() {
    let gate = Arc::new(Gate::new(None));
    let member = gate.enter(1, 0);
    let _only = gate.pass(member, Priority::Alert, PATIENT).await.unwrap();
    assert_eq!(gate.pass(member, Priority::Question, PATIENT).await.unwrap_err(), Refused::Full);
    assert_eq!(gate.waiting(member), 0);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_urgent_while_it_waits_overtakes_and_keeps_its_turn() {
    let gate = Arc::new(Gate::new(None));
    let member = gate.enter(1, 100);
    let only = gate.pass(member, Priority::Alert, PATIENT).await.unwrap();
    let (raise, raised) = watch::channel(Priority::Refresh);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut crowd = JoinSet::new();
    for (name, urgency) in [
        ("first alert", Priority::Alert.into()),
        ("refresh", Priority::Refresh.into()),
        ("raised", Urgency::new(Priority::Refresh, raised)),
        ("last alert", Priority::Alert.into()),
    ] {
        let (gate, order) = (gate.clone(), order.clone());
        crowd.spawn(async move {
            let _pass = gate.pass(member, urgency, PATIENT).await.unwrap();
            order.lock().unwrap().push(name);
        });
        settle().await;
    }
    raise.send_replace(Priority::Alert);
    settle().await;
    drop(only);
    crowd.join_all().await;
    assert_eq!(*order.lock().unwrap(), ["first alert", "raised", "last alert", "refresh"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_raised_may_have_the_slots_that_a_refresh_leaves_to_others() {
    let gate = Arc::new(Gate::new(per_second(10)));
    let member = gate.enter(100, 100);
    for _ in 0..9 {
        drop(gate.pass(member, Priority::Alert, Duration::ZERO).await.unwrap());
    }
    let start = Now::now();
    let (raise, raised) = watch::channel(Priority::Refresh);
    let mut waiting = Box::pin(gate.pass(member, Urgency::new(Priority::Refresh, raised), PATIENT));
    assert!(tokio::time::timeout(SECOND / 10, &mut waiting).await.is_err());
    raise.send_replace(Priority::Alert);
    drop(waiting.await.unwrap());
    assert!(start.elapsed() < SECOND / 2, "{:?}", start.elapsed());
    assert_eq!(gate.waiting(member), 0);

    // The sender may be gone before the waiting is over.
    let (gone, raised) = watch::channel(Priority::Refresh);
    drop(gone);
    drop(gate.pass(member, Urgency::new(Priority::Refresh, raised), PATIENT).await.unwrap());
}
