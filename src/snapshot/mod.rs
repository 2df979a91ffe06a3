//! Routes and clusters as one immutable view.
//!
//! A request takes the snapshot of its time once and keeps it to its end. A reload builds a whole new one
//! ([`Snapshot::build`]), into which it carries the live parts of every endpoint whose connection settings did not
//! change: its pool with the warm connections, its health, its counters.

mod clusters;
mod route;
mod stats;

use std::{net::SocketAddr, sync::Arc, time::Duration};

pub use clusters::describe_metrics;
pub use route::{Action, ForwardTo, Route, route_name};
pub use stats::{ClusterStats, GRPC_CODES, ProxyStats, REASONS, Stats, TUNNEL_ENDS};

use crate::{
    config,
    ports::Ports,
    routing::{Router, Rule},
    telemetry::{AccessLog, access_log},
    tls::TlsError,
    upstream::{Cluster, Endpoint},
};

/// How often the names of endpoints are looked up. The addresses' own lifetimes are not known here.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// How soon a name is looked up again that has no address.
const RESOLVE_AGAIN: Duration = Duration::from_secs(3);

/// All that decides what happens with a request.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with each reload, from 1.
    pub generation: u64,
    pub config: Arc<config::Config>,
    pub router: Router<Route>,
    pub clusters: Vec<Arc<Cluster>>,
    /// One for each cluster, in the same order; they outlive reloads by the cluster's name.
    pub cluster_stats: Vec<Arc<Stats<ClusterStats>>>,
    pub proxy_stats: Arc<Stats<ProxyStats>>,
    pub access_log: Option<AccessLog>,
    /// What no client may say of itself, if there is anything.
    pub reserved: Option<Arc<config::ReservedFields>>,
    /// The source ports of the process; the same through all reloads.
    pub ports: Arc<Ports>,
}

/// Why a config, though valid, cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the source address {0} of the cluster {1:?} is not on this machine")]
    Source(std::net::IpAddr, String, #[source] std::io::Error),
    #[error("the cluster {0:?} cannot use TLS")]
    Tls(String, #[source] Box<TlsError>),
    #[error("the access log cannot be opened")]
    AccessLog(#[source] std::io::Error),
    #[error("the format of the access log is malformed")]
    AccessLogFormat(#[source] access_log::TemplateError),
}

impl Snapshot {
    /// Builds the snapshot of `config`, with what lives on of `previous`, which is not changed by it.
    ///
    /// # Errors
    /// What the config names and this machine does not have; `previous` goes on unharmed.
    pub async fn build(
        config: Arc<config::Config>,
        previous: Option<&Self>,
        workers: usize,
    ) -> Result<Self, BuildError> {
        let ports = previous.map_or_else(Ports::new, |previous| Arc::clone(&previous.ports));
        let clusters = clusters::build(&config, previous, &ports, workers).await?;
        let cluster_stats = clusters
            .iter()
            .map(|cluster| stats_of(&cluster.name, previous, workers))
            .collect();
        let access_log = open_access_log(&config.access_log, previous)?;
        let routes = config.routes.iter().enumerate();
        let router = Router::new(routes.map(|(index, route)| (Rule::from(route), Route::new(index, route, &clusters))));
        Ok(Self {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            router,
            clusters,
            cluster_stats,
            proxy_stats: previous.map_or_else(|| Stats::new(workers), |previous| Arc::clone(&previous.proxy_stats)),
            access_log,
            reserved: config.reserved_fields().map(Arc::new),
            ports,
            config,
        })
    }

    /// Puts the reloaded limits of pools in force that live on from the snapshot before.
    pub fn apply_policies(&self) {
        for (cluster, endpoint) in self.endpoints() {
            endpoint.pool.set_policy(&cluster.pool);
        }
    }

    pub fn endpoints(&self) -> impl Iterator<Item = (&Arc<Cluster>, &Arc<Endpoint>)> {
        self.clusters
            .iter()
            .flat_map(|cluster| cluster.endpoints.iter().map(move |endpoint| (cluster, endpoint)))
    }

    /// When the names of endpoints should be looked up again: soon if one has no address, else now and then; `None` if
    /// every endpoint is an address.
    pub fn resolve_interval(&self) -> Option<Duration> {
        if self.clusters.iter().any(|cluster| cluster.unresolved) {
            return Some(RESOLVE_AGAIN);
        }
        let mut endpoints = self.config.clusters.values().flat_map(|cluster| &cluster.endpoints);
        endpoints
            .any(|endpoint| endpoint.ip().is_none())
            .then_some(RESOLVE_INTERVAL)
    }

    /// Whether a file that a cluster names holds something else than when its endpoints were made.
    pub fn has_changed_files(&self) -> bool {
        self.clusters.iter().any(|cluster| {
            let now = self
                .config
                .clusters
                .get(&cluster.name)
                .and_then(|config| config.tls.as_ref());
            let made = cluster.endpoints.first().and_then(|endpoint| endpoint.connector.tls());
            now.zip(made).is_some_and(|(now, made)| !made.is_made_of(now))
        })
    }

    /// Whether both have the same endpoints, alive and in the same order.
    pub fn has_same_endpoints(&self, other: &Self) -> bool {
        self.endpoints().count() == other.endpoints().count()
            && self
                .endpoints()
                .zip(other.endpoints())
                .all(|((_, a), (_, b))| Arc::ptr_eq(a, b))
    }

    /// The endpoints of that cluster and name.
    fn named<'a>(&'a self, cluster: &'a str, name: &'a str) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        self.endpoints()
            .filter(move |(of, endpoint)| of.name == cluster && endpoint.name == name)
            .map(|(_, each)| each)
    }

    /// The endpoint of that cluster and address.
    fn endpoint(&self, cluster: &str, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        let mut all = self.endpoints();
        all.find(|(of, endpoint)| of.name == cluster && endpoint.address == address)
            .map(|(_, endpoint)| endpoint)
    }
}

fn stats_of(cluster: &str, previous: Option<&Snapshot>, workers: usize) -> Arc<Stats<ClusterStats>> {
    let kept = previous.and_then(|previous| {
        let index = previous.clusters.iter().position(|other| other.name == cluster)?;
        Some(Arc::clone(&previous.cluster_stats[index]))
    });
    kept.unwrap_or_else(|| Stats::new(workers))
}

fn open_access_log(config: &config::AccessLog, previous: Option<&Snapshot>) -> Result<Option<AccessLog>, BuildError> {
    use access_log::{Format, Output};
    if let Some(previous) = previous
        && previous.config.access_log == *config
    {
        return Ok(previous.access_log.clone());
    }
    let output = match &config.output {
        config::AccessLogOutput::Off => return Ok(None),
        config::AccessLogOutput::Stdout => Output::Stdout,
        config::AccessLogOutput::Stderr => Output::Stderr,
        config::AccessLogOutput::File(path) => Output::File(path.clone()),
    };
    let format = match &config.format {
        config::AccessLogFormat::Json => Format::Json,
        config::AccessLogFormat::Text(template) => {
            Format::Text(access_log::Template::parse(template).map_err(BuildError::AccessLogFormat)?)
        }
    };
    AccessLog::open(output, format).map(Some).map_err(BuildError::AccessLog)
}
