//! How often an alert asks the allocator for memory on its way, and for how much.
//!
//! `cargo bench --bench allocations`. Counts exactly, so that one run is enough and a busy machine changes nothing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench is a test, and prints")]

mod shared;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use riskstream::alert::{Scratch, Select};
use riskstream::pipeline::Begun;

use shared::{Bench, ENTITIES, ORIGIN, SIZES, finding};

/// The system's allocator, counted.
struct Counted;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Calls and bytes of one round, after buffers have grown to their size.
fn count(mut work: impl FnMut()) -> (f64, f64) {
    const ROUNDS: usize = 1000;
    (0..100).for_each(|_| work());
    let before = (CALLS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    (0..ROUNDS).for_each(|_| work());
    let calls = CALLS.load(Ordering::Relaxed) - before.0;
    let bytes = BYTES.load(Ordering::Relaxed) - before.1;
    (calls as f64 / ROUNDS as f64, bytes as f64 / ROUNDS as f64)
}

fn main() {
    let bench = Bench::warm(100);
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    println!(
        "{:>8} {:>9} {:>15} {:>15} {:>15} {:>15}",
        "bytes", "entities", "decode calls", "bytes", "begin calls", "bytes"
    );
    for (size, entities) in SIZES.into_iter().flat_map(|size| ENTITIES.map(|entities| (size, entities))) {
        let alert = finding(0, entities, size);
        let decode = count(|| {
            bench.pipeline.decoder.decode(alert.as_bytes(), Select::Auto, &mut scratch).unwrap();
        });
        let begin = count(|| {
            let now = Instant::now();
            let begun = bench
                .pipeline
                .begin(alert.as_bytes(), ORIGIN, now, &mut scratch, &mut out, || Box::new(|| {}));
            assert!(matches!(begun, Ok(Begun::Composed(_))));
        });
        println!(
            "{:>8} {entities:>9} {:>15.1} {:>15.0} {:>15.1} {:>15.0}",
            alert.len(),
            decode.0,
            decode.1,
            begin.0,
            begin.1
        );
    }
}
