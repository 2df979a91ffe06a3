//! One authority, whichever way it is said (RFC 9110 7.2, RFC 9113 8.3.1).

use crate::support::{
    h2::{END_STREAM, H2Client, get},
    pairing::{Ask, Length, Protocol, on_each},
};

#[test]
fn host_and_authority_are_one() {
    on_each(|pairing| {
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let proxy = pairing.proxy(&service);
        let mut ask = Ask::get("/");
        for authority in [
            "shop.example",
            "shop.example:8443",
            "127.0.0.1",
            "[::1]:80",
            "XN--nxasmq6b.example",
        ] {
            ask.authority = authority.to_owned();
            assert_eq!(pairing.call(&proxy, &ask, b"").status, 200, "{authority}");
            assert_eq!(service.last().authority.as_deref(), Some(authority));
            assert!(!service.last().fields.has("host"));
        }
    });
}

#[test]
fn a_second_host_must_be_the_same() {
    on_each(|pairing| {
        if pairing.client == Protocol::Http1 {
            return;
        }
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let proxy = pairing.proxy(&service);
        let same = Ask::get("/").with("host", "test.example");
        assert_eq!(pairing.call(&proxy, &same, b"").status, 200);
        assert_eq!(service.last().authority.as_deref(), Some("test.example"));
        assert!(!service.last().fields.has("host"));
        let other = Ask::get("/").with("host", "other.example");
        assert_eq!(pairing.call(&proxy, &other, b"").status, 400);
        let twice = Ask::get("/").with("host", "test.example").with("host", "test.example");
        assert_eq!(pairing.call(&proxy, &twice, b"").status, 400);
        assert_eq!(service.seen().len(), 1);
    });
}

#[test]
fn host_alone_does_over_http_2() {
    on_each(|pairing| {
        if pairing.client == Protocol::Http1 {
            return;
        }
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let proxy = pairing.proxy(&service);
        let mut client = H2Client::connect(proxy.address());
        let [method, scheme, _, path] = get("/");
        let stream = client.open(&[method, scheme, path, ("host", "alone.example")], END_STREAM);
        assert_eq!(client.answer(stream).status, 200);
        assert_eq!(service.last().authority.as_deref(), Some("alone.example"));
        let stream = client.open(&[method, scheme, path], END_STREAM);
        assert_eq!(client.answer(stream).status, 400);
        assert_eq!(service.seen().len(), 1);
    });
}

#[test]
fn a_host_that_is_none_is_refused() {
    on_each(|pairing| {
        if pairing.client == Protocol::Http2 {
            return;
        }
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let proxy = pairing.proxy(&service);
        for line in [
            "",
            "Host:\r\n",
            "Host: a b\r\n",
            "Host: user@a.example\r\n",
            "Host: a.example:99999\r\n",
            "Host: a.example, b.example\r\n",
            "Host: a.example\r\nHost: a.example\r\n",
            "Host: a.example/\r\n",
        ] {
            let mut client = proxy.connect();
            client.send(format!("GET / HTTP/1.1\r\n{line}\r\n"));
            assert_eq!(client.response().status, 400, "{line:?}");
        }
        let mut client = proxy.connect();
        client.send("GET http://a.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n");
        assert_eq!(client.response().status, 400);
        assert!(service.seen().is_empty());
        let mut client = proxy.connect();
        client.send("GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(client.response().status, 200);
        assert_eq!(service.last().target, "/x?y");
        assert_eq!(service.last().authority.as_deref(), Some("a.example"));
    });
}

#[test]
fn the_host_may_be_the_endpoints_or_a_fixed_one() {
    on_each(|pairing| {
        let service = pairing.service(|call| call.respond(200, &[], ""));
        let toml = |host: &str| {
            let protocol = match pairing.endpoint {
                Protocol::Http1 => "http1",
                Protocol::Http2 => "http2",
            };
            format!(
                "[process]\nworkers = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[[listener]]\nname = \"public\"\n\
                 address = \"127.0.0.1:0\"\n[[route]]\ncluster = \"main\"\nhost_header = \"{host}\"\n\
                 [cluster.main]\nendpoints = [\"{}\"]\nprotocol = \"{protocol}\"\n",
                service.address()
            )
        };
        for (host, expected) in [
            ("fixed.example", "fixed.example".to_owned()),
            ("endpoint", service.address().to_string()),
        ] {
            let proxy = crate::support::Proxy::start(&toml(host));
            assert_eq!(pairing.call(&proxy, &Ask::post("/", Length::None), b"").status, 200);
            assert_eq!(service.last().authority, Some(expected));
        }
    });
}
