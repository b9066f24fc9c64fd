//! The picture: what is going on, as lines for a terminal.
//!
//! Pure: state, width and height in, lines out. Contract: no line is wider than the width, and no character of an
//! alert reaches the terminal unless it is [`visible`].

use crate::cli::output::visible;
use std::time::Duration;

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};

use super::super::output::level_style;
use super::tally::Row;
use super::world::TOKEN;
use crate::provider::breaker::Condition;
use crate::simulator::alerts::cast;

/// What the demo is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for partitions.
    Starting,
    /// Traffic; with how much of it is left where that is known.
    Running(Option<Duration>),
    /// No more traffic: what is in flight comes out.
    Draining,
}

/// A counter with its speed.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Since the start.
    pub total: u64,
    /// A second, over the last two.
    pub rate: f64,
    /// For the sparkline, oldest first.
    pub bars: Vec<u64>,
}

/// One vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct Vendor {
    /// The instance's name.
    pub name: String,
    /// HTTP requests.
    pub requests: u64,
    /// HTTP requests a second.
    pub rate: f64,
    /// The median of their times.
    pub median: Option<Duration>,
    /// The part of its entities that the cache answered, 0 to 1.
    pub hit_ratio: Option<f64>,
    /// Entities that it does not know.
    pub unknown: u64,
    /// Entities about which it could not be asked.
    pub failed: u64,
    /// Whether it is asked.
    pub breaker: Condition,
}

/// Everything that is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What the demo is doing.
    pub phase: Phase,
    /// Since the traffic began.
    pub uptime: Duration,
    /// Address of the admin port.
    pub admin: String,
    /// In, out, dead-lettered.
    pub flows: [Flow; 3],
    /// Recent latency in milliseconds: 50th and 99th percentile.
    pub latency: Option<(u64, u64)>,
    /// The part of all entities that the cache answered, 0 to 1.
    pub hit_ratio: Option<f64>,
    /// Answers in the cache.
    pub cached: u64,
    /// Alerts in flight.
    pub in_flight: i64,
    /// Entities that somebody was asked about.
    pub distinct: usize,
    /// The vendors.
    pub vendors: Vec<Vendor>,
    /// Alerts to look at, newest first.
    pub latest: Vec<Row>,
    /// The last log line of the service, if there was any.
    pub warning: Option<String>,
}

/// The picture.
pub fn lines(state: &State, width: usize, height: usize) -> Vec<String> {
    let dim = Style::new().dim();
    let mut lines = vec![title(state, width), dim.apply_to("─".repeat(width)).to_string()];
    lines.extend(flows(state, width));
    lines.push(String::new());
    lines.extend(vendors(state));
    lines.push(String::new());
    let foot = foot(state, width);
    let room = height.saturating_sub(lines.len() + foot.len() + 2);
    if room > 0 {
        lines.extend(latest(state, width, room));
        lines.push(String::new());
    }
    lines.extend(foot);
    lines.truncate(height);
    lines.iter().map(|line| truncate_str(line, width, "").into_owned()).collect()
}

fn title(state: &State, width: usize) -> String {
    let name = Style::new().bold().apply_to("riskstream demo").to_string();
    let doing = match state.phase {
        Phase::Starting => "waiting for partitions".to_owned(),
        Phase::Running(None) => format!("up {}", clock(state.uptime)),
        Phase::Running(Some(left)) => {
            format!("up {}, {} to go", clock(state.uptime), clock(left + Duration::from_millis(999)))
        }
        Phase::Draining => "stopping: what is in flight comes out".to_owned(),
    };
    let admin = Style::new().cyan().apply_to(format!("http://{}", state.admin)).to_string();
    let left = format!(" {name}  {}", Style::new().dim().apply_to(doing));
    let room = width.saturating_sub(measure_text_width(&admin) + 1);
    format!("{} {admin}", pad_str(&left, room.saturating_sub(1), Alignment::Left, Some("")))
}

fn clock(time: Duration) -> String {
    format!("{:02}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

fn flows(state: &State, width: usize) -> Vec<String> {
    let latency = state.latency.map_or("-".to_owned(), |(p50, p99)| format!("p50 {p50} ms  p99 {p99} ms"));
    let cache = state.hit_ratio.map_or("-".to_owned(), |ratio| {
        format!("{} hits, {} entries", percent(ratio), grouped(state.cached))
    });
    let flight = format!("{} alerts", grouped(state.in_flight.unsigned_abs()));
    let notes = [("latency", latency), ("cache", cache), ("in flight", flight)];
    let names = [
        ("alerts in", Style::new().cyan()),
        ("enriched", Style::new().green()),
        ("dead letters", Style::new().red()),
    ];
    // What the sparkline may have: all but the columns before it and the notes after it.
    let bars = width.saturating_sub(34 + 38).min(40);
    names
        .iter()
        .zip(&state.flows)
        .zip(notes)
        .map(|(((name, style), flow), (what, note))| {
            format!(
                " {name:12}{} {:>7}/s  {}  {} {note}",
                style.apply_to(format!("{:>9}", grouped(flow.total))),
                grouped(flow.rate.round() as u64),
                style.apply_to(sparkline(&flow.bars, bars)),
                Style::new().dim().apply_to(format!("{what:9}")),
            )
        })
        .collect()
}

/// The last `width` values as bars from the highest of them down.
fn sparkline(values: &[u64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = values.get(values.len().saturating_sub(width)..).unwrap_or_default();
    let top = shown.iter().copied().max().unwrap_or(0).max(1);
    let bar = |value: &u64| {
        let eighth = (value.saturating_mul(7) as f64 / top as f64).round() as usize;
        BARS.get(eighth).copied().unwrap_or('█')
    };
    let bars: String = shown.iter().map(bar).collect();
    format!("{}{bars}", " ".repeat(width - shown.len()))
}

fn vendors(state: &State) -> Vec<String> {
    let head = format!(
        " {:12}{:>10}{:>8}{:>9}{:>9}{:>9}{:>8}  {}",
        "vendor", "requests", "/s", "median", "cached", "unknown", "failed", "breaker"
    );
    let mut lines = vec![Style::new().dim().apply_to(head).to_string()];
    for vendor in &state.vendors {
        let (condition, style) = match vendor.breaker {
            Condition::Closed => ("closed", Style::new().green()),
            Condition::HalfOpen => ("half open", Style::new().yellow()),
            Condition::Open => ("open", Style::new().red().bold()),
        };
        let failed = if vendor.failed > 0 { Style::new().red() } else { Style::new() };
        lines.push(format!(
            " {:12}{:>10}{:>8}{:>9}{:>9}{:>9}{}  {}",
            vendor.name,
            grouped(vendor.requests),
            grouped(vendor.rate.round() as u64),
            vendor.median.map_or("-".to_owned(), |median| format!("{} ms", median.as_millis())),
            vendor.hit_ratio.map_or("-".to_owned(), percent),
            grouped(vendor.unknown),
            failed.apply_to(format!("{:>8}", grouped(vendor.failed))),
            style.apply_to(condition),
        ));
    }
    lines
}

fn latest(state: &State, width: usize, room: usize) -> Vec<String> {
    // Time, format, provider, score and level with what stands between them; the entity has the rest.
    let entity = width.saturating_sub(1 + 8 + 2 + 15 + 2 + 2 + 10 + 2 + 5 + 2 + 10).max(10);
    let head = format!(
        " {:8}  {:15}  {:entity$}  {:10}  {:>5}  {}",
        "raised", "format", "entity", "vendor", "score", "level"
    );
    let mut lines = vec![Style::new().dim().apply_to(head).to_string()];
    for row in state.latest.iter().take(room.saturating_sub(1)) {
        let score = row.score.map_or("-".to_owned(), |score| format!("{score:.0}"));
        let level = row.level.map_or(row.status.as_str(), |level| level.label());
        lines.push(format!(
            " {}  {}  {}  {}  {score:>5}  {}",
            row.time.strftime("%H:%M:%S"),
            cell(&row.format, 15),
            cell(&row.entity, entity),
            cell(&row.provider, 10),
            level_style(row.level).apply_to(format!(" {level} ")),
        ));
    }
    // The foot keeps its place while the list grows.
    lines.resize(room, String::new());
    lines
}

fn foot(state: &State, width: usize) -> Vec<String> {
    let admin = &state.admin;
    let (header, url) = (
        format!("curl -H 'authorization: Bearer {TOKEN}'"),
        format!("'http://{admin}/v1/risk?kind=ip&id={}'", cast::public_ip(0)),
    );
    let question = if 10 + header.len() + 1 + url.len() <= width {
        vec![("ask it", format!("{header} {url}"))]
    } else {
        // Two lines that can be copied as one command.
        vec![("ask it", format!("{header} \\")), ("", format!("  {url}"))]
    };
    let metrics = ("metrics", format!("curl http://{admin}/metrics"));
    let end = ("end it", "ctrl-c: what is in flight comes out, then the counts are checked".to_owned());
    let lines = [metrics].into_iter().chain(question).chain([end]);
    let mut lines: Vec<String> = lines
        .map(|(what, how)| format!(" {} {how}", Style::new().dim().apply_to(format!("{what:8}"))))
        .collect();
    if let Some(warning) = &state.warning {
        let text = truncate_str(&visible(warning), width.saturating_sub(2), "…").into_owned();
        lines.push(format!(" {}", Style::new().yellow().apply_to(text)));
    }
    lines
}

/// Text of an alert in a column of this width.
fn cell(text: &str, width: usize) -> String {
    let shown = visible(text);
    let columns = measure_text_width(&shown);
    if columns <= width {
        return pad_str(&shown, width, Alignment::Left, None).into_owned();
    }
    // The end tells more than the middle: the name of an ARN, the domain of an e-mail.
    let characters: Vec<char> = shown.chars().collect();
    let tail: String =
        characters.get(characters.len().saturating_sub(width / 2)..).unwrap_or_default().iter().collect();
    let head = truncate_str(&shown, width.saturating_sub(measure_text_width(&tail) + 1), "").into_owned();
    pad_str(&format!("{head}…{tail}"), width, Alignment::Left, Some("")).into_owned()
}

/// `87.3 %`.
pub fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// `12 345 678`: digits in threes.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
