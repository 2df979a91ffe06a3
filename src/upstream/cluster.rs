//! A named set of equivalent endpoints and their policies.

use std::sync::Arc;

use super::endpoint::Endpoint;
use crate::{
    balance::Balancer,
    config,
    pool::{Identity, OneClient},
    tls,
};

/// One cluster of a snapshot.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The name of an endpoint has no address at the moment.
    pub unresolved: bool,
    pub balancer: Balancer,
    pub timeouts: config::ClusterTimeouts,
    pub pool: config::Pool,
    pub retry: config::Retry,
    keyed: Keyed,
    pub(super) protocol: config::Protocol,
}

/// What of a request its connection is opened for.
#[derive(Debug, Clone, Copy)]
struct Keyed {
    by_host: bool,
    by_client: bool,
}

/// TLS has no name for the server that the client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is none that a server of TLS can have")]
pub struct NoServerName;

impl Cluster {
    /// `endpoints` with their weights, in the order of the config.
    pub fn new(name: String, endpoints: Vec<(Arc<Endpoint>, u32)>, unresolved: bool, config: &config::Cluster) -> Self {
        let (endpoints, weights): (Vec<_>, Vec<_>) = endpoints.into_iter().unzip();
        Self {
            name,
            balancer: Balancer::new(config.balance, weights),
            endpoints,
            unresolved,
            timeouts: config.timeouts,
            pool: config.pool,
            retry: config.retry,
            protocol: config.protocol,
            keyed: Keyed {
                by_host: config
                    .tls
                    .as_ref()
                    .is_some_and(|tls| tls.server_name == config::ServerName::Request),
                by_client: config.proxy_header.is_some(),
            },
        }
    }

    /// Whether its endpoints can be spoken to over HTTP/1.1.
    pub fn speaks_http1(&self) -> bool {
        self.protocol != config::Protocol::Http2
    }

    /// What the connection of a request for `host` (without its port) has to be opened for; `None`: all are alike.
    ///
    /// # Errors
    /// When it would have to be opened for a host that no server can have.
    pub fn identity(&self, host: &str, client: impl FnOnce() -> OneClient) -> Result<Option<Identity>, NoServerName> {
        let Keyed { by_host, by_client } = self.keyed;
        if !by_host && !by_client {
            return Ok(None);
        }
        let server_name = if by_host {
            let name = tls::server_name(host).ok_or(NoServerName)?;
            Some(name.to_str().into())
        } else {
            None
        };
        Ok(Some(Identity {
            server_name,
            client: by_client.then(|| Box::new(client())),
        }))
    }
}
