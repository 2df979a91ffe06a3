//! An idle client of HTTP/1 is only a socket, and does not notice.

use std::thread;

use crate::support::{Client, Endpoint, Proxy, eventually};

/// Waits until every client connection of the proxy is parked.
fn wait_until_parked(proxy: &Proxy, count: usize) {
    proxy.wait_for_metric("forebay_downstream_parked_connections", &[], |parked| {
        parked >= count as f64
    });
}

#[test]
fn a_parked_client_is_served_as_before() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    for round in 0..3 {
        assert_eq!(
            client.post("/", format!("round {round}")).text(),
            format!("round {round}")
        );
        wait_until_parked(&proxy, 1);
    }
}

#[test]
fn a_parked_client_may_send_its_next_request_in_pieces_and_several_at_once() {
    let endpoint = Endpoint::start(|exchange| {
        let target = exchange.target().to_owned();
        exchange.respond(target);
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.get("/");
    wait_until_parked(&proxy, 1);
    client.send("G");
    client.send("ET /a HTTP/1.1\r\nHost: test.example\r\n\r\nGET /b HTTP/1.1\r\nHost: test.example\r\n\r\nGET /");
    assert_eq!(client.response().text(), "/a");
    assert_eq!(client.response().text(), "/b");
    client.send("c HTTP/1.1\r\nHost: test.example\r\n\r\n");
    assert_eq!(client.response().text(), "/c");
}

#[test]
fn parking_does_not_reset_the_count_of_requests() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[keep_alive]\nmax_requests = 2")
        .start();
    let mut client = proxy.connect();
    assert!(!client.get("/").announces_close());
    wait_until_parked(&proxy, 1);
    assert!(client.get("/").announces_close());
}

#[test]
fn a_parked_client_that_leaves_is_forgotten() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.get("/");
    wait_until_parked(&proxy, 1);
    drop(client);
    proxy.wait_for_metric("forebay_downstream_parked_connections", &[], |parked| parked == 0.0);
}

#[test]
fn an_idle_client_costs_a_few_kibibytes() {
    const CLIENTS: usize = 400;
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    // What the first requests need once is not the clients'.
    let warm: Vec<Client> = (0..50).map(|_| served(&proxy)).collect();
    drop(warm);
    let before = proxy.memory();
    let clients: Vec<Client> = thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| (0..CLIENTS / 10).map(|_| served(&proxy)).collect::<Vec<_>>()))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("all are served"))
            .collect()
    });
    wait_until_parked(&proxy, CLIENTS);
    // Generous: this is a build without optimisation; the exact figure is a benchmark's business.
    eventually("an idle client costs less than 8 KiB", || {
        proxy.memory().saturating_sub(before) / (CLIENTS as u64) < 8 * 1024
    });
    drop(clients);
}

fn served(proxy: &Proxy) -> Client {
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status, 200);
    client
}
