//! The page that Prometheus reads. Names are `forebay_<module>_<thing>_<unit>`; reasons are the words of the code.

use std::sync::atomic::Ordering::Relaxed;

use super::{Listening, Phase, State};
use crate::{
    downstream::{Http2End, Listener, ProxyOutcome},
    proxy::Reason,
    snapshot::{GRPC_CODES, Snapshot},
    telemetry::{Page, Totals},
    tunnel::End,
    upstream::{Cluster, Endpoint, HandshakeCounts},
};

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) fn render(state: &State) -> String {
    let snapshot = state.snapshots.load();
    let mut page = Page::new();
    process(&mut page, state, &snapshot);
    state.recorder.render_into(&mut page);
    listeners(&mut page, state);
    proxy(&mut page, &snapshot);
    tunnels(&mut page, &snapshot);
    for (index, cluster) in snapshot.clusters.iter().enumerate() {
        requests(&mut page, &snapshot, index, cluster);
        for endpoint in &cluster.endpoints {
            upstream(&mut page, cluster, endpoint);
            pool(&mut page, cluster, endpoint);
        }
    }
    reuse(&mut page, &snapshot);
    super::ports::render(&mut page, &snapshot);
    page.render()
}

fn process(page: &mut Page, state: &State, snapshot: &Snapshot) {
    let ready = f64::from(u8::from(state.phase() == Phase::Ready));
    page.gauge("forebay_process_ready", "1 while the proxy takes clients.", &[], ready);
    let uptime = state.started.elapsed().as_secs_f64();
    page.gauge("forebay_process_uptime_seconds", "Time since the start.", &[], uptime);
    let help = "Snapshots put in force, the first included.";
    page.gauge("forebay_reload_generation", help, &[], snapshot.generation as f64);
    for worker in 0..state.board.workers() {
        let help = "Client connections on each worker.";
        let label = worker.to_string();
        let count = state.board.connections(worker) as f64;
        page.gauge("forebay_worker_connections", help, &[("worker", &label)], count);
    }
    if let Some(log) = &snapshot.access_log {
        page.counter(
            "forebay_access_log_dropped_total",
            "Access log lines not written.",
            &[],
            log.dropped(),
        );
    }
}

fn listeners(page: &mut Page, state: &State) {
    for Listening { listener, tls } in state.listeners() {
        let labels = [("listener", listener.name.as_str())];
        let connections = listener.connections() as f64;
        page.gauge(
            "forebay_downstream_connections",
            "Client connections.",
            &labels,
            connections,
        );
        let parked = listener.parked() as f64;
        let help = "Client connections that are idle and cost a bare socket.";
        page.gauge("forebay_downstream_parked_connections", help, &labels, parked);
        let counts = &listener.counts;
        let mut counter =
            |name, help, count: &std::sync::atomic::AtomicU64| page.counter(name, help, &labels, count.load(Relaxed));
        counter(
            "forebay_downstream_accepted_total",
            "Client connections accepted.",
            &counts.accepted,
        );
        counter(
            "forebay_downstream_handed_over_total",
            "Handed to a less busy worker.",
            &counts.handed_over,
        );
        counter(
            "forebay_downstream_shed_total",
            "Idle clients that gave way to new ones.",
            &counts.shed,
        );
        counter(
            "forebay_downstream_accept_errors_total",
            "Failed accepts.",
            &counts.accept_errors,
        );
        for validity in tls.iter().flat_map(|tls| tls.validities()) {
            let chain = validity.chain.to_string_lossy();
            let labels = [labels[0], ("certificate", &*chain)];
            let help = "When the certificate is over, in seconds since 1970.";
            let not_after = validity.not_after() as f64;
            page.gauge(
                "forebay_tls_certificate_expiry_timestamp_seconds",
                help,
                &labels,
                not_after,
            );
        }
        for (failure, count) in tls.iter().flat_map(|_| counts.tls_failures.all()) {
            let labels = [labels[0], ("reason", failure.as_str())];
            let help = "TLS handshakes that came to nothing.";
            page.counter("forebay_downstream_tls_failures_total", help, &labels, count);
        }
        for (reason, count) in [
            ("max-connections", &counts.refused_max),
            ("per-client-limit", &counts.refused_client),
        ] {
            let labels = [("listener", listener.name.as_str()), ("reason", reason)];
            let help = "Client connections turned away.";
            page.counter("forebay_downstream_refused_total", help, &labels, count.load(Relaxed));
        }
        proxy_protocol(page, &listener);
        for end in Http2End::ALL {
            let labels = [("listener", listener.name.as_str()), ("reason", end.as_str())];
            let help = "HTTP/2 connections that were ended for what their clients did.";
            page.counter(
                "forebay_downstream_http2_closed_total",
                help,
                &labels,
                listener.counts.http2_ends.get(end),
            );
        }
    }
}

/// Nothing where no header has ever been expected.
fn proxy_protocol(page: &mut Page, listener: &Listener) {
    let counts = ProxyOutcome::ALL.map(|outcome| (outcome, listener.counts.proxy_protocol.get(outcome)));
    for (outcome, count) in counts.iter().filter(|_| counts.iter().any(|(_, count)| *count > 0)) {
        let labels = [("listener", listener.name.as_str()), ("outcome", outcome.as_str())];
        let help = "Client connections on which a PROXY header was expected.";
        page.counter("forebay_downstream_proxy_protocol_total", help, &labels, *count);
    }
}

fn proxy(page: &mut Page, snapshot: &Snapshot) {
    let all = || snapshot.proxy_stats.iter();
    for (class, name) in CLASSES.iter().enumerate() {
        let total = all().map(|stats| stats.responses[class].get()).sum();
        let help = "Answers to clients, the proxy's own included; none: the client went away before.";
        page.counter("forebay_proxy_responses_total", help, &[("class", name)], total);
    }
    for reason in Reason::ALL {
        let total = all().map(|stats| stats.failures[reason as usize].get()).sum();
        let help = "Requests that did not end with a whole answer of an endpoint or a route.";
        page.counter(
            "forebay_proxy_failures_total",
            help,
            &[("reason", reason.as_str())],
            total,
        );
    }
}

fn tunnels(page: &mut Page, snapshot: &Snapshot) {
    let all = || snapshot.proxy_stats.iter();
    let opened: u64 = all().map(|stats| stats.tunnels_opened.get()).sum();
    let mut open = opened;
    for end in End::ALL {
        let ended: u64 = all().map(|stats| stats.tunnels_ended[end as usize].get()).sum();
        open = open.saturating_sub(ended);
        let help = "Tunnels that have ended, by who ended them or what did.";
        page.counter(
            "forebay_proxy_tunnels_ended_total",
            help,
            &[("reason", end.as_str())],
            ended,
        );
    }
    let help = "Client connections and streams that are no longer HTTP, such as WebSockets.";
    page.gauge("forebay_proxy_tunnels", help, &[], open as f64);
    page.counter(
        "forebay_proxy_tunnels_opened_total",
        "Tunnels that were opened.",
        &[],
        opened,
    );
}

fn requests(page: &mut Page, snapshot: &Snapshot, index: usize, cluster: &Cluster) {
    let all = || snapshot.cluster_stats[index].iter();
    for (class, name) in CLASSES.iter().enumerate() {
        let total = all().map(|stats| stats.responses[class].get()).sum();
        let labels = [("cluster", cluster.name.as_str()), ("class", *name)];
        let help = "Answers to requests that were routed to the cluster.";
        page.counter("forebay_cluster_responses_total", help, &labels, total);
    }
    let mut totals = Totals::default();
    all().for_each(|stats| totals.merge(&stats.duration));
    let labels = [("cluster", cluster.name.as_str())];
    let help = "From the request's head to the end of its answer.";
    page.histogram("forebay_cluster_request_duration_seconds", help, &labels, &totals);
    let calls = |code: usize| all().map(|stats| stats.grpc[code].get()).sum::<u64>();
    for (code, name) in GRPC_CODES.iter().enumerate().filter(|(code, _)| calls(*code) > 0) {
        let labels = [labels[0], ("status", *name)];
        let help = "Calls of gRPC by the status that their clients got.";
        page.counter("forebay_grpc_responses_total", help, &labels, calls(code));
    }
}

fn upstream(page: &mut Page, cluster: &Cluster, endpoint: &Endpoint) {
    // By its address: a name may have several.
    let address = endpoint.address.to_string();
    let labels = [("cluster", cluster.name.as_str()), ("endpoint", address.as_str())];
    let report = endpoint.health.report();
    let healthy = f64::from(u8::from(report.healthy));
    page.gauge(
        "forebay_health_healthy",
        "1 while the endpoint counts as healthy.",
        &labels,
        healthy,
    );
    page.counter(
        "forebay_health_probes_succeeded_total",
        "Probes that succeeded.",
        &labels,
        report.succeeded,
    );
    page.counter(
        "forebay_health_probes_failed_total",
        "Probes that failed.",
        &labels,
        report.failed,
    );
    page.gauge(
        "forebay_upstream_requests_in_flight",
        "Requests in flight.",
        &labels,
        endpoint.load() as f64,
    );
    let counts = &endpoint.counts;
    let mut counter =
        |name, help, count: &std::sync::atomic::AtomicU64| page.counter(name, help, &labels, count.load(Relaxed));
    counter(
        "forebay_upstream_requests_total",
        "Requests for which the endpoint was picked.",
        &counts.requests,
    );
    counter(
        "forebay_upstream_connect_failures_total",
        "Connections that failed to open.",
        &counts.connect_failures,
    );
    for (method, outcome, count) in counts.stale.all() {
        let labels = [labels[0], labels[1], ("method", method), ("outcome", outcome.as_str())];
        let help = "Requests that met a kept connection as the endpoint closed it.";
        page.counter("forebay_upstream_stale_total", help, &labels, count);
    }
    if let Some(http2) = &endpoint.http2 {
        let help = "Requests that share the connections over HTTP/2.";
        page.gauge("forebay_upstream_streams", help, &labels, http2.streams() as f64);
    }
    if let Some(handshakes) = endpoint.connector.handshakes() {
        tls(page, labels, handshakes);
    }
}

fn tls(page: &mut Page, [cluster, endpoint]: [(&str, &str); 2], counts: &HandshakeCounts) {
    let [full, resumed, failed] = [&counts.full, &counts.resumed, &counts.failed].map(|count| count.load(Relaxed));
    for (kind, count) in [("full", full), ("resumed", resumed), ("failed", failed)] {
        let labels = [cluster, endpoint, ("kind", kind)];
        let help = "TLS handshakes with the endpoint; resumed ones go on from a session of before.";
        page.counter("forebay_upstream_tls_handshakes_total", help, &labels, count);
    }
    if full + resumed > 0 {
        let ratio = resumed as f64 / (full + resumed) as f64;
        let help = "Share of TLS handshakes that resumed a session, since the start.";
        page.gauge(
            "forebay_upstream_tls_resumption_ratio",
            help,
            &[cluster, endpoint],
            ratio,
        );
    }
}

fn pool(page: &mut Page, cluster: &Cluster, endpoint: &Endpoint) {
    let address = endpoint.address.to_string();
    let labels = [("cluster", cluster.name.as_str()), ("endpoint", address.as_str())];
    let status = endpoint.pool_status();
    let active = status.connections.saturating_sub(status.idle);
    for (state, count) in [("idle", status.idle), ("active", active)] {
        let labels = [labels[0], labels[1], ("state", state)];
        page.gauge(
            "forebay_pool_connections",
            "Connections to the endpoint.",
            &labels,
            count as f64,
        );
    }
    page.gauge(
        "forebay_pool_waiting",
        "Requests that wait for a connection.",
        &labels,
        status.waiting as f64,
    );
    page.counter(
        "forebay_pool_reused_total",
        "Checkouts of a kept connection.",
        &labels,
        status.reused,
    );
    page.counter(
        "forebay_pool_stolen_total",
        "Of these, taken from another worker.",
        &labels,
        status.stolen,
    );
    page.counter(
        "forebay_pool_waited_total",
        "Checkouts that had to wait.",
        &labels,
        status.waited,
    );
    for (outcome, count) in [("timeout", status.wait_timeouts), ("queue-full", status.queue_full)] {
        let labels = [labels[0], labels[1], ("outcome", outcome)];
        page.counter(
            "forebay_pool_exhausted_total",
            "Checkouts that got no connection.",
            &labels,
            count,
        );
    }
    for (reason, count) in &status.opened {
        let labels = [labels[0], labels[1], ("reason", reason.as_str())];
        page.counter(
            "forebay_pool_opened_total",
            "Connections opened, by reason.",
            &labels,
            *count,
        );
    }
    for (reason, first, count) in &status.closed {
        let labels = [
            labels[0],
            labels[1],
            ("reason", reason.as_str()),
            ("first", first.as_str()),
        ];
        let help = "Connections closed, by reason and by who was first with a FIN or a reset.";
        page.counter("forebay_pool_closed_total", help, &labels, *count);
    }
    let idle_timeout = status.idle_timeout.as_secs_f64();
    let help = "How long a connection may be idle, as configured, stated by the endpoint or learned.";
    page.gauge("forebay_pool_idle_timeout_seconds", help, &labels, idle_timeout);
    if let Some(ratio) = status.reuse().ratio() {
        let help = "Share of requests that a kept connection carried, since the start.";
        page.gauge("forebay_pool_reuse_ratio", help, &labels, ratio);
    }
}

fn reuse(page: &mut Page, snapshot: &Snapshot) {
    if let Some(ratio) = super::reuse(snapshot).ratio() {
        let help = "Share of all requests that a kept connection carried, since the start.";
        page.gauge("forebay_pool_reuse_ratio_total", help, &[], ratio);
    }
}
