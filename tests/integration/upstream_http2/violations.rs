//! What an endpoint sends that RFC 9113 forbids ends in an error for that request or that connection alone.

use super::in_front_of;
use crate::support::{
    Proxy,
    h2::{DATA, END_STREAM, HEADERS},
    h2_endpoint::{H2Connection, H2Endpoint, OK},
};

const END_HEADERS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

/// What is sent in answer to a request on this stream.
type Violation = fn(&mut H2Connection, u32);

/// A literal field without indexing (RFC 7541 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0, name.len() as u8];
    out.extend(name.as_bytes());
    out.push(value.len() as u8);
    out.extend(value.as_bytes());
    out
}

fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter().flat_map(|(name, value)| field(name, value));
    OK.iter().copied().chain(fields).collect()
}

/// What a first connection answers; every later one serves.
fn answered_by(violation: Violation) -> (H2Endpoint, Proxy) {
    let endpoint = H2Endpoint::start(&[], move |connection| {
        if connection.number > 0 {
            return connection.serve();
        }
        let stream = connection.request().expect("a request");
        violation(connection, stream);
        connection.serve();
    });
    let proxy = in_front_of(&endpoint).workers(1).start();
    (endpoint, proxy)
}

#[test]
fn a_malformed_answer_is_a_bad_gateway() {
    let cases: [(&str, Violation); 9] = [
        ("a connection field", |connection, stream| {
            connection.send(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                &head(&[("connection", "close")]),
            );
        }),
        ("a field in upper case", |connection, stream| {
            connection.send(HEADERS, END_HEADERS | END_STREAM, stream, &head(&[("X-Odd", "1")]));
        }),
        ("no status", |connection, stream| {
            connection.send(HEADERS, END_HEADERS | END_STREAM, stream, &field("x-only", "1"));
        }),
        ("data before the head", |connection, stream| {
            connection.send(DATA, END_STREAM, stream, b"early");
        }),
        ("a push that was forbidden", |connection, stream| {
            let promised = [&2_u32.to_be_bytes()[..], OK].concat();
            connection.send(PUSH_PROMISE, END_HEADERS, stream, &promised);
        }),
        ("a continuation of nothing", |connection, stream| {
            connection.send(CONTINUATION, END_HEADERS, stream, OK);
        }),
        ("an unknown code of HPACK", |connection, stream| {
            connection.send(HEADERS, END_HEADERS | END_STREAM, stream, &[0xff; 9]);
        }),
        ("a stream that nobody has opened", |connection, stream| {
            connection.send(HEADERS, END_HEADERS | END_STREAM, stream + 10, OK);
        }),
        ("another protocol", |connection, stream| {
            connection.send(HEADERS, END_HEADERS, stream, &field(":status", "101"));
        }),
    ];
    for (case, violation) in cases {
        let (_endpoint, proxy) = answered_by(violation);
        let response = proxy.get("/");
        assert_eq!(response.status, 502, "{case}: {response:?}");
        assert_eq!(proxy.get("/").text(), "served", "{case}");
    }
}

#[test]
fn a_body_that_is_not_as_long_as_stated_never_looks_whole() {
    let cases: [(&str, Violation); 3] = [
        ("too short", |connection, stream| {
            connection.send(HEADERS, END_HEADERS, stream, &head(&[("content-length", "9")]));
            connection.send(DATA, END_STREAM, stream, b"short");
        }),
        ("too long", |connection, stream| {
            connection.send(HEADERS, END_HEADERS, stream, &head(&[("content-length", "3")]));
            connection.send(DATA, END_STREAM, stream, b"longer");
        }),
        ("reset within", |connection, stream| {
            connection.send(HEADERS, END_HEADERS, stream, OK);
            connection.send(DATA, 0, stream, b"half");
            connection.reset(stream, 2);
        }),
    ];
    for (case, violation) in cases {
        let (_endpoint, proxy) = answered_by(violation);
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test.example\r\n\r\n");
        // Its connection may be cut before the head is out.
        if let Ok(response) = client.try_response() {
            let seen = response.cut.is_some() || response.status == 502;
            assert!(seen, "{case}: {response:?}");
        }
        assert_eq!(proxy.get("/").text(), "served", "{case}");
    }
}

#[test]
fn too_many_interim_answers_are_refused_and_a_few_passed_over() {
    fn interim(connection: &mut H2Connection, stream: u32, count: usize) {
        for _ in 0..count {
            connection.send(HEADERS, END_HEADERS, stream, &field(":status", "103"));
        }
        connection.answer(stream, b"final");
    }
    let (_endpoint, proxy) = answered_by(|connection, stream| interim(connection, stream, 3));
    assert_eq!(proxy.get("/").text(), "final");
    let (_endpoint, proxy) = answered_by(|connection, stream| interim(connection, stream, 40));
    assert_eq!(proxy.get("/").status, 502);
}

#[test]
fn an_endpoint_that_speaks_http_1_only_is_an_error_and_no_wait() {
    let endpoint = crate::support::Endpoint::start(|exchange| {
        exchange.respond("x");
    });
    let proxy = Proxy::in_front_of(&endpoint).with(super::HTTP2).start();
    let response = proxy.get("/");
    assert_eq!(response.status, 502, "{response:?}");
}
