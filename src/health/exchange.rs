//! One HTTP/1.1 question and its answer on a connection.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ProbeError;
use crate::{
    http1::{ChunkedDecoder, ChunkedLimits, Framing, Limits, Part, RequestHead, decode_response_head},
    pool::CloseReason,
};

/// Bytes of an answer, its head included, that are read so that the connection can be kept.
const MAX_ANSWER: usize = 64 * 1024;

/// An answer with what became of its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) after: After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Keep,
    Close(CloseReason),
}

/// The question, the same every time.
pub(super) fn request(path: &str, host: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut head = RequestHead::start(&mut out, &Method::GET, path.as_bytes());
    head.raw_field("host", host.as_bytes());
    head.raw_field("user-agent", b"forebay-probe");
    head.raw_field("accept", b"*/*");
    head.finish();
    out
}

/// Sends `request`, which is a GET, and reads its whole answer, or as much of it as [`MAX_ANSWER`] allows.
///
/// Cancellation: the connection is in the middle of an answer then; the caller drops it.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
) -> Result<Answer, ProbeError> {
    stream.write_all(request).await.map_err(ProbeError::Broken)?;
    stream.flush().await.map_err(ProbeError::Broken)?;
    let mut reader = Reader {
        stream,
        buffer: BytesMut::new(),
        left: MAX_ANSWER,
    };
    loop {
        let decoded = decode_response_head(
            &mut reader.buffer,
            &Method::GET,
            &mut HeaderMap::new(),
            &Limits::default(),
        );
        let Some(head) = decoded.map_err(ProbeError::NotHttp)? else {
            match reader.more().await? {
                More::Read => continue,
                More::Ended => return Err(ProbeError::ClosedEarly),
                More::TooMuch => return Err(ProbeError::EndlessHead),
            }
        };
        // RFC 9110 15.2: interim answers come before the one that counts; 101 is the last one.
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        let after = match reader.body(head.framing).await? {
            After::Keep if !reader.buffer.is_empty() => After::Close(CloseReason::UnexpectedBytes),
            After::Keep if !head.keep_alive => After::Close(CloseReason::EndpointAsked),
            after => after,
        };
        return Ok(Answer {
            status: head.status,
            after,
        });
    }
}

struct Reader<'a, S> {
    stream: &'a mut S,
    buffer: BytesMut,
    /// Bytes that may still be read.
    left: usize,
}

enum More {
    Read,
    Ended,
    TooMuch,
}

impl<S: AsyncRead + Unpin> Reader<'_, S> {
    async fn more(&mut self) -> Result<More, ProbeError> {
        if self.left == 0 {
            return Ok(More::TooMuch);
        }
        self.buffer.reserve(4096);
        let read = self
            .stream
            .read_buf(&mut (&mut self.buffer).limit(self.left))
            .await
            .map_err(ProbeError::Broken)?;
        self.left -= read;
        Ok(if read == 0 { More::Ended } else { More::Read })
    }

    /// Reads the body to its end (RFC 9112 6.3).
    async fn body(&mut self, framing: Framing) -> Result<After, ProbeError> {
        let mut rest = match framing {
            Framing::None => return Ok(After::Keep),
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(ChunkedDecoder::new(&ChunkedLimits::default())),
            Framing::UntilClose => Rest::UntilClose,
        };
        loop {
            if rest.ends_in(&mut self.buffer)? {
                return Ok(After::Keep);
            }
            match (self.more().await?, &rest) {
                (More::Read, _) => {}
                (More::Ended, Rest::UntilClose) => return Ok(After::Close(CloseReason::ClosedByEndpoint)),
                (More::Ended, _) => return Err(ProbeError::ClosedEarly),
                (More::TooMuch, _) => return Ok(After::Close(CloseReason::AbortedResponse)),
            }
        }
    }
}

/// What is still to come of a body.
enum Rest {
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Rest {
    /// Takes what is there of the body out of `buffer`; says whether that was its end.
    fn ends_in(&mut self, buffer: &mut BytesMut) -> Result<bool, ProbeError> {
        match self {
            Self::Length(left) => {
                let there = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                _ = buffer.split_to(there);
                *left -= there as u64;
                Ok(*left == 0)
            }
            Self::Chunked(decoder) => loop {
                match decoder.decode(buffer).map_err(ProbeError::BadChunks)? {
                    Some(Part::Data(_) | Part::Trailers(_)) => {}
                    Some(Part::End) => return Ok(true),
                    None => return Ok(false),
                }
            },
            Self::UntilClose => {
                buffer.clear();
                Ok(false)
            }
        }
    }
}
