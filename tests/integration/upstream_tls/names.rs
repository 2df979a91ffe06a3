//! Which server the proxy asks for.

use super::{Trust, echo_target};
use crate::support::Endpoint;

fn names(endpoint: &Endpoint) -> Vec<Option<String>> {
    let connections = endpoint.connections();
    let seen = connections
        .iter()
        .filter_map(|connection| connection.handshake.as_ref());
    seen.map(|handshake| handshake.server_name.clone()).collect()
}

#[test]
fn the_endpoints_own_name_is_asked_for_unless_it_is_an_address() {
    let trust = Trust::of(&["localhost"]);
    let endpoint = trust.endpoint(echo_target);
    let port = endpoint.address().port();
    let named = format!(
        "[[route]]\npath = \"/named\"\ncluster = \"named\"\n[cluster.named]\nendpoints = [\"localhost:{port}\"]\n\
         tls = {{ roots = {:?} }}\n",
        trust.authority.chain()
    );
    let proxy = trust.in_front_of(&endpoint).with(&named).start();
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.get("/named").status, 200);
    assert_eq!(names(&endpoint), [None, Some("localhost".to_owned())]);
}

#[test]
fn a_fixed_name_is_asked_for_and_has_to_be_in_the_certificate() {
    let trust = Trust::of(&["api.example"]);
    for (name, status) in [("api.example", 200), ("other.example", 502)] {
        let endpoint = trust.endpoint(echo_target);
        let proxy = trust
            .in_front_of(&endpoint)
            .with(&format!("server_name = {name:?}"))
            .start();
        assert_eq!(proxy.get("/").status, status);
        if status == 200 {
            assert_eq!(names(&endpoint), [Some(name.to_owned())]);
        }
    }
}

#[test]
fn the_name_of_the_request_is_asked_for_and_connections_serve_no_other() {
    let trust = Trust::of(&["a.example", "*.b.example"]);
    let endpoint = trust.endpoint(echo_target);
    let proxy = trust
        .in_front_of(&endpoint)
        .with("server_name = \"request\"")
        .workers(1)
        .start();
    let mut client = proxy.connect();
    let mut ask = |host: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.response().status
    };
    let hosts = [
        "a.example",
        "x.b.example",
        "A.Example:8443",
        "x.b.example.",
        "127.0.0.1",
        "a.example",
    ];
    assert_eq!(hosts.map(&mut ask), [200; 6]);
    let expected = [Some("a.example".to_owned()), Some("x.b.example".to_owned()), None];
    assert_eq!(names(&endpoint), expected);
    assert_eq!(ask("c.example"), 502, "the certificate does not hold it");
    let opened = |reason: &str| proxy.metric("forebay_pool_opened_total", &[&format!("reason=\"{reason}\"")]);
    assert_eq!((opened("none-idle"), opened("identity-differs")), (1.0, 2.0));
}

#[test]
fn a_host_that_no_server_can_have_is_misdirected() {
    let trust = Trust::of(&["a.example"]);
    let endpoint = trust.endpoint(echo_target);
    let proxy = trust.in_front_of(&endpoint).with("server_name = \"request\"").start();
    for host in ["-a.example", "1.2.3", &"a".repeat(64)] {
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().status, 421, "{host:?}");
    }
    assert_eq!(endpoint.opened(), 0);
    let failures = |reason: &str| proxy.metric("forebay_proxy_failures_total", &[&format!("reason=\"{reason}\"")]);
    assert_eq!(failures("misdirected"), 3.0);
}
