//! A connection for a request: which endpoint, a kept connection of its pool or a new one, and what is tried when there
//! is none.

use std::{net::SocketAddr, sync::Arc};

use tokio::time::Instant;

use super::{
    answer::{SendError, Timing},
    cluster::Cluster,
    connection::Connection,
    connector::{ConnectError, Purpose},
    endpoint::{Endpoint, InFlight},
    handshake::Offer,
    outgoing::{Local, Repeat},
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

/// Picks an endpoint other than `refused`.
pub(super) fn pick(cluster: &Cluster, local: Local<'_>, refused: &[SocketAddr]) -> Option<InFlight> {
    let usable = |index: usize| {
        let endpoint = &cluster.endpoints[index];
        endpoint.health.is_healthy() && !refused.contains(&endpoint.address)
    };
    let index = cluster
        .balancer
        .pick(local.picks, usable, |index| cluster.endpoints[index].load())?;
    Some(cluster.endpoints[index].begin())
}

/// Picks an endpoint other than `refused` and asks its pool.
pub(super) fn attempt(cluster: &Cluster, local: Local<'_>, wanted: Wanted<'_>, refused: &[SocketAddr]) -> Attempt {
    let in_flight = pick(cluster, local, refused)?;
    Some(ask(in_flight, local, wanted))
}

/// What the pool of a picked endpoint has at once.
pub(super) fn ask(
    in_flight: InFlight,
    local: Local<'_>,
    wanted: Wanted<'_>,
) -> (InFlight, Option<Checkout<Connection>>) {
    let pool = &in_flight.endpoint().pool;
    let found = pool.try_checkout(local.worker, wanted, local.timers.now());
    (in_flight, found)
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
    let mut failure = (SendError::none_of(cluster), None);
    let mut lacks_ports = None;
    let mut attempted = first;
    while let Some((in_flight, found)) = attempted {
        let endpoint = in_flight.endpoint();
        let error = match found {
            None if endpoint.pool.lacks_ports() => ConnectError::PortsExhausted.into(),
            found => match connection(cluster, local, wanted, endpoint, found, timing).await {
                Ok(pooled) => return Ok((in_flight, pooled)),
                Err(error) => error,
            },
        };
        refused.push(endpoint.address);
        let again = matches!(&error, SendError::Connect(_)) && refused.len() <= cluster.retry.connect_attempts as usize;
        let failed_at = Some(Arc::clone(endpoint));
        if error.lacks_ports() {
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
            Err(error) if error.lacks_ports() && Instant::now() < deadline => {}
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
    error.note(&endpoint.pool, permit, &endpoint.counts);
    Err(error.into())
}
