//! Which topic a name stands for: Kafka gives every topic an id, and one that is deleted and created again has another.
//!
//! Contract: librdkafka reads on in a new topic of the same name where it stood in the old one, and would pass over what
//! stands before, without a word. So a lane asks for the ids of its topics when they are assigned and every few seconds,
//! without waiting for the answer, and every commit carries a mark: cluster and id of the topic that its offset is of. A
//! mark of another topic makes an offset worthless; one of another cluster, or of somebody else, says nothing.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(10);
/// When the broker's answer is given up.
const TIMEOUT: i32 = 10_000;
/// What a mark begins with.
const WORD: &str = "riskstream";

/// Topics by name, and the id of each.
pub type Ids = HashMap<String, String>;

/// What a commit says of the topic that its offset is of.
pub fn mark(cluster: &str, id: &str) -> String {
    format!("{WORD} {cluster} {id}")
}

/// Whether a committed offset is of another topic than the one that has `mark` now.
pub fn is_of_another(committed: &[u8], mark: &str) -> bool {
    // The id is the last word.
    let Some((same, _)) = mark.rsplit_once(' ') else { return false };
    let of_cluster = committed.strip_prefix(same.as_bytes()).is_some_and(|rest| rest.starts_with(b" "));
    of_cluster && committed != mark.as_bytes()
}

/// The marks in a list of committed offsets, in its order. Not through rdkafka's own accessor, which panics at one that is
/// no text.
pub fn marks(list: &TopicPartitionList) -> Vec<Vec<u8>> {
    let elements = |list: &native::rd_kafka_topic_partition_list_t| {
        let count = usize::try_from(list.cnt).unwrap_or(0);
        if count == 0 || list.elems.is_null() {
            return Vec::new();
        }
        // SAFETY: the list has `cnt` elements at `elems`, which live as long as it does.
        let elements = unsafe { std::slice::from_raw_parts(list.elems, count) };
        let mark = |element: &native::rd_kafka_topic_partition_t| match element.metadata.is_null() {
            true => Vec::new(),
            // SAFETY: metadata that is not null points at `metadata_size` bytes of the element's own.
            false => unsafe {
                std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size).to_vec()
            },
        };
        elements.iter().map(mark).collect()
    };
    // SAFETY: the pointer is the list's own, and the list is borrowed during this call.
    unsafe { list.ptr().as_ref() }.map(elements).unwrap_or_default()
}

/// The ids of `topics`, waited for within `bound`; those that are not told are absent.
pub fn ids<C: ClientContext>(client: &Client<C>, topics: &[&str], bound: Duration) -> Ids {
    let Some(inquiry) = Inquiry::new(client, Instant::now()) else { return Ids::new() };
    if inquiry.ask(client, topics) { inquiry.answer(bound).unwrap_or_default() } else { Ids::new() }
}

/// Questions about topics, one at a time, and where their answers arrive.
pub struct Inquiry {
    queue: NonNull<native::rd_kafka_queue_t>,
    waiting: bool,
    next: Instant,
}

// SAFETY: a queue of librdkafka may be used by any thread.
unsafe impl Send for Inquiry {}

impl Inquiry {
    /// Nothing asked. It must be gone before `client` is.
    pub fn new<C: ClientContext>(client: &Client<C>, now: Instant) -> Option<Self> {
        // SAFETY: the client's pointer is valid while it is borrowed.
        let queue = NonNull::new(unsafe { native::rd_kafka_queue_new(client.native_ptr()) })?;
        Some(Inquiry { queue, waiting: false, next: now + INTERVAL })
    }

    /// Asks when it is time to, and looks for an answer.
    pub fn turn<C: ClientContext>(
        &mut self,
        client: &Client<C>,
        topics: &[&str],
        now: Instant,
    ) -> Option<Ids> {
        if self.waiting {
            let answer = self.answer(Duration::ZERO)?;
            self.waiting = false;
            return Some(answer);
        }
        if now >= self.next {
            self.next = now + INTERVAL;
            self.waiting = self.ask(client, topics);
        }
        None
    }

    fn ask<C: ClientContext>(&self, client: &Client<C>, topics: &[&str]) -> bool {
        let names: Vec<CString> = topics.iter().filter_map(|name| CString::new(*name).ok()).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        if pointers.is_empty() {
            return false;
        }
        // SAFETY: the names outlive these calls, which copy them; what is created here is destroyed here.
        unsafe {
            let topics =
                native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let op = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = native::rd_kafka_AdminOptions_new(client.native_ptr(), op);
            native::rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT, ptr::null_mut(), 0);
            native::rd_kafka_DescribeTopics(client.native_ptr(), topics, options, self.queue.as_ptr());
            native::rd_kafka_AdminOptions_destroy(options);
            native::rd_kafka_TopicCollection_destroy(topics);
        }
        true
    }

    /// An answer, an empty one where the broker gave an error.
    fn answer(&self, bound: Duration) -> Option<Ids> {
        let bound = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is ours. The event is ours until it is destroyed, and what it holds lives as long as it.
        unsafe {
            let event = native::rd_kafka_queue_poll(self.queue.as_ptr(), bound);
            if event.is_null() {
                return None;
            }
            let ids = described(native::rd_kafka_event_DescribeTopics_result(event));
            native::rd_kafka_event_destroy(event);
            Some(ids)
        }
    }
}

/// # Safety
/// `result` is null or that of an event that is not destroyed meanwhile.
unsafe fn described(result: *const native::rd_kafka_DescribeTopics_result_t) -> Ids {
    let mut ids = Ids::new();
    if result.is_null() {
        return ids;
    }
    let mut count = 0;
    // SAFETY: by this function's own contract; the topics and their texts live as long as the result, and are copied.
    unsafe {
        let topics = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() {
            return ids;
        }
        for topic in std::slice::from_raw_parts(topics, count) {
            let id = native::rd_kafka_TopicDescription_topic_id(*topic);
            let name = native::rd_kafka_TopicDescription_name(*topic);
            if id.is_null() || name.is_null() || is_nobodys(id) {
                continue;
            }
            let id = native::rd_kafka_Uuid_base64str(id);
            if !id.is_null() {
                let text = |text| CStr::from_ptr(text).to_string_lossy().into_owned();
                ids.insert(text(name), text(id));
            }
        }
    }
    ids
}

/// Whether an id is zero: of a topic that is not there, or of a broker that is too old to know.
///
/// # Safety
/// `id` points at an id.
unsafe fn is_nobodys(id: *const native::rd_kafka_Uuid_t) -> bool {
    // SAFETY: by this function's own contract.
    unsafe {
        native::rd_kafka_Uuid_most_significant_bits(id) == 0
            && native::rd_kafka_Uuid_least_significant_bits(id) == 0
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and used no more.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_of_another_topic_when_cluster_and_writer_agree_and_the_id_does_not() {
        let now = mark("c1", "id-new");
        assert!(is_of_another(mark("c1", "id-old").as_bytes(), &now));
        assert!(!is_of_another(now.as_bytes(), &now));
        // Copied from another cluster, written by another tool, by an older version, or by nobody.
        for says_nothing in
            [mark("c2", "id-old").as_bytes(), b"reset by hand", b"\xff\xfe", b"", b"riskstream c11 x"]
        {
            assert!(!is_of_another(says_nothing, &now));
        }
    }
}
