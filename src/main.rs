//! `riskstream`: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

/// Records are allocated by one thread and freed by another, and so are their headers: this one is made for that. By its
/// feature `override` it is librdkafka's as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    riskstream::cli::main()
}
