//! `riskstream demo`: everything in one process, and a look at it.
//!
//! Contract: the engine and the service are those of `run`, reached through Kafka and HTTP only; nothing in the
//! product knows that it is a demo. It ends after `--seconds` or at ctrl-c: the producer stops, what is in flight
//! comes out, the service stops in order, and the counts are checked: `in = out + dead-lettered`, or exit code 1.
//! Needs nothing installed and leaves nothing behind.
//!
//! | file | owns |
//! |---|---|
//! | [`world`] | broker, vendors, and the configuration for them |
//! | [`traffic`] | the producer of alerts |
//! | [`tap`] | the consumers of what came out |
//! | [`tally`] | what is counted of it |
//! | [`gauges`] | the rates and the vendors, from the metrics that any scraper sees |
//! | [`view`] | the picture: state in, lines out |
//! | [`screen`] | the terminal that it is drawn on, and the log lines that must not tear it |
//! | [`report`] | JSON lines in a pipe, and the summary |

mod gauges;
mod report;
mod screen;
mod tally;
mod tap;
mod traffic;
mod view;
mod world;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use self::gauges::Gauges;
use self::screen::{LastWarning, Screen};
use self::tally::Tally;
use self::traffic::Counts;
use self::world::World;
use super::End;
use super::output::{line, note};
use crate::app::{RunError, Service};
use crate::config::{Log, LogFormat};
use crate::engine::Engine;
use crate::supervisor::Stop;
use crate::telemetry;

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(125);
/// Between two lines in a pipe.
const LINE: Duration = Duration::from_secs(1);
/// How long what is in flight may take to come out: the alerts' deadline and the drain fit in.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the group may take to get its partitions.
const ASSIGNMENT: Duration = Duration::from_secs(30);

/// Runs the demo.
pub fn run(seconds: Option<u64>, rate: u64) -> Result<(), End> {
    let people = screen::is_for_people();
    let warnings = LastWarning::default();
    if people {
        warnings.listen();
    } else {
        telemetry::start(&Log { level: "warn".to_owned(), format: LogFormat::Auto, audit: false });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("riskstream")
        .build()
        .context("cannot start threads")?;
    let end = Stop::default();
    runtime.block_on(end_at_signals(end.clone()))?;

    let world = runtime.block_on(World::start())?;
    let config = Arc::new(world.config().map_err(End::Configuration)?);
    let engine = Engine::build(&config, runtime.handle().clone())?;
    let stop = Stop::default();
    let service = runtime.block_on(Service::start(Arc::clone(&config), &engine, stop.clone()))?;
    let admin = service.admin;
    let service = thread::Builder::new().name("service".to_owned()).spawn(move || service.wait())?;

    let counts = Arc::new(Counts::default());
    let tally = Arc::new(Mutex::new(Tally::default()));
    let taps = tap::start(&world.brokers(), &counts, &tally)?;
    let mut demo = Demo {
        screen: people.then(Screen::open).transpose()?,
        gauges: Gauges::new(&engine, &config, Arc::clone(&counts), tally, admin),
        warnings,
        counts,
        end,
        next_line: Instant::now() + LINE,
    };

    let flow = demo.flow(&world, &engine, seconds, rate, &service);
    stop.request();
    let at_once = demo.end.now();
    if at_once {
        stop.request();
    }
    let stopped = service.join().unwrap_or(Err(RunError::Panic(0)));
    // Only now is everything that the service wrote in the topics, duplicates too, if there are any.
    taps.finish();
    drop(demo.screen.take());
    flow?;
    if at_once {
        note("ended at once: what was in flight was not waited for, so nothing is to be checked");
        return Err(End::Quiet);
    }
    stopped?;

    let summary = report::Summary::new(&mut demo.gauges, &world.calls());
    // The vendors' connections and flights that nobody waits for end here.
    runtime.shutdown_background();
    let lines = if people { summary.for_people() } else { vec![summary.json().to_string()] };
    // Where nobody reads any more, the exit code still tells.
    let _ = lines.iter().try_for_each(|text| line(text));
    if summary.is_balanced() { Ok(()) } else { Err(End::Quiet) }
}

/// The first ctrl-c ends the traffic, the second one everything.
async fn end_at_signals(end: Stop) -> anyhow::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()] {
        let mut signals = signal(kind)?;
        let end = end.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                end.request();
            }
        });
    }
    Ok(())
}

/// What runs, and how it is shown.
struct Demo {
    screen: Option<Screen>,
    gauges: Gauges,
    warnings: LastWarning,
    counts: Arc<Counts>,
    end: Stop,
    next_line: Instant,
}

type Running = thread::JoinHandle<Result<(), RunError>>;

impl Demo {
    /// Traffic from the first assignment to the end, and then until everything came out.
    fn flow(
        &mut self,
        world: &World,
        engine: &Engine,
        seconds: Option<u64>,
        rate: u64,
        service: &Running,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + ASSIGNMENT;
        while engine.metrics.assigned.get() < i64::from(world::PARTITIONS) && !self.end.requested() {
            if service.is_finished() || Instant::now() > until {
                return Err(anyhow!("the service got no partitions of the embedded broker: a bug"));
            }
            self.show(view::Phase::Starting)?;
            self.end.wait(FRAME / 4);
        }
        let begun = Instant::now();
        self.gauges.begin();
        self.next_line = begun + LINE;
        let traffic = traffic::start(&world.brokers(), rate, &self.counts, &self.end)?;
        let last = seconds.map(|seconds| begun + Duration::from_secs(seconds));
        while !self.end.requested() && !service.is_finished() {
            let left = last.map(|last| last.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            self.show(view::Phase::Running(left))?;
            self.end.wait(left.map_or(FRAME, |left| left.min(FRAME)));
        }
        self.counts.stop.store(true, Ordering::Relaxed);
        while !traffic.is_finished() && !service.is_finished() {
            self.show(view::Phase::Draining)?;
            thread::park_timeout(FRAME / 4);
        }
        let until = Instant::now() + DRAIN;
        while !self.counts.is_out() && Instant::now() < until && !service.is_finished() && !self.end.now() {
            self.show(view::Phase::Draining)?;
            thread::park_timeout(FRAME / 4);
        }
        self.show(view::Phase::Draining)
    }

    /// Draws a picture, or writes a line when it is time.
    fn show(&mut self, phase: view::Phase) -> anyhow::Result<()> {
        let now = Instant::now();
        if let Some(screen) = &mut self.screen {
            if screen.is_due(now, FRAME) {
                let state = self.gauges.look(now, phase, self.warnings.text());
                screen.draw(|width, height| view::lines(&state, width, height)).context("cannot draw")?;
            }
        } else if now >= self.next_line && phase != view::Phase::Starting {
            self.next_line += LINE;
            let state = self.gauges.look(now, phase, None);
            if line(&report::line_of(&state).to_string()).is_err() {
                // Nobody reads any more: end, but in order.
                self.end.request();
                self.next_line = now + DRAIN * 2;
            }
        }
        Ok(())
    }
}

/// A lock that a panic elsewhere does not take away.
fn locked(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
