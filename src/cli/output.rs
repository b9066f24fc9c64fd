//! What all commands print with: results on stdout, everything else on stderr.
//!
//! Contract: a closed pipe ends the command quietly; colours only where a person looks.

use std::io::{IsTerminal, Write};

use console::Style;

use crate::config::Problems;
use crate::score::Level;

/// One line on stdout.
///
/// # Errors
/// The pipe is closed or the disk full.
pub fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")
}

/// One line on stderr; one that cannot be written is nobody's loss.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Why a command failed.
pub fn error(text: &str) {
    let mark = Style::new().for_stderr().red().bold().apply_to("error:").to_string();
    note(&format!("{mark} {text}"));
}

/// All that is wrong with a configuration.
pub fn problems(problems: &Problems) {
    if std::io::stderr().is_terminal() {
        let width = usize::from(console::Term::stderr().size().1).clamp(40, 120);
        note(&problems.for_people(console::colors_enabled_stderr(), width));
        let count = problems.len();
        note(&format!("{count} problem{} in the configuration", if count == 1 { "" } else { "s" }));
    } else {
        let _ = std::io::stderr().lock().write_all(problems.json_lines().as_bytes());
    }
}

/// The colour of a level, for people.
pub fn level_style(level: Option<Level>) -> Style {
    match level {
        Some(Level::Critical) => Style::new().white().on_red().bold(),
        Some(Level::High) => Style::new().red().bold(),
        Some(Level::Medium) => Style::new().yellow(),
        Some(Level::Low) => Style::new().green(),
        Some(Level::Info) => Style::new().cyan(),
        None => Style::new().dim(),
    }
}

/// The text without what could move the cursor, hide something or turn the direction of writing: alerts are
/// written by whoever caused them.
pub fn visible(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
    };
    text.chars().map(|c| if hides(c) { '�' } else { c }).collect()
}

/// Rows under a header, columns as wide as they must be.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells =
                rows.iter().filter_map(|row| row.get(column)).map(|cell| console::measure_text_width(cell));
            cells.chain([name.len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| console::pad_str(cell, *width, console::Alignment::Left, None).into_owned())
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let head = Style::new().bold().apply_to(line(header.to_vec())).to_string();
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [head].into_iter().chain(body).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = table(&["a", "bcd"], &[vec!["long".into(), "x".into()], vec!["s".into(), "y".into()]]);
        let plain = console::strip_ansi_codes(&text).into_owned();
        assert_eq!(plain, "a     bcd\nlong  x\ns     y");
    }
}
