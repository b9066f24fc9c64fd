//! The picture at several sizes, and with hostile contents.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::score::Level;

fn row(entity: &str, provider: &str, score: Option<f64>, level: Option<Level>) -> Row {
    Row {
        time: "2026-05-29T14:23:27Z".parse().unwrap(),
        format: "datadog_signal".to_owned(),
        entity: entity.to_owned(),
        provider: provider.to_owned(),
        status: if score.is_some() { "scored" } else { "unknown" }.to_owned(),
        score,
        level,
    }
}

fn state() -> State {
    let flow = |total, rate| Flow { total, rate, bars: (0..30).map(|n| n * n % 23).collect() };
    let vendor = |name: &str, requests, breaker| Vendor {
        name: name.to_owned(),
        requests,
        rate: 17.4,
        median: Some(Duration::from_millis(38)),
        hit_ratio: Some(0.873),
        unknown: 81,
        failed: u64::from(breaker == Condition::Open) * 12,
        breaker,
    };
    State {
        phase: Phase::Running(Some(Duration::from_secs(8))),
        uptime: Duration::from_secs(12),
        admin: "127.0.0.1:41234".to_owned(),
        flows: [flow(6_012, 501.2), flow(5_950, 498.0), flow(60, 4.7)],
        latency: Some((12, 71)),
        hit_ratio: Some(0.8731),
        cached: 2_311,
        in_flight: 2,
        distinct: 2_400,
        vendors: vec![
            vendor("datadog", 1_234, Condition::Closed),
            vendor("cortex", 812, Condition::HalfOpen),
            vendor("secops", 2_000, Condition::Open),
        ],
        latest: vec![
            row("arn:aws:iam::123456789012:user/anna.keller", "datadog", Some(97.2), Some(Level::Critical)),
            row("ACME\\mmeyer7", "cortex", Some(71.0), Some(Level::High)),
            row("a\u{1b}[2J\u{202e}evil\r\n\u{9b}31m", "secops", None, None),
        ],
        warning: None,
    }
}

fn plain(state: &State, width: usize, height: usize) -> String {
    let lines: Vec<String> = lines(state, width, height)
        .iter()
        .map(|line| console::strip_ansi_codes(line).trim_end().to_owned())
        .collect();
    lines.join("\n")
}

#[test]
fn a_hundred_columns() {
    insta::assert_snapshot!(plain(&state(), 100, 24));
}

#[test]
fn sixty_columns_with_a_warning() {
    let warning = Some("WARN the broker is \u{1b}]0;gone\u{7}".to_owned());
    insta::assert_snapshot!(plain(&State { warning, ..state() }, 60, 20));
}

#[test]
fn digits_stand_in_threes() {
    let shown = [0, 12, 999, 1_000, 123_456, 1_234_567].map(grouped);
    assert_eq!(shown, ["0", "12", "999", "1 000", "123 456", "1 234 567"]);
}

#[test]
fn a_sparkline_is_as_wide_as_asked_and_its_highest_bar_is_full() {
    assert_eq!(sparkline(&[0, 7, 14], 5), "  ▁▅█");
    assert_eq!(sparkline(&[1, 2, 3, 4], 2), "▆█");
    assert_eq!(sparkline(&[], 3), "   ");
}

proptest! {
    #[test]
    fn whatever_an_alert_says_no_line_is_too_wide_and_no_control_character_gets_through(
        text in any::<String>(), width in 0usize..200, height in 0usize..60
    ) {
        let state = State {
            latest: vec![row(&text, &text, Some(1.0), None)],
            warning: Some(text.clone()),
            ..state()
        };
        let lines = lines(&state, width, height);
        prop_assert!(lines.len() <= height);
        for line in lines {
            let shown = console::strip_ansi_codes(&line);
            prop_assert!(measure_text_width(&shown) <= width);
            prop_assert!(!shown.contains(char::is_control));
        }
    }
}
