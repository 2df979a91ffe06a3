//! What makes connections to one endpoint differ, so that one may not stand in for another.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
};

/// What the endpoint was told when the connection was opened. Where a cluster tells its endpoints nothing of the kind,
/// connections have no identity, and all are alike.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The server name of the TLS handshake, where that is the host of the request. Without its port, in lower case.
    pub server_name: Option<Box<str>>,
    /// The client that a PROXY header named.
    pub client: Option<Box<OneClient>>,
}

impl Identity {
    /// Whether nobody can ask for such a connection any more.
    pub fn is_over(&self) -> bool {
        self.client
            .as_ref()
            .is_some_and(|client| client.arrival.strong_count() == 0)
    }
}

/// One connection of one client, as a PROXY header tells of it. A later one between the same two addresses is another
/// client: behind a translation of addresses it may be somebody else's, and what an endpoint knows of a connection is not
/// his.
#[derive(Debug, Clone)]
pub struct OneClient {
    pub source: SocketAddr,
    /// Where the client has connected to.
    pub destination: SocketAddr,
    arrival: Weak<SocketAddr>,
}

impl OneClient {
    /// `arrival` is where the client has connected to, and lives as long as its connection.
    pub fn new(source: SocketAddr, arrival: &Arc<SocketAddr>) -> Self {
        Self {
            source,
            destination: **arrival,
            arrival: Arc::downgrade(arrival),
        }
    }
}

impl PartialEq for OneClient {
    fn eq(&self, other: &Self) -> bool {
        self.arrival.ptr_eq(&other.arrival)
    }
}

impl Eq for OneClient {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_connection_between_the_same_addresses_is_another_client() {
        let [source, destination] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let of = |arrival: &Arc<SocketAddr>| Identity {
            client: Some(Box::new(OneClient::new(source, arrival))),
            ..Identity::default()
        };
        let first = Arc::new(destination);
        let identity = of(&first);
        assert!(identity == of(&first) && !identity.is_over());
        drop(first);
        let second = Arc::new(destination);
        assert!(identity != of(&second) && identity.is_over());
    }
}
