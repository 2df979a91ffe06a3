//! What is wrong in a configuration file, and how it is shown.

use std::{cell::RefCell, collections::BTreeSet, fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One thing wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// Characters, counted from 1.
    pub column: usize,
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The line itself, without its end.
    text: String,
    /// The bytes of `text` that are wrong.
    span: Range<usize>,
}

impl Problem {
    fn new(source: &str, span: Range<usize>, wrong: Wrong) -> Self {
        let start = floor_char_boundary(source, span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |length| start + length);
        let text = source[line_start..line_end].trim_end_matches('\r');
        // A problem at the line's end or over several lines is shown by what of it is on its first line.
        let from = (start - line_start).min(text.len());
        let to = floor_char_boundary(source, span.end)
            .saturating_sub(line_start)
            .clamp(from, text.len());
        Self {
            line: source[..line_start].matches('\n').count() + 1,
            column: text[..from].chars().count() + 1,
            message: wrong.message,
            help: wrong.help,
            text: text.to_owned(),
            span: from..to,
        }
    }

    fn render(&self, file: &str, renderer: &Renderer) -> String {
        let snippet = Snippet::source(&self.text)
            .line_start(self.line)
            .path(file)
            .annotation(AnnotationKind::Primary.span(self.span.clone()));
        let mut group = Level::ERROR.primary_title(&self.message).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }
}

/// The nearest character border at or before `index`.
fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Everything wrong in one file, in the order of its lines; never empty.
///
/// `Display` shows each problem with its line, in plain text, so that it reads well in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    problems: Vec<Problem>,
}

/// How [`Problems::render`] shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    Plain,
    /// With ANSI colours, for a terminal.
    Colored,
}

impl Problems {
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// The file as it was named to [`parse`](super::parse) or [`load`](super::load).
    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn render(&self, rendering: Rendering) -> String {
        let renderer = match rendering {
            Rendering::Plain => Renderer::plain(),
            Rendering::Colored => Renderer::styled(),
        };
        let shown: Vec<_> = self
            .iter()
            .map(|problem| problem.render(&self.file, &renderer))
            .collect();
        shown.join("\n\n")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Rendering::Plain))
    }
}

impl std::error::Error for Problems {}

/// What is wrong with a value, before it is known where the value stands.
///
/// Text of the operator's is put in with `{:?}`, so that no control character of a file reaches a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    message: String,
    help: Option<String>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{}: {help}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Wrong {}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// "did you mean" if one of `known` looks like `word`, else all of them.
    pub(super) fn suggest<'k>(self, word: &str, known: impl Iterator<Item = &'k str> + Clone) -> Self {
        match nearest(word, known.clone()) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => {
                let all: Vec<_> = known.map(|name| format!("`{}`", name.escape_debug())).collect();
                if all.is_empty() {
                    self
                } else {
                    self.help(format!("known here: {}", all.join(", ")))
                }
            }
        }
    }

    /// What to write instead, if that is known.
    pub fn what_to_write(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// The one of `known` that `word` was most likely meant to be: a slip of the pen away, or the only one that is a
/// beginning of the other (`warning` for `warn`, `idle` for `idle_timeout`).
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    let word = word.to_lowercase();
    // A third of the letters wrong is still a slip of the pen, more is another word.
    let tolerance = (word.chars().count() / 3).max(1);
    let slip = known
        .clone()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    let is_beginning = |one: &str, other: &str| one.len() >= 3 && other.starts_with(one);
    let mut begun = known.filter(|candidate| is_beginning(candidate, &word) || is_beginning(&word, candidate));
    let only_begun = match (begun.next(), begun.next()) {
        (Some(candidate), None) => Some(candidate),
        _ => None,
    };
    slip.or(only_begun)
}

/// What the TOML parser reports, with what to write instead where that is plain.
pub(super) fn syntax(source: &str, span: Range<usize>, message: &str) -> Wrong {
    let start = floor_char_boundary(source, span.start);
    let before = source[..start].rsplit('\n').next().unwrap_or_default();
    if message.starts_with("duplicate key") {
        Wrong::new(message).help("write each key and each `[table]` once")
    } else if message.starts_with("string values must be quoted") {
        Wrong::new("text must be in quotes").help("put quotes around it: \"4s\", \"127.0.0.1:8080\"")
    } else if before.trim_end().ends_with('=') {
        Wrong::new(message).help("write a number, true or false, or text in quotes, such as \"4s\"")
    } else {
        Wrong::new(message)
    }
}

/// Gathers the problems of one file.
pub(super) struct Collector<'a> {
    source: &'a str,
    found: RefCell<Vec<Found>>,
}

struct Found {
    problem: Problem,
    origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Syntax,
    /// Wrong by itself.
    Value,
    /// Something is not there, which broken syntax before it may be the cause of.
    Absence,
}

impl<'a> Collector<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self {
            source,
            found: RefCell::default(),
        }
    }

    pub(super) fn syntax(&self, span: Range<usize>, wrong: Wrong) {
        self.push(span, wrong, Origin::Syntax);
    }

    pub(super) fn value(&self, span: Range<usize>, wrong: Wrong) {
        self.push(span, wrong, Origin::Value);
    }

    pub(super) fn absence(&self, span: Range<usize>, wrong: Wrong) {
        self.push(span, wrong, Origin::Absence);
    }

    fn push(&self, span: Range<usize>, wrong: Wrong, origin: Origin) {
        let problem = Problem::new(self.source, span, wrong);
        self.found.borrow_mut().push(Found { problem, origin });
    }

    /// The line, counted from 1, on which the byte `at` stands.
    pub(super) fn line(&self, at: usize) -> usize {
        let at = floor_char_boundary(self.source, at);
        self.source[..at].matches('\n').count() + 1
    }

    /// `None` if nothing is wrong.
    pub(super) fn finish(self, file: &str) -> Option<Problems> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|it| (it.problem.line, it.problem.column));
        let mut broken_lines = BTreeSet::new();
        // What the parser says of the rest of a line follows from the first thing wrong in it.
        found.retain(|it| it.origin != Origin::Syntax || broken_lines.insert(it.problem.line));
        if !broken_lines.is_empty() {
            // What may follow from broken syntax would only hide it.
            found.retain(|it| match it.origin {
                Origin::Syntax => true,
                Origin::Value => !broken_lines.contains(&it.problem.line),
                Origin::Absence => false,
            });
        }
        let mut problems: Vec<_> = found.into_iter().map(|it| it.problem).collect();
        problems.dedup();
        (!problems.is_empty()).then(|| Problems {
            file: file.to_owned(),
            problems,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(source: &str, span: Range<usize>) -> Problems {
        let collector = Collector::new(source);
        collector.value(span, Wrong::new("this is wrong").help("write that"));
        collector.finish("forebay.toml").expect("one problem was reported")
    }

    #[test]
    fn a_problem_is_shown_with_its_place_its_line_and_what_to_write() {
        let shown = one("[log]\nlevel = \"loud\"\n", 14..20).to_string();
        let expected = "\
error: this is wrong
 --> forebay.toml:2:9
  |
2 | level = \"loud\"
  |         ^^^^^^
  |
  = help: write that";
        assert_eq!(shown, expected);
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        let problems = one("a = 1", 0..1);
        assert!(!problems.render(Rendering::Plain).contains('\u{1b}'));
        assert!(problems.render(Rendering::Colored).contains('\u{1b}'));
    }

    #[test]
    fn columns_count_characters() {
        let problems = one("naïve = 1\r\nü = 2", 14..15);
        let problem = problems.iter().next().unwrap();
        assert_eq!((problem.line, problem.column), (2, 2));
    }

    #[test]
    fn places_outside_the_text_are_moved_into_it() {
        for source in ["", "\n", "a\n", "a\r\n", "ü"] {
            for span in [0..0, 1..9, 7..9] {
                let problems = one(source, span);
                assert!(problems.to_string().starts_with("error: this is wrong"), "{source:?}");
                let problem = problems.iter().next().unwrap();
                assert!(problem.line <= source.split('\n').count(), "{source:?}");
            }
        }
    }

    #[test]
    fn what_may_follow_from_broken_syntax_is_left_out() {
        let collector = Collector::new("a = \nb = 1\n");
        collector.syntax(4..4, Wrong::new("no value"));
        collector.syntax(4..4, Wrong::new("and therefore something else"));
        collector.value(0..1, Wrong::new("on the same line"));
        collector.value(5..6, Wrong::new("on another line"));
        collector.absence(0..0, Wrong::new("something is missing"));
        let problems = collector.finish("f").unwrap();
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, ["no value", "on another line"]);
    }

    #[test]
    fn a_near_miss_is_found_and_another_word_is_not() {
        let known = ["idle_timeout", "max_idle", "wait"];
        assert_eq!(nearest("idle-timeout", known.into_iter()), Some("idle_timeout"));
        assert_eq!(nearest("idel_timeout", known.into_iter()), Some("idle_timeout"));
        assert_eq!(nearest("Wait", known.into_iter()), Some("wait"));
        assert_eq!(nearest("certificates", known.into_iter()), None);
        assert_eq!(nearest("a", ["b"].into_iter()), None);
        assert_eq!(nearest("waiting", known.into_iter()), Some("wait"));
        assert_eq!(nearest("max", ["max_idle", "max_age"].into_iter()), None);
    }
}
