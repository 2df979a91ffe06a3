//! The body of an answer over HTTP/2, read only as fast as the client takes it: what he has not taken stays in the
//! endpoint's window.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Frame, SizeHint};

use super::{
    StreamPermit,
    exchange::{Sending, sorted},
    upload::{Upload, allowed},
};
use crate::upstream::{body::BodyError, exchange::ExchangeError, upload::UploadError};

/// The body of an endpoint's answer.
#[derive(Debug)]
pub(in crate::upstream) struct Http2Body {
    /// Invariant: `Some` until it is dropped.
    stream: Option<RecvStream>,
    /// Of a stated length, what is still to come; the engine holds the endpoint to it.
    left: Option<u64>,
    at: At,
    upload: Upload,
    upload_failed: bool,
    sending: Box<Sending>,
    /// Something came since the timer was set.
    progress: bool,
    permit: StreamPermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Data,
    Trailers,
    End,
}

impl Http2Body {
    pub(super) fn new(
        stream: RecvStream,
        left: Option<u64>,
        upload: Upload,
        sending: Box<Sending>,
        permit: StreamPermit,
    ) -> Self {
        Self {
            at: if stream.is_end_stream() { At::End } else { At::Data },
            stream: Some(stream),
            left,
            upload,
            upload_failed: false,
            sending,
            progress: true,
            permit,
        }
    }

    pub(in crate::upstream) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.drive_upload(context)?;
        loop {
            let polled = match self.at {
                At::Data => self.poll_data(context),
                At::Trailers => self.poll_trailers(context),
                At::End => return Poll::Ready(None),
            };
            match polled {
                Poll::Ready(Ok(Some(frame))) => return Poll::Ready(Some(Ok(frame))),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => {
                    self.at = At::End;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending => {
                    let error = ready!(self.poll_time(context));
                    self.at = At::End;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn stream(&mut self) -> &mut RecvStream {
        self.stream.as_mut().expect("only the drop takes it")
    }

    /// A frame, or nothing at the end of the data.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        let Some(data) = ready!(self.stream().poll_data(context)) else {
            self.at = At::Trailers;
            return Poll::Ready(Ok(None));
        };
        let data = data.map_err(|error| self.sorted(&error))?;
        self.progress = true;
        // The client takes this now, so the endpoint may send as much again.
        let _ = self.stream().flow_control().release_capacity(data.len());
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(data.len() as u64);
        }
        if self.stream().is_end_stream() {
            self.at = At::End;
        }
        Poll::Ready(Ok((!data.is_empty()).then(|| Frame::data(data))))
    }

    fn poll_trailers(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
        let trailers = ready!(self.stream().poll_trailers(context)).map_err(|error| self.sorted(&error))?;
        self.at = At::End;
        let trailers = trailers.map(|trailers| allowed(&trailers));
        Poll::Ready(Ok(trailers.filter(|all| !all.is_empty()).map(Frame::trailers)))
    }

    fn sorted(&self, error: &h2::Error) -> BodyError {
        match sorted(error, &self.permit) {
            ExchangeError::Protocol => BodyError::Protocol,
            ExchangeError::Reset(reason) => BodyError::Reset(reason),
            _ => BodyError::Truncated,
        }
    }

    fn drive_upload(&mut self, context: &mut Context<'_>) -> Result<(), BodyError> {
        if self.upload_failed || self.upload.is_done() || self.at == At::End {
            return Ok(());
        }
        match self.upload.poll(context, &mut self.sending.body) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            // The endpoint wants no more of the request; its answer can still be read.
            Poll::Ready(Err(UploadError::Write(_))) => {
                self.upload_failed = true;
                Ok(())
            }
            Poll::Ready(Err(UploadError::Client(_) | UploadError::Length)) => {
                self.at = At::End;
                Err(BodyError::ClientBody)
            }
        }
    }

    fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<BodyError> {
        let Sending { timer, patience, .. } = &*self.sending;
        if self.progress {
            self.progress = false;
            timer.set_after(patience.endpoint.between_bytes, patience.deadline);
        }
        ready!(timer.poll(context));
        Poll::Ready(if patience.is_over() {
            BodyError::RequestTimeout
        } else {
            BodyError::BetweenBytesTimeout
        })
    }

    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        self.at == At::End
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        match (self.at, self.left) {
            (At::End, _) => SizeHint::with_exact(0),
            (_, Some(left)) => SizeHint::with_exact(left),
            (_, None) => SizeHint::default(),
        }
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        // A client that knows the length asks for nothing more at its last byte, which may come ahead of the frame that
        // ends the stream.
        let is_whole = self.left == Some(0) && self.at != At::End && self.upload.is_done();
        if let Some(stream) = self.stream.take().filter(|_| is_whole) {
            self.permit.let_end(stream);
        }
    }
}
