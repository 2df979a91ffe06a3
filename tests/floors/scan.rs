//! Which top-level modules a source file names.

use super::tokens::{Kind, Token, tokens};

/// A path into a top-level module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrow {
    pub to: String,
    pub line: usize,
}

/// Every `crate::name`, `crate::{name, …}` and `super::…::name` that leaves the top-level module, in imports and
/// elsewhere, tests included. `file` is the path below `src`. The library's own name counts as `crate`.
pub fn arrows(file: &str, source: &str) -> Vec<Arrow> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut modules = Modules::of_file(file);
    let mut at = 0;
    while at < tokens.len() {
        modules.step(&tokens, at);
        match root_path(&tokens, at, modules.depth()) {
            Some(names) => {
                first_names(&tokens, names, &mut found);
                at = names;
            }
            None => at += 1,
        }
    }
    found
}

/// Where the names behind a path to the crate's root begin, if one begins at `at`.
fn root_path(tokens: &[Token], at: usize, depth: usize) -> Option<usize> {
    let path_before = at > 0 && tokens[at - 1].kind == Kind::Path;
    let is = |at: usize, word: &str| {
        tokens
            .get(at)
            .is_some_and(|token| matches!(&token.kind, Kind::Word(w) if w == word))
    };
    let path_at = |at: usize| tokens.get(at).is_some_and(|token| token.kind == Kind::Path);
    if path_at(at + 1) && (is(at, "crate") || is(at, "forebay") && !path_before) {
        return Some(at + 2);
    }
    let mut supers = 0;
    while !path_before && is(at + 2 * supers, "super") && path_at(at + 2 * supers + 1) {
        supers += 1;
    }
    (supers > 0 && supers >= depth).then_some(at + 2 * supers)
}

/// The first name of each path that begins at `at`: one, or as many as the braces hold.
fn first_names(tokens: &[Token], at: usize, found: &mut Vec<Arrow>) {
    let mut take = |token: &Token| match &token.kind {
        Kind::Word(name) if name != "self" => found.push(Arrow {
            to: name.clone(),
            line: token.line,
        }),
        Kind::Word(_) | Kind::Path => {}
        Kind::Mark(mark) => found.push(Arrow {
            to: mark.to_string(),
            line: token.line,
        }),
    };
    let Some(first) = tokens.get(at) else { return };
    if first.kind != Kind::Mark('{') {
        take(first);
        return;
    }
    let mut depth = 0;
    let mut begins = false;
    for token in &tokens[at..] {
        match token.kind {
            Kind::Mark('{') => (depth, begins) = (depth + 1, depth == 0),
            Kind::Mark('}') if depth == 1 => return,
            Kind::Mark('}') => depth -= 1,
            Kind::Mark(',') => begins = depth == 1,
            _ if begins && depth == 1 => {
                take(token);
                begins = false;
            }
            _ => {}
        }
    }
}

/// How deep in the tree of modules a place in a file is.
struct Modules {
    file: usize,
    braces: usize,
    /// The number of open braces at each `mod name {` that is open.
    inline: Vec<usize>,
}

impl Modules {
    fn of_file(file: &str) -> Self {
        let parts: Vec<_> = file.split('/').collect();
        let own = !["mod.rs", "main.rs", "lib.rs"].contains(parts.last().unwrap_or(&""));
        Self {
            file: parts.len() - 1 + usize::from(own),
            braces: 0,
            inline: Vec::new(),
        }
    }

    fn step(&mut self, tokens: &[Token], at: usize) {
        match tokens[at].kind {
            Kind::Mark('{') => {
                self.braces += 1;
                if at >= 2 && tokens[at - 2].kind == Kind::Word("mod".into()) {
                    self.inline.push(self.braces);
                }
            }
            Kind::Mark('}') => {
                if self.inline.last() == Some(&self.braces) {
                    self.inline.pop();
                }
                self.braces = self.braces.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn depth(&self) -> usize {
        self.file + self.inline.len()
    }
}

#[test]
fn paths_are_found_in_imports_and_in_code() {
    let names = |source: &str| {
        arrows("a/b.rs", source)
            .into_iter()
            .map(|arrow| arrow.to)
            .collect::<Vec<_>>()
    };
    assert_eq!(names("use crate::x::{y, z};"), ["x"]);
    assert_eq!(
        names("use crate::{self, x, y::{self, z, w::v}, u::*,};"),
        ["x", "y", "u"]
    );
    assert_eq!(names("use {std::io, crate::{x::y}};"), ["x"]);
    assert_eq!(
        names("pub(crate) fn f(a: &crate::x::T) -> ::forebay::y::U { $crate::z() }"),
        ["x", "z"]
    );
    assert_eq!(names("use crate::*;"), ["*"]);
    assert_eq!(names("use hyper::forebay::x; fn g() { forebay::y::h() }"), ["y"]);
}

#[test]
fn paths_through_super_count_where_they_leave_the_module() {
    let seen = |file: &str, source: &str| {
        arrows(file, source)
            .into_iter()
            .map(|arrow| arrow.to)
            .collect::<Vec<_>>()
    };
    assert_eq!(seen("a/mod.rs", "use super::x;"), ["x"]);
    assert_eq!(seen("a/b.rs", "use super::x;"), [""; 0]);
    assert_eq!(seen("a/b.rs", "use super::super::{x, y};"), ["x", "y"]);
    let nested = "mod tests { use super::x; use super::super::y; fn f() { super::super::super::z() } } use super::w;";
    assert_eq!(seen("a/b.rs", nested), ["z"]);
    assert_eq!(seen("a/b/c.rs", "use super::super::x;"), [""; 0]);
}
