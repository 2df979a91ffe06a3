//! A second, strict look at the bytes of a request head that a more forgiving engine has parsed already.
//!
//! What it is for: an engine may take a bare LF for a line end, or resolve two lengths by itself, and no longer say so
//! (RFC 9112 2.2 and 6.3 allow both). Whoever stands before us may have decided otherwise.

use memchr::memchr3;
use thiserror::Error;

use super::{FieldProblem, field};

/// Why a request head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.description())]
pub enum RequestProblem {
    /// The blank line is missing: not the bytes of a whole head.
    Incomplete,
    EmptyRequestLine,
    BareLf,
    BareCr,
    Nul,
    Field(FieldProblem),
    /// Not digits only, or above 2^63-1.
    InvalidContentLength,
    RepeatedContentLength,
    ContentLengthWithTransferEncoding,
    /// Anything but exactly one `chunked`.
    UnknownTransferEncoding,
    TransferEncodingIn10,
    RepeatedHost,
}

impl RequestProblem {
    /// The rule in words, for logs and for the answer.
    pub fn description(self) -> &'static str {
        match self {
            Self::Incomplete => "the head has no blank line at its end",
            Self::EmptyRequestLine => "the request line is empty",
            Self::BareLf => "a line ends in LF without CR",
            Self::BareCr => "a CR is not followed by LF",
            Self::Nul => "the head holds a NUL byte",
            Self::Field(problem) => problem.description(),
            Self::InvalidContentLength => "Content-Length is not a number",
            Self::RepeatedContentLength => "Content-Length is repeated",
            Self::ContentLengthWithTransferEncoding => "there are both Content-Length and Transfer-Encoding",
            Self::UnknownTransferEncoding => "Transfer-Encoding is not exactly one chunked",
            Self::TransferEncodingIn10 => "there is a Transfer-Encoding although the request is HTTP/1.0",
            Self::RepeatedHost => "Host is repeated",
        }
    }
}

impl From<FieldProblem> for RequestProblem {
    fn from(problem: FieldProblem) -> Self {
        Self::Field(problem)
    }
}

/// Looks through `head`: the bytes of a request from the first of its request line to its blank line at least; what
/// follows that is not looked at. Gives the length of the head in bytes, the blank line included.
///
/// A missing Host is not found here: the authority may be in the request line as well.
///
/// # Errors
///
/// The first rule that is broken, see [`RequestProblem`]; the answer is 400 and the connection closes.
pub fn screen_request_head(head: &[u8]) -> Result<usize, RequestProblem> {
    let (request_line, mut rest) = split_line(head)?;
    if request_line.is_empty() {
        return Err(RequestProblem::EmptyRequestLine);
    }
    let mut seen = Seen::default();
    loop {
        let (line, next) = split_line(rest)?;
        rest = next;
        if line.is_empty() {
            break;
        }
        seen.note(line)?;
    }
    match seen {
        Seen {
            content_length: true,
            chunked: true,
            ..
        } => Err(RequestProblem::ContentLengthWithTransferEncoding),
        Seen { chunked: true, .. } if request_line.ends_with(b" HTTP/1.0") => Err(RequestProblem::TransferEncodingIn10),
        _ => Ok(head.len() - rest.len()),
    }
}

/// Which of the fields were there that may be there once.
#[derive(Default)]
struct Seen {
    host: bool,
    content_length: bool,
    chunked: bool,
}

impl Seen {
    #[inline]
    fn note(&mut self, line: &[u8]) -> Result<(), RequestProblem> {
        let length = field::name_length(line)?;
        let (name, value) = (&line[..length], &line[length + 1..]);
        match length {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host {
                    return Err(RequestProblem::RepeatedHost);
                }
                self.host = true;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.content_length {
                    return Err(RequestProblem::RepeatedContentLength);
                }
                field::content_length(field::trim(value)).ok_or(RequestProblem::InvalidContentLength)?;
                self.content_length = true;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !field::trim(value).eq_ignore_ascii_case(b"chunked") {
                    return Err(RequestProblem::UnknownTransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first line without its CRLF, and what follows it. One search finds its end and everything that it must not hold.
#[inline]
fn split_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), RequestProblem> {
    let end = memchr3(b'\r', b'\n', 0, bytes).ok_or(RequestProblem::Incomplete)?;
    match bytes[end..] {
        [b'\r', b'\n', ref rest @ ..] => Ok((&bytes[..end], rest)),
        [b'\r'] => Err(RequestProblem::Incomplete),
        [b'\r', ..] => Err(RequestProblem::BareCr),
        [b'\n', ..] => Err(RequestProblem::BareLf),
        _ => Err(RequestProblem::Nul),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_head_passes_and_what_follows_it_is_not_looked_at() {
        for head in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\n\r\0",
            b"POST / HTTP/1.1\r\nHost:\r\nTransfer-Encoding: \tCHUNKED \r\n\r\nContent-Length: 1\r\n",
            b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n",
            b"GET / HTTP/1.1\r\nX-A: \xe4\t\r\n\r\n",
        ] {
            assert!(screen_request_head(head).is_ok(), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn each_trap_names_its_rule() {
        use RequestProblem::*;
        let cases: [(&str, RequestProblem); 28] = [
            ("", Incomplete),
            ("GET / HTTP/1.1\r\nHost: a\r\n", Incomplete),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r", Incomplete),
            ("\r\nGET / HTTP/1.1\r\n\r\n", EmptyRequestLine),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", BareLf),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", BareLf),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", BareLf),
            ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", BareCr),
            ("GET / HTTP/1.1\r\nHost: a\r\n\rX", BareCr),
            ("GET /\0 HTTP/1.1\r\n\r\n", Nul),
            ("GET / HTTP/1.1\r\nHost: \0\r\n\r\n", Nul),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Field(FieldProblem::Folded)),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", Field(FieldProblem::SpaceBeforeColon)),
            (
                "GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
                Field(FieldProblem::SpaceBeforeColon),
            ),
            ("GET / HTTP/1.1\r\n: b\r\n\r\n", Field(FieldProblem::EmptyName)),
            ("GET / HTTP/1.1\r\nA\r\n\r\n", Field(FieldProblem::NoColon)),
            ("GET / HTTP/1.1\r\nA(: b\r\n\r\n", Field(FieldProblem::InvalidName)),
            (
                "GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                ContentLengthWithTransferEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                ContentLengthWithTransferEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
                RepeatedContentLength,
            ),
            ("GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", InvalidContentLength),
            ("GET / HTTP/1.1\r\nContent-Length:\r\n\r\n", InvalidContentLength),
            ("GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", InvalidContentLength),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                UnknownTransferEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
                UnknownTransferEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                UnknownTransferEncoding,
            ),
            (
                "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                TransferEncodingIn10,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nhOST: a\r\n\r\n", RepeatedHost),
        ];
        for (head, problem) in cases {
            assert_eq!(screen_request_head(head.as_bytes()), Err(problem), "{head:?}");
        }
    }
}
