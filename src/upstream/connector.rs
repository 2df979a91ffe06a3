//! Opens connections to one endpoint: source address, deadline, and what is tried when the ports of one source run out.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::time::Instant;

use super::{connection::Connection, wire::Wire};
use crate::{
    config,
    net::{self, ConnectOptions, OpenError, TcpOptions},
    ports::{Ledger, Ports, Reservation},
    worker::Timers,
};

/// How the connections of one endpoint are opened.
#[derive(Debug)]
pub struct Connector {
    endpoint: SocketAddr,
    ledger: Arc<Ledger>,
    tcp: TcpOptions,
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the endpoint refused the connection")]
    Refused,
    #[error("the endpoint did not accept the connection in time")]
    TimedOut,
    #[error("the endpoint cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("no source port is free towards the endpoint")]
    PortsExhausted,
    /// For example, no file descriptor is left.
    #[error("this machine could not open a connection")]
    Local(#[source] io::Error),
}

impl Connector {
    pub fn new(endpoint: SocketAddr, cluster: &config::Cluster, ports: &Arc<Ports>) -> Self {
        let sources = cluster.source.addresses.iter().flat_map(config::SourceAddress::expand);
        Self {
            endpoint,
            ledger: Ledger::new(ports, sources, cluster.source.max_fill, endpoint),
            tcp: tcp_options(&cluster.tcp_keepalive, cluster.tcp_user_timeout),
        }
    }

    /// Opens a connection, trying each source address once while ports run out.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// Cancellation: the socket closes and its port is free at once.
    pub async fn connect(&self, timers: &Timers, timeout: std::time::Duration) -> Result<Connection, ConnectError> {
        let deadline = Instant::now() + timeout;
        tokio::select! {
            biased;
            result = self.try_sources() => result,
            () = timers.sleep_until(deadline) => {
                self.note_silence();
                Err(ConnectError::TimedOut)
            }
        }
    }

    /// As [`Connector::connect`], where the caller bounds the time.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// Cancellation: the socket closes and its port is free at once.
    pub async fn try_sources(&self) -> Result<Connection, ConnectError> {
        let mut tried = Vec::new();
        loop {
            let Some(mut reservation) = self.ledger.reserve(&tried, Instant::now()) else {
                return Err(ConnectError::PortsExhausted);
            };
            let source = reservation.source();
            match net::connect(self.endpoint, &self.options(&reservation)).await {
                Ok(stream) => {
                    let local = stream.local_addr().map_err(ConnectError::Local)?;
                    reservation.connected(local.ip());
                    return Ok(Connection::new(Wire::Plain(stream), reservation));
                }
                Err(OpenError::NoPort(error)) => {
                    tracing::debug!(endpoint = %self.endpoint, %error, "no source port is free");
                    reservation.exhausted(Instant::now());
                }
                Err(OpenError::Source(_)) => reservation.absent(),
                Err(OpenError::Connect(error)) => return Err(ConnectError::from_io(error)),
                Err(OpenError::Local(error)) => return Err(ConnectError::Local(error)),
            }
            tried.push(source);
        }
    }

    /// The endpoint acknowledges nothing.
    pub fn note_silence(&self) {
        self.ledger.note_silence(Instant::now());
    }

    /// How many connections may go to the endpoint from each source address.
    pub fn port_limit(&self) -> usize {
        self.ledger.limit()
    }

    fn options(&self, reservation: &Reservation) -> ConnectOptions {
        ConnectOptions {
            source: reservation.address(),
            reach: reservation.reach(),
            tcp: self.tcp,
            port_range: self.ledger.range(),
        }
    }
}

impl ConnectError {
    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
                Self::Unreachable(error)
            }
            _ => Self::Local(error),
        }
    }
}

/// The socket options that a config section asks for.
pub fn tcp_options(keepalive: &config::TcpKeepalive, user_timeout: std::time::Duration) -> TcpOptions {
    TcpOptions {
        keepalive_idle: keepalive.idle,
        keepalive_interval: keepalive.interval,
        keepalive_count: keepalive.count,
        user_timeout,
    }
}
