//! A hole in librdkafka 2.12.1 that is closed here: news of partitions without a leader.
//!
//! An answer to a fetch may say that partitions have new leaders (KIP-951). librdkafka reserves an entry for each
//! partition of which the answer says anything, fills in only those that have a leader now, and then reads them all:
//! what is left takes its partition number from memory that nobody wrote, and the process dies, or writes where it must
//! not (its issue 5280, open). A broker that is killed and comes back is enough.
//!
//! `build.rs` has the linker call [`__wrap_rd_kafkap_leader_discovery_set_topic`] for librdkafka's function, which then
//! gives every entry a number that no partition has. To be deleted when librdkafka counts what it filled in.

use std::ffi::{c_char, c_int, c_void};

use rdkafka::bindings::rd_kafka_metadata;

/// `rd_kafka_Uuid_t`.
#[repr(C)]
pub struct Uuid {
    most: i64,
    least: i64,
    text: [c_char; 23],
}

unsafe extern "C" {
    fn __real_rd_kafkap_leader_discovery_set_topic(
        buffer: *mut c_void,
        metadata: *mut rd_kafka_metadata,
        topic: c_int,
        id: Uuid,
        name: *mut c_char,
        partitions: c_int,
    );
}

/// Has librdkafka's function reserve `partitions` entries for a topic, and makes each one of no partition, until it is
/// filled in.
///
/// # Safety
/// As librdkafka calls it: `metadata` begins with the public structure and has room for `topic`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_rd_kafkap_leader_discovery_set_topic(
    buffer: *mut c_void,
    metadata: *mut rd_kafka_metadata,
    topic: c_int,
    id: Uuid,
    name: *mut c_char,
    partitions: c_int,
) {
    // SAFETY: the arguments are handed on as they came. Afterwards the topic has `partitions` entries of its own, which
    // nobody else knows yet; they are written and not read.
    unsafe {
        __real_rd_kafkap_leader_discovery_set_topic(buffer, metadata, topic, id, name, partitions);
        let topic = (*metadata).topics.offset(topic as isize);
        for index in 0..partitions as isize {
            let entry = (*topic).partitions.offset(index);
            (&raw mut (*entry).id).write(i32::MAX);
            (&raw mut (*entry).leader).write(-1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rd_tmpabuf_t`: memory that is given away piece by piece.
    #[repr(C)]
    struct Buffer {
        size: usize,
        of: usize,
        memory: *mut c_char,
        failed: c_int,
        asserts: c_char,
    }

    unsafe extern "C" {
        fn rd_kafkap_leader_discovery_set_topic_cnt(
            buffer: *mut Buffer,
            metadata: *mut c_void,
            topics: c_int,
        );
        fn rd_kafkap_leader_discovery_set_topic(
            buffer: *mut Buffer,
            metadata: *mut c_void,
            topic: c_int,
            id: Uuid,
            name: *mut c_char,
            partitions: c_int,
        );
    }

    #[test]
    fn an_entry_that_librdkafka_does_not_fill_in_is_of_no_partition() {
        let mut memory = vec![0xa5_u8; 4096];
        let mut buffer =
            Buffer { size: memory.len(), of: 0, memory: memory.as_mut_ptr().cast(), failed: 0, asserts: 1 };
        // Larger than `rd_kafka_metadata_internal_t`, and as well aligned.
        let mut metadata = [0_u64; 64];
        let id = Uuid { most: 1, least: 2, text: [0; 23] };
        // SAFETY: the buffer and the structure are as librdkafka makes them, and outlive the calls.
        let numbers = unsafe {
            let whole: *mut c_void = metadata.as_mut_ptr().cast();
            rd_kafkap_leader_discovery_set_topic_cnt(&raw mut buffer, whole, 1);
            rd_kafkap_leader_discovery_set_topic(&raw mut buffer, whole, 0, id, std::ptr::null_mut(), 3);
            let topic = &*(*whole.cast::<rd_kafka_metadata>()).topics;
            assert_eq!(topic.partition_cnt, 3);
            std::slice::from_raw_parts(topic.partitions, 3)
                .iter()
                .map(|p| (p.id, p.leader))
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers, [(i32::MAX, -1); 3]);
    }
}
