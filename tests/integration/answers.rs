//! Every answer that the proxy makes itself says why: in plain words, and in `Proxy-Status` (RFC 9209).

use std::net::SocketAddr;

use crate::support::{
    Client, Endpoint, Gate, Proxy, Response,
    unreachable::{Refusing, Silent},
};

/// Checks an answer of the proxy's own and that its text has one of these words.
fn check(response: &Response, status: u16, errors: &[&str], words: &[&str]) {
    let text = response.text().to_lowercase();
    assert_eq!(response.status, status, "{text:?}");
    assert!(
        errors.contains(&response.error()),
        "{:?}",
        response.field("proxy-status")
    );
    assert!(words.iter().any(|word| text.contains(word)), "{text:?}");
    assert!(
        response
            .field("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain")),
        "{:?}",
        response.head
    );
}

fn proxy_to(address: SocketAddr, toml: &str) -> Proxy {
    Proxy::to(&[address]).with(toml).start()
}

#[test]
fn no_route() {
    let proxy = Proxy::start(
        "[admin]\naddress = \"off\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\nhost = \"x.example\"\nrespond = {}\n",
    );
    check(
        &proxy.get("/"),
        404,
        &["destination_not_found", "http_request_denied"],
        &["route"],
    );
}

#[test]
fn connection_refused() {
    let refusing = Refusing::new();
    check(
        &proxy_to(refusing.address(), "").get("/"),
        502,
        &["connection_refused"],
        &["refused"],
    );
}

#[test]
fn connection_timed_out() {
    let silent = Silent::new();
    let proxy = proxy_to(silent.address(), "[cluster.main.timeouts]\nconnect = \"200ms\"");
    check(&proxy.get("/"), 504, &["connection_timeout"], &["time", "longer"]);
}

#[test]
fn a_name_that_leads_nowhere() {
    let toml = "[admin]\naddress = \"off\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\ncluster = \"main\"\n\
                [cluster.main]\nendpoints = [\"nowhere.invalid:80\"]\n";
    let response = Proxy::start(toml).get("/");
    assert!(matches!(response.status, 502 | 503), "{}", response.status);
    assert!(
        matches!(
            response.error(),
            "dns_error" | "dns_timeout" | "destination_unavailable"
        ),
        "{:?}",
        response.head
    );
}

#[test]
fn the_endpoint_hangs_up_without_a_word() {
    let endpoint = Endpoint::start(|exchange| exchange.close());
    let response = Proxy::in_front_of(&endpoint).start().get("/");
    check(
        &response,
        502,
        &["connection_terminated", "http_response_incomplete"],
        &["clos", "end"],
    );
}

#[test]
fn the_endpoint_hangs_up_in_the_middle_of_its_head() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-");
        exchange.close();
    });
    let response = Proxy::in_front_of(&endpoint).start().get("/");
    check(
        &response,
        502,
        &["http_response_incomplete", "connection_terminated"],
        &["clos", "end", "incomplete"],
    );
}

#[test]
fn the_endpoint_talks_nonsense() {
    let endpoint = Endpoint::saying("nonsense\r\n\r\n");
    let response = Proxy::in_front_of(&endpoint).start().get("/");
    check(
        &response,
        502,
        &["http_protocol_error"],
        &["http", "malformed", "status"],
    );
}

#[test]
fn the_endpoint_says_too_much_before_its_body() {
    let endpoint = Endpoint::saying(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)));
    let response = Proxy::in_front_of(&endpoint).start().get("/");
    let errors = [
        "http_response_header_section_size",
        "http_response_header_size",
        "http_protocol_error",
    ];
    check(&response, 502, &errors, &["large", "long", "bytes", "head"]);
}

#[test]
fn the_endpoint_keeps_silent() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.timeouts]\nfirst_byte = \"200ms\"")
        .start();
    check(
        &proxy.get("/"),
        504,
        &["http_response_timeout", "connection_read_timeout"],
        &["time", "answer", "first byte"],
    );
    endpoint.wait_closed(1);
}

#[test]
fn the_endpoint_falls_silent_in_the_middle() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.timeouts]\nbetween_bytes = \"200ms\"")
        .start();
    let response = proxy.get("/");
    assert!(response.status == 504 || response.cut.is_some(), "{response:?}");
    endpoint.wait_closed(1);
}

#[test]
fn the_whole_request_takes_too_long() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.wait_for_end();
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.timeouts]\nrequest = \"200ms\"")
        .start();
    check(
        &proxy.get("/"),
        504,
        &["http_response_timeout", "connection_read_timeout"],
        &["time", "longer"],
    );
    endpoint.wait_closed(1);
}

#[test]
fn the_pool_is_full() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.respond("x");
        }
    });
    let pool = "[cluster.main.pool]\nmax_connections = 1\nwait = { queue = 0 }";
    let proxy = Proxy::in_front_of(&endpoint).with(pool).start();
    let mut first = proxy.connect();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    endpoint.wait_requests(1);
    let response = proxy.get("/");
    check(&response, 503, &["connection_limit_reached"], &["connection"]);
    gate.open();
    assert_eq!(first.response().status, 200);
}

#[test]
fn a_tunnel_is_not_for_clients() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let response = client.response();
    assert!(matches!(response.status, 405 | 501 | 400), "{}", response.status);
    assert!(!response.text().is_empty());
}

#[test]
fn the_client_asks_in_a_way_that_is_not_forwarded() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n");
    check(&client.response(), 400, &["http_request_error"], &["dot segment"]);
}

#[test]
fn the_client_is_too_slow() {
    let endpoint = Endpoint::echoing();
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[timeouts]\nbody_stall = \"200ms\"")
        .start();
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    check(
        &client.response(),
        408,
        &["http_request_error", "connection_read_timeout"],
        &["slow", "body", "time"],
    );
}

#[test]
fn an_answer_of_the_endpoint_has_no_reason_of_ours() {
    let endpoint = Endpoint::saying("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nown");
    let response = Proxy::in_front_of(&endpoint).start().get("/");
    assert_eq!(
        (response.status, response.text().as_str(), response.error()),
        (502, "own", "")
    );
}

#[test]
fn another_endpoint_is_tried_when_one_refuses() {
    let refusing = Refusing::new();
    let endpoint = Endpoint::answering("alive");
    let proxy = Proxy::to(&[refusing.address(), endpoint.address()]).start();
    for _ in 0..10 {
        assert_eq!(
            proxy.connect().post("/", "even what must not be repeated").text(),
            "alive"
        );
    }
    assert_eq!(endpoint.requests().len(), 10);
}

#[test]
fn a_head_request_gets_the_reason_without_a_body() {
    let refusing = Refusing::new();
    let proxy = proxy_to(refusing.address(), "");
    let mut client: Client = proxy.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.error()), (502, "connection_refused"));
    assert_eq!(client.get("/").status, 502, "the next answer begins where it should");
}
