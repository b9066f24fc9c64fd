//! Letters that are sent together: composed, claimed, sent, noted, told.
//!
//! Contract: nothing is sent before its intent is acknowledged and ours, and nothing is called done before its delivery
//! is acknowledged. So a command that dies leaves intents of one window at most, each for a letter that may have been
//! sent. A record whose timestamp is refused is sent again with the time of now.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Context as _;
use jiff::Timestamp;

use super::destination::{No, Way, timestamp};
use super::letter::Named;
use super::marker::{Marker, SCHEMA, State};
use super::markers::Markers;
use super::original::Original;
use super::pace::Pace;
use super::report::{About, Outcome, Report};
use super::through::{Begin, Through, output_headers};
use super::writer::{Record, Undelivered, Writer};
use super::{To, time};
use crate::alert::DecodeError;
use crate::compose::{Summary, headers};
use crate::config::Config;
use crate::supervisor::Stop;

/// Letters of a window.
pub const LETTERS: usize = 200;
/// Bytes of a window, but for its last letter.
pub const BYTES: usize = 8 << 20;

/// A letter to be sent.
pub struct Task {
    /// What is said of it.
    pub about: About,
    /// Where it goes.
    pub way: Way,
    /// What is sent.
    pub original: Original,
}

/// What is known of a topic that is written to.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Its partitions.
    pub partitions: i32,
    /// For how many milliseconds it keeps records.
    pub retention: Option<i64>,
}

/// Sends windows.
pub struct Sender<'c> {
    /// The configuration.
    pub config: &'c Config,
    /// Where to.
    pub to: To,
    /// The topics that are written to, or why one cannot be.
    pub topics: HashMap<String, Result<Topic, String>>,
    /// The producer.
    pub writer: Writer,
    /// What is remembered; `None` with `--no-markers`.
    pub markers: Option<Markers<'c>>,
    /// The pipeline, for `--to output`.
    pub through: Option<Through>,
    /// How fast.
    pub pace: Pace,
    /// When to end.
    pub stop: Stop,
}

/// A letter with what it became.
struct Draft {
    task: Task,
    enriched: Option<(Option<Vec<u8>>, Summary)>,
    record: Record,
}

impl<'c> Sender<'c> {
    /// Sends a window and tells of each letter.
    ///
    /// # Errors
    /// The markers or the producer are of no use: nothing more may be sent.
    pub fn send(&mut self, tasks: Vec<Task>, report: &mut Report) -> anyhow::Result<()> {
        let drafts = self.compose(tasks, report)?;
        let mut drafts = self.claim(drafts, report)?;
        let mut results = self.write(&drafts)?;
        // What was not reached because of a stop has no result.
        let left = drafts.split_off(results.len().min(drafts.len()));
        self.again_with_now(&mut drafts, &mut results)?;
        let mut notes = Vec::new();
        for (draft, result) in drafts.iter().zip(&results) {
            match result {
                Ok(landed) => notes.push((draft, State::Done, Some(landed.to_string()))),
                Err(Undelivered::Unsure { .. }) => {}
                Err(_) => notes.push((draft, State::NotSent, None)),
            }
        }
        notes.extend(left.iter().map(|draft| (draft, State::NotSent, None)));
        let noted = self.note(&notes);
        for (draft, result) in drafts.iter().zip(results) {
            let outcome = match result {
                Ok(landed) => Outcome::Redriven(landed, draft.record.timestamp.is_none()),
                Err(error @ Undelivered::Unsure { .. }) => Outcome::Unsure(error.to_string()),
                Err(error) => Outcome::Failed(error.to_string()),
            };
            report.tell(&draft.task.about, &outcome);
            report.progress.inc(1);
        }
        noted.context(
            "what was just told is not remembered: a later redrive will say that these letters may have been redriven",
        )
    }

    /// Makes records of letters; one that is no alert is told.
    fn compose(&mut self, tasks: Vec<Task>, report: &mut Report) -> anyhow::Result<Vec<Draft>> {
        let mut drafts = Vec::new();
        let Some(through) = &mut self.through else {
            for task in tasks {
                let record = self.record(&task, None, false);
                drafts.push(Draft { task, enriched: None, record });
            }
            return Ok(drafts);
        };
        let begun: Vec<(Task, Result<Begin, DecodeError>)> = tasks
            .into_iter()
            .map(|task| {
                let begin = through.begin(&task.original, &task.way);
                (task, begin)
            })
            .collect();
        for (task, begin) in begun {
            match begin {
                Ok(begin) => {
                    let enriched = self.through.as_ref().map(|through| through.finish(begin, &task.original));
                    let record = self.record(&task, enriched.as_ref(), false);
                    drafts.push(Draft { task, enriched, record });
                }
                Err(error) => {
                    report.tell(&task.about, &Outcome::Failed(error.to_string()));
                    report.progress.inc(1);
                }
            }
        }
        Ok(drafts)
    }

    fn record(&self, task: &Task, enriched: Option<&(Option<Vec<u8>>, Summary)>, now: bool) -> Record {
        let Task { way, original, .. } = task;
        let topic = match enriched {
            Some(_) => &self.config.output.topic,
            None => &way.topic,
        };
        let known = self.topics.get(topic).and_then(|topic| topic.as_ref().ok());
        let retention = known.and_then(|topic| topic.retention);
        let own = timestamp(original.time, Timestamp::now().as_millisecond(), retention).filter(|_| !now);
        let home = way.topic == way.origin.topic;
        let partition = way.origin.place.partition;
        let (value, headers, partition) = match enriched {
            Some((value, summary)) => {
                let foreign = original.time.filter(|_| own.is_none());
                let headers = output_headers(&original.headers, summary, way, foreign);
                let partition = self.through.as_ref().and_then(|through| through.partition(original, way));
                (value.clone(), headers, partition)
            }
            None => {
                let counter: Named =
                    (headers::REDRIVEN.as_bytes().to_vec(), Some(way.count.to_string().into_bytes()));
                let headers = original.headers.iter().cloned().chain([counter]).collect();
                // Beside the others of its key, whoever chose their partition.
                let home = home && known.is_some_and(|known| partition < known.partitions);
                (original.value.clone(), headers, home.then_some(partition))
            }
        };
        Record { topic: topic.clone(), partition, key: original.key.clone(), value, timestamp: own, headers }
    }

    /// Writes intents; what another command is at is told.
    fn claim(&mut self, drafts: Vec<Draft>, report: &mut Report) -> anyhow::Result<Vec<Draft>> {
        let intents: Vec<_> = drafts
            .iter()
            .filter_map(|draft| Some((draft.task.about.place, self.marker(draft, State::Intent, None)?)))
            .collect();
        let Some(markers) = &mut self.markers else { return Ok(drafts) };
        let ours = markers.claim(&intents)?;
        let mut kept = Vec::new();
        for (draft, ours) in drafts.into_iter().zip(ours) {
            if ours {
                kept.push(draft);
                continue;
            }
            report.tell(&draft.task.about, &Outcome::Skipped(No::Taken.to_string()));
            report.progress.inc(1);
        }
        Ok(kept)
    }

    fn write(&mut self, drafts: &[Draft]) -> anyhow::Result<Vec<Result<super::letter::Origin, Undelivered>>> {
        let records: Vec<&Record> = drafts.iter().map(|draft| &draft.record).collect();
        let (pace, stop) = (&mut self.pace, &self.stop);
        self.writer.write(&records, || !stop.wait(pace.take(Instant::now())))
    }

    fn again_with_now(
        &mut self,
        drafts: &mut [Draft],
        results: &mut [Result<super::letter::Origin, Undelivered>],
    ) -> anyhow::Result<()> {
        for (draft, result) in drafts.iter_mut().zip(results) {
            if matches!(result, Err(Undelivered::Timestamp(_))) && draft.record.timestamp.is_some() {
                draft.record = self.record(&draft.task, draft.enriched.as_ref(), true);
                if let Some(again) = self.writer.write(&[&draft.record], || true)?.pop() {
                    *result = again;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, notes: &[(&Draft, State, Option<String>)]) -> anyhow::Result<()> {
        let markers: Vec<_> = notes
            .iter()
            .filter_map(|(draft, state, landed)| {
                Some((draft.task.about.place, self.marker(draft, *state, landed.clone())?))
            })
            .collect();
        match &mut self.markers {
            Some(kept) => kept.note(&markers),
            None => Ok(()),
        }
    }

    fn marker(&self, draft: &Draft, state: State, landed: Option<String>) -> Option<Marker> {
        Some(Marker {
            schema: SCHEMA.to_owned(),
            state,
            at: time(Some(Timestamp::now().as_millisecond())),
            to: self.to.label().to_owned(),
            topic: draft.record.topic.clone(),
            landed,
            source: draft.task.way.origin.to_string(),
            letter_time: draft.task.about.time,
            count: draft.task.way.count,
            run: self.markers.as_ref()?.run.clone(),
            command: concat!("riskstream ", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }
}
