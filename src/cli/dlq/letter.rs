//! A dead letter as it stands in its topic, and what its headers say.
//!
//! Pure. Contract: whatever the bytes are, reading them gives something and never fails: the topic may hold records of
//! other tools, and what an attacker wrote. Where a name stands twice the last one counts, as ours are written last.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::compose::headers;

/// A place in a topic of which the name is known: `PARTITION/OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(partition, offset)| {
            let place = Place { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            (place.partition >= 0 && place.offset >= 0).then_some(place)
        });
        parts.ok_or_else(|| "write PARTITION/OFFSET, as `dlq list` shows them: 0/42".to_owned())
    }
}

/// A record as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Unix time in milliseconds.
    pub time: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<Named>,
}

/// A header: its name, and its value unless that is null.
pub type Named = (Vec<u8>, Option<Vec<u8>>);

/// Where a record stood in the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Topic.
    pub topic: String,
    /// Partition and offset.
    pub place: Place,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.place)
    }
}

impl FromStr for Origin {
    type Err = String;

    /// `topic/partition/offset`; a topic has no slash.
    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, place) = text.split_once('/').ok_or("write TOPIC/PARTITION/OFFSET")?;
        Ok(Origin { topic: topic.to_owned(), place: place.parse()? })
    }
}

/// The value of a dead letter that its topic did not take whole.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Pointer {
    /// Of the original.
    pub topic: String,
    /// Of the original.
    pub partition: i32,
    /// Of the original.
    pub offset: i64,
    /// Length of its value.
    pub bytes: u64,
    /// SHA-256 of its value, in hexadecimal digits.
    pub sha256: String,
}

impl Letter {
    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { partition: self.partition, offset: self.offset }
    }

    /// The last header of that name, as text.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut named = self.headers.iter().rev().filter(|(key, _)| key == name.as_bytes());
        named.next().map(|(_, value)| String::from_utf8_lossy(value.as_deref().unwrap_or_default()))
    }

    /// Where the original stood; `None` when the headers do not say.
    pub fn origin(&self) -> Option<Origin> {
        let place = format!(
            "{}/{}",
            self.header("__connect.errors.partition")?,
            self.header("__connect.errors.offset")?
        );
        let topic = self.header("__connect.errors.topic")?.into_owned();
        Some(Origin { topic, place: place.parse().ok()? })
    }

    /// Why it is a dead letter: our reason, or the class that another tool names; empty when nothing says.
    pub fn reason(&self) -> Cow<'_, str> {
        let class = self.header("__connect.errors.exception.class.name").unwrap_or_default();
        match class.strip_prefix("riskstream.") {
            Some(reason) => Cow::Owned(reason.to_owned()),
            None => class,
        }
    }

    /// The same in a sentence.
    pub fn message(&self) -> Cow<'_, str> {
        self.header("__connect.errors.exception.message").unwrap_or_default()
    }

    /// The original's time, Unix milliseconds.
    pub fn original_time(&self) -> Option<i64> {
        self.header(headers::TIMESTAMP)?.parse().ok()
    }

    /// How often it had been sent again before it became this dead letter.
    pub fn redriven(&self) -> u8 {
        count(&self.headers)
    }

    /// Whether only a pointer to the original stands in its place.
    pub fn is_pointer(&self) -> bool {
        self.header(headers::TRUNCATED).as_deref() == Some("pointer")
    }

    /// That pointer, unless it cannot be read.
    pub fn pointer(&self) -> Option<Pointer> {
        serde_json::from_slice(self.value.as_deref()?).ok().filter(|_| self.is_pointer())
    }

    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        let headers =
            self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
        self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + headers.sum::<usize>()
    }
}

/// The headers that its producer wrote: all but those that only we may write.
pub fn foreign(headers: &[Named]) -> impl Iterator<Item = &Named> {
    headers.iter().filter(|(name, _)| !headers::is_ours(&String::from_utf8_lossy(name)))
}

/// What the counter among `headers` says.
pub fn count(headers: &[Named]) -> u8 {
    let counters = headers.iter().filter(|(name, _)| name == headers::REDRIVEN.as_bytes());
    counters.filter_map(|(_, value)| headers::redriven(value.as_deref()?)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str, value: &str) -> Named {
        (name.as_bytes().to_vec(), Some(value.as_bytes().to_vec()))
    }

    #[test]
    fn its_headers_say_where_it_came_from_and_why_and_the_last_one_counts() {
        let letter = Letter {
            headers: vec![
                named("__connect.errors.topic", "forged"),
                named("trace", "x"),
                named("__connect.errors.topic", "alerts"),
                named("__connect.errors.partition", "3"),
                named("__connect.errors.offset", "9"),
                named("__connect.errors.exception.class.name", "riskstream.not_json"),
                named("risk-timestamp", "5"),
                named("risk-redriven", "2"),
            ],
            ..Letter::default()
        };
        assert_eq!(letter.origin().unwrap().to_string(), "alerts/3/9");
        assert_eq!(letter.reason(), "not_json");
        assert_eq!((letter.original_time(), letter.redriven()), (Some(5), 2));
        assert_eq!(foreign(&letter.headers).collect::<Vec<_>>(), [&named("trace", "x")]);
    }

    #[test]
    fn a_record_of_another_tool_is_read_as_far_as_it_goes() {
        let class = named("__connect.errors.exception.class.name", "org.apache.kafka.X");
        let letter = Letter {
            headers: vec![
                class,
                named("__connect.errors.topic", "a"),
                named("__connect.errors.partition", "-1"),
            ],
            ..Letter::default()
        };
        assert_eq!(letter.reason(), "org.apache.kafka.X");
        assert_eq!((letter.origin(), letter.pointer(), letter.redriven()), (None, None, 0));
        assert_eq!(letter.message(), "");
    }

    #[test]
    fn a_pointer_is_one_only_where_its_header_says_so() {
        let value = br#"{"schema":"riskstream/pointer/v1","topic":"t","partition":0,"offset":1,"bytes":5,"sha256":"ab"}"#;
        let mut letter = Letter { value: Some(value.to_vec()), ..Letter::default() };
        assert_eq!(letter.pointer(), None, "an alert may look like one");
        letter.headers.push(named("risk-truncated", "pointer"));
        assert_eq!(letter.pointer().unwrap().bytes, 5);
        letter.value = Some(b"cut".to_vec());
        assert!(letter.is_pointer() && letter.pointer().is_none());
    }

    proptest! {
        #[test]
        fn places_are_read_as_they_are_written(partition in 0..i32::MAX, offset in 0..i64::MAX, topic in "[a-z._-]{1,9}") {
            let place = Place { partition, offset };
            prop_assert_eq!(place.to_string().parse(), Ok(place));
            let origin = Origin { topic, place };
            prop_assert_eq!(origin.to_string().parse(), Ok(origin));
        }

        #[test]
        fn no_text_panics_and_none_below_zero_is_a_place(text in "\\PC{0,12}|-?[0-9]{0,20}/-?[0-9]{0,20}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert!(place.partition >= 0 && place.offset >= 0);
            }
            let _ = text.parse::<Origin>();
        }

        #[test]
        fn whatever_the_headers_hold_they_can_be_read(
            headers in prop::collection::vec((
                prop_oneof!["__connect.errors.(topic|partition|offset)", "risk-(redriven|timestamp|truncated)", "\\PC{0,5}"],
                prop::option::of(prop::collection::vec(any::<u8>(), 0..8)),
            ), 0..8),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        ) {
            let headers = headers.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            let letter = Letter { headers, value, ..Letter::default() };
            let _ = (letter.origin(), letter.reason(), letter.original_time(), letter.pointer(), letter.bytes());
            prop_assert!(letter.redriven() <= 99);
        }
    }
}
