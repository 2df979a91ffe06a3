//! One request and the head of its answer, on one connection (RFC 9112).
//!
//! # When is a connection fit for the next request?
//! When the request went out whole, the answer ended exactly at its border, and nothing was left over. Everything else
//! closes it, with a reason.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, Method, StatusCode};
use tokio_util::io::poll_read_buf;

use super::{
    connection::Connection,
    handshake,
    patience::{Overdue, Patience, Watch},
    request_body::WaitsFor,
    tunnel::Opens,
    upload::{Upload, UploadError},
};
use crate::{
    downstream::Interim,
    http1::{self, ResponseError, ResponseHead},
    net::sockopt,
    pool::CloseReason,
    worker::{Timer, buffers},
};

/// Interim answers (1xx) that may come before the final one.
pub(super) const MAX_INTERIM: usize = 16;
/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Before any byte of an answer.
    #[error("the endpoint closed the connection without an answer")]
    Closed,
    /// Before any byte of an answer. With TLS 1.3, an endpoint judges our certificate when the handshake is over for us.
    #[error("the endpoint ended TLS without an answer")]
    Tls(#[source] Box<rustls::Error>),
    #[error("the endpoint's answer broke off within its head")]
    Truncated,
    #[error("the endpoint's answer was malformed: {}", .0.description())]
    Malformed(ResponseError),
    #[error("the endpoint sent more than {MAX_INTERIM} interim answers")]
    TooManyInterim,
    #[error("the endpoint changed to a protocol that nobody had asked for")]
    UnexpectedUpgrade,
    #[error("the endpoint did not take the request in time")]
    WriteTimeout,
    /// Before any byte of an answer, on a kept connection.
    #[error("the endpoint acknowledged nothing of the request")]
    Silent,
    #[error("the endpoint did not answer in time")]
    FirstByteTimeout,
    #[error("the request took longer than its time limit")]
    RequestTimeout,
    #[error("the client did not send its body in time")]
    ClientStalled,
    #[error("the client's request body ended early or was malformed")]
    ClientBody,
    /// GOAWAY or REFUSED_STREAM, from as many as were asked.
    #[error("the endpoint did not process the request")]
    Unprocessed,
    #[error("the endpoint reset the stream ({0})")]
    Reset(h2::Reason),
    #[error("the endpoint's answer was not HTTP/2 as it should be")]
    Protocol,
    #[error("the request names no host that HTTP/2 could carry")]
    NoAuthority,
}

impl ExchangeError {
    /// What went on for too long. [`Overdue::Continue`] is none: the exchange goes on then.
    pub(super) fn from_overdue(overdue: Overdue) -> Self {
        match overdue {
            Overdue::Request => Self::RequestTimeout,
            Overdue::Write | Overdue::Continue => Self::WriteTimeout,
            Overdue::Client => Self::ClientStalled,
            Overdue::FirstByte => Self::FirstByteTimeout,
            Overdue::Life => Self::Silent,
        }
    }
}

/// A request on its way to one endpoint. On the heap, since it outlives the exchange when the upload does.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) method: Method,
    pub(super) opens: Opens,
    pub(super) upload: Upload,
    /// Who is told of interim answers.
    pub(super) interim: Option<Interim>,
    /// Empty; its memory is used for the fields of the answer.
    pub(super) recycled: HeaderMap,
    /// Why the connection is to end with this request, which tells the endpoint so.
    pub(super) last_use: Option<CloseReason>,
    pub(super) timer: Timer,
    pub(super) patience: Patience,
}

impl Sending {
    /// Whether the connection is a tunnel from here on: as the request has asked, and behind the whole of it.
    pub(super) fn opens(&self, head: &ResponseHead) -> bool {
        self.upload.is_done() && self.opens.is_granted_by(head)
    }
}

/// When an endpoint is given up that has not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// When its time is up, or when it cannot answer any more, since our source address has left this machine.
    None,
    /// Also when it has not even acknowledged the request within the time that connecting may take: it was alive when
    /// the connection was last used, and may have died since.
    Silence,
}

/// Sends the request and reads the head of the answer. The upload may still be going on when the answer begins.
///
/// Cancellation: the connection is in the middle of an exchange then, and must be closed.
pub(super) fn exchange<'a>(
    connection: &'a mut Connection,
    sending: &'a mut Sending,
    haste: Haste,
) -> impl Future<Output = Result<ResponseHead, ExchangeError>> + 'a {
    connection.read = buffers::take_read();
    let mut state = State {
        connection,
        sending,
        haste,
        watch: Watch::default(),
        write_failed: false,
        interim: 0,
        received: false,
        undecoded: false,
    };
    poll_fn(move |context| state.poll(context))
}

struct State<'a> {
    connection: &'a mut Connection,
    sending: &'a mut Sending,
    haste: Haste,
    watch: Watch,
    write_failed: bool,
    interim: usize,
    /// Whether any byte of an answer has come.
    received: bool,
    /// Whether the read buffer may hold a whole head.
    undecoded: bool,
}

impl State<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<ResponseHead, ExchangeError>> {
        loop {
            if let Err(error) = self.send(context) {
                return Poll::Ready(Err(error));
            }
            match self.receive(context) {
                Poll::Ready(Ok(Some(head))) => return Poll::Ready(Ok(head)),
                // An interim answer: it may be what the upload waits for.
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    std::task::ready!(self.watch_time(context))?;
                }
            }
        }
    }

    fn send(&mut self, context: &mut Context<'_>) -> Result<(), ExchangeError> {
        let upload = &mut self.sending.upload;
        if upload.is_done() || self.write_failed {
            return Ok(());
        }
        match upload.poll(context, &mut self.connection.wire) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            // The endpoint may have answered early and closed: read before the failed write is reported.
            Poll::Ready(Err(UploadError::Write(_))) => {
                self.write_failed = true;
                Ok(())
            }
            Poll::Ready(Err(UploadError::Client(_) | UploadError::Length)) => Err(ExchangeError::ClientBody),
        }
    }

    /// The final head, or `None` after an interim one.
    fn receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<ResponseHead>, ExchangeError>> {
        loop {
            let (connection, sending) = (&mut *self.connection, &mut *self.sending);
            if self.undecoded {
                self.undecoded = false;
                let limits = http1::Limits::default();
                match http1::decode_response_head(&mut connection.read, &sending.method, &mut sending.recycled, &limits)
                {
                    Ok(Some(head)) => return Poll::Ready(self.sort(head)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(ExchangeError::Malformed(error))),
                }
            }
            connection.read.reserve(buffers::READ_SIZE / 4);
            match poll_read_buf(Pin::new(&mut connection.wire), context, &mut connection.read) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => (self.received, self.undecoded) = (true, true),
                Poll::Ready(result) => {
                    self.connection.note_end(&result);
                    return Poll::Ready(Err(self.ended(result)));
                }
            }
        }
    }

    fn ended(&self, result: io::Result<usize>) -> ExchangeError {
        if self.received {
            return ExchangeError::Truncated;
        }
        match result.as_ref().err().and_then(handshake::of_library) {
            Some(error) => ExchangeError::Tls(Box::new(error.clone())),
            None => ExchangeError::Closed,
        }
    }

    fn sort(&mut self, head: ResponseHead) -> Result<Option<ResponseHead>, ExchangeError> {
        if http1::opens_tunnel(&self.sending.method, head.status) {
            if self.sending.opens(&head) {
                return Ok(Some(head));
            }
            return Err(ExchangeError::UnexpectedUpgrade);
        }
        if !head.status.is_informational() {
            // Who has answered does not say `100 Continue` any more. Of a client that sends its body all the same, the
            // answer may need it.
            self.sending.upload.go_on();
            return Ok(Some(head));
        }
        if head.status == StatusCode::CONTINUE {
            self.sending.upload.go_on();
        } else if let Some(client) = &self.sending.interim {
            client.tell(head.status, &head.headers);
        }
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(ExchangeError::TooManyInterim);
        }
        self.sending.recycled = head.headers;
        self.sending.recycled.clear();
        self.undecoded = !self.connection.read.is_empty();
        Ok(None)
    }

    /// Ready when a timeout has passed; `Ok` if the exchange goes on nevertheless.
    fn watch_time(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let Sending {
            timer,
            upload,
            patience,
            ..
        } = &*self.sending;
        let waits_for = if self.write_failed {
            WaitsFor::Nothing
        } else {
            upload.waits_for()
        };
        let is_hopeless = || !self.received && is_hopeless(self.connection, self.haste);
        let stage = (waits_for, upload.sent());
        let overdue = std::task::ready!(self.watch.poll(context, timer, patience, stage, is_hopeless));
        if overdue == Overdue::Continue {
            self.sending.upload.go_on();
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(ExchangeError::from_overdue(overdue)))
    }
}

fn is_hopeless(connection: &Connection, haste: Haste) -> bool {
    !connection.reservation.is_present()
        || haste == Haste::Silence && sockopt::is_unacknowledged(connection.wire.tcp()).unwrap_or(false)
}
