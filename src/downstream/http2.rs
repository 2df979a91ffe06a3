//! One HTTP/2 client: an engine for as long as the connection lives, under the same keep-alive policy.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{
    Client, Handle,
    io::{ClientIo, Engine, Stream},
    serve::serve,
    state::{Due, State},
    tunnel::OnWorker,
};

/// Streams that a client may open and reset again before its connection is closed (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Streams that we reset for the client's mistakes before its connection is closed (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 256;
/// How long an idle connection may take to end after GOAWAY.
const GOAWAY_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// Serves one client until its connection ends.
///
/// Cancellation: the connection is cut.
pub(super) async fn run<S: Stream, H: Handle>(
    stream: S,
    prefix: Bytes,
    handler: Rc<H>,
    client: Rc<Client>,
    state: Rc<State>,
) {
    state.begin_idle();
    let config = &state.listener.config;
    let executor = OnWorker::default();
    let service = {
        let (state, executor) = (Rc::clone(&state), executor.clone());
        hyper::service::service_fn(move |request| {
            let (handler, client, state) = (Rc::clone(&handler), Rc::clone(&client), Rc::clone(&state));
            let executor = executor.clone();
            serve(handler, client, state, request, move |tunnel, request| {
                executor.open(tunnel, hyper::upgrade::on(request));
            })
        })
    };
    let io = ClientIo::new(stream, prefix, Rc::clone(&state), Engine::Http2);
    let mut connection = Builder::new(executor)
        .max_concurrent_streams(config.http2.max_concurrent_streams)
        .initial_stream_window_size(config.http2.stream_window)
        .initial_connection_window_size(config.http2.connection_window)
        .max_header_list_size(u32::try_from(config.limits.max_header_size).unwrap_or(u32::MAX))
        .enable_connect_protocol()
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .serve_connection(TokioIo::new(io), service);
    let mut ending: Option<Instant> = None;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(context) {
                if let Err(error) = result {
                    tracing::debug!(%error, "a client connection ended");
                }
                return Poll::Ready(());
            }
            if let Some(since) = ending {
                // The running streams end in their own time (RFC 9113 6.8); what then stays open is cut.
                return state.poll_last(context, since + GOAWAY_TIME);
            }
            if state.wants_end() {
                ending = Some(Instant::now());
                Pin::new(&mut connection).graceful_shutdown();
                continue;
            }
            match std::task::ready!(state.poll_due(context)) {
                Due::WriteStall => return Poll::Ready(()),
                Due::Park => state.park(),
                Due::Close | Due::HeaderTimeout | Due::ClientGone => {
                    ending = Some(Instant::now());
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    })
    .await;
}
