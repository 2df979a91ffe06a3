//! One handshake for many requests, and sessions that go on where a new connection is needed.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustls::version::{TLS12, TLS13};

use super::{Trust, echo_target};
use crate::{
    endings::load::requests,
    support::{End, Endpoint, Gate, Proxy, eventually, tls_session::EndpointTls},
};

fn handshakes(proxy: &Proxy) -> [f64; 3] {
    ["full", "resumed", "failed"]
        .map(|kind| proxy.metric("forebay_upstream_tls_handshakes_total", &[&format!("kind=\"{kind}\"")]))
}

#[test]
fn ten_thousand_requests_over_warm_connections_open_no_other() {
    let trust = Trust::of(&[]);
    for workers in [1, 4] {
        let gate = Gate::default();
        let endpoint = trust.endpoint({
            let gate = gate.clone();
            move |exchange| {
                gate.wait();
                exchange.respond("x");
            }
        });
        let patient = "[cluster.main.pool]\nidle_timeout = \"1m\"\nreuse = { writes_if_idle_under = \"1m\" }\n";
        let proxy = trust.in_front_of(&endpoint).with(patient).workers(workers).start();
        // As many at once as there will ever be.
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| assert_eq!(proxy.get("/warm").status, 200))));
            endpoint.wait_requests(8);
            gate.open();
        });
        let (next, at_once) = (AtomicUsize::new(0), 8);
        let answers = requests(&proxy, 10_000, at_once, |client, number| {
            next.fetch_add(1, Relaxed);
            match number % 4 {
                0 => client.post("/", "written"),
                _ => client.get("/"),
            }
        });
        assert!(answers.iter().all(|answer| answer.status == 200), "{workers} workers");
        assert_eq!(endpoint.requests().len(), 10_008);
        assert_eq!((endpoint.opened(), endpoint.closed()), (8, 0), "{workers} workers");
        assert_eq!(handshakes(&proxy)[2], 0.0);
        if workers > 1 {
            assert!(
                proxy.metric("forebay_pool_stolen_total", &[]) > 0.0,
                "none changed its worker"
            );
        }
    }
}

#[test]
fn a_session_goes_on_over_the_next_connection() {
    let trust = Trust::of(&[]);
    for version in [&TLS13, &TLS12] {
        let endpoint = Endpoint::start_tls(&EndpointTls::only(&trust.certificate, version), |exchange| {
            exchange.respond("x");
            exchange.close();
        });
        let proxy = trust.in_front_of(&endpoint).workers(1).start();
        for number in 1..=10 {
            assert_eq!(proxy.get("/").status, 200);
            endpoint.wait_closed(number);
        }
        assert_eq!(endpoint.handshakes(), (1, 9), "{:?}", version.version);
        assert_eq!(handshakes(&proxy), [1.0, 9.0, 0.0]);
        assert_eq!(proxy.metric("forebay_upstream_tls_resumption_ratio", &[]), 0.9);
    }
}

#[test]
fn tickets_of_one_endpoint_are_not_shown_to_another() {
    let trust = Trust::of(&["api.example"]);
    let closing = |exchange: &mut crate::support::Exchange| {
        exchange.respond("x");
        exchange.close();
    };
    let endpoints = [trust.endpoint(closing), trust.endpoint(closing)];
    let addresses = endpoints.each_ref().map(Endpoint::address);
    let section = trust.section() + "server_name = \"api.example\"\n";
    let proxy = Proxy::to(&addresses).workers(1).with(&section).start();
    for number in 1..=20 {
        assert_eq!(proxy.get("/").status, 200);
        eventually("it is closed", || {
            endpoints.iter().map(Endpoint::closed).sum::<usize>() == number
        });
    }
    let full: usize = endpoints.iter().map(|endpoint| endpoint.handshakes().0).sum();
    assert!(full <= 2, "{full} full handshakes with two endpoints");
}

#[test]
fn tickets_that_come_late_do_not_end_an_idle_connection() {
    let trust = Trust::of(&[]);
    let gate = Gate::default();
    let tls = EndpointTls::only(&trust.certificate, &TLS13).late_tickets(&gate);
    let endpoint = Endpoint::start_tls(&tls, echo_target);
    let ready = "[cluster.main.pool]\nmin_idle = 1\nmax_connections = 1\nidle_timeout = \"1m\"\n";
    let proxy = trust.in_front_of(&endpoint).with(ready).workers(1).start();
    proxy.wait_for_metric("forebay_pool_connections", &["state=\"idle\""], |idle| idle == 1.0);
    gate.open();
    for target in ["/1", "/2", "/3"] {
        assert_eq!(proxy.get(target).text(), target);
    }
    assert_eq!((endpoint.opened(), endpoint.closed()), (1, 0));
    assert_eq!(proxy.metric("forebay_pool_opened_total", &[]), 1.0);
}

#[test]
fn keys_that_change_while_it_is_idle_do_not_end_a_connection() {
    let trust = Trust::of(&[]);
    let endpoint = Endpoint::start_tls(&EndpointTls::only(&trust.certificate, &TLS13), |exchange| {
        exchange.respond("x");
        exchange.update_keys();
    });
    let patient = "[cluster.main.pool]\nidle_timeout = \"1m\"\nreuse = { writes_if_idle_under = \"1m\" }\n";
    for workers in [1, 4] {
        let opened = endpoint.opened();
        let proxy = trust.in_front_of(&endpoint).with(patient).workers(workers).start();
        for _ in 0..10 {
            assert_eq!(proxy.connect().post("/", "x").status, 200);
            // The sweep has looked at it.
            let before = proxy.ticks();
            eventually("it is idle", || {
                proxy.metric("forebay_pool_connections", &["state=\"idle\""]) == 1.0
            });
            let _ = before;
        }
        assert_eq!(
            (
                endpoint.opened() - opened,
                proxy.metric("forebay_pool_closed_total", &[])
            ),
            (1, 0.0)
        );
    }
}

#[test]
fn an_endpoint_that_announces_its_end_while_idle_is_answered_and_loses_no_request() {
    let trust = Trust::of(&[]);
    let endpoint = trust.endpoint(|exchange| {
        exchange.respond("x");
        exchange.notify();
        exchange.wait_for_end();
    });
    let proxy = trust.in_front_of(&endpoint).workers(1).start();
    for number in 1..=5 {
        assert_eq!(proxy.get("/").status, 200);
        let connections = endpoint.wait_closed(number);
        let last = &connections[number - 1];
        assert_eq!(
            (last.end, last.notified),
            (Some(End::Fin), true),
            "it got its answer in kind"
        );
    }
    let closed = ["reason=\"closed-by-endpoint\"", "first=\"endpoint-fin\""];
    proxy.wait_for_metric("forebay_pool_closed_total", &closed, |count| count == 5.0);
    assert_eq!(proxy.metric("forebay_pool_closed_total", &[]), 5.0);
}

#[test]
fn what_is_lost_to_a_closing_connection_is_repeated_only_if_it_may_be() {
    let trust = Trust::of(&[]);
    for end in [
        |exchange: &mut crate::support::Exchange| exchange.close(),
        |exchange: &mut crate::support::Exchange| exchange.cut(),
        |exchange: &mut crate::support::Exchange| exchange.reset(),
        // A fatal alert, `internal_error`, that nobody has encrypted.
        |exchange: &mut crate::support::Exchange| {
            exchange.send_raw(&[21, 3, 3, 0, 2, 2, 80]);
            exchange.cut();
        },
    ] {
        let endpoint = trust.endpoint(move |exchange| match exchange.number {
            0 => exchange.respond("x"),
            _ => {
                exchange.body();
                end(exchange);
            }
        });
        let proxy = trust.in_front_of(&endpoint).workers(1).start();
        assert_eq!(proxy.get("/warm").status, 200);
        assert_eq!(proxy.get("/read").status, 200, "it went once more");
        assert_eq!(endpoint.targets(), ["/warm", "/read", "/read"]);
        let written = proxy.connect().post("/written", "x");
        assert_eq!((written.status, written.error()), (502, "connection_terminated"));
        assert_eq!(
            endpoint.targets().iter().filter(|target| *target == "/written").count(),
            1
        );
    }
}

#[test]
fn what_is_no_tls_on_an_idle_connection_ends_it_unnoticed() {
    let trust = Trust::of(&[]);
    let gate = Gate::default();
    let endpoint = trust.endpoint({
        let gate = gate.clone();
        move |exchange| {
            exchange.respond("x");
            gate.wait();
            exchange.send_raw(b"this is no record of TLS");
            exchange.wait_for_end();
        }
    });
    let proxy = trust.in_front_of(&endpoint).workers(1).start();
    assert_eq!(proxy.get("/").status, 200);
    gate.open();
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Reset));
    proxy.wait_for_metric("forebay_pool_closed_total", &["reason=\"unexpected-bytes\""], |count| {
        count == 1.0
    });
}
