//! Answers on HTTP/2 streams whose client takes nothing.
//!
//! A stream whose window is shut is not polled by the engine, so its body cannot notice by itself that the client has
//! stalled; meanwhile it holds a connection to the endpoint. The other streams of the client may be fine, so its
//! connection is no measure.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::upstream::{BodyError, ResponseBody};

/// The streams of one worker whose answers are on their way.
#[derive(Debug, Default)]
pub(super) struct Streams(RefCell<Vec<Weak<Stream>>>);

/// One answer, which its engine polls and the sweep may cut.
#[derive(Debug)]
pub(super) struct Stream {
    body: RefCell<ResponseBody>,
    /// Since when it is the client's turn to take what it was given.
    offered: Cell<Option<Instant>>,
    write_stall: Duration,
}

impl Streams {
    /// Puts a body under watch, which may offer nothing for `write_stall`.
    pub(super) fn watch(&self, body: ResponseBody, write_stall: Duration) -> Rc<Stream> {
        let stream = Rc::new(Stream {
            body: RefCell::new(body),
            offered: Cell::new(None),
            write_stall,
        });
        self.0.borrow_mut().push(Rc::downgrade(&stream));
        stream
    }

    /// Cuts the streams whose client has taken nothing for too long.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|stream| {
            let Some(stream) = stream.upgrade() else { return false };
            let stalls = |since: Instant| now.saturating_duration_since(since) >= stream.write_stall;
            if stream.offered.get().is_some_and(stalls) {
                stream.body.borrow_mut().cut();
                return false;
            }
            true
        });
    }
}

impl Stream {
    pub(super) fn poll_frame(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut *self.body.borrow_mut()).poll_frame(context);
        self.offered
            .set(matches!(frame, Poll::Ready(Some(Ok(_)))).then(Instant::now));
        frame
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.borrow().is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.borrow().size_hint()
    }
}
