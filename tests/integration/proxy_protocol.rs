//! Load balancers in front say in a PROXY header who the client is.

mod refused;
mod senders;

use crate::support::{Client, End, Endpoint, Proxy, eventually, h2::H2Client};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test.example\r\n\r\n";

/// A header of version 2 with a true length.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a header is small").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// 192.0.2.7:4711 has connected to 198.51.100.1:80.
fn binary_ipv4() -> Vec<u8> {
    binary(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 80])
}

/// A proxy whose listener expects headers, from these networks.
fn proxy(endpoint: &Endpoint, mode: &str, from: &str, more: &str) -> Proxy {
    Proxy::in_front_of(endpoint)
        .listener(&format!("proxy_protocol = {{ mode = \"{mode}\", from = [{from}] }}"))
        .with("[log]\nlevel = \"debug\"")
        .with(more)
        .start()
}

fn required(endpoint: &Endpoint) -> Proxy {
    proxy(endpoint, "required", "\"127.0.0.0/8\"", "")
}

/// Sends `bytes` on a connection of its own, and gives the address that the endpoint is told of.
fn told(proxy: &Proxy, endpoint: &Endpoint, bytes: &[u8]) -> String {
    let mut client = proxy.connect();
    client.send(bytes);
    assert_eq!(client.response().status, 200);
    last_told(endpoint)
}

fn last_told(endpoint: &Endpoint) -> String {
    let requests = endpoint.requests();
    let last = requests.last().expect("a request has come");
    last.head.all("x-forwarded-for").join(", ")
}

fn outcomes(proxy: &Proxy, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    proxy.metric("forebay_downstream_proxy_protocol_total", &[&label])
}

#[test]
fn the_client_is_whom_the_header_names() {
    let endpoint = Endpoint::answering("x");
    let proxy = required(&endpoint);
    let line6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n";
    let mut binary6 = [0_u8; 36];
    binary6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    binary6[15] = 9;
    for (header, client) in [
        (LINE.to_vec(), "192.0.2.7"),
        (line6.to_vec(), "2001:db8::7"),
        (binary_ipv4(), "192.0.2.7"),
        (binary(0x21, 0x21, &binary6), "2001:db8::9"),
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 1 2\r\n".to_vec(), "192.0.2.8"),
        (
            // With TLVs: an authority and one that nobody knows.
            binary(
                0x21,
                0x11,
                &[
                    192, 0, 2, 7, 198, 51, 100, 1, 0, 1, 0, 80, 2, 0, 1, b'a', 0xe0, 0, 2, 1, 2,
                ],
            ),
            "192.0.2.7",
        ),
    ] {
        assert_eq!(told(&proxy, &endpoint, &[&header[..], GET].concat()), client);
    }
    assert_eq!(outcomes(&proxy, "accepted"), 6.0);
}

#[test]
fn a_header_that_names_nobody_leaves_the_address_as_it_is() {
    let endpoint = Endpoint::answering("x");
    let proxy = required(&endpoint);
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        binary(0x20, 0x00, b""),
        binary(0x20, 0x11, &[9; 12]),
        binary(0x21, 0x00, b""),
        binary(0x21, 0x31, &[b'/'; 216]),
    ] {
        assert_eq!(
            told(&proxy, &endpoint, &[&header[..], GET].concat()),
            "127.0.0.1",
            "{header:?}"
        );
    }
    assert_eq!(outcomes(&proxy, "local"), 6.0);
}

#[test]
fn the_bytes_may_come_one_by_one() {
    let endpoint = Endpoint::answering("x");
    for mode in ["required", "optional"] {
        let proxy = proxy(&endpoint, mode, "\"127.0.0.1\"", "");
        for header in [LINE.to_vec(), binary_ipv4()] {
            let mut client = proxy.connect();
            for byte in [&header[..], GET].concat() {
                client.send([byte]);
            }
            assert_eq!(client.response().status, 200);
            assert_eq!(last_told(&endpoint), "192.0.2.7");
        }
    }
}

#[test]
fn every_request_of_the_connection_has_the_address() {
    let endpoint = Endpoint::answering("x");
    let proxy = required(&endpoint);
    let mut client = proxy.connect();
    client.send([LINE, GET, GET].concat());
    for _ in 0..2 {
        assert_eq!(client.response().status, 200);
    }
    proxy.wait_for_metric("forebay_downstream_parked_connections", &[], |count| count == 1.0);
    assert_eq!(client.get("/").status, 200);
    let told: Vec<_> = endpoint
        .requests()
        .iter()
        .map(|request| request.head.all("x-forwarded-for").join(", "))
        .collect();
    assert_eq!(told, ["192.0.2.7"; 3]);
}

#[test]
fn http_2_may_follow() {
    let endpoint = Endpoint::answering("x");
    let proxy = required(&endpoint);
    for header in [LINE.to_vec(), binary_ipv4()] {
        let mut client = H2Client::connect_behind(proxy.address(), &header);
        assert_eq!(client.get("/").status, 200);
        assert_eq!(last_told(&endpoint), "192.0.2.7");
    }
}

#[test]
fn an_optional_header_may_be_left_out() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(&endpoint, "optional", "\"127.0.0.0/8\"", "");
    assert_eq!(told(&proxy, &endpoint, GET), "127.0.0.1");
    assert_eq!(told(&proxy, &endpoint, &[LINE, GET].concat()), "192.0.2.7");
    // These begin as a header could, and then go on otherwise.
    let blank = [b"\r\n", GET].concat();
    let put = b"PUT / HTTP/1.1\r\nHost: test.example\r\nContent-Length: 0\r\n\r\n";
    for bytes in [&blank[..], put] {
        let mut client = proxy.connect();
        for byte in bytes {
            client.send([*byte]);
        }
        assert_eq!(client.response().status, 200);
        assert_eq!(last_told(&endpoint), "127.0.0.1");
    }
    let mut client = H2Client::connect(proxy.address());
    assert_eq!(client.get("/").status, 200);
    assert_eq!(outcomes(&proxy, "absent"), 4.0);
}

#[test]
fn only_trusted_networks_are_believed() {
    let endpoint = Endpoint::answering("x");
    let bytes = [LINE, GET].concat();
    let required = proxy(&endpoint, "required", "\"127.0.0.2\", \"10.0.0.0/8\"", "");
    let mut stranger = Client::connect(required.address());
    // It may be closed before it has sent anything.
    let _ = stranger.try_send(&bytes);
    let (answer, end) = stranger.read_to_end();
    assert!(answer.is_empty() && end != End::Deadline, "{answer:?} {end:?}");
    assert_eq!(outcomes(&required, "untrusted"), 1.0);
    assert_eq!(endpoint.requests().len(), 0);
    let mut known = Client::connect_from("127.0.0.2", required.address());
    known.send(&bytes);
    assert_eq!(known.response().status, 200);

    let optional = proxy(&endpoint, "optional", "\"127.0.0.2\"", "");
    assert_eq!(told(&optional, &endpoint, GET), "127.0.0.1");
    let mut stranger = Client::connect(optional.address());
    stranger.send(&bytes);
    assert_eq!(stranger.response().status, 400);
    assert_eq!(endpoint.requests().len(), 2);
}

#[test]
fn the_address_decides_whose_forwarded_fields_are_kept() {
    let endpoint = Endpoint::answering("x");
    let request = b"GET / HTTP/1.1\r\nHost: test.example\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    let bytes = [LINE, request].concat();
    for (trusted, expected) in [("192.0.2.0/24", "203.0.113.9, 192.0.2.7"), ("127.0.0.0/8", "192.0.2.7")] {
        let more = format!("[forwarding]\ntrusted_proxies = [\"{trusted}\"]");
        let proxy = proxy(&endpoint, "required", "\"127.0.0.0/8\"", &more);
        assert_eq!(told(&proxy, &endpoint, &bytes), expected, "{trusted}");
    }
}

#[test]
fn connections_are_counted_for_the_client_of_the_header() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(
        &endpoint,
        "required",
        "\"127.0.0.0/8\"",
        "[keep_alive]\nper_client = 1\nper_client_exempt = []",
    );
    let open = |source: &str| {
        let mut client = proxy.connect();
        client.send(format!("PROXY TCP4 {source} 198.51.100.1 4711 80\r\n"));
        client.send(GET);
        client
    };
    let mut first = open("192.0.2.1");
    assert_eq!(first.response().status, 200);
    let mut other = open("192.0.2.2");
    assert_eq!(other.response().status, 200, "the load balancer itself is not counted");
    let mut second = open("192.0.2.1");
    assert_eq!(second.response().status, 429);
    assert_eq!(first.get("/").status, 200);
    drop(first);
    eventually("the place is given back", || open("192.0.2.1").response().status == 200);
}

#[test]
fn the_access_log_names_the_client() {
    let endpoint = Endpoint::answering("x");
    let proxy = proxy(
        &endpoint,
        "required",
        "\"127.0.0.0/8\"",
        "[access_log]\noutput = \"stdout\"",
    );
    told(&proxy, &endpoint, &[LINE, GET].concat());
    eventually("the request is logged", || {
        proxy.output().iter().any(|line| line.contains("192.0.2.7"))
    });
}

#[test]
fn a_reload_changes_who_is_believed() {
    let endpoint = Endpoint::answering("x");
    let setup = || Proxy::in_front_of(&endpoint);
    let proxy = setup().start();
    assert_eq!(told(&proxy, &endpoint, GET), "127.0.0.1");
    let trusting = setup().listener("proxy_protocol = { from = [\"127.0.0.1\"] }");
    proxy.reload(&trusting.toml());
    assert_eq!(told(&proxy, &endpoint, &[LINE, GET].concat()), "192.0.2.7");
}
