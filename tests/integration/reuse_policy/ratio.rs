//! How many requests a kept connection carries, and what is said of the others.

use std::{thread, time::Duration};

use super::{let_pass, numbering, opened};
use crate::{
    access_log::{TO_FILE, records},
    support::{Client, Endpoint, Gate, Proxy},
};

const MISSES: [&str; 5] = [
    "none-idle",
    "all-expired",
    "steal-miss",
    "write-needs-fresh",
    "pooling-off",
];

/// Requests that a new connection carried, by the reasons for which it was opened.
fn explained(proxy: &Proxy) -> usize {
    MISSES.iter().map(|reason| opened(proxy, reason)).sum::<usize>() + opened(proxy, "replaced-stale")
}

fn assert_ratio(proxy: &Proxy, expected: f64) {
    for name in ["forebay_pool_reuse_ratio", "forebay_pool_reuse_ratio_total"] {
        let ratio = proxy.metric(name, &[]);
        assert!((ratio - expected).abs() < 1e-9, "{name} is {ratio} and not {expected}");
    }
}

#[test]
fn a_hundred_clients_one_after_another_need_what_one_worker_would_need() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).workers(8).start();
    for _ in 0..100 {
        let mut client = proxy.connect();
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200);
        }
    }
    // A client may be answered a moment before the connection is idle again.
    assert!(endpoint.opened() <= 3, "{} connections", endpoint.opened());
    assert_eq!(explained(&proxy), endpoint.opened());
    let served = |worker: usize| proxy.metric("forebay_worker_connections", &[&format!("worker=\"{worker}\"")]);
    assert!(
        proxy.metric("forebay_pool_stolen_total", &[]) > 0.0,
        "one worker served all: {:?}",
        (0..8).map(served).collect::<Vec<_>>()
    );
}

#[test]
fn under_a_steady_load_nearly_all_requests_go_on_kept_connections_and_the_rest_is_explained() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 1_500;
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).workers(4).start();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..REQUESTS {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    let (opened, all) = (endpoint.opened(), CLIENTS * REQUESTS);
    assert_eq!(explained(&proxy), opened, "each was opened for a request");
    let ratio = 1.0 - opened as f64 / all as f64;
    assert!(ratio >= 0.999, "{opened} connections for {all} requests");
    assert_ratio(&proxy, ratio);
    let status = proxy.status();
    let text = status.to_string();
    assert!(text.contains("reuse_ratio"), "{text}");
}

#[test]
fn every_request_on_a_new_connection_has_a_reason_whatever_happens() {
    let gate = Gate::default();
    gate.open();
    let endpoint = numbering(&gate);
    let pool = "[cluster.main.pool]\nmax_requests = 5\nidle_timeout = \"400ms\"\nmin_idle = 1\n\
                max_connections = 4\nmax_idle = 4\nwait = { timeout = \"14s\", queue = 10 }\n\
                reuse = { writes_if_idle_under = \"100ms\" }\n";
    let proxy = Proxy::in_front_of(&endpoint)
        .workers(2)
        .with(&format!("{pool}{TO_FILE}"))
        .start();
    let mut sent = 0;
    for pause in [0, 150, 600, 150] {
        let_pass(&proxy, Duration::from_millis(pause));
        thread::scope(|scope| {
            for number in 0..6 {
                let proxy = &proxy;
                scope.spawn(move || mixed(&mut proxy.connect(), number));
            }
        });
        sent += 6 * 10;
    }
    let records = records(&proxy, sent);
    let fresh = records.iter().filter(|record| record["reused"] == false).count();
    assert_eq!(records.len(), sent);
    assert!(fresh > sent / 10, "{fresh} of {sent} on new connections");
    assert_eq!(explained(&proxy), fresh);
    assert_ratio(&proxy, 1.0 - fresh as f64 / sent as f64);
    assert!(opened(&proxy, "min-idle") > 0);
}

/// Ten requests, some of which must not be sent twice.
fn mixed(client: &mut Client, number: usize) {
    for request in 0..10 {
        let response = match (number + request) % 3 {
            0 => client.post("/", "hi"),
            _ => client.get("/"),
        };
        assert_eq!(response.status, 200);
    }
}
