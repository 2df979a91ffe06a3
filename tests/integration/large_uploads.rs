//! Large bodies of requests reach their endpoints whole, whichever way they take through the proxy.

use std::{net::TcpListener, thread};

use crate::{
    access_log::{TO_FILE, records},
    large_bodies::{LARGE, MEBIBYTE, assert_same, pieces, pipe_ends},
    support::{Client, End, Endpoint, Proxy, pattern},
};

fn post(target: &str, length: usize) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: test.example\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn one_after_the_other_comes_whole_over_one_connection_each_side() {
    let endpoint = Endpoint::answering("taken");
    let proxy = Proxy::in_front_of(&endpoint).workers(1).with(TO_FILE).start();
    let before = pipe_ends(&proxy);
    let mut client = proxy.connect();
    let targets = ["/a", "/second", "/c"];
    let bodies = targets.map(|target| [target.as_bytes(), &pattern(LARGE)].concat());
    for (target, body) in targets.iter().zip(&bodies) {
        assert_eq!(client.post(target, body).text(), "taken");
    }
    for (request, body) in endpoint.requests().iter().zip(&bodies) {
        assert_same(&request.body, body, request.head.target());
    }
    assert!(pipe_ends(&proxy) > before, "they have not come up into the process");
    assert_eq!(endpoint.opened(), 1);
    for record in records(&proxy, 3) {
        assert!(record["reason"].is_null(), "{record}");
    }
}

#[test]
fn pipelined_requests_behind_a_large_one_are_requests() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let (mut writer, mut reader) = proxy.connect().split();
    let bodies = [pattern(MEBIBYTE), b"small".to_vec(), pattern(LARGE), Vec::new()];
    thread::scope(|scope| {
        scope.spawn(|| {
            for body in &bodies {
                // In one go, so that the next head comes with the end of a body.
                writer.send([post("/", body.len()).as_bytes(), body].concat());
            }
        });
        for body in &bodies {
            assert_same(&reader.response().body, body, &body.len().to_string());
        }
    });
}

#[test]
fn every_length_around_the_borders_comes_whole() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    for border in [16 << 10, 64 << 10, 80 << 10, 128 << 10, 256 << 10, 320 << 10, 512 << 10] {
        for length in [border - 1, border, border + 1, border + 4097] {
            let body = pattern(length);
            assert_same(&client.post("/", &body).body, &body, &length.to_string());
        }
    }
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn a_body_that_comes_in_pieces_of_all_sizes_comes_whole() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    let body = pattern(LARGE);
    for _ in 0..2 {
        client.send(post("/", LARGE));
        pieces(&body).for_each(|piece| client.send(piece));
        assert_same(&client.response().body, &body, "in pieces");
    }
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn an_endpoint_that_takes_little_at_a_time_gets_every_byte_in_its_place() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    // Those that it accepts have it from here.
    socket.set_recv_buffer_size(8 * 1024).expect("a buffer size can be set");
    let address: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&address.into()).expect("a free port");
    socket.listen(16).expect("a bound socket can listen");
    let endpoint = Endpoint::start_with(TcpListener::from(socket), |exchange| {
        let body = exchange.body();
        exchange.respond(body);
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    let body = pattern(4 * MEBIBYTE);
    for target in ["/slow", "/again"] {
        assert_same(&client.post(target, &body).body, &body, target);
    }
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn a_body_that_is_waited_for_comes_whole() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n");
        let body = exchange.body();
        exchange.respond(body);
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    let body = pattern(LARGE);
    let head = post("/", LARGE);
    client.send(head.replacen("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1));
    let interim = client.read_head().expect("it may go on");
    assert!(interim.start.contains("100"), "{}", interim.start);
    client.send(&body);
    assert_same(&client.response().body, &body, "after 100 Continue");
}

#[test]
fn a_client_that_leaves_ends_its_request() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    for (number, how) in ["fin", "reset"].into_iter().enumerate() {
        let mut client = proxy.connect();
        client.send(post("/", LARGE));
        client.send(pattern(3 * MEBIBYTE));
        match how {
            "fin" => drop(client),
            _ => client.reset(),
        }
        let left = &endpoint.wait_closed(number + 1)[number];
        assert!(left.received < LARGE as u64, "{how}: it may look whole");
        assert_eq!(left.requests, 1, "{how}: nobody else was sent there");
    }
    for record in records(&proxy, 2) {
        assert!(!record["reason"].is_null(), "{record}");
    }
    assert_same(&proxy.connect().post("/", "other").body, b"other", "others are served");
}

#[test]
fn a_client_that_does_not_go_on_is_given_up() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nbody_stall = \"200ms\"")
        .start();
    let mut client = proxy.connect();
    client.send(post("/", LARGE));
    client.send(pattern(3 * MEBIBYTE));
    assert_eq!(client.response().status, 408);
    assert!(endpoint.wait_closed(1)[0].received < LARGE as u64);
}

#[test]
fn an_answer_ahead_of_the_end_reaches_the_client() {
    let endpoint = Endpoint::start(|exchange| {
        let mut read = 0;
        while read < 2 * MEBIBYTE
            && let Some(part) = exchange.raw_body()
        {
            read += part.len();
        }
        exchange.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 6\r\nConnection: close\r\n\r\nenough");
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let (mut writer, mut reader) = proxy.connect().split();
    thread::scope(|scope| {
        scope.spawn(move || {
            let _ = writer.try_send(post("/", 64 * LARGE));
            let block = pattern(LARGE);
            let refused = (0..64).any(|_| writer.try_send(&block).is_err());
            assert!(refused, "nobody wants it");
        });
        let response = reader.response();
        assert_eq!((response.status, response.text()), (413, "enough".to_owned()));
        assert_ne!(reader.read_to_end().1, End::Deadline);
    });
    endpoint.wait_closed(1);
}

#[test]
fn an_endpoint_that_leaves_ends_the_request_and_no_pipe_is_lost() {
    let endpoint = Endpoint::start(|exchange| {
        for _ in 0..16 {
            exchange.raw_body();
        }
        exchange.reset();
    });
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    let attempt = || {
        let mut client = Client::connect(proxy.address());
        let _ = client.try_send(post("/", LARGE));
        let _ = client.try_send(pattern(LARGE));
        if let Ok(response) = client.try_response() {
            assert_eq!(response.status, 502);
        }
    };
    attempt();
    let after_one = pipe_ends(&proxy);
    (0..20).for_each(|_| attempt());
    assert!(pipe_ends(&proxy) <= after_one.max(2) + 2, "pipes have been lost");
}
