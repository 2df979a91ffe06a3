//! Endpoints whose handshake does not come to its end.

use super::{Trust, echo_target};
use crate::support::{
    Endpoint, Gate, Proxy,
    authority::{Authority, Request},
    tls_session::EndpointTls,
};

#[test]
fn a_slow_handshake_is_a_slow_connect() {
    let trust = Trust::of(&[]);
    let gate = Gate::default();
    let slow = Endpoint::start_tls(&EndpointTls::new(&trust.certificate).late_hello(&gate), echo_target);
    let impatient = "[cluster.main.timeouts]\nconnect = \"300ms\"\n[cluster.main.retry]\nconnect_attempts = 0\n";
    let proxy = trust.in_front_of(&slow).with(impatient).start();
    let response = proxy.connect().post("/", "x");
    assert_eq!((response.status, response.error()), (504, "connection_timeout"));
    assert_eq!(
        proxy.metric("forebay_proxy_failures_total", &["reason=\"connect-timeout\""]),
        1.0
    );
    assert_eq!(
        proxy.metric("forebay_upstream_tls_handshakes_total", &["kind=\"failed\""]),
        1.0
    );
    proxy.wait_for_log("did not finish the TLS handshake in time");
    gate.open();
}

#[test]
fn the_next_endpoint_gets_what_one_without_a_handshake_could_not() {
    let trust = Trust::of(&[]);
    let gate = Gate::default();
    let stranger = Authority::new("Unknown").issue(Request::of(&[]).ip("127.0.0.1"));
    let plain = Endpoint::start(|exchange| exchange.respond("plain"));
    for unfit in [
        Endpoint::start_tls(&EndpointTls::new(&trust.certificate).late_hello(&gate), echo_target),
        Endpoint::start_tls(&EndpointTls::new(&stranger), echo_target),
        plain,
    ] {
        let fit = trust.endpoint(echo_target);
        let impatient = "[cluster.main.timeouts]\nconnect = \"1s\"\n";
        let addresses = [unfit.address(), fit.address()];
        let section = trust.section();
        let proxy = Proxy::to(&addresses)
            .with("balance = \"round-robin\"")
            .with(&section)
            .with(impatient)
            .with("[cluster.main.pool]\nmax_idle = 0")
            .start();
        let mut client = proxy.connect();
        for number in 0..4 {
            let target = format!("/{number}");
            assert_eq!(client.post(&target, "x").text(), target);
        }
        assert_eq!((unfit.requests().len(), fit.requests().len()), (0, 4));
        assert!(unfit.opened() > 0, "it was never tried");
    }
    gate.open();
}

#[test]
fn what_is_wrong_is_said_with_its_causes_and_not_too_often() {
    let trust = Trust::of(&[]);
    let stranger = Authority::new("Unknown").issue(Request::of(&[]).ip("127.0.0.1"));
    let endpoint = Endpoint::start_tls(&EndpointTls::new(&stranger), echo_target);
    let proxy = trust.in_front_of(&endpoint).start();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").status, 502);
    }
    proxy.wait_for_log("the endpoint's certificate is not accepted: invalid peer certificate: UnknownIssuer");
    let said = proxy.log().iter().filter(|line| line.contains("UnknownIssuer")).count();
    assert_eq!(said, 1);
    assert!(
        proxy
            .log()
            .iter()
            .any(|line| line.contains(&endpoint.address().to_string()))
    );
}

#[test]
fn keys_never_stand_in_the_log() {
    let trust = Trust::of(&[]);
    let clients = Authority::new("The clients' authority");
    let own = clients.issue(Request::of(&["proxy.example"]));
    let endpoint = trust.endpoint(echo_target);
    let section = format!("certificate = {}\n[log]\nlevel = \"trace\"\n", own.toml());
    let proxy = trust.in_front_of(&endpoint).with(&section).start();
    assert_eq!(proxy.connect().post("/", "the body of a request").status, 200);
    let stranger = trust
        .in_front_of(&Endpoint::start(|exchange| exchange.respond("plain")))
        .start();
    assert_eq!(stranger.get("/").status, 502);
    let said = proxy.log().join("\n");
    let key = std::fs::read_to_string(own.key()).expect("it is there");
    let secrets = key
        .lines()
        .filter(|line| !line.starts_with("--"))
        .chain(["the body of a request"]);
    secrets.for_each(|secret| assert!(!said.contains(secret), "{said}"));
}

#[test]
fn probes_and_connections_ahead_of_need_speak_tls_too() {
    let trust = Trust::of(&[]);
    let endpoint = trust.endpoint(echo_target);
    let health = "[cluster.main.health]\nprobe = { path = \"/healthz\", interval = \"50ms\" }\n";
    let ready = "[cluster.main.pool]\nmin_idle = 2\nidle_timeout = \"1m\"\n";
    let proxy = trust.in_front_of(&endpoint).with(health).with(ready).start();
    proxy.wait_for_metric("forebay_health_probes_succeeded_total", &[], |count| count > 3.0);
    proxy.wait_for_metric("forebay_pool_connections", &["state=\"idle\""], |count| count == 2.0);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(
        proxy.metric("forebay_pool_opened_total", &["reason=\"none-idle\""]),
        0.0
    );
    assert_eq!(proxy.metric("forebay_health_probes_failed_total", &[]), 0.0);

    let stranger = Authority::new("Unknown").issue(Request::of(&[]).ip("127.0.0.1"));
    let endpoint = Endpoint::start_tls(&EndpointTls::new(&stranger), echo_target);
    let proxy = trust.in_front_of(&endpoint).with(health).start();
    proxy.wait_for_metric("forebay_health_healthy", &[], |healthy| healthy == 0.0);
    assert_eq!(endpoint.requests().len(), 0);
}
