//! Clusters of a new snapshot: endpoints that did not change are taken over alive.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{BuildError, Snapshot};
use crate::{
    config, net,
    ports::Ports,
    tls::ClientTls,
    upstream::{Cluster, Endpoint, Shared},
};

/// How long a name server may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The metric of lookups that gave no address, by `cluster`.
const LOOKUP_FAILURES: &str = "forebay_discovery_lookup_failures_total";

/// Tells the recorder what is counted here.
pub fn describe_metrics() {
    metrics::describe_counter!(LOOKUP_FAILURES, "Lookups of endpoints' names that gave no address.");
}

pub(super) async fn build(
    config: &config::Config,
    previous: Option<&Snapshot>,
    ports: &Arc<Ports>,
    workers: usize,
) -> Result<Vec<Arc<Cluster>>, BuildError> {
    let mut clusters = Vec::with_capacity(config.clusters.len());
    let shared = Shared { ports, workers };
    for (name, cluster) in &config.clusters {
        check_sources(name, &cluster.source)?;
        let tls = tls(name, cluster, previous)?;
        let mut endpoints = Vec::with_capacity(cluster.endpoints.len());
        let mut unresolved = false;
        for endpoint in &cluster.endpoints {
            let addresses = addresses(name, endpoint, previous).await;
            unresolved |= addresses.is_empty();
            for address in addresses {
                let old = previous.and_then(|previous| {
                    let old = previous.endpoint(name, address)?;
                    Some((old, previous.config.clusters.get(name)?))
                });
                endpoints.push((
                    live(endpoint, address, cluster, tls.as_ref(), old, shared),
                    endpoint.weight,
                ));
            }
        }
        clusters.push(Arc::new(Cluster::new(name.clone(), endpoints, unresolved, cluster)));
    }
    Ok(clusters)
}

/// The endpoint as it was, if nothing about it changed; with its pool, if at least its connections are opened as
/// before; else a new one.
fn live(
    endpoint: &config::Endpoint,
    address: SocketAddr,
    cluster: &config::Cluster,
    tls: Option<&ClientTls>,
    old: Option<(&Arc<Endpoint>, &config::Cluster)>,
    shared: Shared<'_>,
) -> Arc<Endpoint> {
    match old {
        Some((old, before)) if opens_alike(before, cluster) && has_same_tls(old, endpoint, tls) => {
            let name = endpoint.to_string();
            if before.probe == cluster.probe && old.name == name {
                Arc::clone(old)
            } else {
                Endpoint::renewed(old, name)
            }
        }
        _ => Endpoint::new(endpoint, address, cluster, tls, shared, old.map(|(old, _)| &**old)),
    }
}

/// Whether a connection of before is one that would be opened now. All that makes connections to one address differ is
/// compared here, so that one pool never serves both kinds.
fn opens_alike(before: &config::Cluster, now: &config::Cluster) -> bool {
    before.source == now.source
        && before.tcp_keepalive == now.tcp_keepalive
        && before.tcp_user_timeout == now.tcp_user_timeout
        && before.protocol == now.protocol
        && before.http2 == now.http2
        && before.proxy_header == now.proxy_header
}

/// Whether the endpoint of before proves who it is as it would have to now, files included.
fn has_same_tls(old: &Endpoint, endpoint: &config::Endpoint, tls: Option<&ClientTls>) -> bool {
    match (old.connector.tls(), tls) {
        (None, None) => true,
        // Its name is the one that its certificate has to hold.
        (Some(before), Some(now)) => before.is_same(now) && old.name == endpoint.to_string(),
        _ => false,
    }
}

/// What the cluster's connections have in common over TLS: that of before, with its sessions, if it was made of the same.
fn tls(name: &str, cluster: &config::Cluster, previous: Option<&Snapshot>) -> Result<Option<ClientTls>, BuildError> {
    let Some(tls) = &cluster.tls else { return Ok(None) };
    let of_before = previous.into_iter().flat_map(Snapshot::endpoints);
    let same = of_before
        .filter(|(cluster, _)| cluster.name == name)
        .filter_map(|(_, endpoint)| endpoint.connector.tls())
        .find(|before| before.is_made_of(tls));
    let made = same.cloned().map_or_else(|| ClientTls::new(tls), Ok);
    made.map(Some)
        .map_err(|error| BuildError::Tls(name.to_owned(), Box::new(error)))
}

/// The addresses of an endpoint; those of before if its name cannot be looked up at the moment; none if there are none.
/// A name server that fails must neither stop a proxy nor keep it from starting.
async fn addresses(cluster: &str, endpoint: &config::Endpoint, previous: Option<&Snapshot>) -> Vec<SocketAddr> {
    if let Some(ip) = endpoint.ip() {
        return vec![SocketAddr::new(ip, endpoint.port)];
    }
    let name = endpoint.to_string();
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host(name.as_str())).await;
    let found = found.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    match found.map(Iterator::collect::<Vec<_>>) {
        Ok(addresses) if !addresses.is_empty() => in_order(addresses),
        result => {
            let error = result
                .err()
                .map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
            note_lookup_failure(cluster, &name, &error);
            let before = previous.into_iter().flat_map(|previous| previous.named(cluster, &name));
            before.map(|endpoint| endpoint.address).collect()
        }
    }
}

fn note_lookup_failure(cluster: &str, endpoint: &str, error: &str) {
    tracing::warn!(cluster, endpoint, error, "the endpoint's name cannot be looked up");
    metrics::counter!(LOOKUP_FAILURES, "cluster" => cluster.to_owned()).increment(1);
}

/// One order whatever the resolver's, so that a reload finds the same endpoints. A name with both families usually means
/// one server: its IPv4 address is used.
fn in_order(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.iter().any(SocketAddr::is_ipv4) {
        addresses.retain(SocketAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// An address that is not on this machine would fail every connection, one by one. One address stands for all of a
/// prefix.
fn check_sources(cluster: &str, source: &config::Source) -> Result<(), BuildError> {
    for address in source.addresses.iter().filter_map(|of| of.expand().first().copied()) {
        net::check_source(address).map_err(|error| BuildError::Source(address, cluster.to_owned(), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Page, Recorder};

    #[test]
    fn lookups_that_fail_are_counted_by_cluster() {
        let recorder = Recorder::new();
        metrics::with_local_recorder(&recorder, || {
            note_lookup_failure("shop", "a.example:80", "no name server");
            note_lookup_failure("shop", "b.example:80", "no name server");
            note_lookup_failure("main", "a.example:80", "no name server");
        });
        let mut page = Page::new();
        recorder.render_into(&mut page);
        let page = page.render();
        let series: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "forebay_discovery_lookup_failures_total{cluster=\"main\"} 1",
            "forebay_discovery_lookup_failures_total{cluster=\"shop\"} 2",
        ];
        assert_eq!(series, expected);
    }
}
