//! One HTTP/2 client: an engine for as long as the connection lives, under the same keep-alive policy.
//!
//! # What does a client get away with?
//! What RFC 9113 forbids, the engine answers with an error of the stream or of the connection. What it allows and nobody
//! needs (floods of frames and resets, heads that never end, windows that never open) is limited here: [`guard`] counts
//! what passes the socket ([`wire`]), and [`streams`] ends those whose client takes nothing; [`answers`] knows those that
//! nobody else does. A connection that has to end
//! is told why by GOAWAY, and [`end`] has the word for the log and the metric.

mod answers;
mod end;
mod fields;
mod frames;
mod guard;
mod serve;
mod streams;
mod wire;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

pub use self::end::{Http2End, Http2Ends};
use self::fields::detach as detach_fields;
use self::streams::Stream as Http2Stream;
pub(super) use self::streams::Streams;

use self::{serve::serve, streams::OnWorker, wire::Wire};
use super::{
    Client, Handle, closing,
    io::{ClientIo, Stream},
    listeners::Guest,
    state::{Due, State},
};
use crate::net;

/// Streams that we reset for the client's mistakes before its connection is closed, however slowly they come: the engine
/// keeps each reset until it is written, which a client that does not read prevents (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 1024;
/// How long an idle connection may take to end after GOAWAY.
const GOAWAY_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// How a connection ended.
enum Ended {
    /// Everything is said, or there is nobody to say it to.
    Over,
    /// The engine has told the client.
    ByEngine(Http2End),
    /// The client is still to be told.
    ByUs(Http2End),
    /// The client takes nothing.
    Stalled,
}

/// Serves one client in a task of its own, which keeps the places of its `guest` until the connection ends.
pub(super) fn start<S: Stream, H: Handle>(
    stream: S,
    prefix: Bytes,
    handler: Rc<H>,
    client: Rc<Client>,
    state: Rc<State>,
    guest: Box<Guest>,
) {
    state.begin_idle();
    let io = ClientIo::new(stream, prefix, Rc::clone(&state));
    let wire = Wire::new(io, Rc::clone(&state));
    // Boxed, as all tasks of clients.
    tokio::task::spawn_local(Box::pin(async move {
        let _guest = guest;
        run(wire, handler, client, state).await;
    }));
}

/// Cancellation: the connection is cut.
async fn run<S: Stream, H: Handle>(wire: Wire<S>, handler: Rc<H>, client: Rc<Client>, state: Rc<State>) {
    let ended = serve_streams(&wire, handler, &client, &state).await;
    let Some(rest) = wire.into_rest() else { return };
    let timers = &state.listener.timers;
    match ended {
        Ended::Over => closing::close(rest.stream, timers).await,
        Ended::ByEngine(end) => {
            note(end, &client, &state);
            closing::linger(rest.stream, &[], timers).await;
        }
        Ended::ByUs(end) => {
            note(end, &client, &state);
            let goaway = if rest.is_at_border {
                frames::goaway(rest.last_stream, end.code().into(), end.as_str())
            } else {
                Vec::new()
            };
            closing::linger(rest.stream, &goaway, timers).await;
        }
        Ended::Stalled => {
            note(Http2End::WriteStall, &client, &state);
            net::reset_on_close(rest.stream.tcp());
        }
    }
}

/// Runs the engine until the connection is to end.
async fn serve_streams<S: Stream, H: Handle>(
    wire: &Wire<S>,
    handler: Rc<H>,
    client: &Rc<Client>,
    state: &Rc<State>,
) -> Ended {
    let config = &state.listener.config;
    let executor = OnWorker::default();
    let service = {
        let (client, state, executor) = (Rc::clone(client), Rc::clone(state), executor.clone());
        hyper::service::service_fn(move |request| {
            let stream = executor.begin(&state.listener.streams, client.write_stall);
            let (handler, client, state) = (Rc::clone(&handler), Rc::clone(&client), Rc::clone(&state));
            let writers = executor.writers.clone();
            serve(handler, client, state, request, stream, move |tunnel, request| {
                writers.open(tunnel, hyper::upgrade::on(request));
            })
        })
    };
    let mut connection = Builder::new(executor)
        .max_concurrent_streams(config.http2.max_concurrent_streams)
        .initial_stream_window_size(config.http2.stream_window)
        .initial_connection_window_size(config.http2.connection_window)
        .max_header_list_size(u32::try_from(config.limits.max_header_size).unwrap_or(u32::MAX))
        .enable_connect_protocol()
        // Our own limit is one of time; a browser that leaves a page resets all of its streams at once.
        .max_pending_accept_reset_streams(config.http2.max_resets as usize)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .serve_connection(TokioIo::new(wire.share()), service);
    let mut ending: Option<Instant> = None;
    poll_fn(|context| {
        loop {
            let polled = Pin::new(&mut connection).poll(context);
            if let Some(end) = wire.end() {
                return Poll::Ready(Ended::ByUs(end));
            }
            if let Poll::Ready(result) = polled {
                return Poll::Ready(result.map_or_else(|error| of_error(&error), |()| Ended::Over));
            }
            if ending.is_none() && state.wants_end() {
                ending = Some(Instant::now());
                Pin::new(&mut connection).graceful_shutdown();
                continue;
            }
            match std::task::ready!(poll_due(state, context, ending)) {
                Due::WriteStall => return Poll::Ready(Ended::Stalled),
                Due::HeaderTimeout => return Poll::Ready(Ended::ByUs(Http2End::HeaderTimeout)),
                Due::Park => {
                    state.park();
                    state.listener.idle.note_memory_left();
                }
                // The running streams have ended in their own time (RFC 9113 6.8); what stays open is cut.
                Due::Close | Due::ClientGone if ending.is_some() => return Poll::Ready(Ended::Over),
                Due::Close | Due::ClientGone => {
                    ending = Some(Instant::now());
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    })
    .await
}

fn poll_due(state: &State, context: &mut Context<'_>, ending: Option<Instant>) -> Poll<Due> {
    match ending {
        Some(since) => state.poll_last(context, since + GOAWAY_TIME),
        None => state.poll_due(context),
    }
}

fn of_error(error: &hyper::Error) -> Ended {
    match Http2End::of_engine(error) {
        Some(end) => Ended::ByEngine(end),
        None => {
            tracing::debug!(%error, "a client connection ended");
            Ended::Over
        }
    }
}

/// Counts the end of a connection and says why; loudly only so often, since the client decides how often it happens.
fn note(end: Http2End, client: &Client, state: &State) {
    let listener = &state.listener.listener;
    listener.counts.http2_ends.add(end);
    let (address, reason, name) = (client.address, end.as_str(), listener.name.as_str());
    if state.listener.may_say(state.now()) {
        tracing::info!(client = %address, listener = name, reason, "ended an HTTP/2 connection");
    } else {
        tracing::debug!(client = %address, listener = name, reason, "ended an HTTP/2 connection");
    }
}
