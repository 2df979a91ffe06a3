//! The socket under the HTTP/2 engine: it passes everything on, and watches the frames in both directions.
//!
//! The connection's owner holds the other handle. Once the guard has had enough, the engine gets nothing more to read,
//! and the owner, who looks after each poll of it, ends the connection.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    super::{
        io::{ClientIo, Stream},
        state::State,
    },
    end::Http2End,
    frames::Frames,
    guard::Guard,
};

/// A handle to the socket: one for the engine, one for the owner of the connection.
#[derive(Debug)]
pub(super) struct Wire<S>(Rc<RefCell<Watched<S>>>);

#[derive(Debug)]
struct Watched<S> {
    io: ClientIo<S>,
    state: Rc<State>,
    received: Frames,
    sent: Frames,
    guard: Guard,
}

/// What is left of a connection when its engine is gone.
pub(super) struct Rest<S> {
    pub(super) stream: S,
    pub(super) last_stream: u32,
    /// Whether a frame of ours may follow on what was written.
    pub(super) is_at_border: bool,
}

impl<S> Wire<S> {
    pub(super) fn new(io: ClientIo<S>, state: Rc<State>) -> Self {
        let config = &state.listener.config;
        let guard = Guard::new(&config.http2, config.timeouts.write_stall, state.now());
        // The preface, to begin with.
        state.begin_block();
        Self(Rc::new(RefCell::new(Watched {
            io,
            state,
            received: Frames::of_client(),
            sent: Frames::of_server(),
            guard,
        })))
    }

    /// The owner's handle.
    pub(super) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }

    /// Why the connection has to end.
    pub(super) fn end(&self) -> Option<Http2End> {
        self.0.borrow().guard.end()
    }

    /// The socket, if this is the last handle.
    pub(super) fn into_rest(self) -> Option<Rest<S>> {
        let watched = Rc::into_inner(self.0)?.into_inner();
        Some(Rest {
            stream: watched.io.stream,
            last_stream: watched.guard.last_stream(),
            is_at_border: watched.sent.is_at_border(),
        })
    }
}

impl<S> Watched<S> {
    fn note_received(&mut self, bytes: &[u8]) {
        let (guard, now) = (&mut self.guard, self.state.now());
        self.received.walk(bytes, |frame| guard.received(&frame, now));
        guard.look_after(self.state.in_flight(), now);
        if self.guard.is_within_head() || self.received.is_within_control() {
            self.state.begin_block();
        } else {
            self.state.end_block();
        }
        self.note_end();
    }

    fn note_sent(&mut self, bytes: &[u8]) {
        let (guard, now) = (&mut self.guard, self.state.now());
        self.sent.walk(bytes, |frame| guard.sent(&frame, now));
        self.note_end();
    }

    /// What the engine has begun for requests that it has handed out already shall not go on.
    fn note_end(&self) {
        if self.guard.end().is_some() {
            self.state.note_excess();
        }
    }
}

impl<S: Stream> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let watched = &mut *self.0.borrow_mut();
        if watched.guard.end().is_some() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut watched.io).poll_read(context, buffer))?;
        watched.note_received(&buffer.filled()[before..]);
        match watched.guard.end() {
            Some(_) => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: Stream> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let watched = &mut *self.0.borrow_mut();
        let written = ready!(Pin::new(&mut watched.io).poll_write(context, bytes))?;
        watched.note_sent(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let watched = &mut *self.0.borrow_mut();
        let written = ready!(Pin::new(&mut watched.io).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let part = left.min(slice.len());
            watched.note_sent(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_shutdown(context)
    }
}
