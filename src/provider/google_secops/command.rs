//! `token_command`: a program that prints a token.
//!
//! Contract: the words are run as they are, never by a shell; the program gets no input, is killed at the
//! time-out or when nobody waits any more, and may print 64 KiB. What it prints never reaches an error.

use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::provider::{Failure, FailureKind};

/// How long the program may take. `gcloud` takes two seconds.
pub const TIMEOUT: Duration = Duration::from_secs(15);
const LIMIT: u64 = 64 * 1024;

/// What the program prints.
///
/// # Errors
/// `unauthorised` when it cannot be started or does not end well, `timeout` when it does not end.
pub async fn run(words: &[String], timeout: Duration) -> Result<SecretString, Failure> {
    let refused = |what: String| {
        Failure::new(
            FailureKind::Unauthorised,
            format!("token_command {what}: run it by hand as the same user to see why"),
        )
    };
    let Some((program, arguments)) = words.split_first() else {
        return Err(refused("is empty".to_owned()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // People of the program write to it; it is not ours to keep.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| refused(format!("cannot be started ({})", error.kind())))?;
    let stdout = child.stdout.take();
    let work = async {
        let mut printed = String::new();
        if let Some(stdout) = stdout {
            let read = stdout.take(LIMIT).read_to_string(&mut printed).await;
            read.map_err(|_| refused("printed something that is no text".to_owned()))?;
        }
        let status = child.wait().await.map_err(|error| refused(format!("was lost ({})", error.kind())))?;
        if !status.success() {
            return Err(refused(format!("ended with {status}")));
        }
        Ok(SecretString::from(printed))
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => {
            Err(Failure::new(FailureKind::Timeout, format!("token_command did not end within {timeout:?}")))
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use secrecy::ExposeSecret;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn words_reach_the_program_as_they_are_and_no_shell_reads_them() {
        let output = run(&words(&["echo", "-n", "$(id); `id` \"x\""]), TIMEOUT).await.unwrap();
        assert_eq!(output.expose_secret(), "$(id); `id` \"x\"");
    }

    #[tokio::test]
    async fn a_program_that_fails_or_is_not_there_refuses() {
        for bad in [words(&["false"]), words(&["/no/such/program"]), words(&[])] {
            let failure = run(&bad, TIMEOUT).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unauthorised, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_a_time_out() {
        let failure = run(&words(&["sleep", "60"]), Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Timeout);
    }

    #[tokio::test]
    async fn endless_output_is_cut_and_what_is_printed_stays_out_of_errors() {
        let failure = run(&words(&["sh", "-c", "echo hunter2; exit 3"]), TIMEOUT).await.unwrap_err();
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
        let failure = run(&words(&["yes"]), TIMEOUT).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unauthorised);
    }
}
