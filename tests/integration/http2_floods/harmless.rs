//! What programs that people use do, and must get away with.

use std::process::Command;

use super::{END_STREAM, PING, PRIORITY, RST_STREAM, WINDOW_UPDATE, ended, proxy};
use crate::support::{
    Endpoint, Proxy,
    certificate::Certificate,
    h2::{DATA, H2Client, get},
    pattern,
    tools::{self, Tool},
};

fn nobody_was_ended(proxy: &Proxy) {
    for flood in [
        "reset-flood",
        "ping-flood",
        "settings-flood",
        "priority-flood",
        "window-update-flood",
        "empty-data-flood",
        "unknown-frame-flood",
        "enhance-your-calm",
        "protocol-error",
    ] {
        assert_eq!(ended(proxy, flood), 0.0, "{flood}");
    }
}

#[test]
fn a_browser_leaves_a_page() {
    let endpoint = Endpoint::start(|exchange| match exchange.target() {
        "/slow" => drop(exchange.wait_for_end()),
        _ => exchange.respond("x"),
    });
    let proxy = proxy(&endpoint);
    let mut client = H2Client::connect(proxy.address());
    for _ in 0..3 {
        let streams: Vec<u32> = (0..100).map(|_| client.open(&get("/slow"), END_STREAM)).collect();
        for stream in streams {
            client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        }
        assert_eq!(client.get("/").status, 200);
    }
    nobody_was_ended(&proxy);
}

#[test]
fn a_client_keeps_its_connection_alive_and_sorts_its_requests() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    let mut client = H2Client::connect(proxy.address());
    // The tree of an older Firefox.
    for stream in [3, 5, 7, 9, 11, 13] {
        client.send(PRIORITY, 0, stream, &[0, 0, 0, 0, 200]);
    }
    for _ in 0..3000 {
        client.send(PING, 0, 0, b"12345678");
        let stream = client.open_get("/");
        client.send(PRIORITY, 0, stream, &[0, 0, 0, 0, 200]);
        client.send(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]);
        assert_eq!(client.answer(stream).status, 200);
    }
    nobody_was_ended(&proxy);
}

#[test]
fn a_download_with_updates_and_pings_for_each_frame() {
    const SIZE: usize = 20 << 20;
    let endpoint = Endpoint::start(|exchange| match exchange.target() {
        "/large" => exchange.respond(pattern(SIZE)),
        _ => exchange.respond("x"),
    });
    let proxy = proxy(&endpoint);
    let mut client = H2Client::connect(proxy.address());
    let stream = client.open_get("/large");
    let mut received = 0;
    while received < SIZE {
        let frame = client.read_frame().expect("the answer goes on");
        if frame.kind == DATA && !frame.payload.is_empty() {
            received += frame.payload.len();
            let size = u32::try_from(frame.payload.len())
                .expect("a frame is small")
                .to_be_bytes();
            client.send(WINDOW_UPDATE, 0, 0, &size);
            // The stream may be over.
            client.send(WINDOW_UPDATE, 0, stream, &size);
            client.send(PING, 0, 0, b"measured");
        }
    }
    assert_eq!(client.get("/").status, 200);
    nobody_was_ended(&proxy);
}

#[test]
fn h2load_and_nghttp() {
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let tls = format!("tls = {{ certificates = [{}] }}", certificate.toml());
    for (scheme, listener) in [("http", ""), ("https", &*tls)] {
        let proxy = Proxy::in_front_of(&endpoint).listener(listener).start();
        let url = format!("{scheme}://{}/", proxy.address());
        if tools::needs("h2load") {
            let mut h2load = Tool::start(Command::new("h2load").args(["-n", "5000", "-c", "5", "-m", "100", &url]));
            assert!(h2load.wait().success());
            let said = h2load.stdout.wait_for_end().join("\n");
            assert!(said.contains("5000 succeeded, 0 failed, 0 errored"), "{said}");
        }
        if tools::needs("nghttp") {
            let mut nghttp = Tool::start(Command::new("nghttp").args(["-nv", "-m", "50", "--no-verify-peer", &url]));
            let status = nghttp.wait();
            let said = nghttp.stdout.wait_for_end().join("\n");
            assert!(status.success() && said.contains(":status: 200"), "{said}");
        }
        if tools::needs("curl") {
            // Over plain TCP, some versions of curl do not get beyond the first request.
            let (how, urls) = match scheme {
                "http" => (["--http2-prior-knowledge", "--no-progress-meter"], url.clone()),
                _ => (["--insecure", "--no-progress-meter"], format!("{url}[1-200]")),
            };
            let (code, said) = tools::curl(&[how[0], how[1], &urls]);
            assert!(code == 0 && said.bytes().all(|byte| byte == b'x'), "{said}");
        }
        nobody_was_ended(&proxy);
    }
}

/// The engine alone keeps three buffers, of 28 KiB in all, of which an idle client has touched a page each.
#[test]
fn an_idle_client_takes_little_memory() {
    const CLIENTS: usize = 500;
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    let connect = || {
        let mut client = H2Client::connect(proxy.address());
        assert_eq!(client.get("/").status, 200);
        client
    };
    let _first: Vec<_> = (0..20).map(|_| connect()).collect();
    let before = proxy.memory();
    let _clients: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    let each = proxy.memory().saturating_sub(before) as usize / CLIENTS;
    assert!(each < 26 << 10, "{each} bytes for each idle client");
}
