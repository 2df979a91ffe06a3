//! One fresh client connection: TLS, then which HTTP it speaks.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::io::poll_read_buf;

use super::{
    Client, ClientTls, Handle, http1, http2,
    listener::{Local, Rejected},
    listeners::Guest,
    proxy_protocol::{self, Expectation, Opening, ProxyOutcome},
    refusal::Refusal,
    state::State,
    tls_failure::TlsFailure,
};
use crate::{net, tls::ServerTls, worker::buffers};

/// RFC 9113 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a task does for its client.
enum Work {
    /// All that comes before its first request.
    Opening(Pin<Box<dyn Future<Output = Option<Serving>>>>),
    Serving(Serving),
}

type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// Serves one client until its connection ends, one of HTTP/2 in a task of its own.
///
/// The future is small, since the runtime moves a task four times on its way in and three times on its way out. What it
/// works on is in boxes of its own, one after the other: an idle client keeps the second, of 0.2 KiB, where one future for
/// all would take 0.8.
///
/// Cancellation: the connection is cut.
pub(super) fn serve<H: Handle>(
    stream: TcpStream,
    address: SocketAddr,
    handler: Rc<H>,
    local: Rc<Local>,
    guest: Box<Guest>,
) -> impl Future<Output = ()> {
    let mut work = Work::Opening(Box::pin(open(stream, address, handler, local, guest)));
    poll_fn(move |context| {
        loop {
            match &mut work {
                Work::Opening(opening) => match ready!(opening.as_mut().poll(context)) {
                    Some(serving) => work = Work::Serving(serving),
                    None => return Poll::Ready(()),
                },
                Work::Serving(serving) => return serving.as_mut().poll(context),
            }
        }
    })
}

/// Looks who it is and what it speaks; `None` for who is not served here.
async fn open<H: Handle>(
    stream: TcpStream,
    address: SocketAddr,
    handler: Rc<H>,
    local: Rc<Local>,
    mut guest: Box<Guest>,
) -> Option<Serving> {
    let state = State::new(Rc::clone(&local), local.timers.timer(), Instant::now());
    let opening = match proxy_protocol::expectation(&local.config, address.ip()) {
        Expectation::Header(mode) => {
            // Boxed, as all that is rare, so that other clients do not need its memory.
            let opening = Box::pin(proxy_protocol::take(&stream, address, mode, &state)).await?;
            if let Err(rejected) = guest.admission.count(opening.address.ip(), &local.config) {
                Box::pin(turn_away(stream, opening.address, handler, local, rejected)).await;
                return None;
            }
            state.restart();
            opening
        }
        Expectation::Nothing => Opening {
            address,
            arrival: local.listener.arrival(&stream, None),
            read: Vec::new(),
        },
        // Since it was accepted, a reload has changed who is believed.
        Expectation::Untrusted => {
            proxy_protocol::note(&local, address, ProxyOutcome::Untrusted, None);
            return None;
        }
    };
    match local.tls.clone() {
        None => plain(stream, opening, handler, state, guest).await,
        Some(tls) => Box::pin(encrypted(stream, opening, handler, state, tls, guest)).await,
    }
}

async fn plain<H: Handle>(
    mut stream: TcpStream,
    opening: Opening,
    handler: Rc<H>,
    state: Rc<State>,
    guest: Box<Guest>,
) -> Option<Serving> {
    let (protocol, read) = detect(&mut stream, &state, &opening.read).await?;
    let local = &state.listener;
    let (listener, config) = (Arc::clone(&local.listener), &local.config);
    let client = Rc::new(Client::new(opening.address, opening.arrival, listener, config, None));
    match protocol {
        Protocol::Http1 => Some(Box::pin(http1::run(stream, read, handler, client, state, guest))),
        Protocol::Http2 => {
            http2::start(stream, read.freeze(), handler, client, state, guest);
            None
        }
    }
}

async fn encrypted<H: Handle>(
    stream: TcpStream,
    opening: Opening,
    handler: Rc<H>,
    state: Rc<State>,
    tls: Arc<ServerTls>,
    guest: Box<Guest>,
) -> Option<Serving> {
    let Opening { address, arrival, .. } = opening;
    let stream = match handshake(stream, &state, &tls).await {
        Ok(stream) => stream,
        Err(error) => {
            note_failure(&state, address, TlsFailure::from(&error), &error);
            return None;
        }
    };
    let connection = stream.get_ref().1;
    let fields = match tls.client_fields(connection) {
        Ok(fields) => fields,
        Err(error) => {
            note_failure(&state, address, TlsFailure::from(error), &error);
            return None;
        }
    };
    let server_name = connection.server_name().map(Box::from);
    let is_http2 = connection.alpn_protocol() == Some(b"h2");
    let client = Client::new(
        address,
        arrival,
        Arc::clone(&state.listener.listener),
        &state.listener.config,
        Some(ClientTls {
            server_name,
            certificates: tls,
            fields,
        }),
    );
    state.restart();
    let client = Rc::new(client);
    if is_http2 {
        http2::start(stream, Bytes::new(), handler, client, state, guest);
        return None;
    }
    let read = BytesMut::new();
    Some(Box::pin(http1::run(stream, read, handler, client, state, guest)))
}

fn note_failure(state: &State, client: SocketAddr, failure: TlsFailure, error: &dyn std::error::Error) {
    state.listener.listener.counts.tls_failures.add(failure);
    tracing::debug!(%client, reason = failure.as_str(), %error, "the TLS handshake came to nothing");
}

async fn handshake(stream: TcpStream, state: &State, tls: &ServerTls) -> io::Result<Box<TlsStream<TcpStream>>> {
    let deadline = Instant::now() + state.listener.config.timeouts.tls_handshake;
    tokio::select! {
        biased;
        accepted = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream) => accepted.map(Box::new),
        () = state.listener.timers.sleep_until(deadline) => Err(io::ErrorKind::TimedOut.into()),
    }
}

enum Protocol {
    Http1,
    Http2,
}

/// Reads the first bytes, which tell HTTP/2 with prior knowledge from HTTP/1; `early` has come already, and others behind
/// it. `None`: the client went away or was too slow.
async fn detect(stream: &mut TcpStream, state: &State, early: &[u8]) -> Option<(Protocol, BytesMut)> {
    let mut read = BytesMut::from(early);
    loop {
        let length = poll_fn(|context| match poll_read(stream, context, &mut read) {
            Poll::Ready(result) => Poll::Ready(result.ok()),
            Poll::Pending => state.poll_due(context).map(|_| None),
        });
        match length.await? {
            0 => return None,
            _ if read.len() < PREFACE.len() && PREFACE.starts_with(&read) => {}
            _ if read.starts_with(PREFACE) => return Some((Protocol::Http2, read)),
            _ => return Some((Protocol::Http1, read)),
        }
    }
}

/// Reads into a buffer, of which only as much is kept as something has come into while the client is waited for.
fn poll_read(stream: &mut TcpStream, context: &mut Context<'_>, read: &mut BytesMut) -> Poll<io::Result<usize>> {
    if read.capacity() == 0 {
        *read = buffers::take_read();
    }
    read.reserve(PREFACE.len());
    let result = poll_read_buf(Pin::new(stream), context, read);
    if !matches!(result, Poll::Ready(Ok(1..))) {
        let part = BytesMut::from(&read[..]);
        buffers::give_read(std::mem::replace(read, part));
    }
    result
}

/// Turns a client away. On a plain listener it is told why; inside TLS that would cost a handshake, which is what a
/// full listener has no room for.
pub(super) async fn turn_away<H: Handle>(
    mut stream: TcpStream,
    address: SocketAddr,
    handler: Rc<H>,
    local: Rc<Local>,
    rejected: Rejected,
) {
    let refusal = match rejected {
        Rejected::MaxConnections => Refusal::TOO_MANY_CONNECTIONS,
        Rejected::PerClient => Refusal::TOO_MANY_OF_CLIENT,
    };
    let client = Client::new(address, None, Arc::clone(&local.listener), &local.config, None);
    handler.note_refusal(&client, refusal, None);
    if local.tls.is_some() {
        return net::reset_on_close(&stream);
    }
    // What the client has sent must be read, or the close would be a reset that takes the answer with it.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.write_all(&refusal.to_bytes(None)).await;
    let _ = stream.shutdown().await;
    let gone = async {
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut [0; 4096]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = gone => {}
        () = local.timers.sleep_until(Instant::now() + std::time::Duration::from_secs(1)) => {}
    }
}
