//! HTTP/1.1 as bytes: no sockets, no tasks, no clock.
//!
//! What is sent to an endpoint is written by [`RequestHead`], [`chunk_head`] and [`last_chunk`]; what it answers is read
//! by [`decode_response_head`] and [`ChunkedDecoder`]. What a client sent is read by another engine; the strict second
//! look at it is [`screen_request_head`], [`check_path`] and [`parse_authority`].
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
mod field;
mod framing;
mod hop_by_hop;
mod path;
#[cfg(test)]
mod properties;
mod request;
mod response;
mod screen;
mod trailer;

pub use authority::{Authority, AuthorityProblem, parse_authority};
pub use body::{CHUNK_END, chunk_head, last_chunk};
pub use chunked::{ChunkedDecoder, ChunkedError, ChunkedLimits, Part};
pub use field::FieldProblem;
pub use framing::{Framing, opens_tunnel};
pub use path::{PathProblem, check_path};
pub use request::{RequestHead, is_safe_path};
pub use response::{Limits, ResponseError, ResponseHead, decode_response_head};
pub use screen::{RequestProblem, screen_request_head};
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
