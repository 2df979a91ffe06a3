//! The head of a request, read from a client that is not trusted.
//!
//! Strict where two readers could disagree (RFC 9112 2.2, 3, 5.1, 5.2 and 6.3): whoever stands before us may have decided
//! otherwise.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use memchr::{memchr, memmem, memrchr};
use thiserror::Error;

use super::{
    FieldProblem, Framing, Limits, Version, field, is_safe_path,
    lines::{self, LineProblem, split_line},
};

/// A request head as it came: all of its fields, those included that end here.
#[derive(Debug)]
pub struct DecodedRequest {
    pub method: Method,
    pub target: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    /// Never [`Framing::UntilClose`]; a length is never 0.
    pub framing: Framing,
    /// Whether the client lets the connection be used again (RFC 9112 9.3).
    pub keep_alive: bool,
    /// It waits for `100 Continue` before it sends its body (RFC 9110 10.1.1).
    pub expects_continue: bool,
    /// It can be sent trailers that it was not told of (RFC 9110 10.1.4).
    pub takes_trailers: bool,
}

/// Why a request head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.description())]
pub enum RequestProblem {
    /// Not a token followed by one space.
    InvalidMethod,
    /// Empty, with a space or a control byte in it, or no URI.
    InvalidTarget,
    /// A fragment is never sent (RFC 9112 3.2), and a path that is cut there is not the one that was sent.
    Fragment,
    TargetTooLong,
    /// The request line does not end in a version of HTTP.
    NotHttp,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    UnknownVersion,
    HeadTooLarge,
    TooManyFields,
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
            Self::InvalidMethod => "the request has a malformed method",
            Self::InvalidTarget => "the request has a malformed target",
            Self::Fragment => "the request target has a fragment",
            Self::TargetTooLong => "the request target is longer than the limit",
            Self::NotHttp => "the request line does not end in a version of HTTP",
            Self::UnknownVersion => "the request is not HTTP/1.0, HTTP/1.1 or HTTP/2",
            Self::HeadTooLarge | Self::TooManyFields => {
                "the request head is larger than the limit, or has too many fields"
            }
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
        match problem {
            FieldProblem::Nul => Self::Nul,
            FieldProblem::BareCr => Self::BareCr,
            problem => Self::Field(problem),
        }
    }
}

impl From<LineProblem> for RequestProblem {
    fn from(problem: LineProblem) -> Self {
        match problem {
            LineProblem::HeadTooLarge => Self::HeadTooLarge,
            LineProblem::TooManyFields => Self::TooManyFields,
            LineProblem::BareLf => Self::BareLf,
        }
    }
}

/// Reads the head at the beginning of `buffer`, and takes blank lines off that come before it (RFC 9112 2.2).
///
/// `Ok(None)`: more bytes are needed. `Ok(Some)`: exactly the bytes of the head are split off, and those of the body stay;
/// the values share the memory of `buffer`. Else nothing is taken but the blank lines.
///
/// `recycled` is an empty map whose capacity is used: it moves into the head that is returned, and stays here, empty,
/// in every other case. `max_target` bounds the request target, in bytes.
///
/// What is wrong is said as soon as its line is there, since whoever sends it may wait for an answer before the rest.
/// Bytes that come one at a time cost a look at all of them each: bounded by `max_head_size`.
///
/// # Errors
///
/// See [`RequestProblem`]; nothing that follows can be trusted, and the connection is of no further use.
pub fn decode_request_head(
    buffer: &mut BytesMut,
    recycled: &mut HeaderMap,
    limits: &Limits,
    max_target: usize,
) -> Result<Option<DecodedRequest>, RequestProblem> {
    debug_assert!(recycled.is_empty(), "fields of another request");
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
    let decoded = match lines::find_end(buffer, limits)? {
        Some(extent) => {
            let head = buffer.split_to(extent.size).freeze();
            let decoded = decode_complete(&head, extent.fields, recycled, max_target);
            if decoded.is_err() {
                *buffer = [&head[..], &buffer[..]].concat()[..].into();
            }
            decoded.map(Some)
        }
        None => look_ahead(buffer, max_target).map(|()| None),
    };
    if decoded.is_err() {
        recycled.clear();
    }
    decoded
}

/// The method and the path of a request whose head is refused or has not come whole, for logs: the path may be anything,
/// and cut off; empty where the target has none. `None` where not even the method is one.
pub fn requested(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let line = memchr(b'\n', bytes).map_or(bytes, |lf| &bytes[..lf]);
    let (method, rest) = line.split_at(memchr(b' ', line)?);
    let method = str::from_utf8(method).ok()?;
    if method.is_empty() || !field::is_token(method.as_bytes()) {
        return None;
    }
    let target = &rest[1..];
    let target = memrchr(b' ', target).map_or(target, |space| &target[..space]);
    let path = match target {
        [b'/' | b'*', ..] => target,
        // An authority may hold a password (RFC 9110 4.2.4).
        _ => behind_authority(target).unwrap_or_default(),
    };
    Some((method, path.trim_ascii_end()))
}

/// The path of a target that begins with a scheme.
fn behind_authority(target: &[u8]) -> Option<&[u8]> {
    let authority = &target[memmem::find(target, b"://")? + 3..];
    Some(&authority[memchr(b'/', authority)?..])
}

/// Looks at the lines of a head that is not complete.
#[cold]
fn look_ahead(bytes: &[u8], max_target: usize) -> Result<(), RequestProblem> {
    let Some(lf) = memchr(b'\n', bytes) else {
        return look_at_beginning(bytes, max_target);
    };
    RequestLine::parse(&bytes[..lf - 1], max_target)?;
    let mut rest = &bytes[lf + 1..];
    while let Some(lf) = memchr(b'\n', rest) {
        let (name, value) = field::split(&rest[..lf - 1])?;
        field::name(name)?;
        field::check_value(value)?;
        rest = &rest[lf + 1..];
    }
    Ok(())
}

/// Looks at a part of a request line.
fn look_at_beginning(bytes: &[u8], max_target: usize) -> Result<(), RequestProblem> {
    const END: &[u8] = b" HTTP/1.1\r";
    if matches!(bytes, b"" | b"\r") {
        // The first half of a blank line.
        return Ok(());
    }
    let method = memchr(b' ', bytes).map_or(bytes, |space| &bytes[..space]);
    if method.is_empty() || !field::is_token(method) {
        return Err(RequestProblem::InvalidMethod);
    }
    if bytes.len() > method.len() + 1 + max_target + END.len() && method.len() < bytes.len() {
        return Err(RequestProblem::TargetTooLong);
    }
    Ok(())
}

struct RequestLine<'a> {
    method: Method,
    target: &'a [u8],
    version: Version,
}

impl<'a> RequestLine<'a> {
    /// RFC 9112 3: a method, a target and a version with one space between them.
    #[inline]
    fn parse(line: &'a [u8], max_target: usize) -> Result<Self, RequestProblem> {
        let space = memchr(b' ', line).unwrap_or(line.len());
        let (method, rest) = line.split_at(space);
        let method = Method::from_bytes(method).map_err(|_| RequestProblem::InvalidMethod)?;
        let last = memrchr(b' ', rest).ok_or(RequestProblem::NotHttp)?;
        let version = match &rest[last + 1..] {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            other if other.starts_with(b"HTTP/") && is_safe_path(other) => return Err(RequestProblem::UnknownVersion),
            _ => return Err(RequestProblem::NotHttp),
        };
        let target = rest.get(1..last).unwrap_or_default();
        if target.len() > max_target {
            return Err(RequestProblem::TargetTooLong);
        }
        if !is_safe_path(target) {
            return Err(RequestProblem::InvalidTarget);
        }
        if memchr(b'#', target).is_some() {
            return Err(RequestProblem::Fragment);
        }
        Ok(Self {
            method,
            target,
            version,
        })
    }
}

fn decode_complete(
    head: &Bytes,
    fields: usize,
    headers: &mut HeaderMap,
    max_target: usize,
) -> Result<DecodedRequest, RequestProblem> {
    headers.try_reserve(fields).map_err(|_| RequestProblem::TooManyFields)?;
    let (line, mut rest) = split_line(head);
    let RequestLine {
        method,
        target,
        version,
    } = RequestLine::parse(line, max_target)?;
    let target = Uri::from_maybe_shared(head.slice_ref(target)).map_err(|_| RequestProblem::InvalidTarget)?;
    let mut seen = Seen::default();
    for _ in 0..fields {
        let (line, next) = split_line(rest);
        rest = next;
        let (name, value) = field::split(line)?;
        let value = field::value(head, value)?;
        let name = field::name(name)?;
        seen.note(&name, &value)?;
        headers
            .try_append(name, value)
            .map_err(|_| RequestProblem::TooManyFields)?;
    }
    Ok(DecodedRequest {
        method,
        target,
        version,
        framing: seen.framing(version)?,
        keep_alive: !seen.close && (version == Version::Http11 || seen.keep_alive),
        expects_continue: seen.expects_continue && version == Version::Http11,
        takes_trailers: seen.takes_trailers,
        headers: std::mem::take(headers),
    })
}

/// What the fields say that this side of the connection must know.
#[derive(Default)]
struct Seen {
    host: bool,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    takes_trailers: bool,
}

impl Seen {
    #[inline]
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), RequestProblem> {
        match *name {
            header::HOST if std::mem::replace(&mut self.host, true) => return Err(RequestProblem::RepeatedHost),
            header::CONTENT_LENGTH => {
                if self.content_length.is_some() {
                    return Err(RequestProblem::RepeatedContentLength);
                }
                let length = field::content_length(value.as_bytes());
                self.content_length = Some(length.ok_or(RequestProblem::InvalidContentLength)?);
            }
            header::TRANSFER_ENCODING => {
                if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(RequestProblem::UnknownTransferEncoding);
                }
                self.chunked = true;
            }
            header::CONNECTION => {
                for option in elements(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            header::EXPECT => self.expects_continue = value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
            header::TE => self.takes_trailers |= elements(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")),
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, RequestProblem> {
        match (self.content_length, self.chunked) {
            (Some(_), true) => Err(RequestProblem::ContentLengthWithTransferEncoding),
            (None, true) if version == Version::Http10 => Err(RequestProblem::TransferEncodingIn10),
            (None, true) => Ok(Framing::Chunked),
            (None | Some(0), false) => Ok(Framing::None),
            (Some(length), false) => Ok(Framing::Length(length)),
        }
    }
}

/// The elements of a field that is a list (RFC 9110 5.6.1).
fn elements(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&byte| byte == b',').map(field::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_TARGET: usize = 64;

    #[test]
    fn what_is_refused_stays_and_is_named_as_far_as_it_goes() {
        let (decoded, left) = decode(b"\r\nGET /a HTTP/1.1\r\nhost : a\r\n\r\nmore");
        assert!(decoded.is_err());
        assert_eq!(left, b"GET /a HTTP/1.1\r\nhost : a\r\n\r\nmore");
        assert_eq!(requested(&left), Some(("GET", &b"/a"[..])));
        for (bytes, expected) in [
            ("PUT /a b HTTP/9\r\n", Some(("PUT", "/a b"))),
            ("GET /cut", Some(("GET", "/cut"))),
            ("GET  HTTP/1.1\r\n", Some(("GET", ""))),
            ("GET /a\r\nhost: a\r\n", Some(("GET", "/a"))),
            ("OPTIONS * HTTP/1.1\r\n", Some(("OPTIONS", "*"))),
            ("GET http://a:secret@b/c HTTP/9\r\n", Some(("GET", "/c"))),
            ("GET http://a:secret@b HTTP/9\r\n", Some(("GET", ""))),
            ("GET http://a:sec*ret@b HTTP/9\r\n", Some(("GET", ""))),
            ("GET http://a:sec*ret@b/c HTTP/9\r\n", Some(("GET", "/c"))),
            ("CONNECT a:secret@b:1 HTTP/9\r\n", Some(("CONNECT", ""))),
            ("G\x01T /a HTTP/1.1\r\n", None),
            (" /a HTTP/1.1\r\n", None),
            ("\x16\x03\x01", None),
            ("GET", None),
            ("", None),
        ] {
            let expected = expected.map(|(method, target)| (method, target.as_bytes()));
            assert_eq!(requested(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    fn decode(bytes: &[u8]) -> (Result<Option<DecodedRequest>, RequestProblem>, Vec<u8>) {
        let mut buffer = BytesMut::from(bytes);
        let mut recycled = HeaderMap::new();
        let decoded = decode_request_head(&mut buffer, &mut recycled, &Limits::default(), MAX_TARGET);
        assert!(recycled.is_empty());
        (decoded, buffer.to_vec())
    }

    fn whole(bytes: &[u8]) -> DecodedRequest {
        let (decoded, _) = decode(bytes);
        decoded.expect("well formed").expect("complete")
    }

    #[test]
    fn a_head_is_taken_up_to_its_border() {
        let (decoded, rest) =
            decode(b"\r\n\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\nX-A:\t\xe4 \r\nX-A:\r\nContent-Length: 3\r\n\r\n\n\r\0");
        let request = decoded.expect("well formed").expect("complete");
        assert_eq!(rest, b"\n\r\0");
        assert_eq!(
            (request.method, request.target.to_string().as_str()),
            (Method::POST, "/a?b")
        );
        assert_eq!(
            (request.version, request.framing, request.keep_alive),
            (Version::Http11, Framing::Length(3), true)
        );
        let values: Vec<_> = request
            .headers
            .get_all("x-a")
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        assert_eq!(values, [&b"\xe4"[..], b""]);
        assert_eq!(request.headers.len(), 4);
    }

    #[test]
    fn the_framing_and_the_end_of_the_connection_are_read_off_the_fields() {
        let framing = |fields: &str| whole(format!("POST / HTTP/1.1\r\n{fields}\r\n").as_bytes()).framing;
        assert_eq!(framing(""), Framing::None);
        assert_eq!(framing("Content-Length: 0\r\n"), Framing::None);
        assert_eq!(framing("Transfer-Encoding: \tCHUNKED \r\n"), Framing::Chunked);
        let keeps = |version: &str, value: &str| {
            whole(format!("GET / HTTP/{version}\r\nConnection: {value}\r\n\r\n").as_bytes()).keep_alive
        };
        assert!(keeps("1.1", "x") && keeps("1.1", "keep-alive") && keeps("1.0", "x, Keep-Alive"));
        assert!(!keeps("1.0", "") && !keeps("1.1", "Close") && !keeps("1.1", "keep-alive ,close"));
        assert!(!keeps("1.0", "close\r\nConnection: keep-alive"));
    }

    #[test]
    fn what_else_the_sender_of_the_answer_must_know_is_read_too() {
        let asks = |version: &str, field: &str| {
            let request = whole(format!("POST / HTTP/{version}\r\n{field}\r\n\r\n").as_bytes());
            (request.expects_continue, request.takes_trailers)
        };
        assert_eq!(asks("1.1", "Expect: 100-Continue"), (true, false));
        assert_eq!(asks("1.0", "Expect: 100-continue"), (false, false));
        assert_eq!(asks("1.1", "Expect: 200-ok"), (false, false));
        assert_eq!(asks("1.1", "TE: gzip;q=1 , Trailers"), (false, true));
        assert_eq!(asks("1.1", "TE: trailers2"), (false, false));
    }

    #[test]
    fn each_trap_names_its_rule() {
        use RequestProblem::*;
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_TARGET));
        let cases: &[(&str, RequestProblem)] = &[
            ("\x16\x03\x01", InvalidMethod),
            ("G(ET / HTTP/1.1\r\n\r\n", InvalidMethod),
            (" / HTTP/1.1\r\n\r\n", InvalidMethod),
            ("GET  / HTTP/1.1\r\n\r\n", InvalidTarget),
            ("GET /  HTTP/1.1\r\n\r\n", InvalidTarget),
            ("GET HTTP/1.1\r\n\r\n", InvalidTarget),
            ("GET / x HTTP/1.1\r\n\r\n", InvalidTarget),
            ("GET /\0 HTTP/1.1\r\n\r\n", InvalidTarget),
            ("GET x y:z HTTP/1.1\r\n\r\n", InvalidTarget),
            ("GET /#a HTTP/1.1\r\n\r\n", Fragment),
            (&long, TargetTooLong),
            (&format!("GET /{}", "x".repeat(2 * MAX_TARGET)), TargetTooLong),
            ("GET /\r\n\r\n", NotHttp),
            ("GET / http/1.1\r\n\r\n", NotHttp),
            ("GET / HTTP/1.1 x\r\n\r\n", NotHttp),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", NotHttp),
            ("GET / HTTP/3.0\r\n\r\n", UnknownVersion),
            ("GET / HTTP/1.10\r\n\r\n", UnknownVersion),
            ("\nGET / HTTP/1.1\r\n\r\n", BareLf),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", BareLf),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", BareLf),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", BareLf),
            ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", BareCr),
            ("GET / HTTP/1.1\r\nHost: \0\r\n\r\n", Nul),
            (
                "GET / HTTP/1.1\r\nHost: \x01\r\n\r\n",
                Field(FieldProblem::InvalidValue),
            ),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Field(FieldProblem::Folded)),
            ("GET / HTTP/1.1\r\nA: b\r\n\tc: d\r\n\r\n", Field(FieldProblem::Folded)),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", Field(FieldProblem::SpaceBeforeColon)),
            ("GET / HTTP/1.1\r\n: b\r\n\r\n", Field(FieldProblem::EmptyName)),
            ("GET / HTTP/1.1\r\nA\r\n\r\n", Field(FieldProblem::NoColon)),
            ("GET / HTTP/1.1\r\nA(: b\r\n\r\n", Field(FieldProblem::InvalidName)),
            (
                "GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                ContentLengthWithTransferEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
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
                "GET / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\n",
                InvalidContentLength,
            ),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
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
            assert_eq!(decode(head.as_bytes()).0.expect_err(head), *problem, "{head:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_before_the_head_is_whole() {
        for part in [
            "G(",
            "GET  / HTTP/1.1\r\n",
            "GET / HTTP/9\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c: d\r\nB",
            "GET / HTTP/1.1\r\nA: \x01\r\nB",
        ] {
            assert!(decode(part.as_bytes()).0.is_err(), "{part:?}");
        }
        for part in [
            "",
            "\r",
            "G",
            "GET",
            "GET /",
            "GET / HTTP/1.1\r",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n\r",
        ] {
            assert!(
                matches!(decode(part.as_bytes()), (Ok(None), rest) if rest == part.as_bytes()),
                "{part:?}"
            );
        }
        assert!(matches!(decode(b"\r\n\r\n"), (Ok(None), rest) if rest.is_empty()));
    }

    #[test]
    fn a_head_has_limits() {
        let decode = |bytes: &[u8], limits: Limits| {
            let mut buffer = BytesMut::from(bytes);
            decode_request_head(&mut buffer, &mut HeaderMap::new(), &limits, MAX_TARGET)
                .map(|decoded| decoded.is_some())
        };
        let head = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n";
        let limits = |max_head_size, max_headers| Limits {
            max_head_size,
            max_headers,
        };
        assert_eq!(decode(head, limits(head.len(), 2)), Ok(true));
        assert_eq!(
            decode(head, limits(head.len() - 1, 2)),
            Err(RequestProblem::HeadTooLarge)
        );
        assert_eq!(decode(head, limits(99, 1)), Err(RequestProblem::TooManyFields));
        assert_eq!(decode(&head[..20], limits(20, 2)), Err(RequestProblem::HeadTooLarge));
    }
}
