//! The body of an answer as the client gets it, with the account that is closed at its end.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::{
    account::Account,
    grpc::{self, Code},
    reason::Reason,
};
use crate::{
    downstream::Cut,
    upstream::{BodyError, ResponseBody, Tunnel},
};

/// Where the bytes come from.
#[derive(Debug)]
pub(super) enum Source {
    Endpoint(ResponseBody),
    /// Nowhere: the connection is no longer HTTP.
    Tunnel(Opened),
    /// The proxy itself.
    Own(Bytes),
}

/// The endpoint's side of a tunnel.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) endpoint: Tunnel,
    /// Longest time in which nothing comes.
    pub(super) idle: Duration,
}

/// A body and what is to be noted when it ends.
#[derive(Debug)]
pub struct Body {
    source: Source,
    /// `None` once the tunnel has it.
    account: Option<Account>,
}

impl Body {
    pub(super) fn new(source: Source, account: Account) -> Self {
        let mut body = Self {
            source,
            account: Some(account),
        };
        // Of an empty one, nobody asks for more.
        if !matches!(body.source, Source::Tunnel(_))
            && body.has_all()
            && let Some(account) = &mut body.account
        {
            account.complete();
        }
        body
    }

    /// Whether the client has nothing more to wait for. A client of HTTP/1 does not wait for the end of a stream behind the
    /// last byte of the stated length.
    fn has_all(&self) -> bool {
        use hyper::body::Body;
        self.is_end_stream() || self.size_hint().exact() == Some(0)
    }

    /// The tunnel that stands in the place of a body.
    pub(super) fn take_tunnel(&mut self) -> Option<(Opened, Account)> {
        match std::mem::replace(&mut self.source, Source::Own(Bytes::new())) {
            Source::Tunnel(opened) => Some((opened, self.account.take()?)),
            source => {
                self.source = source;
                None
            }
        }
    }
}

impl Cut for Body {
    fn cut(&mut self) {
        if let Some(account) = &mut self.account {
            account.fail(Reason::ClientStalled);
        }
        if let Source::Endpoint(body) = &mut self.source {
            body.cut();
        }
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
            Source::Tunnel(_) => Poll::Ready(None),
            Source::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Endpoint(body) => Pin::new(body).poll_frame(context),
        };
        let ends = self.has_all();
        let Some(account) = &mut self.account else {
            return frame;
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                account.add_bytes(frame.data_ref().map_or(0, Bytes::len));
                if let Some(trailers) = frame.trailers_ref() {
                    account.note_grpc(trailers);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                let reason = Reason::from(error);
                account.fail(reason);
                if account.is_grpc() {
                    let trailers = grpc::trailers(Code::of(reason), &error.to_string());
                    self.source = Source::Own(Bytes::new());
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
            Poll::Ready(None) => account.complete(),
            Poll::Pending => {}
        }
        if ends {
            account.complete();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Tunnel(_) => true,
            Source::Own(bytes) => bytes.is_empty(),
            Source::Endpoint(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Tunnel(_) => SizeHint::with_exact(0),
            Source::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Endpoint(body) => body.size_hint(),
        }
    }
}
