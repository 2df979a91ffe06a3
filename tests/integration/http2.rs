//! Clients of HTTP/2, with prior knowledge; the endpoint always gets HTTP/1.1.

use crate::support::{
    End, Endpoint, Gate, Proxy, eventually,
    h2::{DATA, END_STREAM, Frame, GOAWAY, H2Client, HEADERS, RST_STREAM, get},
    tools,
};

fn echoing_targets() -> Endpoint {
    Endpoint::start(|exchange| {
        let target = exchange.target().to_owned();
        exchange.respond(target);
    })
}

#[test]
fn a_request_becomes_one_of_http_1_1() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    let answer = client.get("/a?b");
    assert_eq!(
        (answer.status, answer.body.as_slice(), answer.reset),
        (200, &b"/a?b"[..], None)
    );
    let head = &endpoint.requests()[0].head;
    assert_eq!(head.start, "GET /a?b HTTP/1.1");
    assert_eq!(head.all("host"), ["test.example"]);
    assert!(head.fields.iter().all(|(name, _)| !name.starts_with(':')), "{head:?}");
}

#[test]
fn curl_sends_and_receives_eight_mebibytes() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let (sent, received) = (proxy.directory().join("sent"), proxy.directory().join("received"));
    std::fs::write(&sent, crate::support::pattern(8 << 20)).expect("a file can be written");
    let url = format!("http://{}/", proxy.address());
    let upload = format!("@{}", sent.display());
    let output = received.display().to_string();
    let arguments = [
        "--http2-prior-knowledge",
        "--data-binary",
        &upload,
        "-o",
        &output,
        "-w",
        "%{http_version} %{http_code}",
        &url,
    ];
    assert_eq!(tools::curl(&arguments), (0, "2 200".to_owned()));
    let read = |path| std::fs::read(path).expect("the file is there");
    assert!(read(&sent) == read(&received), "the echo differs");
}

#[test]
fn a_hundred_streams_share_one_connection() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    let streams: Vec<u32> = (0..100).map(|number| client.open_get(&format!("/{number}"))).collect();
    let mut bodies = vec![Vec::new(); streams.len()];
    let mut open = streams.len();
    while open > 0 {
        let frame = client.read_frame().expect("the answers come");
        let Some(index) = streams.iter().position(|&stream| stream == frame.stream) else {
            continue;
        };
        assert_ne!(frame.kind, RST_STREAM, "stream {index}");
        open -= usize::from(frame.ends_stream());
        if frame.kind == DATA {
            bodies[index].extend(frame.payload);
        }
    }
    for (number, body) in bodies.iter().enumerate() {
        assert_eq!(String::from_utf8_lossy(body), format!("/{number}"));
    }
}

#[test]
fn an_old_connection_is_told_to_go_and_loses_no_request() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[keep_alive]\nmax_age = \"200ms\"")
        .start();
    let mut client = H2Client::connect(proxy.address());
    eventually("a GOAWAY comes", || {
        assert_eq!(client.get("/").status, 200);
        client.is_sent_off
    });
    assert_eq!(client.end(), End::Fin);
}

#[test]
fn the_last_request_of_a_connection_is_announced() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[keep_alive]\nmax_requests = 3")
        .start();
    let mut client = H2Client::connect(proxy.address());
    (0..3).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!(client.end(), End::Fin);
    assert!(client.is_sent_off);
}

#[test]
fn an_idle_connection_is_sent_off() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[keep_alive]\nidle_timeout = \"200ms\"")
        .start();
    let mut client = H2Client::connect(proxy.address());
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.end(), End::Fin);
    assert!(client.is_sent_off);
}

#[test]
fn a_draining_proxy_finishes_the_streams_that_are_open() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.respond("x");
        }
    });
    let mut proxy = Proxy::in_front_of(&endpoint).process("drain_timeout = \"14s\"").start();
    let mut client = H2Client::connect(proxy.address());
    let stream = client.open_get("/");
    endpoint.wait_requests(1);
    proxy.signal("TERM");
    while client.read_frame().expect("a GOAWAY comes").kind != GOAWAY {}
    gate.open();
    assert_eq!(client.answer(stream).status, 200);
    assert_eq!(client.end(), End::Fin);
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn what_would_be_another_request_in_http_1_is_refused() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint)
        .workers(1)
        .with("[cluster.main.pool]\nmax_connections = 1")
        .start();
    let with = |name: &'static str, value: &'static str| {
        let mut fields = get("/case").to_vec();
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
        fields
    };
    let cases = [
        with("x-a", "b\r\nX-Smuggled: c"),
        with("x-a", "b\nc"),
        with("x-a", "b\0c"),
        with("x-a: b\r\nx-c", "d"),
        with("x a", "b"),
        with("", "b"),
        with("X-Upper", "b"),
        with(":path", "/case HTTP/1.1\r\nHost: evil\r\n\r\n"),
        with(":path", "/a b"),
        with(":path", ""),
        with(":path", "case"),
        with(":method", "GET /smuggled"),
        with(":method", ""),
        with(":authority", "a\r\nX: b"),
        with(":authority", "a@b"),
        with(":authority", "a b"),
        with("host", "other.example"),
        with("connection", "close"),
        with("transfer-encoding", "chunked"),
        with("upgrade", "h2c"),
        with("keep-alive", "1"),
        with("proxy-connection", "close"),
        with("te", "gzip"),
        with("content-length", "+0"),
        with("content-length", "1,1"),
        with(":extra", "x"),
        with(":path", "/x/../case"),
    ];
    for fields in cases {
        let mut client = H2Client::connect(proxy.address());
        client.open(&fields, END_STREAM);
        let refused = refusal(&mut client);
        assert!(refused, "{fields:?} was answered");
        assert_eq!(proxy.get("/victim").text(), "/victim", "after {fields:?}");
        assert!(
            endpoint.targets().iter().all(|target| target == "/victim"),
            "{fields:?} reached the endpoint"
        );
    }
}

/// Refused is what is answered with 400, reset, or cost the connection.
fn refusal(client: &mut H2Client) -> bool {
    loop {
        match client.read_frame() {
            Err(End::Deadline) => return false,
            Err(_) => return true,
            Ok(Frame {
                kind: RST_STREAM | GOAWAY,
                ..
            }) => return true,
            Ok(Frame { kind: 1, payload, .. }) => return payload.first() == Some(&0x8c),
            Ok(_) => {}
        }
    }
}

#[test]
fn a_body_that_differs_from_its_declared_length_costs_the_upstream_connection() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint)
        .workers(1)
        .with("[cluster.main.pool]\nmax_connections = 1")
        .start();
    for body in ["short", "much longer than declared"] {
        let mut client = H2Client::connect(proxy.address());
        let mut fields = get("/case").to_vec();
        fields[0].1 = "POST";
        fields.push(("content-length", "10"));
        let stream = client.open(&fields, 0);
        let _ = client.try_send(DATA, END_STREAM, stream, body.as_bytes());
        assert!(refusal(&mut client), "{body:?} was answered");
        assert_eq!(proxy.connect().post("/victim", "mine").text(), "mine");
    }
    for connection in endpoint.connections() {
        let text = String::from_utf8_lossy(&connection.bytes).into_owned();
        // One that has served the victim may be used again, and then not any more.
        let (_, after) = text.split_once("/case").unwrap_or_default();
        assert!(!after.contains("/victim"), "{text:?}");
    }
}

#[test]
fn a_reset_stream_ends_its_upstream_connection_and_no_other_stream() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| match exchange.target() {
            "/reset" => {
                exchange.wait_for_end();
            }
            _ => {
                gate.wait();
                exchange.respond("x");
            }
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    let reset = client.open_get("/reset");
    let other = client.open_get("/other");
    endpoint.wait_requests(2);
    client.send(RST_STREAM, 0, reset, &8u32.to_be_bytes());
    endpoint.wait_closed(1);
    gate.open();
    assert_eq!(client.answer(other).body, b"x");
}

#[test]
fn a_flood_of_reset_streams_ends_the_connection_and_spares_the_endpoint() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let before = proxy.memory();
    let mut client = H2Client::connect(proxy.address());
    let flood = (0..10_000u32).try_for_each(|number| {
        let stream = number * 2 + 1;
        // A GET of "/" with indexed fields only; ":authority" is a literal.
        client.try_send(1, 0x05, stream, b"\x82\x86\x84\x41\x01a")?;
        client.try_send(RST_STREAM, 0, stream, &8u32.to_be_bytes())
    });
    let mut is_sent_off = flood.is_err();
    while let Ok(frame) = client.read_frame() {
        is_sent_off |= frame.kind == GOAWAY;
    }
    assert!(is_sent_off, "ten thousand resets are not normal");
    assert!(
        endpoint.requests().len() < 5_000,
        "{} requests reached the endpoint",
        endpoint.requests().len()
    );
    assert!(proxy.memory() < before + (64 << 20));
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn a_head_of_too_many_fields_is_refused() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    let mut block = b"\x82\x86\x84\x41\x01a".to_vec();
    // "cookie: a" once into the dynamic table, then one byte for each further crumb.
    block.extend(b"\x60\x01a");
    block.extend([0xbe; 10_000]);
    client.send(1, 0x05, 1, &block);
    loop {
        match client.read_frame() {
            Err(End::Deadline) => panic!("no word came"),
            Ok(Frame {
                kind: RST_STREAM | GOAWAY,
                ..
            })
            | Err(_) => break,
            Ok(Frame { kind: 1, payload, .. }) => {
                assert_ne!(payload.first(), Some(&0x88), "it was served");
                break;
            }
            Ok(_) => {}
        }
    }
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn a_head_that_is_never_finished_is_too_slow() {
    let endpoint = echoing_targets();
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nheader_read = \"200ms\"")
        .start();
    let mut client = H2Client::connect(proxy.address());
    // HEADERS without END_HEADERS: a CONTINUATION has to follow.
    client.send(HEADERS, 0, 1, b"\x82\x86");
    assert_ne!(client.end(), End::Deadline);
}

#[test]
fn a_body_that_stalls_is_too_slow() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nbody_stall = \"200ms\"")
        .start();
    let mut client = H2Client::connect(proxy.address());
    let mut fields = get("/stalls");
    fields[0].1 = "POST";
    let stream = client.open(&fields, 0);
    client.send(DATA, 0, stream, b"half");
    let answer = client.answer(stream);
    assert!(answer.status != 200 || answer.reset.is_some(), "{answer:?}");
    endpoint.wait_closed(1);
    assert_eq!(client.get("/").status, 200, "the other streams go on");
}

#[test]
fn a_stream_whose_window_stays_shut_is_cut_off() {
    let endpoint = Endpoint::start(|exchange| exchange.respond(vec![b'x'; 10_000_000]));
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nwrite_stall = \"200ms\"")
        .start();
    let mut client = H2Client::connect(proxy.address());
    client.open_get("/");
    assert_eq!(
        endpoint.wait_closed(1)[0].end,
        Some(End::Reset),
        "the endpoint's answer is broken off"
    );
}
