//! Upgrades and CONNECT: what becomes a tunnel and what does not, and the bytes that travel through it.

mod asking;
mod connect;
mod ends;
mod flow;
mod http2;
mod lives;
mod peers;
mod tls;

use crate::support::{Client, End, Endpoint, Exchange, Proxy, eventually};

pub const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: test.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

pub const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches, and sends back whatever comes until the end.
pub fn echo(exchange: &mut Exchange) {
    exchange.send(SWITCH);
    while let Some(bytes) = exchange.read_some() {
        exchange.send(&bytes);
    }
}

/// A client whose tunnel is open.
pub fn open(proxy: &Proxy) -> Client {
    let mut client = proxy.connect();
    client.send(UPGRADE);
    let head = client.read_head().expect("an answer comes");
    assert!(head.start.starts_with("HTTP/1.1 101"), "{head:?}");
    client
}

/// Reads until `count` bytes have come.
pub fn read(client: &mut Client, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        bytes.extend(client.read_some().expect("more comes"));
    }
    bytes
}

#[test]
fn a_websocket_goes_through() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(UPGRADE);
    let head = client.read_head().expect("an answer comes");
    assert!(head.start.starts_with("HTTP/1.1 101"), "{head:?}");
    assert_eq!(head.all("connection"), ["upgrade"]);
    assert_eq!(head.all("upgrade"), ["websocket"]);
    assert_eq!(head.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for round in 0..3 {
        let text = format!("hello {round}");
        client.send(&text);
        assert_eq!(read(&mut client, text.len()), text.as_bytes());
    }
    let request = endpoint.requests().remove(0).head;
    assert_eq!(
        (request.all("connection"), request.all("upgrade")),
        (vec!["upgrade"], vec!["websocket"])
    );
    assert_eq!(request.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    proxy.wait_for_metric("forebay_proxy_tunnels", &[], |open| open == 1.0);
    client.finish();
    assert_eq!(client.end(), End::Fin);
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Fin));
    proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &["client-closed"], |ended| {
        ended == 1.0
    });
    eventually("the tunnel is no longer counted", || {
        proxy.metric("forebay_proxy_tunnels", &[]) == 0.0
    });
}
