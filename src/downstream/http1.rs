//! One HTTP/1 client: an engine while it is busy, a bare socket while it is idle.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;
use hyper::server::conn::http1::{Builder, Parts};
use hyper_util::rt::TokioIo;

use super::{
    Client, Handle, closing,
    io::{ClientIo, Engine, Stream},
    refusal::Refusal,
    serve::serve,
    state::{Broken, Due, State},
    tunnel::{self, Opened},
};
use crate::net;

/// What the engine takes of an answer before it waits for the client. With 64 KiB, a write for each read, 1 MiB costs a
/// quarter more processor time.
const WRITE_BUFFER: usize = 400 * 1024;

/// How the engine ended.
enum End<S, T> {
    /// Idle: the socket is parked, with what was read of the next request already.
    Park(S, Bytes),
    /// The connection is no longer HTTP; with what was read of it already.
    Tunnel(S, Bytes, Opened<T>),
    /// The connection is over; `S` is what is left to be closed properly.
    Over(S),
    /// The client is told why, then the connection is over.
    Refuse(S, Refusal),
    /// What was sent is incomplete, and the client must notice.
    Abort(S),
}

/// Serves one client until its connection ends. `prefix` is what was read of it to tell its protocol.
///
/// Cancellation: the connection is cut.
pub(super) async fn run<S: Stream, H: Handle>(
    mut stream: S,
    mut prefix: Bytes,
    handler: Rc<H>,
    client: Rc<Client>,
    state: Rc<State>,
) {
    loop {
        // Boxed, so that a parked client does not keep the memory of an engine.
        let active = active(
            stream,
            prefix,
            Rc::clone(&handler),
            Rc::clone(&client),
            Rc::clone(&state),
        );
        match Box::pin(active).await {
            End::Park(back, read) => (stream, prefix) = (back, read),
            End::Tunnel(stream, early, opened) => {
                state.begin_tunnel();
                let side = tunnel::Connection::new(stream, early, state.listener.timers.clone());
                return Box::pin(opened.run(side)).await;
            }
            End::Over(stream) => return Box::pin(closing::close(stream, &state.listener.timers)).await,
            End::Abort(stream) => return net::reset_on_close(stream.tcp()),
            End::Refuse(stream, refusal) => {
                handler.note_refusal(&client, refusal);
                let last = refusal.to_bytes(client.strict_transport_security());
                return Box::pin(closing::linger(stream, &last, &state.listener.timers)).await;
            }
        }
        if prefix.is_empty() {
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

async fn active<S: Stream, H: Handle>(
    stream: S,
    prefix: Bytes,
    handler: Rc<H>,
    client: Rc<Client>,
    state: Rc<State>,
) -> End<S, H::Tunnel> {
    let limits = state.listener.config.limits;
    let opened = RefCell::new(None);
    let service = hyper::service::service_fn(|request| {
        let (handler, client, state) = (Rc::clone(&handler), Rc::clone(&client), Rc::clone(&state));
        serve(handler, client, state, request, None, |tunnel, _| {
            opened.replace(Some(tunnel));
        })
    });
    let io = ClientIo::new(stream, prefix, Rc::clone(&state), Engine::Http1, Rc::clone(&client));
    let mut connection = Builder::new()
        .half_close(S::HALF_CLOSE)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_header_size)
        .max_buf_size(limits.max_header_size.max(WRITE_BUFFER))
        .serve_connection(TokioIo::new(io), service);
    let due = poll_fn(|context| {
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(context) {
            return Poll::Ready(Err(result));
        }
        state.poll_due(context).map(Ok)
    })
    .await;
    let Parts { io, read_buf, .. } = connection.into_parts();
    let ClientIo { stream, prefix, .. } = io.into_inner();
    match due {
        // The engine has counted on somebody who takes the rest of the answer from it.
        Err(Ok(())) if opened.borrow().is_some() && state.is_write_blocked() => End::Abort(stream),
        Err(Ok(())) if let Some(opened) = opened.take() => {
            let early = if prefix.is_empty() {
                read_buf
            } else {
                [read_buf, prefix].concat().into()
            };
            End::Tunnel(stream, early, opened)
        }
        // An empty rest would still hold the engine's whole buffer.
        Ok(Due::Park) if read_buf.is_empty() => End::Park(stream, Bytes::new()),
        Ok(Due::Park) => End::Park(stream, read_buf),
        Ok(Due::Close) => End::Over(stream),
        // A client that connected ahead of its first request is told nothing: it would take it for the answer.
        Ok(Due::HeaderTimeout) if state.is_nothing_read() => End::Over(stream),
        Ok(Due::HeaderTimeout) => End::Refuse(stream, Refusal::HEADER_TIMEOUT),
        Ok(Due::WriteStall | Due::ClientGone) => End::Abort(stream),
        // Where only the close tells the end of an answer, a plain one would say that it is whole.
        Err(_) if state.is_body_broken() == Broken::Unnoticed => End::Abort(stream),
        Err(Ok(())) => End::Over(stream),
        Err(Err(error)) if state.refused().is_some() => End::Refuse(stream, Refusal::of_engine(&state, &error)),
        Err(Err(error)) => {
            tracing::debug!(%error, "a client connection ended");
            End::Over(stream)
        }
    }
}
