//! The body of an answer as the client gets it, with the account that is closed at its end.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::{
    account::Account,
    grpc::{self, Code},
    reason::Reason,
    watch::Stream,
};
use crate::upstream::{BodyError, ResponseBody};

/// Where the bytes come from.
#[derive(Debug)]
pub(super) enum Source {
    Endpoint(ResponseBody),
    /// The same on an HTTP/2 stream, under watch.
    Stream(Rc<Stream>),
    /// The proxy itself.
    Own(Bytes),
}

/// A body and what is to be noted when it ends.
#[derive(Debug)]
pub struct Body {
    source: Source,
    account: Account,
}

impl Body {
    pub(super) fn new(source: Source, account: Account) -> Self {
        let mut body = Self { source, account };
        // Of an empty one, nobody asks for more.
        if hyper::body::Body::is_end_stream(&body) {
            body.account.complete();
        }
        body
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.source {
            Source::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Endpoint(body) => Pin::new(body).poll_frame(context),
            Source::Stream(stream) => stream.poll_frame(context),
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.account.add_bytes(frame.data_ref().map_or(0, Bytes::len));
                if let Some(trailers) = frame.trailers_ref() {
                    self.account.note_grpc(trailers);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                let reason = Reason::from(error);
                self.account.fail(reason);
                if self.account.is_grpc() {
                    let trailers = grpc::trailers(Code::of(reason), &error.to_string());
                    self.source = Source::Own(Bytes::new());
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
            Poll::Ready(None) => self.account.complete(),
            Poll::Pending => {}
        }
        if self.is_end_stream() {
            self.account.complete();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_empty(),
            Source::Endpoint(body) => body.is_end_stream(),
            Source::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Endpoint(body) => body.size_hint(),
            Source::Stream(stream) => stream.size_hint(),
        }
    }
}
