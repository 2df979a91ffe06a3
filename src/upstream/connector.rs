//! Opens connections to one endpoint: source address, deadline, and what is tried when the ports of one source run out.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

use super::{
    complaint::Complaints,
    connection::Connection,
    endpoint::EndpointCounts,
    handshake::{EndpointTls, HandshakeCounts, Offer},
    wire::Wire,
};
use crate::{
    config,
    net::{self, ConnectOptions, OpenError, TcpOptions, proxy_protocol},
    pool::{Identity, Permit, Pool},
    ports::{Ledger, Ports, Reservation},
    tls::ClientTls,
    worker::Timers,
};

/// How the connections of one endpoint are opened.
#[derive(Debug)]
pub struct Connector {
    endpoint: SocketAddr,
    ledger: Arc<Ledger>,
    tcp: TcpOptions,
    proxy_header: Option<proxy_protocol::Version>,
    tls: Option<EndpointTls>,
    complaints: Complaints,
}

/// What a connection is opened for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// Of a request that makes a difference.
    pub identity: Option<&'a Identity>,
    pub offer: Offer,
}

impl Purpose<'_> {
    /// HTTP/1 requests that are all alike.
    pub const HTTP1: Self = Self {
        identity: None,
        offer: Offer::Http1,
    };
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
    #[error("the TLS handshake with the endpoint failed")]
    Tls(#[source] io::Error),
    #[error("the endpoint's certificate is not accepted")]
    Certificate(#[source] io::Error),
    #[error("the endpoint does not offer HTTP/2")]
    NoHttp2,
    /// For example, no file descriptor is left.
    #[error("this machine could not open a connection")]
    Local(#[source] io::Error),
}

/// What is said of it beside [`ConnectError::TimedOut`].
#[derive(Debug, thiserror::Error)]
#[error("the endpoint did not finish the TLS handshake in time")]
struct SlowHandshake;

impl Connector {
    /// `host` is the endpoint's as configured.
    pub fn new(
        endpoint: SocketAddr,
        host: &str,
        cluster: &config::Cluster,
        tls: Option<&ClientTls>,
        ports: &Arc<Ports>,
    ) -> Self {
        let sources = cluster.source.addresses.iter().flat_map(config::SourceAddress::expand);
        Self {
            endpoint,
            ledger: Ledger::new(ports, sources, cluster.source.max_fill, endpoint),
            tcp: tcp_options(&cluster.tcp_keepalive, cluster.tcp_user_timeout),
            proxy_header: cluster.proxy_header.map(|header| match header {
                config::ProxyHeader::V1 => proxy_protocol::Version::V1,
                config::ProxyHeader::V2 => proxy_protocol::Version::V2,
            }),
            tls: tls.map(|tls| EndpointTls::new(tls.clone(), host)),
            complaints: Complaints::default(),
        }
    }

    /// Opens a connection, trying each source address once while ports run out. `timeout` is that of everything up to
    /// where HTTP begins.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// Cancellation: the socket closes and its port is free at once.
    pub async fn connect(
        &self,
        purpose: Purpose<'_>,
        timers: &Timers,
        timeout: std::time::Duration,
    ) -> Result<Connection, ConnectError> {
        let deadline = Instant::now() + timeout;
        let (stream, reservation) = tokio::select! {
            biased;
            result = self.try_sources() => result?,
            () = timers.sleep_until(deadline) => {
                self.note_silence();
                return Err(ConnectError::TimedOut);
            }
        };
        tokio::select! {
            biased;
            result = self.set_up(stream, purpose) => Ok(Connection::new(result?, reservation, purpose.identity)),
            () = timers.sleep_until(deadline) => Err(self.late()),
        }
    }

    /// As [`Connector::connect`], where the caller bounds the time.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// Cancellation: the socket closes and its port is free at once.
    pub async fn connect_at_leisure(&self, purpose: Purpose<'_>) -> Result<Connection, ConnectError> {
        let (stream, reservation) = self.try_sources().await?;
        let wire = self.set_up(stream, purpose).await?;
        Ok(Connection::new(wire, reservation, purpose.identity))
    }

    /// Everything between TCP and HTTP.
    ///
    /// Cancellation: the socket closes.
    async fn set_up(&self, mut stream: TcpStream, purpose: Purpose<'_>) -> Result<Wire, ConnectError> {
        if let Some(version) = self.proxy_header {
            let header = header(version, purpose.identity);
            stream.write_all(&header).await.map_err(ConnectError::Unreachable)?;
        }
        let Some(tls) = &self.tls else {
            return Ok(Wire::Plain(stream));
        };
        let shaken = tls.shake(stream, purpose.identity, purpose.offer).await;
        shaken.inspect_err(|error| self.complain(error))
    }

    /// The endpoint has accepted the connection, and nothing came of it in time.
    fn late(&self) -> ConnectError {
        if let Some(tls) = &self.tls {
            tls.note_late();
            self.complain(&SlowHandshake);
        }
        ConnectError::TimedOut
    }

    /// Says what is wrong with the endpoint.
    pub(super) fn complain(&self, error: &dyn std::error::Error) {
        self.complaints.log(self.endpoint, error, Instant::now());
    }

    async fn try_sources(&self) -> Result<(TcpStream, Reservation), ConnectError> {
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
                    return Ok((stream, reservation));
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

    /// What its connections have in common over TLS; `None`: they are in the clear.
    pub fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref().map(|tls| &tls.client)
    }

    /// How its handshakes ended; `None`: there are none.
    pub fn handshakes(&self) -> Option<&HandshakeCounts> {
        self.tls.as_ref().map(EndpointTls::counts)
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
    /// Tells the pool, or counts against the endpoint, that no connection could be opened with `permit`.
    pub(super) fn note(&self, pool: &Pool<Connection>, permit: Permit<Connection>, counts: &EndpointCounts) {
        match self {
            Self::PortsExhausted => pool.note_no_port(permit, Instant::now()),
            // Of this machine, not of the endpoint.
            Self::Local(_) => {}
            Self::Refused
            | Self::TimedOut
            | Self::Unreachable(_)
            | Self::Tls(_)
            | Self::Certificate(_)
            | Self::NoHttp2 => {
                counts.connect_failures.fetch_add(1, Relaxed);
            }
        }
    }

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

/// What the endpoint reads ahead of everything else. Connections that are not for one client are the proxy's own.
fn header(version: proxy_protocol::Version, identity: Option<&Identity>) -> Vec<u8> {
    match identity.and_then(|identity| identity.client.as_deref()) {
        Some(client) => proxy_protocol::encode(version, client.source, client.destination),
        None => proxy_protocol::encode_own(version),
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
