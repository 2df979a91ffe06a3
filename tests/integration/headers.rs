//! Fields on their way through: what is taken away, what is added, and what stays as it was.

use crate::support::{Client, Endpoint, Proxy, wire::Head};

/// What the endpoint sees of a request with these fields, given this config.
fn seen(toml: &str, fields: &str) -> Head {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).with(toml).start();
    let mut client = proxy.connect();
    client.send(format!("GET /x HTTP/1.1\r\nHost: Test.Example:8080\r\n{fields}\r\n"));
    let response = client.response();
    assert_eq!(response.status, 200, "{:?}", response.text());
    endpoint.requests().remove(0).head
}

#[test]
fn hop_by_hop_fields_of_a_request_end_at_the_proxy() {
    let head = seen(
        "",
        "Connection: keep-alive, X-Secret, x-other\r\nX-Secret: 1\r\nX-Other: 2\r\nX-Kept: 3\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: something\r\n",
    );
    for gone in ["x-secret", "x-other", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(head.field(gone), None, "{gone}");
    }
    assert!(
        !head.lists("te", "gzip") && !head.lists("connection", "x-secret"),
        "{head:?}"
    );
    assert_eq!(head.field("x-kept"), Some("3"));
}

#[test]
fn hop_by_hop_fields_of_a_response_end_at_the_proxy() {
    let endpoint = Endpoint::saying(
        "HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
         X-Kept: 2\r\nContent-Length: 1\r\n\r\nx",
    );
    let response = Proxy::in_front_of(&endpoint).start().get("/");
    for gone in ["x-secret", "keep-alive", "proxy-connection"] {
        assert_eq!(response.field(gone), None, "{gone}");
    }
    assert_eq!(response.field("x-kept"), Some("2"));
}

#[test]
fn repeated_fields_stay_apart_and_in_order() {
    let head = seen("", "X-One: b\r\nX-One: a\r\nCookie: a=1\r\n");
    assert_eq!(head.all("x-one"), ["b", "a"]);
    assert_eq!(head.all("cookie"), ["a=1"]);
    let cookies = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n";
    let endpoint = Endpoint::saying(cookies);
    let response = Proxy::in_front_of(&endpoint).start().get("/");
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Odd: \xe9\xff\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let bytes = endpoint.connections().remove(0).bytes;
    assert!(
        bytes.windows(4).any(|window| window == b" \xe9\xff\r"),
        "{:?}",
        String::from_utf8_lossy(&bytes)
    );
}

#[test]
fn the_endpoint_is_told_who_asks_and_how() {
    let head = seen("", "");
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["Test.Example:8080"]);
    assert_eq!((head.field("forwarded"), head.field("via")), (None, None));
}

const FORGED: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: forged.example\r\n\
    Forwarded: for=192.0.2.7\r\nX-Forwarded-Port: 99\r\n";

#[test]
fn what_a_stranger_says_of_itself_is_dropped() {
    let head = seen("", FORGED);
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["Test.Example:8080"]);
    assert_eq!(head.all("forwarded"), [""; 0]);
    assert_eq!(head.all("x-forwarded-port"), [""; 0]);
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_extended() {
    let head = seen("[forwarding]\ntrusted_proxies = [\"127.0.0.0/8\"]", FORGED);
    assert_eq!(head.all("x-forwarded-for").join(", "), "192.0.2.7, 127.0.0.1");
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(head.all("x-forwarded-host"), ["forged.example"]);
}

#[test]
fn trust_is_a_matter_of_the_address() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[forwarding]\ntrusted_proxies = [\"127.0.0.9\"]")
        .start();
    for source in ["127.0.0.8", "127.0.0.9"] {
        let mut client = Client::connect_from(source, proxy.address());
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{FORGED}\r\n"));
        assert_eq!(client.response().status, 200);
    }
    let told: Vec<String> = endpoint
        .requests()
        .iter()
        .map(|request| request.head.all("x-forwarded-for").join(", "))
        .collect();
    assert_eq!(told, ["127.0.0.8", "192.0.2.7, 127.0.0.9"]);
}

#[test]
fn the_forwarded_fields_can_be_left_out() {
    let head = seen("[forwarding]\nx_forwarded = false", FORGED);
    assert!(
        head.fields
            .iter()
            .all(|(name, _)| !name.to_lowercase().starts_with("x-forwarded")),
        "{head:?}"
    );
}

#[test]
fn the_standard_forwarded_field_is_there_on_demand() {
    let head = seen("[forwarding]\nforwarded = true", FORGED);
    let [forwarded] = head.all("forwarded")[..] else {
        panic!("one field: {head:?}")
    };
    let mut parts: Vec<&str> = forwarded.split(';').collect();
    parts.sort_unstable();
    assert_eq!(parts, ["for=127.0.0.1", "host=\"Test.Example:8080\"", "proto=http"]);
}

#[test]
fn via_names_the_proxy_in_both_directions_on_demand() {
    let endpoint = Endpoint::saying("HTTP/1.1 200 OK\r\nVia: 1.0 other\r\nContent-Length: 0\r\n\r\n");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[forwarding]\nvia = \"here\"")
        .start();
    let response = proxy.get("/");
    assert_eq!(response.head.all("via").join(", "), "1.0 other, 1.1 here");
    assert_eq!(endpoint.requests()[0].head.all("via"), ["1.1 here"]);
}

#[test]
fn what_others_say_in_via_is_kept_without_our_own() {
    assert_eq!(seen("", "Via: 1.0 before\r\n").all("via"), ["1.0 before"]);
    assert_eq!(
        seen("[forwarding]\nvia = \"here\"", "Via: 1.0 before\r\n")
            .all("via")
            .join(", "),
        "1.0 before, 1.1 here"
    );
}

#[test]
fn the_host_is_kept_unless_the_route_says_otherwise() {
    assert_eq!(seen("", "").all("host"), ["Test.Example:8080"]);
    let endpoint = Endpoint::answering("x");
    let routes = "[[route]]\npath = \"/endpoint\"\ncluster = \"main\"\nhost_header = \"endpoint\"\n\
                  [[route]]\npath = \"/fixed\"\ncluster = \"main\"\nhost_header = \"api.example\"\n";
    let proxy = Proxy::in_front_of(&endpoint).with(routes).start();
    proxy.get("/endpoint");
    proxy.get("/fixed");
    let hosts: Vec<String> = endpoint
        .requests()
        .iter()
        .map(|request| request.head.all("host").join("|"))
        .collect();
    assert_eq!(hosts, [endpoint.address().to_string(), "api.example".to_owned()]);
}

#[test]
fn a_route_edits_requests_and_responses() {
    let endpoint = Endpoint::saying("HTTP/1.1 200 OK\r\nX-Old: 1\r\nX-Set: 1\r\nX-Add: 1\r\nContent-Length: 0\r\n\r\n");
    let edits = "{ remove = [\"x-old\"], set = { x-set = \"2\" }, add = { x-add = [\"2\", \"3\"] } }";
    let route = format!(
        "[[route]]\npath = \"/edit\"\ncluster = \"main\"\nrequest_headers = {edits}\nresponse_headers = {edits}\n"
    );
    let proxy = Proxy::in_front_of(&endpoint).with(&route).start();
    let mut client = proxy.connect();
    client.send("GET /edit HTTP/1.1\r\nHost: a\r\nX-Old: 1\r\nX-Set: 1\r\nX-Add: 1\r\n\r\n");
    let response = client.response();
    for head in [&response.head, &endpoint.requests()[0].head] {
        assert_eq!(head.field("x-old"), None);
        assert_eq!(head.all("x-set"), ["2"]);
        assert_eq!(head.all("x-add"), ["1", "2", "3"]);
    }
}
