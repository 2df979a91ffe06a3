//! What happens around a tunnel: reloads, drains, limits, and the line in the log.

use std::{fs, time::Duration};

use super::{UPGRADE, echo, open, read};
use crate::support::{Client, End, Endpoint, Proxy, eventually};

const TO_FILE: &str = "[access_log]\noutput = \"access.log\"\n";

fn speaks(client: &mut Client) {
    client.send("still there?");
    assert_eq!(read(client, 12), b"still there?");
}

fn records(proxy: &Proxy, count: usize) -> Vec<serde_json::Value> {
    let file = proxy.directory().join("access.log");
    let lines = || fs::read_to_string(&file).unwrap_or_default();
    eventually("the lines are written", || lines().lines().count() >= count);
    let parse = |line| serde_json::from_str(line).expect("a line is JSON");
    lines().lines().map(parse).collect()
}

#[test]
fn a_tunnel_outlives_reloads_even_those_that_remove_its_route() {
    let endpoint = Endpoint::start(echo);
    let setup = Proxy::in_front_of(&endpoint).process("watch = false");
    let more = setup.toml() + "[[route]]\npath = \"/more\"\nrespond = { body = \"more\" }\n";
    let less = more.replace("[[route]]\ncluster = \"main\"\n", "").replace(
        "[cluster.main]",
        "[[route]]\npath = \"/x\"\ncluster = \"other\"\n[cluster.other]",
    );
    let proxy = setup.start();
    let mut client = open(&proxy);
    speaks(&mut client);
    proxy.reload(&more);
    assert_eq!(proxy.get("/more").text(), "more");
    speaks(&mut client);
    proxy.reload(&less);
    assert_eq!(proxy.get("/").status, 404);
    speaks(&mut client);
    assert_eq!(proxy.metric("forebay_proxy_tunnels", &[]), 1.0);
    client.finish();
    assert_eq!(client.end(), End::Fin);
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Fin));
}

#[test]
fn the_log_tells_of_a_tunnel_at_its_end() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint).with(TO_FILE).start();
    let mut client = open(&proxy);
    speaks(&mut client);
    assert!(
        fs::read_to_string(proxy.directory().join("access.log"))
            .unwrap_or_default()
            .is_empty()
    );
    client.finish();
    client.end();
    let record = records(&proxy, 1).remove(0);
    let expected = [
        ("status", 101.into()),
        ("bytes", 12.into()),
        ("bytes_up", 12.into()),
        ("reason", "client-closed".into()),
        ("path", "/chat".into()),
        ("route", "*/".into()),
        ("cluster", "main".into()),
        ("endpoint", endpoint.address().to_string().into()),
    ];
    for (field, value) in expected {
        let value: serde_json::Value = value;
        assert_eq!(record[field], value, "{field} in {record}");
    }
}

#[test]
fn a_drain_waits_for_tunnels() {
    let endpoint = Endpoint::start(echo);
    let mut proxy = Proxy::in_front_of(&endpoint).process("drain_timeout = \"14s\"").start();
    let mut client = open(&proxy);
    proxy.signal("TERM");
    proxy.wait_for_log("draining");
    speaks(&mut client);
    client.finish();
    assert_eq!(client.end(), End::Fin);
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(proxy.log().iter().any(|line| line.contains("drained")));
}

#[test]
fn a_drain_cuts_tunnels_at_its_timeout() {
    let endpoint = Endpoint::start(echo);
    let mut proxy = Proxy::in_front_of(&endpoint)
        .process("drain_timeout = \"300ms\"")
        .with(TO_FILE)
        .start();
    let mut client = open(&proxy);
    speaks(&mut client);
    assert_eq!(proxy.terminate().code(), Some(0));
    assert_eq!(client.end(), End::Fin);
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Fin));
    assert_eq!(records(&proxy, 1)[0]["reason"], "drain");
}

#[test]
fn a_tunnel_counts_for_every_limit_and_gives_way_to_nobody() {
    let endpoint = Endpoint::start(|exchange| {
        if exchange.target() == "/chat" {
            echo(exchange)
        } else {
            exchange.respond("x")
        }
    });
    let proxy = Proxy::in_front_of(&endpoint)
        .workers(1)
        .listener("max_connections = 1")
        .with("[cluster.main.pool]\nmax_connections = 1\nwait = { timeout = \"100ms\" }")
        .start();
    let mut client = open(&proxy);
    assert_eq!(proxy.metric("forebay_upstream_requests_in_flight", &[]), 1.0);
    assert_eq!(proxy.metric("forebay_pool_connections", &["state=\"active\""]), 1.0);
    let mut other = proxy.connect();
    other.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(other.response().status, 503);
    speaks(&mut client);
    client.finish();
    client.end();
    proxy.wait_for_metric("forebay_downstream_connections", &["public"], |open| open == 0.0);
    proxy.wait_for_metric("forebay_upstream_requests_in_flight", &[], |load| load == 0.0);
    assert_eq!(proxy.get("/").text(), "x");
}

#[test]
fn a_permit_is_held_for_as_long_as_the_tunnel() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.pool]\nmax_connections = 1\nwait = { timeout = \"14s\" }")
        .start();
    let first = open(&proxy);
    let mut second = proxy.connect();
    second.send(UPGRADE);
    proxy.wait_for_metric("forebay_pool_waiting", &[], |waiting| waiting == 1.0);
    drop(first);
    let head = second.read_head().expect("an answer comes");
    assert!(head.start.starts_with("HTTP/1.1 101"), "{head:?}");
    assert_eq!(endpoint.opened(), 2);
}

#[test]
fn a_tunnel_is_neither_parked_nor_timed_out_by_the_listener() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint)
        .listener("keep_alive = { idle_timeout = \"200ms\" }\ntimeouts = { header_read = \"200ms\" }")
        .start();
    let mut client = open(&proxy);
    let mut idle = proxy.connect();
    assert_eq!(idle.end(), End::Fin, "whoever is idle is sent off");
    std::thread::park_timeout(Duration::from_millis(400));
    assert_eq!(proxy.metric("forebay_downstream_parked_connections", &["public"]), 0.0);
    speaks(&mut client);
}
