//! Connections that end while requests are on them, or between two.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use super::{HTTP2, REFUSED_STREAM, in_front_of};
use crate::support::{Gate, Proxy, eventually, h2_endpoint::H2Endpoint};

const NO_ERROR: u32 = 0;

/// Answers `x` to the first request of each connection, and does `then` with the second.
fn second(
    then: impl Fn(&mut crate::support::h2_endpoint::H2Connection, u32) + Send + Sync + 'static,
) -> (H2Endpoint, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let endpoint = H2Endpoint::start(&[], {
        let requests = Arc::clone(&requests);
        move |connection| {
            let Some(first) = connection.request() else { return };
            requests.fetch_add(1, SeqCst);
            connection.answer(first, b"x");
            let Some(second) = connection.request() else { return };
            requests.fetch_add(1, SeqCst);
            then(connection, second);
        }
    });
    (endpoint, requests)
}

#[test]
fn what_goaway_leaves_unprocessed_goes_elsewhere_whatever_its_method() {
    // The second request of each connection is above the last stream that GOAWAY names.
    let (endpoint, _) = second(|connection, stream| {
        connection.go_away(stream - 2, NO_ERROR);
        connection.wait_for_end();
    });
    let proxy = in_front_of(&endpoint).workers(1).start();
    for request in 1..=6 {
        let response = proxy.connect().post("/", "hello");
        assert_eq!((response.status, response.text()), (200, "x".to_owned()), "{request}");
    }
    assert_eq!(endpoint.opened(), 6);
    eventually("only the last connection is left", || endpoint.closed() == 5);
}

#[test]
fn a_connection_that_is_to_end_gets_no_further_request() {
    let (said, gate) = (Gate::default(), Gate::default());
    let endpoint = H2Endpoint::start(&[], {
        let (said, gate) = (said.clone(), gate.clone());
        move |connection| {
            let Some(first) = connection.request() else { return };
            if connection.number > 0 {
                connection.answer(first, b"new");
                return connection.serve();
            }
            connection.go_away(first, NO_ERROR);
            said.open();
            gate.wait();
            connection.answer(first, b"old");
            connection.wait_for_end();
        }
    });
    let proxy = in_front_of(&endpoint).workers(1).start();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| proxy.get("/").text());
        said.wait();
        eventually("its connection takes no other", || {
            proxy.metric("forebay_upstream_streams", &[]) == 0.0
        });
        assert_eq!(proxy.get("/").text(), "new");
        gate.open();
        assert_eq!(first.join().expect("an answer"), "old");
    });
    assert_eq!(proxy.metric("forebay_upstream_stale_total", &[]), 0.0);
}

#[test]
fn what_goaway_has_let_in_is_answered() {
    let (endpoint, requests) = second(|connection, stream| {
        connection.go_away(stream, NO_ERROR);
        connection.answer(stream, b"late");
        connection.wait_for_end();
    });
    let proxy = in_front_of(&endpoint).workers(1).start();
    let bodies: Vec<_> = (0..4).map(|_| proxy.get("/").text()).collect();
    assert_eq!(bodies, ["x", "late", "x", "late"]);
    assert_eq!((endpoint.opened(), requests.load(SeqCst)), (2, 4));
}

#[test]
fn a_refused_request_goes_to_another_endpoint_and_is_not_repeated_for_ever() {
    let refusing = || {
        let tries = Arc::<AtomicUsize>::default();
        let endpoint = H2Endpoint::start(&[], {
            let tries = Arc::clone(&tries);
            move |connection| {
                while let Some(stream) = connection.request() {
                    tries.fetch_add(1, SeqCst);
                    connection.reset(stream, REFUSED_STREAM);
                }
            }
        });
        (endpoint, tries)
    };
    let serving = H2Endpoint::start(&[], |connection| connection.serve());
    let (refuses, tries) = refusing();
    let proxy = Proxy::to(&[refuses.address(), serving.address()])
        .with(&format!("{HTTP2}\nbalance = \"round-robin\""))
        .workers(1)
        .start();
    for _ in 0..6 {
        assert_eq!(proxy.connect().post("/", "hello").text(), "served");
    }
    assert!(tries.load(SeqCst) >= 3);
    let (alone, tries) = refusing();
    let proxy = in_front_of(&alone).start();
    let response = proxy.connect().post("/", "hello");
    assert_eq!((response.status, response.error()), (503, "destination_unavailable"));
    assert!((2..=8).contains(&tries.load(SeqCst)), "{tries:?}");
}

#[test]
fn a_request_on_a_connection_that_breaks_is_repeated_only_if_that_does_no_harm() {
    let (endpoint, requests) = second(|_, _| {});
    let proxy = in_front_of(&endpoint).workers(1).start();
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.get("/").status, 200, "it goes again");
    assert_eq!((endpoint.opened(), requests.load(SeqCst)), (2, 3));
    let response = proxy.connect().post("/", "hello");
    assert_eq!((response.status, response.error()), (502, "connection_terminated"));
    assert_eq!(
        (endpoint.opened(), requests.load(SeqCst)),
        (2, 4),
        "it is not sent twice"
    );
}

#[test]
fn a_body_that_is_too_large_to_be_kept_is_not_sent_again() {
    let (endpoint, requests) = second(|connection, stream| {
        connection.go_away(stream - 2, NO_ERROR);
        connection.wait_for_end();
    });
    let retry = "[cluster.main.retry]\nmax_replay_body = \"1KiB\"";
    let proxy = in_front_of(&endpoint).with(retry).workers(1).start();
    assert_eq!(proxy.get("/").status, 200);
    let response = proxy.connect().post("/", "x".repeat(5000));
    assert_eq!(response.status, 502);
    assert_eq!((endpoint.opened(), requests.load(SeqCst)), (1, 2));
}

#[test]
fn an_idle_connection_says_goaway_and_closes() {
    let ended = Arc::<AtomicUsize>::default();
    let endpoint = H2Endpoint::start(&[], {
        let ended = Arc::clone(&ended);
        move |connection| {
            let stream = connection.request().expect("a request");
            connection.answer(stream, b"x");
            if connection.wait_for_end() && connection.end == Some(crate::support::End::Fin) {
                ended.fetch_add(1, SeqCst);
            }
        }
    });
    let proxy = in_front_of(&endpoint)
        .with("[cluster.main.pool]\nidle_timeout = \"300ms\"")
        .start();
    assert_eq!(proxy.get("/").status, 200);
    eventually("the connection has ended cleanly", || ended.load(SeqCst) == 1);
    let closed = ["reason=\"idle-timeout\"", "first=\"us-fin\""];
    proxy.wait_for_metric("forebay_pool_closed_total", &closed, |count| count == 1.0);
    proxy.wait_for_metric("forebay_pool_connections", &["state=\"active\""], |count| count == 0.0);
}

#[test]
fn a_connection_ends_after_its_last_allowed_request() {
    let endpoint = H2Endpoint::start(&[], |connection| connection.serve());
    let proxy = in_front_of(&endpoint)
        .with("[cluster.main.pool]\nmax_requests = 2")
        .workers(1)
        .start();
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "served");
    }
    assert_eq!(endpoint.opened(), 3);
    let closed = ["reason=\"max-requests\""];
    proxy.wait_for_metric("forebay_pool_closed_total", &closed, |count| count == 3.0);
}

#[test]
fn running_requests_are_finished_when_the_process_drains() {
    let gate = crate::support::Gate::default();
    let arrived = crate::support::Gate::default();
    let endpoint = H2Endpoint::start(&[], {
        let (gate, arrived) = (gate.clone(), arrived.clone());
        move |connection| {
            let stream = connection.request().expect("a request");
            arrived.open();
            gate.wait();
            connection.answer(stream, b"after the drain");
            connection.wait_for_end();
        }
    });
    // The client may well be on another worker than the connection.
    let proxy = in_front_of(&endpoint).workers(4).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    arrived.wait();
    proxy.signal("TERM");
    gate.open();
    assert_eq!(client.response().text(), "after the drain");
}

#[test]
fn an_endpoint_that_answers_no_ping_is_given_up() {
    let endpoint = H2Endpoint::start(&[], |connection| {
        let stream = connection.request().expect("a request");
        connection.answer(stream, b"x");
        connection.wait_for_end_in_silence();
    });
    let proxy = in_front_of(&endpoint)
        .with("http2 = { ping_interval = \"200ms\", ping_timeout = \"200ms\" }")
        .with("[cluster.main.pool]\nidle_timeout = \"1h\"\nmax_lifetime = \"0s\"")
        .start();
    assert_eq!(proxy.get("/").status, 200);
    let closed = ["reason=\"endpoint-silent\""];
    proxy.wait_for_metric("forebay_pool_closed_total", &closed, |count| count == 1.0);
    assert_eq!(proxy.get("/").status, 200, "on a new one");
    assert_eq!(endpoint.opened(), 2);
}
