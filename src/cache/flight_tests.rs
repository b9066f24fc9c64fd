//! Flights against a provider that is told when to answer.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::super::ttl::Times;
use super::*;
use crate::cache::key::ProviderId;
use crate::config::provider::{Breaker, Common, Retry};
use crate::config::{Config, Lives, Ttl};
use crate::entity::EntityKind;
use crate::provider::meter::NoMeter;
use crate::provider::{Asking, Provider};

/// Answers only when it is let, and counts how often it was asked.
struct Held {
    asked: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    fails: Option<FailureKind>,
}

impl Provider for Held {
    fn kinds(&self) -> &[EntityKind] {
        &[EntityKind::User]
    }

    fn ask<'a>(&'a self, _entity: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            match self.fails {
                Some(kind) => Err(Failure::new(kind, "told to")),
                None => Ok(Answer::Unknown { detail: None }),
            }
        })
    }

    fn renew(&self, _why: FailureKind) -> bool {
        false
    }

    fn probe(&self) -> Asking<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn host(&self) -> &str {
        "held"
    }

    fn identity(&self) -> String {
        "held".to_owned()
    }
}

struct Scene {
    flights: Arc<Flights>,
    carrier: Carrier,
    asked: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

/// One that fails says that the request is wrong, which is nothing against the vendor.
fn scene(fails: bool) -> Scene {
    bounded(fails.then_some(FailureKind::BadRequest), Some(Duration::from_secs(30)))
}

fn bounded(fails: Option<FailureKind>, bound: Option<Duration>) -> Scene {
    let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let provider = Held { asked: Arc::clone(&asked), gate: Arc::clone(&gate), fails };
    // One failure opens it, and at once it tries again.
    let breaker = Breaker { minimum: 1, open_for: Duration::ZERO, ..Common::for_tests().breaker };
    let common =
        Common { breaker, retry: Retry { attempts: 1, ..Common::for_tests().retry }, ..Common::for_tests() };
    let guard = Arc::new(Guard::new("held", Box::new(provider), &common, Arc::new(NoMeter)));
    let minute = Duration::from_secs(60);
    let ttl = Ttl::new(Lives { scored: minute, unknown: minute, failed: minute });
    let carrier = Carrier::new(guard, Lifetimes::new(ttl, &Config::default().cache));
    let flights = Flights::new(Arc::new(Cache::new(1 << 20)), Handle::current(), bound);
    Scene { flights, carrier, asked, gate }
}

/// Counts landings.
#[derive(Default)]
struct Landed(AtomicUsize);

impl Waiter for Landed {
    fn land(&self, _index: u32, _landing: Landing) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn ten_thousand_alerts_about_one_entity_make_one_call() {
    let scene = scene(false);
    let landed = Arc::new(Landed::default());
    let waiter: Arc<dyn Waiter> = Arc::clone(&landed) as Arc<dyn Waiter>;
    let question = Question::new(ProviderId(0), EntityKind::User, "a");
    for index in 0..10_000 {
        assert!(
            scene
                .flights
                .join(&question, &scene.carrier, Priority::Alert, (&waiter, index), || true)
                .is_none()
        );
    }
    scene.gate.add_permits(1);
    while scene.flights.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.asked.load(Ordering::SeqCst), 1);
    assert_eq!(landed.0.load(Ordering::SeqCst), 10_000);
    assert!(
        scene.flights.join(&question, &scene.carrier, Priority::Alert, (&waiter, 0), || true).is_some(),
        "whoever comes later finds the answer"
    );
    assert_eq!(scene.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn whoever_gives_up_is_not_remembered_by_a_flight_that_takes_long() {
    let scene = scene(false);
    let question = Question::new(ProviderId(0), EntityKind::User, "a");
    let patient = Arc::new(Landed::default());
    let waiter: Arc<dyn Waiter> = Arc::clone(&patient) as Arc<dyn Waiter>;
    assert!(scene.flights.join(&question, &scene.carrier, Priority::Alert, (&waiter, 0), || true).is_none());
    let mut gone = Vec::new();
    for index in 0..10_000 {
        let waiter: Arc<dyn Waiter> = Arc::new(Landed::default());
        assert!(
            scene
                .flights
                .join(&question, &scene.carrier, Priority::Alert, (&waiter, index), || true)
                .is_none()
        );
        gone.push(Arc::downgrade(&waiter));
    }
    assert!(gone.iter().all(|waiter| waiter.strong_count() == 0), "an alert that left is kept");
    let passengers = scene.flights.open.get(&question.to_key()).unwrap().passengers.len();
    assert!(passengers <= 4, "{passengers} are remembered, and one waits");
    scene.gate.add_permits(1);
    while scene.flights.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(patient.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failure_is_handed_out_and_remembered() {
    let scene = scene(true);
    scene.gate.add_permits(10);
    let question = Question::new(ProviderId(0), EntityKind::User, "a");
    for _ in 0..3 {
        let landing = scene.flights.ask(&question, &scene.carrier, Priority::Question).await;
        assert!(matches!(landing, Landing::Failed(FailureKind::BadRequest)), "{landing:?}");
    }
    assert_eq!(
        scene.asked.load(Ordering::SeqCst),
        1,
        "a question that cannot be answered is not asked again"
    );
}

/// Puts an answer into the cache as it would be `age` seconds after it was written: ageing from the 50th on,
/// stale from the 60th to the 120th.
fn aged(scene: &Scene, question: &Question<'_>, age: u64) -> Entry {
    let written = Instant::now() - Duration::from_secs(age);
    let [refresh, fresh, stale] = [50, 60, 120].map(Duration::from_secs);
    let times = Times::new(written, refresh, fresh, stale);
    let answer = Rendered::of(&Answer::Unknown { detail: None }, Timestamp::UNIX_EPOCH);
    scene.flights.cache().insert(question, Content::Answer(answer.get()), times)
}

async fn all_landed(flights: &Flights) {
    while flights.open() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_refresh_that_fails_is_not_tried_again_with_every_hit() {
    let scene = scene(true);
    scene.gate.add_permits(100);
    let question = Question::new(ProviderId(0), EntityKind::User, "a");
    aged(&scene, &question, 55);
    let mut started = 0;
    for _ in 0..20 {
        let found = scene.flights.cache().get(&question, Instant::now());
        let Found::Ageing(entry) = found else { panic!("{found:?}") };
        started += usize::from(scene.flights.refresh(&question, &scene.carrier, &entry));
        all_landed(&scene.flights).await;
    }
    assert_eq!((started, scene.asked.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn who_joins_a_refresh_that_fails_gets_the_old_answer() {
    let scene = scene(true);
    let question = Question::new(ProviderId(0), EntityKind::User, "a");
    let entry = aged(&scene, &question, 70);
    assert!(scene.flights.refresh(&question, &scene.carrier, &entry));
    scene.gate.add_permits(1);
    let landing = scene.flights.ask(&question, &scene.carrier, Priority::Alert).await;
    assert!(
        matches!(landing, Landing::Answer(_, Source::Stale(FailureKind::BadRequest))),
        "the failure is told with it: {landing:?}"
    );
    assert_eq!(scene.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refresh_is_as_urgent_as_the_most_urgent_who_joined_it() {
    let scene = scene(false);
    let waiter: Arc<dyn Waiter> = Arc::new(Landed::default());
    let question = Question::new(ProviderId(0), EntityKind::User, "a");
    let entry = aged(&scene, &question, 70);
    assert!(scene.flights.refresh(&question, &scene.carrier, &entry));
    for (joined, then) in [
        (Priority::Alert, Priority::Alert),
        (Priority::Question, Priority::Question),
        (Priority::Alert, Priority::Question),
    ] {
        assert!(scene.flights.join(&question, &scene.carrier, joined, (&waiter, 0), || true).is_none());
        let open = scene.flights.open.get(&question.to_key()).unwrap();
        assert_eq!(*open.urgency.borrow(), then);
    }
    scene.gate.add_permits(1);
    all_landed(&scene.flights).await;
    assert_eq!(scene.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refresh_joins_what_is_under_way_and_makes_no_second_call() {
    let scene = scene(false);
    let question = Question::new(ProviderId(0), EntityKind::User, "a");
    let entry = aged(&scene, &question, 70);
    assert!(scene.flights.refresh(&question, &scene.carrier, &entry));
    assert!(!scene.flights.refresh(&question, &scene.carrier, &entry));
    scene.gate.add_permits(1);
    let landing = scene.flights.ask(&question, &scene.carrier, Priority::Question).await;
    assert!(matches!(landing, Landing::Answer(..)), "{landing:?}");
    assert_eq!(scene.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_ends_within_its_bound_and_without_one_when_the_vendor_has_answered() {
    for (bound, in_time) in [(Some(Duration::from_secs(30)), false), (None, true)] {
        let scene = bounded(None, bound);
        let question = Question::new(ProviderId(0), EntityKind::User, "a");
        let vendor = async {
            tokio::time::sleep(Duration::from_secs(300)).await;
            scene.gate.add_permits(1);
        };
        let (landing, ()) =
            tokio::join!(scene.flights.ask(&question, &scene.carrier, Priority::Question), vendor);
        match landing {
            Landing::Answer(_, Source::Provider) => assert!(in_time),
            Landing::Failed(FailureKind::Deadline) => assert!(!in_time),
            other => panic!("{bound:?}: {other:?}"),
        }
    }
}

#[test]
fn a_flight_whose_task_is_dropped_tells_its_waiters() {
    let landed = Arc::new(Landed::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scene = runtime.block_on(async { scene(false) });
    let waiter: Arc<dyn Waiter> = Arc::clone(&landed) as Arc<dyn Waiter>;
    let question = Question::new(ProviderId(0), EntityKind::User, "a");
    assert!(scene.flights.join(&question, &scene.carrier, Priority::Alert, (&waiter, 0), || true).is_none());
    drop(runtime);
    assert_eq!(landed.0.load(Ordering::SeqCst), 1);
    assert_eq!(scene.flights.open(), 0);
}

#[tokio::test]
async fn no_alert_waits_for_the_call_that_tries_a_vendor_that_hung_but_a_person_does() {
    let scene = bounded(Some(FailureKind::Timeout), Some(Duration::from_secs(30)));
    let question = |id: &'static str| Question::new(ProviderId(0), EntityKind::User, id);
    scene.gate.add_permits(1);
    assert!(matches!(
        scene.flights.ask(&question("a"), &scene.carrier, Priority::Alert).await,
        Landing::Failed(FailureKind::Timeout)
    ));
    // This one is under way until there is another permit.
    assert!(matches!(
        scene.flights.ask(&question("b"), &scene.carrier, Priority::Alert).await,
        Landing::Failed(FailureKind::BreakerOpen)
    ));
    while scene.asked.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    scene.gate.add_permits(1);
    scene.gate.add_permits(1);
    let landing = loop {
        // The try before may not be over yet: then nobody may try.
        match scene.flights.ask(&question("c"), &scene.carrier, Priority::Question).await {
            Landing::Failed(FailureKind::BreakerOpen) => tokio::task::yield_now().await,
            landing => break landing,
        }
    };
    assert!(matches!(landing, Landing::Failed(FailureKind::Timeout)), "{landing:?}");
}
