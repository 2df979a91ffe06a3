//! HTTP/1.1 as bytes: no sockets, no tasks, no clock.
//!
//! What a client sends is read by [`decode_request_head`] and [`ChunkedDecoder`], then looked at by [`check_path`] and
//! [`parse_authority`]; what is sent to an endpoint is written by [`RequestHead`], [`chunk_head`] and [`last_chunk`]. What
//! that answers is read by [`decode_response_head`], and written for the client by [`encode_response_head`].
//!
//! *When is something refused rather than repaired?* Always, if two readers could disagree on where a message ends or
//! what a field is called: bare LF, folded lines, two lengths, a transfer coding other than one `chunked`
//! (RFC 9112 2.2, 5.1, 5.2, 6.3). Each rule has its own variant in an error enum, so that a log line names the rule.
//!
//! Invariant: what a decoder gives does not depend on how the bytes were split into reads, and no decoder takes a byte
//! beyond the border of what it decodes.

mod authority;
mod body;
mod chunked;
mod decode_request;
mod encode_response;
mod field;
mod framing;
mod hop_by_hop;
mod lines;
mod path;
#[cfg(test)]
mod properties;
mod request;
mod response;
mod trailer;

pub use authority::{Authority, AuthorityProblem, parse_authority};
pub use body::{CHUNK_END, chunk_head, last_chunk};
pub use chunked::{ChunkedDecoder, ChunkedError, ChunkedLimits, Part};
pub use decode_request::{DecodedRequest, RequestProblem, decode_request_head, requested};
pub use encode_response::{encode_interim_head, encode_response_head};
pub use field::FieldProblem;
pub use framing::{Framing, opens_tunnel};
pub use path::{PathProblem, check_path};
pub use request::{RequestHead, is_safe_path};
pub use response::{Limits, ResponseError, ResponseHead, decode_response_head};
pub use trailer::is_forbidden_trailer;

/// The two versions that this wire format has (RFC 9112 2.3); every other minor number is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

impl From<Version> for http::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::Http10 => Self::HTTP_10,
            Version::Http11 => Self::HTTP_11,
        }
    }
}

/// Appends one field line.
#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
