//! Results: rows that line up for people, one JSON object a line elsewhere.
//!
//! Contract: a row is written when it is known, since the next one may take a minute. A JSON line says of which part it
//! is (`part`) and has the members that its part always has, `null` where there is nothing to say.

use std::cell::{Cell, RefCell};

use console::Style;
use serde_json::{Map, Value, json};

use super::progress::Progress;
use crate::cli::output::{line, note};

/// Where results go.
pub struct Report {
    for_people: bool,
    /// What goes on meanwhile; it makes room for a row.
    pub progress: Progress,
    part: Cell<&'static str>,
    columns: RefCell<Vec<Column>>,
}

/// A column: the member of the JSON line, the head over it, its width (negative: text, to the left), decimals.
#[derive(Clone, Copy)]
pub struct Column {
    name: &'static str,
    head: &'static str,
    width: i32,
    decimals: usize,
}

/// A column of text.
pub const fn text(name: &'static str, head: &'static str, width: i32) -> Column {
    Column { name, head, width: -width, decimals: 0 }
}

/// A column of numbers.
pub const fn number(name: &'static str, head: &'static str, width: i32, decimals: usize) -> Column {
    Column { name, head, width, decimals }
}

/// What stands in a row.
pub enum Item {
    /// Words.
    Text(String),
    /// A figure, if there is one.
    Number(Option<f64>),
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Item::Text(text.to_owned())
    }
}

impl From<String> for Item {
    fn from(text: String) -> Self {
        Item::Text(text)
    }
}

impl From<f64> for Item {
    fn from(number: f64) -> Self {
        Item::Number(Some(number))
    }
}

impl From<u64> for Item {
    fn from(number: u64) -> Self {
        Item::Number(Some(number as f64))
    }
}

impl From<Option<f64>> for Item {
    fn from(number: Option<f64>) -> Self {
        Item::Number(number)
    }
}

impl Column {
    fn json(&self, cell: &Item) -> Value {
        match cell {
            Item::Text(text) => json!(text),
            Item::Number(Some(value)) if self.decimals == 0 => json!(value.round() as i64),
            // What people need not see may be worth having.
            Item::Number(Some(value)) => {
                let scale = 10f64.powi(self.decimals as i32 + 1);
                json!((value * scale).round() / scale)
            }
            Item::Number(None) => Value::Null,
        }
    }

    fn padded(&self, text: &str) -> String {
        let width = self.width.unsigned_abs() as usize;
        if self.width < 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
    }

    fn for_people(&self, cell: &Item) -> String {
        let text = match cell {
            Item::Text(text) => text.clone(),
            Item::Number(None) => String::new(),
            Item::Number(Some(value)) if self.decimals == 0 => {
                let sign = if *value <= -0.5 { "-" } else { "" };
                format!("{sign}{}", super::figures::grouped(value.abs().round() as u64))
            }
            Item::Number(Some(value)) => format!("{value:.*}", self.decimals),
        };
        self.padded(&text)
    }
}

impl Report {
    /// For a terminal, or for a program.
    pub fn new(for_people: bool) -> Report {
        Report { for_people, progress: Progress::new(), part: Cell::new(""), columns: RefCell::default() }
    }

    /// Begins a part: its name in JSON lines, what it is for people, and the columns of its rows.
    pub fn part(&self, name: &'static str, title: &str, columns: &[Column]) -> std::io::Result<()> {
        self.part.set(name);
        *self.columns.borrow_mut() = columns.to_vec();
        if !self.for_people {
            return Ok(());
        }
        let head: Vec<String> = columns.iter().map(|column| column.padded(column.head)).collect();
        self.write(&format!("\n{}", Style::new().bold().apply_to(title)))?;
        self.write(Style::new().dim().apply_to(head.join("  ").trim_end()).to_string().as_str())
    }

    /// A row: a cell for each column.
    pub fn row<const N: usize>(&self, cells: [Item; N]) -> std::io::Result<()> {
        let columns = self.columns.borrow();
        if self.for_people {
            let cells: Vec<String> =
                columns.iter().zip(&cells).map(|(column, cell)| column.for_people(cell)).collect();
            return self.write(cells.join("  ").trim_end());
        }
        let mut members = Map::new();
        members.insert("part".to_owned(), json!(self.part.get()));
        for (column, cell) in columns.iter().zip(&cells) {
            members.insert(column.name.to_owned(), column.json(cell));
        }
        self.write(&Value::Object(members).to_string())
    }

    /// What follows from rows: a sentence for people, an object for programs.
    pub fn verdict(&self, sentence: &str, object: Value) -> std::io::Result<()> {
        if self.for_people {
            return self.write(sentence);
        }
        let mut members = Map::new();
        members.insert("part".to_owned(), json!(self.part.get()));
        if let Value::Object(object) = object {
            members.extend(object);
        }
        self.write(&Value::Object(members).to_string())
    }

    /// What is worth knowing and no result: for a program on stderr.
    pub fn remark(&self, text: &str) -> std::io::Result<()> {
        if self.for_people {
            return self.write(text);
        }
        self.progress.aside(|| note(text));
        Ok(())
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        self.progress.aside(|| line(text))
    }
}

/// A figure with so many decimals, for JSON that is no row.
pub fn rounded(value: Option<f64>, decimals: i32) -> Value {
    let scale = 10f64.powi(decimals);
    value.map_or(Value::Null, |value| json!((value * scale).round() / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_rounded_for_people_and_keeps_a_digit_more_for_programs() {
        let column = number("cpu", "CPU s/million", 8, 2);
        assert_eq!(column.for_people(&Item::from(2.71449)), "    2.71");
        assert_eq!(column.json(&Item::from(2.71449)), json!(2.714));
        let column = number("alerts", "alerts", 9, 0);
        assert_eq!(column.for_people(&Item::from(1_234_567.2)), "1,234,567");
        assert_eq!(column.json(&Item::from(1_234_567.2)), json!(1_234_567));
        assert_eq!(
            (column.for_people(&Item::from(None)).trim(), column.json(&Item::from(None))),
            ("", Value::Null)
        );
    }

    #[test]
    fn text_stands_to_the_left_and_numbers_to_the_right() {
        assert_eq!(text("who", "", 5).for_people(&Item::from("ab")), "ab   ");
        assert_eq!(number("n", "", 5, 0).for_people(&Item::from(7_u64)), "    7");
    }
}
