//! The same as JSON, for people and scripts: listeners, clusters, endpoints, pools, ports.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Listening, Phase, State};
use crate::{
    pool,
    upstream::{Cluster, Endpoint},
};

pub(super) fn render(state: &State) -> String {
    let snapshot = state.snapshots.load();
    let workers = 0..state.board.workers();
    let workers: Vec<_> = workers
        .map(|worker| json!({ "connections": state.board.connections(worker) }))
        .collect();
    let clusters: BTreeMap<_, _> = snapshot
        .clusters
        .iter()
        .map(|cluster| (cluster.name.as_str(), self::cluster(cluster)))
        .collect();
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": match state.phase() {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        },
        "uptime_seconds": state.started.elapsed().as_secs(),
        "generation": snapshot.generation,
        "reloads": {
            "applied": state.reloads.load(Relaxed),
            "refused": state.reloads_refused.load(Relaxed),
            "last_refusal": state.refusal.lock().expect("no panic under this lock").clone(),
        },
        "workers": workers,
        "listeners": state.listeners().iter().map(listener).collect::<Vec<_>>(),
        "clusters": clusters,
        "reuse_ratio": super::reuse(&snapshot).ratio(),
        "ports": super::ports::status(&snapshot),
    });
    format!("{value:#}\n")
}

fn listener(listening: &Listening) -> Value {
    let Listening { listener, tls } = listening;
    let validities = tls.iter().flat_map(|tls| tls.validities());
    let certificates: Vec<_> = validities
        .map(|validity| json!({ "chain": validity.chain.to_string_lossy(), "not_after": validity.not_after() }))
        .collect();
    let counts = &listener.counts;
    json!({
        "name": listener.name,
        "address": listener.address.to_string(),
        "connections": listener.connections(),
        "parked": listener.parked(),
        "accepted": counts.accepted.load(Relaxed),
        "handed_over": counts.handed_over.load(Relaxed),
        "shed": counts.shed.load(Relaxed),
        "refused": {
            "max-connections": counts.refused_max.load(Relaxed),
            "per-client-limit": counts.refused_client.load(Relaxed),
        },
        "certificates": certificates,
        "tls_failures": counts.tls_failures.total(),
        "accept_errors": counts.accept_errors.load(Relaxed),
    })
}

fn cluster(cluster: &Cluster) -> Value {
    json!({ "endpoints": cluster.endpoints.iter().map(|each| endpoint(each)).collect::<Vec<_>>() })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let pool = endpoint.pool_status();
    // Reasons that never occurred would only hide those that did.
    let counts =
        |all: Vec<(&'static str, u64)>| -> BTreeMap<_, _> { all.into_iter().filter(|(_, count)| *count > 0).collect() };
    let report = endpoint.health.report();
    json!({
        "name": endpoint.name,
        "address": endpoint.address.to_string(),
        "health": {
            "healthy": report.healthy,
            "since_seconds": Instant::now().saturating_duration_since(report.since).as_secs(),
            "last_probe": report.last.as_deref(),
            "probes_succeeded": report.succeeded,
            "probes_failed": report.failed,
        },
        "requests": endpoint.counts.requests.load(Relaxed),
        "in_flight": endpoint.load(),
        "connect_failures": endpoint.counts.connect_failures.load(Relaxed),
        "stale": stale(endpoint),
        "pool": {
            "connections": pool.connections,
            "idle": pool.idle,
            "active": pool.connections.saturating_sub(pool.idle),
            "waiting": pool.waiting,
            "reused": pool.reused,
            "reuse_ratio": pool.reuse().ratio(),
            "idle_timeout_seconds": pool.idle_timeout.as_secs_f64(),
            "stolen": pool.stolen,
            "waited": pool.waited,
            "wait_timeouts": pool.wait_timeouts,
            "queue_full": pool.queue_full,
            "opened": counts(pool.opened.iter().map(|(reason, count)| (reason.as_str(), *count)).collect()),
            "closed": closed(&pool),
        },
    })
}

/// By reason, and then by who was first.
fn closed(pool: &pool::Status) -> Value {
    let mut reasons: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (reason, first, count) in &pool.closed {
        reasons
            .entry(reason.as_str())
            .or_default()
            .insert(first.as_str(), count);
    }
    json!(reasons)
}

/// By method, and then by outcome.
fn stale(endpoint: &Endpoint) -> Value {
    let mut methods: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (method, outcome, count) in endpoint.counts.stale.all() {
        methods.entry(method).or_default().insert(outcome.as_str(), count);
    }
    json!(methods)
}
