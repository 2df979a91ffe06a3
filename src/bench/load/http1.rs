//! One HTTP/1.1 connection of a client.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;

use super::answer::{Answer, Decoder, NoAnswer};

/// Room for the head and a small body in one read.
const READ_SIZE: usize = 16 * 1024;

/// Less room than this is not worth a system call.
const MIN_READ_SIZE: usize = 4 * 1024;

/// Where long bodies stop to make reads larger.
const MAX_READ_SIZE: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    buffer: BytesMut,
    read_size: usize,
    decoder: Decoder,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn new(stream: S, method: Method) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            read_size: READ_SIZE,
            decoder: Decoder::new(method),
        }
    }

    /// Sends the request and reads the answer, both at once: an answer may come before the body is sent.
    ///
    /// # Errors
    /// The connection has ended before the answer did, or what came was no answer.
    ///
    /// Cancellation: the connection must not be used again.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer, NoAnswer> {
        let mut sending = Sending::Write(request);
        poll_fn(|context| {
            sending.poll(&mut self.stream, context);
            self.poll_answer(context).map_ok(|answer| Answer {
                reusable: answer.reusable && matches!(sending, Sending::Done),
                ..answer
            })
        })
        .await
    }

    /// Until the connection is of no further use, as it is when anything comes where nothing was asked, also its end.
    ///
    /// Cancellation: nothing is lost but what would make the connection useless.
    pub async fn spoilt(&mut self) {
        poll_fn(|context| self.poll_read(context).map(|_| ())).await;
    }

    /// Says over TLS that nothing more comes; the socket is closed when this value is dropped.
    ///
    /// Cancellation: it is not said.
    pub async fn close(mut self) {
        // Whoever has gone already need not be told.
        let _ = self.stream.shutdown().await;
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer, NoAnswer>> {
        loop {
            if let Some(answer) = self.decoder.decode(&mut self.buffer)? {
                return Poll::Ready(Ok(answer));
            }
            match ready!(self.poll_read(context)) {
                Ok(0) => return Poll::Ready(self.decoder.end()),
                Ok(_) if self.buffer.len() == self.buffer.capacity() => {
                    self.read_size = (2 * self.read_size).min(MAX_READ_SIZE);
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(NoAnswer)),
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // An empty buffer begins again at the front of its memory, which no head holds any more.
        let spare = self.buffer.capacity() - self.buffer.len();
        if self.buffer.is_empty() || spare < MIN_READ_SIZE {
            self.buffer.reserve(self.read_size);
        }
        poll_read_buf(Pin::new(&mut self.stream), context, &mut self.buffer)
    }
}

/// How far the request is.
#[derive(Debug)]
enum Sending<'a> {
    Write(&'a [u8]),
    Flush,
    Done,
    /// It cannot be sent; what the subject said before may still be read.
    Refused,
}

impl Sending<'_> {
    fn poll(&mut self, stream: &mut (impl AsyncWrite + Unpin), context: &mut Context<'_>) {
        loop {
            *self = match self {
                Self::Write([]) => Self::Flush,
                Self::Write(left) => match Pin::new(&mut *stream).poll_write(context, left) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(written @ 1..)) => Self::Write(&left[written..]),
                    Poll::Ready(_) => Self::Refused,
                },
                Self::Flush => match Pin::new(&mut *stream).poll_flush(context) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(())) => Self::Done,
                    Poll::Ready(Err(_)) => Self::Refused,
                },
                Self::Done | Self::Refused => return,
            };
        }
    }
}
