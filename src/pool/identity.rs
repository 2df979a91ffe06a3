//! What makes connections to one endpoint differ, so that one may not stand in for another.

use std::net::SocketAddr;

/// What the endpoint was told when the connection was opened. Where a cluster tells its endpoints nothing of the kind,
/// connections have no identity, and all are alike.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The server name of the TLS handshake, where that is the host of the request. Without its port, in lower case.
    pub server_name: Option<Box<str>>,
    /// The client that a PROXY header named.
    pub client: Option<SocketAddr>,
}
