//! Dead letters through the pipeline, for `--to output`: what the service would have published.
//!
//! Contract: the same steps and headers as the service's, and the counter beside them. What still cannot be read stays a
//! dead letter, with the reason it has now. Look-ups wait for their turn as long as that takes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use super::destination::Way;
use super::letter::Named;
use super::original::Original;
use crate::alert::{DecodeError, Scratch, Select};
use crate::compose::{Summary, headers};
use crate::engine::Engine;
use crate::pipeline::{Begun, Origin, Pending, Pipeline};
use crate::source::topics::Topic;

/// An alert on its way.
pub enum Begin {
    /// It is there: its value, and what it says as a whole.
    Done(Option<Vec<u8>>, Summary),
    /// Answers are under way.
    Waiting {
        /// The alert.
        pending: Arc<Pending>,
        /// Told when the last answer has landed.
        landed: Receiver<()>,
    },
}

/// The pipeline, and what is known of the input topics.
pub struct Through {
    pipeline: Arc<Pipeline>,
    scratch: Scratch,
    topics: Vec<Topic>,
}

impl Through {
    /// Through `engine`, for alerts of `topics`.
    pub fn new(engine: &Engine, topics: Vec<Topic>) -> Through {
        Through { pipeline: engine.pipeline(), scratch: Scratch::default(), topics }
    }

    /// Takes an alert as far as it goes without waiting.
    ///
    /// # Errors
    /// It is no alert.
    pub fn begin(&mut self, original: &Original, way: &Way) -> Result<Begin, DecodeError> {
        let Some(value) = &original.value else { return Ok(Begin::Done(None, Summary::NO_ENTITIES)) };
        let select = self.of(way).map_or(Select::Auto, |topic| topic.select);
        let frame = headers::RESERVED + way.origin.to_string().len() + 64;
        let overhead = original.bytes() - value.len() + frame;
        let origin = Origin { topic: &way.topic, select, overhead };
        let (post, landed) = sync_channel(1);
        let waker = || -> Box<dyn Fn() + Send + Sync> {
            Box::new(move || {
                // The receiver is gone only when the command is ending.
                let _ = post.try_send(());
            })
        };
        let mut out = Vec::new();
        let begun = self.pipeline.begin(value, origin, Instant::now(), &mut self.scratch, &mut out, waker)?;
        Ok(match begun {
            Begun::Composed(summary) => Begin::Done(Some(out), summary),
            Begun::Waiting(pending) => Begin::Waiting { pending, landed },
        })
    }

    /// Waits for the answers and composes.
    pub fn finish(&self, begin: Begin, original: &Original) -> (Option<Vec<u8>>, Summary) {
        match begin {
            Begin::Done(value, summary) => (value, summary),
            Begin::Waiting { pending, landed } => {
                // Flights always land; an error means that the runtime is gone, and then nothing more comes.
                let _ = landed.recv();
                let mut out = Vec::new();
                let alert = original.value.as_deref().unwrap_or_default();
                let summary = pending.finish(alert, Instant::now(), &mut out);
                (Some(out), summary)
            }
        }
    }

    /// Which output partition the alert goes to; `None` is by key.
    pub fn partition(&self, original: &Original, way: &Way) -> Option<i32> {
        let topic = self.of(way).filter(|topic| topic.name == way.origin.topic)?;
        topic.chooser.choose(way.origin.place.partition, original.key.is_some())
    }

    fn of(&self, way: &Way) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == way.topic)
    }
}

/// The headers of an output that was redriven; `original` is the alert's time where the record has another.
pub fn output_headers(foreign: &[Named], summary: &Summary, way: &Way, original: Option<i64>) -> Vec<Named> {
    let mut all = foreign.to_vec();
    let mut add =
        |name: &str, value: &str| all.push((name.as_bytes().to_vec(), Some(value.as_bytes().to_vec())));
    headers::each(summary, &mut add);
    add(headers::SOURCE, &way.origin.to_string());
    add(headers::REDRIVEN, &way.count.to_string());
    if let Some(original) = original {
        add(headers::TIMESTAMP, &original.to_string());
    }
    all
}
