//! A client that speaks TLS with raw bytes inside, and shows what of the handshake a test may ask for.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::{
    authority::Issued,
    wire::{DEADLINE, Head},
};

/// What a client of TLS shall be like. Clones share their sessions.
#[derive(Clone)]
pub struct TlsSetup {
    config: ClientConfig,
    name: String,
}

/// One connection over TLS.
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

impl TlsSetup {
    /// A client that asks for `name` and believes every certificate.
    pub fn new(name: &str) -> TlsSetup {
        TlsSetup::with(name, None)
    }

    /// The same with a certificate of its own.
    pub fn holding(name: &str, own: &Issued) -> TlsSetup {
        TlsSetup::with(name, Some(own))
    }

    fn with(name: &str, own: Option<&Issued>) -> TlsSetup {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("known versions");
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BelievesAll));
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_file_iter(own.chain()).expect("a chain");
                let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
                let key = PrivateKeyDer::from_pem_file(own.key()).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a key that fits")
            }
        };
        config.resumption = Resumption::in_memory_sessions(8);
        TlsSetup {
            config,
            name: name.to_owned(),
        }
    }

    /// Offers these protocols.
    pub fn alpn(mut self, protocols: &[&str]) -> TlsSetup {
        self.config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        self
    }

    /// Runs the handshake to its end. What the proxy refuses of it may show only with the first read.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TlsClient> {
        let socket = TcpStream::connect_timeout(&address, DEADLINE)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        let name = ServerName::try_from(self.name.clone()).expect("a server name");
        let connection = ClientConnection::new(Arc::new(self.config.clone()), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsClient {
            stream,
            unread: Vec::new(),
        })
    }

    /// One GET on a connection of its own: the head and the body of the answer.
    pub fn get(&self, address: SocketAddr) -> io::Result<(Head, String)> {
        self.connect(address)?.get("/")
    }
}

impl TlsClient {
    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub fn protocol(&self) -> Option<String> {
        let protocol = self.stream.conn.alpn_protocol()?;
        Some(String::from_utf8_lossy(protocol).into_owned())
    }

    /// The certificate that was shown, as DER.
    pub fn shown(&self) -> Vec<u8> {
        let shown = self.stream.conn.peer_certificates().expect("the handshake is over");
        shown[0].to_vec()
    }

    pub fn get(&mut self, path: &str) -> io::Result<(Head, String)> {
        let host = "a.example";
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    pub fn send(&mut self, bytes: &str) -> io::Result<()> {
        self.stream.write_all(bytes.as_bytes())
    }

    /// Sends these bytes and reads one answer that has a length.
    pub fn request(&mut self, bytes: &str) -> io::Result<(Head, String)> {
        self.send(bytes)?;
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more()?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = Head::parse(&head);
        let length = head
            .field("content-length")
            .map_or(0, |length| length.parse().expect("a number"));
        while self.unread.len() < length {
            self.read_more()?;
        }
        let body: Vec<u8> = self.unread.drain(..length).collect();
        Ok((head, String::from_utf8_lossy(&body).into_owned()))
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

#[derive(Debug)]
struct BelievesAll;

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
