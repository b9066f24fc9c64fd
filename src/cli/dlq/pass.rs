//! The passes of a redrive over the letters that are meant: one counts, one says what would happen, one sends.
//!
//! Contract: all of them meet the same letters in the same order and decide by the same rules. Memory holds one window,
//! however many letters there are.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::destination::{No, Rules, Way, decide};
use super::filter::Filter;
use super::letter::Letter;
use super::marker::Book;
use super::original::Originals;
use super::reader::{Reader, Span};
use super::report::{About, Outcome, Report};
use super::window::{BYTES, Sender, Task};
use super::{Recogniser, Site, To};
use crate::alert::{DecodeError, Decoder, Scratch, Select};
use crate::config::Config;

/// Which letters, and what is allowed.
pub struct Pass<'c> {
    /// The configuration.
    pub config: &'c Site,
    /// Reads the dead letters.
    pub reader: Reader,
    /// What there was of them when the command began.
    pub spans: Vec<Span>,
    /// Which ones are meant.
    pub filter: Filter,
    /// Finds their formats.
    pub recogniser: Recogniser,
    /// What is allowed.
    pub rules: Rules<'c>,
    /// At most so many are sent.
    pub limit: u64,
    /// At most so many are sent together: a command that dies leaves them in doubt.
    pub window: usize,
    /// Where to.
    pub to: To,
}

/// What would be sent.
#[derive(Debug, Default)]
pub struct Extent {
    /// How many letters.
    pub letters: u64,
    /// How many of them cannot be read with this configuration either, so that they would come back.
    pub hopeless: u64,
    /// The input topics that they go to, or stand for.
    pub topics: BTreeSet<String>,
}

impl<'c> Pass<'c> {
    /// Counts what would be sent.
    ///
    /// # Errors
    /// The letters cannot be read.
    pub fn count(&mut self, book: Option<&Book>, decoder: &Decoder) -> anyhow::Result<Extent> {
        let (rules, limit) = (self.rules, self.limit);
        let mut scratch = Scratch::default();
        let mut extent = Extent::default();
        self.each(|letter| {
            let Ok(way) = decide(&letter, book, rules) else { return Ok(ControlFlow::Continue(())) };
            extent.letters += 1;
            let value = letter.value.as_deref().filter(|_| !letter.is_pointer());
            extent.hopeless +=
                u64::from(value.is_some_and(|value| unreadable(decoder, value, &mut scratch).is_some()));
            extent.topics.insert(way.topic);
            Ok(if extent.letters >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(extent)
    }

    /// Tells what would happen, and writes nothing.
    ///
    /// # Errors
    /// The letters cannot be read.
    pub fn dry(&mut self, book: Option<&Book>, decoder: &Decoder, report: &mut Report) -> anyhow::Result<()> {
        let (rules, to, config) = (self.rules, self.to, self.config);
        let mut left = self.limit;
        let mut originals = Originals::new(config);
        let mut scratch = Scratch::default();
        self.each(|letter| {
            report.heard()?;
            let about = About::new(&letter);
            let way = match decide(&letter, book, rules) {
                Ok(way) => way,
                Err(no) => {
                    report.tell(&about, &not_sent(no));
                    return Ok(ControlFlow::Continue(()));
                }
            };
            let outcome = match originals.of(letter, &way) {
                Err(missing) => Outcome::Failed(missing.to_string()),
                Ok(original) => {
                    let value = original.value.as_deref();
                    let error = value.and_then(|value| unreadable(decoder, value, &mut scratch));
                    let topic = destination(to, &way, config).to_owned();
                    match (too_often(original.count, rules), error, to) {
                        (Some(no), ..) => not_sent(no),
                        (None, None, _) => Outcome::WouldRedrive(topic, None),
                        (None, Some(error), To::Output) => Outcome::Failed(error.to_string()),
                        (None, Some(error), To::Input) => {
                            let why = format!("it would come back, with this configuration: {error}");
                            Outcome::WouldRedrive(topic, Some(why))
                        }
                    }
                }
            };
            report.tell(&about, &outcome);
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }

    /// Sends.
    ///
    /// # Errors
    /// The letters cannot be read, or the markers or the producer are of no use any more.
    pub fn send(&mut self, sender: &mut Sender<'c>, report: &mut Report) -> anyhow::Result<()> {
        let (rules, to, config, size) = (self.rules, self.to, self.config, self.window);
        let mut left = self.limit;
        let mut originals = Originals::new(config);
        let mut window = Window::default();
        self.each(|letter| {
            report.heard()?;
            if sender.stop.requested() || left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            let about = About::new(&letter);
            let book = sender.markers.as_ref().map(|markers| &markers.book);
            let mut way = match decide(&letter, book, rules) {
                Ok(way) => way,
                Err(no) => {
                    report.tell(&about, &not_sent(no));
                    return Ok(ControlFlow::Continue(()));
                }
            };
            if let Some(Err(why)) = sender.topics.get(destination(to, &way, config)) {
                report.tell(&about, &Outcome::Failed(why.clone()));
                return Ok(ControlFlow::Continue(()));
            }
            left -= 1;
            match originals.of(letter, &way).map(|original| (too_often(original.count, rules), original)) {
                Ok((None, original)) => {
                    way.count = way.count.max(original.count + 1);
                    window.bytes += original.bytes();
                    window.tasks.push(Task { about, way, original });
                }
                Ok((Some(no), _)) => {
                    report.tell(&about, &not_sent(no));
                    report.progress.inc(1);
                }
                Err(missing) => {
                    report.tell(&about, &Outcome::Failed(missing.to_string()));
                    report.progress.inc(1);
                }
            }
            if window.tasks.len() >= size || window.bytes >= BYTES {
                sender.send(std::mem::take(&mut window).tasks, report)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        report.heard()?;
        if window.tasks.is_empty() || sender.stop.requested() {
            Ok(())
        } else {
            sender.send(window.tasks, report)
        }
    }

    /// Hands every letter that is meant to `take`, until it breaks.
    fn each(
        &mut self,
        mut take: impl FnMut(Letter) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let Pass { reader, spans, filter, recogniser, config, .. } = self;
        reader.each(&config.dead_letters.topic, spans, |letter| {
            if filter.takes(&letter, || recogniser.format(&letter)) {
                take(letter)
            } else {
                Ok(ControlFlow::Continue(()))
            }
        })
    }
}

#[derive(Default)]
struct Window {
    tasks: Vec<Task>,
    bytes: usize,
}

fn destination<'w>(to: To, way: &'w Way, config: &'w Config) -> &'w str {
    match to {
        To::Input => &way.topic,
        To::Output => &config.output.topic,
    }
}

/// Why a value is no alert with this configuration; that does not depend on its format.
fn unreadable(decoder: &Decoder, value: &[u8], scratch: &mut Scratch) -> Option<DecodeError> {
    decoder.decode(value, Select::Auto, scratch).err()
}

/// What the record itself says, where the letter is only a pointer to it.
fn too_often(count: u8, rules: Rules<'_>) -> Option<No> {
    (count >= rules.max_redrives).then_some(No::TooOften { count, max: rules.max_redrives })
}

fn not_sent(no: No) -> Outcome {
    let why = no.to_string();
    match no {
        No::Done { .. } | No::Taken => Outcome::Skipped(why),
        No::Unsure { .. } => Outcome::Unsure(why),
        No::Nowhere | No::NotConfigured(_) | No::TooOften { .. } => Outcome::Refused(why),
    }
}
