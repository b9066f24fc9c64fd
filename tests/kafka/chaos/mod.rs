//! The chaos suite: numbered alerts, a fault, and what came out, in each mode of delivery.
//!
//! ```text
//! tests/kafka/chaos.sh short|full
//! ```
//!
//! Each scenario prints one row: what was injected, into how many alerts, and how many were missing, repeated, out of
//! order, altered, or committed before they came out. Random moments follow from a seed, which is printed and can be
//! given (`CHAOS_SEED`). `CHAOS=full` is the long form, with scenarios that the short one leaves out; `CHAOS_MODES` names
//! the modes, `CHAOS_TABLE` a file for rows.

mod answers;
mod brokers;
mod clock;
mod disk;
mod kills;
mod members;
mod refusals;
mod soak;
mod stops;
mod zombies;

use std::io::Write;
use std::time::{Duration, SystemTime};

use crate::harness::check::{self, Found, Order, Progress};
use crate::harness::kafka::Stage;
use crate::harness::load::Load;
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{keep, say, wait};
use crate::{DEFAULT, broker_alone};

/// Declares the tests of scenarios, one in each mode.
macro_rules! in_each_mode {
    ($($scenario:ident),+ $(,)?) => {
        mod at_least_once {
            use crate::chaos::{Mode, run};
            $(#[test] fn $scenario() { run(Mode::AtLeastOnce, stringify!($scenario), super::$scenario); })+
        }
        mod exactly_once {
            use crate::chaos::{Mode, run};
            $(#[test] fn $scenario() { run(Mode::ExactlyOnce, stringify!($scenario), super::$scenario); })+
        }
    };
}
pub(crate) use in_each_mode;

/// How much is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is lost.
    AtLeastOnce,
    /// And nothing is repeated.
    ExactlyOnce,
}

impl Mode {
    fn label(self) -> &'static str {
        match self {
            Mode::AtLeastOnce => "at_least_once",
            Mode::ExactlyOnce => "exactly_once",
        }
    }
}

/// The modes that run unless `CHAOS_MODES` names others.
const MODES: &str = "at_least_once,exactly_once";

/// Bound of whatever must happen in the end; machines are slow at times.
const BOUND: Duration = Duration::from_secs(300);

/// Alerts in flight in one process.
const IN_FLIGHT: usize = 10_000;

/// Runs a scenario, or says why not.
pub fn run(mode: Mode, name: &str, scenario: fn(&mut Chaos)) {
    let Some(_broker) = broker_alone() else { return };
    let modes = std::env::var("CHAOS_MODES").unwrap_or_else(|_| MODES.to_owned());
    if !modes.split(',').any(|on| on == mode.label()) {
        return say(&format!("skipped: CHAOS_MODES={modes}"));
    }
    let given = std::env::var("CHAOS_SEED").ok().map(|seed| seed.parse().expect("CHAOS_SEED is a number"));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64;
    let seed = given.unwrap_or_else(|| now() % 1_000_000);
    say(&format!("{name}, {}: CHAOS_SEED={seed}", mode.label()));
    let full = std::env::var("CHAOS").is_ok_and(|size| size == "full");
    scenario(&mut Chaos { mode, full, seed, random: Random(seed) });
}

/// A run of one scenario.
pub struct Chaos {
    /// In this mode.
    pub mode: Mode,
    /// In its long form.
    pub full: bool,
    seed: u64,
    /// For its moments.
    pub random: Random,
}

impl Chaos {
    /// One of two, by the form.
    pub fn size<T>(&self, short: T, full: T) -> T {
        if self.full { full } else { short }
    }

    /// Whether this is the long form; says so when a scenario is left out of the short one.
    pub fn is_full(&self) -> bool {
        if !self.full {
            say("skipped: only in the long form, CHAOS=full");
        }
        self.full
    }

    /// Whether nothing may be repeated.
    pub fn is_exact(&self) -> bool {
        self.mode == Mode::ExactlyOnce
    }

    /// Topics of twelve partitions on the broker.
    pub fn stage(&self) -> Stage {
        Stage::real(12, DEFAULT, DEFAULT)
    }

    /// Prints the row of a scenario and asserts what its mode promises; `repeats` is how many repetitions at least once
    /// may have.
    pub fn row(&self, what: &str, found: &Found, ahead: usize, repeats: usize, note: &str) {
        let fields = [
            "chaos".to_owned(),
            what.to_owned(),
            self.mode.label().to_owned(),
            format!("{} in", found.inputs),
            format!("{} out", found.published),
            format!("{} dead letters", found.dead),
            format!("{} missing", found.missing),
            format!("{} repeated", found.repeated),
            format!("{} out of order", found.out_of_order),
            format!("{} altered", found.altered + found.both + found.strangers),
            format!("{ahead} committed too early"),
            note.to_owned(),
            format!("seed {}", self.seed),
        ];
        let row = fields.join(" | ");
        say(&row);
        if let Some(file) = std::env::var_os("CHAOS_TABLE") {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
            writeln!(file, "{row}").unwrap();
        }
        assert!(found.is_whole(), "{found:#?}");
        assert_eq!(ahead, 0, "committed before they came out");
        let may = if self.is_exact() { 0 } else { repeats };
        assert!(found.repeated <= may, "{} repeated, {may} may be", found.repeated);
    }
}

/// Numbers that follow from a seed.
pub struct Random(u64);

impl Random {
    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// A moment of up to `bound`, and what passes until then.
    pub fn pass(&mut self, bound: Duration) {
        pass(Duration::from_millis(self.below(bound.as_millis() as u64)));
    }
}

/// Lets time pass, which is the fault or a part of it; nothing else is waited for like this.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// How the processes of a scenario are configured.
pub struct Crew<'s> {
    stage: &'s Stage,
    mode: Mode,
    /// `kafka.brokers`, unless it is the stage's.
    pub brokers: Option<String>,
    /// Properties of the consumer.
    pub consumer: Vec<String>,
    /// Whether a member has a name that outlives it, so that its partitions wait for its return.
    pub is_static: bool,
    /// Members of `pipeline`.
    pub pipeline: String,
    /// The section `providers` and everything else.
    pub rest: String,
}

impl<'s> Crew<'s> {
    /// Patient ones: whatever the vendors and the machine do, alerts are complete.
    pub fn new(chaos: &Chaos, stage: &'s Stage, vendors: &Vendors) -> Crew<'s> {
        Crew {
            stage,
            mode: chaos.mode,
            brokers: None,
            consumer: Vec::new(),
            is_static: false,
            pipeline: format!("in_flight: {IN_FLIGHT}, deadline: 10s"),
            rest: vendors.providers(", timeout: 20s, max_wait: 30s, concurrency: 200"),
        }
    }

    /// The configuration of the process called `name`.
    pub fn settings(&self, name: &str) -> String {
        let mut settings = Settings::of(self.stage, &self.pipeline, &self.rest);
        if let Some(brokers) = &self.brokers {
            settings.kafka = format!("brokers: ['{brokers}'], security: plaintext");
        }
        let mut consumer = self.consumer.clone();
        if self.is_static {
            consumer.push(format!("group.instance.id: {name}"));
        }
        settings.kafka += &format!(", consumer: {{{}}}", consumer.join(", "));
        if self.mode == Mode::ExactlyOnce {
            settings.kafka += &format!(", instance: {name}");
            settings.pipeline += ", delivery: exactly_once";
        }
        settings.text()
    }

    /// Starts the process called `name`.
    pub fn start(&self, name: &str) -> Service {
        Service::start(&self.settings(name))
    }
}

/// Waits until so many inputs have come out; the process must not end before.
pub fn out(progress: &mut Progress<'_>, inputs: usize, service: &mut Service) {
    wait("outputs", BOUND, || {
        assert!(!service.has_ended(), "a process ended:\n{}", service.log());
        progress.catch_up() >= inputs
    });
}

/// Waits until so many more have come out.
pub fn more(progress: &mut Progress<'_>, more: usize, service: &mut Service) {
    let before = progress.catch_up();
    out(progress, before + more, service);
}

/// Waits until a process has some partitions.
pub fn joined(service: &mut Service) {
    wait("partitions assigned", BOUND, || {
        service.metric("riskstream_assigned_partitions").is_some_and(|partitions| partitions > 0.0)
    });
}

/// Waits until everything is committed; none of the processes may end before.
pub fn all_committed(stage: &Stage, services: &mut [&mut Service]) {
    let ends = stage.ends();
    wait("everything committed", BOUND, || {
        for service in services.iter_mut() {
            assert!(!service.has_ended(), "a process ended:\n{}", service.log());
        }
        stage.committed() == ends
    });
}

/// SIGTERM, and an end without an error.
pub fn stop(service: Service, log: &str) {
    let ended = service.terminate();
    keep(&format!("{log}.log"), &ended.log);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}
