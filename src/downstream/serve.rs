//! The service above the HTTP engine: counts the request, looks at its head a second time, hands it to the handler, and
//! says in the answer when the connection ends.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::{Client, Handle, refusal::Refusal, state::State};
use crate::http1;

/// One request of one client.
pub(super) async fn serve<H: Handle>(
    handler: Rc<H>,
    client: Rc<Client>,
    state: Rc<State>,
    request: Request<Incoming>,
) -> Result<Response<Tracked<H::Body>>, Infallible> {
    let problem = state.begin(|raw| screen(raw, &request, &state));
    let in_flight = InFlight(Rc::clone(&state));
    let version = request.version();
    let mut response = match problem {
        None => handler.handle(&client, request).await,
        Some(refusal) => handler.refuse(&client, &request, refusal),
    };
    if state.is_last_request(Instant::now()) || problem.is_some() {
        announce_end(&mut response, version, &state);
    }
    Ok(response.map(|body| Tracked { body, in_flight }))
}

/// The strict second look: what the engine lets pass and two readers could understand differently is refused.
fn screen(raw: &[u8], request: &Request<Incoming>, state: &State) -> Option<Refusal> {
    let (method, uri) = (request.method(), request.uri());
    if target_length(uri) > state.listener.config.limits.max_uri_size {
        return Some(Refusal::URI_TOO_LONG);
    }
    if request.version() == Version::HTTP_2 {
        return None;
    }
    // A head that came together with the end of the request before it is not in `raw`: then the engine's own reading
    // must do, which lets Transfer-Encoding win and closes the connection after the answer (RFC 9112 6.1).
    let blank = raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let raw = &raw[blank..];
    if !raw.starts_with(method.as_str().as_bytes()) {
        return None;
    }
    http1::screen_request_head(raw).err().map(|problem| match problem {
        http1::RequestProblem::UnknownTransferEncoding => Refusal {
            status: http::StatusCode::NOT_IMPLEMENTED,
            ..Refusal::bad_request(problem.description())
        },
        problem => Refusal::bad_request(problem.description()),
    })
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
struct InFlight(Rc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of an answer, whose end is noted.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    in_flight: InFlight,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let result = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Err(_))) = &result {
            self.in_flight.0.note_body_broken();
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
