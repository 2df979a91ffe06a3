//! One HTTP/1 client: an engine while it is busy, a bare socket while it is idle.

mod answer;
mod date;
mod link;
mod outbound;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use answer::{After, Asked, Border, Cutoff, Sending, write_head};
use bytes::BytesMut;
use http::{Request, Response, header};
use link::{Expectation, Link, Next};

use super::{
    Client, Handle, Incoming, closing,
    in_flight::InFlight,
    io::Stream,
    listeners::Guest,
    refusal::Refusal,
    state::{Due, State},
    tunnel::{self, Opened},
};
use crate::{
    http1::{self, DecodedRequest},
    net,
    worker::buffers,
};

/// How the engine ended.
enum End<T> {
    /// Idle: the socket is parked.
    Park,
    /// The connection is no longer HTTP. Boxed, since every client has the room for it.
    Tunnel(Box<Opened<T>>),
    /// The connection is over, and is closed properly.
    Over,
    /// The same where the client may still be sending.
    Unread,
    /// The client is told why, then the connection is over.
    Refuse(Refusal),
    /// What was sent is incomplete, and the client must notice.
    Abort,
}

/// Serves one client until its connection ends. `read` is what was read of it to tell its protocol; the places of `guest`
/// are kept until then.
///
/// Cancellation: the connection is cut.
#[expect(
    clippy::manual_async_fn,
    reason = "the future of a function would hold its arguments twice, for as long as the client is there"
)]
pub(super) fn run<S: Stream, H: Handle>(
    mut stream: S,
    mut read: BytesMut,
    handler: Rc<H>,
    client: Rc<Client>,
    state: Rc<State>,
    guest: Box<Guest>,
) -> impl Future<Output = ()> {
    async move {
        let _until_the_end = &guest;
        loop {
            let end;
            // Boxed, so that a parked client does not keep the memory of an engine.
            (stream, read, end) = Box::pin(active(stream, read, &*handler, &client, &state)).await;
            match end {
                End::Park => {}
                End::Tunnel(opened) => {
                    state.begin_tunnel();
                    let side = tunnel::Connection::new(stream, read.freeze(), state.listener.timers.clone());
                    return Box::pin(opened.run(side)).await;
                }
                End::Over => return Box::pin(closing::close(stream, &state.listener.timers)).await,
                End::Unread => return Box::pin(closing::linger(stream, &[], &state.listener.timers)).await,
                End::Abort => return net::reset_on_close(stream.tcp()),
                End::Refuse(refusal) => {
                    handler.note_refusal(&client, refusal, http1::requested(&read));
                    buffers::give_read(std::mem::take(&mut read));
                    let last = refusal.to_bytes(client.strict_transport_security());
                    return Box::pin(closing::linger(stream, &last, &state.listener.timers)).await;
                }
            }
            match parked(&stream, &state).await {
                Parked::Wakes => state.unpark(),
                Parked::Ends => return Box::pin(closing::close(stream, &state.listener.timers)).await,
            }
        }
    }
}

enum Parked {
    Wakes,
    Ends,
}

/// Waits on a bare socket.
async fn parked<S: Stream>(stream: &S, state: &Rc<State>) -> Parked {
    state.park();
    let _parked = state.listener.idle.park();
    poll_fn(|context| {
        if let Poll::Ready(result) = stream.tcp().poll_read_ready(context) {
            return Poll::Ready(if result.is_ok() { Parked::Wakes } else { Parked::Ends });
        }
        state.poll_due(context).map(|_| Parked::Ends)
    })
    .await
}

/// Runs the engine until it ends; gives the stream back with what was read of it and is no part of a request, where that
/// still matters.
async fn active<S: Stream, H: Handle>(
    stream: S,
    read: BytesMut,
    handler: &H,
    client: &Rc<Client>,
    state: &Rc<State>,
) -> (S, BytesMut, End<H::Tunnel>) {
    let link = Link::new(stream, read, Rc::clone(client), Rc::clone(state));
    let mut end = loop {
        match exchange(&link, handler, client, state).await {
            Ok(()) => {}
            Err(end) => break end,
        }
    };
    if matches!(end, End::Over) && link.has_read_ahead() {
        end = End::Unread;
    }
    let (stream, mut read) = link.take();
    if !matches!(end, End::Tunnel(_) | End::Refuse(_)) {
        buffers::give_read(std::mem::take(&mut read));
    }
    (stream, read, end)
}

/// Reads one request and answers it. `Err`: the connection is over.
///
/// The request stays here and is lent to the handler, since every level of a future holds its own copy of what it is
/// given.
async fn exchange<S: Stream, H: Handle>(
    link: &Rc<Link<S>>,
    handler: &H,
    client: &Rc<Client>,
    state: &Rc<State>,
) -> Result<(), End<H::Tunnel>> {
    let next = poll_fn(|context| in_time(link.poll_next(context), state, context)).await?;
    let (mut request, asked) = match next {
        Next::Request(decoded) => take_apart(link, decoded),
        Next::Refused(problem) => return Err(End::Refuse(Refusal::from(problem))),
        Next::End => return Err(End::Over),
    };
    let in_flight = InFlight::begin(Rc::clone(state));
    let mut response = {
        let mut answer = pin!(handler.handle(client, &mut request));
        poll_fn(|context| {
            let polled = answer.as_mut().poll(context);
            if polled.is_pending() {
                link.watch(context);
            }
            in_time(polled, state, context)
        })
        .await?
    };
    if http1::opens_tunnel(&asked.method, response.status())
        && let Some(tunnel) = handler.take_tunnel(response.body_mut())
    {
        write_head(link, state, &asked, &response, After::Tunnel);
        let flushed = poll_fn(|context| in_time(link.poll_flush(context), state, context)).await?;
        return Err(match flushed {
            Ok(()) => End::Tunnel(Box::new(Opened::new(tunnel, in_flight))),
            Err(_) => End::Over,
        });
    }
    let mut after = after(&asked, &response, state);
    // Of a body that the handler has left, what is there is passed over; for more of it nobody waits.
    if request.body().is_some() && !poll_fn(|context| Poll::Ready(link.pass_over(context))).await {
        after = After::Close;
    }
    let (framing, after) = write_head(link, state, &asked, &response, after);
    let fields = std::mem::take(response.headers_mut());
    let mut sending = Sending::new(link, response.into_body(), in_flight, framing, &asked);
    let sent = poll_fn(|context| {
        let polled = sending.poll(context);
        if polled.is_pending() {
            link.watch(context);
        }
        in_time(polled, state, context)
    });
    match sent.await? {
        Ok(()) => {}
        // Where only the close tells the end of an answer, a plain one would say that it is whole.
        Err(Cutoff::Body(Border::None)) => return Err(End::Abort),
        Err(Cutoff::Body(_)) => return Err(End::Over),
        Err(Cutoff::Write(error)) => {
            tracing::debug!(%error, "a client connection ended");
            return Err(End::Over);
        }
    }
    drop(request);
    buffers::give_fields(fields);
    let is_read = poll_fn(|context| Poll::Ready(link.pass_over(context))).await;
    link.end_request();
    match after {
        _ if !is_read => Err(End::Unread),
        After::KeepAlive => Ok(()),
        After::Close | After::Tunnel => Err(End::Over),
    }
}

/// What the handler gets, and what is kept for the answer.
fn take_apart<S: Stream>(link: &Rc<Link<S>>, decoded: DecodedRequest) -> (Request<Option<Incoming>>, Asked) {
    let asked = Asked {
        method: decoded.method.clone(),
        version: decoded.version,
        takes_trailers: decoded.takes_trailers,
        keep_alive: decoded.keep_alive,
    };
    let expectation = if decoded.expects_continue {
        Expectation::Continue
    } else {
        Expectation::None
    };
    let body = link.body(decoded.framing, expectation);
    let mut request = Request::new(body.map(Incoming::http1));
    *request.method_mut() = decoded.method;
    *request.uri_mut() = decoded.target;
    *request.version_mut() = decoded.version.into();
    *request.headers_mut() = decoded.headers;
    (request, asked)
}

/// Whether the connection lives on behind this answer.
fn after<B>(asked: &Asked, response: &Response<B>, state: &State) -> After {
    let is_last = response
        .headers()
        .get(header::CONNECTION)
        .is_some_and(|value| value == "close");
    if asked.keep_alive && !is_last && !state.is_last_request() {
        After::KeepAlive
    } else {
        After::Close
    }
}

/// What was polled, or the end of the connection where that is due.
fn in_time<V, T>(polled: Poll<V>, state: &State, context: &mut Context<'_>) -> Poll<Result<V, End<T>>> {
    match polled {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending => state.poll_due(context).map(|due| {
            Err(match due {
                Due::Park => End::Park,
                Due::Close => End::Over,
                // A client that connected ahead of its first request is told nothing: it would take it for the answer.
                Due::HeaderTimeout if state.is_nothing_read() => End::Over,
                Due::HeaderTimeout => End::Refuse(Refusal::HEADER_TIMEOUT),
                Due::WriteStall | Due::ClientGone => End::Abort,
            })
        }),
    }
}
