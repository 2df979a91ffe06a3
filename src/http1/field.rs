//! One field line, read strictly (RFC 9112 5): shared by heads and trailers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use memchr::memchr;
use thiserror::Error;

/// The largest Content-Length and chunk size: what every implementation can hold in a signed 64-bit integer.
pub(super) const MAX_LENGTH: u64 = i64::MAX as u64;

/// What is wrong with one field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.description())]
pub enum FieldProblem {
    /// RFC 9112 5.2: a line that begins with white space continues the one before it.
    Folded,
    NoColon,
    EmptyName,
    /// RFC 9112 5.1.
    SpaceBeforeColon,
    /// The name holds a byte that no token has, or is longer than 64 KiB.
    InvalidName,
    Nul,
    BareCr,
    /// The value holds another control byte.
    InvalidValue,
}

impl FieldProblem {
    /// The rule in words, for logs and answers.
    pub fn description(self) -> &'static str {
        match self {
            Self::Folded => "a field is folded over two lines",
            Self::NoColon => "a field line has no colon",
            Self::EmptyName => "a field has an empty name",
            Self::SpaceBeforeColon => "there is white space between a field name and its colon",
            Self::InvalidName => "a field name is not a token",
            Self::Nul => "a field holds a NUL byte",
            Self::BareCr => "a field holds a CR that does not end its line",
            Self::InvalidValue => "a field value holds a control byte",
        }
    }
}

/// Name (not yet validated) and trimmed value (not yet validated) of a field line without its CRLF.
#[inline]
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), FieldProblem> {
    match memchr(b':', line) {
        Some(colon) if colon > 0 => Ok((&line[..colon], trim(&line[colon + 1..]))),
        _ => Err(name_problem(line)),
    }
}

/// A validated name; allocates only for names that the `http` crate does not know.
#[inline]
pub(super) fn name(raw: &[u8]) -> Result<HeaderName, FieldProblem> {
    HeaderName::from_bytes(raw).map_err(|_| name_problem(raw))
}

/// A validated value that shares the memory of `head`, of which `raw` is a part.
#[inline]
pub(super) fn value(head: &Bytes, raw: &[u8]) -> Result<HeaderValue, FieldProblem> {
    HeaderValue::from_maybe_shared(head.slice_ref(raw)).map_err(|_| value_problem(raw))
}

/// Whether a value could be one.
pub(super) fn check_value(raw: &[u8]) -> Result<(), FieldProblem> {
    HeaderValue::from_bytes(raw).map(drop).map_err(|_| value_problem(raw))
}

/// Whether all bytes may be in a token; an empty one is left to the caller.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Without optional white space on either side (RFC 9110 5.6.3: SP and HTAB only).
#[inline]
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// A Content-Length: digits only, at most 2^63-1 (RFC 9110 8.6). `None`: it is not one.
#[inline]
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut length: u64 = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        length = length.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    (length <= MAX_LENGTH).then_some(length)
}

/// Which rule a name breaks that is known to break one; `line` may go on after it.
#[cold]
fn name_problem(line: &[u8]) -> FieldProblem {
    let length = line.iter().take_while(|&&byte| TOKEN[usize::from(byte)]).count();
    let rest = &line[length..];
    match rest.first() {
        Some(b' ' | b'\t') if length == 0 => FieldProblem::Folded,
        Some(b' ' | b'\t') if matches!(trim(rest).first(), None | Some(b':')) => FieldProblem::SpaceBeforeColon,
        Some(b':') if length == 0 => FieldProblem::EmptyName,
        Some(0) => FieldProblem::Nul,
        Some(b'\r') => FieldProblem::BareCr,
        Some(_) => FieldProblem::InvalidName,
        // An overlong name comes without its colon, and so does a line that has none.
        None if length > usize::from(u16::MAX) / 2 => FieldProblem::InvalidName,
        None => FieldProblem::NoColon,
    }
}

#[cold]
fn value_problem(raw: &[u8]) -> FieldProblem {
    match raw.iter().find(|&&byte| byte == 0 || byte == b'\r') {
        Some(0) => FieldProblem::Nul,
        Some(_) => FieldProblem::BareCr,
        None => FieldProblem::InvalidValue,
    }
}

/// RFC 9110 5.6.2: the bytes that a token is made of.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = matches!(
            byte as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        ) || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &'static [u8]) -> Result<(String, Vec<u8>), FieldProblem> {
        let head = Bytes::from_static(line);
        let (raw_name, raw_value) = split(&head)?;
        Ok((
            name(raw_name)?.as_str().to_owned(),
            value(&head, raw_value)?.as_bytes().to_vec(),
        ))
    }

    #[test]
    fn a_field_is_lower_cased_and_trimmed() {
        assert_eq!(parse(b"Server: \t a b\t "), Ok(("server".into(), b"a b".to_vec())));
        assert_eq!(parse(b"X-A:"), Ok(("x-a".into(), Vec::new())));
        assert_eq!(parse(b"X-A:\xe4\t:b"), Ok(("x-a".into(), b"\xe4\t:b".to_vec())));
    }

    #[test]
    fn each_broken_line_names_its_rule() {
        use FieldProblem::*;
        let cases: [(&[u8], FieldProblem); 14] = [
            (b" folded: x", Folded),
            (b"\tfolded", Folded),
            (b"no-colon", NoColon),
            (b": x", EmptyName),
            (b"name : x", SpaceBeforeColon),
            (b"name\t: x", SpaceBeforeColon),
            (b"na me: x", InvalidName),
            (b"n(me: x", InvalidName),
            (b"n\xe4me: x", InvalidName),
            (b"n\0me: x", Nul),
            (b"name: \0", Nul),
            (b"name: a\rb", BareCr),
            (b"name: \x01", InvalidValue),
            (b"name: \x7f", InvalidValue),
        ];
        for (line, problem) in cases {
            assert_eq!(parse(line), Err(problem), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_table_of_tokens_agrees_with_the_library_on_every_byte() {
        for byte in 0..=u8::MAX {
            let line = [b'a', byte, b'b', b':', b'x'];
            let by_table = byte != b':' && is_token(&line[..3]);
            let by_library = split(&line)
                .and_then(|(raw, _)| name(raw))
                .is_ok_and(|name| name.as_str().len() == 3);
            assert_eq!(by_table, by_library, "{byte:#x}");
        }
    }

    #[test]
    fn an_overlong_name_is_invalid() {
        assert_eq!(name(&[b'a'; 70_000]), Err(FieldProblem::InvalidName));
    }

    #[test]
    fn a_length_is_digits_up_to_the_signed_maximum() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"007"), Some(7));
        assert_eq!(content_length(b"9223372036854775807"), Some(MAX_LENGTH));
        for wrong in [
            "",
            "+5",
            "-5",
            "5,5",
            "5 5",
            "0x5",
            "5_0",
            "9223372036854775808",
            "99999999999999999999999",
        ] {
            assert_eq!(content_length(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
