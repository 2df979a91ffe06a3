//! How a tunnel ends: each end travels as what it was, and has its word.

use super::{SWITCH, UPGRADE, echo, open, read};
use crate::support::{End, Endpoint, Gate, Proxy, eventually, pattern, sockets};

fn wait_for_end(proxy: &Proxy, reason: &str) {
    let label = format!("reason=\"{reason}\"");
    proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &[&label], |ended| ended == 1.0);
    assert_eq!(proxy.metric("forebay_proxy_tunnels", &[]), 0.0);
}

#[test]
fn the_client_ends_its_half_and_hears_the_other_out() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(SWITCH);
        let (bytes, end) = exchange.read_to_end();
        assert_eq!(end, End::Fin);
        exchange.send(&bytes);
        exchange.send(b", and more");
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = open(&proxy);
    client.send("hello");
    client.finish();
    assert_eq!(client.read_to_end(), (b"hello, and more".to_vec(), End::Fin));
    wait_for_end(&proxy, "client-closed");
}

#[test]
fn the_endpoint_ends_its_half_and_hears_the_other_out() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(SWITCH);
        exchange.send(b"bye");
        exchange.finish();
        exchange.read_to_end();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = open(&proxy);
    assert_eq!(client.read_to_end(), (b"bye".to_vec(), End::Fin));
    client.send("one last thing");
    client.finish();
    let connections = endpoint.wait_closed(1);
    assert_eq!(connections[0].end, Some(End::Fin));
    assert!(connections[0].bytes.ends_with(b"one last thing"));
    wait_for_end(&proxy, "endpoint-closed");
}

#[test]
fn a_reset_of_the_client_reaches_the_endpoint() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint).start();
    let client = open(&proxy);
    client.reset();
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Reset));
    wait_for_end(&proxy, "client-reset");
}

#[test]
fn a_reset_of_the_endpoint_reaches_the_client() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(SWITCH);
        exchange.read_some();
        exchange.reset();
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = open(&proxy);
    client.send("go");
    assert_eq!(client.end(), End::Reset);
    wait_for_end(&proxy, "endpoint-reset");
    proxy.wait_for_metric(
        "forebay_pool_closed_total",
        &["reason=\"tunnel\"", "endpoint-rst"],
        |count| count == 1.0,
    );
}

/// An endpoint that closes for good while the client still sends answers that with a reset, which must not take what the
/// client has not read yet.
#[test]
fn what_the_endpoint_said_last_is_not_lost() {
    let last = pattern(300_000);
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let (last, gate) = (last.clone(), gate.clone());
        move |exchange| {
            exchange.send(SWITCH);
            exchange.send(&last);
            exchange.read_some();
            gate.wait();
            exchange.close();
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = open(&proxy);
    client.send("read");
    gate.open();
    // Not all of it fits into the client's buffer, and the end is behind it.
    eventually("the end is on its way to the client", || {
        sockets::count(sockets::FIN_WAIT1, client.local_address()) == 1
    });
    eventually("the endpoint refuses to take more", || {
        client.send("more");
        proxy.metric("forebay_proxy_tunnels", &[]) == 0.0
    });
    wait_for_end(&proxy, "endpoint-closed");
    assert!(client.read_to_end().0 == last);
}

#[test]
fn a_tunnel_in_which_nothing_happens_is_ended() {
    let endpoint = Endpoint::start(echo);
    let timeouts = "[cluster.main.timeouts]\ntunnel_idle = \"300ms\"";
    let proxy = Proxy::in_front_of(&endpoint).with(timeouts).start();
    let mut client = open(&proxy);
    client.send("hello");
    assert_eq!(client.read_to_end(), (b"hello".to_vec(), End::Fin));
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Fin));
    wait_for_end(&proxy, "idle-timeout");
}

/// Both timeouts of a client are shorter than the tunnel's life, and only one side speaks.
#[test]
fn life_in_one_direction_is_life_and_no_other_timeout_counts() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.send(SWITCH);
            let mut client = Vec::new();
            while client.len() < 20 {
                client.extend(exchange.read_some().expect("the client goes on"));
            }
            gate.wait();
            exchange.send(b"done");
        }
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .listener("keep_alive = { idle_timeout = \"100ms\", max_age = \"100ms\" }")
        .listener("timeouts = { header_read = \"100ms\", body_stall = \"100ms\", write_stall = \"100ms\" }")
        .with(
            "[cluster.main.timeouts]\nfirst_byte = \"100ms\"\nbetween_bytes = \"100ms\"\nrequest = \"100ms\"\n\
             tunnel_idle = \"600ms\"",
        )
        .start();
    let mut client = open(&proxy);
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        std::thread::park_timeout(std::time::Duration::from_millis(60));
        client.send("x");
    }
    assert!(begin.elapsed() > std::time::Duration::from_millis(700));
    gate.open();
    assert_eq!(read(&mut client, 4), b"done");
}

#[test]
fn a_client_that_leaves_before_the_switch_takes_the_request_with_it() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            gate.wait();
            exchange.send(SWITCH);
            exchange.wait_for_end();
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    client.send(UPGRADE);
    endpoint.wait_requests(1);
    client.reset();
    gate.open();
    endpoint.wait_closed(1);
    eventually("nothing is left", || {
        proxy.metric("forebay_proxy_tunnels", &[]) == 0.0
            && proxy.metric("forebay_downstream_connections", &["public"]) == 0.0
    });
}
