//! Interim responses, `Expect: 100-continue`, and answers that come before the request is through.

use crate::support::{Client, End, Endpoint, Gate, Proxy};

fn expecting(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: test.example\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
}

fn expect_continue(client: &mut Client) {
    let head = client.read_head().expect("an interim response comes");
    assert!(head.start.starts_with("HTTP/1.1 100"), "{head:?}");
}

#[test]
fn interim_responses_are_not_mistaken_for_the_answer() {
    let endpoint = Endpoint::saying(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
         HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    );
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    }
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn an_interim_response_does_not_wait_for_the_answer() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.send(
                b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
                Content-Length: 0\r\n\r\n",
            );
            gate.wait();
            exchange.respond("hello");
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = client.read_head().expect("the hints come");
    assert_eq!(hints.start, "HTTP/1.1 103 Early Hints");
    assert_eq!(hints.field("link"), Some("</a.css>"));
    for hop in ["connection", "x-hop", "content-length", "date"] {
        assert_eq!(hints.field(hop), None, "{hop}");
    }
    gate.open();
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_client_of_http_1_0_gets_the_answer_alone() {
    let endpoint = Endpoint::saying(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    );
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!((response.text().as_str(), response.interim.len()), ("hello", 0));
}

#[test]
fn interim_responses_without_end_are_refused() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".repeat(1000));
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    assert_eq!(proxy.get("/").status, 502);
    endpoint.wait_closed(1);
}

#[test]
fn the_client_is_asked_for_its_body_when_the_endpoint_wants_it() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n");
        let body = exchange.body();
        exchange.respond(body);
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(expecting(5));
    expect_continue(&mut client);
    assert_eq!(
        endpoint.requests().len(),
        1,
        "the endpoint had the head before the client was asked"
    );
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
    assert!(endpoint.requests()[0].head.lists("expect", "100-continue"));
}

#[test]
fn an_endpoint_that_knows_no_expectations_still_gets_the_body() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(expecting(5));
    expect_continue(&mut client);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_client_that_does_not_wait_for_the_interim_response_is_served_too() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(expecting(5) + "hello");
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_refusal_spares_the_client_its_body() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        exchange.close();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(expecting(1 << 30));
    let response = client.response();
    assert_eq!(
        (response.status, response.interim.len()),
        (413, 0),
        "it was never told to go on"
    );
    assert_eq!(response.text(), "big");
}

#[test]
fn an_unknown_expectation_does_not_reach_the_endpoint() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\nExpect: the-unexpected\r\n\r\n");
    let status = client.response().status;
    assert!(status == 417 || status == 200, "{status}");
    assert!(
        endpoint
            .requests()
            .iter()
            .all(|request| request.head.field("expect").is_none())
    );
}

#[test]
fn an_answer_in_the_middle_of_the_upload_reaches_the_client_at_once() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.raw_body();
        exchange.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        exchange.close();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1000000\r\n\r\nthe first bytes");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
}

/// An early answer in full, framed by `fields`, and then nothing: the victim must not be sent there.
fn check_unfinished_request(answer: &'static str) {
    let endpoint = Endpoint::start(move |exchange| match exchange.target() {
        "/early" => {
            exchange.raw_body();
            exchange.send(answer.as_bytes());
            exchange.wait_for_end();
        }
        _ => exchange.respond("own"),
    });
    let long = "[cluster.main.pool]\nidle_timeout = \"1m\"";
    let proxy = Proxy::in_front_of(&endpoint).workers(1).with(long).start();
    let mut attacker = proxy.connect();
    attacker.send("POST /early HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1000\r\n\r\npart");
    assert_eq!(attacker.response().text(), "early");
    drop(attacker);
    assert_eq!(proxy.get("/victim").text(), "own");
    assert_ne!(endpoint.wait_closed(1)[0].end, None);
    let victim = endpoint.requests().pop().expect("two requests came");
    assert_eq!((victim.head.target(), victim.connection), ("/victim", 1));
}

#[test]
fn a_connection_with_an_unfinished_request_serves_nobody_else() {
    check_unfinished_request("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
    check_unfinished_request("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n0\r\n\r\n");
}

#[test]
fn an_answer_streams_while_the_upload_goes_on() {
    let half = Gate::default();
    let endpoint = Endpoint::start({
        let half = half.clone();
        move |exchange| {
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            half.wait();
            let body = exchange.body();
            exchange.send(&body);
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test.example\r\nContent-Length: 5\r\n\r\n");
    let mut seen = Vec::new();
    while !seen.ends_with(b"first") {
        seen.extend(
            client
                .read_some()
                .expect("the first half comes before the body is sent"),
        );
    }
    half.open();
    client.send("later");
    let mut rest = Vec::new();
    while rest.len() < 5 {
        rest.extend(client.read_some().expect("the second half comes"));
    }
    assert_eq!(rest, b"later");
}

#[test]
fn an_endpoint_that_hangs_up_on_an_upload_without_an_answer_is_a_bad_gateway() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.raw_body();
        exchange.reset();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1000000\r\n\r\nthe first bytes");
    assert_eq!(client.response().status, 502);
    assert_ne!(
        client.read_to_end().1,
        End::Deadline,
        "the rest of the body is not waited for"
    );
}
