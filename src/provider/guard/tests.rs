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
            let token = SecretString::from(format!("token {}", self.token.load(Ordering::SeqCst)));
            let response =
                self.transport.send(Request::get(url).secret_header("authorization", &token)).await?;
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

    fn renew(&self) {
        self.token.fetch_add(1, Ordering::SeqCst);
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
    let server =
        Arc::new(Server { script: Mutex::new(script.iter().copied().collect()), hits: AtomicUsize::new(0) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = BaseUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let router = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut common = Common::for_tests();
    change(&mut common);
    let gate = Arc::new(Gate::new(common.limit));
    let transport = Transport::new(&common, &base, gate, Arc::new(NoMeter)).unwrap();
    let vendor = Vendor { base, transport, token: AtomicUsize::new(1) };
    (Guard::new("acme", Box::new(vendor), &common, Arc::new(NoMeter)), server)
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
