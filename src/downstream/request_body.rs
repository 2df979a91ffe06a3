//! The body of a client's request, whichever HTTP it speaks.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::{http1::ChunkedError, net::Shortcut};

/// The body of a request. It is read only as it is polled, by the task of the connection alone.
#[derive(Debug)]
pub struct Incoming(Source);

enum Source {
    Http1(Rc<dyn ReadBody>),
    Http2(hyper::body::Incoming),
}

/// A body of HTTP/1, of whose stream the kind does not matter any more.
pub(super) trait ReadBody {
    fn poll_frame(
        &self,
        context: &mut Context<'_>,
        shortcut: Option<&Shortcut>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBroken>>>;

    fn size_hint(&self) -> SizeHint;
}

/// Why a request's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum RequestBroken {
    #[error("the client ended within its request")]
    Truncated,
    #[error("the client was lost within its request")]
    Read(#[source] io::Error),
    #[error("{0}")]
    Chunks(ChunkedError),
    #[error("the client's stream broke off")]
    Stream(#[source] hyper::Error),
}

impl Incoming {
    pub(super) fn http1(body: Rc<dyn ReadBody>) -> Self {
        Self(Source::Http1(body))
    }

    pub(super) fn http2(body: hyper::body::Incoming) -> Self {
        Self(Source::Http2(body))
    }

    /// As [`Body::poll_frame`], where data that has not been read may be taken by `shortcut`: then what is given stands in
    /// for it ([`stands_in`](crate::net::stands_in)), and is to be written before more is asked for.
    pub fn poll_past(
        &mut self,
        context: &mut Context<'_>,
        shortcut: &Shortcut,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBroken>>> {
        match &mut self.0 {
            Source::Http1(body) => body.poll_frame(context, Some(shortcut)),
            // HTTP/2 has to see what it wraps.
            Source::Http2(_) => Pin::new(self).poll_frame(context),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = RequestBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBroken>>> {
        match &mut self.0 {
            Source::Http1(body) => body.poll_frame(context, None),
            Source::Http2(body) => Pin::new(body).poll_frame(context).map_err(RequestBroken::Stream),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Http1(body) => body.size_hint().exact() == Some(0),
            Source::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Http1(body) => body.size_hint(),
            Source::Http2(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http1(_) => "Http1",
            Self::Http2(_) => "Http2",
        })
    }
}
