//! The listener, and the frame around each vendor's pages: counting, latency, faults.
//!
//! Each vendor stands below its own prefix (`/datadog/...`), which is part of the base address that a
//! provider is configured with. The pages themselves know nothing of faults. [`super::control`] is never
//! counted and never fails.

use std::future::{Future, IntoFuture};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::faults::Answer;
use super::line::{Lines, Mode, Wire};
use super::world::World;
use super::{control, prefixes, vendors};

/// A simulator on the current tokio runtime, in a task of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    world: Arc<World>,
    stop: watch::Sender<bool>,
    task: Option<tokio::task::JoinHandle<io::Result<()>>>,
}

impl Simulator {
    /// Listens on `addr` (`127.0.0.1:0` takes any free port) before it returns.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(addr: SocketAddr, world: Arc<World>) -> io::Result<Simulator> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let (stop, mut stopped) = watch::channel(false);
        let shutdown = async move {
            // An error means that the simulator is gone, which is the same.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let task = tokio::spawn(serve(listener, Arc::clone(&world), shutdown));
        Ok(Simulator { addr, world, stop, task: Some(task) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What stands behind it.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The base address of one vendor: `http://127.0.0.1:4711/datadog`.
    pub fn base_url(&self, vendor: &str) -> String {
        format!("http://{}/{vendor}", self.addr)
    }

    /// Stops it and waits until its port is free and its connections are closed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // A panic in there has been reported by its own thread.
            let _ = task.await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Serves all vendors and the control pages until `shutdown` ends; calls that hang or wait end then, too.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    world: Arc<World>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let frame = Frame { world: Arc::clone(&world), stopped };
    let pages = vendors(&world)
        .nest("/_simulator", control::router(world))
        .layer(from_fn_with_state(frame, around))
        .into_make_service_with_connect_info::<Wire>();
    let shutdown = async move {
        shutdown.await;
        stop.send_replace(true);
    };
    axum::serve(Lines(listener), pages).with_graceful_shutdown(shutdown).into_future().await
}

#[derive(Clone)]
struct Frame {
    world: Arc<World>,
    stopped: watch::Receiver<bool>,
}

impl Frame {
    /// Waits, but not beyond the end of the simulator.
    async fn wait(&self, time: Option<Duration>) {
        let mut stopped = self.stopped.clone();
        let end = async {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        match time {
            Some(Duration::ZERO) => {}
            Some(time) => drop(tokio::time::timeout(time, end).await),
            None => end.await,
        }
    }
}

/// Counts a call as under way until it is answered or its client has gone.
struct UnderWay<'a>(&'a World, &'a str);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

async fn around(
    State(frame): State<Frame>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
    next: Next,
) -> Response {
    wire.set(Mode::Whole);
    let path = request.uri().path();
    let first = path.split('/').nth(1).unwrap_or_default();
    let Some(vendor) = prefixes().find(|vendor| *vendor == first) else {
        return next.run(request).await;
    };
    let line = match request.uri().query() {
        Some(query) => format!("{} {path}?{query}", request.method()),
        None => format!("{} {path}", request.method()),
    };
    let (latency, fault) = frame.world.begin(vendor, path, line);
    let _under_way = UnderWay(&frame.world, vendor);
    frame.wait(Some(latency)).await;
    match fault.and_then(|fault| fault.answer) {
        None => next.run(request).await,
        Some(Answer::Hang) => {
            frame.wait(None).await;
            wire.set(Mode::Closed);
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some(Answer::Reset) => {
            wire.set(Mode::Closed);
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some(Answer::Truncated) => {
            let answer = next.run(request).await;
            wire.set(Mode::Truncated);
            answer
        }
        Some(Answer::Slow(rate)) => {
            let answer = next.run(request).await;
            wire.set(Mode::Slow(rate));
            answer
        }
        Some(Answer::Status { code, headers, body }) => {
            let mut answer = json(code, body);
            for (name, value) in &headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    answer.headers_mut().insert(name, value);
                }
            }
            answer
        }
        Some(Answer::Garbage) => json(200, vec![0x00, 0xFF, 0xFE, b'{', 0xC3, 0x28, b'"', 0x80]),
        Some(Answer::Html(code)) => {
            let page =
                "<html><head><title>Gateway</title></head><body><h1>This is not the API.</h1></body></html>";
            let mut answer = json(code, page);
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            answer
        }
        Some(Answer::Huge(bytes)) => {
            let mut body = b"{\"padding\":\"".to_vec();
            body.resize(bytes.max(body.len() + 2) - 2, b'x');
            body.extend_from_slice(b"\"}");
            json(200, body)
        }
        Some(Answer::Bomb(bytes)) => {
            let mut packed = GzEncoder::new(Vec::new(), Compression::best());
            // Writing into memory cannot fail.
            let _ = io::copy(&mut io::repeat(b' ').take(bytes as u64), &mut packed);
            let mut answer = json(200, packed.finish().unwrap_or_default());
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        }
    }
}

fn json(code: u16, body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
