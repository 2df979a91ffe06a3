//! The bytes of a tunnel: none is lost, and no more of them are kept than the receiver is ahead of.

use super::{SWITCH, UPGRADE, echo, open, read};
use crate::support::{Client, Endpoint, Gate, Proxy, eventually, pattern};

#[test]
fn bytes_that_come_early_are_not_lost() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&[SWITCH, b"first words"].concat());
        while let Some(bytes) = exchange.read_some() {
            exchange.send(&bytes);
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    for early in [pattern(9), pattern(3_000), pattern(100_000)] {
        let mut client = proxy.connect();
        client.send([UPGRADE.as_bytes(), &early].concat());
        let head = client.read_head().expect("an answer comes");
        assert!(head.start.starts_with("HTTP/1.1 101"), "{head:?}");
        let seen = read(&mut client, 11 + early.len());
        assert_eq!(&seen[..11], b"first words");
        assert!(seen[11..] == early, "{} early bytes", early.len());
    }
}

#[test]
fn megabytes_go_both_ways_at_once() {
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint).start();
    let bytes = pattern(8 << 20);
    let client = open(&proxy);
    let (mut writing, mut reading) = client.split();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || {
        for piece in sent.chunks(70_001) {
            writing.send(piece);
        }
        writing.finish();
    });
    assert!(reading.read_to_end().0 == bytes);
    writer.join().expect("the writer is through");
}

/// The endpoint can send only what fits into the kernel's buffers and one piece in the proxy.
#[test]
fn a_client_that_does_not_read_stops_the_endpoint() {
    let gate = Gate::default();
    let endpoint = Endpoint::start({
        let gate = gate.clone();
        move |exchange| {
            exchange.send(SWITCH);
            gate.wait();
            let megabyte = pattern(1 << 20);
            for _ in 0..60 {
                exchange.send(&megabyte);
            }
        }
    });
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = Client::connect_narrow(proxy.address());
    client.send(UPGRADE);
    client.read_head().expect("an answer comes");
    let before = proxy.memory();
    gate.open();
    let mut ticks = 0;
    eventually("the flow stops", || {
        let now = proxy.ticks();
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        std::mem::replace(&mut ticks, now) == now
    });
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
    let expected = pattern(1 << 20);
    for round in 0..60 {
        let seen = client.read_exactly(1 << 20);
        assert!(seen == expected, "megabyte {round}");
    }
}

#[test]
fn a_thousand_idle_tunnels_cost_little() {
    const COUNT: usize = 1000;
    let endpoint = Endpoint::start(echo);
    let proxy = Proxy::in_front_of(&endpoint)
        .listener("keep_alive = { per_client = 2000 }")
        .with("[cluster.main.pool]\nmax_connections = 2000")
        .start();
    // What the first ones cost is there once.
    let warm: Vec<Client> = (0..50).map(|_| open(&proxy)).collect();
    let before = proxy.memory();
    let clients: Vec<Client> = (0..COUNT).map(|_| open(&proxy)).collect();
    let each = || proxy.memory().saturating_sub(before) / COUNT as u64;
    eventually("a tunnel costs less than 10 KiB", || each() < 10 * 1024);
    assert_eq!(proxy.metric("forebay_proxy_tunnels", &[]), (COUNT + warm.len()) as f64);
    drop(clients);
    proxy.wait_for_metric("forebay_proxy_tunnels", &[], |open| open == 50.0);
}
