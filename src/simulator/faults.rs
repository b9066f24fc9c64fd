//! The script of what goes wrong: which calls, what they get instead of an answer, how often or how long.
//!
//! A script is a list; each call takes the first fault that is for it and is not used up. So
//! `[503 twice, hang once]` is two 503, one hang, and then the vendor's own answers again.
//!
//! As JSON (the body of `PUT /_simulator/faults`), every member but `at` may be left out:
//!
//! ```json
//! [{"at": "/datadog/api/v2", "times": 2, "for_ms": 5000, "latency_ms": [10, 90],
//!   "answer": {"status": {"code": 429, "headers": {"retry-after": "1"}, "body": "{}"}}}]
//! ```
//!
//! `at` is a prefix of the path, vendor first. `answer` is `"hang"`, `"reset"`, `"garbage"`,
//! `{"html": 502}`, `{"status": {...}}`, `{"huge": 20000000}` (bytes), `{"bomb": 20000000}` (bytes, once unpacked), `"truncated"` or `{"slow": 100}` (bytes
//! a second); the last two are the vendor's own answer, spoiled on the wire. Without `answer` it is the
//! vendor's own, after `latency_ms`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::population::{fraction, mix};

/// How long an answer takes, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Latency {
    /// Always the same.
    Fixed(u64),
    /// Anything between the two, evenly.
    Between(u64, u64),
}

impl Latency {
    /// No time at all.
    pub const NONE: Latency = Latency::Fixed(0);

    /// The time of one call; `draw` is a different number for each.
    pub(super) fn duration(self, draw: u64) -> Duration {
        match self {
            Latency::Fixed(millis) => Duration::from_millis(millis),
            Latency::Between(low, high) => {
                let span = high.saturating_sub(low) as f64;
                Duration::from_micros(low.saturating_mul(1000) + (fraction(mix(draw)) * span * 1000.0) as u64)
            }
        }
    }
}

/// What a call gets instead of the vendor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A status of its own.
    Status {
        /// The HTTP status.
        code: u16,
        /// `Retry-After` and the like.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// As it is; `application/json` unless `headers` says otherwise.
        #[serde(default)]
        body: String,
    },
    /// Nothing, for ever; the connection stays open.
    Hang,
    /// The connection is closed without a byte.
    Reset,
    /// 200 and bytes that are no text.
    Garbage,
    /// A proxy's page with this status.
    Html(u16),
    /// 200 and a JSON document of so many bytes.
    Huge(usize),
    /// 200 and a small gzip body that unpacks to so many bytes.
    Bomb(usize),
    /// The vendor's answer; the connection closes in the middle of its body.
    Truncated,
    /// The vendor's answer, its body at so many bytes a second.
    Slow(u32),
}

/// One line of the script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A prefix of the path, vendor first: `/datadog`. `/` is every vendor.
    pub at: String,
    /// What the call gets; the vendor's own answer when absent.
    #[serde(default)]
    pub answer: Option<Answer>,
    /// How long that takes; the simulator's own latency when absent.
    #[serde(default, rename = "latency_ms")]
    pub latency: Option<Latency>,
    /// How many calls it is for; any number when absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// How long it lasts, in milliseconds from when it was set; until it is cleared when absent.
    #[serde(default)]
    pub for_ms: Option<u64>,
}

impl Fault {
    /// `answer` for every call below `at`, for good.
    pub fn new(at: &str, answer: Answer) -> Self {
        Fault { at: at.to_owned(), answer: Some(answer), latency: None, times: None, for_ms: None }
    }

    /// The status `code` with `body` for every call below `at`.
    pub fn status(at: &str, code: u16, body: &str) -> Self {
        Fault::new(at, Answer::Status { code, headers: BTreeMap::new(), body: body.to_owned() })
    }

    /// The vendor's own answers, late.
    pub fn slow_answer(at: &str, latency: Latency) -> Self {
        Fault { at: at.to_owned(), answer: None, latency: Some(latency), times: None, for_ms: None }
    }

    /// Adds a header where the answer is a status of its own.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Some(Answer::Status { headers, .. }) = &mut self.answer {
            headers.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// Only for the next `times` calls.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// The faults in force, with what is left of each.
#[derive(Debug, Default)]
pub(super) struct Script {
    faults: Vec<(Fault, Option<Instant>)>,
}

impl Script {
    pub(super) fn push(&mut self, fault: Fault, now: Instant) {
        let until = fault.for_ms.and_then(|millis| now.checked_add(Duration::from_millis(millis)));
        self.faults.push((fault, until));
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    /// The fault for a call of `path`, used once.
    pub(super) fn next(&mut self, path: &str, now: Instant) -> Option<Fault> {
        self.faults.retain(|(fault, until)| fault.times != Some(0) && until.is_none_or(|until| now < until));
        let (fault, _) = self.faults.iter_mut().find(|(fault, _)| path.starts_with(&fault.at))?;
        fault.times = fault.times.map(|left| left.saturating_sub(1));
        Some(fault.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn faults_apply_in_order_until_each_is_used_up() {
        let now = Instant::now();
        let mut script = Script::default();
        script.push(Fault::status("/a", 503, "").times(2), now);
        script.push(Fault::new("/a", Answer::Hang).times(1), now);
        let mut answers = || script.next("/a/x", now).map(|fault| fault.answer.unwrap());
        assert!(matches!(answers(), Some(Answer::Status { code: 503, .. })));
        assert!(matches!(answers(), Some(Answer::Status { code: 503, .. })));
        assert_eq!(answers(), Some(Answer::Hang));
        assert_eq!(answers(), None);
    }

    #[test]
    fn a_fault_is_for_its_path_and_ends_with_its_time() {
        let now = Instant::now();
        let mut script = Script::default();
        script.push(Fault { for_ms: Some(100), ..Fault::new("/a/b", Answer::Reset) }, now);
        assert_eq!(script.next("/a/c", now), None);
        assert!(script.next("/a/b/c", now).is_some());
        assert_eq!(script.next("/a/b/c", now + Duration::from_millis(100)), None);
    }

    #[test]
    fn a_script_reads_from_json_and_a_misspelt_member_is_an_error() {
        let read = |text| serde_json::from_str::<Vec<Fault>>(text);
        let script = read(
            r#"[{"at": "/datadog", "times": 2, "latency_ms": [10, 90],
                 "answer": {"status": {"code": 429, "headers": {"retry-after": "1"}}}},
                {"at": "/", "answer": "hang"}, {"at": "/", "answer": {"html": 502}}]"#,
        )
        .unwrap();
        assert_eq!(script[0].latency, Some(Latency::Between(10, 90)));
        assert_eq!(
            script[0],
            Fault { latency: script[0].latency, ..Fault::status("/datadog", 429, "") }
                .times(2)
                .with_header("retry-after", "1")
        );
        assert_eq!(script[1], Fault::new("/", Answer::Hang));
        assert!(read(r#"[{"at": "/", "time": 2}]"#).is_err());
    }

    #[test]
    fn a_latency_stays_between_its_bounds() {
        for draw in 0..100 {
            let time = Latency::Between(10, 20).duration(draw);
            assert!((Duration::from_millis(10)..=Duration::from_millis(20)).contains(&time));
        }
    }
}
