//! The markers in their topic: read from its start, followed while this command writes its own.
//!
//! Contract: [`Markers::claim`] returns once our intents stand in the topic and says which letters are ours to send;
//! [`Markers::note`] returns once the outcome is acknowledged.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Site;
use super::letter::{Origin, Place};
use super::marker::{Book, Claim, Marker};
use super::reader::{Reader, Span};
use super::topics::Topics;
use super::writer::{Batches, Record, Writer};

/// Until our own intents must be seen.
const SEEN: Duration = Duration::from_secs(30);

/// The markers of the configured dead-letter topic.
pub struct Markers<'c> {
    topic: String,
    letters: String,
    reader: Reader,
    config: &'c Site,
    /// Made when the first marker is written.
    writer: Option<Writer>,
    /// What is on record.
    pub book: Book,
    /// The run of this command.
    pub run: String,
}

impl<'c> Markers<'c> {
    /// Reads what there is; `None` when the topic does not exist.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub fn open(config: &'c Site) -> anyhow::Result<Option<Markers<'c>>> {
        let topic = config.dead_letters.markers.clone();
        let reader = Reader::new(config)?;
        if reader.partitions(&topic).context("dead_letters.markers")?.is_none() {
            return Ok(None);
        }
        let run = uuid::Uuid::new_v4().to_string();
        let mut book = Book::new(&config.dead_letters.topic, &run);
        let spans = reader.spans(&topic, "dead_letters.markers", None)?;
        reader.each(&topic, &spans, |record| {
            book.read(record.key.as_deref(), record.value.as_deref());
            Ok(ControlFlow::Continue(()))
        })?;
        // What comes from here on is followed.
        book.watch();
        reader.assign(&topic, spans.iter().map(|span| Span { from: span.end, ..*span }))?;
        Ok(Some(Markers {
            topic,
            letters: config.dead_letters.topic.clone(),
            reader,
            config,
            writer: None,
            book,
            run,
        }))
    }

    /// The same for a command that writes: a topic that does not exist is created.
    ///
    /// # Errors
    /// It cannot be created or read.
    pub fn create(config: &'c Site, topics: &Topics<'_>) -> anyhow::Result<Markers<'c>> {
        topics.create_markers(&config.dead_letters.markers)?;
        // Created is not yet led.
        for _ in 0..100 {
            match Self::open(config) {
                Ok(Some(markers)) => return Ok(markers),
                Ok(None) | Err(_) => std::thread::park_timeout(Duration::from_millis(100)),
            }
        }
        Self::open(config)?.with_context(|| {
            format!(
                "dead_letters.markers: topic {} was created and is not there",
                config.dead_letters.markers
            )
        })
    }

    /// Writes intents, and says which of their letters are ours to send; the others are another command's.
    ///
    /// # Errors
    /// The intents cannot be written or read back: then nothing may be sent.
    pub fn claim(&mut self, intents: &[(Place, Marker)]) -> anyhow::Result<Vec<bool>> {
        self.note(intents)?;
        let book = &mut self.book;
        let unseen = |book: &Book| intents.iter().any(|(place, _)| book.claim(*place) == Claim::Unseen);
        if unseen(book) {
            let all = self.reader.follow(&self.topic, SEEN, |record| {
                book.read(record.key.as_deref(), record.value.as_deref());
                if unseen(book) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if !all {
                bail!("dead_letters.markers: what was written to {} cannot be read back", self.topic);
            }
        }
        let ours: Vec<bool> =
            intents.iter().map(|(place, _)| self.book.claim(*place) == Claim::Ours).collect();
        // Our intent must not hide that another command is done with a letter.
        let lost = intents.iter().zip(&ours).filter(|(_, ours)| !**ours);
        let again =
            lost.filter_map(|((place, _), _)| Some(self.record(*place, self.book.theirs(*place)?.to_vec())));
        self.write(&again.collect::<Vec<_>>())?;
        Ok(ours)
    }

    /// Writes markers and waits until they are acknowledged.
    ///
    /// # Errors
    /// One was not.
    pub fn note(&mut self, markers: &[(Place, Marker)]) -> anyhow::Result<()> {
        let record = |(place, marker): &(Place, Marker)| -> anyhow::Result<Record> {
            Ok(self.record(*place, serde_json::to_vec(marker)?))
        };
        let records: Vec<Record> = markers.iter().map(record).collect::<anyhow::Result<_>>()?;
        self.write(&records)
    }

    fn record(&self, place: Place, value: Vec<u8>) -> Record {
        Record {
            topic: self.topic.clone(),
            partition: None,
            key: Some(Origin { topic: self.letters.clone(), place }.to_string().into_bytes()),
            value: Some(value),
            timestamp: None,
            headers: Vec::new(),
        }
    }

    fn write(&mut self, records: &[Record]) -> anyhow::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(Writer::new(self.config, Batches::Full)?),
        };
        let written = writer.write(&records.iter().collect::<Vec<_>>(), || true)?;
        let failed = written.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |error| Err(error).context("dead_letters.markers"))
    }
}
