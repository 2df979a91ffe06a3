//! A kept connection that the endpoint closes just as a request is sent on it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use crate::support::{Endpoint, Proxy, sockets};

/// Answers the first request of each connection, and closes instead of answering any later one.
fn leaving() -> Endpoint {
    Endpoint::start(|exchange| match exchange.number {
        0 => exchange.respond("x"),
        _ => {
            exchange.body();
            exchange.close();
        }
    })
}

#[test]
fn an_idempotent_request_is_sent_again_on_a_fresh_connection() {
    let endpoint = leaving();
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(proxy.get("/warm").status, 200);
        let before = endpoint.opened();
        let mut client = proxy.connect();
        client.send(format!("{method} /again HTTP/1.1\r\nHost: test.example\r\n\r\n"));
        let head = client.read_head().expect("an answer comes");
        assert!(head.start.contains(" 200 "), "{method}: {head:?}");
        assert_eq!(endpoint.opened(), before + 1, "{method}");
    }
}

#[test]
fn a_small_body_of_an_idempotent_request_is_sent_again_too() {
    let endpoint = leaving();
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    assert_eq!(proxy.get("/warm").status, 200);
    let mut client = proxy.connect();
    client.send("PUT /again HTTP/1.1\r\nHost: test.example\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status, 200);
    let bodies: Vec<Vec<u8>> = endpoint.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"".to_vec(), b"hello".to_vec(), b"hello".to_vec()]);
}

#[test]
fn a_post_is_never_sent_twice() {
    let endpoint = leaving();
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    assert_eq!(proxy.get("/warm").status, 200);
    let response = proxy.connect().post("/once", "hello");
    if response.status != 200 {
        assert_eq!(response.status, 502);
    }
    let posts = endpoint
        .requests()
        .iter()
        .filter(|request| request.head.method() == "POST")
        .count();
    assert_eq!(posts, 1);
}

#[test]
fn a_request_is_replaced_once_and_not_for_ever() {
    let endpoint = Endpoint::start(|exchange| match exchange.target() {
        "/warm" => exchange.respond("x"),
        _ => exchange.close(),
    });
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    assert_eq!(proxy.get("/warm").status, 200);
    assert_eq!(proxy.get("/bad").status, 502);
    assert_eq!(endpoint.targets(), ["/warm", "/bad", "/bad"]);
}

#[test]
fn a_fresh_connection_that_is_closed_without_an_answer_is_not_tried_again() {
    let endpoint = Endpoint::start(|exchange| exchange.close());
    let proxy = Proxy::in_front_of(&endpoint).start();
    assert_eq!(proxy.get("/bad").status, 502);
    assert_eq!(endpoint.requests().len(), 1);
}

#[test]
fn a_request_is_not_sent_again_once_a_byte_of_the_answer_has_come() {
    let endpoint = Endpoint::start(|exchange| match exchange.target() {
        "/warm" => exchange.respond("x"),
        _ => {
            exchange.send(b"H");
            exchange.close();
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    assert_eq!(proxy.get("/warm").status, 200);
    assert_eq!(proxy.get("/bad").status, 502);
    assert_eq!(endpoint.targets(), ["/warm", "/bad"]);
}

#[test]
fn a_reset_of_idle_connections_hurts_nobody() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.respond("x");
        exchange.reset();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    for number in 1..=20 {
        assert_eq!(proxy.get("/").status, 200);
        endpoint.wait_closed(number);
    }
    assert_eq!(sockets::count(sockets::CLOSE_WAIT, endpoint.address()), 0);
}

/// Answers one request, and is gone for good as the next one comes on the same connection.
fn gone_with_the_second_request() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the proxy connects");
        let mut request = [0; 4096];
        assert_ne!(stream.read(&mut request).expect("a request"), 0);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        stream.write_all(answer).expect("the proxy reads");
        let _ = stream.read(&mut request);
        drop(listener);
    });
    address
}

#[test]
fn a_repeatable_request_whose_endpoint_has_gone_is_sent_elsewhere() {
    let other = Endpoint::answering("x");
    let proxy = Proxy::to(&[gone_with_the_second_request(), other.address()])
        .workers(1)
        .with("balance = \"round-robin\"")
        .start();
    for _ in 0..6 {
        assert_eq!(proxy.get("/").status, 200);
    }
    assert!(proxy.metric("forebay_upstream_stale_total", &["outcome=\"replaced\""]) >= 1.0);
}
