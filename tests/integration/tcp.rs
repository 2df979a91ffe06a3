//! What the kernel is told about the proxy's sockets.

use std::process::Command;

use crate::support::{Endpoint, Proxy, tools};

/// The lines of `ss` about established sockets that fit the filter.
fn ss(filter: &str) -> Vec<String> {
    let arguments = ["-Htnoi", "state", "established"];
    let output = Command::new("ss")
        .args(arguments)
        .args(filter.split(' '))
        .output()
        .expect("ss runs");
    // Details of a socket stand in an indented line below it.
    let text = String::from_utf8_lossy(&output.stdout).replace("\n\t", " ");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn dead_peers_are_probed_for_on_both_sides() {
    if !tools::needs("ss") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status, 200);
    let upstream = ss(&format!("dport = :{}", endpoint.address().port()));
    let downstream = ss(&format!("sport = :{}", proxy.address().port()));
    for sockets in [upstream, downstream] {
        assert_eq!(sockets.len(), 1, "{sockets:?}");
        assert!(sockets[0].contains("timer:(keepalive"), "{sockets:?}");
    }
}

#[test]
fn the_source_address_is_the_configured_one() {
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .with("[cluster.main.source]\naddresses = [\"127.0.0.7\"]")
        .start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status, 200);
    if !tools::needs("ss") {
        return;
    }
    let sockets = ss(&format!("src 127.0.0.7 and dport = :{}", endpoint.address().port()));
    assert_eq!(sockets.len(), 1, "{sockets:?}");
}
