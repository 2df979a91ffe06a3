//! The head of a response, read from an endpoint that is not trusted.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use thiserror::Error;

use super::{
    FieldProblem, Framing, Version, field, framing,
    hop_by_hop::HopByHop,
    lines::{self, Extent, LineProblem, split_line},
};

/// A response head without what ends at us.
#[derive(Debug)]
pub struct ResponseHead {
    pub version: Version,
    /// 100 to 599.
    pub status: StatusCode,
    /// End-to-end fields only (RFC 9110 7.6.1). Content-Length is among them only if it is true of the body that
    /// follows, or of the one that HEAD and 304 leave out; Trailer only if the body is chunked.
    pub headers: HeaderMap,
    pub framing: Framing,
    /// Whether the endpoint lets the connection be used again, once the body is read (RFC 9112 9.3). Never true of a
    /// body that ends by closing, nor of a tunnel.
    pub keep_alive: bool,
    /// `Keep-Alive: timeout=N`: how long the endpoint means to keep the connection when idle.
    pub keep_alive_timeout: Option<Duration>,
    /// The protocol that a 101 switches to; only if its Connection field names `upgrade` (RFC 9110 7.8).
    pub upgrade: Option<HeaderValue>,
}

/// Ceilings for one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In bytes, from the status line to the blank line, which counts too.
    pub max_head_size: usize,
    /// Field lines, those included that are dropped.
    pub max_headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head_size: 64 * 1024,
            max_headers: 128,
        }
    }
}

/// Why the bytes of an endpoint are not the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.description())]
pub enum ResponseError {
    /// Includes blank lines before the status line.
    NotHttp,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    UnknownVersion,
    InvalidStatusLine,
    /// Not three digits from 100 to 599.
    InvalidStatus,
    HeadTooLarge,
    TooManyFields,
    /// RFC 9112 2.2.
    BareLf,
    Field(FieldProblem),
    /// Not digits only, or above 2^63-1.
    InvalidContentLength,
    RepeatedContentLength,
    /// RFC 9112 6.1: the mark of response splitting.
    ContentLengthWithTransferEncoding,
    /// Anything but exactly one `chunked`.
    UnknownTransferEncoding,
    TransferEncodingIn10,
    /// On 1xx and 204.
    TransferEncodingWithoutBody,
    /// On 1xx and 204; a length of 0 is let pass.
    ContentLengthWithoutBody,
    /// A 101 with more than one Upgrade field.
    RepeatedUpgrade,
}

impl ResponseError {
    /// The rule in words, for logs: reads well after "the endpoint's answer was malformed: ".
    pub fn description(self) -> &'static str {
        match self {
            Self::NotHttp => "it does not begin with an HTTP status line",
            Self::UnknownVersion => "its version is neither HTTP/1.0 nor HTTP/1.1",
            Self::InvalidStatusLine => "its status line is malformed",
            Self::InvalidStatus => "its status is not a number from 100 to 599",
            Self::HeadTooLarge => "its head is larger than the limit",
            Self::TooManyFields => "its head has more fields than the limit",
            Self::BareLf => "a line of its head ends in LF without CR",
            Self::Field(problem) => problem.description(),
            Self::InvalidContentLength => "its Content-Length is not a number",
            Self::RepeatedContentLength => "its Content-Length is repeated",
            Self::ContentLengthWithTransferEncoding => "it has both Content-Length and Transfer-Encoding",
            Self::UnknownTransferEncoding => "its Transfer-Encoding is not exactly one chunked",
            Self::TransferEncodingIn10 => "it has a Transfer-Encoding although it is HTTP/1.0",
            Self::TransferEncodingWithoutBody => "it has a Transfer-Encoding although its status allows no body",
            Self::ContentLengthWithoutBody => "it has a Content-Length although its status allows no body",
            Self::RepeatedUpgrade => "it switches to more than one protocol",
        }
    }
}

impl From<FieldProblem> for ResponseError {
    fn from(problem: FieldProblem) -> Self {
        Self::Field(problem)
    }
}

impl From<LineProblem> for ResponseError {
    fn from(problem: LineProblem) -> Self {
        match problem {
            LineProblem::HeadTooLarge => Self::HeadTooLarge,
            LineProblem::TooManyFields => Self::TooManyFields,
            LineProblem::BareLf => Self::BareLf,
        }
    }
}

/// Reads the head at the beginning of `buffer`, which answers a request with `request_method`.
///
/// `Ok(None)`: more bytes are needed, and nothing was taken. Otherwise exactly the bytes of the head are split off;
/// those of the body stay. The values share the memory of `buffer`.
///
/// `recycled` is an empty map whose capacity is used: it moves into the head that is returned, and stays here, empty,
/// in every other case.
///
/// Bytes that come one at a time cost a search from the beginning each: bounded by `max_head_size`, that is at most
/// about as much as the system call that brought them.
///
/// # Errors
///
/// See [`ResponseError`]; the connection is of no further use.
pub fn decode_response_head(
    buffer: &mut BytesMut,
    request_method: &Method,
    recycled: &mut HeaderMap,
    limits: &Limits,
) -> Result<Option<ResponseHead>, ResponseError> {
    debug_assert!(recycled.is_empty(), "fields of another response");
    // Asked of the first bytes already, so that an endpoint that speaks something else is not waited for.
    const START: &[u8] = b"HTTP/";
    let known = buffer.len().min(START.len());
    if buffer[..known] != START[..known] {
        return Err(ResponseError::NotHttp);
    }
    let Some(extent) = lines::find_end(buffer, limits)? else {
        return Ok(None);
    };
    let head = buffer.split_to(extent.size).freeze();
    match decode_complete(&head, &extent, request_method, recycled) {
        Ok(head) => Ok(Some(head)),
        Err(error) => {
            recycled.clear();
            Err(error)
        }
    }
}

fn decode_complete(
    head: &Bytes,
    extent: &Extent,
    method: &Method,
    headers: &mut HeaderMap,
) -> Result<ResponseHead, ResponseError> {
    headers
        .try_reserve(extent.fields)
        .map_err(|_| ResponseError::TooManyFields)?;
    let (status_line, mut rest) = split_line(head);
    let (version, status) = parse_status_line(status_line)?;
    let mut hop_by_hop = HopByHop::default();
    for _ in 0..extent.fields {
        let (line, next) = split_line(rest);
        rest = next;
        let (raw_name, raw_value) = field::split(line)?;
        let value = field::value(head, raw_value)?;
        if let Some(value) = hop_by_hop.take(raw_name, value)? {
            let name = field::name(raw_name)?;
            headers
                .try_append(name, value)
                .map_err(|_| ResponseError::TooManyFields)?;
        }
    }
    let framing = framing::decide(method, version, status, hop_by_hop.declared()?)?;
    hop_by_hop.remove_nominated(headers);
    if hop_by_hop.has_length() && !framing::keeps_length(method, status, framing) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if hop_by_hop.has_trailer() && framing != Framing::Chunked {
        headers.remove(header::TRAILER);
    }
    Ok(ResponseHead {
        version,
        status,
        keep_alive: hop_by_hop.allows_reuse(version)
            && framing != Framing::UntilClose
            && !framing::opens_tunnel(method, status),
        keep_alive_timeout: hop_by_hop.keep_alive_timeout(),
        upgrade: if status == StatusCode::SWITCHING_PROTOCOLS {
            hop_by_hop.into_upgrade()?
        } else {
            None
        },
        framing,
        headers: std::mem::take(headers),
    })
}

/// RFC 9112 4. The space before an empty reason is often left out, and nobody can read that in two ways.
fn parse_status_line(line: &[u8]) -> Result<(Version, StatusCode), ResponseError> {
    let (version, rest) = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', rest @ ..] => (Version::Http11, rest),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', rest @ ..] => (Version::Http10, rest),
        _ => return Err(ResponseError::UnknownVersion),
    };
    let (digits, reason) = match rest {
        [a, b, c] => ([*a, *b, *c], &[][..]),
        [a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(ResponseError::InvalidStatus),
    };
    if !matches!(digits, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9']) {
        return Err(ResponseError::InvalidStatus);
    }
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    if reason.iter().any(is_control) {
        return Err(ResponseError::InvalidStatusLine);
    }
    let status = StatusCode::from_bytes(&digits).map_err(|_| ResponseError::InvalidStatus)?;
    Ok((version, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_for(method: Method, bytes: &[u8]) -> Result<Option<ResponseHead>, ResponseError> {
        decode_response_head(
            &mut BytesMut::from(bytes),
            &method,
            &mut HeaderMap::new(),
            &Limits::default(),
        )
    }

    fn head(bytes: &[u8]) -> ResponseHead {
        decode_for(Method::GET, bytes).expect("well formed").expect("complete")
    }

    fn error(bytes: &[u8]) -> ResponseError {
        decode_for(Method::GET, bytes)
            .map(|head| head.map(|head| head.status))
            .expect_err("malformed")
    }

    fn names(head: &ResponseHead) -> Vec<&str> {
        head.headers.keys().map(|name| name.as_str()).collect()
    }

    #[test]
    fn a_head_is_split_off_and_the_body_stays() {
        let mut buffer = BytesMut::from(&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello"[..]);
        let mut recycled = HeaderMap::with_capacity(64);
        let decoded = decode_response_head(&mut buffer, &Method::GET, &mut recycled, &Limits::default());
        let head = decoded.expect("well formed").expect("complete");
        assert_eq!(
            (head.version, head.status, head.framing),
            (Version::Http11, StatusCode::OK, Framing::Length(5))
        );
        assert_eq!(head.headers["content-length"], "5");
        assert_eq!(head.headers["x-a"], "b");
        assert!(head.keep_alive && head.headers.capacity() >= 64 && recycled.capacity() == 0);
        assert_eq!(buffer, &b"hello"[..]);
    }

    #[test]
    fn an_unfinished_head_takes_nothing_and_leaves_the_map() {
        let bytes = b"HTTP/1.1 200 OK\r\nA: b\r\n\r";
        let mut recycled = HeaderMap::with_capacity(64);
        for end in 0..bytes.len() {
            let mut buffer = BytesMut::from(&bytes[..end]);
            let decoded = decode_response_head(&mut buffer, &Method::GET, &mut recycled, &Limits::default());
            assert!(decoded.expect("well formed so far").is_none());
            assert_eq!(buffer, &bytes[..end]);
        }
        assert!(recycled.capacity() >= 64);
    }

    #[test]
    fn an_error_leaves_an_empty_map() {
        let mut buffer = BytesMut::from(&b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: x\r\n\r\n"[..]);
        let mut recycled = HeaderMap::new();
        let decoded = decode_response_head(&mut buffer, &Method::GET, &mut recycled, &Limits::default());
        assert_eq!(decoded.map(|_| ()), Err(ResponseError::InvalidContentLength));
        assert!(recycled.is_empty());
    }

    #[test]
    fn each_malformed_head_names_its_rule() {
        use ResponseError::*;
        let cases: [(&str, ResponseError); 31] = [
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", NotHttp),
            ("SSH-2.0", NotHttp),
            ("http/1.1 200 OK\r\n\r\n", NotHttp),
            ("HTTP/1.2 200 OK\r\n\r\n", UnknownVersion),
            ("HTTP/2 200 OK\r\n\r\n", UnknownVersion),
            ("HTTP/1.1  200 OK\r\n\r\n", InvalidStatus),
            ("HTTP/1.1 20 OK\r\n\r\n", InvalidStatus),
            ("HTTP/1.1 2000 OK\r\n\r\n", InvalidStatus),
            ("HTTP/1.1 200OK\r\n\r\n", InvalidStatus),
            ("HTTP/1.1 099 OK\r\n\r\n", InvalidStatus),
            ("HTTP/1.1 600 OK\r\n\r\n", InvalidStatus),
            ("HTTP/1.1 200 O\rK\r\n\r\n", InvalidStatusLine),
            ("HTTP/1.1 200 OK\n\r\n", BareLf),
            ("HTTP/1.1 200 OK\r\nA: b\n\r\n", BareLf),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\n", BareLf),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Field(FieldProblem::Folded)),
            ("HTTP/1.1 200 OK\r\n : b\r\n\r\n", Field(FieldProblem::Folded)),
            (
                "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
                Field(FieldProblem::SpaceBeforeColon),
            ),
            ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", Field(FieldProblem::EmptyName)),
            ("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", Field(FieldProblem::Nul)),
            ("HTTP/1.1 200 OK\r\nKeep-Alive: \0\r\n\r\n", Field(FieldProblem::Nul)),
            ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", Field(FieldProblem::BareCr)),
            ("HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n", Field(FieldProblem::BareCr)),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", InvalidContentLength),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", InvalidContentLength),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
                RepeatedContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                UnknownTransferEncoding,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                UnknownTransferEncoding,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n", UnknownTransferEncoding),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                TransferEncodingIn10,
            ),
            (
                "HTTP/1.1 101 X\r\nUpgrade: a\r\nUpgrade: b\r\nConnection: upgrade\r\n\r\n",
                RepeatedUpgrade,
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(error(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn two_lengths_are_refused_in_both_orders_and_whatever_the_method() {
        for fields in [
            ["Content-Length: 5", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ] {
            let bytes = format!("HTTP/1.1 200 OK\r\n{}\r\n{}\r\n\r\n", fields[0], fields[1]);
            for method in [Method::GET, Method::HEAD, Method::CONNECT] {
                let decoded = decode_for(method, bytes.as_bytes()).map(|_| ());
                assert_eq!(decoded, Err(ResponseError::ContentLengthWithTransferEncoding));
            }
        }
    }

    #[test]
    fn a_reason_may_be_empty_or_hold_any_text() {
        for line in [&b"HTTP/1.1 404"[..], b"HTTP/1.1 404 ", b"HTTP/1.1 404 Not\tFound \xe4"] {
            assert_eq!(head(&[line, b"\r\n\r\n"].concat()).status, StatusCode::NOT_FOUND);
        }
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let head = head(
            b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop, Set-Cookie, Content-Length, Date\r\nKeep-Alive: timeout=7\r\n\
            Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Hop: 1\r\nTrailer: a\r\nSet-Cookie: a=b\r\n\
            Date: today\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        );
        assert!(!head.keep_alive && head.upgrade.is_none());
        assert_eq!(head.keep_alive_timeout, Some(Duration::from_secs(7)));
        let mut names = names(&head);
        names.sort_unstable();
        assert_eq!(names, ["content-length", "date", "proxy-authenticate", "set-cookie"]);
    }

    #[test]
    fn a_length_goes_on_only_where_it_is_true() {
        let keeps = |method: Method, status: u16, length: &str| {
            let bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
            let head = decode_for(method, bytes.as_bytes())
                .expect("well formed")
                .expect("complete");
            head.headers.contains_key(header::CONTENT_LENGTH)
        };
        assert!(keeps(Method::GET, 200, "5") && keeps(Method::HEAD, 200, "5") && keeps(Method::GET, 304, "5"));
        assert!(!keeps(Method::GET, 204, "0") && !keeps(Method::HEAD, 204, "0") && !keeps(Method::GET, 100, "0"));
        assert!(!keeps(Method::CONNECT, 200, "5"));
    }

    #[test]
    fn trailer_goes_on_with_chunks_only() {
        let chunked = head(b"HTTP/1.1 200 OK\r\nTrailer: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
        assert_eq!((chunked.framing, names(&chunked)), (Framing::Chunked, vec!["trailer"]));
        assert!(names(&head(b"HTTP/1.1 200 OK\r\nTrailer: a\r\n\r\n")).is_empty());
    }

    #[test]
    fn a_connection_is_not_reused_after_an_end_by_close_or_a_tunnel() {
        assert!(!head(b"HTTP/1.1 200 OK\r\n\r\n").keep_alive);
        assert!(!head(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").keep_alive);
        let tunnel = decode_for(Method::CONNECT, b"HTTP/1.1 200 OK\r\n\r\n")
            .expect("well formed")
            .expect("complete");
        assert!(!tunnel.keep_alive);
        assert!(head(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").keep_alive);
        assert!(!head(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").keep_alive);
    }

    #[test]
    fn an_upgrade_needs_its_connection_option() {
        let with = head(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(with.upgrade.expect("both fields are there"), "websocket");
        assert_eq!(with.framing, Framing::None);
        assert!(head(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n").upgrade.is_none());
    }

    #[test]
    fn limits_hold_to_the_byte_and_to_the_field() {
        let bytes = b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\nbody";
        let size = bytes.len() - 4;
        let decode = |max_head_size, max_headers| {
            let limits = Limits {
                max_head_size,
                max_headers,
            };
            let mut buffer = BytesMut::from(&bytes[..]);
            decode_response_head(&mut buffer, &Method::GET, &mut HeaderMap::new(), &limits).map(|head| head.is_some())
        };
        assert_eq!(decode(size, 2), Ok(true));
        assert_eq!(decode(size - 1, 2), Err(ResponseError::HeadTooLarge));
        assert_eq!(decode(size, 1), Err(ResponseError::TooManyFields));
        assert_eq!(decode(size, 0), Err(ResponseError::TooManyFields));
        let limits = Limits {
            max_head_size: 20,
            ..Limits::default()
        };
        let mut buffer = BytesMut::from(&bytes[..20]);
        let decoded = decode_response_head(&mut buffer, &Method::GET, &mut HeaderMap::new(), &limits).map(|_| ());
        assert_eq!(
            decoded,
            Err(ResponseError::HeadTooLarge),
            "a full head without its end cannot become shorter"
        );
    }
}
