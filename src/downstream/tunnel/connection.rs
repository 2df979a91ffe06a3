//! A client's whole connection that has become a tunnel.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    downstream::{closing, io::Stream},
    net,
    tunnel::Side,
    worker::Timers,
};

#[derive(Debug)]
pub(in crate::downstream) struct Connection<S> {
    stream: S,
    /// What was read of it with the request.
    early: Bytes,
    timers: Timers,
    received: Received,
    sent: Sent,
}

/// Whether the client has ended what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    Open,
    End,
}

/// Whether the client has been told that it gets no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Open,
    End,
}

impl<S: Stream> Connection<S> {
    pub(in crate::downstream) fn new(stream: S, early: Bytes, timers: Timers) -> Self {
        Self {
            stream,
            // An empty rest would still hold the engine's whole buffer.
            early: if early.is_empty() { Bytes::new() } else { early },
            timers,
            received: Received::Open,
            sent: Sent::Open,
        }
    }
}

impl<S: Stream> Side for Connection<S> {
    async fn close(self) {
        match (self.received, self.sent) {
            (Received::End, Sent::End) => {}
            // A close with something unread would be a reset, and could take what the client has not got yet with it.
            (Received::Open, Sent::End) => Box::pin(closing::linger(self.stream, &[], &self.timers)).await,
            _ => Box::pin(closing::close(self.stream, &self.timers)).await,
        }
    }

    fn is_gone(&self) -> bool {
        net::is_broken(self.stream.tcp())
    }

    fn reset(self) {
        net::reset_on_close(self.stream.tcp());
    }
}

impl<S: Stream> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let length = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early[..length]);
            self.early.advance(length);
            if self.early.is_empty() {
                self.early = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() == before {
            self.received = Received::End;
        }
        Poll::Ready(result)
    }
}

impl<S: Stream> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        self.sent = Sent::End;
        Poll::Ready(Ok(()))
    }
}
