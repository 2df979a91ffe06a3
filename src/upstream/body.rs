//! The body of an answer on its way to the client: read only as fast as the client takes it.
//!
//! While the request is still being sent, the answer's body drives the rest of the upload too, so that early answers
//! and full duplex need no task of their own.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio_util::io::poll_read_buf;

use super::{
    buffers, connection::Connection, exchange::Sending, http2::Http2Body, tunnel::Tunnel, upload::UploadError,
    wire::Wire,
};
use crate::{
    http1::{ChunkedDecoder, ChunkedError, ChunkedLimits, Framing, Part},
    net::{Shortcut, Taken},
    pool::{CloseReason, Pooled},
};

/// One read of a body that did not come with its head. 64 KiB against 16 KiB: a third less processor time per MiB.
const BODY_READ: usize = 64 * 1024;
/// From here on, what did not come with its head is spliced: SPLICE_FIGURE.
const LONG: u64 = 64 * 1024;

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

#[derive(Debug)]
struct Streaming {
    /// Invariant: `Some` until the end of the body.
    connection: Option<Pooled<Connection>>,
    decoder: Decoder,
    keep_alive: KeepAlive,
    sending: Box<Sending>,
    upload_failed: bool,
    worker: usize,
    /// Bytes came since the timer was set.
    progress: bool,
    /// The way past us.
    shortcut: Option<Rc<Shortcut>>,
}

#[derive(Debug)]
enum Decoder {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
    Ended,
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

    /// Whether so much of it has not been read that a shortcut would be worth while.
    pub fn is_long(&self) -> bool {
        let State::Streaming(streaming) = &self.0 else {
            return false;
        };
        let (Decoder::Length(left), Some(connection)) = (&streaming.decoder, &streaming.connection) else {
            return false;
        };
        matches!(connection.wire, Wire::Plain(_)) && left.saturating_sub(connection.read.len() as u64) >= LONG
    }

    /// Gives it a way to its client, which is that of the task that polls it.
    pub fn take_shortcut(&mut self, shortcut: &Rc<Shortcut>) {
        if let State::Streaming(streaming) = &mut self.0 {
            streaming.shortcut = Some(Rc::clone(shortcut));
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
        let (decoder, in_memory) = match framing {
            Framing::None => (Decoder::Ended, Some(0)),
            Framing::Length(length) => {
                let in_memory = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= connection.read.len());
                (Decoder::Length(length), in_memory)
            }
            Framing::Chunked => (
                Decoder::Chunked(Box::new(ChunkedDecoder::new(&ChunkedLimits::default()))),
                None,
            ),
            Framing::UntilClose => (Decoder::UntilClose, None),
        };
        if let Some(length) = in_memory
            && sending.upload.is_done()
        {
            let body = connection.read.split_to(length).freeze();
            finish(connection, keep_alive, &sending, worker);
            return Self(State::Whole(body));
        }
        Self(State::Streaming(Box::new(Streaming {
            connection: Some(connection),
            decoder,
            keep_alive,
            sending,
            upload_failed: false,
            worker,
            progress: true,
            shortcut: None,
        })))
    }
}

/// Ends an exchange whose answer was read to its border.
fn finish(mut connection: Pooled<Connection>, keep_alive: KeepAlive, sending: &Sending, worker: usize) {
    if !connection.read.is_empty() {
        connection.close(CloseReason::UnexpectedBytes);
    } else if !sending.upload.is_done() {
        connection.close(CloseReason::EarlyResponse);
    } else if let Some(reason) = sending.last_use {
        connection.close(reason);
    } else if keep_alive == KeepAlive::No {
        connection.close(CloseReason::EndpointAsked);
    } else {
        buffers::give_read(std::mem::take(&mut connection.read));
        connection.check_in(worker, sending.timer.now());
    }
}

impl Streaming {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Part>, BodyError>> {
        loop {
            self.drive_upload(context)?;
            if let Some(part) = self.decode()? {
                return Poll::Ready(Ok(self.border(part)));
            }
            if let Some(taken) = self.poll_shortcut(context) {
                let stand_in = ready!(taken)?;
                return Poll::Ready(Ok(self.border(Part::Data(stand_in))));
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Ok(None));
            };
            let wanted = match self.decoder {
                Decoder::Length(left) => usize::try_from(left).unwrap_or(BODY_READ).min(BODY_READ),
                _ => BODY_READ,
            };
            connection.read.reserve(wanted);
            let connection = &mut **connection;
            match poll_read_buf(Pin::new(&mut connection.wire), context, &mut connection.read) {
                Poll::Ready(Ok(n)) if n > 0 => self.progress = true,
                Poll::Ready(Ok(_)) if matches!(self.decoder, Decoder::UntilClose) => self.decoder = Decoder::Ended,
                Poll::Ready(result) => return Poll::Ready(Err(self.broken_off(&result))),
                Poll::Pending => return self.watch_time(context).map(Err),
            }
        }
    }

    /// Takes what comes without reading it, and gives what stands in for it; `None` where it has to be read.
    fn poll_shortcut(&mut self, context: &mut Context<'_>) -> Option<Poll<Result<Bytes, BodyError>>> {
        let (Some(shortcut), Decoder::Length(left)) = (&self.shortcut, &mut self.decoder) else {
            return None;
        };
        let Wire::Plain(wire) = &self.connection.as_ref()?.wire else {
            return None;
        };
        if !self.sending.upload.is_done() {
            return None;
        }
        Some(match shortcut.poll_take(wire, *left, context) {
            Poll::Ready(Ok(Taken::NoPipe)) => return None,
            Poll::Ready(Ok(Taken::Bytes(stand_in))) if !stand_in.is_empty() => {
                *left -= stand_in.len() as u64;
                self.progress = true;
                Poll::Ready(Ok(stand_in))
            }
            Poll::Ready(Ok(Taken::Bytes(_))) => Poll::Ready(Err(self.broken_off(&Ok(0)))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.broken_off(&Err(error)))),
            // It is the client's turn, and the endpoint is not to blame for the time that it takes.
            Poll::Ready(Ok(Taken::Occupied)) => {
                self.progress = true;
                Poll::Pending
            }
            Poll::Pending => self.watch_time(context).map(Err),
        })
    }

    /// The connection has ended within the body.
    fn broken_off(&mut self, result: &io::Result<usize>) -> BodyError {
        if let Some(connection) = &mut self.connection {
            connection.note_end(result);
        }
        self.abort(CloseReason::AbortedResponse, BodyError::Truncated)
    }

    fn drive_upload(&mut self, context: &mut Context<'_>) -> Result<(), BodyError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if self.sending.upload.is_done() || self.upload_failed {
            return Ok(());
        }
        match self.sending.upload.poll(context, &mut connection.wire) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            // The endpoint has answered and wants no more of the request; its answer can still be read.
            Poll::Ready(Err(UploadError::Write(_))) => {
                self.upload_failed = true;
                Ok(())
            }
            Poll::Ready(Err(UploadError::Client(_) | UploadError::Length)) => {
                Err(self.abort(CloseReason::ClientGone, BodyError::ClientBody))
            }
        }
    }

    /// What the bytes read so far give.
    fn decode(&mut self) -> Result<Option<Part>, BodyError> {
        let Some(connection) = &mut self.connection else {
            return Ok(Some(Part::End));
        };
        let read: &mut BytesMut = &mut connection.read;
        match &mut self.decoder {
            Decoder::Length(0) | Decoder::Ended => Ok(Some(Part::End)),
            _ if read.is_empty() => Ok(None),
            Decoder::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= length as u64;
                Ok(Some(Part::Data(read.split_to(length).freeze())))
            }
            Decoder::UntilClose => Ok(Some(Part::Data(read.split().freeze()))),
            Decoder::Chunked(decoder) => match decoder.decode(read) {
                Ok(part) => Ok(part),
                Err(error) => Err(self.abort(CloseReason::ProtocolError, BodyError::Malformed(error))),
            },
        }
    }

    /// Ends the exchange as soon as its last byte is known, so that the connection is back before the client asks
    /// again.
    fn border(&mut self, part: Part) -> Option<Part> {
        let ended = match (&part, &self.decoder) {
            // Nothing follows the trailers, and who has them does not ask again.
            (Part::End | Part::Trailers(_), _) => true,
            (Part::Data(_), Decoder::Length(0)) => self.sending.upload.is_done(),
            _ => false,
        };
        if ended && let Some(connection) = self.connection.take() {
            finish(connection, self.keep_alive, &self.sending, self.worker);
        }
        match part {
            Part::End => None,
            part => Some(part),
        }
    }

    /// Ready when it takes too long.
    fn watch_time(&mut self, context: &mut Context<'_>) -> Poll<BodyError> {
        if self.progress {
            self.progress = false;
            let patience = &self.sending.patience;
            self.sending
                .timer
                .set_after(patience.endpoint.between_bytes, patience.deadline);
        }
        ready!(self.sending.timer.poll(context));
        let error = if self.sending.patience.is_over() {
            BodyError::RequestTimeout
        } else {
            BodyError::BetweenBytesTimeout
        };
        Poll::Ready(self.abort(CloseReason::Timeout, error))
    }

    fn abort(&mut self, reason: CloseReason, error: BodyError) -> BodyError {
        if let Some(connection) = self.connection.take() {
            connection.close(reason);
        }
        error
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // Nobody asks again for a body whose last byte he has.
        if matches!(self.decoder, Decoder::Length(0) | Decoder::Ended)
            && let Some(connection) = self.connection.take()
        {
            finish(connection, self.keep_alive, &self.sending, self.worker);
        }
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
            State::Streaming(streaming) => streaming.connection.is_none(),
            State::Http2(body) => body.is_end_stream(),
            State::Tunnel(_) => true,
            State::Cut | State::Failed => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Whole(body) => SizeHint::with_exact(body.len() as u64),
            State::Streaming(streaming) => match streaming.decoder {
                Decoder::Length(left) => SizeHint::with_exact(left),
                Decoder::Ended => SizeHint::with_exact(0),
                Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::default(),
            },
            State::Http2(body) => body.size_hint(),
            State::Tunnel(_) => SizeHint::with_exact(0),
            State::Cut | State::Failed => SizeHint::default(),
        }
    }
}

fn trailers_frame(trailers: HeaderMap) -> Frame<Bytes> {
    Frame::trailers(trailers)
}
