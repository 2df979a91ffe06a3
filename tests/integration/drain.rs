//! SIGTERM and SIGINT: no new work, the old one finished, and out.

use std::{net::TcpStream, os::unix::process::ExitStatusExt};

use crate::support::{End, Endpoint, Gate, Proxy, eventually};

fn holding(gate: &Gate) -> Endpoint {
    let gate = gate.clone();
    Endpoint::start(move |exchange| {
        if exchange.target() == "/held" {
            gate.wait();
        }
        exchange.respond("x");
    })
}

#[test]
fn an_idle_proxy_ends_at_once_with_exit_code_0() {
    let endpoint = Endpoint::answering("x");
    for signal in ["TERM", "INT"] {
        let mut proxy = Proxy::in_front_of(&endpoint).start();
        proxy.signal(signal);
        assert_eq!(proxy.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn running_requests_are_finished_and_nobody_else_is_let_in() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let mut proxy = Proxy::in_front_of(&endpoint).process("drain_timeout = \"14s\"").start();
    let address = proxy.address();
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut busy = proxy.connect();
    busy.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    endpoint.wait_requests(2);
    proxy.signal("TERM");
    assert_eq!(idle.end(), End::Fin, "idle clients are sent off");
    eventually("the listener is closed", || TcpStream::connect(address).is_err());
    gate.open();
    let response = busy.response();
    assert_eq!(response.text(), "x");
    assert!(response.announces_close());
    assert_eq!(busy.end(), End::Fin);
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(
        endpoint
            .wait_closed(endpoint.opened())
            .iter()
            .all(|connection| connection.end == Some(End::Fin))
    );
}

#[test]
fn a_long_answer_is_sent_to_its_end() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            gate.wait();
            exchange.send(b"later");
        }
    });
    let mut proxy = Proxy::in_front_of(&endpoint).process("drain_timeout = \"14s\"").start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut seen = client.read_some().expect("the answer begins");
    while !seen.ends_with(b"first") {
        seen.extend(client.read_some().expect("the answer begins"));
    }
    proxy.signal("TERM");
    eventually("the listener is closed", || {
        TcpStream::connect(proxy.address()).is_err()
    });
    gate.open();
    let (rest, _) = client.read_to_end();
    assert_eq!(rest, b"later");
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn requests_that_take_too_long_are_cut_at_the_drain_timeout() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let mut proxy = Proxy::in_front_of(&endpoint)
        .process("drain_timeout = \"200ms\"")
        .start();
    let mut busy = proxy.connect();
    busy.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    endpoint.wait_requests(1);
    assert_eq!(proxy.terminate().code(), Some(0));
    assert_ne!(busy.read_to_end().1, End::Deadline);
    gate.open();
}

#[test]
fn a_second_signal_ends_at_once() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let mut proxy = Proxy::in_front_of(&endpoint).process("drain_timeout = \"1h\"").start();
    let mut busy = proxy.connect();
    busy.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    endpoint.wait_requests(1);
    proxy.signal("TERM");
    eventually("the listener is closed", || {
        TcpStream::connect(proxy.address()).is_err()
    });
    proxy.signal("TERM");
    let status = proxy.wait();
    assert!(status.code().is_some() || status.signal().is_some());
    gate.open();
}

#[test]
fn a_draining_proxy_says_that_it_is_not_ready() {
    let gate = Gate::default();
    let endpoint = holding(&gate);
    let mut proxy = Proxy::in_front_of(&endpoint).process("drain_timeout = \"14s\"").start();
    assert_eq!(
        (proxy.admin_get("/readyz").status, proxy.admin_get("/healthz").status),
        (200, 200)
    );
    let mut busy = proxy.connect();
    busy.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    endpoint.wait_requests(1);
    proxy.signal("TERM");
    eventually("it is not ready", || proxy.admin_get("/readyz").status == 503);
    assert_eq!(proxy.admin_get("/healthz").status, 200, "it is alive nevertheless");
    gate.open();
    assert_eq!(busy.response().text(), "x");
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn a_client_that_only_connected_does_not_hold_it_up() {
    let endpoint = Endpoint::answering("x");
    let mut proxy = Proxy::in_front_of(&endpoint).process("drain_timeout = \"60s\"").start();
    let silent = proxy.connect();
    proxy.wait_for_metric("forebay_downstream_connections", &[], |count| count >= 1.0);
    assert!(proxy.terminate().success());
    assert!(!proxy.log().iter().any(|line| line.contains("timeout has passed")));
    drop(silent);
}
