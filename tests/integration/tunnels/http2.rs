//! Tunnels on HTTP/2 streams: extended CONNECT (RFC 8441) becomes an upgrade of HTTP/1.1, and CONNECT stays what it is.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{
    End, Endpoint, Exchange, Proxy, eventually,
    h2::{DATA, END_STREAM, Frame, H2Client, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, extended, status},
    pattern,
};

const CANCEL: u32 = 8;

/// The answer to the key of the request (RFC 6455 4.2.2).
fn accept(exchange: &Exchange) -> String {
    let key = exchange.head.field("sec-websocket-key").expect("a key");
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes()))
}

fn switch(exchange: &mut Exchange) {
    let accept = accept(exchange);
    exchange.send(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        )
        .as_bytes(),
    );
}

fn echo(exchange: &mut Exchange) {
    switch(exchange);
    while let Some(bytes) = exchange.read_some() {
        exchange.send(&bytes);
    }
}

fn open(client: &mut H2Client) -> u32 {
    let stream = client.open(&extended("websocket", "/chat"), 0);
    let head = client.frame_of(stream);
    assert_eq!(
        (head.kind, status(&head.payload), head.ends_stream()),
        (HEADERS, 200, false)
    );
    stream
}

fn read(client: &mut H2Client, stream: u32, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let frame = client.frame_of(stream);
        assert_eq!(frame.kind, DATA, "{frame:?}");
        bytes.extend(frame.payload);
    }
    bytes
}

fn ends(frame: &Frame) -> bool {
    frame.kind == DATA && frame.ends_stream() && frame.payload.is_empty()
}

fn reset_code(frame: Frame) -> u32 {
    assert_eq!(frame.kind, RST_STREAM, "{frame:?}");
    u32::from_be_bytes(frame.payload.try_into().expect("a code has four bytes"))
}

#[test]
fn the_settings_say_that_it_is_there() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    let settings = client.read_frame().expect("settings come first");
    assert_eq!(settings.kind, SETTINGS);
    assert!(
        settings.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]),
        "{settings:?}"
    );
}

#[test]
fn a_websocket_on_a_stream_is_an_upgrade_for_the_endpoint() {
    let endpoint = Endpoint::start(|exchange| match exchange.target() {
        "/chat" => echo(exchange),
        _ => exchange.respond("plain"),
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    let stream = open(&mut client);
    client.send(DATA, 0, stream, b"hello");
    assert_eq!(read(&mut client, stream, 5), b"hello");
    assert_eq!(client.get("/other").body, b"plain", "other streams go on");
    client.send(DATA, 0, stream, b"again");
    assert_eq!(read(&mut client, stream, 5), b"again");
    let request = endpoint.requests().remove(0).head;
    assert_eq!(request.start, "GET /chat HTTP/1.1");
    assert_eq!(
        (request.all("connection"), request.all("upgrade")),
        (vec!["upgrade"], vec!["websocket"])
    );
    assert_eq!(request.field("sec-websocket-version"), Some("13"));
    assert_eq!(request.all("host"), ["test.example"]);
    proxy.wait_for_metric("forebay_proxy_tunnels", &[], |open| open == 1.0);
    client.send(DATA, END_STREAM, stream, b"");
    assert!(ends(&client.frame_of(stream)));
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Fin));
    proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &["client-closed"], |ended| {
        ended == 1.0
    });
    assert_eq!(client.get("/other").body, b"plain");
}

#[test]
fn the_endpoint_ends_its_half_first() {
    let endpoint = Endpoint::start(|exchange| {
        switch(exchange);
        exchange.send(b"bye");
        exchange.finish();
        exchange.read_to_end();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    let stream = open(&mut client);
    assert_eq!(read(&mut client, stream, 3), b"bye");
    assert!(ends(&client.frame_of(stream)));
    client.send(DATA, END_STREAM, stream, b"one last thing");
    assert!(endpoint.wait_closed(1)[0].bytes.ends_with(b"one last thing"));
    proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &["endpoint-closed"], |ended| {
        ended == 1.0
    });
}

#[test]
fn resets_are_passed_on_both_ways() {
    let endpoint = Endpoint::start(|exchange| {
        switch(exchange);
        if exchange.read_some().is_some_and(|bytes| bytes == b"reset") {
            exchange.reset();
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    for (count, code) in [(1, CANCEL), (2, 0), (3, 2)] {
        let stream = open(&mut client);
        client.send(RST_STREAM, 0, stream, &u32::to_be_bytes(code));
        assert_eq!(
            endpoint.wait_closed(count)[count - 1].end,
            Some(End::Reset),
            "code {code}"
        );
    }
    proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &["client-reset"], |ended| {
        ended == 3.0
    });
    let stream = open(&mut client);
    client.send(DATA, 0, stream, b"reset");
    assert_eq!(reset_code(client.frame_of(stream)), CANCEL);
    proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &["endpoint-reset"], |ended| {
        ended == 1.0
    });
}

#[test]
fn a_connection_that_is_gone_takes_its_tunnels_with_it() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    open(&mut client);
    open(&mut client);
    drop(client);
    endpoint.wait_closed(2);
    proxy.wait_for_metric("forebay_proxy_tunnels", &[], |open| open == 0.0);
}

#[test]
fn only_what_a_route_allows_is_known() {
    let endpoint = Endpoint::start(echo);
    let routes = "[[route]]\npath = \"/none\"\ncluster = \"main\"\nupgrade = []\n\
        [[route]]\npath = \"/fixed\"\nrespond = { body = \"x\" }\n";
    let proxy = Proxy::in_front_of(&endpoint).with(routes).start();
    for (protocol, path) in [
        ("h2c", "/chat"),
        ("connect-udp", "/chat"),
        ("websocket", "/none"),
        ("websocket", "/fixed"),
    ] {
        let mut client = H2Client::connect(proxy.address());
        let stream = client.open(&extended(protocol, path), 0);
        assert_eq!(client.answer(stream).status, 501, "{protocol} at {path}");
    }
    assert_eq!(endpoint.opened(), 0);
    proxy.wait_for_metric("forebay_proxy_failures_total", &["unknown-protocol"], |count| {
        count == 4.0
    });
}

#[test]
fn an_endpoint_that_does_not_switch_is_not_taken_for_a_tunnel() {
    let answers: [(&str, u16); 5] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", 502),
        ("HTTP/1.1 204 No\r\n\r\n", 502),
        ("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", 403),
        (
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
        (
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            502,
        ),
    ];
    for (answer, expected) in answers {
        let endpoint = Endpoint::saying(answer);
        let proxy = Proxy::in_front_of(&endpoint).start();
        let mut client = H2Client::connect(proxy.address());
        let stream = client.open(&extended("websocket", "/chat"), 0);
        let seen = client.answer(stream);
        assert_eq!(seen.status, expected, "{answer:?}");
        assert_eq!(seen.body == b"no", expected == 403);
    }
}

#[test]
fn connect_on_a_stream() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
        while let Some(bytes) = exchange.read_some() {
            exchange.send(&bytes);
        }
    });
    let route = "[[route]]\nhost = \"db.internal\"\ncluster = \"main\"\nconnect = true\n";
    let proxy = Proxy::in_front_of(&endpoint).with(route).start();
    let mut client = H2Client::connect(proxy.address());
    let connect = |authority| [(":method", "CONNECT"), (":authority", authority)];
    for (authority, expected) in [("other.internal:1", 405), ("db.internal", 400)] {
        let stream = client.open(&connect(authority), 0);
        assert_eq!(client.answer(stream).status, expected);
    }
    let stream = client.open(&connect("db.internal:5432"), 0);
    assert_eq!(status(&client.frame_of(stream).payload), 200);
    client.send(DATA, 0, stream, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(read(&mut client, stream, 18), b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(endpoint.requests()[0].head.start, "CONNECT db.internal:5432 HTTP/1.1");
    client.send(DATA, END_STREAM, stream, b"");
    assert!(ends(&client.frame_of(stream)));
}

#[test]
fn an_idle_tunnel_keeps_its_connection_from_being_idle() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint)
        .listener("keep_alive = { idle_timeout = \"200ms\", max_age = \"300ms\" }")
        .with("[cluster.main.timeouts]\ntunnel_idle = \"900ms\"")
        .start();
    let mut client = H2Client::connect(proxy.address());
    let begin = std::time::Instant::now();
    let stream = open(&mut client);
    assert!(ends(&client.frame_of(stream)), "the tunnel's own timeout ends it");
    assert!(begin.elapsed() > std::time::Duration::from_millis(800));
    assert_eq!(client.end(), End::Fin);
}

/// What the client has not made room for stays at the endpoint, but for a few pieces.
#[test]
fn a_stream_without_room_stops_the_endpoint() {
    const ROOM: usize = 65_535;
    let endpoint = Endpoint::start(|exchange| {
        switch(exchange);
        for _ in 0..100 {
            exchange.send(&pattern(1 << 20));
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = H2Client::connect(proxy.address());
    let before = proxy.memory();
    let stream = open(&mut client);
    let mut seen = read(&mut client, stream, ROOM);
    assert_eq!(seen.len(), ROOM);
    let mut ticks = 0;
    eventually("the flow stops", || {
        let now = proxy.ticks();
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        std::mem::replace(&mut ticks, now) == now
    });
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
    let room = u32::to_be_bytes(64 << 20);
    client.send(WINDOW_UPDATE, 0, 0, &room);
    client.send(WINDOW_UPDATE, 0, stream, &room);
    seen.extend(read(&mut client, stream, 3 << 20));
    let expected = pattern(1 << 20);
    assert!(seen[..1 << 20] == expected && seen[1 << 20..2 << 20] == expected);
}

#[test]
fn megabytes_go_both_ways() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint).start();
    let address = proxy.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let bytes = bytes::Bytes::from(pattern(8 << 20));
    let expected = bytes.clone();
    let seen = runtime.expect("a runtime can be made").block_on(async move {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("the proxy accepts");
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("it is ready");
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let request = http::Request::connect(format!("http://{address}/chat"))
            .version(http::Version::HTTP_2)
            .extension(h2::ext::Protocol::from_static("websocket"))
            .body(());
        let request = request.expect("a request");
        let (response, mut sending) = client.send_request(request, false).expect("it is sent");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        // It waits for room by itself.
        sending.send_data(bytes, true).expect("it is taken");
        let mut body = response.into_body();
        let mut seen = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.expect("the stream is whole");
            body.flow_control().release_capacity(data.len()).expect("it was held");
            seen.extend_from_slice(&data);
        }
        seen
    });
    assert!(seen == expected);
    proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &["client-closed"], |ended| {
        ended == 1.0
    });
}
