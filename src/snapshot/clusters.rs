//! Clusters of a new snapshot: endpoints that did not change are taken over alive.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{BuildError, Snapshot};
use crate::{
    config,
    upstream::{Cluster, Endpoint},
};

pub(super) async fn build(
    config: &config::Config,
    previous: Option<&Snapshot>,
    workers: usize,
) -> Result<Vec<Arc<Cluster>>, BuildError> {
    let mut clusters = Vec::with_capacity(config.clusters.len());
    for (name, cluster) in &config.clusters {
        check_sources(name, &cluster.source)?;
        let mut endpoints = Vec::with_capacity(cluster.endpoints.len());
        for endpoint in &cluster.endpoints {
            for address in resolve(name, endpoint).await? {
                let old = previous.and_then(|previous| {
                    let old = previous.endpoint(name, address)?;
                    Some((old, previous.config.clusters.get(name)?))
                });
                endpoints.push((live(label(endpoint), address, cluster, old, workers), endpoint.weight));
            }
        }
        clusters.push(Arc::new(Cluster::new(name.clone(), endpoints, cluster)));
    }
    Ok(clusters)
}

/// The endpoint as it was, if nothing about it changed; with its pool, if at least its connections are opened as
/// before; else a new one.
fn live(
    name: String,
    address: SocketAddr,
    cluster: &config::Cluster,
    old: Option<(&Arc<Endpoint>, &config::Cluster)>,
    workers: usize,
) -> Arc<Endpoint> {
    match old {
        Some((old, before)) if opens_alike(before, cluster) => {
            if before.probe == cluster.probe && old.name == name {
                Arc::clone(old)
            } else {
                Endpoint::renewed(old, name)
            }
        }
        _ => Endpoint::new(name, address, cluster, workers),
    }
}

fn opens_alike(before: &config::Cluster, now: &config::Cluster) -> bool {
    before.source == now.source
        && before.tcp_keepalive == now.tcp_keepalive
        && before.tcp_user_timeout == now.tcp_user_timeout
}

/// `host:port` as in a `Host` field.
fn label(endpoint: &config::Endpoint) -> String {
    if endpoint.host.contains(':') {
        format!("[{}]:{}", endpoint.host, endpoint.port)
    } else {
        format!("{}:{}", endpoint.host, endpoint.port)
    }
}

async fn resolve(cluster: &str, endpoint: &config::Endpoint) -> Result<Vec<SocketAddr>, BuildError> {
    if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
    }
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let found = found.map_err(|error| BuildError::Resolve(label(endpoint), cluster.to_owned(), error))?;
    let mut addresses: Vec<_> = found.collect();
    // One order whatever the resolver's, so that a reload finds the same endpoints.
    addresses.sort_unstable();
    addresses.dedup();
    // A name with both families usually means one server: its IPv4 address is used.
    if addresses.iter().any(SocketAddr::is_ipv4) {
        addresses.retain(SocketAddr::is_ipv4);
    }
    if addresses.is_empty() {
        return Err(BuildError::NoAddress(label(endpoint), cluster.to_owned()));
    }
    Ok(addresses)
}

/// An address that is not on this machine would fail every connection, one by one.
fn check_sources(cluster: &str, source: &config::Source) -> Result<(), BuildError> {
    for address in &source.addresses {
        std::net::UdpSocket::bind((*address, 0))
            .map_err(|error| BuildError::Source(*address, cluster.to_owned(), error))?;
    }
    Ok(())
}
