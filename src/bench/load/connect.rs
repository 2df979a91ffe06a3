//! How a client gets its connection.

use http::Method;
use tokio::net::TcpStream;

use super::{Load, http1, progress::Meter, progress::Open, record::Failure};
use crate::net::{self, ConnectOptions, OpenError, Reach, TcpOptions};

/// What is needed to connect, made once.
#[derive(Debug)]
pub(super) struct Connector {
    options: ConnectOptions,
}

impl Connector {
    pub fn new() -> Self {
        Self {
            options: ConnectOptions {
                source: None,
                reach: Reach::Assigned,
                tcp: TcpOptions::default(),
                port_range: net::local_port_range(),
            },
        }
    }

    /// The caller bounds the time.
    ///
    /// Cancellation: dropping the future closes the socket.
    pub async fn connect(&self, load: &Load) -> Result<TcpStream, Failure> {
        let opened = net::connect(load.address, &self.options).await;
        opened.map_err(|error| match error {
            OpenError::NoPort(_) => Failure::NoPort,
            OpenError::Source(_) | OpenError::Connect(_) | OpenError::Local(_) => Failure::Connect,
        })
    }
}

/// A connection of one client, and its place in the count.
#[derive(Debug)]
pub(super) struct Connected {
    pub http: http1::Connection<TcpStream>,
    _open: Open,
}

impl Connected {
    pub fn new(stream: TcpStream, method: Method, meter: &Meter) -> Self {
        Self {
            http: http1::Connection::new(stream, method),
            _open: meter.opened(),
        }
    }
}
