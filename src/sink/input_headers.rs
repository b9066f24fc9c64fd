//! The headers that an alert brought, as far as they may leave again.
//!
//! Contract: every header but those that only we may write passes on, in its order and byte for byte. The names are
//! bytes here: a producer may write any, while rdkafka's own iterator panics at one that is not UTF-8, which would let
//! one record stop its partition for ever. This is why the C interface is called directly.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use rdkafka::bindings;
use rdkafka::message::{BorrowedHeaders, OwnedHeaders};

use crate::compose::headers;

/// Headers that pass on, and the bytes they take.
#[derive(Debug, Default)]
pub struct Kept {
    /// `None` when nothing is left.
    pub headers: Option<OwnedHeaders>,
    /// Bytes of names and values, and a little for each one's frame.
    pub bytes: usize,
    /// How often the record says that it was sent again after it had become a dead letter. Not among `headers`: it is
    /// for its next dead letter and for nobody else.
    pub redriven: u8,
}

/// Bytes that a header's lengths take at most, beside its name and value.
const FRAME: usize = 10;

/// The headers of an input record without those that only we may write.
pub fn keep(input: &BorrowedHeaders) -> Kept {
    let mut kept = Kept::default();
    for (name, value) in iter(input) {
        let text = name.to_string_lossy();
        if headers::is_ours(&text) {
            if text == headers::REDRIVEN {
                kept.redriven = kept.redriven.max(value.and_then(headers::redriven).unwrap_or(0));
            }
            continue;
        }
        let all = kept.headers.get_or_insert_with(|| OwnedHeaders::new_with_capacity(8));
        if add(all, name.to_bytes(), value) {
            kept.bytes += name.to_bytes().len() + value.map_or(0, <[u8]>::len) + FRAME;
        }
    }
    kept
}

/// Every header, in order: its name, and its value unless that is null.
pub fn iter(headers: &BorrowedHeaders) -> impl Iterator<Item = (&CStr, Option<&[u8]>)> {
    (0..).map_while(|index| header(headers, index))
}

/// The headers as librdkafka has them.
pub(super) fn native(headers: &BorrowedHeaders) -> *mut bindings::rd_kafka_headers_t {
    // rdkafka makes the reference out of this very pointer.
    ptr::from_ref(headers).cast_mut().cast()
}

fn header(headers: &BorrowedHeaders, index: usize) -> Option<(&CStr, Option<&[u8]>)> {
    let mut name: *const c_char = ptr::null();
    let mut value: *const c_void = ptr::null();
    let mut size: usize = 0;
    // SAFETY: the headers are alive as long as the reference. On success librdkafka points `name` at a string that
    // ends with a zero byte, and `value`, unless it is null, at `size` bytes, both owned by the headers.
    unsafe {
        let result =
            bindings::rd_kafka_header_get_all(native(headers), index, &mut name, &mut value, &mut size);
        if result != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return None;
        }
        let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
        Some((CStr::from_ptr(name), value))
    }
}

/// Adds a header; whether librdkafka took it. For every output: unlike rdkafka's own, it allocates nothing of ours.
pub fn add(headers: &mut OwnedHeaders, name: &[u8], value: Option<&[u8]>) -> bool {
    let (data, size) = value.map_or((ptr::null(), 0), |value| (value.as_ptr().cast::<c_void>(), value.len()));
    // A name's end is found again by its zero byte.
    let (Ok(name_size), Ok(size), false) =
        (isize::try_from(name.len()), isize::try_from(size), name.contains(&0))
    else {
        return false;
    };
    // SAFETY: the headers are ours alone and writable; name and value are alive during the call, which copies as many
    // bytes of each as it is told.
    let result = unsafe {
        bindings::rd_kafka_header_add(
            native(headers.as_borrowed()),
            name.as_ptr().cast(),
            name_size,
            data.cast_mut(),
            size,
        )
    };
    result == bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rdkafka::message::Header;

    fn all(headers: &BorrowedHeaders) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        iter(headers).map(|(name, value)| (name.to_bytes().to_vec(), value.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn forged_headers_are_stripped_and_others_kept_in_order() {
        let input = OwnedHeaders::new()
            .insert(Header { key: "traceparent", value: Some("00-a") })
            .insert(Header { key: "Risk-Score", value: Some("0") })
            .insert(Header { key: "__connect.errors.topic", value: Some("evil") })
            .insert(Header { key: "none", value: None::<&str> })
            .insert(Header { key: "x", value: Some("") });
        let kept = keep(input.as_borrowed());
        let expected: Vec<(Vec<u8>, Option<Vec<u8>>)> = vec![
            (b"traceparent".to_vec(), Some(b"00-a".to_vec())),
            (b"none".to_vec(), None),
            (b"x".to_vec(), Some(vec![])),
        ];
        assert_eq!(all(kept.headers.as_ref().unwrap().as_borrowed()), expected);
        assert_eq!(kept.bytes, 11 + 4 + 4 + 1 + 3 * FRAME);
        assert!(keep(OwnedHeaders::new().as_borrowed()).headers.is_none());
    }

    #[test]
    fn the_count_of_redrives_is_read_and_stripped_and_a_forged_one_only_counts_up() {
        let with = |values: &[&str]| {
            let input = values.iter().fold(OwnedHeaders::new(), |all, value| {
                all.insert(Header { key: headers::REDRIVEN, value: Some(*value) })
            });
            let kept = keep(input.as_borrowed());
            assert!(kept.headers.is_none(), "it does not pass on");
            kept.redriven
        };
        assert_eq!(with(&[]), 0);
        assert_eq!(with(&["2"]), 2);
        assert_eq!(with(&["3", "1", "-7", "1000000"]), 3);
        assert_eq!(with(&["many"]), 0);
    }

    #[test]
    fn a_name_that_is_not_text_passes_on_unchanged() {
        let mut input = OwnedHeaders::new();
        assert!(add(&mut input, b"\xff\xfe", Some(b"v")));
        assert!(add(&mut input, b"risk-\xff", Some(b"forged")));
        assert!(!add(&mut input, b"a\0b", Some(b"v")), "it would be another name");
        let kept = keep(input.as_borrowed());
        assert_eq!(all(kept.headers.unwrap().as_borrowed()), [(b"\xff\xfe".to_vec(), Some(b"v".to_vec()))]);
    }
}
