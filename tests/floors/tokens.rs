//! Rust source as words and marks, without its comments and literals.

/// One token and the line that it stands on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An identifier, a keyword or a number.
    Word(String),
    /// `::`
    Path,
    /// Any other single character.
    Mark(char),
}

/// Cuts a source into tokens. What stands in comments, strings and character literals is left out.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut rest = source;
    let mut line = 1;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (length, kind) = next(rest, first);
        if let Some(kind) = kind {
            tokens.push(Token { kind, line });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of what `rest` begins with, and the token that it is, if it is one.
fn next(rest: &str, first: char) -> (usize, Option<Kind>) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), None);
    }
    if let Some(length) = raw_string(rest).or_else(|| string(rest)).or_else(|| character(rest)) {
        return (length, None);
    }
    if is_word(first) {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        return (length, Some(Kind::Word(rest[..length].to_owned())));
    }
    if rest.starts_with("::") {
        return (2, Some(Kind::Path));
    }
    (first.len_utf8(), (!first.is_whitespace()).then_some(Kind::Mark(first)))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#` and the like, with `b` or `c` before them.
fn raw_string(rest: &str) -> Option<usize> {
    let behind = rest
        .strip_prefix("br")
        .or_else(|| rest.strip_prefix("cr"))
        .or_else(|| rest.strip_prefix('r'))?;
    let body = behind.trim_start_matches('#');
    let hashes = &behind[..behind.len() - body.len()];
    let body = body.strip_prefix('"')?;
    let start = rest.len() - body.len();
    let end = format!("\"{hashes}");
    Some(body.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// `"…"`, with `b` or `c` before it.
fn string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('"')?;
    Some(rest.len() - body.len() + quoted(body, '"'))
}

/// `'x'` or `'\n'`, with `b` before it; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('\'')?;
    let mut characters = body.chars();
    let is_literal = match characters.next()? {
        '\\' => true,
        _ => characters.next() == Some('\''),
    };
    is_literal.then(|| rest.len() - body.len() + quoted(body, '\''))
}

/// The length of `body` up to and with the first `end` that has no backslash before it.
fn quoted(body: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == end => return at + c.len_utf8(),
            _ => {}
        }
    }
    body.len()
}

#[test]
fn comments_and_literals_leave_nothing_but_their_lines() {
    let source =
        "a // crate::x\n/* b /* c */ d */ 'x' '\\'' b'\"' \"crate::y \\\" \n\" r#\"crate\"::z\"# &'long e::f\n";
    let seen: Vec<_> = tokens(source)
        .into_iter()
        .map(|token| match token.kind {
            Kind::Word(word) => (word, token.line),
            Kind::Path => ("::".to_owned(), token.line),
            Kind::Mark(mark) => (mark.to_string(), token.line),
        })
        .collect();
    let expected = [("a", 1), ("&", 3), ("'", 3), ("long", 3), ("e", 3), ("::", 3), ("f", 3)];
    assert_eq!(seen, expected.map(|(text, line)| (text.to_owned(), line)));
}
