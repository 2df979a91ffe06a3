//! One connection to an endpoint: a socket, with TLS or not, and nothing more while it is idle.

use std::{io, task::Context};

use bytes::BytesMut;
use tokio::time::Instant;

use super::{closing, wire::Wire};
use crate::{
    net,
    pool::{self, CloseReason, End, FirstClose, Identity, Liveness},
    ports::Reservation,
};

/// A byte stream to an endpoint, its place in the ledger, and what was read ahead during an exchange.
#[derive(Debug)]
pub struct Connection {
    pub(super) wire: Wire,
    /// Empty and without memory of its own while the connection is idle.
    pub(super) read: BytesMut,
    /// How the endpoint has closed, if an exchange has met that.
    pub(super) received: Option<FirstClose>,
    pub(super) shut: Shut,
    pub(super) reservation: Reservation,
    identity: Option<Box<Identity>>,
}

/// How far a tunnel has ended its connection, which is the only one whose sides end one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shut {
    No,
    /// Our FIN is out; this was the first end of the two.
    Fin(FirstClose),
    /// It is to be reset.
    Reset,
}

impl Connection {
    pub(super) fn new(wire: Wire, reservation: Reservation, identity: Option<&Identity>) -> Self {
        Self {
            wire,
            read: BytesMut::new(),
            received: None,
            shut: Shut::No,
            reservation,
            identity: identity.cloned().map(Box::new),
        }
    }

    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.wire.tcp().local_addr()
    }

    pub fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Notes how a read ended that gave no bytes.
    pub(super) fn note_end(&mut self, result: &io::Result<usize>) {
        self.received = match result {
            Ok(_) => Some(FirstClose::EndpointFin),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(FirstClose::EndpointReset),
            // A FIN that TLS had not announced.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(FirstClose::EndpointFin),
            // The kernel gave up: a timeout, or the network is gone.
            Err(_) => None,
        };
    }
}

impl pool::Connection for Connection {
    fn liveness(&mut self) -> Liveness {
        if !self.read.is_empty() {
            return Liveness::Readable;
        }
        if !self.reservation.is_present() {
            return Liveness::SourceGone;
        }
        if self.identity.as_ref().is_some_and(|identity| identity.is_over()) {
            return Liveness::ClientLeft;
        }
        self.wire.look()
    }

    fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    fn watch(&self, context: &mut Context<'_>) {
        // What is ready already, the next look finds; the pool has just had one.
        let _ = self.wire.tcp().poll_read_ready(context);
    }

    fn adopt(mut self) -> Result<Self, (CloseReason, FirstClose)> {
        let lost = (CloseReason::ResetByEndpoint, FirstClose::EndpointReset);
        let (wire, liveness) = self.wire.adopt().map_err(|_| lost)?;
        let ended = match liveness {
            Liveness::Silent => {
                self.wire = wire;
                return Ok(self);
            }
            Liveness::Closed => (CloseReason::ClosedByEndpoint, FirstClose::EndpointFin),
            Liveness::Readable => (CloseReason::UnexpectedBytes, FirstClose::OurReset),
            Liveness::Reset | Liveness::SourceGone | Liveness::ClientLeft => lost,
        };
        net::reset_on_close(wire.tcp());
        Err(ended)
    }

    fn close(self, end: End<Self>) {
        closing::close(self, end, Instant::now());
    }
}
