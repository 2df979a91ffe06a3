//! Bodies over TLS, in both directions, whole and broken off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use super::Trust;
use crate::support::{Client, End, eventually, pattern};

const SIZE: usize = 16 << 20;

#[test]
fn big_bodies_pass_both_ways() {
    let trust = Trust::of(&[]);
    let endpoint = trust.endpoint(|exchange| {
        let body = exchange.body();
        exchange.respond(body);
    });
    for workers in [1, 4] {
        let proxy = trust.in_front_of(&endpoint).workers(workers).start();
        let body = pattern(SIZE);
        for _ in 0..2 {
            let response = proxy.connect().post("/", &body);
            assert!(response.cut.is_none() && response.body == body, "the echo differs");
        }
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in body[..1 << 20].chunks(10_000) {
            client.send(crate::support::chunk(part));
        }
        client.send("0\r\n\r\n");
        assert!(client.response().body == body[..1 << 20], "the echo differs");
    }
}

#[test]
fn a_slow_reader_slows_the_endpoint_down() {
    let trust = Trust::of(&[]);
    let sent = Arc::new(AtomicU64::new(0));
    let total = 200 << 20;
    let endpoint = trust.endpoint({
        let sent = Arc::clone(&sent);
        move |exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n").as_bytes());
            let block = pattern(1 << 20);
            while sent.load(Relaxed) < total {
                exchange.send(&block);
                sent.fetch_add(1 << 20, Relaxed);
            }
        }
    });
    let proxy = trust.in_front_of(&endpoint).start();
    let before = proxy.memory();
    let mut client = Client::connect_narrow(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    let (mut last, mut unchanged) = (0, 0);
    eventually("the stream is stuck", || {
        let now = sent.load(Relaxed);
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        now > 0 && unchanged > 40
    });
    assert!(
        last < total / 4,
        "the endpoint could send {last} bytes to a client that reads nothing"
    );
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "it holds {grown} bytes");
    let (head, mut received) = (client.read_head().expect("the head comes"), 0);
    assert!(head.start.contains(" 200 "));
    while received < total {
        received += client.read_some().expect("the body goes on").len() as u64;
    }
}

#[test]
fn a_slow_endpoint_slows_the_client_down() {
    let trust = Trust::of(&[]);
    let gate = crate::support::Gate::default();
    let endpoint = trust.endpoint({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            let length = exchange.body().len().to_string();
            exchange.respond(length);
        }
    });
    let proxy = trust.in_front_of(&endpoint).start();
    let before = proxy.memory();
    let mut client = proxy.connect();
    let sent = Arc::new(AtomicU64::new(0));
    let total = 64 << 20;
    let length = thread::scope(|scope| {
        let counter = Arc::clone(&sent);
        let sender = scope.spawn(move || {
            client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {total}\r\n\r\n"));
            let block = pattern(1 << 18);
            for _ in 0..total / block.len() as u64 {
                client.send(&block);
                counter.fetch_add(block.len() as u64, Relaxed);
            }
            client.response().text()
        });
        let (mut last, mut unchanged) = (0, 0);
        eventually("the upload is stuck", || {
            let now = sent.load(Relaxed);
            unchanged = if now == last { unchanged + 1 } else { 0 };
            last = now;
            now > 0 && unchanged > 40
        });
        assert!(
            last < total / 2,
            "the client could send {last} bytes to an endpoint that reads nothing"
        );
        let grown = proxy.memory().saturating_sub(before);
        assert!(grown < 16 << 20, "it holds {grown} bytes");
        gate.open();
        sender.join().expect("it is answered")
    });
    assert_eq!(length, total.to_string());
}

#[test]
fn an_early_answer_reaches_the_client_and_its_connection_is_not_used_again() {
    let trust = Trust::of(&[]);
    let endpoint = trust.endpoint(|exchange| match exchange.target() {
        "/early" => {
            exchange.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
            exchange.wait_for_end();
        }
        _ => exchange.respond("x"),
    });
    let proxy = trust.in_front_of(&endpoint).workers(1).start();
    let mut client = proxy.connect();
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc");
    assert_eq!(client.response().status, 413);
    drop(client);
    endpoint.wait_closed(1);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(endpoint.opened(), 2);
}

#[test]
fn a_client_that_goes_away_ends_its_connection_in_the_middle() {
    let trust = Trust::of(&[]);
    let endpoint = trust.endpoint(|exchange| match exchange.target() {
        "/endless" => {
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            let block = pattern(1 << 16);
            (0..1000).for_each(|_| exchange.send(&block));
        }
        _ => exchange.respond("x"),
    });
    let proxy = trust.in_front_of(&endpoint).workers(1).start();
    let mut client = proxy.connect();
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_head().expect("the head comes");
    client.reset();
    let connections = endpoint.wait_closed(1);
    assert_eq!((connections[0].end, connections[0].notified), (Some(End::Reset), false));
    proxy.wait_for_metric("forebay_pool_closed_total", &["reason=\"client-gone\""], |count| {
        count == 1.0
    });
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn an_answer_without_a_length_is_whole_only_if_tls_says_so() {
    let trust = Trust::of(&[]);
    let body = |exchange: &mut crate::support::Exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it?");
    };
    let endpoint = trust.endpoint(move |exchange| {
        body(exchange);
        match exchange.target() {
            "/whole" => exchange.close(),
            _ => exchange.cut(),
        }
    });
    let proxy = trust.in_front_of(&endpoint).start();
    let whole = proxy.get("/whole");
    assert_eq!((whole.cut, whole.text().as_str()), (None, "half of it?"));
    // Anybody on the way can make a FIN (RFC 9112 9.8).
    let cut = proxy.get("/cut");
    assert!(cut.cut.is_some(), "{cut:?}");
    proxy.wait_for_metric(
        "forebay_proxy_failures_total",
        &["reason=\"truncated-body\""],
        |count| count == 1.0,
    );
}

#[test]
fn a_whole_answer_of_an_endpoint_that_forgets_to_announce_its_end_is_whole() {
    let trust = Trust::of(&[]);
    let endpoint = trust.endpoint(|exchange| {
        exchange.respond_with("Connection: close\r\n", "whole");
        exchange.cut();
    });
    let proxy = trust.in_front_of(&endpoint).start();
    for _ in 0..5 {
        let response = proxy.get("/");
        assert_eq!((response.cut, response.text().as_str()), (None, "whole"));
    }
}
