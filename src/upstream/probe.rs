//! Connections for probes: opened and closed as those of requests are, counted beside them, and kept out of the pool.

use std::{io, mem, sync::Arc};

use super::{
    connection::Connection,
    connector::{ConnectError, Connector, Purpose},
    handshake::Offer,
    wire::Wire,
};
use crate::{
    health,
    pool::{CloseReason, Connection as _, Liveness, OpenReason, Pool},
};

/// A connection that a probe is sent over.
#[derive(Debug)]
pub struct ProbeConnection {
    /// Invariant: `Some` until the end takes it.
    connection: Option<Connection>,
    pool: Arc<Pool<Connection>>,
    /// Why it ends if it is simply dropped.
    dropped: CloseReason,
}

/// Opens a connection for a probe. It holds a source port like any other, but no permit: a probe is to find out how an
/// endpoint is that has as many connections as it may.
///
/// # Errors
/// Those of `connect()`; `EADDRNOTAVAIL` where no source port is free.
///
/// Cancellation: the socket closes and its port is free at once.
pub async fn connect_probe(
    connector: &Connector,
    pool: &Arc<Pool<Connection>>,
    offer: Offer,
) -> io::Result<ProbeConnection> {
    let purpose = Purpose { identity: None, offer };
    let connection = connector.connect_at_leisure(purpose).await.map_err(to_io)?;
    pool.count_opened(OpenReason::Probe);
    Ok(ProbeConnection {
        connection: Some(connection),
        pool: Arc::clone(pool),
        dropped: CloseReason::ProbeEnded,
    })
}

fn to_io(error: ConnectError) -> io::Error {
    match error {
        ConnectError::Refused => io::Error::from_raw_os_error(libc::ECONNREFUSED),
        ConnectError::TimedOut => io::Error::from_raw_os_error(libc::ETIMEDOUT),
        ConnectError::PortsExhausted => io::Error::from_raw_os_error(libc::EADDRNOTAVAIL),
        ConnectError::Unreachable(error) | ConnectError::Local(error) => error,
        error @ (ConnectError::Tls(_) | ConnectError::Certificate(_) | ConnectError::NoHttp2) => {
            io::Error::other(error)
        }
    }
}

impl ProbeConnection {
    fn get(&mut self) -> &mut Connection {
        self.connection
            .as_mut()
            .expect("only an ending takes it, and that consumes self")
    }

    fn end(&mut self, reason: CloseReason) {
        if let Some(connection) = self.connection.take() {
            connection.close(self.pool.end_of_other(reason));
        }
    }
}

impl health::ProbeConnection for ProbeConnection {
    type Stream = Wire;

    fn stream(&mut self) -> &mut Wire {
        &mut self.get().wire
    }

    fn liveness(&mut self) -> Liveness {
        self.get().liveness()
    }

    fn begin(&mut self) {
        self.dropped = CloseReason::Timeout;
    }

    fn keep(&mut self) {
        self.dropped = CloseReason::ProbeEnded;
    }

    fn close(mut self, reason: CloseReason) {
        self.end(reason);
    }
}

impl Drop for ProbeConnection {
    fn drop(&mut self) {
        let reason = mem::replace(&mut self.dropped, CloseReason::ProbeEnded);
        self.end(reason);
    }
}
