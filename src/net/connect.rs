//! Opens upstream sockets: the one seam through which every connection to an endpoint is made.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use super::{Reach, TcpOptions, reset_on_close, sockopt};

/// How to open a connection to an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectOptions {
    /// `None`: the kernel's choice.
    pub source: Option<IpAddr>,
    /// How the source address is this machine's.
    pub reach: Reach,
    pub tcp: TcpOptions,
    /// The whole range of source ports, as [`local_port_range`] read it.
    pub port_range: Option<(u16, u16)>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the source address is not on this machine")]
    Source(#[source] io::Error),
    /// No source port is left towards the endpoint; it says nothing about the endpoint.
    #[error("no source port is free")]
    NoPort(#[source] io::Error),
    /// Also a connection to itself: an unused port of loopback inside the range of source ports.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// A descriptor or an option was refused.
    #[error("this machine could not make a socket")]
    Local(#[source] io::Error),
}

/// Opens a connection with every option set that keeps source ports free: the port is chosen by `connect()` for this
/// destination alone, and a later `close()` leaves no TIME_WAIT.
///
/// The caller bounds the time.
///
/// # Errors
/// See [`OpenError`].
///
/// Cancellation: dropping the future closes the socket, which frees its port at once.
pub async fn connect(endpoint: SocketAddr, options: &ConnectOptions) -> Result<TcpStream, OpenError> {
    let socket = match endpoint {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(OpenError::Local)?;
    prepare(&socket, options).map_err(OpenError::Local)?;
    if let Some(source) = options.source {
        bind(&socket, source, options.reach)?;
    }
    let stream = socket.connect(endpoint).await.map_err(OpenError::from_connect)?;
    if is_itself(&stream).map_err(OpenError::Connect)? {
        reset_on_close(&stream);
        let itself = io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "connected to itself: nothing listens there",
        );
        return Err(OpenError::Connect(itself));
    }
    Ok(stream)
}

impl OpenError {
    fn from_connect(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Self::NoPort(error),
            _ => Self::Connect(error),
        }
    }
}

fn is_itself(stream: &TcpStream) -> io::Result<bool> {
    Ok(stream.local_addr()? == stream.peer_addr()?)
}

fn prepare(socket: &TcpSocket, options: &ConnectOptions) -> io::Result<()> {
    if let Some((low, high)) = options.port_range {
        // Linux before 6.3 lacks the option; the connection works without it.
        let _ = sockopt::set_local_port_range(socket, low, high);
    }
    socket.set_nodelay(true)?;
    options.tcp.apply(&SockRef::from(socket))?;
    sockopt::set_no_time_wait(socket)
}

/// Without a port: `connect()` chooses that for the destination. So it can only fail for the address.
fn bind(socket: &TcpSocket, source: IpAddr, reach: Reach) -> Result<(), OpenError> {
    sockopt::set_bind_address_no_port(socket).map_err(OpenError::Local)?;
    if reach == Reach::Routed && source.is_ipv6() {
        SockRef::from(socket).set_freebind_v6(true).map_err(OpenError::Local)?;
    }
    socket.bind(SocketAddr::new(source, 0)).map_err(OpenError::Source)
}

/// The kernel's range of source ports, both ends included; `None` where it cannot be read.
pub fn local_port_range() -> Option<(u16, u16)> {
    parse_port_range(&std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?)
}

fn parse_port_range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u16>);
    let (low, high) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (low > 0 && low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_range_is_read_as_the_kernel_writes_it() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_port_range("5 4"), None);
        assert_eq!(parse_port_range("nonsense"), None);
    }

    #[tokio::test]
    async fn a_connection_carries_its_source_address_and_options() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let options = ConnectOptions {
            source: Some(IpAddr::from([127, 0, 0, 7])),
            reach: Reach::Assigned,
            tcp: TcpOptions::default(),
            port_range: local_port_range(),
        };
        let stream = connect(listener.local_addr().expect("bound"), &options)
            .await
            .expect("connects");
        assert_eq!(
            stream.local_addr().expect("connected").ip(),
            IpAddr::from([127, 0, 0, 7])
        );
        assert!(stream.nodelay().expect("option"));
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let address = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
            listener.local_addr().expect("bound")
        };
        let options = ConnectOptions {
            source: None,
            reach: Reach::Assigned,
            tcp: TcpOptions::default(),
            port_range: None,
        };
        let error = connect(address, &options).await.expect_err("nothing listens");
        assert!(matches!(error, OpenError::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_no_want_of_ports() {
        let options = ConnectOptions {
            source: Some(IpAddr::from([192, 0, 2, 1])),
            reach: Reach::Assigned,
            tcp: TcpOptions::default(),
            port_range: None,
        };
        let error = connect(SocketAddr::from(([127, 0, 0, 1], 9)), &options).await;
        assert!(matches!(error, Err(OpenError::Source(_))), "{error:?}");
    }
}
