//! Nothing of a bad header is ever taken for HTTP.

use super::{GET, LINE, SIGNATURE, binary, binary_ipv4, outcomes, proxy, required};
use crate::support::{End, Endpoint, Proxy, eventually};

/// Sends `bytes` and waits for a close without a word.
fn closes(proxy: &Proxy, bytes: &[u8]) {
    let mut client = proxy.connect();
    let _ = client.try_send(bytes);
    let (answer, end) = client.read_to_end();
    let shown = String::from_utf8_lossy(bytes);
    assert!(
        answer.is_empty() && end != End::Deadline,
        "{shown:?}: {answer:?}, {end:?}"
    );
}

fn malformed() -> Vec<Vec<u8>> {
    let mut cases: Vec<Vec<u8>> = [
        "PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 04711 80\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 80\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 1 80\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 80\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 80\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 80\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 80\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 80\r\n",
        "PROXY \r\n",
        "PROXY / HTTP/1.1\r\n",
        "PROXY UNKNOWN\nGET / HTTP/1.1\r\n\r\n\r\n",
    ]
    .map(|line| line.as_bytes().to_vec())
    .into();
    cases.push(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).into_bytes());
    let ipv4 = &binary_ipv4()[16..];
    for (command, family) in [
        (0x11, 0x11),
        (0x22, 0x11),
        (0x31, 0x11),
        (0x21, 0x41),
        (0x21, 0x13),
        (0x21, 0x10),
    ] {
        cases.push(binary(command, family, ipv4));
    }
    cases.push(binary(0x21, 0x11, &ipv4[..11]));
    cases.push(binary(0x21, 0x21, ipv4));
    cases.push(binary(0x21, 0x11, &[ipv4, &[1, 0, 5, 1]].concat()));
    // A checksum that is none of this header.
    cases.push(binary(0x21, 0x11, &[ipv4, &[3, 0, 4, 1, 2, 3, 4]].concat()));
    cases.push([SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat());
    cases
}

#[test]
fn a_malformed_header_closes_the_connection() {
    let endpoint = Endpoint::answering("x");
    for mode in ["required", "optional"] {
        let proxy = proxy(&endpoint, mode, "\"127.0.0.0/8\"", "");
        for header in malformed() {
            closes(&proxy, &[&header[..], GET].concat());
        }
        assert_eq!(outcomes(&proxy, "malformed"), malformed().len() as f64);
        proxy.wait_for_log("reason=\"malformed\"");
        let mut client = proxy.connect();
        client.send([LINE, GET].concat());
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(endpoint.requests().len(), 2);
}

#[test]
fn a_header_that_has_to_come_and_does_not_closes_the_connection() {
    let endpoint = Endpoint::answering("x");
    let proxy = required(&endpoint);
    let begun = [&SIGNATURE[..8], GET].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for bytes in [GET, preface, b"\x16\x03\x01", &begun, b"\r\n\r\nGET"] {
        closes(&proxy, bytes);
    }
    assert_eq!(outcomes(&proxy, "missing"), 5.0);
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn a_second_header_is_no_http() {
    let endpoint = Endpoint::answering("x");
    let proxy = required(&endpoint);
    for second in [LINE.to_vec(), binary_ipv4()] {
        let mut client = proxy.connect();
        client.send([LINE, &second, GET].concat());
        assert_eq!(client.response().status, 400);
    }
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn a_header_that_does_not_come_in_time_closes_the_connection() {
    let endpoint = Endpoint::answering("x");
    for mode in ["required", "optional"] {
        let more = "[timeouts]\nheader_read = \"200ms\"";
        let proxy = proxy(&endpoint, mode, "\"127.0.0.0/8\"", more);
        for part in [&b""[..], &LINE[..9], &SIGNATURE[..3], &binary_ipv4()[..20]] {
            closes(&proxy, part);
        }
        assert_eq!(outcomes(&proxy, "timeout"), 4.0);
    }
}

#[test]
fn a_client_that_leaves_within_its_header_is_gone() {
    let endpoint = Endpoint::answering("x");
    let proxy = required(&endpoint);
    for part in [&b""[..], &LINE[..9], &binary_ipv4()[..20]] {
        let mut client = proxy.connect();
        client.send(part);
        client.finish();
        assert_ne!(client.end(), End::Deadline);
    }
    eventually("all are counted", || outcomes(&proxy, "client-gone") == 3.0);
    assert_eq!(proxy.metric("forebay_downstream_connections", &[]), 0.0);
}
