//! `min_idle`: connections that are ready before the requests that need them.

use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use super::{hold, let_pass, numbering, opened, wait_idle};
use crate::support::{Endpoint, Gate, Proxy, eventually};

const MIN_IDLE: &str = "[cluster.main.pool]\nmin_idle = 3\nidle_timeout = \"1m\"\n";

/// The next `count` connections to a listener.
fn accept(listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    listener.set_nonblocking(true).expect("a listening socket");
    let mut accepted = Vec::new();
    eventually("the proxy connects", || {
        match listener.accept() {
            Ok((stream, _)) => accepted.push(stream),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        accepted.len() == count
    });
    accepted
}

#[test]
fn connections_are_ready_before_the_first_request() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).with(MIN_IDLE).start();
    wait_idle(&proxy, 3);
    assert_eq!((opened(&proxy, "min-idle"), endpoint.requests().len()), (3, 0));
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(opened(&proxy, "none-idle"), 0, "it found one ready");
    assert_eq!(proxy.metric("forebay_pool_reuse_ratio", &[]), 1.0);
}

#[test]
fn those_in_use_are_replaced_by_others_and_no_more_are_opened_than_it_takes() {
    let gate = Gate::default();
    let endpoint = numbering(&gate);
    let proxy = Proxy::in_front_of(&endpoint).with(MIN_IDLE).start();
    wait_idle(&proxy, 3);
    let answers = hold(&proxy, &endpoint, 2);
    wait_idle(&proxy, 3);
    let_pass(&proxy, Duration::from_secs(1));
    assert_eq!(endpoint.opened(), 5);
    gate.open();
    answers.iter().take(2).for_each(|answer| assert_eq!(answer.status, 200));
    wait_idle(&proxy, 5);
    assert_eq!((endpoint.opened(), endpoint.closed()), (5, 0));
}

#[test]
fn those_that_grow_too_old_are_opened_anew() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.pool]\nmin_idle = 3\nidle_timeout = \"300ms\"")
        .start();
    endpoint.wait_closed(6);
    endpoint.wait_opened(9);
    drop(proxy);
    assert!(endpoint.requests().is_empty());
}

#[test]
fn they_are_ready_again_after_the_endpoint_was_restarted() {
    // An address that nobody else binds, so that the port cannot be taken meanwhile.
    let listener = TcpListener::bind("127.83.0.1:0").expect("all of 127.0.0.0/8 is ours");
    let address = listener.local_addr().expect("bound");
    let proxy = Proxy::to(&[address])
        .with(MIN_IDLE)
        .with("[log]\nlevel = \"debug\"")
        .start();
    let before = accept(&listener, 3);
    wait_idle(&proxy, 3);
    drop((listener, before));
    wait_idle(&proxy, 0);
    proxy.wait_for_log("could not be opened ahead of need");
    let listener = TcpListener::bind(address).expect("it is still ours");
    let _after = accept(&listener, 3);
    wait_idle(&proxy, 3);
    let_pass(&proxy, Duration::from_secs(1));
    let more = listener.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(more, Err(ErrorKind::WouldBlock));
}

#[test]
fn a_reload_that_asks_for_them_gets_them() {
    let endpoint = Endpoint::answering("x");
    let setup = Proxy::in_front_of(&endpoint);
    let proxy = Proxy::start(&setup.toml());
    assert_eq!(proxy.get("/").status, 200);
    let setup = setup.with(MIN_IDLE);
    proxy.reload(&setup.toml());
    wait_idle(&proxy, 3);
    endpoint.wait_opened(3);
    assert_eq!(endpoint.opened(), 3, "the one that was there counts");
    // With other socket options, all connections are new ones.
    let setup = setup.with("[cluster.main.tcp_keepalive]\nidle = \"20s\"");
    proxy.reload(&setup.toml());
    endpoint.wait_closed(3);
    wait_idle(&proxy, 3);
    endpoint.wait_opened(6);
    assert_eq!((endpoint.opened(), endpoint.requests().len()), (6, 1));
}

#[test]
fn they_are_never_more_than_there_may_be_connections() {
    let gate = Gate::default();
    let endpoint = numbering(&gate);
    let pool = "max_connections = 4\nmax_idle = 3\nwait = { timeout = \"14s\", queue = 10 }";
    let proxy = Proxy::in_front_of(&endpoint).with(&format!("{MIN_IDLE}{pool}")).start();
    wait_idle(&proxy, 3);
    let answers = hold(&proxy, &endpoint, 3);
    wait_idle(&proxy, 1);
    let_pass(&proxy, Duration::from_secs(1));
    assert_eq!(endpoint.opened(), 4);
    let last = hold(&proxy, &endpoint, 1);
    let_pass(&proxy, Duration::from_secs(1));
    assert_eq!(
        (endpoint.opened(), proxy.metric("forebay_pool_connections", &[])),
        (4, 4.0)
    );
    gate.open();
    answers.iter().take(3).for_each(|answer| assert_eq!(answer.status, 200));
    assert_eq!(last.recv().expect("it is answered").status, 200);
    wait_idle(&proxy, 3);
}
