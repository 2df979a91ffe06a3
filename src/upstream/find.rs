//! A connection for a request: which endpoint, a kept connection of its pool or a new one, and what is tried when there
//! is none.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::time::Instant;

use super::{
    cluster::Cluster,
    connection::Connection,
    connector::{ConnectError, Purpose},
    endpoint::{Endpoint, InFlight},
    handshake::Offer,
    send::{Local, Repeat, SendError, Timing},
};
use crate::pool::{Checkout, Identity, OpenReason, Permit, Pooled, Wanted};

/// Which kept connections suit a request.
pub(super) fn wanted<'a>(cluster: &Cluster, repeat: Repeat, identity: Option<&'a Identity>) -> Wanted<'a> {
    let idle_under = match repeat {
        Repeat::Forbidden => cluster.pool.reuse.writes_if_idle_under,
        Repeat::Allowed => None,
    };
    Wanted { idle_under, identity }
}

/// A picked endpoint, and what its pool has at once; `None` if there is nothing to pick.
pub(super) type Attempt = Option<(InFlight, Option<Checkout<Connection>>)>;

/// A connection for the request, or why there is none, with the endpoint at which it failed.
pub(super) type Found = Result<(InFlight, Pooled<Connection>), (SendError, Option<Arc<Endpoint>>)>;

/// Picks an endpoint other than `refused` and asks its pool.
pub(super) fn attempt(cluster: &Cluster, local: Local<'_>, wanted: Wanted<'_>, refused: &[SocketAddr]) -> Attempt {
    let usable = |index: usize| {
        let endpoint = &cluster.endpoints[index];
        endpoint.health.is_healthy() && !refused.contains(&endpoint.address)
    };
    let index = cluster
        .balancer
        .pick(local.picks, usable, |index| cluster.endpoints[index].load())?;
    let in_flight = cluster.endpoints[index].begin();
    let pool = &in_flight.endpoint().pool;
    let found = pool.try_checkout(local.worker, wanted, local.timers.now());
    Some((in_flight, found))
}

/// Goes on from the `first` attempt, at endpoints other than `refused`, until one has a connection. An endpoint towards
/// which no source port is free is waited for only when no other one is left.
pub(super) async fn find_connection(
    cluster: &Cluster,
    local: Local<'_>,
    wanted: Wanted<'_>,
    first: Attempt,
    mut refused: Vec<SocketAddr>,
    timing: &mut Timing,
) -> Found {
    let unresolved = cluster.unresolved && cluster.endpoints.is_empty();
    let mut failure = (
        if unresolved {
            SendError::NotResolved
        } else {
            SendError::NoEndpoint
        },
        None,
    );
    let mut lacks_ports = None;
    let mut attempted = first;
    while let Some((in_flight, found)) = attempted {
        let endpoint = in_flight.endpoint();
        let error = match found {
            None if endpoint.pool.lacks_ports() => SendError::Connect(ConnectError::PortsExhausted),
            found => match connection(cluster, local, wanted, endpoint, found, timing).await {
                Ok(pooled) => return Ok((in_flight, pooled)),
                Err(error) => error,
            },
        };
        refused.push(endpoint.address);
        let again = matches!(&error, SendError::Connect(_)) && refused.len() <= cluster.retry.connect_attempts as usize;
        let failed_at = Some(Arc::clone(endpoint));
        if matches!(&error, SendError::Connect(ConnectError::PortsExhausted)) {
            lacks_ports.get_or_insert(in_flight);
        }
        failure = (error, failed_at);
        if !again {
            break;
        }
        attempted = attempt(cluster, local, wanted, &refused);
    }
    match lacks_ports {
        Some(in_flight) => wait_for_port(cluster, local, wanted, in_flight, timing).await,
        None => Err(failure),
    }
}

/// Waits for a connection that comes back, or for a port that comes free, within the time that the pool allows.
async fn wait_for_port(
    cluster: &Cluster,
    local: Local<'_>,
    wanted: Wanted<'_>,
    in_flight: InFlight,
    timing: &mut Timing,
) -> Found {
    let endpoint = in_flight.endpoint();
    let deadline = Instant::now() + cluster.pool.wait.timeout;
    let error = loop {
        let found = match wait(local, wanted, endpoint, deadline, timing).await {
            Ok(found) => found,
            Err(error) => break error,
        };
        match take(cluster, local, wanted, endpoint, found, timing).await {
            Ok(pooled) => return Ok((in_flight, pooled)),
            Err(SendError::Connect(ConnectError::PortsExhausted)) if Instant::now() < deadline => {}
            Err(error) => break error,
        }
    };
    Err((error, Some(Arc::clone(endpoint))))
}

/// The connection that was found, or a new one, or the one that is waited for.
async fn connection(
    cluster: &Cluster,
    local: Local<'_>,
    wanted: Wanted<'_>,
    endpoint: &Endpoint,
    found: Option<Checkout<Connection>>,
    timing: &mut Timing,
) -> Result<Pooled<Connection>, SendError> {
    let found = match found {
        Some(found) => found,
        None => {
            let deadline = Instant::now() + cluster.pool.wait.timeout;
            wait(local, wanted, endpoint, deadline, timing).await?
        }
    };
    take(cluster, local, wanted, endpoint, found, timing).await
}

async fn wait(
    local: Local<'_>,
    wanted: Wanted<'_>,
    endpoint: &Endpoint,
    deadline: Instant,
    timing: &mut Timing,
) -> Result<Checkout<Connection>, SendError> {
    let now = Instant::now();
    let late = local.timers.sleep_until(deadline);
    let found = endpoint.pool.checkout(local.worker, wanted, now, late).await;
    timing.wait += now.elapsed();
    Ok(found?)
}

async fn take(
    cluster: &Cluster,
    local: Local<'_>,
    wanted: Wanted<'_>,
    endpoint: &Endpoint,
    found: Checkout<Connection>,
    timing: &mut Timing,
) -> Result<Pooled<Connection>, SendError> {
    match found {
        Checkout::Reused(pooled) => Ok(pooled),
        Checkout::Open(permit, reason) => {
            let to_open = ToOpen {
                permit,
                reason,
                identity: wanted.identity,
            };
            open(cluster, local, endpoint, to_open, timing).await
        }
    }
}

/// A connection that is to be opened.
pub(super) struct ToOpen<'a> {
    pub(super) permit: Permit<Connection>,
    pub(super) reason: OpenReason,
    pub(super) identity: Option<&'a Identity>,
}

pub(super) async fn open(
    cluster: &Cluster,
    local: Local<'_>,
    endpoint: &Endpoint,
    to_open: ToOpen<'_>,
    timing: &mut Timing,
) -> Result<Pooled<Connection>, SendError> {
    let ToOpen {
        permit,
        reason,
        identity,
    } = to_open;
    let start = Instant::now();
    let purpose = Purpose {
        identity,
        offer: Offer::Http1,
    };
    let opened = endpoint
        .connector
        .connect(purpose, local.timers, cluster.timeouts.connect);
    let connection = opened.await;
    let now = Instant::now();
    timing.connect = Some(timing.connect.unwrap_or_default() + (now - start));
    let error = match connection {
        Ok(connection) => {
            tracing::debug!(endpoint = %endpoint.address, reason = reason.as_str(), "opened a connection");
            return Ok(endpoint.pool.opened(connection, permit, reason, now));
        }
        Err(error) => error,
    };
    match &error {
        ConnectError::PortsExhausted => endpoint.pool.note_no_port(permit, now),
        // Of this machine, not of the endpoint.
        ConnectError::Local(_) => {}
        ConnectError::Refused
        | ConnectError::TimedOut
        | ConnectError::Unreachable(_)
        | ConnectError::Tls(_)
        | ConnectError::Certificate(_)
        | ConnectError::NoHttp2 => {
            endpoint.counts.connect_failures.fetch_add(1, Relaxed);
        }
    }
    Err(error.into())
}
