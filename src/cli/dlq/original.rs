//! What is sent again: the alert as its producer wrote it.
//!
//! Contract: key, value and headers are the original's, without those that only we may write. Where a dead letter is
//! only a pointer, the record is read again at its coordinates, in a configured input topic and nowhere else, and used
//! only if its size and digest are the pointer's.

use super::Site;
use super::destination::Way;
use super::letter::{self, Letter, Named, Origin};
use super::reader::Reader;
use crate::sink::dead_letter;

/// The alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, without ours.
    pub headers: Vec<Named>,
    /// Its time, Unix milliseconds.
    pub time: Option<i64>,
    /// How often it had been sent again, as the record itself says.
    pub count: u8,
}

impl Original {
    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let headers =
            self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
        self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + headers.sum::<usize>()
    }
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Its value is not a pointer of ours.
    #[error("is a pointer that cannot be read: nothing says which record it stands for")]
    Unreadable,
    /// Pointer and headers name different records.
    #[error("is a pointer to {0}, but its headers say {1}: it was tampered with")]
    Contradiction(Origin, Origin),
    /// It points into a topic that we do not read from.
    #[error("is a pointer into topic {0:?}, which is not one of input.topics: nothing is read there")]
    Foreign(String),
    /// The record is gone.
    #[error(
        "is only a pointer, and the original is no longer at {0}: past its retention, or its topic was made anew"
    )]
    Gone(Origin),
    /// Another record stands there.
    #[error("is only a pointer, and what stands at {0} is another record: its SHA-256 is not the pointer's")]
    Another(Origin),
    /// It could not be read.
    #[error("is only a pointer, and the original at {0} cannot be read: {1}")]
    Failed(Origin, String),
}

/// Finds originals.
pub struct Originals<'c> {
    config: &'c Site,
    /// Made when the first pointer comes by: the other reader is in the middle of the dead letters.
    reader: Option<Reader>,
}

impl<'c> Originals<'c> {
    /// With the configuration's connection and topics.
    pub fn new(config: &'c Site) -> Originals<'c> {
        Originals { config, reader: None }
    }

    /// The original of `letter`.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn of(&mut self, letter: Letter, way: &Way) -> Result<Original, Missing> {
        if !letter.is_pointer() {
            let (headers, time) =
                (letter::foreign(&letter.headers).cloned().collect(), letter.original_time());
            let count = letter.redriven();
            return Ok(Original { key: letter.key, value: letter.value, headers, time, count });
        }
        let pointer = letter.pointer().ok_or(Missing::Unreadable)?;
        let place = letter::Place { partition: pointer.partition, offset: pointer.offset };
        let at = Origin { topic: pointer.topic, place };
        if at != way.origin {
            return Err(Missing::Contradiction(at, way.origin.clone()));
        }
        if !self.config.input.topics.iter().any(|topic| topic.matches(&at.topic)) {
            return Err(Missing::Foreign(at.topic));
        }
        let record = match self.read(&at) {
            Ok(record) => record.ok_or_else(|| Missing::Gone(at.clone()))?,
            Err(error) => return Err(Missing::Failed(at, format!("{error:#}"))),
        };
        let value = record.value.unwrap_or_default();
        if value.len() as u64 != pointer.bytes || dead_letter::sha256(&value) != pointer.sha256 {
            return Err(Missing::Another(at));
        }
        Ok(Original {
            key: record.key,
            value: Some(value),
            headers: letter::foreign(&record.headers).cloned().collect(),
            time: record.time,
            count: letter::count(&record.headers),
        })
    }

    fn read(&mut self, at: &Origin) -> anyhow::Result<Option<Letter>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(Reader::new(self.config)?),
        };
        reader.one(&at.topic, at.place)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;
    use crate::source::identity::Identity;

    fn named(name: &str, value: &str) -> Named {
        (name.as_bytes().to_vec(), Some(value.as_bytes().to_vec()))
    }

    #[test]
    fn what_is_sent_is_the_alert_without_what_only_we_may_write() {
        let letter = Letter {
            key: Some(b"k".to_vec()),
            value: None,
            headers: vec![
                named("trace", "1"),
                named("__connect.errors.topic", "t"),
                named("Risk-Score", "9"),
                named("risk-timestamp", "77"),
                named("risk-redriven", "1"),
                (b"\xff".to_vec(), None),
            ],
            ..Letter::default()
        };
        let config = Site { config: Config::default(), identity: Identity::default() };
        let way = Way { topic: "t".to_owned(), origin: "t/0/1".parse().unwrap(), count: 2 };
        let original = Originals::new(&config).of(letter, &way).unwrap();
        assert_eq!(original.headers, [named("trace", "1"), (b"\xff".to_vec(), None)]);
        assert_eq!(
            (original.key, original.value, original.time, original.count),
            (Some(b"k".to_vec()), None, Some(77), 1)
        );
    }

    #[test]
    fn a_pointer_that_contradicts_itself_or_points_elsewhere_is_not_followed() {
        let config = Site { config: Config::default(), identity: Identity::default() };
        let pointer = |to: &str| Letter {
            value: Some(
                format!(r#"{{"topic":"{to}","partition":0,"offset":1,"bytes":5,"sha256":"ab"}}"#)
                    .into_bytes(),
            ),
            headers: vec![named("risk-truncated", "pointer")],
            ..Letter::default()
        };
        let of = |letter: Letter, origin: &str| {
            let way = Way { topic: "t".to_owned(), origin: origin.parse().unwrap(), count: 1 };
            Originals::new(&config).of(letter, &way).unwrap_err()
        };
        assert!(matches!(of(pointer("secrets"), "security.alerts/0/1"), Missing::Contradiction(..)));
        assert_eq!(of(pointer("secrets"), "secrets/0/1"), Missing::Foreign("secrets".to_owned()));
        let unreadable = Letter { value: Some(b"{".to_vec()), ..pointer("t") };
        assert_eq!(of(unreadable, "t/0/1"), Missing::Unreadable);
    }
}
