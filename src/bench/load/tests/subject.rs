//! A server of few words: what it answers is decided by the test, what it saw is counted.

use std::{
    future::pending,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    HandshakeKind, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    runtime::Builder,
    time,
};
use tokio_rustls::TlsAcceptor;

use super::super::{Encryption, Load, Protocol};

pub(super) struct Subject {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    full_handshakes: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// What the subject does with a request.
pub(super) enum Reaction {
    /// These bytes, as they are. HTTP/1 only.
    Bytes(&'static str),
    /// These bytes, and then the end of the connection. HTTP/1 only.
    Last(&'static str),
    /// An answer with this status and so many bytes. HTTP/2 only.
    Status(u16, usize),
    /// These bytes after so long, in which no other request of the connection is read. HTTP/1 only.
    Late(Duration, &'static str),
    Silence,
    /// The connection is closed, or the stream reset.
    End,
}

/// By the number of the request, counted from 0 over all connections.
type React = dyn Fn(u64) -> Reaction + Send + Sync;

impl Subject {
    pub fn new(react: impl Fn(u64) -> Reaction + Send + Sync + 'static) -> Self {
        Self::speaking(Protocol::Http1, Encryption::Off, react)
    }

    /// Lives in a thread that ends with the process.
    pub fn speaking(
        protocol: Protocol,
        tls: Encryption,
        react: impl Fn(u64) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("an option");
        let subject = Self {
            address: listener.local_addr().expect("bound"),
            seen: Arc::default(),
        };
        let server = Server {
            seen: Arc::clone(&subject.seen),
            react: Arc::new(react),
            protocol,
            tls: (tls == Encryption::Tls).then(acceptor),
        };
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        thread::spawn(move || runtime.block_on(server.accept(listener)));
        subject
    }

    pub fn connections(&self) -> u64 {
        self.seen.connections.load(SeqCst)
    }

    pub fn full_handshakes(&self) -> u64 {
        self.seen.full_handshakes.load(SeqCst)
    }

    pub fn requests(&self) -> u64 {
        self.seen.requests.load(SeqCst)
    }

    /// Of the bodies of requests.
    pub fn bytes(&self) -> u64 {
        self.seen.bytes.load(SeqCst)
    }

    /// Four clients in two threads for a fifth of a second.
    pub fn load(&self) -> Load {
        super::load(self.address)
    }
}

#[derive(Clone)]
struct Server {
    seen: Arc<Seen>,
    react: Arc<React>,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("registered");
        while let Ok((stream, _)) = listener.accept().await {
            self.seen.connections.fetch_add(1, SeqCst);
            let server = self.clone();
            tokio::spawn(async move {
                let Some(tls) = &server.tls else {
                    return server.serve(stream).await;
                };
                let stream = tls.accept(stream).await?;
                if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Full) {
                    server.seen.full_handshakes.fetch_add(1, SeqCst);
                }
                server.serve(stream).await
            });
        }
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        match self.protocol {
            Protocol::Http1 => self.serve_http1(stream).await,
            Protocol::Http2 { .. } => self.serve_http2(stream).await.map_err(io::Error::other),
        }
    }

    async fn serve_http1(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        while let Some(close) = self.read_request(&mut stream).await? {
            match (self.react)(self.seen.requests.fetch_add(1, SeqCst)) {
                Reaction::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await?,
                Reaction::Last(bytes) => {
                    stream.write_all(bytes.as_bytes()).await?;
                    break;
                }
                Reaction::Late(pause, bytes) => {
                    time::sleep(pause).await;
                    stream.write_all(bytes.as_bytes()).await?;
                }
                Reaction::Silence => pending().await,
                Reaction::End => break,
                Reaction::Status(..) => panic!("HTTP/2 only"),
            }
            if close {
                break;
            }
        }
        stream.shutdown().await
    }

    /// Whether the client wants the connection closed; `None`: it has ended.
    async fn read_request(&self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<bool>> {
        let mut bytes = Vec::new();
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
                let digits = rest.split("\r\n").next().expect("a line");
                digits.parse().expect("a number")
            });
            if head.starts_with("PRI ") {
                return Ok(None);
            }
            if body.len() == length {
                self.seen.bytes.fetch_add(length as u64, SeqCst);
                return Ok(Some(head.contains("connection: close")));
            }
        }
    }

    async fn serve_http2(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), h2::Error> {
        let mut connection = h2::server::handshake(stream).await?;
        while let Some(accepted) = connection.accept().await {
            let (request, mut respond) = accepted?;
            let reaction = (self.react)(self.seen.requests.fetch_add(1, SeqCst));
            let seen = Arc::clone(&self.seen);
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(data)) = body.data().await {
                    seen.bytes.fetch_add(data.len() as u64, SeqCst);
                    let _ = body.flow_control().release_capacity(data.len());
                }
                match reaction {
                    Reaction::Status(status, size) => {
                        let head = http::Response::builder().status(status).body(()).expect("a head");
                        let Ok(mut stream) = respond.send_response(head, size == 0) else {
                            return;
                        };
                        if size > 0 {
                            let _ = stream.send_data(Bytes::from(vec![b'x'; size]), true);
                        }
                    }
                    Reaction::Silence => pending().await,
                    Reaction::End => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                    Reaction::Bytes(_) | Reaction::Last(_) | Reaction::Late(..) => panic!("HTTP/1 only"),
                }
            });
        }
        Ok(())
    }
}

fn acceptor() -> TlsAcceptor {
    let made = generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
    let CertifiedKey { cert, signing_key } = made;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key);
    let mut config = config.expect("a certificate and its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
