//! CONNECT: refused unless a route allows it, and then a tunnel like any other.

use super::read;
use crate::support::{End, Endpoint, Exchange, Proxy, Scene};

const ROUTE: &str = "[[route]]\nhost = \"db.internal\"\ncluster = \"main\"\nconnect = true\n";
const CONNECT: &str = "CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n";

fn tunnel(exchange: &mut Exchange) {
    if exchange.head.method() != "CONNECT" {
        let target = exchange.target().to_owned();
        return exchange.respond(target);
    }
    exchange.send(b"HTTP/1.1 200 Connection Established\r\nX-Via: e\r\n\r\n");
    while let Some(bytes) = exchange.read_some() {
        exchange.send(&bytes);
    }
}

#[test]
fn connect_goes_to_the_endpoint_where_a_route_allows_it() {
    let endpoint = Endpoint::start(tunnel);
    let proxy = Proxy::in_front_of(&endpoint).with(ROUTE).start();
    let mut client = proxy.connect();
    client.send(format!("{CONNECT}early"));
    let head = client.read_head().expect("an answer comes");
    assert!(head.start.starts_with("HTTP/1.1 200"), "{head:?}");
    assert_eq!((head.field("x-via"), head.field("content-length")), (Some("e"), None));
    assert_eq!(head.field("transfer-encoding"), None);
    assert_eq!(read(&mut client, 5), b"early");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(read(&mut client, 18), b"GET / HTTP/1.1\r\n\r\n");
    client.finish();
    assert_eq!(client.end(), End::Fin);
    let request = endpoint.requests().remove(0).head;
    assert_eq!(request.start, "CONNECT db.internal:5432 HTTP/1.1");
    assert_eq!(request.all("host"), ["db.internal:5432"]);
    assert_eq!(
        (request.field("content-length"), request.field("transfer-encoding")),
        (None, None)
    );
    assert_eq!(proxy.connect().get("/").text(), "/");
    assert_eq!(endpoint.opened(), 2);
}

#[test]
fn a_route_without_it_refuses_connect() {
    let endpoint = Endpoint::start(tunnel);
    let proxy = Proxy::in_front_of(&endpoint).with(ROUTE).start();
    for (request, status) in [
        (
            "CONNECT other.internal:5432 HTTP/1.1\r\nHost: other.internal:5432\r\n\r\n",
            405,
        ),
        ("CONNECT db.internal HTTP/1.1\r\nHost: db.internal\r\n\r\n", 400),
        ("CONNECT / HTTP/1.1\r\nHost: db.internal\r\n\r\n", 400),
        (
            "CONNECT http://db.internal:5432/ HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n",
            400,
        ),
        (
            "CONNECT db.internal:5432 HTTP/1.1\r\nHost: other.internal:5432\r\n\r\n",
            400,
        ),
        (
            "CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\nContent-Length: 3\r\n\r\nabc",
            400,
        ),
        (
            "CONNECT user@db.internal:5432 HTTP/1.1\r\nHost: user@db.internal:5432\r\n\r\n",
            400,
        ),
    ] {
        let mut client = proxy.connect();
        client.send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, status, "{request}");
        assert!(response.announces_close(), "{request}");
        assert_eq!(client.end(), End::Fin);
    }
    assert_eq!(endpoint.targets(), Vec::<String>::new());
}

/// What stands behind a CONNECT that the endpoint refuses was meant for the tunnel, and must not be taken for a request.
#[test]
fn a_connect_that_the_endpoint_refuses_ends_the_connection() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    });
    let proxy = Proxy::in_front_of(&endpoint).with(ROUTE).start();
    let mut client = proxy.connect();
    client.send(format!("{CONNECT}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    assert!(response.announces_close());
    assert_eq!(client.end(), End::Fin);
    assert_eq!(endpoint.targets(), ["db.internal:5432"]);
}

#[test]
fn a_switch_is_no_answer_to_connect() {
    let endpoint = Endpoint::saying(super::SWITCH);
    let proxy = Proxy::in_front_of(&endpoint).with(ROUTE).start();
    let mut client = proxy.connect();
    client.send(CONNECT);
    assert_eq!(client.response().status, 502);
}

#[test]
fn without_any_such_route_nothing_of_it_reaches_the_endpoint() {
    let mut scene = Scene::new();
    scene.check_refused(
        &[400, 405],
        &[
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ],
    );
}
