//! What is remembered of dead letters that were sent again, so that twice by mistake is noticed.
//!
//! A marker is a record of a compacted topic, keyed by the dead letter's `topic/partition/offset`. An *intent* is written
//! before the letter is sent and *done* after its delivery, so that whoever finds an intent knows that it may have been
//! sent. Two commands at once: whose intent stands first in the topic sends the letter, the other leaves it alone.
//!
//! Pure: the records are handed in, in their order. Contract: a marker that cannot be read counts as an intent; one of
//! another letter that once stood at the same place (the topic was made anew) counts as none.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::letter::{Letter, Origin, Place};

/// The `schema` of a marker.
pub const SCHEMA: &str = "riskstream/redriven/v1";

/// How far a redrive came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is about to be sent, or the command ended before it knew.
    Intent,
    /// It was sent and acknowledged.
    Done,
    /// It was certainly not sent.
    NotSent,
}

/// The value of a marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// [`SCHEMA`].
    pub schema: String,
    /// How far it came.
    pub state: State,
    /// When, in RFC 3339.
    pub at: String,
    /// `input` or `output`.
    pub to: String,
    /// The topic it was sent to.
    pub topic: String,
    /// Where it stands there, `topic/partition/offset`; once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<String>,
    /// Where the original stood, `topic/partition/offset`.
    pub source: String,
    /// The dead letter's own time, Unix milliseconds: another letter at the same place has another one.
    pub letter_time: Option<i64>,
    /// What [`crate::compose::headers::REDRIVEN`] says on what was sent.
    pub count: u8,
    /// The run of the command.
    pub run: String,
    /// What wrote it.
    pub command: String,
}

/// What is known of one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How far it came.
    pub state: State,
    /// When; empty when the marker could not be read.
    pub at: String,
    /// Where it stands now, or the topic it was meant for.
    pub to: String,
    /// Whether another run wrote it while this one watched.
    pub under_way: bool,
    letter_time: Option<Option<i64>>,
}

/// Whose a letter is, of several runs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Ours: our intent stands first.
    Ours,
    /// Another run's.
    Theirs,
    /// Our intent was not read yet.
    Unseen,
}

/// The markers of one dead-letter topic.
#[derive(Debug)]
pub struct Book {
    topic: String,
    run: String,
    entries: HashMap<Place, Entry>,
    landed: HashMap<Origin, u8>,
    /// Since the book is watched: whether the first marker of a place was ours.
    first: Option<HashMap<Place, bool>>,
    /// Since then: the places of our own markers.
    ours: HashSet<Place>,
    /// Since then: the last one of another run that says how its redrive ended.
    theirs: HashMap<Place, Vec<u8>>,
}

impl Book {
    /// A book about the letters of `topic`, kept by `run`.
    pub fn new(topic: &str, run: &str) -> Book {
        Book {
            topic: topic.to_owned(),
            run: run.to_owned(),
            entries: HashMap::new(),
            landed: HashMap::new(),
            first: None,
            ours: HashSet::new(),
            theirs: HashMap::new(),
        }
    }

    /// Everything so far is past: from now on it is noted who comes first.
    pub fn watch(&mut self) {
        self.first = Some(HashMap::new());
    }

    /// Takes the next record of the markers' topic.
    pub fn read(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let key =
            key.and_then(|key| std::str::from_utf8(key).ok()).and_then(|key| key.parse::<Origin>().ok());
        let Some(Origin { place, .. }) = key.filter(|key| key.topic == self.topic) else { return };
        let Some(value) = value else {
            // Somebody wants it to be forgotten.
            self.entries.remove(&place);
            return;
        };
        let marker = serde_json::from_slice::<Marker>(value).ok();
        let ours = marker.as_ref().is_some_and(|marker| marker.run == self.run);
        if let Some(first) = &mut self.first {
            first.entry(place).or_insert(ours);
            if ours {
                self.ours.insert(place);
            }
            if marker.as_ref().is_some_and(|marker| !ours && marker.state != State::Intent) {
                self.theirs.insert(place, value.to_vec());
            }
        }
        let entry = match marker {
            Some(marker) => {
                if let (State::Done, Some(landed)) = (marker.state, marker.landed.as_ref())
                    && let Ok(landed) = landed.parse()
                {
                    self.landed.insert(landed, marker.count);
                }
                Entry {
                    state: marker.state,
                    at: marker.at,
                    to: marker.landed.unwrap_or(marker.topic),
                    under_way: self.first.is_some() && !ours,
                    letter_time: Some(marker.letter_time),
                }
            }
            None => Entry {
                state: State::Intent,
                at: String::new(),
                to: String::new(),
                under_way: false,
                letter_time: None,
            },
        };
        self.entries.insert(place, entry);
    }

    /// What is known of `letter`.
    pub fn about(&self, letter: &Letter) -> Option<&Entry> {
        let same = |entry: &&Entry| entry.letter_time.is_none_or(|time| time == letter.time);
        self.entries.get(&letter.place()).filter(same)
    }

    /// How often what stands at `origin` had been sent again, if it came of a redrive that is remembered.
    pub fn count(&self, origin: &Origin) -> u8 {
        self.landed.get(origin).copied().unwrap_or(0)
    }

    /// Whose the letter at `place` is, once our intent was read: everything that stands before it was, too.
    pub fn claim(&self, place: Place) -> Claim {
        match self.first.as_ref().and_then(|first| first.get(&place)) {
            _ if !self.ours.contains(&place) => Claim::Unseen,
            Some(true) => Claim::Ours,
            _ => Claim::Theirs,
        }
    }

    /// How the redrive of another run ended, as it wrote it, while this one watched: our intent stands above it and
    /// says less.
    pub fn theirs(&self, place: Place) -> Option<&[u8]> {
        self.theirs.get(&place).map(Vec::as_slice)
    }

    /// How many letters it knows of.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn marker(run: &str, state: State) -> Marker {
        Marker {
            schema: SCHEMA.to_owned(),
            state,
            at: "2026-05-29T14:00:00Z".to_owned(),
            to: "input".to_owned(),
            topic: "alerts".to_owned(),
            landed: (state == State::Done).then(|| "alerts/0/77".to_owned()),
            source: "alerts/0/3".to_owned(),
            letter_time: Some(5),
            count: 2,
            run: run.to_owned(),
            command: "riskstream".to_owned(),
        }
    }

    fn write(book: &mut Book, key: &str, marker: &Marker) {
        book.read(Some(key.as_bytes()), Some(&serde_json::to_vec(marker).unwrap()));
    }

    fn letter(offset: i64, time: i64) -> Letter {
        Letter { offset, time: Some(time), ..Letter::default() }
    }

    #[test]
    fn the_last_marker_of_a_letter_says_how_far_its_redrive_came() {
        let mut book = Book::new("dead", "a");
        assert_eq!(book.about(&letter(1, 5)), None);
        for (state, to) in
            [(State::Intent, "alerts"), (State::Done, "alerts/0/77"), (State::NotSent, "alerts")]
        {
            write(&mut book, "dead/0/1", &marker("b", state));
            let entry = book.about(&letter(1, 5)).unwrap();
            assert_eq!((entry.state, entry.to.as_str()), (state, to));
        }
        book.read(Some(b"dead/0/1"), None);
        assert_eq!(book.about(&letter(1, 5)), None, "a tombstone forgets it");
    }

    #[test]
    fn what_came_of_a_redrive_is_known_by_where_it_landed() {
        let mut book = Book::new("dead", "a");
        write(&mut book, "dead/0/1", &marker("b", State::Done));
        assert_eq!(book.count(&"alerts/0/77".parse().unwrap()), 2);
        assert_eq!(book.count(&"alerts/0/78".parse().unwrap()), 0);
    }

    #[test]
    fn markers_of_another_topic_or_of_another_letter_at_the_same_place_count_for_nothing() {
        let mut book = Book::new("dead", "a");
        write(&mut book, "other/0/1", &marker("b", State::Done));
        assert_eq!(book.len(), 0);
        write(&mut book, "dead/0/1", &marker("b", State::Done));
        assert_eq!(book.about(&letter(1, 6)), None, "the topic was made anew");
    }

    #[test]
    fn a_marker_that_cannot_be_read_counts_as_an_intent() {
        let mut book = Book::new("dead", "a");
        book.read(Some(b"dead/0/1"), Some(b"{\"state\":\"from the future\"}"));
        assert_eq!(book.about(&letter(1, 6)).unwrap().state, State::Intent);
    }

    #[test]
    fn how_another_run_ended_is_kept_to_be_written_again() {
        let mut book = Book::new("dead", "a");
        write(&mut book, "dead/0/1", &marker("b", State::Done));
        book.watch();
        let place = "0/2".parse().unwrap();
        write(&mut book, "dead/0/2", &marker("b", State::Intent));
        assert_eq!(
            (book.claim(place), book.theirs(place)),
            (Claim::Unseen, None),
            "more may stand before ours"
        );
        write(&mut book, "dead/0/2", &marker("b", State::Done));
        write(&mut book, "dead/0/2", &marker("a", State::Intent));
        assert_eq!(book.claim(place), Claim::Theirs);
        let kept: Marker = serde_json::from_slice(book.theirs(place).unwrap()).unwrap();
        assert_eq!(kept, marker("b", State::Done));
        assert_eq!(book.theirs("0/1".parse().unwrap()), None, "nobody wrote above it");
    }

    proptest! {
        /// Runs that load, look and write at any time: each letter is sent by at most one, and by one if any tried.
        #[test]
        fn of_several_runs_at_once_one_sends_a_letter(
            steps in prop::collection::vec((0usize..3, 0i64..4), 1..60),
        ) {
            let names = ["a", "b", "c"];
            let mut log: Vec<(usize, i64)> = Vec::new();
            let mut books: Vec<Option<(Book, usize)>> = vec![None, None, None];
            let mut tried: Vec<(usize, i64)> = Vec::new();
            let put = |book: &mut Book, (run, offset): (usize, i64)| {
                write(book, &format!("dead/0/{offset}"), &marker(names[run], State::Intent));
            };
            for (run, offset) in steps {
                let (book, _) = books[run].get_or_insert_with(|| {
                    let mut book = Book::new("dead", names[run]);
                    log.iter().for_each(|entry| put(&mut book, *entry));
                    book.watch();
                    (book, log.len())
                });
                // It looks at its book, not at the log: what came since its last look is not known yet.
                if book.about(&letter(offset, 5)).is_none() && !tried.contains(&(run, offset)) {
                    tried.push((run, offset));
                    log.push((run, offset));
                }
            }
            for (book, from) in books.iter_mut().flatten() {
                log.iter().skip(*from).for_each(|entry| put(book, *entry));
            }
            for offset in 0..4 {
                let ours = |(run, _): &&(usize, i64)| {
                    let place = Place { partition: 0, offset };
                    books[*run].as_ref().is_some_and(|(book, _)| book.claim(place) == Claim::Ours)
                };
                let mine: Vec<_> = tried.iter().filter(|(_, tried)| *tried == offset).collect();
                let senders = mine.iter().copied().filter(ours).count();
                prop_assert_eq!(senders, usize::from(!mine.is_empty()), "{:?} of {:?}", mine, log);
            }
        }

        #[test]
        fn no_record_panics(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            value in prop::option::of("\\PC{0,40}"),
        ) {
            let mut book = Book::new("dead", "a");
            book.read(key.as_deref(), value.as_ref().map(|value| value.as_bytes()));
            book.read(Some(b"dead/0/0"), value.as_ref().map(|value| value.as_bytes()));
        }
    }
}
