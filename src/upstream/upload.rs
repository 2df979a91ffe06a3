//! The way of a request to the endpoint: its head, then its body as the client sends it, with back-pressure.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::{
    request_body::{Part, RequestBody, RequestFraming, WaitsFor},
    wire::Wire,
};
use crate::{
    downstream::RequestBroken,
    http1,
    net::{self, Shortcut},
    worker::buffers,
};

/// A request on its way.
#[derive(Debug)]
pub struct Upload {
    /// The head, then the framing between parts of the body.
    framing_bytes: Vec<u8>,
    written: usize,
    data: Bytes,
    tail: &'static [u8],
    body: RequestBody,
    /// The way of a long body past us. Boxed, since most requests have none.
    shortcut: Option<Box<Shortcut>>,
    /// Bytes at the start of `framing_bytes` that are the head, kept there while it may be sent again.
    head_length: usize,
    sent: u64,
    waits_for: WaitsFor,
}

/// Why a request could not be sent whole.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("the endpoint took no more of the request")]
    Write(#[source] io::Error),
    #[error("the client broke its request off")]
    Client(#[source] RequestBroken),
    #[error("the client's body is shorter or longer than it declared")]
    Length,
}

impl Upload {
    /// `head` is a complete request head whose framing fields say what the framing of `body` says.
    pub(super) fn new(head: Vec<u8>, body: RequestBody) -> Self {
        Self {
            head_length: head.len(),
            framing_bytes: head,
            written: 0,
            data: Bytes::new(),
            tail: b"",
            body,
            shortcut: None,
            sent: 0,
            waits_for: WaitsFor::Endpoint,
        }
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
        self.body.go_on();
    }

    /// Starts over for another connection; `false` when what was sent has not been kept.
    pub fn rewind(&mut self) -> bool {
        if !self.body.rewind() {
            return false;
        }
        self.framing_bytes.truncate(self.head_length);
        self.written = 0;
        self.data = Bytes::new();
        self.tail = b"";
        self.sent = 0;
        self.waits_for = WaitsFor::Endpoint;
        true
    }

    /// Sends what can be sent now.
    ///
    /// Cancellation: this is a step of a state machine; nothing is lost between two calls.
    pub fn poll(&mut self, context: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<(), UploadError>> {
        if self.sent == 0 && !self.body.is_ended() && self.data.is_empty() {
            // A body that is there already travels with the head in one write.
            if let Poll::Ready(Some(part)) = self.body.poll_part(context, &mut self.waits_for, None)? {
                self.frame(part);
            }
        }
        loop {
            self.waits_for = WaitsFor::Endpoint;
            ready!(self.poll_flush(context, wire)).map_err(UploadError::Write)?;
            let shortcut = self.body.is_long() && matches!(wire, Wire::Plain(_));
            let shortcut = shortcut.then(|| &**self.shortcut.get_or_insert_default());
            let Some(part) = ready!(self.body.poll_part(context, &mut self.waits_for, shortcut))? else {
                self.waits_for = WaitsFor::Nothing;
                return Poll::Ready(Ok(()));
            };
            self.frame(part);
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
            } else if let (Some(shortcut), true) = (&self.shortcut, net::stands_in(&self.data)) {
                ready!(shortcut.poll_write(wire.tcp(), &self.data, context))?
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

    /// Makes a part ready to be written, behind the head if that is still unsent.
    fn frame(&mut self, part: Part) {
        if self.written >= self.head_length {
            if !self.body.is_kept() {
                self.head_length = 0;
            }
            self.framing_bytes.truncate(self.head_length);
            self.written = self.head_length;
        }
        let chunked = self.body.framing() == RequestFraming::Chunked;
        match part {
            Part::Data(data) => {
                if chunked {
                    http1::chunk_head(&mut self.framing_bytes, data.len());
                    self.tail = http1::CHUNK_END;
                }
                self.data = data;
            }
            Part::End if chunked => http1::last_chunk(&mut self.framing_bytes, self.body.trailers()),
            Part::End => {}
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        buffers::give_write(std::mem::take(&mut self.framing_bytes));
    }
}
