//! A proxy that is started again as soon as the old one has ended.

use std::thread;

use super::load::requests;
use crate::support::{Endpoint, Gate, Proxy, netns::Namespace, tools};

const CONNECTIONS: usize = 40;

/// A proxy with forty pooled connections ends by `signal`; the next one begins at once on the same port.
fn a_restart_after(signal: &str) {
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
    let setup = |port| {
        let setup = Proxy::in_front_of(&endpoint).inside(&namespace).port(port);
        setup.with("[cluster.main.pool]\nidle_timeout = \"1m\"").start()
    };
    let mut old = setup(0);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| old.connect()).collect();
    thread::scope(|scope| {
        let waiting: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| client.get("/").status))
            .collect();
        endpoint.wait_requests(CONNECTIONS);
        gate.open();
        let mut answers = waiting
            .into_iter()
            .map(|client| client.join().expect("an answer comes"));
        assert!(answers.all(|status| status == 200));
    });
    assert_eq!((endpoint.opened(), endpoint.closed()), (CONNECTIONS, 0));
    let address = old.address();
    // The clients are still connected, so that the port is full of the old process's connections.
    old.signal(signal);
    old.wait();
    let new = setup(address.port());
    assert_eq!(new.address(), address);
    let answers = requests(&new, 50, 10, |client, _| client.get("/"));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 50);
    endpoint.wait_closed(CONNECTIONS);
    let left = namespace.sockets("time-wait", endpoint.address().port());
    assert!(left <= 2, "{left} are in TIME_WAIT");
}

#[test]
fn a_proxy_that_was_asked_to_end_is_followed_by_the_next_on_the_same_port() {
    a_restart_after("TERM");
}

#[test]
fn a_proxy_that_was_killed_is_followed_by_the_next_on_the_same_port() {
    a_restart_after("KILL");
}
