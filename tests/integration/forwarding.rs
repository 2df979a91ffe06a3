//! A request reaches the endpoint and its response the client, whole and unchanged.

use crate::support::{Client, Endpoint, Proxy, chunk, pattern, tools};

const MEBIBYTE: usize = 1 << 20;

#[test]
fn every_method_reaches_the_endpoint() {
    let endpoint = Endpoint::start(|exchange| {
        let method = exchange.head.method().to_owned();
        exchange.respond(method);
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "X-OWN"] {
        client.send(format!(
            "{method} /x HTTP/1.1\r\nHost: test.example\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!(client.response().text(), method);
    }
}

#[test]
fn the_status_the_reason_and_the_fields_of_the_response_arrive() {
    let endpoint =
        Endpoint::saying("HTTP/1.1 418 Short And Stout\r\nX-One: 1\r\nX-One: 2\r\nContent-Length: 3\r\n\r\ntea");
    let response = Proxy::in_front_of(&endpoint).start().get("/");
    assert_eq!((response.status, response.text().as_str()), (418, "tea"));
    assert_eq!(response.head.all("x-one"), ["1", "2"]);
}

#[test]
fn a_target_arrives_byte_for_byte() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let targets = [
        "/a%20b?q=%41&r=~",
        "/?",
        "/a//b",
        "/ä".replace('ä', "%C3%A4").leak(),
        "/a?b=/../c",
        "/*?x=*",
    ];
    for target in targets {
        assert_eq!(proxy.get(target).status, 200, "{target}");
    }
    assert_eq!(endpoint.targets(), targets);
}

#[test]
fn eight_mebibytes_with_a_length_arrive_in_both_directions() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint).start();
    let body = pattern(8 * MEBIBYTE);
    let response = proxy.connect().post("/", &body);
    assert_eq!(response.field("content-length"), Some("8388608"));
    assert!(response.body == body, "the echo differs");
    assert!(endpoint.requests()[0].body == body, "the endpoint got something else");
}

#[test]
fn eight_mebibytes_in_chunks_arrive_in_both_directions() {
    let endpoint = Endpoint::start(|exchange| {
        let body = exchange.body();
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(70_001) {
            exchange.send(&chunk(piece));
        }
        exchange.send(b"0\r\n\r\n");
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let body = pattern(8 * MEBIBYTE);
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(33_333) {
        client.send(chunk(piece));
    }
    client.send("0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.cut, None);
    assert!(response.body == body, "the echo differs");
    assert!(endpoint.requests()[0].body == body, "the endpoint got something else");
    assert_eq!(endpoint.requests()[0].head.field("content-length"), None);
}

#[test]
fn every_listener_leads_to_the_same_routes() {
    let endpoint = Endpoint::answering("x");
    let second = "[[listener]]\nname = \"second\"\naddress = \"127.0.0.2:0\"";
    let proxy = Proxy::in_front_of(&endpoint).with(second).start();
    for name in ["public", "second"] {
        assert_eq!(Client::connect(proxy.listener(name)).get("/").status, 200, "{name}");
    }
}

#[test]
fn a_request_without_a_body_gets_no_framing() {
    let endpoint = Endpoint::answering("x");
    Proxy::in_front_of(&endpoint).start().get("/");
    let head = &endpoint.requests()[0].head;
    assert_eq!(
        (head.field("content-length"), head.field("transfer-encoding")),
        (None, None)
    );
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let endpoint = Endpoint::start(|exchange| match exchange.target() {
        "/204" => exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => exchange.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        "/205" => exchange.send(b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        _ if exchange.head.method() == "HEAD" => exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        _ => exchange.respond("last"),
    });
    let proxy = Proxy::in_front_of(&endpoint).workers(1).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/304").status, 304);
    assert_eq!(client.get("/205").status, 205);
    client.send("HEAD / HTTP/1.1\r\nHost: test.example\r\n\r\n");
    assert_eq!(client.response_to_head().field("content-length"), Some("5"));
    assert_eq!(client.get("/").text(), "last");
    assert_eq!(endpoint.opened(), 1, "each of them left the upstream connection usable");
}

#[test]
fn a_client_of_http_1_0_gets_its_response_and_the_end_of_the_connection() {
    let endpoint = Endpoint::answering("hello");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: test.example\r\n\r\n");
    assert_eq!(client.response().text(), "hello");
    client.end();
    assert!(
        endpoint.requests()[0].head.start.ends_with(" HTTP/1.1"),
        "upstream it is always HTTP/1.1"
    );
}

#[test]
fn a_client_of_http_1_0_is_never_sent_chunks() {
    let endpoint = Endpoint::saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: test.example\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(response.text(), "hello");
}

#[test]
fn a_client_of_http_1_0_may_ask_to_stay() {
    let endpoint = Endpoint::answering("hello");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nHost: test.example\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.response().text(), "hello");
    }
}

#[test]
fn trailers_of_a_request_reach_the_endpoint() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let request = &endpoint.requests()[0];
    assert_eq!(request.body, b"hello");
    let trailers: Vec<_> = request
        .trailers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    assert_eq!(trailers, [("x-sum".to_owned(), "42")]);
    assert_eq!(
        request.head.field("x-sum"),
        None,
        "a trailer is never merged into the head"
    );
}

#[test]
fn trailers_of_a_response_reach_the_client() {
    let endpoint = Endpoint::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test.example\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "hello");
    assert_eq!(
        response
            .trailers
            .iter()
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>(),
        ["42"]
    );
}

#[test]
fn many_requests_on_one_connection_are_answered_in_their_order() {
    let endpoint = Endpoint::start(|exchange| {
        let target = exchange.target().to_owned();
        exchange.respond(target);
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    let request = |number| format!("GET /{number} HTTP/1.1\r\nHost: test.example\r\n\r\n");
    client.send((0..50).map(request).collect::<String>());
    for number in 0..50 {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

#[test]
fn listeners_and_endpoints_may_have_addresses_of_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        tools::note_skipped("there is no IPv6 on loopback");
        return;
    }
    let endpoint = Endpoint::start_on("[::1]:0", |exchange| exchange.respond("six"));
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[[listener]]\nname = \"six\"\naddress = \"[::1]:0\"")
        .start();
    assert_eq!(Client::connect(proxy.listener("six")).get("/").text(), "six");
    assert_eq!(endpoint.requests()[0].head.field("x-forwarded-for"), Some("::1"));
}

#[test]
fn an_endpoint_may_have_a_name() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::start(&format!(
        "[admin]\naddress = \"off\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\ncluster = \"main\"\n\
         [cluster.main]\nendpoints = [\"localhost:{}\"]\n",
        endpoint.address().port(),
    ));
    assert_eq!(proxy.get("/").text(), "x");
}
