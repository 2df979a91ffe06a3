//! An answer's body that has not been read whole, and the connection that it comes over.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::body::SizeHint;
use tokio_util::io::poll_read_buf;

use super::{BodyError, KeepAlive};
use crate::{
    http1::{ChunkedDecoder, ChunkedLimits, Framing, Part},
    net::{self, Pace, Shortcut, Taken},
    pool::{CloseReason, Pooled},
    upstream::{connection::Connection, exchange::Sending, upload::UploadError, wire::Wire},
    worker::buffers,
};

#[derive(Debug)]
pub(super) struct Streaming {
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
    pace: Pace,
}

#[derive(Debug)]
enum Decoder {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
    Ended,
}

impl Streaming {
    pub(super) fn new(
        connection: Pooled<Connection>,
        framing: Framing,
        keep_alive: KeepAlive,
        sending: Box<Sending>,
        worker: usize,
    ) -> Self {
        let decoder = match framing {
            Framing::None => Decoder::Ended,
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(Box::new(ChunkedDecoder::new(&ChunkedLimits::default()))),
            Framing::UntilClose => Decoder::UntilClose,
        };
        Self {
            connection: Some(connection),
            decoder,
            keep_alive,
            sending,
            upload_failed: false,
            worker,
            progress: true,
            shortcut: None,
            pace: Pace::Dense,
        }
    }

    /// Whether so much of it has not been read that a shortcut would be worth while.
    pub(super) fn is_long(&self) -> bool {
        let (Decoder::Length(left), Some(connection)) = (&self.decoder, &self.connection) else {
            return false;
        };
        matches!(connection.wire, Wire::Plain(_)) && left.saturating_sub(connection.read.len() as u64) >= net::LONG
    }

    pub(super) fn take_shortcut(&mut self, shortcut: Option<&Rc<Shortcut>>) {
        self.shortcut = shortcut.cloned();
    }

    /// Whether its last byte is known.
    pub(super) fn has_ended(&self) -> bool {
        self.connection.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Length(left) => SizeHint::with_exact(left),
            Decoder::Ended => SizeHint::with_exact(0),
            Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::default(),
        }
    }

    pub(super) fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Part>, BodyError>> {
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
                Decoder::Length(left) => buffers::body_read(left),
                _ => buffers::body_read(u64::MAX),
            };
            connection.read.reserve(wanted);
            let connection = &mut **connection;
            match poll_read_buf(Pin::new(&mut connection.wire), context, &mut connection.read) {
                Poll::Ready(Ok(n)) if n > 0 => (self.progress, self.pace) = (true, Pace::of(n)),
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
        if self.pace == Pace::Sparse || !self.sending.upload.is_done() {
            return None;
        }
        Some(match shortcut.poll_take(wire, *left, context) {
            Poll::Ready(Ok(Taken::NoPipe)) => return None,
            Poll::Ready(Ok(Taken::Bytes(stand_in))) if !stand_in.is_empty() => {
                *left -= stand_in.len() as u64;
                (self.progress, self.pace) = (true, Pace::of(stand_in.len()));
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

    pub(super) fn abort(&mut self, reason: CloseReason, error: BodyError) -> BodyError {
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

/// Ends an exchange whose answer was read to its border.
pub(super) fn finish(mut connection: Pooled<Connection>, keep_alive: KeepAlive, sending: &Sending, worker: usize) {
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
