//! What is said of letters while they are redriven, and in the end.
//!
//! Contract: on a terminal what was sent only moves the progress bar, and the rest is told letter by letter; elsewhere
//! there is one JSON line for each letter on stdout. Text that an attacker wrote is not let loose on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, json};

use super::letter::{Letter, Origin, Place};
use crate::cli::output::{line, note, table, visible};

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stands there now; whether with the time of now instead of its own.
    Redriven(Origin, bool),
    /// It would be sent to this topic, and this is what is to be expected there.
    WouldRedrive(String, Option<String>),
    /// It was redriven before.
    Skipped(String),
    /// It may have been sent, now or before.
    Unsure(String),
    /// It may not be sent.
    Refused(String),
    /// It could not be sent.
    Failed(String),
}

impl Outcome {
    /// Every label, in the order of a summary.
    const LABELS: [&str; 6] = ["redriven", "would_redrive", "skipped", "unsure", "refused", "failed"];

    fn index(&self) -> usize {
        match self {
            Outcome::Redriven(..) => 0,
            Outcome::WouldRedrive(..) => 1,
            Outcome::Skipped(_) => 2,
            Outcome::Unsure(_) => 3,
            Outcome::Refused(_) => 4,
            Outcome::Failed(_) => 5,
        }
    }

    fn label(&self) -> &'static str {
        Self::LABELS.get(self.index()).copied().unwrap_or_default()
    }

    fn why(&self) -> Option<&str> {
        match self {
            Outcome::Redriven(..) => None,
            Outcome::WouldRedrive(_, why) => why.as_deref(),
            Outcome::Skipped(why) | Outcome::Unsure(why) | Outcome::Refused(why) | Outcome::Failed(why) => {
                Some(why)
            }
        }
    }
}

/// What a report says of a letter beside its outcome.
#[derive(Clone, Debug)]
pub struct About {
    /// Where it stands.
    pub place: Place,
    /// Its time.
    pub time: Option<i64>,
    /// Why it is a dead letter.
    reason: String,
    /// Where the original stood.
    source: Option<String>,
}

impl About {
    /// About `letter`.
    pub fn new(letter: &Letter) -> About {
        About {
            place: letter.place(),
            time: letter.time,
            reason: letter.reason().into_owned(),
            source: letter.origin().map(|origin| origin.to_string()),
        }
    }
}

/// Tells and counts.
pub struct Report {
    people: bool,
    counts: [u64; Outcome::LABELS.len()],
    /// What happened when nobody read any more.
    closed: Option<std::io::Error>,
    /// The bar.
    pub progress: ProgressBar,
}

impl Report {
    /// Of `total` letters that will be sent; `None` sends nothing.
    pub fn new(people: bool, total: Option<u64>) -> Report {
        let shown = std::io::stderr().is_terminal() && total.is_some_and(|total| total > 0);
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let progress = ProgressBar::with_draw_target(total, target);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:40} {pos} of {len} letters, {per_sec}, {eta} to go")
        {
            progress.set_style(style);
        }
        Report { people, counts: [0; Outcome::LABELS.len()], closed: None, progress }
    }

    /// Tells what became of a letter. What is under way goes on when nobody reads; see [`heard`](Self::heard).
    pub fn tell(&mut self, about: &About, outcome: &Outcome) {
        if let Some(count) = self.counts.get_mut(outcome.index()) {
            *count += 1;
        }
        let told = match outcome {
            _ if self.closed.is_some() => Ok(()),
            _ if !self.people => line(&json(about, outcome)),
            Outcome::Redriven(..) => Ok(()),
            _ => self.progress.suspend(|| line(&people(about, outcome))),
        };
        if let Err(error) = told {
            self.closed = Some(error);
        }
    }

    /// Whether what was told was read.
    ///
    /// # Errors
    /// Nobody reads any more: nothing more should be sent.
    pub fn heard(&mut self) -> std::io::Result<()> {
        self.closed.take().map_or(Ok(()), Err)
    }

    /// Whether every letter was sent, or had been before.
    fn is_good(&self) -> bool {
        let [_, _, _, unsure, refused, failed] = self.counts;
        unsure + refused + failed == 0
    }

    /// In the end, on stderr: a table for people, one JSON line elsewhere. Whether all is well.
    pub fn summary(&self, took: Duration) -> bool {
        self.progress.finish_and_clear();
        self.count(took);
        self.is_good()
    }

    fn count(&self, took: Duration) {
        let counts = Outcome::LABELS.iter().zip(self.counts);
        if std::io::stderr().is_terminal() {
            let rows = counts.filter(|(_, count)| *count > 0);
            let rows: Vec<_> =
                rows.map(|(label, count)| vec![label.replace('_', " "), count.to_string()]).collect();
            if rows.is_empty() {
                note("no dead letter is meant");
            } else {
                note(&table(&["dead letters", ""], &rows));
                note(&format!("in {:.2} s", took.as_secs_f64()));
            }
            return;
        }
        let mut summary: Map<_, _> =
            counts.map(|(label, count)| ((*label).to_owned(), count.into())).collect();
        summary.insert("seconds".to_owned(), ((took.as_secs_f64() * 1000.0).round() / 1000.0).into());
        note(&serde_json::Value::Object(summary).to_string());
    }
}

fn json(about: &About, outcome: &Outcome) -> String {
    let (to, now) = match outcome {
        Outcome::Redriven(landed, now) => (Some(landed.to_string()), *now),
        Outcome::WouldRedrive(topic, _) => (Some(topic.clone()), false),
        _ => (None, false),
    };
    json!({
        "partition": about.place.partition,
        "offset": about.place.offset,
        "reason": about.reason,
        "source": about.source,
        "outcome": outcome.label(),
        "to": to,
        "timestamp": matches!(outcome, Outcome::Redriven(..)).then_some(if now { "now" } else { "original" }),
        "why": outcome.why(),
    })
    .to_string()
}

fn people(about: &About, outcome: &Outcome) -> String {
    let rest = match outcome {
        Outcome::Redriven(landed, _) => format!("redriven to {landed}"),
        Outcome::WouldRedrive(topic, None) => format!("would be sent to {topic}"),
        Outcome::WouldRedrive(topic, Some(why)) => format!("would be sent to {topic}, but {why}"),
        other => format!("{}: {}", other.label(), other.why().unwrap_or_default()),
    };
    let source = about.source.as_deref().unwrap_or("?");
    visible(&format!("{}  {}  {source}  {rest}", about.place, about.reason))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn about() -> About {
        About {
            place: "0/3".parse().unwrap(),
            time: None,
            reason: "not_json".into(),
            source: Some("a\u{1b}/1/2".into()),
        }
    }

    #[test]
    fn a_line_of_json_tells_everything_and_a_line_for_people_moves_no_cursor() {
        let landed = Outcome::Redriven("a/1/9".parse().unwrap(), true);
        let line: serde_json::Value = serde_json::from_str(&json(&about(), &landed)).unwrap();
        assert_eq!(
            (&line["outcome"], &line["to"], &line["timestamp"]),
            (&"redriven".into(), &"a/1/9".into(), &"now".into())
        );
        let text = people(&about(), &Outcome::Refused("because".into()));
        assert_eq!(text, "0/3  not_json  a\u{fffd}/1/2  refused: because");
    }

    #[test]
    fn what_was_redriven_before_is_no_failure_and_what_is_unsure_is() {
        for (outcome, good) in [
            (Outcome::Skipped(String::new()), true),
            (Outcome::Redriven("a/1/9".parse().unwrap(), false), true),
            (Outcome::Unsure(String::new()), false),
            (Outcome::Refused(String::new()), false),
            (Outcome::Failed(String::new()), false),
        ] {
            let mut report = Report::new(true, None);
            report.counts[outcome.index()] += 1;
            assert_eq!(report.is_good(), good, "{outcome:?}");
        }
    }
}
