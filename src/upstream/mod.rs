//! The endpoints' side: clusters, endpoints, and the HTTP/1.1 exchange with them.
//!
//! [`send()`] is the way of one request: pick an endpoint ([`Cluster`]), take a connection of its pool or open one
//! ([`find`], [`connector`]), write the request ([`upload`]), read the head of the answer ([`mod@exchange`]) and stream its
//! body back ([`ResponseBody`]), or carry what follows it ([`Tunnel`]), at whose end the connection is checked in or ended ([`closing`]).

mod answer;
mod body;
mod closing;
mod cluster;
mod complaint;
mod connection;
pub mod connector;
mod endpoint;
mod exchange;
mod find;
mod handshake;
mod http2;
mod outgoing;
mod patience;
mod probe;
mod request_body;
mod send;
mod stale;
mod tunnel;
mod upload;
mod warm;
mod wire;

pub use answer::{Answer, Failed, SendError, Timing};
pub use body::{BodyError, KeepAlive, ResponseBody};
pub use cluster::{Cluster, NoServerName};
pub use connection::Connection;
pub use connector::{ConnectError, Connector};
pub use endpoint::{Endpoint, EndpointCounts, InFlight, Shared};
pub use exchange::ExchangeError;
pub use handshake::{HandshakeCounts, Offer};
pub use http2::{Connections, drives_streams};
pub use outgoing::{Encode, Fits, Local, Outgoing, Repeat};
pub use probe::{ProbeConnection, connect_probe};
pub use request_body::{Expectation, RequestFraming};
pub use send::send;
pub use stale::StaleOutcome;
pub use tunnel::{Opens, Tunnel, Upgrade};
pub use warm::warm;
