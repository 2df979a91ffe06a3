//! The body of an answer on its way to the client: read only as fast as the client takes it.
//!
//! While the request is still being sent, the answer's body drives the rest of the upload too, so that early answers
//! and full duplex need no task of their own.
//!
//! What is long and of a known length does not come up to us where neither side wraps it: the pieces of such a body stand in
//! for bytes that are spliced ([`Shortcut`]), and everything that holds for a body holds for them.

mod streaming;

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use streaming::Streaming;

use super::{connection::Connection, exchange::Sending, http2::Http2Body, tunnel::Tunnel};
use crate::{
    http1::{ChunkedError, Framing, Part},
    net::Shortcut,
    pool::{CloseReason, Pooled},
};

/// The body of an endpoint's answer.
#[derive(Debug)]
pub struct ResponseBody(State);

#[derive(Debug)]
enum State {
    /// What is left is in memory, and the connection has gone back already.
    Whole(Bytes),
    Streaming(Box<Streaming>),
    Http2(Box<Http2Body>),
    /// No body: the connection is no longer HTTP.
    Tunnel(Tunnel),
    /// Given up on; the client is told with the next poll.
    Cut,
    Failed,
}

/// Whether a connection is to live on, as the one side tells the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    Yes,
    No,
}

/// Why an answer's body broke off; the client is not left to believe that it is complete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the endpoint's answer broke off within its body")]
    Truncated,
    #[error("the endpoint's answer is malformed within its body: {0}")]
    Malformed(ChunkedError),
    #[error("the endpoint did not go on with its answer in time")]
    BetweenBytesTimeout,
    #[error("the request took longer than its time limit")]
    RequestTimeout,
    #[error("the client's request body ended early or was malformed")]
    ClientBody,
    #[error("the client took nothing of the answer for too long")]
    ClientStalled,
    #[error("the endpoint reset the stream within its answer ({0})")]
    Reset(h2::Reason),
    #[error("the endpoint's answer was not HTTP/2 as it should be")]
    Protocol,
}

impl ResponseBody {
    /// Gives the endpoint's connection up, in the middle of the body.
    pub fn cut(&mut self) {
        match &mut self.0 {
            State::Streaming(streaming) => {
                streaming.abort(CloseReason::Timeout, BodyError::ClientStalled);
            }
            // Resets the stream.
            State::Http2(_) => {}
            State::Whole(_) | State::Tunnel(_) | State::Cut | State::Failed => return,
        }
        self.0 = State::Cut;
    }

    /// Gives it a way past us, which has to be that of the task that polls it, if it is long enough for one.
    pub fn shorten<'a>(&mut self, shortcut: impl FnOnce() -> Option<&'a Rc<Shortcut>>) {
        if let State::Streaming(streaming) = &mut self.0
            && streaming.is_long()
        {
            streaming.take_shortcut(shortcut());
        }
    }

    pub(super) fn empty() -> Self {
        Self(State::Whole(Bytes::new()))
    }

    pub(super) fn http2(body: Http2Body) -> Self {
        Self(State::Http2(Box::new(body)))
    }

    /// No body, but a connection that is no longer HTTP.
    pub(super) fn tunnel(connection: Pooled<Connection>) -> Self {
        Self(State::Tunnel(Tunnel::new(connection)))
    }

    /// The tunnel that the answer opened, if it did.
    pub fn into_tunnel(self) -> Result<Tunnel, Self> {
        match self.0 {
            State::Tunnel(tunnel) => Ok(tunnel),
            state => Err(Self(state)),
        }
    }

    /// The body that follows a head which has just been read. If all of it came with the head, the connection goes back
    /// to its pool here and now.
    pub(super) fn new(
        mut connection: Pooled<Connection>,
        framing: Framing,
        keep_alive: KeepAlive,
        sending: Box<Sending>,
        worker: usize,
    ) -> Self {
        let in_memory = match framing {
            Framing::None => Some(0),
            Framing::Length(length) => usize::try_from(length)
                .ok()
                .filter(|length| *length <= connection.read.len()),
            Framing::Chunked | Framing::UntilClose => None,
        };
        if let Some(length) = in_memory
            && sending.upload.is_done()
        {
            let body = connection.read.split_to(length).freeze();
            streaming::finish(connection, keep_alive, &sending, worker);
            return Self(State::Whole(body));
        }
        let streaming = Streaming::new(connection, framing, keep_alive, sending, worker);
        Self(State::Streaming(Box::new(streaming)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let streaming = match &mut self.0 {
            State::Whole(body) if body.is_empty() => return Poll::Ready(None),
            State::Whole(body) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(body))))),
            State::Streaming(streaming) => streaming,
            State::Http2(body) => return body.poll_frame(context),
            State::Tunnel(_) => return Poll::Ready(None),
            State::Cut => {
                self.0 = State::Failed;
                return Poll::Ready(Some(Err(BodyError::ClientStalled)));
            }
            State::Failed => return Poll::Ready(None),
        };
        let frame = match ready!(streaming.poll_part(context)) {
            Ok(Some(Part::Data(data))) => Frame::data(data),
            Ok(Some(Part::Trailers(trailers))) => trailers_frame(trailers),
            Ok(Some(Part::End) | None) => {
                self.0 = State::Whole(Bytes::new());
                return Poll::Ready(None);
            }
            Err(error) => {
                self.0 = State::Failed;
                return Poll::Ready(Some(Err(error)));
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Whole(body) => body.is_empty(),
            State::Streaming(streaming) => streaming.has_ended(),
            State::Http2(body) => body.is_end_stream(),
            State::Tunnel(_) => true,
            State::Cut | State::Failed => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Whole(body) => SizeHint::with_exact(body.len() as u64),
            State::Streaming(streaming) => streaming.size_hint(),
            State::Http2(body) => body.size_hint(),
            State::Tunnel(_) => SizeHint::with_exact(0),
            State::Cut | State::Failed => SizeHint::default(),
        }
    }
}

fn trailers_frame(trailers: HeaderMap) -> Frame<Bytes> {
    Frame::trailers(trailers)
}
