//! The PROXY header ahead of the first byte of a connection: whom it is believed to, and how it is read.
//!
//! Exactly the header is taken from the socket, so that whatever follows (a TLS handshake, HTTP) begins at its own
//! first byte, however the bytes come.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use tokio::{io::ReadBuf, net::TcpStream};

use super::{listener::Local, state::State};
use crate::{
    config::{self, ProxyMode},
    net::proxy_protocol::{Beginning, MAX_SIZE, Malformed, parse},
};

/// What became of the header of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyOutcome {
    /// It said who the client is.
    Accepted,
    /// It named nobody: a health check of the sender, or a client that it cannot describe.
    Local,
    /// None came, and none had to.
    Absent,
    /// None came where one had to; the connection was closed, as after all that follow.
    Missing,
    /// The connection came from somebody who is not believed.
    Untrusted,
    Malformed,
    /// It was not there in time.
    Timeout,
    /// The client was gone before it was whole.
    ClientGone,
}

/// How often each of them happened at one listener.
#[derive(Debug, Default)]
pub struct ProxyOutcomes([AtomicU64; ProxyOutcome::ALL.len()]);

/// What a listener expects of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    /// Its first byte is HTTP or TLS.
    Nothing,
    Header(ProxyMode),
    /// It is to be closed.
    Untrusted,
}

/// A connection behind its header.
pub(super) struct Opening {
    /// Who the client is.
    pub(super) address: SocketAddr,
    /// Where it has connected to, if anybody asks.
    pub(super) arrival: Option<Arc<SocketAddr>>,
    /// What was taken for the beginning of a header and was none.
    pub(super) read: Vec<u8>,
}

impl ProxyOutcome {
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Local,
        Self::Absent,
        Self::Missing,
        Self::Untrusted,
        Self::Malformed,
        Self::Timeout,
        Self::ClientGone,
    ];

    /// The word for the log and for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Local => "local",
            Self::Absent => "absent",
            Self::Missing => "missing",
            Self::Untrusted => "untrusted",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::ClientGone => "client-gone",
        }
    }
}

impl ProxyOutcomes {
    pub fn get(&self, outcome: ProxyOutcome) -> u64 {
        self.0[outcome as usize].load(Relaxed)
    }

    fn add(&self, outcome: ProxyOutcome) {
        self.0[outcome as usize].fetch_add(1, Relaxed);
    }
}

pub(super) fn expectation(config: &config::Listener, client: IpAddr) -> Expectation {
    let Some(config) = &config.proxy_protocol else {
        return Expectation::Nothing;
    };
    let client = client.to_canonical();
    if config.from.iter().any(|network| network.contains(&client)) {
        return Expectation::Header(config.mode);
    }
    match config.mode {
        ProxyMode::Required => Expectation::Untrusted,
        ProxyMode::Optional => Expectation::Nothing,
    }
}

/// Counts what became of a header. `address` is the one of the connection.
pub(super) fn note(local: &Local, address: SocketAddr, outcome: ProxyOutcome, malformed: Option<Malformed>) {
    local.listener.counts.proxy_protocol.add(outcome);
    let reason = outcome.as_str();
    match outcome {
        ProxyOutcome::Accepted | ProxyOutcome::Local | ProxyOutcome::Absent => {}
        _ => {
            let details = malformed.map(tracing::field::display);
            tracing::debug!(client = %address, reason, details, "closed a connection for its PROXY header");
        }
    }
}

/// Takes the header from a connection of `address`, which is believed. `None`: the connection is to be closed.
///
/// Cancellation: the connection can only be closed.
pub(super) async fn take(stream: &TcpStream, address: SocketAddr, mode: ProxyMode, state: &State) -> Option<Opening> {
    let mut read = Vec::new();
    let taken = poll_fn(|context| match poll_take(stream, context, &mut read) {
        Poll::Pending => state.poll_due(context).map(|_| Err((ProxyOutcome::Timeout, None))),
        taken => taken,
    });
    let local = &state.listener;
    let (outcome, address, destination) = match (taken.await, mode) {
        (Ok(Beginning::Header(header)), _) => {
            read.clear();
            match header.addresses {
                Some(addresses) => (ProxyOutcome::Accepted, addresses.source, Some(addresses.destination)),
                None => (ProxyOutcome::Local, address, None),
            }
        }
        // A handshake begins otherwise than a header, so nothing of one can have been taken.
        (Ok(_), ProxyMode::Optional) if local.tls.is_none() || read.is_empty() => (ProxyOutcome::Absent, address, None),
        (Ok(_), _) => {
            note(local, address, ProxyOutcome::Missing, None);
            return None;
        }
        (Err((outcome, malformed)), _) => {
            note(local, address, outcome, malformed);
            return None;
        }
    };
    note(local, address, outcome, None);
    Some(Opening {
        address,
        arrival: local.listener.arrival(stream, destination),
        read,
    })
}

/// Takes as much of a header as there is, and nothing behind it, to the end of `read`. Never gives `Partial`.
fn poll_take(
    stream: &TcpStream,
    context: &mut Context<'_>,
    read: &mut Vec<u8>,
) -> Poll<Result<Beginning, (ProxyOutcome, Option<Malformed>)>> {
    const GONE: (ProxyOutcome, Option<Malformed>) = (ProxyOutcome::ClientGone, None);
    // Lives no longer than this call, so that it is no part of a future.
    let mut scratch = [MaybeUninit::uninit(); MAX_SIZE];
    loop {
        let before = read.len();
        // A part of a header is shorter than the longest whole one, so there is room.
        let mut peeked = ReadBuf::uninit(&mut scratch[before..]);
        match ready!(stream.poll_peek(context, &mut peeked)) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Poll::Ready(Err(GONE)),
        }
        read.extend_from_slice(peeked.filled());
        let beginning = parse(read).map_err(|malformed| (ProxyOutcome::Malformed, Some(malformed)))?;
        let own = match beginning {
            Beginning::Partial => read.len(),
            Beginning::Header(header) => header.length,
            Beginning::Other => before,
        };
        read.truncate(own);
        consume(stream, own - before).map_err(|_| GONE)?;
        if beginning != Beginning::Partial {
            return Poll::Ready(Ok(beginning));
        }
    }
}

/// Takes bytes off the socket that a peek has seen.
fn consume(stream: &TcpStream, mut count: usize) -> io::Result<()> {
    let mut scratch = [0; MAX_SIZE];
    while count > 0 {
        match stream.try_read(&mut scratch[..count])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => count -= read,
        }
    }
    Ok(())
}
