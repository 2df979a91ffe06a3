//! The table of floors, as the crate docs draw it.

use std::cmp::Ordering;

/// Why there is no table.
#[derive(Debug, PartialEq, Eq)]
pub enum TableError {
    Missing,
    Twice(String),
}

/// The names of the modules, floor by floor, the highest first.
#[derive(Debug)]
pub struct Table(Vec<Vec<String>>);

/// Where one module stands, seen from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Below,
    SameFloor,
    Above,
    /// Not in the table.
    Nowhere,
}

impl Table {
    /// Reads the first `text` block of the crate docs (`//!` lines) of a source.
    pub fn in_docs(source: &str) -> Result<Table, TableError> {
        let docs = source
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("//!"))
            .map(str::trim);
        let block = docs
            .skip_while(|line| *line != "```text")
            .skip(1)
            .take_while(|line| *line != "```");
        let names = |line: &str| {
            line.split('|')
                .next()
                .unwrap_or(line)
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        };
        let table = Table(block.map(names).collect());
        let mut names: Vec<_> = table.modules().collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(TableError::Twice(pair[0].to_owned())),
            None if names.is_empty() => Err(TableError::Missing),
            None => Ok(table),
        }
    }

    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(String::as_str)
    }

    /// Where `to` stands for `from`. What is not in the table itself stands above it all.
    pub fn standing(&self, from: &str, to: &str) -> Standing {
        let floor = |module: &str| self.0.iter().position(|names| names.iter().any(|name| name == module));
        match (floor(from), floor(to)) {
            (_, None) => Standing::Nowhere,
            (None, Some(_)) => Standing::Below,
            (Some(own), Some(other)) => match own.cmp(&other) {
                Ordering::Less => Standing::Below,
                Ordering::Equal => Standing::SameFloor,
                Ordering::Greater => Standing::Above,
            },
        }
    }
}

impl std::fmt::Display for TableError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => formatter.write_str("the crate docs have no text block with the floors"),
            Self::Twice(name) => write!(formatter, "{name} stands twice in the table of floors"),
        }
    }
}

#[test]
fn a_table_is_read_from_top_to_bottom() {
    let docs = "//! # Floors\n//! ```text\n//! b c  | words | more\n//! d e f\n//! ```\n//! g";
    let table = Table::in_docs(docs).expect("it is there");
    assert_eq!(table.modules().collect::<Vec<_>>(), ["b", "c", "d", "e", "f"]);
    let standings = [
        ("b", "d"),
        ("d", "f"),
        ("d", "e"),
        ("f", "d"),
        ("e", "c"),
        ("main", "b"),
        ("b", "g"),
    ];
    assert_eq!(
        standings.map(|(from, to)| table.standing(from, to)),
        [
            Standing::Below,
            Standing::SameFloor,
            Standing::SameFloor,
            Standing::SameFloor,
            Standing::Above,
            Standing::Below,
            Standing::Nowhere,
        ]
    );
}

#[test]
fn a_missing_or_ambiguous_table_is_an_error() {
    assert_eq!(Table::in_docs("//! nothing").err(), Some(TableError::Missing));
    let twice = "//! ```text\n//! a b\n//! c a\n//! ```";
    assert_eq!(Table::in_docs(twice).err(), Some(TableError::Twice("a".into())));
}
