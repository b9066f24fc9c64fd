//! Where a dead letter may go, and whether.
//!
//! Pure. Contract: the destination is one of the configured topics, never what a header says: whoever can write to the
//! dead-letter topic cannot make us write to another. A letter that was sent again too often, or whose redrive is on
//! record, is not sent.

use super::letter::{Letter, Origin};
use super::marker::{Book, State};
use crate::config::InputTopic;

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'c> {
    /// The configured input topics.
    pub topics: &'c [InputTopic],
    /// `--topic-to`: one of them, for every letter.
    pub topic_to: Option<&'c str>,
    /// `--max-redrives`.
    pub max_redrives: u8,
    /// `--again`: what is on record does not count.
    pub again: bool,
}

/// A letter that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The input topic that it goes to, or stands for.
    pub topic: String,
    /// Where the original stood.
    pub origin: Origin,
    /// How often it will have been sent again.
    pub count: u8,
}

/// Why a letter is not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum No {
    /// It was sent before.
    #[error("was redriven at {at}, to {to}; --again sends it once more")]
    Done {
        /// When.
        at: String,
        /// Where to.
        to: String,
    },
    /// A redrive of it did not end, as far as is known.
    #[error(
        "may have been redriven{at}: that redrive ended before it was noted. Look into {to} for it; --again sends it \
         once more"
    )]
    Unsure {
        /// ` at TIME`, if that is known.
        at: String,
        /// Where to.
        to: String,
    },
    /// Another command is at it.
    #[error("another redrive has just taken it")]
    Taken,
    /// Its headers do not say where it came from.
    #[error(
        "its headers do not say which topic, partition and offset it came from (__connect.errors.*): it is not a dead \
         letter of riskstream"
    )]
    Nowhere,
    /// It came from a topic that is not configured.
    #[error(
        "came from topic {0:?}, which is not one of input.topics: nothing is sent there. --topic-to NAME sends it to one \
         that is"
    )]
    NotConfigured(String),
    /// It came back too often.
    #[error(
        "has been redriven {count} times and is here again: --max-redrives is {max}. Correct the cause first"
    )]
    TooOften {
        /// How often.
        count: u8,
        /// The bound.
        max: u8,
    },
}

/// Whether `letter` is sent, and where to.
///
/// # Errors
/// [`No`] says why not.
pub fn decide(letter: &Letter, book: Option<&Book>, rules: Rules<'_>) -> Result<Way, No> {
    if let Some(entry) = book.and_then(|book| book.about(letter)).filter(|_| !rules.again) {
        match entry.state {
            State::Done => return Err(No::Done { at: entry.at.clone(), to: entry.to.clone() }),
            State::Intent if entry.under_way => return Err(No::Taken),
            State::Intent => {
                let at = if entry.at.is_empty() { String::new() } else { format!(" at {}", entry.at) };
                let to = if entry.to.is_empty() { "the input topics".to_owned() } else { entry.to.clone() };
                return Err(No::Unsure { at, to });
            }
            State::NotSent => {}
        }
    }
    let origin = letter.origin().ok_or(No::Nowhere)?;
    let topic = match rules.topic_to {
        Some(topic) => topic,
        None if rules.topics.iter().any(|topic| topic.matches(&origin.topic)) => &origin.topic,
        None => return Err(No::NotConfigured(origin.topic)),
    };
    let topic = topic.to_owned();
    // Our own notes know what came of a redrive, also where the header was lost on the way.
    let count = letter.redriven().max(book.map_or(0, |book| book.count(&origin)));
    if count >= rules.max_redrives {
        return Err(No::TooOften { count, max: rules.max_redrives });
    }
    Ok(Way { topic, origin, count: count + 1 })
}

/// Hours and a share of a topic's retention that a record should have left when it is written.
const MARGIN: (i64, i64) = (3_600_000, 10);

/// The timestamp that a record is written with: its own, or `None`, which is now, where it has none or where the topic
/// (which keeps records for `retention` milliseconds by their timestamps) would delete it at once.
pub fn timestamp(original: Option<i64>, now: i64, retention: Option<i64>) -> Option<i64> {
    // Zero means now to librdkafka.
    let original = original.filter(|time| *time > 0)?;
    match retention {
        Some(retention) if retention >= 0 => {
            let left = original.saturating_add(retention).saturating_sub(now);
            (left > MARGIN.0.min(retention / MARGIN.1)).then_some(original)
        }
        _ => Some(original),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::cli::dlq::letter::Named;
    use crate::cli::dlq::marker::{Marker, SCHEMA};
    use crate::config::Config;

    fn topics() -> Vec<InputTopic> {
        ["a", "b"].map(|name| InputTopic { name: name.to_owned(), format: None, pattern: None }).into()
    }

    fn letter(topic: &str, redriven: u8) -> Letter {
        let named = |name: &str, value: &str| -> Named {
            (name.as_bytes().to_vec(), Some(value.as_bytes().to_vec()))
        };
        Letter {
            time: Some(1),
            headers: vec![
                named("__connect.errors.topic", topic),
                named("__connect.errors.partition", "0"),
                named("__connect.errors.offset", "9"),
                named("risk-redriven", &redriven.to_string()),
            ],
            ..Letter::default()
        }
    }

    fn rules(topics: &[InputTopic]) -> Rules<'_> {
        Rules { topics, topic_to: None, max_redrives: 3, again: false }
    }

    fn noted(state: State, key: &str, landed: &str, count: u8) -> Book {
        let mut book = Book::new("dead", "run");
        let marker = Marker {
            schema: SCHEMA.to_owned(),
            state,
            at: "then".to_owned(),
            to: "input".to_owned(),
            topic: "a".to_owned(),
            landed: Some(landed.to_owned()),
            source: "a/0/1".to_owned(),
            letter_time: Some(1),
            count,
            run: "other".to_owned(),
            command: String::new(),
        };
        book.read(Some(key.as_bytes()), Some(&serde_json::to_vec(&marker).unwrap()));
        book
    }

    #[test]
    fn a_letter_goes_home_if_its_home_is_configured_and_nowhere_else() {
        let topics = topics();
        let way = decide(&letter("b", 0), None, rules(&topics)).unwrap();
        assert_eq!((way.topic.as_str(), way.origin.to_string().as_str(), way.count), ("b", "b/0/9", 1));
        assert_eq!(decide(&letter("c", 0), None, rules(&topics)), Err(No::NotConfigured("c".to_owned())));
        assert_eq!(decide(&Letter::default(), None, rules(&topics)), Err(No::Nowhere));
        let to = Rules { topic_to: Some("a"), ..rules(&topics) };
        assert_eq!(decide(&letter("c", 0), None, to).unwrap().topic, "a");
        assert_eq!(decide(&letter("b", 0), None, to).unwrap().topic, "a");
    }

    #[test]
    fn a_pattern_allows_what_it_matches() {
        let text = "input: {topics: ['^sec[.]', plain]}";
        let config = Config::parse("r.yaml", text, Path::new(""), []).unwrap();
        let of =
            |topic: &str| decide(&letter(topic, 0), None, rules(&config.input.topics)).map(|way| way.topic);
        assert_eq!(of("sec.aws"), Ok("sec.aws".to_owned()));
        assert_eq!(of("plain"), Ok("plain".to_owned()));
        for other in ["secrets", "plain2", "^sec[.]", "x.sec.aws"] {
            assert_eq!(of(other), Err(No::NotConfigured(other.to_owned())), "{other}");
        }
    }

    #[test]
    fn a_letter_that_comes_back_too_often_stays_whether_its_header_or_our_notes_say_so() {
        let topics = topics();
        assert_eq!(decide(&letter("a", 2), None, rules(&topics)).unwrap().count, 3);
        assert_eq!(decide(&letter("a", 3), None, rules(&topics)), Err(No::TooOften { count: 3, max: 3 }));
        let book = noted(State::Done, "dead/0/77", "a/0/9", 3);
        assert_eq!(
            decide(&letter("a", 0), Some(&book), rules(&topics)),
            Err(No::TooOften { count: 3, max: 3 })
        );
    }

    #[test]
    fn what_is_on_record_is_not_sent_but_with_again() {
        let topics = topics();
        let decided = |state, again| {
            let book = noted(state, "dead/0/0", "a/0/50", 1);
            decide(&letter("a", 0), Some(&book), Rules { again, ..rules(&topics) }).map(|way| way.count)
        };
        assert_eq!(decided(State::Done, false), Err(No::Done { at: "then".into(), to: "a/0/50".into() }));
        assert!(matches!(decided(State::Intent, false), Err(No::Unsure { .. })));
        assert_eq!(decided(State::NotSent, false), Ok(1));
        assert_eq!(decided(State::Done, true), Ok(1));
        assert_eq!(decided(State::Intent, true), Ok(1));
    }

    #[test]
    fn what_another_command_is_at_is_left_to_it() {
        let topics = topics();
        let mut book = noted(State::Done, "dead/0/7", "a/0/50", 1);
        book.watch();
        let other = r#"{"schema":"","state":"intent","at":"","to":"","topic":"a","source":"","letter_time":1,"count":1,"run":"b","command":""}"#;
        book.read(Some(b"dead/0/0"), Some(other.as_bytes()));
        assert_eq!(decide(&letter("a", 0), Some(&book), rules(&topics)), Err(No::Taken));
    }

    #[test]
    fn a_timestamp_that_retention_would_delete_is_replaced_by_now() {
        let (now, week, hour) = (1_000_000_000_000, 604_800_000, 3_600_000);
        assert_eq!(timestamp(Some(now - week - 1), now, Some(week)), None);
        assert_eq!(timestamp(Some(now - week + hour / 2), now, Some(week)), None, "minutes before");
        assert_eq!(timestamp(Some(now - week / 2), now, Some(week)), Some(now - week / 2));
        assert_eq!(timestamp(Some(5), now, Some(-1)), Some(5), "it keeps everything");
        assert_eq!(timestamp(Some(5), now, None), Some(5), "nobody knows");
        assert_eq!((timestamp(None, now, None), timestamp(Some(0), now, None)), (None, None));
    }

    proptest! {
        /// Whatever a letter says of itself, it goes to a configured topic or nowhere, and its count is within bounds.
        #[test]
        fn no_header_chooses_a_topic(
            topic in "[abc]|\\PC{0,8}", redriven in 0u8..120, max in 1u8..=99, to in prop::option::of(0usize..2),
        ) {
            let topics = topics();
            let rules = Rules {
                topic_to: to.and_then(|index| topics.get(index)).map(|topic| topic.name.as_str()), max_redrives: max, ..rules(&topics)
            };
            if let Ok(way) = decide(&letter(&topic, redriven), None, rules) {
                prop_assert!(topics.iter().any(|configured| configured.name == way.topic));
                prop_assert!(to.is_some() || way.topic == topic);
                prop_assert!((1..=max).contains(&way.count));
            }
        }

        #[test]
        fn a_timestamp_is_the_originals_or_now(
            original in prop::option::of(any::<i64>()), now in 0..i64::MAX, retention in prop::option::of(any::<i64>()),
        ) {
            let chosen = timestamp(original, now, retention);
            prop_assert!(chosen.is_none() || chosen == original);
        }
    }
}
