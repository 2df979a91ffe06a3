//! `max_connections` is exact, and whoever waits for a connection leaves the queue when its client does.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use super::{hold, numbering};
use crate::support::{Client, End, Endpoint, Gate, Proxy, sockets};

const ONE: &str = "[cluster.main.pool]\nmax_connections = 1\nmax_idle = 1\nwait = { timeout = \"14s\", queue = 50 }\n";

#[test]
fn the_place_of_a_connection_is_free_only_once_it_is_closed() {
    const CLIENTS: usize = 6;
    let (most, address) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::new()));
    // It announces the close and leaves it to the proxy, which waits for it a while.
    let endpoint = Endpoint::start({
        let (most, address) = (Arc::clone(&most), Arc::clone(&address));
        move |exchange| {
            // Before the answer, nothing can be closed or opened while the kernel lists its sockets.
            let to = *address.get().expect("set before the first request");
            most.fetch_max(sockets::count(sockets::ESTABLISHED, to), SeqCst);
            exchange.respond_with("Connection: close\r\n", "x");
            exchange.wait_for_end();
        }
    });
    address.set(endpoint.address()).expect("it is set once");
    let proxy = Proxy::in_front_of(&endpoint).with(ONE).start();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..5 {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    let connections = endpoint.wait_closed(CLIENTS * 5);
    assert_eq!(connections.len(), CLIENTS * 5);
    assert!(connections.iter().all(|connection| connection.end == Some(End::Fin)));
    assert_eq!(most.load(SeqCst), 1);
    let closed = ["reason=\"endpoint-asked\"", "first=\"us-fin\""];
    proxy.wait_for_metric("forebay_pool_closed_total", &closed, |closed| {
        closed as usize == CLIENTS * 5
    });
}

/// One request is held at the endpoint and two wait; the first of these is `left`, and the other gets its turn.
fn a_waiter_leaves(leave: fn(Client)) {
    let gate = Gate::default();
    let endpoint = numbering(&gate);
    let proxy = Proxy::in_front_of(&endpoint).with(ONE).start();
    let waiting = |count: f64| proxy.wait_for_metric("forebay_pool_waiting", &[], |waiting| waiting == count);
    let held = hold(&proxy, &endpoint, 1);
    let [mut leaving, mut staying] = [proxy.connect(), proxy.connect()];
    leaving.send("GET /leaving HTTP/1.1\r\nHost: test.example\r\n\r\n");
    waiting(1.0);
    staying.send("GET /staying HTTP/1.1\r\nHost: test.example\r\n\r\n");
    waiting(2.0);
    leave(leaving);
    waiting(1.0);
    gate.open();
    assert_eq!(held.recv().expect("the first is answered").status, 200);
    assert_eq!(staying.response().status, 200);
    waiting(0.0);
    assert_eq!(
        endpoint.targets(),
        ["/held", "/staying"],
        "what nobody waits for is not sent"
    );
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn a_client_that_closes_takes_its_request_out_of_the_queue() {
    a_waiter_leaves(drop);
}

#[test]
fn a_client_that_resets_takes_its_request_out_of_the_queue() {
    a_waiter_leaves(Client::reset);
}
