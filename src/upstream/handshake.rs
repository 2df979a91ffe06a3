//! The TLS handshake with one endpoint.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustls::{ClientConfig, HandshakeKind, client::Resumption, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    connector::ConnectError,
    wire::{Socket, Wire},
};
use crate::{
    config,
    pool::Identity,
    tls::{self, ClientTls},
};

/// RFC 9113 3.2 and RFC 7301.
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Server names of which sessions are kept, for one endpoint.
const SESSIONS: usize = 256;

/// Which HTTP a new connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    Http1,
    Http2,
    /// The endpoint chooses.
    Either,
}

/// TLS with one endpoint.
#[derive(Debug)]
pub(super) struct EndpointTls {
    pub(super) client: ClientTls,
    /// Where the name is not the request's; `None`: the endpoint's host is none that a certificate could hold.
    name: Option<ServerName<'static>>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
    counts: HandshakeCounts,
}

/// How handshakes with one endpoint ended.
#[derive(Debug, Default)]
pub struct HandshakeCounts {
    pub full: AtomicU64,
    /// With a ticket of an earlier session.
    pub resumed: AtomicU64,
    pub failed: AtomicU64,
}

impl EndpointTls {
    /// `host` is the endpoint's as configured.
    pub(super) fn new(client: ClientTls, host: &str) -> Self {
        let name = match &client.server_name {
            config::ServerName::Fixed(name) => name.as_str(),
            config::ServerName::Endpoint | config::ServerName::Request => host,
        };
        // Another endpoint of the same name could make nothing of this one's tickets.
        let sessions = Resumption::in_memory_sessions(SESSIONS);
        Self {
            name: tls::server_name(name),
            http1: client.offering(&[HTTP_1_1], &sessions),
            http2: client.offering(&[H2], &sessions),
            either: client.offering(&[H2, HTTP_1_1], &sessions),
            counts: HandshakeCounts::default(),
            client,
        }
    }

    pub(super) fn counts(&self) -> &HandshakeCounts {
        &self.counts
    }

    /// The time for a handshake has passed.
    pub(super) fn note_late(&self) {
        self.counts.failed.fetch_add(1, Relaxed);
    }

    /// Sets TLS up on a fresh socket. The caller bounds the time.
    ///
    /// # Errors
    /// [`ConnectError::Tls`], [`ConnectError::Certificate`] and [`ConnectError::NoHttp2`].
    ///
    /// Cancellation: the socket closes.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
        identity: Option<&Identity>,
        offer: Offer,
    ) -> Result<Wire, ConnectError> {
        let shaken = self.try_to_shake(stream, identity, offer).await;
        let count = match &shaken {
            Ok(Wire::Tls(stream)) if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) => {
                &self.counts.resumed
            }
            Ok(_) => &self.counts.full,
            Err(_) => &self.counts.failed,
        };
        count.fetch_add(1, Relaxed);
        shaken
    }

    async fn try_to_shake(
        &self,
        stream: TcpStream,
        identity: Option<&Identity>,
        offer: Offer,
    ) -> Result<Wire, ConnectError> {
        let asked = identity.and_then(|identity| identity.server_name.as_deref());
        let name = match asked {
            Some(host) => tls::server_name(host),
            None => self.name.clone(),
        };
        let name = name.ok_or_else(|| ConnectError::Tls(io::Error::other("there is no server name to ask for")))?;
        let config = match offer {
            Offer::Http1 => &self.http1,
            Offer::Http2 => &self.http2,
            Offer::Either => &self.either,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, Socket::new(stream)).await.map_err(sorted)?;
        let wire = Wire::Tls(Box::new(stream));
        if offer == Offer::Http2 && !wire.is_http2() {
            return Err(ConnectError::NoHttp2);
        }
        Ok(wire)
    }
}

/// What TLS itself has said, where it was not the socket.
pub(super) fn of_library(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether it was the certificate.
fn sorted(error: io::Error) -> ConnectError {
    match of_library(&error) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            ConnectError::Certificate(error)
        }
        _ => ConnectError::Tls(error),
    }
}
