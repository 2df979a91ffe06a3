//! A client's byte stream, and what the engine of HTTP/2 sees of it.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::state::State;

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

/// The socket as the engine of HTTP/2 sees it: it passes everything on, and notes what is written.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    pub(super) stream: S,
    /// Read ahead of the engine.
    pub(super) prefix: Bytes,
    state: Rc<State>,
}

impl<S: Stream> ClientIo<S> {
    pub(super) fn new(stream: S, prefix: Bytes, state: Rc<State>) -> Self {
        Self { stream, prefix, state }
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
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        if self.prefix.is_empty() {
            // What is empty still holds its memory.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
