//! The probes that run: one task for each endpoint of a cluster that has a probe.

use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::{
    config, health,
    snapshot::Snapshot,
    upstream::{self, Endpoint, Offer},
};

#[derive(Debug, Default)]
pub(super) struct Probes(Vec<Running>);

#[derive(Debug)]
struct Running {
    endpoint: Arc<Endpoint>,
    probe: config::Probe,
    task: AbortHandle,
}

impl Probes {
    /// Runs the probes of `snapshot` and no others. Those of endpoints that live on go on undisturbed.
    pub(super) fn set(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.0);
        for (cluster, endpoint) in snapshot.endpoints() {
            let Some(probe) = snapshot
                .config
                .clusters
                .get(&cluster.name)
                .and_then(|cluster| cluster.probe.clone())
            else {
                continue;
            };
            let same = |running: &Running| Arc::ptr_eq(&running.endpoint, endpoint) && running.probe == probe;
            match before.iter().position(same) {
                Some(index) => self.0.push(before.swap_remove(index)),
                None => self.0.push(Running::start(endpoint, probe)),
            }
        }
        for ended in before {
            ended.task.abort();
        }
    }
}

impl Running {
    fn start(endpoint: &Arc<Endpoint>, probe: config::Probe) -> Self {
        let host = match &probe.kind {
            config::ProbeKind::Http { host: Some(host), .. } => host.clone(),
            config::ProbeKind::Http { .. } | config::ProbeKind::Tcp | config::ProbeKind::Grpc { .. } => {
                endpoint.name.clone()
            }
        };
        let offer = match &probe.kind {
            config::ProbeKind::Grpc { .. } => Offer::Http2,
            config::ProbeKind::Http { .. } | config::ProbeKind::Tcp => Offer::Http1,
        };
        let (connector, pool) = (Arc::clone(&endpoint.connector), Arc::clone(&endpoint.pool));
        let health = Arc::downgrade(&endpoint.health);
        let task = tokio::task::spawn_local(health::run(
            endpoint.address,
            host,
            probe.clone(),
            health,
            async move || upstream::connect_probe(&connector, &pool, offer).await,
        ));
        Self {
            endpoint: Arc::clone(endpoint),
            probe,
            task: task.abort_handle(),
        }
    }
}
