//! Who we are in the consumer group at this moment: what a transaction shows to have its offsets taken.
//!
//! Contract: [`Membership::of`] gives one only while we are a member. A broker takes offsets without one unchecked, as
//! from a producer of long ago, so that a lane that was thrown out could commit over its successor. rdkafka keeps the
//! generation to itself, which is why the C interface is called directly.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;

use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// Group, generation, member and instance, as librdkafka hands them to a producer.
pub struct Membership(NonNull<bindings::rd_kafka_consumer_group_metadata_t>);

impl Membership {
    /// The consumer's membership now; `None` while it is no member.
    pub fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Membership> {
        // SAFETY: the consumer is alive, and what is returned is ours to destroy.
        let pointer = unsafe { bindings::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
        let membership = Membership(NonNull::new(pointer)?);
        (membership.generation() > 0 && membership.has_member()).then_some(membership)
    }

    /// Nobody's: for offsets that are taken back anyway.
    pub fn outsider(group: &str) -> Option<Membership> {
        let group = CString::new(group).ok()?;
        // SAFETY: the text is alive during the call, which copies it; what is returned is ours to destroy.
        let pointer = unsafe { bindings::rd_kafka_consumer_group_metadata_new(group.as_ptr()) };
        NonNull::new(pointer).map(Membership)
    }

    fn generation(&self) -> i32 {
        // SAFETY: the pointer is valid until we are dropped.
        unsafe { bindings::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()) }
    }

    fn has_member(&self) -> bool {
        // SAFETY: the same; the text is owned by the membership and ends with a zero byte.
        unsafe {
            let id = bindings::rd_kafka_consumer_group_metadata_member_id(self.0.as_ptr());
            !id.is_null() && !CStr::from_ptr(id).is_empty()
        }
    }

    /// For librdkafka; valid as long as `self`.
    pub fn as_ptr(&self) -> *const bindings::rd_kafka_consumer_group_metadata_t {
        self.0.as_ptr()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: it was made for us, and nobody uses it any more.
        unsafe { bindings::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) }
    }
}
