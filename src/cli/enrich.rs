//! `riskstream enrich`: the same steps as the service, on files.
//!
//! Contract: one enriched alert a line, in the order of the input; a bad alert is reported on stderr with its
//! place, and the rest goes on. There is no deadline: a look-up waits for its turn within the vendor's quota.

use std::collections::VecDeque;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::alerts::{self, Item};
use super::output::{note, table, visible};
use super::{End, engine_problem, load};
use crate::alert::{Formats, Scratch, Select};
use crate::compose::{AlertStatus, Summary};
use crate::engine::Engine;
use crate::pipeline::{Begun, Origin, Pending, Pipeline};
use crate::telemetry;

/// Alerts whose answers may be under way at once.
const WINDOW: usize = 1000;

/// Runs the command.
pub fn run(config: &Path, format: Option<&str>, threads: u16, files: &[PathBuf]) -> Result<(), End> {
    let path = config;
    let config = load(path)?;
    telemetry::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(threads))
        .enable_all()
        .build()?;
    let engine =
        Engine::patient(&config, runtime.handle().clone()).map_err(|error| engine_problem(path, &error))?;
    let pipeline = engine.pipeline();
    let select = select(&pipeline.formats, format)?;
    runtime.block_on(engine.read_once(note));
    let mut enricher = Enricher::new(&pipeline, select);
    let started = Instant::now();
    let read = alerts::each(files, |item| enricher.take(item));
    let result = read.and_then(|()| enricher.end());
    enricher.progress.finish_and_clear();
    summary(&enricher, started.elapsed());
    runtime.shutdown_background();
    result?;
    if enricher.bad > 0 { Err(End::Quiet) } else { Ok(()) }
}

/// The format that was named, or recognition.
pub fn select(formats: &Formats, name: Option<&str>) -> Result<Select, End> {
    match name {
        None | Some("auto") => Ok(Select::Auto),
        Some(name) => formats.id(name).map(Select::Named).ok_or_else(|| {
            let known = formats.names().collect::<Vec<_>>().join(", ");
            End::Usage(format!("--format {name}: not a known format; write one of: auto, {known}"))
        }),
    }
}

/// An alert on its way, in the order of the input.
enum Place {
    Done(Vec<u8>),
    Waiting { alert: Vec<u8>, pending: Arc<Pending>, landed: Receiver<()> },
}

struct Enricher<'p> {
    pipeline: &'p Arc<Pipeline>,
    select: Select,
    scratch: Scratch,
    window: VecDeque<Place>,
    out: BufWriter<std::io::Stdout>,
    progress: ProgressBar,
    read: u64,
    bad: u64,
    by_status: [u64; AlertStatus::ALL.len()],
}

impl<'p> Enricher<'p> {
    fn new(pipeline: &'p Arc<Pipeline>, select: Select) -> Self {
        // Progress only where results do not run over the same screen.
        let progress =
            if std::io::stdout().is_terminal() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} alerts, {per_sec}") {
            progress.set_style(style);
        }
        Enricher {
            pipeline,
            select,
            scratch: Scratch::default(),
            window: VecDeque::new(),
            out: BufWriter::new(std::io::stdout()),
            progress,
            read: 0,
            bad: 0,
            by_status: [0; AlertStatus::ALL.len()],
        }
    }

    fn take(&mut self, Item { place, bytes }: Item) -> anyhow::Result<()> {
        self.read += 1;
        let origin = Origin { topic: "", select: self.select, overhead: 0 };
        let (post, landed) = sync_channel(1);
        let waker = || -> Box<dyn Fn() + Send + Sync> {
            Box::new(move || {
                // The receiver is gone only when the command is ending.
                let _ = post.try_send(());
            })
        };
        let mut out = Vec::new();
        match self.pipeline.begin(&bytes, origin, Instant::now(), &mut self.scratch, &mut out, waker) {
            Ok(Begun::Composed(summary)) => {
                self.count(&summary);
                self.window.push_back(Place::Done(out));
            }
            Ok(Begun::Waiting(pending)) => {
                self.window.push_back(Place::Waiting { alert: bytes, pending, landed });
            }
            Err(error) => {
                self.bad += 1;
                self.progress.suspend(|| note(&format!("{}: {error}", visible(&place))));
            }
        }
        while self.window.len() > WINDOW || matches!(self.window.front(), Some(Place::Done(_))) {
            self.leave()?;
        }
        Ok(())
    }

    /// Writes the oldest alert, waiting for its answers.
    fn leave(&mut self) -> anyhow::Result<()> {
        match self.window.pop_front() {
            None => {}
            Some(Place::Done(line)) => self.write(&line)?,
            Some(Place::Waiting { alert, pending, landed }) => {
                // Flights always land; an error means that the runtime is gone, and then nothing more comes.
                let _ = landed.recv();
                let mut out = Vec::new();
                let summary = pending.finish(&alert, Instant::now(), &mut out);
                self.count(&summary);
                self.write(&out)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.progress.inc(1);
        if line.contains(&b'\n') {
            // A document over several lines becomes one: NDJSON out. Outside strings JSON may have no line
            // breaks, inside it has none, so that blanks in their place change nothing of what it says.
            let one: Vec<u8> =
                line.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
            self.out.write_all(&one)?;
        } else {
            self.out.write_all(line)?;
        }
        self.out.write_all(b"\n")?;
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        while !self.window.is_empty() {
            self.leave()?;
        }
        Ok(self.out.flush()?)
    }

    fn count(&mut self, summary: &Summary) {
        if let Some(count) = self.by_status.get_mut(summary.status as usize) {
            *count += 1;
        }
    }
}

/// What was done, on stderr: a table for people, one JSON line elsewhere.
fn summary(enricher: &Enricher<'_>, took: Duration) {
    let counts = AlertStatus::ALL.iter().zip(enricher.by_status);
    if std::io::stderr().is_terminal() {
        let mut rows: Vec<Vec<String>> =
            counts.map(|(status, count)| vec![status.label().to_owned(), count.to_string()]).collect();
        rows.push(vec!["unreadable".to_owned(), enricher.bad.to_string()]);
        rows.push(vec!["all".to_owned(), enricher.read.to_string()]);
        note(&table(&["alerts", ""], &rows));
        note(&format!("in {:.2} s", took.as_secs_f64()));
    } else {
        let mut summary = serde_json::Map::new();
        summary.insert("read".into(), enricher.read.into());
        for (status, count) in counts {
            summary.insert(status.label().into(), count.into());
        }
        summary.insert("unreadable".into(), enricher.bad.into());
        summary.insert("seconds".into(), ((took.as_secs_f64() * 1000.0).round() / 1000.0).into());
        note(&serde_json::Value::Object(summary).to_string());
    }
}
