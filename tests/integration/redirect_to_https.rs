//! A listener that only sends its clients on to TLS.

use crate::support::{Client, Endpoint, Proxy, h2::H2Client};

fn proxy(endpoint: &Endpoint) -> Proxy {
    let listener = |name: &str, port: u16| {
        format!("[[listener]]\nname = {name:?}\naddress = \"127.0.0.1:0\"\nredirect_to_https = {port}\n")
    };
    Proxy::in_front_of(endpoint)
        .with(&listener("default", 443))
        .with(&listener("other", 8443))
        .with("[[route]]\npath = \"/own\"\nrespond = { body = \"own\" }")
        .start()
}

#[test]
fn every_request_is_sent_on_to_the_same_place() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    let to = |listener: &str, request: &str| {
        let mut client = Client::connect(proxy.listener(listener));
        client.send(request);
        let answer = client.response();
        (answer.status, answer.field("location").unwrap_or_default().to_owned())
    };
    let get = |host: &str, target: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (listener, host, target, expected) in [
        ("default", "a.example", "/", "https://a.example/"),
        (
            "default",
            "a.example:8080",
            "/a%20b/?c=d&e=%2F",
            "https://a.example/a%20b/?c=d&e=%2F",
        ),
        ("default", "[::1]:80", "/own", "https://[::1]/own"),
        ("other", "a.example", "/?", "https://a.example:8443/?"),
        ("other", "192.0.2.1:80", "/", "https://192.0.2.1:8443/"),
        (
            "other",
            "a.example",
            "http://a.example/x?y",
            "https://a.example:8443/x?y",
        ),
        (
            "other",
            "a.example",
            "//evil.example/",
            "https://a.example:8443//evil.example/",
        ),
    ] {
        assert_eq!(
            to(listener, &get(host, target)),
            (308, expected.to_owned()),
            "{host} {target}"
        );
    }
    let post = "POST /form HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\na=b";
    assert_eq!(to("default", post), (308, "https://a.example/form".to_owned()));
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn a_request_that_names_no_host_cannot_be_sent_on() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example/\r\n\r\n",
        "GET /../x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        let mut client = Client::connect(proxy.listener("default"));
        client.send(request);
        let answer = client.response();
        assert_eq!((answer.status, answer.field("location")), (400, None), "{request:?}");
    }
    let mut client = Client::connect(proxy.listener("default"));
    client.send("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.response().status, 308);
}

#[test]
fn a_tunnel_is_not_sent_on_whatever_routes_allow() {
    let endpoint = Endpoint::answering("x");
    let redirects = "[[listener]]\nname = \"default\"\naddress = \"127.0.0.1:0\"\nredirect_to_https = 443\n";
    let route = "[[route]]\nhost = \"a.example\"\ncluster = \"main\"\nconnect = true\n";
    let proxy = Proxy::in_front_of(&endpoint).with(redirects).with(route).start();
    let answer = |request: &str| {
        let mut client = Client::connect(proxy.listener("default"));
        client.send(request);
        client.response().status
    };
    assert_eq!(
        answer("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"),
        405
    );
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(
        answer(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{upgrade}\r\n")),
        308
    );
    assert_eq!(endpoint.opened(), 0);
}

#[test]
fn a_kept_connection_is_sent_on_each_time_and_http_2_too() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint);
    let mut client = Client::connect(proxy.listener("default"));
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 308);
    }
    let mut streams = H2Client::connect(proxy.listener("default"));
    let answer = streams.get("/");
    assert_eq!(String::from_utf8_lossy(&answer.body), "see https://test.example/\n");
    assert_eq!(endpoint.requests().len(), 0);
    assert_eq!(proxy.metric("forebay_proxy_responses_total", &["class=\"3xx\""]), 4.0);
}

#[test]
fn a_proxy_that_only_redirects_needs_no_route() {
    let proxy =
        Proxy::start("[admin]\naddress = \"off\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nredirect_to_https = 443\n");
    assert_eq!(proxy.get("/").status, 308);
}
