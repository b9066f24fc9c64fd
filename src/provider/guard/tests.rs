//! The guard against a server with a script, and its breaker with a clock that the tests move.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::*;
use crate::entity::EntityKind;
use crate::http::{BaseUrl, Request};
use crate::provider::Asking;
use crate::provider::gate::Gate;
use crate::provider::meter::NoMeter;
use crate::provider::transport::{self, Transport};

/// What the server says: a status and a header, or nothing at all.
#[derive(Clone, Copy)]
enum Says {
    Status(u16),
    RetryAfter(u16, &'static str),
    Quota(&'static str),
    /// 200 to the second token, 401 to any other.
    TokenTwo,
    Nothing,
}
use Says::*;

/// A server that follows its script and repeats the last line.
struct Server {
    script: Mutex<VecDeque<Says>>,
    hits: AtomicUsize,
}

async fn answer(State(server): State<Arc<Server>>, headers: HeaderMap) -> axum::response::Response {
    server.hits.fetch_add(1, Ordering::SeqCst);
    let line = {
        let mut script = server.script.lock().unwrap();
        if script.len() > 1 { script.pop_front().unwrap() } else { script[0] }
    };
    let status = |code| StatusCode::from_u16(code).unwrap();
    match line {
        Status(code) => status(code).into_response(),
        RetryAfter(code, wait) => (status(code), [("retry-after", wait)]).into_response(),
        Quota(text) => (StatusCode::OK, [("ratelimit", text)]).into_response(),
        TokenTwo if headers["authorization"] == "token 2" => StatusCode::OK.into_response(),
        TokenTwo => StatusCode::UNAUTHORIZED.into_response(),
        Nothing => std::future::pending().await,
    }
}

/// A vendor that knows nobody.
struct Vendor {
    base: BaseUrl,
    transport: Transport,
    token: AtomicUsize,
}

impl Provider for Vendor {
    fn kinds(&self) -> &[EntityKind] {
        &[EntityKind::User]
    }

    fn ask<'a>(&'a self, entity: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(async move {
            let url = self.base.join(&["risk", &entity.id], "", &[]).unwrap();
            let build = || {
                let token = SecretString::from(format!("token {}", self.token.load(Ordering::SeqCst)));
                Ok(Request::get(url).secret_header("authorization", &token))
            };
            let response = self.transport.send(build).await?;
            let kind = match response.status {
                200 => return Ok(Answer::Unknown { detail: None }),
                401 => FailureKind::Unauthorised,
                403 => FailureKind::Forbidden,
                429 => FailureKind::RateLimited,
                _ => FailureKind::ServerError,
            };
            Err(Failure::new(kind, format!("HTTP {}", response.status)))
        })
    }

    fn renew(&self, why: FailureKind) -> bool {
        let anew = why == FailureKind::Unauthorised;
        self.token.fetch_add(usize::from(anew), Ordering::SeqCst);
        anew
    }

    fn probe(&self) -> Asking<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn host(&self) -> &str {
        self.base.host()
    }

    fn identity(&self) -> String {
        self.base.host().to_owned()
    }
}

async fn guarded(script: &[Says], change: impl FnOnce(&mut Common)) -> (Guard, Arc<Server>) {
    measured(script, change, Arc::new(NoMeter)).await
}

async fn measured(
    script: &[Says],
    change: impl FnOnce(&mut Common),
    meter: Arc<dyn Meter>,
) -> (Guard, Arc<Server>) {
    let server =
        Arc::new(Server { script: Mutex::new(script.iter().copied().collect()), hits: AtomicUsize::new(0) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = BaseUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let router = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut common = Common::for_tests();
    change(&mut common);
    let gate = Arc::new(Gate::new(common.limit));
    let transport = Transport::new(&common, &base, gate, Arc::clone(&meter)).unwrap();
    let vendor = Vendor { base, transport, token: AtomicUsize::new(1) };
    (Guard::new("acme", Box::new(vendor), &common, meter), server)
}

fn entity() -> Entity {
    Entity::new(EntityKind::User, "john.doe")
}

async fn ask(guard: &Guard) -> Result<Answer, FailureKind> {
    guard.ask(&entity(), Priority::Alert, Some(Duration::from_secs(20))).await.map_err(|failure| failure.kind)
}

fn hits(server: &Server) -> usize {
    server.hits.load(Ordering::SeqCst)
}

const UNKNOWN: Result<Answer, FailureKind> = Ok(Answer::Unknown { detail: None });

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_told() {
    let (guard, server) = guarded(&[Status(500), Status(503), Status(200)], |_| {}).await;
    assert_eq!(ask(&guard).await, UNKNOWN);
    assert_eq!(hits(&server), 3);
    let (guard, server) = guarded(&[Status(500)], |_| {}).await;
    assert_eq!(ask(&guard).await, Err(FailureKind::ServerError));
    assert_eq!(hits(&server), 3);
}

#[tokio::test]
async fn a_rate_limited_question_waits_as_asked_and_is_answered() {
    let (guard, server) = guarded(&[RetryAfter(429, "1"), Status(200)], |_| {}).await;
    let start = Instant::now();
    assert_eq!(ask(&guard).await, UNKNOWN);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(hits(&server), 2);
}

#[tokio::test]
async fn a_long_block_fails_every_question_at_once_without_a_request() {
    let (guard, server) = guarded(&[RetryAfter(429, "300")], |_| {}).await;
    for _ in 0..5 {
        let failure = guard.ask(&entity(), Priority::Question, None).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited);
    }
    assert_eq!(hits(&server), 1);
    assert_eq!(guard.state().condition, Condition::Closed);
}

#[tokio::test]
async fn an_exhausted_quota_is_known_before_the_first_refusal() {
    let (guard, server) = guarded(&[Quota("\"default\";r=0;t=300")], |_| {}).await;
    assert_eq!(ask(&guard).await, UNKNOWN);
    assert_eq!(ask(&guard).await, Err(FailureKind::RateLimited));
    assert_eq!(hits(&server), 1);
}

#[tokio::test]
async fn a_stale_token_is_renewed_once() {
    let (guard, server) = guarded(&[TokenTwo], |_| {}).await;
    assert_eq!(ask(&guard).await, UNKNOWN);
    assert_eq!(hits(&server), 2);
    assert_eq!(guard.state().condition, Condition::Closed);
}

#[tokio::test]
async fn many_calls_that_are_refused_together_sign_in_anew_once() {
    let (guard, _server) = guarded(&[TokenTwo], |_| {}).await;
    let guard = Arc::new(guard);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let guard = Arc::clone(&guard);
        calls.spawn(async move { ask(&guard).await });
    }
    // A second renewal would have made token 3, which the server refuses.
    for answer in calls.join_all().await {
        assert_eq!(answer, UNKNOWN);
    }
}

#[tokio::test]
async fn what_waits_for_a_slot_while_a_key_is_refused_sets_out_with_its_successor() {
    let (guard, server) = guarded(&[TokenTwo], |common| common.concurrency = 1).await;
    let guard = Arc::new(guard);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let guard = Arc::clone(&guard);
        calls.spawn(async move { ask(&guard).await });
    }
    for answer in calls.join_all().await {
        assert_eq!(answer, UNKNOWN);
    }
    assert_eq!(hits(&server), 33, "one was refused");
}

#[tokio::test]
async fn opening_and_closing_are_logged_without_an_identifier() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Written(Arc::clone(&log));
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    // What another test is the first to log in the moment that this one begins to listen counts as unheard from then on
    // (`tracing` keeps that for each place that logs): so once to have logged, and once to be heard.
    for _ in 0..2 {
        tracing::callsite::rebuild_interest_cache();
        log.lock().unwrap().clear();
        let (guard, _server) =
            guarded(&[Status(403), Status(200)], |common| common.breaker.refused_for = Duration::ZERO).await;
        assert_eq!(ask(&guard).await, Err(FailureKind::Forbidden));
        assert_eq!(ask(&guard).await, UNKNOWN);
    }
    let text = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("WARN") && lines[0].contains("provider=acme reason=\"forbidden\""), "{text}");
    assert!(lines[1].contains("the breaker is closed"), "{text}");
    assert!(!text.contains("john.doe"), "{text}");
}

/// Keeps what is logged.
#[derive(Clone)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn refused_credentials_stop_every_further_request_and_say_so() {
    let (guard, server) = guarded(&[Status(401)], |_| {}).await;
    assert_eq!(ask(&guard).await, Err(FailureKind::Unauthorised));
    assert_eq!(hits(&server), 2);
    let failure = guard.ask(&entity(), Priority::Alert, None).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::BreakerOpen);
    assert!(failure.retry_after.unwrap() > Duration::from_secs(50));
    assert_eq!(hits(&server), 2);
    let problem = guard.state().problem().unwrap();
    assert!(problem.starts_with("acme: unauthorised: HTTP 401, since 20"), "{problem}");
    assert!(!problem.contains("john.doe") && !failure.detail.contains("john.doe"));
}

#[tokio::test]
async fn a_vendor_that_never_answers_costs_a_time_out_and_opens_the_breaker() {
    let (guard, server) = guarded(&[Nothing], |common| {
        common.timeout = Duration::from_millis(30);
        common.retry.attempts = 1;
        common.breaker.minimum = 3;
    })
    .await;
    for _ in 0..3 {
        assert_eq!(ask(&guard).await, Err(FailureKind::Timeout));
    }
    assert_eq!(ask(&guard).await, Err(FailureKind::BreakerOpen));
    assert_eq!(hits(&server), 3);
}

#[tokio::test]
async fn our_own_impatience_is_a_deadline_and_not_the_vendors_fault() {
    let (guard, _server) = guarded(&[Nothing], |common| common.breaker.minimum = 1).await;
    let failure = guard.ask(&entity(), Priority::Alert, Some(Duration::from_millis(50))).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Deadline);
    assert_eq!(guard.state().condition, Condition::Closed);
}

#[tokio::test]
async fn answers_that_are_all_unknown_raise_a_doubt() {
    let (guard, _server) = guarded(&[Status(200)], |_| {}).await;
    assert_eq!(ask(&guard).await, UNKNOWN);
    assert_eq!(guard.state().problem(), None);
    for _ in 0..500 {
        guard.watch().tally.count(&Answer::Unknown { detail: None });
    }
    let problem = guard.state().problem().unwrap();
    assert!(problem.starts_with("acme: 501 of the last 501 entities are unknown"), "{problem}");
}

#[tokio::test]
async fn more_waiting_than_the_queue_holds_is_overload() {
    let (guard, server) = guarded(&[Nothing], |common| (common.concurrency, common.queue) = (1, 0)).await;
    let guard = Arc::new(guard);
    let hanging = tokio::spawn({
        let guard = Arc::clone(&guard);
        async move { ask(&guard).await }
    });
    while hits(&server) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&guard).await, Err(FailureKind::Overloaded));
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    // The place of the abandoned request is free again, so this one is sent.
    let failure = guard.ask(&entity(), Priority::Alert, Some(Duration::from_millis(50))).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Deadline);
}

/// Writes down what is measured.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Meter for Notes {
    fn request(&self, outcome: &'static str, _: Duration) {
        self.0.lock().unwrap().push(format!("request {outcome}"));
    }
    fn limiter_wait(&self, _: Duration) {
        self.0.lock().unwrap().push("slot".to_owned());
    }
    fn quota_remaining(&self, requests: u64) {
        self.0.lock().unwrap().push(format!("remaining {requests}"));
    }
    fn retry(&self, because: FailureKind) {
        self.0.lock().unwrap().push(format!("retry {because}"));
    }
    fn breaker(&self, condition: Condition) {
        self.0.lock().unwrap().push(condition.label().to_owned());
    }
}

#[tokio::test]
async fn everything_on_the_way_is_measured() {
    let notes = Arc::new(Notes::default());
    let script = [Status(500), Quota("\"default\";r=9;t=30"), Status(403), Status(200)];
    let (guard, _server) =
        measured(&script, |common| common.breaker.refused_for = Duration::ZERO, notes.clone()).await;
    for _ in 0..3 {
        let _ = ask(&guard).await;
    }
    let notes = notes.0.lock().unwrap().join(", ");
    assert_eq!(
        notes,
        "closed, slot, request server_error, retry server_error, slot, request ok, remaining 9, \
         slot, request refused, open, half_open, slot, request ok, closed"
    );
}

/// A vendor of which only the well-being is known, for tests with a stopped clock (which real sockets do not
/// bear).
struct Puppet {
    well: Arc<std::sync::atomic::AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Provider for Puppet {
    fn kinds(&self) -> &[EntityKind] {
        &[EntityKind::User]
    }

    fn ask<'a>(&'a self, _: &'a Entity) -> Asking<'a, Answer> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            transport::count(Duration::ZERO, 1);
            tokio::time::sleep(Duration::from_millis(100)).await;
            match self.well.load(Ordering::SeqCst) {
                true => Ok(Answer::Unknown { detail: None }),
                false => Err(Failure::new(FailureKind::Forbidden, "HTTP 403")),
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
        "puppet"
    }

    fn identity(&self) -> String {
        String::new()
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_lets_one_probe_through_and_closes_when_it_is_answered() {
    let (well, asked) = (Arc::new(false.into()), Arc::new(AtomicUsize::new(0)));
    let puppet = Puppet { well: Arc::clone(&well), asked: Arc::clone(&asked) };
    let guard = Guard::new("acme", Box::new(puppet), &Common::for_tests(), Arc::new(NoMeter));
    assert_eq!(ask(&guard).await, Err(FailureKind::Forbidden));
    let since = guard.state().trouble.unwrap().1;
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(ask(&guard).await, Err(FailureKind::BreakerOpen));
    tokio::time::advance(Duration::from_secs(1)).await;
    // Still refused: open again, and in trouble since the first time.
    assert_eq!(ask(&guard).await, Err(FailureKind::Forbidden));
    assert_eq!(guard.state().trouble.unwrap().1, since);

    tokio::time::advance(Duration::from_secs(60)).await;
    well.store(true, Ordering::SeqCst);
    let mut abandoned = Box::pin(ask(&guard));
    tokio::select! {
        biased;
        _ = &mut abandoned => panic!("the probe takes a while"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(ask(&guard).await, Err(FailureKind::BreakerOpen), "one probe at a time");
    drop(abandoned);
    assert_eq!(ask(&guard).await, UNKNOWN, "an abandoned probe makes room");
    assert_eq!(guard.state().condition, Condition::Closed);
    assert_eq!(guard.state().problem(), None);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}
