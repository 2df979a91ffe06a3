//! The body of a request as the client sends it, part by part, and what is kept of it in case it must be sent again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Body;

use super::upload::UploadError;
use crate::{
    config::ReservedFields,
    downstream::Incoming,
    net::{self, Shortcut},
};

/// How the body's end is told to the endpoint; always our own choice, never the client's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFraming {
    None,
    Length(u64),
    /// In HTTP/1.1, chunked.
    Chunked,
}

/// When the body may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    None,
    /// The client waits for `100 Continue`: its body is not touched until the endpoint wants it.
    Continue,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// For the endpoint to take bytes.
    Endpoint,
    /// For the client to send bytes.
    Client,
    /// For the endpoint's `100 Continue`.
    Continue,
    /// For nothing: the request is out.
    Nothing,
}

/// The body of a request on its way.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Option<Incoming>,
    framing: RequestFraming,
    /// Of a declared length, what has not come yet.
    left: u64,
    ended: bool,
    expectation: Expectation,
    /// Boxed, since they are rare, and a body is moved with every request.
    trailers: Option<Box<HeaderMap>>,
    /// What may not be among them either.
    reserved: Option<Arc<ReservedFields>>,
    replay: Replay,
}

/// What has been sent of the body, in case it must be sent again.
#[derive(Debug)]
enum Replay {
    Kept {
        parts: Vec<Bytes>,
        size: usize,
        limit: usize,
        next: usize,
    },
    TooLarge,
}

pub(super) enum Part {
    /// Not empty.
    Data(Bytes),
    /// Comes once, and not at all behind the last byte of a declared length.
    End,
}

impl RequestBody {
    /// Keeps up to `limit` bytes to be sent again.
    pub(super) fn new(body: Option<Incoming>, framing: RequestFraming, expectation: Expectation, limit: usize) -> Self {
        let mut body = Self {
            body: body.filter(|_| framing != RequestFraming::None),
            framing,
            left: 0,
            ended: false,
            expectation,
            trailers: None,
            reserved: None,
            replay: Replay::Kept {
                parts: Vec::new(),
                size: 0,
                limit,
                next: 0,
            },
        };
        body.start();
        body
    }

    /// Leaves trailers out that would pass for one of `reserved`.
    pub(super) fn without(mut self, reserved: Option<Arc<ReservedFields>>) -> Self {
        self.reserved = reserved;
        self
    }

    fn start(&mut self) {
        self.left = match self.framing {
            RequestFraming::Length(length) => length,
            RequestFraming::None | RequestFraming::Chunked => 0,
        };
        self.ended = self.framing == RequestFraming::None;
    }

    pub(super) fn framing(&self) -> RequestFraming {
        self.framing
    }

    /// Whether the last part has been given.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// What follows the last part.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// Whether parts are still kept to be sent again.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.replay, Replay::Kept { .. })
    }

    /// Whether so much of a declared length has not come that a shortcut may be worth while.
    pub(super) fn is_long(&self) -> bool {
        !self.is_kept() && self.left >= net::LONG
    }

    /// The endpoint asked for the body, or has had its time to refuse it.
    pub(super) fn go_on(&mut self) {
        self.expectation = Expectation::None;
    }

    /// Starts over; `false` when what was given has not been kept.
    pub(super) fn rewind(&mut self) -> bool {
        let Replay::Kept { next, .. } = &mut self.replay else {
            return false;
        };
        *next = 0;
        self.start();
        true
    }

    /// The next part of the body; `None` at the end. While it is pending, `waits_for` says for whom.
    ///
    /// Where there is a `shortcut`, and the body is not kept any more, a part may be what stands in for it.
    ///
    /// # Errors
    /// [`UploadError::Client`] and [`UploadError::Length`].
    pub(super) fn poll_part(
        &mut self,
        context: &mut Context<'_>,
        waits_for: &mut WaitsFor,
        shortcut: Option<&Shortcut>,
    ) -> Poll<Result<Option<Part>, UploadError>> {
        loop {
            if let Replay::Kept { parts, next, .. } = &mut self.replay
                && let Some(part) = parts.get(*next)
            {
                *next += 1;
                let part = part.clone();
                return Poll::Ready(self.data(part));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            if self.expectation == Expectation::Continue {
                *waits_for = WaitsFor::Continue;
                return Poll::Pending;
            }
            *waits_for = WaitsFor::Client;
            let Some(body) = &mut self.body else {
                return Poll::Ready(self.end());
            };
            let frame = match (shortcut, &self.replay) {
                (Some(shortcut), Replay::TooLarge) => body.poll_past(context, shortcut),
                _ => Pin::new(body).poll_frame(context),
            };
            match ready!(frame) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.remember(&data);
                        return Poll::Ready(self.data(data));
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().map(Box::new);
                        if let (Some(trailers), Some(reserved)) = (&mut self.trailers, &self.reserved) {
                            reserved.strip(trailers);
                        }
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(UploadError::Client(error))),
                None => self.body = None,
            }
        }
    }

    fn data(&mut self, data: Bytes) -> Result<Option<Part>, UploadError> {
        if let RequestFraming::Length(_) = self.framing {
            self.left = self.left.checked_sub(data.len() as u64).ok_or(UploadError::Length)?;
            self.ended = self.left == 0;
        }
        Ok(Some(Part::Data(data)))
    }

    fn end(&mut self) -> Result<Option<Part>, UploadError> {
        if self.left > 0 {
            return Err(UploadError::Length);
        }
        self.ended = true;
        Ok(Some(Part::End))
    }

    /// Keeps a part for a possible second sending.
    fn remember(&mut self, data: &Bytes) {
        let Replay::Kept {
            parts,
            size,
            limit,
            next,
        } = &mut self.replay
        else {
            return;
        };
        *size += data.len();
        if *size > *limit {
            self.replay = Replay::TooLarge;
        } else {
            parts.push(data.clone());
            *next = parts.len();
        }
    }
}
