//! Clients that begin something and do not go on, or that do not take what they have asked for.

use super::{END_HEADERS, END_STREAM, HEADERS, PING, SHORT_GET, WINDOW_UPDATE, ended, frame};
use crate::support::{
    End, Endpoint, Proxy, eventually,
    h2::{CONTINUATION, DATA, H2Client, SETTINGS, block},
};

const INITIAL_WINDOW_SIZE: u16 = 4;

fn impatient(endpoint: &Endpoint, timeouts: &str) -> Proxy {
    Proxy::in_front_of(endpoint)
        .with(&format!(
            "[timeouts]\n{timeouts}\n[http2]\nmax_control_frames = 1000000000"
        ))
        .start()
}

#[test]
fn whatever_is_begun_is_finished_in_time() {
    let endpoint = Endpoint::answering("x");
    let proxy = impatient(&endpoint, "header_read = \"300ms\"");
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, SHORT_GET);
    let open = frame(HEADERS, END_STREAM, 1, SHORT_GET);
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]);
    for (begun, name) in [
        (&open[..], "a head without its end"),
        (&head[..2], "a frame's length"),
        (&head[..9], "the head of a frame"),
        (&head[..12], "a part of a head"),
        (&settings[..11], "a part of a setting"),
    ] {
        let mut client = H2Client::connect(proxy.address());
        client.sync().expect("nothing is wrong so far");
        client.try_send_bytes(begun).expect("nothing is wrong so far");
        let farewell = client.farewell();
        assert_eq!(farewell, Some((11, "header-timeout".to_owned())), "{name}");
    }
    assert_eq!(ended(&proxy, "header-timeout"), 5.0);
    let mut silent = crate::support::Client::connect(proxy.address());
    silent.send(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..20]);
    assert_ne!(silent.read_to_end().1, End::Deadline);
}

#[test]
fn a_head_that_drips_is_too_slow_however_often_something_comes() {
    let endpoint = Endpoint::answering("x");
    let proxy = impatient(&endpoint, "header_read = \"500ms\"");
    let mut client = H2Client::connect(proxy.address());
    // Others of its streams make no difference.
    assert_eq!(client.get("/").status, 200);
    client.send(HEADERS, END_STREAM, 3, SHORT_GET);
    let drop = frame(CONTINUATION, 0, 3, &block(&[("x-a", "b")]));
    let mut next = drop.iter().cycle();
    eventually("the proxy has had enough", || {
        let byte = *next.next().expect("it goes round");
        client.try_send_bytes(&[byte]).is_err() || ended(&proxy, "header-timeout") > 0.0
    });
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn a_stream_whose_window_never_opens_is_reset_and_spares_the_others() {
    let endpoint = Endpoint::start(|exchange| match exchange.target() {
        "/large" => exchange.respond(vec![b'x'; 1 << 20]),
        _ => exchange.respond("x"),
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nwrite_stall = \"300ms\"\n[[route]]\npath = \"/own\"\nrespond = { body = \"own\" }")
        .start();
    let mut client = H2Client::connect_with(proxy.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    for target in ["/large", "/small", "/own"] {
        let stream = client.open_get(target);
        let answer = client.answer(stream);
        assert!(answer.reset.is_some() && answer.body.is_empty(), "{target}: {answer:?}");
        let stream = client.open_get("/taken");
        client.send(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]);
        assert_eq!(client.answer(stream).body, b"x");
    }
    eventually("the endpoint's answer was broken off", || {
        endpoint
            .connections()
            .iter()
            .any(|connection| connection.end == Some(End::Reset))
    });
    proxy.wait_for_metric("forebay_proxy_failures_total", &["client-stalled"], |count| {
        count == 3.0
    });
}

#[test]
fn streams_that_are_taken_byte_by_byte_are_reset() {
    let endpoint = Endpoint::start(|exchange| exchange.respond(vec![b'x'; 1 << 20]));
    let proxy = impatient(&endpoint, "write_stall = \"1s\"");
    let mut client = H2Client::connect_with(proxy.address(), &[(INITIAL_WINDOW_SIZE, 1)]);
    let stream = client.open_get("/");
    let mut taken = 0;
    loop {
        let frame = client.read_frame().expect("the connection stays");
        match frame.kind {
            DATA => {
                taken += frame.payload.len();
                // The stream may be gone by now.
                client.send(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]);
            }
            crate::support::h2::RST_STREAM => break,
            _ => {}
        }
    }
    assert!((1..1 << 20).contains(&taken), "{taken}");
    endpoint.wait_closed(1);
}

/// The engine has the whole of each answer, so that no request is in flight, and the connection is used for others.
#[test]
fn many_answers_that_are_left_but_for_their_last_bytes_end_the_connection() {
    let endpoint = Endpoint::answering("hello");
    let proxy = impatient(&endpoint, "write_stall = \"300ms\"");
    let mut client = H2Client::connect_with(proxy.address(), &[(INITIAL_WINDOW_SIZE, 1)]);
    let left = |client: &mut H2Client, count| {
        for _ in 0..count {
            client.open_get("/left");
        }
    };
    let taken = |client: &mut H2Client| {
        let stream = client.next_stream();
        // Both fail once the connection has ended, which the next read tells.
        let _ = client.try_send(HEADERS, END_HEADERS | END_STREAM, stream, SHORT_GET);
        let _ = client.try_send(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]);
        loop {
            match client.read_frame() {
                Ok(frame) if frame.stream == stream && frame.ends_stream() => return Ok(()),
                Ok(_) => {}
                Err(end) => return Err(end),
            }
        }
    };
    left(&mut client, 8);
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(2) {
        taken(&mut client).expect("a few are let be");
    }
    left(&mut client, 20);
    eventually("the connection ends", || taken(&mut client).is_err());
    assert_eq!(ended(&proxy, "write-stall"), 1.0);
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let endpoint = Endpoint::answering("x");
    let proxy = impatient(&endpoint, "write_stall = \"500ms\"");
    let before = proxy.memory();
    let mut client = H2Client::connect_narrow(proxy.address());
    let pings = frame(PING, 0, 0, b"12345678").repeat(10_000);
    while client.try_send_bytes(&pings).is_ok() {}
    assert_ne!(client.end(), End::Deadline);
    assert_eq!(ended(&proxy, "write-stall"), 1.0);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}
