//! One request and the head of its answer, on one stream (RFC 9113 8.1).

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{Method, Request, Response, StatusCode};

use super::{StreamPermit, upload::Upload};
use crate::{
    downstream::Interim,
    pool::CloseReason,
    upstream::{
        exchange::{ExchangeError, MAX_INTERIM},
        patience::{Overdue, Patience, Watch},
        request_body::{RequestBody, WaitsFor},
        upload::UploadError,
    },
    worker::Timer,
};

/// A request on its way over HTTP/2. On the heap, since it outlives the exchange when the upload does.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) method: Method,
    /// Who is told of interim answers.
    pub(super) interim: Option<Interim>,
    pub(super) body: RequestBody,
    pub(super) timer: Timer,
    pub(super) patience: Patience,
}

/// Sends the request and reads the head of the answer. The upload may still be going on when the answer begins.
///
/// Cancellation: the stream is reset.
pub(super) async fn exchange(
    permit: &StreamPermit,
    request: Request<()>,
    sending: &mut Sending,
) -> Result<(Response<RecvStream>, Upload), ExchangeError> {
    let begun = permit.sender().send_request(request, sending.body.is_ended());
    let (response, stream) = begun.map_err(|error| before(&error))?;
    let upload = Upload::new(stream, &sending.body);
    let mut state = State {
        permit,
        response,
        upload,
        sending,
        watch: Watch::default(),
        write_failed: false,
        interim: 0,
    };
    let response = poll_fn(|context| state.poll(context)).await?;
    Ok((response, state.upload))
}

struct State<'a> {
    permit: &'a StreamPermit,
    response: ResponseFuture,
    upload: Upload,
    sending: &'a mut Sending,
    watch: Watch,
    write_failed: bool,
    interim: usize,
}

impl State<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Response<RecvStream>, ExchangeError>> {
        loop {
            self.send(context)?;
            if let Poll::Ready(Some(interim)) = self.response.poll_informational(context) {
                let interim = interim.map_err(|error| self.sorted(&error))?;
                self.sort(&interim)?;
                continue;
            }
            match Pin::new(&mut self.response).poll(context) {
                Poll::Ready(Ok(response)) => {
                    // Nobody says `100 Continue` behind an answer, which may need the body all the same.
                    self.sending.body.go_on();
                    return Poll::Ready(checked(response));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.sorted(&error))),
                Poll::Pending => std::task::ready!(self.watch_time(context))?,
            }
        }
    }

    fn send(&mut self, context: &mut Context<'_>) -> Result<(), ExchangeError> {
        if self.write_failed || self.upload.is_done() {
            return Ok(());
        }
        match self.upload.poll(context, &mut self.sending.body) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            // The answer says why.
            Poll::Ready(Err(UploadError::Write(_))) => {
                self.write_failed = true;
                Ok(())
            }
            Poll::Ready(Err(UploadError::Client(_) | UploadError::Length)) => Err(ExchangeError::ClientBody),
        }
    }

    /// What an interim answer means.
    fn sort(&mut self, interim: &Response<()>) -> Result<(), ExchangeError> {
        let status = interim.status();
        // RFC 9113 8.6: HTTP/2 has no 101.
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ExchangeError::UnexpectedUpgrade);
        }
        if status == StatusCode::CONTINUE {
            self.sending.body.go_on();
        } else if let Some(client) = &self.sending.interim {
            client.tell(status, interim.headers());
        }
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(ExchangeError::TooManyInterim);
        }
        Ok(())
    }

    fn sorted(&self, error: &h2::Error) -> ExchangeError {
        sorted(error, self.permit)
    }

    fn watch_time(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let Sending { timer, patience, .. } = &*self.sending;
        let waits_for = if self.write_failed {
            WaitsFor::Nothing
        } else {
            self.upload.waits_for()
        };
        let stage = (waits_for, self.upload.sent());
        // Whether the endpoint lives at all, the driver of the connection sees.
        let overdue = std::task::ready!(self.watch.poll(context, timer, patience, stage, || false));
        if overdue == Overdue::Continue {
            self.sending.body.go_on();
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(ExchangeError::from_overdue(overdue)))
    }
}

/// The head of a final answer, with a status that HTTP/1 has too.
fn checked(response: Response<RecvStream>) -> Result<Response<RecvStream>, ExchangeError> {
    if !(200..600).contains(&response.status().as_u16()) {
        return Err(ExchangeError::Protocol);
    }
    Ok(response)
}

/// Why a stream could not even begin.
fn before(error: &h2::Error) -> ExchangeError {
    if error.is_go_away() || error.is_io() {
        ExchangeError::Unprocessed
    } else {
        ExchangeError::Protocol
    }
}

/// What an error of a stream means for its request.
pub(super) fn sorted(error: &h2::Error, permit: &StreamPermit) -> ExchangeError {
    // RFC 9113 6.8: a stream above the last one that GOAWAY names was not processed; and 8.7.
    if error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM)) {
        ExchangeError::Unprocessed
    } else if error.is_remote() && error.is_reset() {
        ExchangeError::Reset(error.reason().unwrap_or(Reason::NO_ERROR))
    } else if matches!(
        permit.ends(),
        Some(CloseReason::EndpointSilent | CloseReason::SourceGone)
    ) {
        ExchangeError::Silent
    } else if error.is_io() {
        ExchangeError::Closed
    } else {
        ExchangeError::Protocol
    }
}
