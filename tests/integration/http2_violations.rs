//! What RFC 9113 forbids ends in an error of that stream or that connection, and concerns nobody else.

use crate::support::{
    Endpoint, Proxy,
    h2::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, H2Client, HEADERS, PADDED, PING, PRIORITY,
        PUSH_PROMISE, RST_STREAM, SETTINGS, Verdict, WINDOW_UPDATE, block, frame, get,
    },
};

/// What may come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// GOAWAY with this code; the engine often says PROTOCOL_ERROR where the RFC has a word of its own.
    Connection(u32),
    /// RST_STREAM with this code. An endpoint may treat an error of a stream as one of the connection (RFC 9113 5.4.2),
    /// and refuse a malformed request with an answer (8.1.1).
    Stream(u32),
    /// It is ignored.
    Ignored,
}
use Expected::{Connection, Ignored, Stream};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

fn proxy(endpoint: &Endpoint) -> Proxy {
    Proxy::in_front_of(endpoint)
        .workers(1)
        .with("[cluster.main.pool]\nmax_connections = 1\n[timeouts]\nbody_stall = \"1s\"")
        .start()
}

/// Sends each case on a connection of its own; a victim on another one is served after each.
fn check(cases: &[(&str, Vec<u8>, Expected)]) {
    let endpoint = Endpoint::start(|exchange| {
        let target = exchange.target().to_owned();
        exchange.body();
        exchange.respond(target);
    });
    let proxy = proxy(&endpoint);
    for (name, bytes, expected) in cases {
        let mut client = H2Client::connect(proxy.address());
        client.sync().expect("nothing is wrong so far");
        client.try_send_bytes(bytes).expect("nothing is wrong so far");
        let verdict = client.verdict();
        let right = match (expected, &verdict) {
            (Connection(code) | Stream(code), Verdict::Connection(Some(said))) => {
                [*code, PROTOCOL_ERROR].contains(said)
            }
            (Stream(code), Verdict::Stream(said)) => said == code,
            (Stream(PROTOCOL_ERROR), Verdict::Answer) => true,
            (Ignored, Verdict::Nothing) => true,
            _ => false,
        };
        assert!(right, "{name}: {verdict:?}, not {expected:?}");
        drop(client);
        assert_eq!(proxy.get("/victim").text(), "/victim", "after {name}");
    }
    let reached = endpoint.targets();
    assert!(reached.iter().all(|target| target != "/bad"), "{reached:?}");
}

fn bad(more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = get("/bad").to_vec();
    fields.extend(more);
    block(&fields)
}

/// A POST whose body is to follow.
fn post(stream: u32) -> Vec<u8> {
    let mut fields = get("/post").to_vec();
    fields[0].1 = "POST";
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

fn head(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

#[test]
fn frames_on_the_wrong_stream() {
    let good = block(&get("/good"));
    check(&[
        ("DATA on stream 0", frame(DATA, 0, 0, b"x"), Connection(PROTOCOL_ERROR)),
        ("HEADERS on stream 0", head(0, &good), Connection(PROTOCOL_ERROR)),
        (
            "PRIORITY on stream 0",
            frame(PRIORITY, 0, 0, &[0; 5]),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "RST_STREAM on stream 0",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "CONTINUATION on stream 0",
            frame(CONTINUATION, 4, 0, &good),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "SETTINGS on a stream",
            frame(SETTINGS, 0, 1, b""),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "PING on a stream",
            frame(PING, 0, 1, b"12345678"),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "GOAWAY on a stream",
            frame(GOAWAY, 0, 1, &[0; 8]),
            Connection(PROTOCOL_ERROR),
        ),
        ("an even stream", head(2, &good), Connection(PROTOCOL_ERROR)),
        (
            "DATA on an idle stream",
            frame(DATA, 0, 1, b"x"),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "RST_STREAM on an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "a stream older than the last",
            [post(5), post(3)].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "DATA on a half-closed stream",
            [post(1), frame(DATA, END_STREAM, 1, b""), frame(DATA, 0, 1, b"x")].concat(),
            Stream(STREAM_CLOSED),
        ),
        (
            "PUSH_PROMISE",
            [post(1), frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
    ]);
}

#[test]
fn frames_of_the_wrong_size() {
    let large = vec![0; 16_385];
    check(&[
        (
            "DATA that is too large",
            [post(1), frame(DATA, 0, 1, &large)].concat(),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "HEADERS that are too large",
            frame(HEADERS, 4, 1, &large),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "something unknown that is too large",
            frame(0xbb, 0, 0, &large),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "RST_STREAM of 3 bytes",
            [post(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "SETTINGS of 5 bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "SETTINGS that acknowledge with a payload",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "PING of 7 bytes",
            frame(PING, 0, 0, &[0; 7]),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "WINDOW_UPDATE of 3 bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "GOAWAY of 7 bytes",
            frame(GOAWAY, 0, 0, &[0; 7]),
            Connection(FRAME_SIZE_ERROR),
        ),
        (
            "PRIORITY of 4 bytes",
            frame(PRIORITY, 0, 1, &[0; 4]),
            Stream(FRAME_SIZE_ERROR),
        ),
    ]);
}

#[test]
fn padding_windows_and_settings_that_are_out_of_range() {
    let setting = |id: u8, value: u32| frame(SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat());
    let padded = frame(
        HEADERS,
        END_HEADERS | END_STREAM | PADDED,
        1,
        &[&[200][..], &bad(&[])].concat(),
    );
    let largest = [0x7f, 0xff, 0xff, 0xff];
    check(&[
        (
            "padding longer than DATA",
            [post(1), frame(DATA, PADDED, 1, &[9, 0])].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        ("padding longer than HEADERS", padded, Connection(PROTOCOL_ERROR)),
        (
            "WINDOW_UPDATE of 0",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "WINDOW_UPDATE of 0 on a stream",
            [post(1), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Stream(PROTOCOL_ERROR),
        ),
        (
            "a connection's window too large",
            frame(WINDOW_UPDATE, 0, 0, &largest),
            Connection(FLOW_CONTROL_ERROR),
        ),
        (
            "a stream's window too large",
            [post(1), frame(WINDOW_UPDATE, 0, 1, &largest)].concat(),
            Stream(FLOW_CONTROL_ERROR),
        ),
        (
            "INITIAL_WINDOW_SIZE too large",
            setting(4, 1 << 31),
            Connection(FLOW_CONTROL_ERROR),
        ),
        (
            "INITIAL_WINDOW_SIZE too large for a stream",
            [
                post(1),
                frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0, 0]),
                setting(4, 0x7fff_ffff),
            ]
            .concat(),
            Connection(FLOW_CONTROL_ERROR),
        ),
        ("ENABLE_PUSH of 2", setting(2, 2), Connection(PROTOCOL_ERROR)),
        (
            "MAX_FRAME_SIZE too small",
            setting(5, 16_383),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "MAX_FRAME_SIZE too large",
            setting(5, 1 << 24),
            Connection(PROTOCOL_ERROR),
        ),
        ("an unknown setting", setting(0xee, 7), Ignored),
        (
            "SETTINGS acknowledged that were not sent",
            frame(SETTINGS, ACK, 0, b"").repeat(2),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "more body than the window",
            more_than_the_window(),
            Stream(FLOW_CONTROL_ERROR),
        ),
        (
            "a stream that depends on itself",
            frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 1]),
            Stream(PROTOCOL_ERROR),
        ),
        ("an unknown frame", frame(0xbb, 0xff, 7, b"what"), Ignored),
        ("an unknown flag", frame(PING, 0xfe, 0, b"12345678"), Ignored),
    ]);
}

/// The window of a stream is 256 KiB, and nothing is read of a body that waits for a connection, which another has.
fn more_than_the_window() -> Vec<u8> {
    let data = frame(DATA, 0, 3, &[0; 16_384]);
    [post(1), post(3), data.repeat(17)].concat()
}

#[test]
fn heads_that_are_interrupted_or_cannot_be_decoded() {
    let open = frame(HEADERS, END_STREAM, 1, &bad(&[]));
    check(&[
        (
            "CONTINUATION without HEADERS",
            frame(CONTINUATION, 4, 1, b""),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "CONTINUATION behind the end",
            [head(1, &block(&get("/good"))), frame(CONTINUATION, 4, 1, b"")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "CONTINUATION of another stream",
            [&open[..], &frame(CONTINUATION, 4, 3, b"")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "DATA within a head",
            [&open[..], &frame(DATA, 0, 1, b"x")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "PING within a head",
            [&open[..], &frame(PING, 0, 0, b"12345678")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "HEADERS within a head",
            [&open[..], &head(3, &bad(&[]))].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "something unknown within a head",
            [&open[..], &frame(0xbb, 0, 0, b"")].concat(),
            Connection(PROTOCOL_ERROR),
        ),
        (
            "an index that is not there",
            head(1, &[0xff, 0xff, 0x7f]),
            Connection(COMPRESSION_ERROR),
        ),
        ("index 0", head(1, &[0x80]), Connection(COMPRESSION_ERROR)),
        (
            "an integer without end",
            head(1, &[0xff; 20]),
            Connection(COMPRESSION_ERROR),
        ),
        (
            "a literal that breaks off",
            head(1, &[0x00, 0x05, b'a']),
            Connection(COMPRESSION_ERROR),
        ),
        (
            "a code of Huffman's that ends wrongly",
            head(1, &[0x00, 0x81, 0xff, 0x00]),
            Connection(COMPRESSION_ERROR),
        ),
        (
            "a table that grows beyond what is allowed",
            head(1, &[0x3f, 0xff, 0xff, 0x7f]),
            Connection(COMPRESSION_ERROR),
        ),
    ]);
}

#[test]
fn malformed_requests() {
    let without = |name: &str| {
        let fields: Vec<_> = get("/bad").into_iter().filter(|(known, _)| *known != name).collect();
        block(&fields)
    };
    let first = |fields: &[(&str, &str)]| [block(fields), bad(&[])].concat();
    let mut cases = Vec::new();
    for (name, value) in [
        ("X-Upper", "a"),
        ("x a", "b"),
        ("", "b"),
        ("x-a", "b\r\nc: d"),
        ("x-a", "b\0"),
        (":late", "a"),
        (":status", "200"),
        (":path", "/bad2"),
        (":protocol", "websocket"),
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("content-length", "5"),
        ("content-length", "-1"),
    ] {
        cases.push((format!("{name}: {value:?}"), head(1, &bad(&[(name, value)]))));
    }
    for name in [":method", ":scheme", ":path"] {
        cases.push((format!("no {name}"), head(1, &without(name))));
    }
    cases.push(("a field before the others".into(), head(1, &first(&[("x-a", "b")]))));
    let mut announced = get("/bad").to_vec();
    announced[0].1 = "POST";
    announced.push(("content-length", "2"));
    for (body, name) in [(&b"x"[..], "less"), (b"xyz", "more")] {
        let bytes = [
            frame(HEADERS, END_HEADERS, 1, &block(&announced)),
            frame(DATA, END_STREAM, 1, body),
        ];
        cases.push((format!("{name} body than announced"), bytes.concat()));
    }
    let cases: Vec<_> = cases
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone(), Stream(PROTOCOL_ERROR)))
        .collect();
    check(&cases);
}

#[test]
fn trailers_that_may_not_be() {
    let trailers = |flags, fields: &[(&str, &str)]| {
        [
            post(1),
            frame(DATA, 0, 1, b"x"),
            frame(HEADERS, END_HEADERS | flags, 1, &block(fields)),
        ]
        .concat()
    };
    check(&[
        (
            "trailers that do not end the stream",
            trailers(0, &[("x-a", "b")]),
            Stream(PROTOCOL_ERROR),
        ),
        (
            "connection in trailers",
            trailers(END_STREAM, &[("connection", "close")]),
            Stream(PROTOCOL_ERROR),
        ),
    ]);
}

#[test]
fn an_error_of_a_stream_leaves_the_others_alone() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    let mut client = H2Client::connect(proxy.address());
    let other = client.next_stream();
    client.try_send_bytes(&post(other)).expect("nothing is wrong so far");
    for malformed in [("connection", "close"), ("te", "gzip"), (":status", "200")] {
        let mut fields = get("/bad").to_vec();
        fields.push(malformed);
        let stream = client.open(&fields, END_STREAM);
        let answer = client.answer(stream);
        assert!(
            answer.reset.is_some() || answer.status == 400,
            "{malformed:?}: {answer:?}"
        );
    }
    client.send(DATA, END_STREAM, other, b"body");
    assert_eq!(client.answer(other).status, 200);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn the_preface_has_to_be_right() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    for (bytes, name) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"[..], "a wrong preface"),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "another wrong preface"),
    ] {
        let mut client = proxy.connect();
        client.send(bytes);
        let (answer, _) = client.read_to_end();
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{name}");
    }
    let mut client = proxy.connect();
    client.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(PING, 0, 0, b"12345678")[..]].concat());
    let (answer, _) = client.read_to_end();
    assert!(
        answer.windows(4).any(|part| part == [0, 0, 0, 1]),
        "no PROTOCOL_ERROR: {answer:?}"
    );
    assert_eq!(proxy.get("/victim").status, 200);
}
