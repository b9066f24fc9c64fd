//! A server for tests of vendors: answers what it is told to, and keeps what it was asked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, Uri};

use crate::http::BaseUrl;

/// One request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Path and query, byte for byte.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    /// The value of a header; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

/// An answer of `status` with `body`.
pub(crate) fn told(status: u16, body: impl Into<String>) -> Told {
    Told { status, headers: Vec::new(), body: body.into() }
}

impl Told {
    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// The server. Requests beyond its answers get a 500.
pub(crate) struct Recorder {
    state: Arc<Mutex<(VecDeque<Told>, Vec<Asked>)>>,
    address: String,
}

impl Recorder {
    /// Listens, and gives each request the next of `answers`.
    pub(crate) async fn start(answers: impl IntoIterator<Item = Told>) -> Self {
        let state = Arc::new(Mutex::new((answers.into_iter().collect(), Vec::new())));
        let shared: Arc<Mutex<(VecDeque<Told>, Vec<Asked>)>> = Arc::clone(&state);
        let app =
            axum::Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap| async move {
                let (answers, asked) = &mut *shared.lock().unwrap();
                asked.push(Asked { method, target: uri.path_and_query().unwrap().to_string(), headers });
                let told = answers.pop_front().unwrap_or_else(|| told(500, "nothing more to say"));
                let mut response = Response::builder().status(told.status);
                for (name, value) in told.headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(told.body)).unwrap()
            });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Recorder { state, address }
    }

    /// Where it listens, with a path prefix.
    pub(crate) fn base(&self, prefix: &str) -> BaseUrl {
        BaseUrl::parse(&format!("{}{prefix}", self.address)).unwrap()
    }

    /// Everything that was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().1.clone()
    }

    /// The targets of everything that was asked.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.target).collect()
    }
}
