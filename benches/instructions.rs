//! How many instructions an alert takes on its way, held against a budget: the guard of the hot path.
//!
//! `cargo bench --bench instructions` on x86-64 Linux with valgrind. Fails where a figure is not what
//! `benches/instructions.budget` says; `-- --write` makes what was counted the budget (CONTRIBUTING.md: raising one).
//!
//! Contract: counts what the processor is told to do and never looks at a clock, so that a busy machine changes nothing.
//! Time is more than that: memory that is far away, branches that are guessed wrongly and what two cores share show in
//! `hot_path` only. The program runs once more inside valgrind, where callgrind counts between two marks that it sets itself:
//! neither start nor warm-up is in a figure.
//!
//! What varies between runs of one program: the keys of hashes are drawn for each process, so that the places in the
//! tables are others. Each figure is the mean of alerts about different entities, which leaves far less than
//! [`ABOVE`] of it. What varies between builds: another compiler, and another choice of what is inlined, which a change
//! elsewhere can bring about. That is what [`ABOVE`] is for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench is a test, and prints"
)]

mod shared;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs};

use riskstream::alert::Scratch;

use shared::{Bench, decode, finding, grid, hit};

/// How far a figure may be above its budget, in per cent. Small, as nothing is measured: it lets changes elsewhere
/// move an inlined function, and a hundred of them cannot add up, since the budget stays where it is.
const ABOVE: f64 = 1.0;

/// How far a figure may be below, in per cent. What is faster than its budget by more may lose that again and nobody
/// would hear of it: so it fails as well, and the gain is written down by whoever made it.
const BELOW: f64 = 3.0;

/// How far a figure may be above where another compiler or processor counts than that of the budget: its code is another.
/// Below is no failure then.
const ABOVE_ELSEWHERE: f64 = 10.0;

/// Answers in the cache.
const ANSWERS: usize = 10_000;

/// Alerts of each case, each about other entities.
const ALERTS: usize = 200;

/// Distance of their first entities.
const STRIDE: usize = ANSWERS / ALERTS - 1;

/// Rounds before the one that counts: buffers grow, and the cache notes which answers are read often.
const WARM_UP: usize = 3;

/// The argument that says that this is the run inside valgrind.
const INSIDE: &str = "--inside-valgrind";

const BUDGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.budget");

/// What the line of the budget begins with that says what counted it.
const COUNTED_WITH: &str = "counted with";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    if env::args().any(|argument| argument == INSIDE) {
        inside();
        return ExitCode::SUCCESS;
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        println!("the budget is of x86-64 Linux: nothing is counted here");
        return ExitCode::SUCCESS;
    }
    match outside(env::args().any(|argument| argument == "--write")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("instructions: {failure}");
            ExitCode::FAILURE
        }
    }
}

// --- Outside: starts the run that counts, and judges -----------------------------------------------------------------

/// Counts, prints, and writes or judges; whether all is well.
fn outside(write: bool) -> Result<bool, Failure> {
    let counted = count()?;
    let with = counted_with();
    let budget = if Path::new(BUDGET).exists() { Budget::read()? } else { Budget::default() };
    println!("{:<26} {:>10} {:>10} {:>8}", "instructions per alert", "counted", "budget", "off");
    for (name, count) in &counted {
        match budget.figures.get(name) {
            Some(of) => println!("{name:<26} {count:>10} {of:>10} {:>+6.2} %", off(*count, *of)),
            None => println!("{name:<26} {count:>10} {:>10}", "none"),
        }
    }
    println!();
    if write {
        fs::write(BUDGET, Budget::text(&with, &counted))?;
        println!(
            "written to benches/instructions.budget: say in the commit's message what is higher, and why"
        );
        return Ok(true);
    }
    let elsewhere = budget.with != with;
    if elsewhere {
        println!(
            "The budget was counted with {}, and this is {with}: up to {ABOVE_ELSEWHERE} % above it is taken, and below is \
             no failure.",
            budget.with
        );
    }
    let complaints = complaints(&counted, &budget, elsewhere);
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    Ok(complaints.is_empty())
}

/// What is wrong with the figures, in words: which they are, and what is to be done.
fn complaints(counted: &[(String, u64)], budget: &Budget, elsewhere: bool) -> Vec<String> {
    let limit = if elsewhere { ABOVE_ELSEWHERE } else { ABOVE };
    let (mut above, mut below, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for (name, count) in counted {
        match budget.figures.get(name).map(|of| off(*count, *of)) {
            None => without.push(name.as_str()),
            Some(off) if off > limit => above.push(name.as_str()),
            Some(off) if off < -BELOW && !elsewhere => below.push(name.as_str()),
            Some(_) => {}
        }
    }
    let is_counted = |name: &str| counted.iter().any(|(counted, _)| counted == name);
    let idle: Vec<&str> =
        budget.figures.keys().map(String::as_str).filter(|name| !is_counted(name)).collect();
    let kinds = [
        (
            above,
            "Above the budget: make it cheaper; or, if the change is worth it, raise the budget and say why in the commit's \
             message.",
        ),
        (
            below,
            "So far below the budget that as much could be lost again and nobody would hear of it: lower the budget.",
        ),
        (without, "Without a budget."),
        (idle, "With a budget, but not counted."),
    ];
    let mut complaints = Vec::new();
    for (names, what) in kinds.into_iter().filter(|(names, _)| !names.is_empty()) {
        complaints.push(format!("{what}\n  {}", names.join("\n  ")));
    }
    if !complaints.is_empty() {
        complaints.push("A budget is written by: cargo bench --bench instructions -- --write".to_owned());
    }
    complaints
}

/// How far a count is off its budget, in per cent.
fn off(count: u64, budget: u64) -> f64 {
    (count as f64 / budget as f64 - 1.0) * 100.0
}

/// What a figure depends on beside our code. Functions of the standard library, of C's and of crates choose their
/// instructions when they run; what valgrind offers them differs in AVX2 only.
fn counted_with() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let version = version.unwrap_or_else(|_| "an unknown compiler".to_owned());
    #[cfg(target_arch = "x86_64")]
    let wide = std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let wide = false;
    format!("{version}, {} AVX2", if wide { "with" } else { "without" })
}

/// What alerts may take.
#[derive(Debug, Default)]
struct Budget {
    /// What it was counted with.
    with: String,
    figures: BTreeMap<String, u64>,
}

impl Budget {
    fn read() -> Result<Budget, Failure> {
        let mut budget = Budget::default();
        for line in fs::read_to_string(BUDGET)?.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) =
                line.rsplit_once(": ").ok_or_else(|| format!("the budget has a line {line:?}"))?;
            if name == COUNTED_WITH {
                budget.with = value.to_owned();
            } else {
                let figure = value.parse().map_err(|_| format!("the budget has a line {line:?}"))?;
                budget.figures.insert(name.to_owned(), figure);
            }
        }
        Ok(budget)
    }

    fn text(with: &str, counted: &[(String, u64)]) -> String {
        let mut text = "# Instructions that an alert may take, on average. What is counted is in benches/instructions.rs, \
                        how a budget is raised\n# in CONTRIBUTING.md. Written by: cargo bench --bench instructions -- --write\n"
            .to_owned();
        let _ = writeln!(text, "{COUNTED_WITH}: {with}");
        for (name, count) in counted {
            let _ = writeln!(text, "{name}: {count}");
        }
        text
    }
}

/// Runs this program inside valgrind: each case with its instructions per alert.
fn count() -> Result<Vec<(String, u64)>, Failure> {
    let folder = tempfile::tempdir()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--instr-atstart=no"])
        .arg(format!("--callgrind-out-file={}/counts", folder.path().display()))
        .arg(env::current_exe()?)
        .arg(INSIDE)
        .output()
        .map_err(|error| {
            format!("valgrind counts, and it cannot be run ({error}): install the package valgrind")
        })?;
    if !output.status.success() {
        return Err(format!(
            "{} inside valgrind: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let mut sums = BTreeMap::new();
    for file in fs::read_dir(folder.path())? {
        sums.extend(sum(&fs::read_to_string(file?.path())?));
    }
    let figure = |case: Case| match sums.get(&case.name) {
        Some(sum) if *sum > 0 => Ok((case.name, (sum + ALERTS as u64 / 2) / ALERTS as u64)),
        _ => Err(format!("valgrind tells no instructions of {:?}", case.name).into()),
    };
    cases().into_iter().map(figure).collect()
}

/// The case and the instructions that one file of callgrind's is about; the last file is about none.
fn sum(profile: &str) -> Option<(String, u64)> {
    let value = |key: &str| profile.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    Some((value("desc: Trigger: Client Request:")?.to_owned(), value("totals:")?.parse().ok()?))
}

// --- Inside: does the work between marks -----------------------------------------------------------------------------

/// One figure.
struct Case {
    name: String,
    bytes: usize,
    entities: usize,
    /// All of the way, or decode alone.
    whole: bool,
}

fn cases() -> Vec<Case> {
    let case = |whole: bool, (bytes, entities): (usize, usize)| {
        let step = if whole { "begin" } else { "decode" };
        let plural = if entities == 1 { "entity" } else { "entities" };
        let name = format!("{step}, {} KB, {entities} {plural}", bytes / 1000);
        Case { name, bytes, entities, whole }
    };
    [false, true].into_iter().flat_map(|whole| grid().map(move |at| case(whole, at))).collect()
}

/// All of the work; callgrind writes a file for each case.
fn inside() {
    let bench = Bench::warm(ANSWERS);
    // The age of an answer stands in the output: it has three digits, however slowly the cache was filled.
    let now = Instant::now() + Duration::from_secs(100);
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    for case in cases() {
        let alert = |number: usize| finding(number * STRIDE, case.entities, case.bytes);
        let alerts: Vec<String> = (0..ALERTS).map(alert).collect();
        let mut round = || {
            for alert in &alerts {
                if case.whole {
                    hit(&bench, alert, now, &mut scratch, &mut out);
                } else {
                    decode(&bench, alert, &mut scratch);
                }
            }
        };
        (0..WARM_UP).for_each(|_| round());
        valgrind::count();
        round();
        valgrind::tell(&case.name);
    }
    assert_eq!(bench.pipeline.flights.open(), 0, "answers were not fresh");
}

/// What a program can ask of the callgrind that runs it.
mod valgrind {
    use std::ffi::CString;

    /// The requests of callgrind are numbered from here: `CT` and two bytes.
    const CALLGRIND: u64 = 0x4354_0000;
    const DUMP_AT: u64 = CALLGRIND + 3;
    const START: u64 = CALLGRIND + 4;
    const STOP: u64 = CALLGRIND + 5;

    /// From here on instructions are counted.
    pub fn count() {
        request(START, 0);
    }

    /// Up to here; the sum is written to a file, with a name.
    pub fn tell(name: &str) {
        request(STOP, 0);
        let name = CString::new(name).unwrap();
        request(DUMP_AT, name.as_ptr() as u64);
    }

    /// Asks valgrind, where it runs this; else nothing happens.
    #[cfg(target_arch = "x86_64")]
    fn request(number: u64, argument: u64) {
        let request = [number, argument, 0, 0, 0, 0];
        // SAFETY: outside valgrind these instructions change nothing: the rotations add up to 128 bits, and a register is
        // exchanged with itself. Valgrind knows the sequence, reads the six numbers, and sets `rdx`.
        unsafe {
            std::arch::asm!(
                "rol rdi, 3",
                "rol rdi, 13",
                "rol rdi, 61",
                "rol rdi, 51",
                "xchg rbx, rbx",
                in("rax") request.as_ptr(),
                inout("rdx") 0u64 => _,
                options(nostack),
            );
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn request(_number: u64, _argument: u64) {}
}
