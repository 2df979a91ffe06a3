//! Opens connections to one endpoint: source address, deadline, and what is tried when the ports of one source run out.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::time::Instant;

use super::connection::Connection;
use crate::{
    config,
    net::{self, ConnectOptions, TcpOptions},
    ports::{self, Ledger, SourceStatus},
    worker::Timers,
};

/// How the connections of one endpoint are opened.
#[derive(Debug)]
pub struct Connector {
    endpoint: SocketAddr,
    ledger: Arc<Ledger>,
    tcp: TcpOptions,
    port_range: Option<(u16, u16)>,
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
    pub fn new(endpoint: SocketAddr, cluster: &config::Cluster) -> Self {
        Self {
            endpoint,
            ledger: Ledger::new(&cluster.source.addresses, endpoint.ip()),
            tcp: tcp_options(&cluster.tcp_keepalive, cluster.tcp_user_timeout),
            port_range: net::local_port_range(),
        }
    }

    /// Opens a connection, trying each source address once while ports run out.
    ///
    /// Cancellation: the socket closes and its port is free at once.
    pub async fn connect(&self, timers: &Timers, timeout: std::time::Duration) -> Result<Connection, ConnectError> {
        let deadline = Instant::now() + timeout;
        tokio::select! {
            biased;
            result = self.try_sources() => result,
            () = timers.sleep_until(deadline) => Err(ConnectError::TimedOut),
        }
    }

    /// Opens a socket for a probe, in the same way but without a second source.
    ///
    /// # Errors
    /// Those of `connect()`.
    pub async fn connect_probe(&self) -> io::Result<tokio::net::TcpStream> {
        let reservation = self
            .ledger
            .reserve(&[], Instant::now())
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let options = ConnectOptions {
            source: reservation.address(),
            tcp: self.tcp,
            port_range: self.port_range,
        };
        net::connect(self.endpoint, &options).await
    }

    pub fn source_status(&self) -> Vec<SourceStatus> {
        self.ledger.status()
    }

    async fn try_sources(&self) -> Result<Connection, ConnectError> {
        let mut tried = Vec::new();
        loop {
            let Some(reservation) = self.ledger.reserve(&tried, Instant::now()) else {
                return Err(ConnectError::PortsExhausted);
            };
            let source = reservation.address();
            let options = ConnectOptions {
                source,
                tcp: self.tcp,
                port_range: self.port_range,
            };
            match net::connect(self.endpoint, &options).await {
                Ok(stream) => return Ok(Connection::new(stream, reservation)),
                Err(error) if ports::is_exhaustion(&error) => {
                    tracing::debug!(endpoint = %self.endpoint, ?source, %error, "no source port is free");
                    reservation.exhausted(Instant::now());
                    tried.push(source);
                }
                Err(error) => return Err(ConnectError::from_io(error)),
            }
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
