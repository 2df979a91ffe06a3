//! The body of a request as DATA frames, with the endpoint's flow control (RFC 9113 5.2).

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use crate::{
    http1::is_forbidden_trailer,
    upstream::{
        request_body::{Part, RequestBody, WaitsFor},
        upload::UploadError,
    },
};

/// What is left of a request behind its head.
#[derive(Debug)]
pub(super) struct Upload {
    stream: SendStream<Bytes>,
    data: Bytes,
    sent: u64,
    waits_for: WaitsFor,
}

impl Upload {
    pub(super) fn new(stream: SendStream<Bytes>, body: &RequestBody) -> Self {
        Self {
            stream,
            data: Bytes::new(),
            sent: 0,
            waits_for: if body.is_ended() {
                WaitsFor::Nothing
            } else {
                WaitsFor::Endpoint
            },
        }
    }

    pub(super) fn waits_for(&self) -> WaitsFor {
        self.waits_for
    }

    pub(super) fn is_done(&self) -> bool {
        self.waits_for == WaitsFor::Nothing
    }

    /// Bytes of the body that the engine has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends what can be sent now.
    ///
    /// Cancellation: this is a step of a state machine; nothing is lost between two calls.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, body: &mut RequestBody) -> Poll<Result<(), UploadError>> {
        while !self.is_done() {
            if !self.data.is_empty() {
                self.waits_for = WaitsFor::Endpoint;
                ready!(self.poll_data(context, body)).map_err(UploadError::Write)?;
                continue;
            }
            match ready!(body.poll_part(context, &mut self.waits_for, None))? {
                Some(Part::Data(data)) => self.data = data,
                Some(Part::End) => self.end(body.trailers()).map_err(UploadError::Write)?,
                None => self.waits_for = WaitsFor::Nothing,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_data(&mut self, context: &mut Context<'_>, body: &RequestBody) -> Poll<io::Result<()>> {
        self.stream.reserve_capacity(self.data.len());
        let capacity = match ready!(self.stream.poll_capacity(context)) {
            Some(capacity) => capacity.map_err(to_io)?,
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        let part = self.data.split_to(capacity.min(self.data.len()));
        self.sent += part.len() as u64;
        let is_last = self.data.is_empty() && body.is_ended();
        self.stream.send_data(part, is_last).map_err(to_io)?;
        if is_last {
            self.waits_for = WaitsFor::Nothing;
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        self.waits_for = WaitsFor::Nothing;
        let trailers = trailers.map(allowed).filter(|trailers| !trailers.is_empty());
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers).map_err(to_io),
            None => self.stream.send_data(Bytes::new(), true).map_err(to_io),
        }
    }
}

/// The trailers that may be some.
pub(super) fn allowed(trailers: &HeaderMap) -> HeaderMap {
    let all = trailers.iter().filter(|(name, _)| !is_forbidden_trailer(name));
    all.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn to_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::other(error)
    }
}
