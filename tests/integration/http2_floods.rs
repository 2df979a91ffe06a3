//! Clients of HTTP/2 that do what RFC 9113 allows far more often than anybody needs, and those that only look like it.

mod harmless;
mod stalls;

use crate::support::{
    Endpoint, Proxy,
    h2::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, H2Client, HEADERS, PADDED, PING, PRIORITY, RST_STREAM,
        SETTINGS, WINDOW_UPDATE, block, frame, get,
    },
};

const TIMES: u32 = 10_000;
const ENHANCE_YOUR_CALM: u32 = 11;
/// A GET of "/" with indexed fields only; ":authority" is a literal.
const SHORT_GET: &[u8] = b"\x82\x86\x84\x41\x01a";
/// The same as a POST.
const SHORT_POST: &[u8] = b"\x83\x86\x84\x41\x01a";

fn proxy(endpoint: &Endpoint) -> Proxy {
    Proxy::in_front_of(endpoint).with("[log]\nlevel = \"debug\"").start()
}

fn ended(proxy: &Proxy, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    proxy.metric("forebay_downstream_http2_closed_total", &[&label])
}

/// Sends `first`, then what `each` makes of the numbers from 0 on, and expects the connection to end for `reason`. Other
/// clients are served meanwhile, and the proxy's memory hardly grows.
fn flood(proxy: &Proxy, reason: &str, first: &[u8], each: impl Fn(u32) -> Vec<u8>) {
    let (before, counted) = (proxy.memory(), ended(proxy, reason));
    let mut client = H2Client::connect(proxy.address());
    let _ = client.try_send_bytes(first);
    for part in 0..10 {
        let range = part * TIMES / 10..(part + 1) * TIMES / 10;
        let frames: Vec<u8> = range.flat_map(&each).collect();
        if client.try_send_bytes(&frames).is_err() {
            break;
        }
        assert_eq!(proxy.get("/").status, 200, "others are served");
    }
    let farewell = client.farewell();
    // A reset may have overtaken the farewell where more was sent than anybody reads.
    if let Some(farewell) = farewell {
        assert_eq!(farewell, (ENHANCE_YOUR_CALM, reason.to_owned()));
    }
    assert_eq!(ended(proxy, reason), counted + 1.0, "{reason}");
    proxy.wait_for_log(&format!("reason=\"{reason}\""));
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{reason}: {grown} bytes more");
    assert_eq!(proxy.get("/").status, 200, "others are served");
}

#[test]
fn frames_that_nobody_needs() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    let of = |kind, flags, stream, payload: &'static [u8]| move |_| frame(kind, flags, stream, payload);
    flood(&proxy, "ping-flood", b"", of(PING, 0, 0, b"12345678"));
    flood(&proxy, "ping-flood", b"", of(PING, ACK, 0, b"12345678"));
    flood(&proxy, "settings-flood", b"", of(SETTINGS, 0, 0, b""));
    flood(&proxy, "settings-flood", b"", |number| {
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, number as u8])
    });
    flood(&proxy, "priority-flood", b"", of(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]));
    flood(&proxy, "priority-flood", b"", |number| {
        frame(PRIORITY, 0, 2 * number + 1, &[0, 0, 0, 0, 9])
    });
    flood(
        &proxy,
        "window-update-flood",
        b"",
        of(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    );
    flood(&proxy, "unknown-frame-flood", b"", of(0xbb, 0xff, 0, b""));
    flood(&proxy, "unknown-frame-flood", b"", of(0x10, 0, 0, &[0, 0, 0, 0]));
    let post = frame(HEADERS, END_HEADERS, 1, SHORT_POST);
    flood(
        &proxy,
        "window-update-flood",
        &post,
        of(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
    );
}

/// The engine has a limit of its own, which may be the first.
#[test]
fn data_without_a_byte() {
    let endpoint = Endpoint::echoing();
    let proxy = proxy(&endpoint);
    for (flags, payload) in [(0, &b""[..]), (PADDED, &[0]), (PADDED, &[3, 0, 0, 0])] {
        let before = proxy.memory();
        let mut client = H2Client::connect(proxy.address());
        client.send(HEADERS, END_HEADERS, 1, SHORT_POST);
        let frames = frame(DATA, flags, 1, payload).repeat(TIMES as usize);
        let _ = client.try_send_bytes(&frames);
        let farewell = client.farewell();
        assert!(farewell.is_none_or(|(code, _)| code == ENHANCE_YOUR_CALM));
        assert!(proxy.memory() < before + (16 << 20));
        assert_eq!(proxy.get("/").status, 200);
    }
    assert_eq!(
        ended(&proxy, "empty-data-flood") + ended(&proxy, "enhance-your-calm"),
        3.0
    );
}

#[test]
fn streams_that_are_opened_and_reset() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    let pair = |number| {
        let stream = 2 * number + 1;
        [
            frame(HEADERS, END_HEADERS | END_STREAM, stream, SHORT_GET),
            frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
        ]
        .concat()
    };
    flood(&proxy, "reset-flood", b"", pair);
    let reached = endpoint
        .requests()
        .iter()
        .filter(|request| request.head.target() == "/")
        .count();
    assert!(reached < 1000, "{reached} requests reached the endpoint");

    // One after the other, each in its own time.
    let mut client = H2Client::connect(proxy.address());
    let mut survived = 0;
    while client.try_send_bytes(&pair(survived)).is_ok() && client.sync().is_ok() {
        survived += 1;
        assert!(survived < TIMES / 10, "nobody minds");
    }
    assert!((490..600).contains(&survived), "{survived} resets were allowed");
    assert_eq!(ended(&proxy, "reset-flood"), 2.0);
}

#[test]
fn streams_that_the_proxy_is_made_to_reset() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    // A window that is opened too far, and more body than was announced.
    flood_of_mistakes(&proxy, |number| {
        let update = frame(WINDOW_UPDATE, 0, 2 * number + 1, &[0x7f, 0xff, 0xff, 0xff]);
        [frame(HEADERS, END_HEADERS, 2 * number + 1, SHORT_POST), update].concat()
    });
    let mut announced = SHORT_POST.to_vec();
    announced.extend(block(&[("content-length", "1")]));
    flood_of_mistakes(&proxy, |number| {
        let stream = 2 * number + 1;
        [
            frame(HEADERS, END_HEADERS, stream, &announced),
            frame(DATA, END_STREAM, stream, b"two"),
        ]
        .concat()
    });
    // Fields that may not be there.
    let mut malformed = SHORT_GET.to_vec();
    malformed.extend(block(&[("connection", "close")]));
    flood_of_mistakes(&proxy, |number| {
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &malformed)
    });
}

/// Sends mistakes until the connection is ended, as it has to be.
fn flood_of_mistakes(proxy: &Proxy, each: impl Fn(u32) -> Vec<u8>) {
    let before = proxy.memory();
    let count = || ended(proxy, "reset-flood") + ended(proxy, "enhance-your-calm");
    let counted = count();
    let mut client = H2Client::connect(proxy.address());
    for part in 0..100 {
        let frames: Vec<u8> = (part * TIMES / 100..(part + 1) * TIMES / 100).flat_map(&each).collect();
        if client.try_send_bytes(&frames).is_err() || client.sync().is_err() {
            break;
        }
        assert!(part < 20, "nobody minds");
    }
    client.farewell();
    assert_eq!(count(), counted + 1.0);
    assert!(proxy.memory() < before + (16 << 20));
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn a_head_in_ten_thousand_pieces() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    for piece in [
        b"".to_vec(),
        block(&[("x-a", "b")]),
        block(&[("x-a", &"b".repeat(1000))]),
    ] {
        let before = proxy.memory();
        let mut client = H2Client::connect(proxy.address());
        let begun = frame(HEADERS, END_STREAM, 1, SHORT_GET);
        let _ = client.try_send_bytes(&begun);
        for _ in 0..10 {
            let pieces = frame(CONTINUATION, 0, 1, &piece).repeat(1000);
            if client.try_send_bytes(&pieces).is_err() {
                break;
            }
            assert_eq!(proxy.get("/").status, 200);
        }
        let _ = client.try_send_bytes(&frame(CONTINUATION, END_HEADERS, 1, b""));
        client.farewell();
        assert!(proxy.memory() < before + (16 << 20));
    }
    assert!(
        endpoint
            .requests()
            .iter()
            .all(|request| request.head.field("x-a").is_none())
    );
}

#[test]
fn more_fields_than_a_head_may_have() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    let mut client = H2Client::connect(proxy.address());
    let with = |name: &'static str, count: usize| {
        let mut fields = get("/case").to_vec();
        fields.extend(std::iter::repeat_n((name, "a=b"), count));
        fields
    };
    for (name, count, status) in [
        ("x-a", 100, 200),
        ("x-a", 101, 431),
        ("cookie", 100, 200),
        ("cookie", 101, 431),
    ] {
        let stream = client.open(&with(name, count), END_STREAM);
        let answer = client.answer(stream);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        match status {
            200 => assert_eq!(answer.status, 200, "{count} times {name}"),
            _ => assert!(text.starts_with("431 "), "{count} times {name}: {text:?}"),
        }
    }
    assert_eq!(client.get("/").status, 200, "the connection goes on");
    assert_eq!(endpoint.targets(), ["/case", "/case", "/"]);
}

#[test]
fn limits_are_those_of_the_config() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[http2]\nmax_resets = 3\nmax_control_frames = 5")
        .start();
    let mut client = H2Client::connect(proxy.address());
    for _ in 0..3 {
        let stream = client.open_get("/");
        client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    }
    assert_eq!(client.get("/").status, 200);
    let stream = client.open_get("/");
    client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    assert_eq!(client.farewell(), Some((ENHANCE_YOUR_CALM, "reset-flood".to_owned())));
    let mut client = H2Client::connect(proxy.address());
    (0..4).for_each(|_| client.send(PING, 0, 0, b"12345678"));
    assert_eq!(client.get("/").status, 200);
    (0..9).for_each(|_| drop(client.try_send(PING, 0, 0, b"12345678")));
    assert_eq!(client.farewell(), Some((ENHANCE_YOUR_CALM, "ping-flood".to_owned())));
}
