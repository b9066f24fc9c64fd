//! How often an alert asks the allocator for memory on its way, and for how much; fails where code of ours asks for any
//! while the answers are cached.
//!
//! `cargo bench --bench allocations`. Counts exactly, and only the thread that works, so that one run is enough and neither
//! a busy machine nor another thread changes anything. librdkafka is not on this way. Of the formats, those with filters are not
//! judged: the library that evaluates them wants a tree of the value.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench is a test, and prints")]

mod shared;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::ExitCode;
use std::time::Instant;

use riskstream::alert::{Scratch, Select};

use shared::{Bench, SAMPLES, decode, finding, grid, hit};

/// The system's allocator, counted for each thread.
struct Counted;

/// Calls, and the bytes that they asked for.
type Count = (usize, usize);

thread_local! {
    // It needs neither to be made nor to be dropped, so that the allocator may use it at any time.
    static COUNT: Cell<Count> = const { Cell::new((0, 0)) };
}

fn note(bytes: usize) {
    COUNT.with(|count| {
        let (calls, sum) = count.get();
        count.set((calls + 1, sum + bytes));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Rounds that are counted.
const ROUNDS: usize = 1000;

/// What all rounds together ask for, after buffers have grown to their size.
fn count(mut work: impl FnMut()) -> Count {
    (0..100).for_each(|_| work());
    let before = COUNT.get();
    (0..ROUNDS).for_each(|_| work());
    let after = COUNT.get();
    (after.0 - before.0, after.1 - before.1)
}

fn main() -> ExitCode {
    let bench = Bench::warm(100);
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    let now = Instant::now();
    println!("{:<22} {:>14} {:>10} {:>14} {:>10}", "", "decode, calls", "bytes", "all, calls", "bytes");
    let mut cases: Vec<(String, Vec<String>)> = grid()
        .map(|(bytes, entities)| {
            (format!("{bytes} B, {entities} entities"), vec![finding(0, entities, bytes)])
        })
        .collect();
    // Small ones between large ones: buffers must not be given back and fetched again.
    let all = cases.iter().flat_map(|(_, alerts)| alerts.clone()).collect();
    cases.push(("all of them in turn".to_owned(), all));
    let mut wrong = false;
    for (name, alerts) in &cases {
        let decoding = count(|| alerts.iter().for_each(|alert| _ = decode(&bench, alert, &mut scratch)));
        let whole = count(|| alerts.iter().for_each(|alert| hit(&bench, alert, now, &mut scratch, &mut out)));
        let alerts = ROUNDS * alerts.len();
        let each = |sum: usize| sum as f64 / alerts as f64;
        println!(
            "{name:<22} {:>14.3} {:>10.1} {:>14.3} {:>10.1}",
            each(decoding.0),
            each(decoding.1),
            each(whole.0),
            each(whole.1)
        );
        wrong |= [decoding.0, whole.0].iter().any(|calls| *calls > 0);
    }
    wrong |= formats(&bench, &mut scratch);
    if wrong {
        println!(
            "\nAn alert whose answers are cached allocates nothing: keep a buffer for what asks for memory."
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Formats with filters in their paths.
const FILTERING: [&str; 1] = ["microsoft_graph"];

/// Prints what decoding asks for in each of the formats; whether one asks that must not.
fn formats(bench: &Bench, scratch: &mut Scratch) -> bool {
    println!();
    let mut seen = Vec::new();
    let mut wrong = false;
    for sample in SAMPLES.lines() {
        let decoded = bench.pipeline.decoder.decode(sample.as_bytes(), Select::Auto, scratch).unwrap();
        let Some(format) = decoded.format.filter(|format| !seen.contains(format)) else { continue };
        seen.push(format);
        let (calls, bytes) = count(|| _ = decode(bench, sample, scratch));
        let name = bench.pipeline.formats.name(format);
        println!("{name:<22} {:>14.3} {:>10.1}", calls as f64 / ROUNDS as f64, bytes as f64 / ROUNDS as f64);
        wrong |= calls > 0 && !FILTERING.contains(&name);
    }
    wrong
}
