//! The service above the engine of HTTP/2: counts the request, looks at its head a second time, hands it to the handler,
//! and says when the connection ends.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};

use super::{Http2Stream, detach_fields};
use crate::{
    downstream::{
        Client, Cut, Handle, Incoming,
        in_flight::InFlight,
        refusal::Refusal,
        state::{Ending, State},
        tunnel::Opened,
    },
    http1::opens_tunnel,
};

/// One request of one client.
///
/// The request stays here and is lent to the handler, since every level of a future holds its own copy of what it is
/// given.
pub(super) fn serve<H: Handle>(
    handler: Rc<H>,
    client: Rc<Client>,
    state: Rc<State>,
    request: Request<hyper::body::Incoming>,
    stream: Rc<Http2Stream>,
    opened: impl FnOnce(Opened<H::Tunnel>, &mut Request<Option<Incoming>>),
) -> impl Future<Output = Result<Response<Tracked<H::Body>>, Infallible>> {
    let problem = check(&request, &state);
    let in_flight = InFlight::begin(state);
    let mut request = request.map(|body| Some(Incoming::http2(body)));
    async move {
        let method = request.method().clone();
        before_work(in_flight.state()).await;
        // A bad request costs its own stream alone.
        let mut response = match problem {
            None => handler.handle(&client, &mut request).await,
            Some(refusal) => handler.refuse(&client, &request, refusal),
        };
        if opens_tunnel(&method, response.status())
            && let Some(tunnel) = handler.take_tunnel(response.body_mut())
        {
            opened(Opened::new(tunnel, in_flight.beyond()), &mut request);
        }
        if in_flight.state().is_last_request() {
            // GOAWAY, by the owner of the connection.
            in_flight.state().end_with(Ending::Announced);
        }
        stream.offer(in_flight.state().now());
        detach_fields(response.headers_mut());
        Ok(response.map(|body| Tracked {
            body,
            in_flight,
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

/// What is wrong with a head that the engine lets pass.
fn check<B>(request: &Request<B>, state: &State) -> Option<Refusal> {
    let limits = &state.listener.config.limits;
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.max_uri_size {
        return Some(Refusal::URI_TOO_LONG);
    }
    // The engine's own limit is one of size, which leaves room for thousands of short fields.
    (request.headers().len() > limits.max_headers).then_some(Refusal::HEADER_TOO_LARGE)
}

/// The body of an answer, whose end is noted.
#[derive(Debug)]
pub(super) struct Tracked<B: Body + Cut> {
    body: B,
    in_flight: InFlight,
    /// What is told with the next poll, so that the engine first sends what it has: an error makes it drop that.
    error: Option<B::Error>,
    stream: Rc<Http2Stream>,
}

impl<B: Body + Cut> Drop for Tracked<B> {
    fn drop(&mut self) {
        if self.stream.is_stalled() {
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
        if let Poll::Ready(Some(Ok(frame))) = &mut result
            && let Some(trailers) = frame.trailers_mut()
        {
            detach_fields(trailers);
        }
        match result {
            Poll::Ready(_) => self.stream.offer(self.in_flight.state().now()),
            Poll::Pending => self.stream.await_endpoint(),
        }
        if let Poll::Ready(Some(Err(error))) = result {
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
