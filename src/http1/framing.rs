//! Where a response body ends (RFC 9112 6.3): a pure decision from what was asked and what the head says.

use http::{Method, StatusCode};

use super::{ResponseError, Version};

/// How the body that follows a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body follows, whatever the fields say.
    None,
    /// So many bytes; 0 is possible.
    Length(u64),
    /// Chunks, to be read by [`ChunkedDecoder`](super::ChunkedDecoder).
    Chunked,
    /// Everything until the endpoint closes; such a connection cannot be used again.
    UntilClose,
}

/// What the fields of one head declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

/// Decides by status and method first, by the fields last.
pub(super) fn decide(
    method: &Method,
    version: Version,
    status: StatusCode,
    declared: Declared,
) -> Result<Framing, ResponseError> {
    if declared == Declared::Chunked && version == Version::Http10 {
        return Err(ResponseError::TransferEncodingIn10);
    }
    if allows_no_body(status) {
        return match declared {
            Declared::Nothing | Declared::Length(0) => Ok(Framing::None),
            Declared::Length(_) => Err(ResponseError::ContentLengthWithoutBody),
            Declared::Chunked => Err(ResponseError::TransferEncodingWithoutBody),
        };
    }
    if method == Method::HEAD || status == StatusCode::NOT_MODIFIED || opens_tunnel(method, status) {
        return Ok(Framing::None);
    }
    Ok(match declared {
        Declared::Chunked => Framing::Chunked,
        Declared::Length(length) => Framing::Length(length),
        Declared::Nothing => Framing::UntilClose,
    })
}

/// Whether the bytes after this head are no longer HTTP (RFC 9110 9.3.6, 15.2.2).
pub fn opens_tunnel(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && status.is_success())
}

/// Whether Content-Length goes on to the client: it is true of the body that follows, or of the one that was left out
/// (RFC 9110 8.6).
pub(super) fn keeps_length(method: &Method, status: StatusCode, framing: Framing) -> bool {
    match framing {
        Framing::Length(_) => true,
        Framing::None => !allows_no_body(status) && (method == Method::HEAD || status == StatusCode::NOT_MODIFIED),
        Framing::Chunked | Framing::UntilClose => false,
    }
}

fn allows_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_method_outrank_the_fields() {
        use Declared::{Chunked, Length, Nothing};
        let cases = [
            ("GET", 200, Nothing, Ok(Framing::UntilClose)),
            ("GET", 200, Length(5), Ok(Framing::Length(5))),
            ("GET", 200, Chunked, Ok(Framing::Chunked)),
            ("GET", 205, Length(0), Ok(Framing::Length(0))),
            ("HEAD", 200, Length(5), Ok(Framing::None)),
            ("HEAD", 200, Chunked, Ok(Framing::None)),
            ("HEAD", 204, Length(5), Err(ResponseError::ContentLengthWithoutBody)),
            ("GET", 304, Length(5), Ok(Framing::None)),
            ("GET", 304, Chunked, Ok(Framing::None)),
            ("GET", 204, Nothing, Ok(Framing::None)),
            ("GET", 204, Length(0), Ok(Framing::None)),
            ("GET", 204, Length(1), Err(ResponseError::ContentLengthWithoutBody)),
            ("GET", 204, Chunked, Err(ResponseError::TransferEncodingWithoutBody)),
            ("GET", 100, Length(1), Err(ResponseError::ContentLengthWithoutBody)),
            ("GET", 101, Nothing, Ok(Framing::None)),
            ("GET", 103, Chunked, Err(ResponseError::TransferEncodingWithoutBody)),
            ("CONNECT", 200, Chunked, Ok(Framing::None)),
            ("CONNECT", 200, Length(5), Ok(Framing::None)),
            ("CONNECT", 403, Length(5), Ok(Framing::Length(5))),
        ];
        for (method, status, declared, expected) in cases {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let status = StatusCode::from_u16(status).expect("a status");
            let framing = decide(&method, Version::Http11, status, declared);
            assert_eq!(framing, expected, "{method} {status} {declared:?}");
        }
    }

    #[test]
    fn http_1_0_knows_no_transfer_coding_not_even_where_no_body_follows() {
        for (method, status) in [(Method::GET, StatusCode::OK), (Method::HEAD, StatusCode::OK)] {
            let framing = decide(&method, Version::Http10, status, Declared::Chunked);
            assert_eq!(framing, Err(ResponseError::TransferEncodingIn10));
        }
    }
}
