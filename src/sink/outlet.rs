//! One of a lane's producers, with the topics that it writes to.
//!
//! Contract: a record is handed to librdkafka, which copies it, or is refused at once. rdkafka's own call looks a topic up by
//! its name under a lock of the whole client, and copies the name, for every record; here that is done once for a topic. This
//! is why the C interface is called directly.

use std::ffi::{CString, c_void};
use std::mem;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use rdkafka::bindings::{self, rd_kafka_vtype_t as Field};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer, ThreadedProducer};

use super::{Context, Outgoing, input_headers};
use crate::source::identity::Supplied;

/// The partition of a record whose key decides (`RD_KAFKA_PARTITION_UA`).
const BY_KEY: i32 = -1;

/// A producer and its topics.
pub(super) struct Outlet {
    // Before the client, which must outlive them: fields end in this order.
    topics: Vec<Topic>,
    client: Supplied<ThreadedProducer<Context>>,
}

impl Outlet {
    /// A producer that has not written yet.
    pub fn new(client: Supplied<ThreadedProducer<Context>>) -> Self {
        Outlet { topics: Vec::new(), client }
    }

    /// Hands a record over.
    ///
    /// # Errors
    /// Why librdkafka does not take it.
    pub fn send(&mut self, record: Outgoing<'_>) -> Result<(), RDKafkaErrorCode> {
        let client = self.client.client().native_ptr();
        let topic = self.topic(record.topic)?;
        let (key, key_size) = bytes(record.key);
        let (value, value_size) = bytes(record.value);
        // SAFETY: client and topic are alive, and the topic is one of this client. Each field is followed by arguments of
        // the types that librdkafka reads for it. Key and value are alive during the call, which copies them (F_COPY).
        // The headers are librdkafka's when it takes the record, and ours otherwise.
        let refused = unsafe {
            bindings::rd_kafka_producev(
                client,
                Field::RD_KAFKA_VTYPE_RKT,
                topic.as_ptr(),
                Field::RD_KAFKA_VTYPE_PARTITION,
                record.partition.unwrap_or(BY_KEY),
                Field::RD_KAFKA_VTYPE_MSGFLAGS,
                bindings::RD_KAFKA_MSG_F_COPY,
                Field::RD_KAFKA_VTYPE_VALUE,
                value,
                value_size,
                Field::RD_KAFKA_VTYPE_KEY,
                key,
                key_size,
                Field::RD_KAFKA_VTYPE_OPAQUE,
                record.token.pack() as *mut c_void,
                Field::RD_KAFKA_VTYPE_TIMESTAMP,
                record.timestamp.unwrap_or(0),
                Field::RD_KAFKA_VTYPE_HEADERS,
                input_headers::native(record.headers.as_borrowed()),
                Field::RD_KAFKA_VTYPE_END,
            )
        };
        if refused != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(refused.into());
        }
        mem::forget(record.headers);
        Ok(())
    }

    fn topic(&mut self, name: &str) -> Result<NonNull<bindings::rd_kafka_topic_t>, RDKafkaErrorCode> {
        // Two at most: the output and the dead letters.
        if let Some(topic) = self.topics.iter().find(|topic| *topic.name == *name) {
            return Ok(topic.native);
        }
        let text = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client is alive, the name ends with a zero byte and is copied; no configuration means the client's.
        let native = unsafe {
            bindings::rd_kafka_topic_new(self.client.client().native_ptr(), text.as_ptr(), ptr::null_mut())
        };
        let native = NonNull::new(native).ok_or(RDKafkaErrorCode::InvalidTopic)?;
        self.topics.push(Topic { name: name.into(), native });
        Ok(native)
    }
}

impl Deref for Outlet {
    type Target = ThreadedProducer<Context>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

/// A topic as one client knows it.
struct Topic {
    name: Box<str>,
    native: NonNull<bindings::rd_kafka_topic_t>,
}

// SAFETY: librdkafka's topics may be used by any thread.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: it was made by `rd_kafka_topic_new`, its client is still alive, and nobody has it after this.
        unsafe { bindings::rd_kafka_topic_destroy(self.native.as_ptr()) }
    }
}

/// As librdkafka wants a key or value: null where there is none.
fn bytes(of: Option<&[u8]>) -> (*mut c_void, usize) {
    of.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}
