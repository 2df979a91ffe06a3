//! How a client gets its connection.

use std::sync::Arc;

use rustls::{ClientConfig, client::Resumption, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Encryption, Load, LoadError, Protocol, record::Failure, stream::Stream};
use crate::{
    config::{UpstreamTls, Verify},
    http1::parse_authority,
    net::{self, ConnectOptions, OpenError, Reach, TcpOptions},
    tls::{self, ClientTls},
};

const HTTP_1_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// What is needed to connect, made once.
#[derive(Clone)]
pub(super) struct Connector {
    options: ConnectOptions,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls {
    connector: TlsConnector,
    server_name: ServerName<'static>,
    /// Without it the subject does not speak what is asked of it.
    must_choose: Option<&'static [u8]>,
}

impl Connector {
    /// # Errors
    /// There is to be TLS, and the authority is no server name, or the library refuses.
    pub fn new(load: &Load) -> Result<Self, LoadError> {
        Ok(Self {
            options: ConnectOptions {
                source: None,
                reach: Reach::Assigned,
                tcp: TcpOptions::default(),
                port_range: net::local_port_range(),
            },
            tls: match load.tls {
                Encryption::Off => None,
                Encryption::Tls => Some(Tls::new(load)?),
            },
        })
    }

    /// Connects, and shakes hands where there is TLS: each time in full, never with a session of before, so that what
    /// is measured is what a new client costs. The socket leaves no TIME_WAIT when it is closed.
    ///
    /// The caller bounds the time.
    ///
    /// Cancellation: dropping the future closes the socket.
    pub async fn connect(&self, load: &Load) -> Result<Stream, Failure> {
        let stream = net::connect(load.address, &self.options).await.map_err(failure)?;
        match &self.tls {
            None => Ok(Stream::Clear(stream)),
            Some(tls) => tls.shake_hands(stream).await,
        }
    }
}

fn failure(error: OpenError) -> Failure {
    match error {
        OpenError::NoPort(_) => Failure::NoPort,
        OpenError::Source(_) | OpenError::Connect(_) | OpenError::Local(_) => Failure::Connect,
    }
}

impl Tls {
    fn new(load: &Load) -> Result<Self, LoadError> {
        let protocol = match load.protocol {
            Protocol::Http1 => HTTP_1_1,
            Protocol::Http2 { .. } => HTTP_2,
        };
        Ok(Self {
            connector: TlsConnector::from(config(protocol)?),
            server_name: server_name(load)?,
            must_choose: (protocol == HTTP_2).then_some(HTTP_2),
        })
    }

    async fn shake_hands(&self, stream: TcpStream) -> Result<Stream, Failure> {
        let shaken = self.connector.connect(self.server_name.clone(), stream).await;
        let stream = shaken.map_err(|_| Failure::Connect)?;
        let chosen = stream.get_ref().1.alpn_protocol();
        if self.must_choose.is_some_and(|protocol| chosen != Some(protocol)) {
            return Err(Failure::Connect);
        }
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Believes whoever answers: the certificate of a subject under test is often made for the test, and nothing that is
/// sent here is a secret.
fn config(protocol: &[u8]) -> Result<Arc<ClientConfig>, LoadError> {
    let believing = UpstreamTls {
        verify: Verify::None,
        ..UpstreamTls::default()
    };
    let tls = ClientTls::new(&believing).map_err(LoadError::Tls)?;
    Ok(tls.offering(&[protocol], &Resumption::disabled()))
}

fn server_name(load: &Load) -> Result<ServerName<'static>, LoadError> {
    let authority = parse_authority(load.authority.as_bytes()).ok();
    let name = authority.and_then(|authority| tls::server_name(authority.host));
    name.ok_or(LoadError::ServerName)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::tests::load;

    #[tokio::test]
    async fn the_want_of_a_source_port_is_told_from_a_subject_that_is_not_there() {
        if !net::supports_local_port_range() {
            return;
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let load = load(address);
        let mut connector = Connector::new(&load).expect("a connector");
        let Stream::Clear(first) = connector.connect(&load).await.expect("a connection") else {
            panic!("in the clear");
        };
        let port = first.local_addr().expect("connected").port();
        connector.options.port_range = Some((port, port));
        assert_eq!(connector.connect(&load).await.err(), Some(Failure::NoPort));
        drop(listener);
        let connector = Connector::new(&load).expect("a connector");
        assert_eq!(connector.connect(&load).await.err(), Some(Failure::Connect));
    }

    #[test]
    fn a_server_name_is_the_host_of_the_authority() {
        let mut load = load(([192, 0, 2, 1], 443).into());
        for (authority, name) in [
            ("A.example:8443", "a.example"),
            ("[::1]:443", "::1"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            load.authority = authority.to_owned();
            let expected = ServerName::try_from(name).expect("a name");
            assert_eq!(server_name(&load).expect("a name"), expected);
        }
        load.authority = "a..example".to_owned();
        assert!(matches!(server_name(&load), Err(LoadError::ServerName)));
    }
}
