//! Tunnels through TLS on both sides of a proxy: one proxy speaks it to the next.

use super::{SWITCH, UPGRADE, echo, open, read};
use crate::support::{Client, End, Endpoint, Proxy, certificate::Certificate, pattern};

/// A proxy that takes TLS, in front of the endpoint, and one in front of that which speaks it.
fn two(endpoint: &Endpoint) -> (Proxy, Proxy, Certificate) {
    let certificate = Certificate::of(&["inner.example"]);
    let inner = Proxy::in_front_of(endpoint)
        .listener(&format!("tls = {{ certificates = [{}] }}", certificate.toml()))
        .start();
    let roots = certificate.chain();
    let tls = format!("[cluster.main.tls]\nroots = {roots:?}\nserver_name = \"inner.example\"\n");
    let outer = Proxy::to(&[inner.address()]).with(&tls).start();
    (outer, inner, certificate)
}

#[test]
fn bytes_and_both_ends_go_through() {
    let endpoint = Endpoint::start(echo);
    let (outer, inner, _certificate) = two(&endpoint);
    let bytes = pattern(3 << 20);
    let mut client = outer.connect();
    client.send([UPGRADE.as_bytes(), b"early"].concat());
    assert!(client.read_head().expect("an answer").start.starts_with("HTTP/1.1 101"));
    assert_eq!(read(&mut client, 5), b"early");
    let (mut writing, mut reading) = client.split();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || {
        writing.send(sent);
        writing.finish();
    });
    assert!(reading.read_to_end() == (bytes, End::Fin));
    writer.join().expect("the writer is through");
    for proxy in [&outer, &inner] {
        proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &["client-closed"], |ended| {
            ended == 1.0
        });
    }
}

#[test]
fn the_endpoint_ends_first_and_hears_the_rest() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(&[SWITCH, b"bye"].concat());
        exchange.finish();
        exchange.read_to_end();
    });
    let (outer, _inner, _certificate) = two(&endpoint);
    let mut client = open(&outer);
    assert_eq!(client.read_to_end(), (b"bye".to_vec(), End::Fin));
    client.send("one last thing");
    client.finish();
    assert!(endpoint.wait_closed(1)[0].bytes.ends_with(b"one last thing"));
    outer.wait_for_metric("forebay_proxy_tunnels_ended_total", &["endpoint-closed"], |ended| {
        ended == 1.0
    });
}

#[test]
fn resets_go_through() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(SWITCH);
        if exchange.read_some().is_some() {
            exchange.reset();
        }
    });
    let (outer, inner, _certificate) = two(&endpoint);
    open(&outer).reset();
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Reset));
    let mut client = open(&outer);
    client.send("go");
    assert_eq!(client.end(), End::Reset);
    for proxy in [&outer, &inner] {
        for reason in ["client-reset", "endpoint-reset"] {
            proxy.wait_for_metric("forebay_proxy_tunnels_ended_total", &[reason], |ended| ended == 1.0);
        }
    }
}

#[test]
fn a_slow_client_holds_up_the_endpoint() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(SWITCH);
        for _ in 0..60 {
            exchange.send(&pattern(1 << 20));
        }
    });
    let (outer, inner, _certificate) = two(&endpoint);
    let before = outer.memory() + inner.memory();
    let mut client = Client::connect_narrow(outer.address());
    client.send(UPGRADE);
    client.read_head().expect("an answer comes");
    let expected = pattern(1 << 20);
    for _ in 0..60 {
        assert!(client.read_exactly(1 << 20) == expected);
    }
    let grown = (outer.memory() + inner.memory()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
}
