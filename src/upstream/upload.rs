//! The way of a request to the endpoint: its head, then its body as the client sends it, with back-pressure.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use hyper::body::{Body, Incoming};
use tokio::io::AsyncWrite;

use super::{buffers, wire::Wire};
use crate::http1;

/// How the body's end is told to the endpoint; always our own choice, never the client's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFraming {
    None,
    Length(u64),
    Chunked,
}

/// When the body may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    None,
    /// The client waits for `100 Continue`: its body is not touched until the endpoint wants it.
    Continue,
}

/// A request on its way.
#[derive(Debug)]
pub struct Upload {
    /// The head, then the framing between parts of the body.
    framing_bytes: Vec<u8>,
    written: usize,
    data: Bytes,
    tail: &'static [u8],
    body: Option<Incoming>,
    declared: RequestFraming,
    /// Of a declared length, what has not been framed yet.
    left: u64,
    end: End,
    expectation: Expectation,
    trailers: Option<HeaderMap>,
    /// Bytes at the start of `framing_bytes` that are the head, kept there while it may be sent again.
    head_length: usize,
    sent: u64,
    waits_for: WaitsFor,
    replay: Replay,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// For the endpoint to take bytes.
    Endpoint,
    /// For the client to send bytes.
    Client,
    /// For the endpoint's `100 Continue`.
    Continue,
    /// For nothing: the request is out.
    Nothing,
}

/// Whether the end of the body has been framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ahead,
    Framed,
}

/// What has been sent of the body, in case it must be sent again.
#[derive(Debug)]
enum Replay {
    Kept {
        parts: Vec<Bytes>,
        size: usize,
        limit: usize,
        next: usize,
    },
    TooLarge,
}

/// Why a request could not be sent whole.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("the endpoint took no more of the request")]
    Write(#[source] io::Error),
    #[error("the client broke its request off")]
    Client(#[source] hyper::Error),
    #[error("the client's body is shorter or longer than it declared")]
    Length,
}

impl Upload {
    /// `head` is a complete request head whose framing fields say what `framing` says.
    pub fn new(
        head: Vec<u8>,
        framing: RequestFraming,
        body: Option<Incoming>,
        expectation: Expectation,
        limit: usize,
    ) -> Self {
        let mut upload = Self {
            head_length: head.len(),
            framing_bytes: head,
            written: 0,
            data: Bytes::new(),
            tail: b"",
            body: body.filter(|_| framing != RequestFraming::None),
            declared: framing,
            left: 0,
            end: End::Ahead,
            expectation,
            trailers: None,
            sent: 0,
            waits_for: WaitsFor::Endpoint,
            replay: Replay::Kept {
                parts: Vec::new(),
                size: 0,
                limit,
                next: 0,
            },
        };
        upload.start();
        upload
    }

    fn start(&mut self) {
        self.left = if let RequestFraming::Length(length) = self.declared {
            length
        } else {
            0
        };
        self.end = if self.declared == RequestFraming::None {
            End::Framed
        } else {
            End::Ahead
        };
        self.waits_for = WaitsFor::Endpoint;
    }

    pub fn waits_for(&self) -> WaitsFor {
        self.waits_for
    }

    pub fn is_done(&self) -> bool {
        self.waits_for == WaitsFor::Nothing
    }

    /// Bytes that the kernel has taken on this connection.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the kernel has taken no byte of it on this connection.
    pub fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// The endpoint asked for the body, or has had its time to refuse it.
    pub fn go_on(&mut self) {
        self.expectation = Expectation::None;
    }

    /// Starts over for another connection; `false` when what was sent has not been kept.
    pub fn rewind(&mut self) -> bool {
        let Replay::Kept { next, .. } = &mut self.replay else {
            return false;
        };
        *next = 0;
        self.framing_bytes.truncate(self.head_length);
        self.written = 0;
        self.data = Bytes::new();
        self.tail = b"";
        self.sent = 0;
        self.start();
        true
    }

    /// Sends what can be sent now.
    ///
    /// Cancellation: this is a step of a state machine; nothing is lost between two calls.
    pub fn poll(&mut self, context: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<(), UploadError>> {
        if self.sent == 0 && self.end == End::Ahead && self.data.is_empty() {
            // A body that is there already travels with the head in one write.
            if let Poll::Ready(Some(part)) = self.poll_part(context)? {
                self.frame(part)?;
            }
        }
        loop {
            self.waits_for = WaitsFor::Endpoint;
            ready!(self.poll_flush(context, wire)).map_err(UploadError::Write)?;
            let Some(part) = ready!(self.poll_part(context))? else {
                self.waits_for = WaitsFor::Nothing;
                return Poll::Ready(Ok(()));
            };
            self.frame(part)?;
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>, wire: &mut Wire) -> Poll<io::Result<()>> {
        loop {
            let head = &self.framing_bytes[self.written..];
            let left = head.len() + self.data.len() + self.tail.len();
            if left == 0 {
                // TLS may hold records back that the socket had no room for.
                return Pin::new(&mut *wire).poll_flush(context);
            }
            let written = if left == head.len() {
                ready!(Pin::new(&mut *wire).poll_write(context, head))?
            } else {
                let slices = [IoSlice::new(head), IoSlice::new(&self.data), IoSlice::new(self.tail)];
                ready!(Pin::new(&mut *wire).poll_write_vectored(context, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.sent += written as u64;
        let of_head = written.min(self.framing_bytes.len() - self.written);
        self.written += of_head;
        written -= of_head;
        let of_data = written.min(self.data.len());
        self.data.advance(of_data);
        self.tail = &self.tail[written - of_data..];
    }

    /// The next part of the body; `None` at the end.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Part>, UploadError>> {
        if let Replay::Kept { parts, next, .. } = &mut self.replay
            && let Some(part) = parts.get(*next)
        {
            *next += 1;
            return Poll::Ready(Ok(Some(Part::Data(part.clone()))));
        }
        if self.end == End::Framed {
            return Poll::Ready(Ok(None));
        }
        if self.expectation == Expectation::Continue {
            self.waits_for = WaitsFor::Continue;
            return Poll::Pending;
        }
        self.waits_for = WaitsFor::Client;
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(Some(Part::End)));
        };
        match ready!(Pin::new(body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.remember(&data);
                    Poll::Ready(Ok(Some(Part::Data(data))))
                }
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    Poll::Ready(Ok(Some(Part::Data(Bytes::new()))))
                }
            },
            Some(Err(error)) => Poll::Ready(Err(UploadError::Client(error))),
            None => {
                self.body = None;
                Poll::Ready(Ok(Some(Part::End)))
            }
        }
    }

    /// Keeps a part for a possible second sending.
    fn remember(&mut self, data: &Bytes) {
        let Replay::Kept {
            parts,
            size,
            limit,
            next,
        } = &mut self.replay
        else {
            return;
        };
        *size += data.len();
        if *size > *limit {
            self.replay = Replay::TooLarge;
        } else {
            parts.push(data.clone());
            *next = parts.len();
        }
    }

    /// Makes a part ready to be written, behind the head if that is still unsent.
    fn frame(&mut self, part: Part) -> Result<(), UploadError> {
        if self.written >= self.head_length {
            if matches!(self.replay, Replay::TooLarge) {
                self.head_length = 0;
            }
            self.framing_bytes.truncate(self.head_length);
            self.written = self.head_length;
        }
        match part {
            Part::Data(data) if data.is_empty() => {}
            Part::Data(data) => {
                if self.declared == RequestFraming::Chunked {
                    http1::chunk_head(&mut self.framing_bytes, data.len());
                    self.tail = http1::CHUNK_END;
                } else {
                    self.left = self.left.checked_sub(data.len() as u64).ok_or(UploadError::Length)?;
                    if self.left == 0 {
                        self.end = End::Framed;
                    }
                }
                self.data = data;
            }
            Part::End => {
                self.end = End::Framed;
                if self.declared == RequestFraming::Chunked {
                    http1::last_chunk(&mut self.framing_bytes, self.trailers.as_ref());
                } else if self.left > 0 {
                    return Err(UploadError::Length);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        buffers::give_write(std::mem::take(&mut self.framing_bytes));
    }
}

enum Part {
    Data(Bytes),
    End,
}
