//! However the proxy parts with an endpoint, no port of its own is left in TIME_WAIT.

use std::thread;

use crate::support::{End, Endpoint, Gate, Proxy, eventually, netns::Namespace, proxy::Setup, tools};

const CONNECTIONS: usize = 20;

/// A proxy in a namespace of its own with twenty idle connections to an endpoint outside; then `part` makes it close
/// them, and nothing may be left.
fn check(configure: impl Fn(Setup) -> Setup, part: impl FnOnce(&mut Proxy)) {
    if !tools::needs("ss") {
        return;
    }
    let Some(namespace) = Namespace::make() else { return };
    let gate = Gate::default();
    let endpoint = Endpoint::start_on(&format!("{}:0", namespace.outer()), {
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.respond("x");
        }
    });
    let port = endpoint.address().port();
    let mut proxy = configure(Proxy::in_front_of(&endpoint).inside(&namespace)).start();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| ten_requests(&proxy))).collect();
        endpoint.wait_requests(CONNECTIONS);
        gate.open();
        clients
            .into_iter()
            .for_each(|client| client.join().expect("all are answered"));
    });
    assert_eq!((endpoint.requests().len(), endpoint.opened()), (200, CONNECTIONS));
    part(&mut proxy);
    let ends: Vec<_> = endpoint
        .wait_closed(CONNECTIONS)
        .iter()
        .map(|connection| connection.end)
        .collect();
    assert_eq!(ends, [Some(End::Fin); CONNECTIONS], "the endpoint sees a clean end");
    for state in [
        "time-wait",
        "fin-wait-1",
        "fin-wait-2",
        "close-wait",
        "closing",
        "last-ack",
    ] {
        eventually(&format!("none is in {state}"), || namespace.sockets(state, port) == 0);
    }
    // A socket that has passed into TIME_WAIT stays there for a minute, so that no wait could have hidden one.
    assert_eq!(namespace.sockets("time-wait", port), 0);
}

fn ten_requests(proxy: &Proxy) {
    let mut client = proxy.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn after_the_idle_timeout() {
    check(
        |setup| setup.with("[cluster.main.pool]\nidle_timeout = \"300ms\""),
        |_| (),
    );
}

#[test]
fn after_a_drain() {
    let keep = |setup: Setup| setup.with("[cluster.main.pool]\nidle_timeout = \"1m\"");
    check(keep, |proxy| assert_eq!(proxy.terminate().code(), Some(0)));
}

#[test]
fn after_a_violent_death() {
    let keep = |setup: Setup| setup.with("[cluster.main.pool]\nidle_timeout = \"1m\"");
    check(keep, |proxy| {
        proxy.signal("KILL");
        proxy.wait();
    });
}

#[test]
fn without_a_pool_more_connections_than_there_are_ports() {
    if !tools::needs("ss") {
        return;
    }
    let Some(namespace) = Namespace::make() else { return };
    namespace.source_ports(30_000, 30_019);
    let endpoint = Endpoint::start_on(&format!("{}:0", namespace.outer()), |exchange| exchange.respond("x"));
    let proxy = Proxy::in_front_of(&endpoint)
        .inside(&namespace)
        .with("[cluster.main.pool]\nmax_idle = 0")
        .start();
    let mut client = proxy.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 200, "{} connections in", endpoint.opened());
    }
    assert_eq!(endpoint.opened(), 100);
    assert_eq!(namespace.sockets("time-wait", endpoint.address().port()), 0);
}
