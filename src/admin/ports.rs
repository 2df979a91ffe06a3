//! The source ports, pair by pair: (source address, destination).

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    net::TcpCounters,
    ports::{Observed, PairStatus},
    snapshot::Snapshot,
    telemetry::Page,
};

/// A pair with how many of its open connections are idle.
struct Row {
    pair: PairStatus,
    idle: usize,
}

impl Row {
    fn headroom(&self) -> usize {
        self.pair.limit.saturating_sub(self.pair.used)
    }

    fn source(&self) -> String {
        self.pair
            .source
            .map_or_else(|| "any".to_owned(), |address| address.to_string())
    }

    /// In the order of a connection's life.
    fn states(&self) -> [(&'static str, usize); 4] {
        let active = self.pair.established.saturating_sub(self.idle);
        [
            ("connecting", self.pair.connecting),
            ("active", active),
            ("idle", self.idle),
            ("closing", self.pair.closing),
        ]
    }
}

fn states(seen: &Observed) -> [(&'static str, usize); 5] {
    [
        ("established", seen.established),
        ("syn-sent", seen.syn_sent),
        ("closing", seen.closing),
        ("close-wait", seen.close_wait),
        ("time-wait", seen.time_wait),
    ]
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let mut idle: HashMap<(Option<IpAddr>, SocketAddr), usize> = HashMap::new();
    for (_, endpoint) in snapshot.endpoints() {
        endpoint.pool.for_each_idle(|connection| {
            let reservation = connection.reservation();
            let key = (reservation.source_address(), reservation.destination());
            *idle.entry(key).or_default() += 1;
        });
    }
    let limits = limits(snapshot);
    let limit_of = |destination: SocketAddr| limits.get(&destination).copied();
    let row = |pair: PairStatus| Row {
        idle: idle.get(&(pair.source, pair.destination)).copied().unwrap_or(0),
        pair,
    };
    let pairs = snapshot.ports.status(Instant::now(), limit_of);
    pairs.into_iter().map(row).collect()
}

/// The limit towards each destination: the highest, where clusters differ.
fn limits(snapshot: &Snapshot) -> HashMap<SocketAddr, usize> {
    let mut limits = HashMap::new();
    for (_, endpoint) in snapshot.endpoints() {
        let limit = limits.entry(endpoint.address).or_insert(0);
        *limit = endpoint.connector.port_limit().max(*limit);
    }
    limits
}

pub(super) fn render(page: &mut Page, snapshot: &Snapshot) {
    for row in rows(snapshot) {
        let (source, endpoint) = (row.source(), row.pair.destination.to_string());
        let labels = [("endpoint", endpoint.as_str()), ("source", source.as_str())];
        own(page, &row, labels);
        kernel(page, &row, labels);
    }
    if let Some(total) = snapshot.ports.time_wait_total() {
        let help = "TIME_WAIT sockets of the machine, whoever left them.";
        page.gauge("forebay_ports_machine_time_wait", help, &[], total as f64);
    }
    if let Some(counters) = TcpCounters::read() {
        machine(page, &counters);
    }
}

/// What the kernel has counted since the machine came up, for all its processes.
fn machine(page: &mut Page, counters: &TcpCounters) {
    let events = [
        ("time-wait", counters.tw),
        ("time-wait-recycled", counters.tw_recycled),
        ("time-wait-overflow", counters.time_wait_overflow),
        ("abort-on-data", counters.abort_on_data),
        ("abort-on-close", counters.abort_on_close),
    ];
    for (event, count) in events {
        let help = "What the kernel counts for the whole machine (TcpExt of /proc/net/netstat).";
        page.counter("forebay_ports_machine_events_total", help, &[("event", event)], count);
    }
}

fn own(page: &mut Page, row: &Row, labels: [(&str, &str); 2]) {
    for (state, count) in row.states() {
        let labels = [labels[0], labels[1], ("state", state)];
        let help = "Connections that hold a source port.";
        page.gauge("forebay_ports_connections", help, &labels, count as f64);
    }
    let mut gauge = |name, help, value| page.gauge(name, help, &labels, value);
    let pair = &row.pair;
    gauge(
        "forebay_ports_time_wait",
        "TIME_WAIT sockets that our closes have left.",
        pair.time_wait as f64,
    );
    gauge(
        "forebay_ports_foreign",
        "Source ports that others hold, as of the last look at the kernel's sockets.",
        pair.foreign as f64,
    );
    gauge(
        "forebay_ports_limit",
        "Source ports that may be in use.",
        row.pair.limit as f64,
    );
    gauge(
        "forebay_ports_headroom",
        "Source ports that may still be taken.",
        row.headroom() as f64,
    );
    gauge(
        "forebay_ports_exhaustion_seconds",
        "Time until the source ports are used up if closes go on as now.",
        pair.exhausted_in.map_or(f64::INFINITY, |seconds| seconds as f64),
    );
    gauge(
        "forebay_ports_source_present",
        "1 while the source address is on this machine.",
        f64::from(u8::from(pair.present)),
    );
    page.counter(
        "forebay_ports_exhausted_total",
        "Times that the kernel had no free source port (EADDRNOTAVAIL or EADDRINUSE).",
        &labels,
        pair.exhausted,
    );
    page.counter(
        "forebay_ports_refused_total",
        "Times that the limit was reached, so that the kernel was not asked.",
        &labels,
        pair.refused,
    );
}

fn kernel(page: &mut Page, row: &Row, labels: [(&str, &str); 2]) {
    let Some(seen) = &row.pair.observed else { return };
    for (state, count) in states(seen) {
        let labels = [labels[0], labels[1], ("state", state)];
        let help = "Sockets that the kernel shows, as of the last look.";
        page.gauge("forebay_ports_observed", help, &labels, count as f64);
    }
    if let Some(difference) = row.pair.difference {
        let help = "Our count of open connections less the kernel's, as of the last look.";
        page.gauge("forebay_ports_difference", help, &labels, difference as f64);
    }
}

pub(super) fn status(snapshot: &Snapshot) -> Value {
    rows(snapshot).iter().map(json).collect()
}

fn json(row: &Row) -> Value {
    let pair = &row.pair;
    let counts = |states: &[(&'static str, usize)]| -> Value {
        let entry = |(state, count): &(&'static str, usize)| ((*state).to_owned(), json!(count));
        Value::Object(states.iter().map(entry).collect())
    };
    json!({
        "source": pair.source.map(|address| address.to_string()),
        "endpoint": pair.destination.to_string(),
        "present": pair.present,
        "connections": counts(&row.states()),
        "time_wait": pair.time_wait,
        "foreign": pair.foreign,
        "limit": row.pair.limit,
        "headroom": row.headroom(),
        "exhausted_in_seconds": pair.exhausted_in,
        "exhausted": pair.exhausted,
        "refused": pair.refused,
        "kernel": pair.observed.map(|seen| counts(&states(&seen))),
        "difference": pair.difference,
    })
}
