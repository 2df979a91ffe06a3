//! What comes of a request: an answer, or the reason why there is none.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, Version};

use super::{
    body::ResponseBody,
    cluster::Cluster,
    connector::ConnectError,
    endpoint::{Endpoint, InFlight},
    exchange::ExchangeError,
};
use crate::pool::{CheckoutError, Reused};

/// The head of an answer, with the body on its way.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The endpoint's.
    pub version: Version,
    /// The protocol that the connection has changed to.
    pub upgrade: Option<HeaderValue>,
    pub body: ResponseBody,
    pub in_flight: InFlight,
    pub timing: Timing,
}

/// Where the time of a request went, as far as it did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    pub reused: Reused,
    /// Waiting for a connection of the pool; zero when one was at hand.
    pub wait: Duration,
    /// Opening a connection; `None` when a kept one was used.
    pub connect: Option<Duration>,
}

/// Why a request got no answer from a cluster.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the cluster has no healthy endpoint")]
    NoEndpoint,
    #[error("the names of the cluster's endpoints cannot be looked up")]
    NotResolved,
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the endpoint closed the kept connection as the request was sent, and this method must not be sent twice")]
    Stale,
    #[error(
        "the endpoint closed the kept connection as the request was sent, and more of its body was sent than \
         max_replay_body keeps for a second time"
    )]
    StaleBody,
}

impl SendError {
    /// Nothing to pick from.
    pub(super) fn none_of(cluster: &Cluster) -> Self {
        if cluster.unresolved && cluster.endpoints.is_empty() {
            Self::NotResolved
        } else {
            Self::NoEndpoint
        }
    }

    pub(super) fn lacks_ports(&self) -> bool {
        matches!(self, Self::Connect(error) if matches!(**error, ConnectError::PortsExhausted))
    }
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Arc::new(error))
    }
}

/// A failed request, with the endpoint at which it failed, if it got that far.
#[derive(Debug)]
pub struct Failed {
    pub error: SendError,
    pub endpoint: Option<Arc<Endpoint>>,
    pub timing: Timing,
}
