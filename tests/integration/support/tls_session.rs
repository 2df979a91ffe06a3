//! The endpoint's side of TLS on a blocking socket, with everything in the test's hands that a library usually does by
//! itself.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use super::{
    authority::{Authority, Issued},
    eventually::Gate,
};

/// What an endpoint's TLS shall be like.
#[derive(Clone)]
pub struct EndpointTls {
    pub(super) config: ServerConfig,
    /// Held back behind the handshake until this opens.
    pub(super) tickets: Option<Gate>,
    /// Nothing of the handshake is answered until this opens.
    pub(super) hello: Option<Gate>,
}

/// What an endpoint has seen of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub server_name: Option<String>,
    pub protocol: Option<String>,
    pub version: Option<ProtocolVersion>,
    pub resumed: bool,
    /// The client's certificates, as DER.
    pub certificates: Vec<Vec<u8>>,
}

/// A session whose handshake is over.
pub struct Session {
    connection: ServerConnection,
    notified: bool,
}

impl EndpointTls {
    /// Shows `certificate`, resumes sessions and speaks every version.
    pub fn new(certificate: &Issued) -> EndpointTls {
        EndpointTls::with(&certificate.chain(), &certificate.key(), &[&TLS13, &TLS12], None)
    }

    /// Speaks this version only.
    pub fn only(certificate: &Issued, version: &'static SupportedProtocolVersion) -> EndpointTls {
        EndpointTls::with(&certificate.chain(), &certificate.key(), &[version], None)
    }

    /// Asks for a certificate that `authority` vouches for.
    pub fn asking(
        certificate: &Issued,
        version: &'static SupportedProtocolVersion,
        authority: &Authority,
    ) -> EndpointTls {
        let (chain, key) = (certificate.chain(), certificate.key());
        EndpointTls::with(&chain, &key, &[version], Some(authority))
    }

    pub fn with(
        chain: &std::path::Path,
        key: &std::path::Path,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&Authority>,
    ) -> EndpointTls {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(versions).expect("known versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_file(authority.chain()).expect("a certificate");
                roots.add(root).expect("a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("there is a root"))
            }
        };
        let chain = CertificateDer::pem_file_iter(chain).expect("a chain");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let mut config = builder.with_single_cert(chain, key).expect("they fit");
        config.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
        config.session_storage = Arc::new(NoServerSessionStorage {});
        EndpointTls {
            config,
            tickets: None,
            hello: None,
        }
    }

    /// Chooses among these protocols.
    pub fn alpn(mut self, protocols: &[&str]) -> EndpointTls {
        self.config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        self
    }

    /// Holds the tickets behind the handshake back until `gate` opens.
    pub fn late_tickets(mut self, gate: &Gate) -> EndpointTls {
        self.tickets = Some(gate.clone());
        self
    }

    /// Says nothing at all until `gate` opens.
    pub fn late_hello(mut self, gate: &Gate) -> EndpointTls {
        self.hello = Some(gate.clone());
        self
    }

    /// Runs the handshake, and shows what was agreed on.
    ///
    /// # Errors
    /// What the other side has said against it, among others.
    pub(super) fn accept(&self, stream: &mut TcpStream, seen: impl FnOnce(Handshake)) -> io::Result<Session> {
        if let Some(gate) = &self.hello {
            gate.wait();
        }
        let config = Arc::new(self.config.clone());
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            while connection.wants_write() {
                connection.write_tls(stream)?;
            }
            if connection.read_tls(stream)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = connection.process_new_packets() {
                // The alert, as far as the other side still takes it.
                let _ = connection.write_tls(stream);
                return Err(io::Error::other(error));
            }
        }
        seen(Handshake::of(&connection));
        if let Some(gate) = &self.tickets {
            gate.wait();
        }
        let mut session = Session {
            connection,
            notified: false,
        };
        session.flush(stream)?;
        Ok(session)
    }
}

impl Handshake {
    fn of(connection: &ServerConnection) -> Handshake {
        let certificates = connection.peer_certificates().unwrap_or_default();
        let protocol = connection.alpn_protocol();
        Handshake {
            server_name: connection.server_name().map(str::to_owned),
            protocol: protocol.map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            version: connection.protocol_version(),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect(),
        }
    }
}

impl Session {
    /// Whether the other side has said that it will send no more (RFC 8446 6.1).
    pub fn is_notified(&self) -> bool {
        self.notified
    }

    pub(super) fn write(&mut self, stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.connection.writer().write(bytes)?;
            bytes = &bytes[written..];
            self.flush(stream)?;
        }
        Ok(())
    }

    /// As of a socket: no bytes is the end. One without close_notify is told from one with it by
    /// [`Session::is_notified`].
    pub(super) fn read(&mut self, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.notified {
                // What follows can only be the FIN, or bytes that are none of TLS.
                return stream.read(buffer);
            }
            match self.connection.reader().read(buffer) {
                Ok(0) => self.notified = true,
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.connection.read_tls(stream)? == 0 {
                        return Ok(0);
                    }
                    if self.connection.process_new_packets().is_err() {
                        return Err(ErrorKind::ConnectionReset.into());
                    }
                    self.flush(stream)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that no more will be sent.
    pub fn notify(&mut self, stream: &mut TcpStream) {
        self.connection.send_close_notify();
        // Whoever has gone does not need to be told.
        let _ = self.flush(stream);
    }

    /// Changes the key for what is sent from here on, and asks for the same (RFC 8446 4.6.3).
    pub fn update_keys(&mut self, stream: &mut TcpStream) {
        self.connection.refresh_traffic_keys().expect("TLS 1.3");
        self.flush(stream).expect("the proxy takes it");
    }

    fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(stream)?;
        }
        Ok(())
    }
}
