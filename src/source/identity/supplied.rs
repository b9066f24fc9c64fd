//! A client of librdkafka that is given each new token as long as it lives.
//!
//! Owns the only call of `rd_kafka_oauthbearer_set_token`. Contract: a client is known by its address from its
//! creation until just before its end; who hands out tokens holds the list while doing so, so that no call meets a
//! client that is gone.

use std::ffi::{CString, c_char};
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::AdminClient;
use rdkafka::bindings;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafka;
use secrecy::ExposeSecret;

use super::{Identity, Shared, Token};

/// A client that owns one of librdkafka's.
pub trait Native {
    /// Its address.
    fn native(&self) -> *mut RDKafka;
}

impl<C: ConsumerContext> Native for BaseConsumer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

impl<C: ProducerContext + 'static> Native for ThreadedProducer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

impl<C: ClientContext> Native for AdminClient<C> {
    fn native(&self) -> *mut RDKafka {
        self.inner().native_ptr()
    }
}

impl<T: Native> Native for Supplied<T> {
    fn native(&self) -> *mut RDKafka {
        self.client.native()
    }
}

/// A client with a place in the list of those who are given tokens. It can be looked at, but not taken out.
pub struct Supplied<T> {
    // Before the client: fields end in this order.
    _place: Option<Place>,
    client: T,
}

impl<T: Native> Supplied<T> {
    /// Gives `client` the token of now, and each that follows.
    pub fn new(client: T, identity: &Identity) -> Self {
        let place = identity.0.as_ref().map(|shared| Place::take(shared, client.native()));
        Supplied { _place: place, client }
    }
}

impl<T> Deref for Supplied<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.client
    }
}

/// A client's place in the list. Taken back when it is dropped.
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Place {
    fn take(shared: &Arc<Shared>, address: *mut RDKafka) -> Place {
        let mut clients = shared.clients();
        clients.next += 1;
        let number = clients.next;
        clients.all.push((number, Address(address)));
        // Under the lock of the list: a newer token cannot be handed round in between.
        if let Some((token, left)) = shared.current(Instant::now()) {
            set(address, &token, left);
        }
        Place { shared: Arc::clone(shared), number }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.clients().all.retain(|(number, _)| *number != self.number);
    }
}

/// Where a client of librdkafka is.
struct Address(*mut RDKafka);

// SAFETY: librdkafka's clients may be used from any thread; this one is used only while its place is taken.
unsafe impl Send for Address {}

/// The clients that are given tokens.
#[derive(Default)]
pub(super) struct Clients {
    all: Vec<(u64, Address)>,
    next: u64,
}

impl Clients {
    /// Gives every client `token`, which is good for `left`.
    pub(super) fn tell(&self, token: &Token, left: Duration) {
        for (_, Address(address)) in &self.all {
            set(*address, token, left);
        }
    }
}

/// Gives the client at `address`, whose place is taken, a token.
fn set(address: *mut RDKafka, token: &Token, left: Duration) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = i64::try_from((since + left).as_millis()).unwrap_or(i64::MAX);
    // A name with a zero byte, which no sane provider gives, becomes an empty one.
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let (value, principal) = (text(token.value.expose_secret()), text(&token.principal));
    let extensions: Vec<CString> =
        token.extensions.iter().flat_map(|(name, value)| [text(name), text(value)]).collect();
    let mut places: Vec<*const c_char> = extensions.iter().map(|text| text.as_ptr()).collect();
    let list = if places.is_empty() { ptr::null_mut() } else { places.as_mut_ptr() };
    let mut words = [0; 512];
    // SAFETY: the client is alive, as its place is taken and the list is locked; every text and the list of them
    // outlive the call, which copies them; `words` has the length that is said.
    let result = unsafe {
        bindings::rd_kafka_oauthbearer_set_token(
            address,
            value.as_ptr(),
            until,
            principal.as_ptr(),
            list,
            places.len(),
            words.as_mut_ptr(),
            words.len(),
        )
    };
    if result != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        // librdkafka's own words may quote the token.
        tracing::error!(target: "riskstream::kafka", code = result as i32, "librdkafka does not take the token");
    }
}
