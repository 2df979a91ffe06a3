//! Which requests become tunnels, and what becomes of all others.

use super::{SWITCH, UPGRADE, open, read};
use crate::support::{Client, End, Endpoint, Proxy, Response, Scene};

/// A proxy whose endpoint answers everything with these bytes.
fn saying(bytes: &[u8]) -> (Endpoint, Proxy) {
    let endpoint = Endpoint::saying(bytes);
    let proxy = Proxy::in_front_of(&endpoint).start();
    (endpoint, proxy)
}

fn upgrade(client: &mut Client) -> Response {
    client.send(UPGRADE);
    client.response()
}

#[test]
fn a_switch_that_nobody_asked_for_is_refused() {
    let (endpoint, proxy) = saying(SWITCH);
    let response = proxy.get("/");
    assert_eq!((response.status, response.error()), (502, "http_upgrade_failed"));
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Reset));
    proxy.wait_for_metric("forebay_proxy_failures_total", &["unexpected-upgrade"], |count| {
        count == 1.0
    });
}

#[test]
fn a_switch_to_something_else_is_refused() {
    for fields in [
        "Connection: Upgrade\r\nUpgrade: x\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket/13\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, x\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Connection: close\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
        "",
    ] {
        let (endpoint, proxy) = saying(format!("HTTP/1.1 101 Switch\r\n{fields}\r\n").as_bytes());
        let mut client = proxy.connect();
        assert_eq!(upgrade(&mut client).status, 502, "{fields:?}");
        assert_eq!(
            client.get("/").status,
            502,
            "the client's connection is HTTP as before, {fields:?}"
        );
        assert!(
            endpoint
                .wait_closed(2)
                .iter()
                .all(|connection| connection.requests == 1)
        );
    }
}

#[test]
fn any_other_answer_is_an_answer_and_the_connection_is_kept() {
    for (status, more) in [
        ("200 OK", ""),
        ("400 Bad", ""),
        ("426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n"),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\n{more}Content-Length: 2\r\n\r\nno");
        let (endpoint, proxy) = saying(answer.as_bytes());
        let mut client = proxy.connect();
        for _ in 0..3 {
            let response = upgrade(&mut client);
            assert!(status.starts_with(&response.status.to_string()), "{response:?}");
            assert_eq!(response.text(), "no");
            assert_eq!(response.field("connection"), None);
            assert_eq!(
                response.field("sec-websocket-version"),
                (!more.is_empty()).then_some("13")
            );
        }
        assert_eq!(endpoint.opened(), 1, "{status}");
    }
}

#[test]
fn bytes_behind_a_refused_upgrade_are_the_next_request() {
    let endpoint = Endpoint::start(|exchange| {
        let target = exchange.target().to_owned();
        exchange.respond(target);
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(format!("{UPGRADE}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().text(), "/chat");
    assert_eq!(client.response().text(), "/next");
}

#[test]
fn what_the_route_does_not_allow_is_left_out() {
    let endpoint = Endpoint::answering("plain");
    let routes = "[[route]]\npath = \"/none\"\ncluster = \"main\"\nupgrade = []\n\
        [[route]]\npath = \"/irc\"\ncluster = \"main\"\nupgrade = [\"irc/6.9\", \"websocket\"]\n";
    let proxy = Proxy::in_front_of(&endpoint).with(routes).start();
    let ask = |path: &str, fields: &str| {
        let mut client = proxy.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(client.response().text(), "plain");
        let seen = endpoint.requests().pop().expect("a request").head;
        assert_eq!(seen.field("http2-settings"), None);
        assert_eq!(seen.all("connection").is_empty(), seen.all("upgrade").is_empty());
        assert!(seen.all("connection").iter().all(|options| *options == "upgrade"));
        seen.all("upgrade").join("|")
    };
    let both = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(ask("/", both), "websocket");
    assert_eq!(ask("/none", both), "");
    assert_eq!(ask("/", "Upgrade: websocket\r\n"), "");
    assert_eq!(ask("/", "Connection: Upgrade\r\n"), "");
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    assert_eq!(ask("/", h2c), "");
    let several = "Connection: HTTP2-Settings, upgrade\r\nUpgrade: h2c, WebSocket\r\nHTTP2-Settings: AAMAAABk\r\n";
    assert_eq!(ask("/", several), "websocket");
    assert_eq!(
        ask(
            "/irc",
            "Connection: upgrade\r\nUpgrade: IRC/6.9, x\r\nUpgrade: websocket\r\n"
        ),
        "irc/6.9, websocket"
    );
    assert_eq!(ask("/irc", "Connection: upgrade\r\nUpgrade: irc\r\n"), "");
}

#[test]
fn the_endpoint_chooses_among_several_protocols() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: IRC/6.9\r\n\r\nhello");
        exchange.wait_for_end();
    });
    let routes = "[[route]]\npath = \"/chat\"\ncluster = \"main\"\nupgrade = [\"websocket\", \"irc/6.9\"]\n";
    let proxy = Proxy::in_front_of(&endpoint).with(routes).start();
    let mut client = proxy.connect();
    client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: irc/6.9, websocket\r\n\r\n");
    let head = client.read_head().expect("an answer");
    assert_eq!(head.all("upgrade"), ["IRC/6.9"]);
    assert_eq!(read(&mut client, 5), b"hello");
}

#[test]
fn http_1_0_has_no_upgrades() {
    let endpoint = Endpoint::answering("plain");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(UPGRADE.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(client.response().text(), "plain");
    assert_eq!(endpoint.requests()[0].head.field("upgrade"), None);
}

#[test]
fn an_upgrade_with_a_body_is_refused() {
    let mut scene = Scene::new();
    let fields = "Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    scene.check_refused(
        &[400],
        &[
            &format!("POST /case HTTP/1.1\r\n{fields}Content-Length: 5\r\n\r\nhello"),
            &format!("GET /case HTTP/1.1\r\n{fields}Content-Length: 28\r\n\r\nGET /case HTTP/1.1\r\nHost: a\r\n\r\n"),
            &format!("GET /case HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            &format!(
                "GET /case HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /case HTTP/1.1\r\n\r\n"
            ),
        ],
    );
}

#[test]
fn http_2_without_tls_is_not_asked_for_by_an_upgrade_even_with_a_body() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!(client.response().text(), "hello");
}

/// The attacker's bytes are the tunnel's, whatever they look like, and the next client gets another connection.
#[test]
fn a_tunnel_is_never_used_again() {
    let endpoint = Endpoint::start(|exchange| {
        if exchange.target() == "/chat" {
            exchange.send(SWITCH);
            exchange.read_to_end();
        } else {
            let target = exchange.target().to_owned();
            exchange.respond(target);
        }
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .workers(1)
        .with("[cluster.main.pool]\nmax_connections = 1")
        .start();
    assert_eq!(proxy.get("/before").text(), "/before");
    let mut attacker = open(&proxy);
    attacker.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    attacker.finish();
    attacker.end();
    assert_eq!(proxy.get("/victim").text(), "/victim");
    assert_eq!(endpoint.targets(), ["/before", "/chat", "/victim"]);
    assert_eq!(endpoint.opened(), 2, "the tunnel's connection had been kept before");
    assert!(
        endpoint.connections()[0]
            .bytes
            .ends_with(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    );
    proxy.wait_for_metric("forebay_pool_closed_total", &["reason=\"tunnel\""], |count| {
        count == 1.0
    });
}

#[test]
fn an_upgrade_that_meets_a_closed_connection_is_sent_again() {
    let endpoint = Endpoint::start(|exchange| match exchange.number {
        0 if exchange.target() == "/" => exchange.respond("kept"),
        0 => super::echo(exchange),
        _ => exchange.close(),
    });
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    assert_eq!(proxy.get("/").text(), "kept");
    let mut client = open(&proxy);
    client.send("hello");
    assert_eq!(read(&mut client, 5), b"hello");
    assert_eq!(endpoint.targets(), ["/", "/chat", "/chat"]);
}
