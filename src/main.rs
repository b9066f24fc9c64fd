//! `riskstream`: arguments in, exit code out. Everything else is in the library.

use std::io::Write;

fn main() {
    let code = riskstream::cli::main();
    // Nobody is left to be told that either could not be written.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    leave(code)
}

/// Ends the process without the exit handlers of the C library. OpenSSL's takes apart what a thread of librdkafka may still shake
/// hands with: a process that had said why it stops then ended by a signal, and not with its exit code.
#[cfg(unix)]
fn leave(code: u8) -> ! {
    // SAFETY: it takes a number and does not return; what is to be written has been.
    unsafe { libc::_exit(code.into()) }
}

#[cfg(not(unix))]
fn leave(code: u8) -> ! {
    std::process::exit(code.into())
}
