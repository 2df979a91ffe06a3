//! Holds the code to the floors that the crate docs draw: who may import whom.
//!
//! A module imports only from floors below its own. The table is the first `text` block in the docs of `src/lib.rs`: one
//! line per floor from top to bottom, module names, and after a `|` what they are for. `main.rs` may be
//! left out; it stands above all.

mod floors {
    pub mod scan;
    pub mod table;
    pub mod tokens;
}

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use floors::{
    scan::{Arrow, arrows},
    table::{Standing, Table},
    tokens::{Kind, tokens},
};

/// The one file that may say `unsafe`.
const UNSAFE_ALLOWED: &str = "net/sockopt.rs";

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All `.rs` files below `src`, as paths relative to it, with `/` between their parts.
fn source_files() -> Vec<(String, String)> {
    let mut folders = vec![source_folder()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources can be listed") {
            let path = entry.expect("the sources can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(source_folder()).expect("it was found there");
                files.push((relative.display().to_string(), read(&path)));
            }
        }
    }
    files.sort();
    files
}

fn table() -> Table {
    Table::in_docs(&read(&source_folder().join("lib.rs"))).unwrap_or_else(|error| panic!("src/lib.rs: {error}"))
}

/// The top-level module that a file of `src` belongs to; none for `lib.rs`, whose re-exports are aside.
fn module_of(file: &str) -> Option<&str> {
    let first = file.split('/').next().unwrap_or(file);
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (module != "lib").then_some(module)
}

/// What is wrong with the arrows of one file.
fn forbidden(table: &Table, file: &str, source: &str) -> Vec<String> {
    let Some(from) = module_of(file) else { return Vec::new() };
    let wrong = |arrow: &Arrow| {
        let to = arrow.to.as_str();
        let why = match table.standing(from, to) {
            _ if from == to => return None,
            Standing::Below => return None,
            Standing::SameFloor => "which is on the same floor",
            Standing::Above => "which is on a floor above",
            Standing::Nowhere => "which is not in the table of floors",
        };
        Some(format!("src/{file}:{}: {from} -> {to}, {why}", arrow.line))
    };
    arrows(file, source).iter().filter_map(wrong).collect()
}

#[test]
fn every_import_goes_downwards() {
    let table = table();
    let wrong: Vec<_> = source_files()
        .iter()
        .flat_map(|(file, source)| forbidden(&table, file, source))
        .collect();
    assert!(wrong.is_empty(), "forbidden imports:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_names_the_modules_that_are_there() {
    let files = source_files();
    let mut there: BTreeSet<_> = files.iter().filter_map(|(file, _)| module_of(file)).collect();
    let table = table();
    let mut drawn: BTreeSet<_> = table.modules().collect();
    // It may be drawn, and stands above all in either case.
    for names in [&mut there, &mut drawn] {
        names.remove("main");
    }
    assert_eq!(
        there, drawn,
        "left: modules of src; right: modules of the table in src/lib.rs"
    );
}

#[test]
fn unsafe_code_stays_in_one_file() {
    let mut found = Vec::new();
    for (file, source) in source_files().iter().filter(|(file, _)| file != UNSAFE_ALLOWED) {
        for token in tokens(source)
            .iter()
            .filter(|token| token.kind == Kind::Word("unsafe".into()))
        {
            found.push(format!("src/{file}:{}", token.line));
        }
    }
    assert!(
        found.is_empty(),
        "unsafe outside src/{UNSAFE_ALLOWED}:\n{}",
        found.join("\n")
    );
}

#[test]
fn arrows_upwards_sideways_and_to_nowhere_are_found() {
    let docs = "//! ```text\n//! cli  | commands\n//! pool tls | parts\n//! net\n//! config\n//! ```\n";
    let table = Table::in_docs(docs).expect("the table is well-formed");
    let pool = "use crate::{\n    config,\n    cli::{self, Args},\n};\n\
                fn f() { crate::net::g(); crate::tls::h(); crate::lost(); crate::pool::own() }\n";
    assert_eq!(
        forbidden(&table, "pool/idle.rs", pool),
        [
            "src/pool/idle.rs:3: pool -> cli, which is on a floor above",
            "src/pool/idle.rs:5: pool -> tls, which is on the same floor",
            "src/pool/idle.rs:5: pool -> lost, which is not in the table of floors",
        ]
    );
    assert_eq!(
        forbidden(&table, "main.rs", "fn main() { forebay::cli::run() }"),
        [""; 0]
    );
    assert_eq!(forbidden(&table, "config/mod.rs", "use forebay::net;").len(), 1);
    assert_eq!(forbidden(&table, "lib.rs", "pub use crate::cli;"), [""; 0]);
}
