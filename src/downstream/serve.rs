//! The service above the HTTP engine: counts the request, looks at its head a second time, hands it to the handler, and
//! says in the answer when the connection ends.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    Client, Cut, Handle,
    http2::{self, Http2Stream},
    refusal::Refusal,
    state::{Broken, State},
    tunnel::Opened,
};
use crate::http1;

/// One request of one client; `stream` is its stream on HTTP/2.
///
/// The request stays here and is lent to the handler, since every level of a future holds its own copy of what it is
/// given.
pub(super) fn serve<H: Handle>(
    handler: Rc<H>,
    client: Rc<Client>,
    state: Rc<State>,
    request: Request<Incoming>,
    stream: Option<Rc<Http2Stream>>,
    opened: impl FnOnce(Opened<H::Tunnel>, &mut Request<Option<Incoming>>),
) -> impl Future<Output = Result<Response<Tracked<H::Body>>, Infallible>> {
    let problem = state.begin(|raw| {
        let raw = raw.filter(|raw| raw.starts_with(request.method().as_str().as_bytes()));
        match screen(raw, &request, &state) {
            Ok(head) => (None, head.and_then(|head| length(head, request.body()))),
            Err(refusal) => (Some(refusal), None),
        }
    });
    let in_flight = InFlight(state);
    let mut request = request.map(Some);
    async move {
        let version = request.version();
        let connects = *request.method() == Method::CONNECT;
        if stream.is_some() {
            before_work(&in_flight.0).await;
        }
        let mut response = match problem {
            None => handler.handle(&client, &mut request).await,
            Some(refusal) => handler.refuse(&client, &request, refusal),
        };
        if (response.status() == StatusCode::SWITCHING_PROTOCOLS || connects && response.status().is_success())
            && let Some(tunnel) = handler.take_tunnel(response.body_mut())
        {
            opened(Opened::new(tunnel, in_flight.beyond()), &mut request);
            if version == Version::HTTP_2 && in_flight.0.is_last_request() {
                announce_end(&mut response, version, &in_flight.0);
            }
        // On HTTP/2 a bad request costs its own stream alone.
        } else if in_flight.0.is_last_request() || problem.is_some() && stream.is_none() {
            announce_end(&mut response, version, &in_flight.0);
        }
        let delimited = version != Version::HTTP_10
            || response.body().size_hint().exact().is_some()
            || response.headers().contains_key(header::CONTENT_LENGTH);
        if let Some(stream) = &stream {
            stream.offer(in_flight.0.now());
            http2::detach_fields(response.headers_mut());
        }
        let if_broken = if delimited { Broken::Noticed } else { Broken::Unnoticed };
        Ok(response.map(|body| Tracked {
            body,
            in_flight,
            if_broken,
            error: None,
            stream,
        }))
    }
}

/// Lets the engine see first which streams of an HTTP/2 client are reset already, where it has opened and reset many:
/// it looks when a request waits. A client whose connection ends gets no further work done.
///
/// Cancellation: nothing has begun.
async fn before_work(state: &State) {
    if state.is_excessive() {
        // The connection is dropped next, and its streams with it.
        std::future::pending::<()>().await;
    }
    if state.is_crowded() {
        tokio::task::yield_now().await;
    }
}

/// The strict second look: what the engine lets pass and two readers could understand differently is refused. Gives
/// the length of the head in bytes, if it is known.
///
/// `raw` is unknown only behind a chunked request that was pipelined; then the engine's own reading must do, which lets
/// Transfer-Encoding win and closes the connection after the answer (RFC 9112 6.1).
fn screen(raw: Option<&[u8]>, request: &Request<Incoming>, state: &State) -> Result<Option<usize>, Refusal> {
    if target_length(request.uri()) > state.listener.config.limits.max_uri_size {
        return Err(Refusal::URI_TOO_LONG);
    }
    // The engine's own limit on HTTP/2 is one of size, which leaves room for thousands of short fields.
    if request.headers().len() > state.listener.config.limits.max_headers {
        return Err(Refusal::HEADER_TOO_LARGE);
    }
    let Some(raw) = raw else { return Ok(None) };
    // The engine's parser cuts a fragment off, so the path that is routed would not be the one that was sent.
    let line = memchr::memchr(b'\n', raw).map_or(raw, |end| &raw[..end]);
    if memchr::memchr(b'#', line).is_some() {
        return Err(Refusal::bad_request("the request target has a fragment"));
    }
    http1::screen_request_head(raw)
        .map(Some)
        .map_err(|problem| match problem {
            http1::RequestProblem::UnknownTransferEncoding => Refusal {
                status: http::StatusCode::NOT_IMPLEMENTED,
                ..Refusal::bad_request(problem.description())
            },
            problem => Refusal::bad_request(problem.description()),
        })
}

/// How many bytes the request has on the wire, if that can be said ahead.
fn length(head: usize, body: &Incoming) -> Option<u64> {
    let body = if body.is_end_stream() {
        0
    } else {
        body.size_hint().exact()?
    };
    Some(head as u64 + body)
}

fn target_length(uri: &http::Uri) -> usize {
    uri.path_and_query().map_or(0, |target| target.as_str().len())
}

fn announce_end<B>(response: &mut Response<B>, version: Version, state: &State) {
    if version == Version::HTTP_2 {
        // GOAWAY, by the owner of the connection.
        state.end_with(super::state::Ending::Announced);
    } else {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// A request that has not been answered whole.
#[derive(Debug)]
pub(super) struct InFlight(Rc<State>);

impl InFlight {
    /// The same for what goes on beyond the answer.
    fn beyond(&self) -> Self {
        self.0.begin_beyond();
        Self(Rc::clone(&self.0))
    }

    pub(super) fn state(&self) -> &Rc<State> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of an answer, whose end is noted.
#[derive(Debug)]
pub(super) struct Tracked<B: Body + Cut> {
    body: B,
    in_flight: InFlight,
    if_broken: Broken,
    /// What is told with the next poll, so that the engine first sends what it has: an error makes it drop that.
    error: Option<B::Error>,
    /// Where it is a stream of HTTP/2.
    stream: Option<Rc<Http2Stream>>,
}

impl<B: Body + Cut> Drop for Tracked<B> {
    fn drop(&mut self) {
        if self.stream.as_ref().is_some_and(|stream| stream.is_stalled()) {
            self.body.cut();
        }
    }
}

impl<B: Body<Data = Bytes, Error: Unpin> + Cut + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let mut result = Pin::new(&mut self.body).poll_frame(context);
        if let Some(stream) = &self.stream {
            if let Poll::Ready(Some(Ok(frame))) = &mut result
                && let Some(trailers) = frame.trailers_mut()
            {
                http2::detach_fields(trailers);
            }
            match result {
                Poll::Ready(_) => stream.offer(self.in_flight.0.now()),
                Poll::Pending => stream.await_endpoint(),
            }
        }
        if let Poll::Ready(Some(Err(error))) = result {
            self.in_flight.0.note_body_broken(self.if_broken);
            self.error = Some(error);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        result
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
