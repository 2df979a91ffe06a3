//! Large answers reach their clients whole, whichever way they take through the proxy.

use std::{fs, sync::Arc, thread};

use crate::{
    access_log::{TO_FILE, records},
    support::{Client, End, Endpoint, Gate, Proxy, eventually, pattern, tools},
};

pub(crate) const MEBIBYTE: usize = 1 << 20;
pub(crate) const LARGE: usize = 8 * MEBIBYTE;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test.example\r\n\r\n")
}

/// The body for a target, so that one cannot be taken for another.
fn body_of(target: &str) -> Vec<u8> {
    [target.as_bytes(), &pattern(LARGE - target.len())].concat()
}

fn large() -> Endpoint {
    Endpoint::start(|exchange| {
        let body = body_of(exchange.target());
        exchange.respond(body);
    })
}

fn head(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

/// Pipes that the proxy has open.
pub(crate) fn pipe_ends(proxy: &Proxy) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("the proxy runs");
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
}

/// Compares without printing megabytes.
pub(crate) fn assert_same(received: &[u8], sent: &[u8], what: &str) {
    assert_eq!(received.len(), sent.len(), "{what}");
    let differs = received.iter().zip(sent).position(|(received, sent)| received != sent);
    assert_eq!(differs, None, "{what}: the first byte that differs");
}

/// The whole in pieces of all sizes.
pub(crate) fn pieces(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let sizes = [1, 100, 5_000, 20_000, 70_000, 300_000].into_iter().cycle();
    sizes.map_while(move |size| {
        let (piece, behind) = rest.split_at(rest.len().min(size));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

#[test]
fn one_answer_after_the_other_comes_whole_over_one_connection_each_side() {
    let endpoint = large();
    let proxy = Proxy::in_front_of(&endpoint).workers(1).with(TO_FILE).start();
    let before = pipe_ends(&proxy);
    let mut client = proxy.connect();
    for target in ["/a", "/second", "/c"] {
        let response = client.get(target);
        assert_eq!(response.cut, None);
        assert_same(&response.body, &body_of(target), target);
    }
    assert!(pipe_ends(&proxy) > before, "they have not come up into the process");
    assert_eq!(endpoint.opened(), 1);
    for record in records(&proxy, 3) {
        assert_eq!(record["bytes"], LARGE, "{record}");
        assert!(record["reason"].is_null(), "{record}");
    }
}

#[test]
fn pipelined_requests_get_their_answers_in_order() {
    let endpoint = Endpoint::start(|exchange| match exchange.target() {
        "/small" => exchange.respond("small"),
        _ => {
            let body = body_of(exchange.target());
            exchange.respond(body);
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let targets = ["/1", "/small", "/2", "/3", "/small"];
    let (mut writer, mut reader) = proxy.connect().split();
    writer.send(targets.map(get).concat());
    for target in targets {
        let expected = if target == "/small" {
            b"small".to_vec()
        } else {
            body_of(target)
        };
        assert_same(&reader.response().body, &expected, target);
    }
}

#[test]
fn clients_that_want_an_end_get_it_behind_the_last_byte() {
    let endpoint = large();
    let proxy = Proxy::in_front_of(&endpoint).start();
    for request in [
        "GET /a HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: test.example\r\n\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(request);
        assert_same(&client.response().body, &body_of("/a"), request);
        assert_eq!(client.end(), End::Fin, "{request}");
    }
}

#[test]
fn every_length_around_the_borders_comes_whole() {
    let endpoint = Endpoint::start(|exchange| {
        let length = exchange.target()[1..].parse().expect("a length");
        // The head alone, so that nothing of the body comes with it.
        if length % 2 == 1 {
            exchange.send(&head(length));
            exchange.send(&pattern(length));
        } else {
            exchange.respond(pattern(length));
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    for border in [16 << 10, 64 << 10, 80 << 10, 256 << 10, 320 << 10, 512 << 10, 1 << 20] {
        for length in [border - 1, border, border + 1, border + 4097] {
            let response = client.get(&format!("/{length}"));
            assert_same(&response.body, &pattern(length), &length.to_string());
        }
    }
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn a_body_that_comes_in_pieces_of_all_sizes_comes_whole() {
    let endpoint = Endpoint::start(|exchange| {
        let body = body_of(exchange.target());
        exchange.send(&head(LARGE));
        pieces(&body).for_each(|piece| exchange.send(piece));
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    for target in ["/a", "/b"] {
        assert_same(&client.get(target).body, &body_of(target), target);
    }
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn a_slow_client_gets_every_byte_in_its_place() {
    let endpoint = large();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = Client::connect_narrow(proxy.address());
    let response = client.get("/slow");
    assert_same(&response.body, &body_of("/slow"), "slow");
    assert_same(&client.get("/again").body, &body_of("/again"), "again");
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&head(LARGE));
        exchange.send(&pattern(3 * MEBIBYTE));
        match exchange.target() {
            "/fin" => exchange.close(),
            _ => exchange.reset(),
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    for target in ["/fin", "/reset"] {
        let mut client = proxy.connect();
        client.send(get(target));
        client.read_head().expect("the head comes");
        let (received, end) = client.read_to_end();
        assert!(
            received.len() < LARGE && pattern(LARGE).starts_with(&received),
            "{target}"
        );
        assert_ne!(end, End::Deadline, "{target}");
        if target == "/fin" {
            assert_eq!(received.len(), 3 * MEBIBYTE, "what came is passed on");
        }
    }
    for record in records(&proxy, 2) {
        assert_eq!(record["reason"], "truncated-body", "{record}");
    }
    assert_eq!(records(&proxy, 2)[0]["bytes"], 3 * MEBIBYTE);
}

#[test]
fn an_endpoint_that_does_not_go_on_is_given_up() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&head(LARGE));
        exchange.send(&pattern(MEBIBYTE));
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with(TO_FILE)
        .with("[cluster.main.timeouts]\nbetween_bytes = \"200ms\"")
        .start();
    let mut client = proxy.connect();
    client.send(get("/"));
    client.read_head().expect("the head comes");
    let (received, end) = client.read_to_end();
    assert_same(&received, &pattern(MEBIBYTE), "what came is passed on");
    assert_ne!(end, End::Deadline);
    endpoint.wait_closed(1);
    assert_eq!(records(&proxy, 1)[0]["reason"], "between-bytes-timeout");
}

#[test]
fn a_client_that_leaves_ends_the_answer() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&head(1 << 30));
        let block = pattern(MEBIBYTE);
        (0..1024).for_each(|_| exchange.send(&block));
    });
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    let mut client = proxy.connect();
    client.send(get("/"));
    client.read_head().expect("the head comes");
    client.read_exactly(2 * MEBIBYTE);
    client.reset();
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Reset));
    let record = &records(&proxy, 1)[0];
    assert_eq!(record["reason"], "client-gone", "{record}");
    let mut other = proxy.connect();
    other.send(get("/"));
    other.read_head().expect("others are served");
}

#[test]
fn a_client_that_takes_nothing_more_is_cut_off() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&head(1 << 30));
        let block = pattern(MEBIBYTE);
        (0..1024).for_each(|_| exchange.send(&block));
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nwrite_stall = \"200ms\"")
        .start();
    let mut client = Client::connect_narrow(proxy.address());
    client.send(get("/"));
    client.read_head().expect("the head comes");
    client.read_exactly(MEBIBYTE);
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Reset));
    assert_ne!(client.read_to_end().1, End::Deadline);
}

#[test]
fn what_follows_the_last_byte_is_nobodys_answer() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&head(LARGE));
        exchange.send(
            &[
                pattern(LARGE).as_slice(),
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            ]
            .concat(),
        );
    });
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        assert_same(&client.get("/").body, &pattern(LARGE), "the stated length and no more");
    }
    endpoint.wait_closed(2);
    assert_eq!(endpoint.opened(), 2);
    proxy.wait_for_metric("forebay_pool_closed_total", &["reason=\"unexpected-bytes\""], |count| {
        count == 2.0
    });
}

#[test]
fn a_drain_lets_an_answer_come_to_its_end() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            let body = pattern(LARGE);
            exchange.send(&head(LARGE));
            exchange.send(&body[..MEBIBYTE]);
            gate.wait();
            exchange.send(&body[MEBIBYTE..]);
        }
    });
    let mut proxy = Proxy::in_front_of(&endpoint).process("drain_timeout = \"14s\"").start();
    let mut client = proxy.connect();
    client.send(get("/"));
    client.read_head().expect("the head comes");
    let mut received = client.read_exactly(MEBIBYTE);
    proxy.signal("TERM");
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(proxy.address()).is_err()
    });
    gate.open();
    let (rest, end) = client.read_to_end();
    received.extend(rest);
    assert_same(&received, &pattern(LARGE), "drained");
    assert_eq!(end, End::Fin);
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn a_drain_that_takes_too_long_cuts_an_answer() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&head(LARGE));
        exchange.send(&pattern(MEBIBYTE));
        exchange.wait_for_end();
    });
    let mut proxy = Proxy::in_front_of(&endpoint)
        .process("drain_timeout = \"200ms\"")
        .start();
    let mut client = proxy.connect();
    client.send(get("/"));
    client.read_head().expect("the head comes");
    client.read_exactly(MEBIBYTE);
    proxy.signal("TERM");
    assert_ne!(client.end(), End::Deadline);
    endpoint.wait_closed(1);
    proxy.wait();
}

#[test]
fn many_clients_at_once_need_no_more_descriptors_than_there_are() {
    if !tools::needs("prlimit") {
        return;
    }
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let (gate, body) = (gate.clone(), Arc::new(pattern(MEBIBYTE)));
        move |exchange| {
            exchange.send(&head(MEBIBYTE));
            gate.wait();
            exchange.send(&body);
        }
    });
    let limited = ["prlimit", "--nofile=160:160"];
    let proxy = Proxy::in_front_of(&endpoint).workers(1).under(&limited).start();
    let expected = pattern(MEBIBYTE);
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                let mut client = Client::connect_narrow(proxy.address());
                client.send(get("/"));
                let head = client.read_head().expect("the head comes");
                assert!(head.start.contains("200"), "{}", head.start);
                assert_same(&client.read_exactly(MEBIBYTE), &expected, "one of many");
            });
        }
        endpoint.wait_requests(30);
        gate.open();
    });
}
