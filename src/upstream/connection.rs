//! One HTTP/1.1 connection to an endpoint: a socket, nothing more while it is idle.

use std::{io, task::Context};

use bytes::BytesMut;
use tokio::{net::TcpStream, time::Instant};

use super::closing;
use crate::{
    pool::{self, CloseReason, End, FirstClose, Liveness},
    ports::Reservation,
};

/// A socket to an endpoint, its place in the ledger, and what was read ahead during an exchange.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    /// Empty and without memory of its own while the connection is idle.
    pub(super) read: BytesMut,
    /// How the endpoint has closed, if an exchange has met that.
    pub(super) received: Option<FirstClose>,
    pub(super) reservation: Reservation,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, reservation: Reservation) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            received: None,
            reservation,
        }
    }

    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.stream.local_addr()
    }

    pub fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Notes how a read ended that gave no bytes.
    pub(super) fn note_end(&mut self, result: &io::Result<usize>) {
        self.received = match result {
            Ok(_) => Some(FirstClose::EndpointFin),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(FirstClose::EndpointReset),
            // The kernel gave up: a timeout, or the network is gone.
            Err(_) => None,
        };
    }

    /// What the socket shows. No system call unless the reactor has seen something: the readiness flag says "would
    /// block" by itself.
    pub(super) fn look(&self) -> Liveness {
        match self.stream.try_read(&mut [0]) {
            Ok(0) => Liveness::Closed,
            Ok(_) => Liveness::Readable,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Liveness::Silent,
            Err(_) => Liveness::Reset,
        }
    }
}

impl pool::Connection for Connection {
    fn liveness(&self) -> Liveness {
        if !self.read.is_empty() {
            return Liveness::Readable;
        }
        if !self.reservation.is_present() {
            return Liveness::SourceGone;
        }
        self.look()
    }

    fn watch(&self, context: &mut Context<'_>) {
        // What is ready already, the next look finds; the pool has just had one.
        let _ = self.stream.poll_read_ready(context);
    }

    fn adopt(self) -> Result<Self, (CloseReason, FirstClose)> {
        let Self {
            stream,
            read,
            received,
            reservation,
        } = self;
        let lost = (CloseReason::ResetByEndpoint, FirstClose::EndpointReset);
        let stream = stream.into_std().map_err(|_| lost)?;
        let ended = match stream.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(0) => Some((CloseReason::ClosedByEndpoint, FirstClose::EndpointFin)),
            Ok(_) => Some((CloseReason::UnexpectedBytes, FirstClose::OurReset)),
            Err(_) => Some(lost),
        };
        let stream = TcpStream::from_std(stream).map_err(|_| lost)?;
        match ended {
            None => Ok(Self {
                stream,
                read,
                received,
                reservation,
            }),
            Some(ended) => {
                closing::close_unadopted(&stream);
                Err(ended)
            }
        }
    }

    fn close(self, end: End<Self>) {
        closing::close(self, end, Instant::now());
    }
}
