//! One address in a cluster, with everything about it that is alive.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::time::Instant;

use super::{connection::Connection, connector::Connector, http2::Connections, stale::Stale};
use crate::{
    config,
    health::Health,
    pool::{self, CloseReason, Learning, Pool},
    ports::Ports,
    tls::ClientTls,
};

/// An endpoint. It outlives a reload that leaves its connection settings as they are, with its connections, its health
/// and its counters.
#[derive(Debug)]
pub struct Endpoint {
    /// As configured, with the port: the value of `Host` where the endpoint's own is asked for.
    pub name: String,
    pub address: SocketAddr,
    pub pool: Arc<Pool<Connection>>,
    pub connector: Arc<Connector>,
    /// `None` where the endpoint is spoken to over HTTP/1 only.
    pub http2: Option<Arc<Connections>>,
    pub health: Arc<Health>,
    /// Requests now in flight.
    load: Arc<AtomicUsize>,
    pub counts: Arc<EndpointCounts>,
}

/// What all endpoints have in common.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    pub ports: &'a Arc<Ports>,
    pub workers: usize,
}

/// What happened with one endpoint; each has one word in the metrics.
#[derive(Debug, Default)]
pub struct EndpointCounts {
    pub requests: AtomicU64,
    pub connect_failures: AtomicU64,
    /// Requests lost to a connection that the endpoint closed at the same moment.
    pub stale: Stale,
}

/// A request in flight, counted until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl Endpoint {
    /// `before` is the same address with other connection settings: what has been learned of it stays true.
    pub fn new(
        config: &config::Endpoint,
        address: SocketAddr,
        cluster: &config::Cluster,
        tls: Option<&ClientTls>,
        shared: Shared<'_>,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let learning = before.map(|before| before.pool.learning());
        let learning = learning.unwrap_or_else(|| Arc::new(Mutex::new(Learning::new(Instant::now()))));
        let pool = Pool::new(&cluster.pool, shared.workers, learning);
        let connector = Arc::new(Connector::new(address, &config.host, cluster, tls, shared.ports));
        let counts = Arc::default();
        Arc::new(Self {
            name: config.to_string(),
            address,
            http2: Connections::new(cluster, &pool, &connector, &counts),
            pool,
            connector,
            health: Arc::new(Health::new(Instant::now())),
            load: Arc::default(),
            counts,
        })
    }

    /// The same endpoint with its connections and counters, whose health is judged anew.
    pub fn renewed(old: &Self, name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            address: old.address,
            pool: Arc::clone(&old.pool),
            connector: Arc::clone(&old.connector),
            http2: old.http2.clone(),
            health: Arc::new(Health::new(Instant::now())),
            load: Arc::clone(&old.load),
            counts: Arc::clone(&old.counts),
        })
    }

    /// Closes everything idle, and everything that becomes idle from now on.
    pub fn close(&self, reason: CloseReason) {
        self.pool.close(reason);
        if let Some(http2) = &self.http2 {
            http2.close(reason);
        }
    }

    /// What the pool looks like, streams of shared connections and who waits for them included.
    pub fn pool_status(&self) -> pool::Status {
        let mut status = self.pool.status();
        if let Some(http2) = &self.http2 {
            http2.add_to(&mut status);
        }
        status
    }

    pub fn load(&self) -> usize {
        self.load.load(Relaxed)
    }

    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.load.fetch_add(1, Relaxed);
        self.counts.requests.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }
}

impl InFlight {
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Relaxed);
    }
}
