//! A named set of equivalent endpoints and their policies.

use std::sync::Arc;

use super::endpoint::Endpoint;
use crate::{balance::Balancer, config};

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
}

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
        }
    }
}
