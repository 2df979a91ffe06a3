//! One HTTP/1.1 connection to an endpoint: a socket, nothing more while it is idle.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::{
    net,
    pool::{self, CloseReason, Liveness},
    ports::Reservation,
};

/// How long an endpoint that announced the close of a connection may take to send its FIN. When it comes in time there
/// is no TIME_WAIT on either side.
const FIN_WAIT: Duration = Duration::from_millis(50);

/// A socket to an endpoint, its place in the ledger, and what was read ahead during an exchange.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    /// Empty and without memory of its own while the connection is idle.
    pub(super) read: BytesMut,
    _reservation: Reservation,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, reservation: Reservation) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            _reservation: reservation,
        }
    }

    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.stream.local_addr()
    }
}

impl pool::Connection for Connection {
    fn liveness(&self) -> Liveness {
        if !self.read.is_empty() {
            return Liveness::Readable;
        }
        // No system call unless the reactor has seen something: the readiness flag says "would block" by itself.
        match self.stream.try_read(&mut [0]) {
            Ok(0) => Liveness::Closed,
            Ok(_) => Liveness::Readable,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Liveness::Silent,
            Err(_) => Liveness::Reset,
        }
    }

    fn adopt(self) -> Result<Self, CloseReason> {
        let Self {
            stream,
            read,
            _reservation,
        } = self;
        let Ok(stream) = stream.into_std() else {
            return Err(CloseReason::ResetByEndpoint);
        };
        let reason = match stream.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(0) => Some(CloseReason::ClosedByEndpoint),
            Ok(_) => Some(CloseReason::UnexpectedBytes),
            Err(_) => Some(CloseReason::ResetByEndpoint),
        };
        match (TcpStream::from_std(stream), reason) {
            (Ok(stream), None) => Ok(Self {
                stream,
                read,
                _reservation,
            }),
            (Ok(stream), Some(reason)) => {
                net::reset_on_close(&stream);
                Err(reason)
            }
            (Err(_), _) => Err(CloseReason::ResetByEndpoint),
        }
    }

    fn close(self, reason: CloseReason) {
        match ending(reason) {
            // TCP_LINGER2 is set: a FIN, a clean end at the endpoint, no TIME_WAIT.
            Ending::Fin => {}
            Ending::Reset => net::reset_on_close(&self.stream),
            Ending::AwaitFin => {
                tokio::task::spawn_local(await_fin(self));
            }
        }
    }
}

/// What is right at which end, so that neither side keeps a TIME_WAIT and the endpoint reads a reset only where
/// something was broken off.
enum Ending {
    Fin,
    Reset,
    AwaitFin,
}

fn ending(reason: CloseReason) -> Ending {
    match reason {
        CloseReason::EndpointAsked => Ending::AwaitFin,
        CloseReason::IdleTimeout
        | CloseReason::MaxLifetime
        | CloseReason::MaxRequests
        | CloseReason::Surplus
        | CloseReason::Tunnel
        | CloseReason::EndpointRemoved
        | CloseReason::Drain => Ending::Fin,
        CloseReason::ClosedByEndpoint
        | CloseReason::ResetByEndpoint
        | CloseReason::UnexpectedBytes
        | CloseReason::Stale
        | CloseReason::AbortedResponse
        | CloseReason::EarlyResponse
        | CloseReason::ClientGone
        | CloseReason::ProtocolError
        | CloseReason::Timeout => Ending::Reset,
    }
}

/// Cancellation: at the end of the worker the socket is closed without the wait.
async fn await_fin(connection: Connection) {
    let readable = connection.stream.readable();
    if tokio::time::timeout(FIN_WAIT, readable).await.is_ok() {
        net::reset_on_close(&connection.stream);
    }
}
