//! The client's socket as the HTTP engine sees it: it passes everything on, and notes what is read and written.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{
    Client,
    raw::TooLarge,
    state::{ClientEnd, State},
};
use crate::net;

/// Up to here a head and its body are copied together and written by `send`, which costs 0.3 µs less than `writev`.
const SMALL: usize = 4096;

thread_local! {
    static COALESCED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(SMALL));
}

/// A client's byte stream, plain or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether a client may close its side and still get its answer. Inside TLS that is the end (RFC 8446 6.1 allows it,
    /// nobody does it).
    const HALF_CLOSE: bool;

    fn tcp(&self) -> &TcpStream;

    /// Sends what TLS owes the client before a close; for a plain socket the close itself says it.
    fn poll_close_notify(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Stream for TcpStream {
    const HALF_CLOSE: bool = true;

    fn tcp(&self) -> &TcpStream {
        self
    }

    fn poll_close_notify(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Boxed, since it is some 1.2 KiB, and every level of a future holds its own copy of what it is given.
impl Stream for Box<TlsStream<TcpStream>> {
    const HALF_CLOSE: bool = false;

    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn poll_close_notify(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(context)
    }
}

/// Which engine is above, since only HTTP/1 writes nothing but answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Http1,
    Http2,
}

#[derive(Debug)]
pub(super) struct ClientIo<S> {
    pub(super) stream: S,
    /// Read ahead of the engine.
    pub(super) prefix: Bytes,
    state: Rc<State>,
    engine: Engine,
    /// Whose shortcut what is written may have taken.
    client: Rc<Client>,
}

/// Looks whether the client has ended its side, without taking anything of what it may have sent. No system call unless
/// the reactor has seen something.
fn poll_ended(tcp: &TcpStream, context: &mut Context<'_>) -> Option<ClientEnd> {
    let mut byte = [0];
    match tcp.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
        Poll::Ready(Ok(0)) => Some(ClientEnd::Closed),
        Poll::Ready(Err(_)) => Some(ClientEnd::Lost),
        Poll::Ready(Ok(_)) | Poll::Pending => None,
    }
}

impl<S: Stream> ClientIo<S> {
    pub(super) fn new(stream: S, prefix: Bytes, state: Rc<State>, engine: Engine, client: Rc<Client>) -> Self {
        Self {
            stream,
            prefix,
            state,
            engine,
            client,
        }
    }

    /// Whether what the engine writes now is an error answer of its own making, to a head that it could not read. We
    /// say better what was wrong.
    fn is_unasked(&self) -> bool {
        self.engine == Engine::Http1 && !self.state.is_answering()
    }

    fn swallow(&self, bytes: &[u8]) {
        let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(status) = status.and_then(|digits| digits.parse().ok()) {
            self.state.note_refused(status);
        }
    }

    /// Writes what is not in our memory, if that is what these bytes stand in for.
    fn poll_write_shortcut(&self, context: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        let shortcut = self.client.shortcut.get()?;
        net::stands_in(bytes).then(|| shortcut.poll_write(self.stream.tcp(), bytes, context))
    }

    /// How many of these are what they are.
    fn ahead_of_stand_in(&self, slices: &[IoSlice<'_>]) -> usize {
        if self.client.shortcut.get().is_none() {
            return slices.len();
        }
        let stand_in = slices.iter().position(|slice| net::stands_in(slice));
        stand_in.unwrap_or(slices.len())
    }

    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &result {
            Poll::Pending => self.state.note_write_blocked(),
            Poll::Ready(_) => self.state.note_write_progress(),
        }
        result
    }
}

impl<S: Stream> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.prefix.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        } else {
            let length = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(&self.prefix[..length]);
            self.prefix.advance(length);
            if self.prefix.is_empty() {
                // What is empty still holds its memory.
                self.prefix = Bytes::new();
            }
        }
        let read = &buffer.filled()[before..];
        if self.engine == Engine::Http1 && !read.is_empty() {
            self.state
                .read(read)
                .map_err(|TooLarge| io::Error::from(io::ErrorKind::InvalidData))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_unasked() {
            self.swallow(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = match self.poll_write_shortcut(context, bytes) {
            Some(result) => result,
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        };
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_unasked() {
            slices.first().into_iter().for_each(|slice| self.swallow(slice));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let slices = match (self.ahead_of_stand_in(slices), slices) {
            (0, [stand_in, ..]) => return self.poll_write(context, stand_in),
            (ahead, slices) => &slices[..ahead],
        };
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let result = if length <= SMALL {
            COALESCED.with_borrow_mut(|whole| {
                whole.clear();
                slices.iter().for_each(|slice| whole.extend_from_slice(slice));
                Pin::new(&mut self.stream).poll_write(context, whole)
            })
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(context, slices)
        };
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Ok(())) => {
                self.state.flushed();
                // The engine reads nothing while it waits for an answer; a client that leaves is noticed here.
                if S::HALF_CLOSE
                    && self.engine == Engine::Http1
                    && self.state.awaits_answer()
                    && let Some(end) = poll_ended(self.stream.tcp(), context)
                {
                    self.state.note_client_ended(end);
                }
                Poll::Ready(Ok(()))
            }
            result => self.note(result),
        }
    }

    /// The connection is closed by its owner, in the way that its end demands.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
