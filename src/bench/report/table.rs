//! The report as it is printed.

use super::{Cell, Report, Row};
use crate::bench::text;

/// Lines are no longer, unless there are more subjects than three.
const WIDTH: usize = 100;
/// The first column.
const LABEL: usize = 36;
/// A figure and its spread.
const VALUE: usize = 12;
const SPREAD: usize = 7;

impl Report {
    /// The table, and what it means in a few sentences.
    pub fn text(&self) -> String {
        let mut lines = vec![self.heading(), String::new()];
        let subjects = self.subjects();
        let names = subjects.iter().map(|subject| Cell {
            value: subject.as_str().to_owned(),
            spread: String::new(),
        });
        lines.push(line("", names));
        let rows = self.rows();
        lines.extend(
            rows.iter()
                .filter(|row| row.says_something())
                .map(|row| line(row.label, row.cells.iter().cloned())),
        );
        lines.push(String::new());
        lines.extend(self.sentences().iter().map(|sentence| text::wrap(sentence, WIDTH, 0)));
        lines.push(String::new());
        lines.join("\n")
    }

    fn heading(&self) -> String {
        text::wrap(&format!("{} {}", self.load(), self.extent()), WIDTH, 0)
    }
}

impl Row {
    /// Requests are late only at a constant rate, and then seldom.
    fn says_something(&self) -> bool {
        self.cells.iter().any(|cell| !cell.value.is_empty())
            && (!self.only_if_any || self.cells.iter().any(|cell| !matches!(cell.value.as_str(), "" | "0")))
    }
}

fn line(label: &str, cells: impl IntoIterator<Item = Cell>) -> String {
    let cells = cells.into_iter().map(|cell| {
        let value = if cell.value.is_empty() { "-" } else { &cell.value };
        format!("{value:>VALUE$} {:<SPREAD$}", cell.spread)
    });
    let line = format!("{label:<LABEL$}{}", cells.collect::<String>());
    line.trim_end().to_owned()
}
