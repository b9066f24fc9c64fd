//! A busy loop in librdkafka 2.12.1 that is closed here: a producer's thread that has nothing to do.
//!
//! An idempotent producer has one batch of a partition under way (more only of less than five records). While it is, and
//! longer than `linger.ms`, what was produced behind it makes librdkafka's thread wake up "now", find that nothing may be
//! sent, and wake up "now" again: it takes a whole processor until the broker answers, and where that runs on the same
//! machine, the answer is late for it. Measured on two of them: three fifths of all that the service used.
//!
//! `build.rs` has the linker call [`__wrap_rd_kafka_msgq_allow_wakeup_at`] for librdkafka's function, which then says "in a
//! millisecond" instead of "now". What a batch waits for (an acknowledgement, room in the socket, a record, a flush) wakes
//! the thread at once, as before. To be deleted when librdkafka waits by itself.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// Microseconds from now to the next look instead of none.
const REST: i64 = 1_000;

static MENDED: AtomicBool = AtomicBool::new(true);

/// Has librdkafka behave as it is distributed, in all of this process: for a measurement of it.
pub fn unmend() {
    MENDED.store(false, Ordering::Relaxed);
}

unsafe extern "C" {
    fn __real_rd_kafka_msgq_allow_wakeup_at(
        queue: *mut c_void,
        next: *const c_void,
        wakeup: *mut i64,
        now: i64,
        linger_us: i64,
        records: i32,
        bytes: i64,
    ) -> u8;
}

/// Has librdkafka's function work out whether a batch is ready, and `wakeup`, when to look again; never at `now`.
///
/// # Safety
/// As librdkafka calls it: `wakeup` is null, or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_rd_kafka_msgq_allow_wakeup_at(
    queue: *mut c_void,
    next: *const c_void,
    wakeup: *mut i64,
    now: i64,
    linger_us: i64,
    records: i32,
    bytes: i64,
) -> u8 {
    // SAFETY: the arguments are handed on as they came; `wakeup` may be written where it is not null.
    unsafe {
        let is_ready =
            __real_rd_kafka_msgq_allow_wakeup_at(queue, next, wakeup, now, linger_us, records, bytes);
        if let Some(wakeup) = wakeup.as_mut()
            && *wakeup <= now
            && MENDED.load(Ordering::Relaxed)
        {
            *wakeup = now + REST;
        }
        is_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn rd_kafka_msgq_allow_wakeup_at(
            queue: *mut c_void,
            next: *const c_void,
            wakeup: *mut i64,
            now: i64,
            linger_us: i64,
            records: i32,
            bytes: i64,
        ) -> u8;
    }

    /// What librdkafka makes of `wakeup` for a partition without records.
    fn asked(mut wakeup: i64, now: i64) -> i64 {
        // Larger than two of `rd_kafka_msgq_t`; all zero is an empty queue.
        let (mut queue, next) = ([0_u64; 64], [0_u64; 64]);
        // SAFETY: the queues are as librdkafka makes them, and outlive the call.
        let is_ready = unsafe {
            rd_kafka_msgq_allow_wakeup_at(
                queue.as_mut_ptr().cast(),
                next.as_ptr().cast(),
                &raw mut wakeup,
                now,
                5_000,
                100,
                100_000,
            )
        };
        assert_eq!(is_ready, 0, "there is no record");
        wakeup
    }

    #[test]
    fn a_producer_that_may_send_nothing_rests_for_a_moment() {
        assert_eq!(asked(1_000_000, 5_000), 1_000_000, "a time to come stays");
        assert_eq!(asked(5_001, 5_000), 5_001);
        assert_eq!(asked(5_000, 5_000), 5_000 + REST);
        assert_eq!(asked(4_000, 5_000), 5_000 + REST);
    }
}
