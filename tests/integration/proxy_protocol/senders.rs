//! Headers of programs that people use, and in front of TLS.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{GET, LINE, binary_ipv4, last_told, outcomes};
use crate::support::{
    End, Endpoint, Proxy,
    certificate::Certificate,
    eventually,
    tools::{self, Tool},
};

fn over_tls(endpoint: &Endpoint, certificate: &Certificate, mode: &str) -> Proxy {
    Proxy::in_front_of(endpoint)
        .listener(&format!("tls = {{ certificates = [{}] }}", certificate.toml()))
        .listener(&format!(
            "proxy_protocol = {{ mode = \"{mode}\", from = [\"127.0.0.1\"] }}"
        ))
        .start()
}

/// One request over TLS, whose handshake comes in one piece with `header`; gives what came back.
fn ask(address: SocketAddr, certificate: &Certificate, header: &[u8]) -> String {
    let mut roots = RootCertStore::empty();
    let own = CertificateDer::from_pem_file(certificate.chain()).expect("the chain is there");
    roots.add(own).expect("a certificate can be trusted");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "a.example".try_into().expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = TcpStream::connect(address).expect("the proxy accepts");
    let mut hello = header.to_vec();
    while tls.wants_write() {
        tls.write_tls(&mut hello).expect("a vector takes all");
    }
    stream.write_all(&hello).expect("the proxy takes it");
    let mut tls = rustls::Stream::new(&mut tls, &mut stream);
    let mut answer = Vec::new();
    tls.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .expect("the proxy takes it");
    tls.read_to_end(&mut answer).expect("the answer comes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_handshake_may_come_together_with_its_header() {
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    for (mode, header, client) in [
        ("required", LINE.to_vec(), "192.0.2.7"),
        ("required", binary_ipv4(), "192.0.2.7"),
        ("optional", binary_ipv4(), "192.0.2.7"),
        ("optional", Vec::new(), "127.0.0.1"),
    ] {
        let proxy = over_tls(&endpoint, &certificate, mode);
        let answer = ask(proxy.address(), &certificate, &header);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        assert_eq!(last_told(&endpoint), client);
    }
}

#[test]
fn what_is_neither_a_header_nor_tls_reaches_nobody() {
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    for mode in ["required", "optional"] {
        let proxy = over_tls(&endpoint, &certificate, mode);
        for bytes in [
            [LINE, GET].concat(),
            [LINE, LINE].concat(),
            [b"\r\n", GET].concat(),
            b"PROXY x\r\n".to_vec(),
        ] {
            let mut client = proxy.connect();
            client.send(&bytes[..1]);
            let _ = client.try_send(&bytes[1..]);
            assert_ne!(client.read_to_end().1, End::Deadline, "{bytes:?}");
        }
        assert_eq!(outcomes(&proxy, "malformed"), 1.0);
        if mode == "required" {
            assert_eq!(outcomes(&proxy, "missing"), 1.0);
        }
    }
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn a_client_with_too_many_connections_is_refused_before_its_handshake() {
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&format!("tls = {{ certificates = [{}] }}", certificate.toml()))
        .listener("proxy_protocol = { from = [\"127.0.0.1\"] }")
        .with("[keep_alive]\nper_client = 1")
        .start();
    let mut first = proxy.connect();
    first.send(LINE);
    eventually("the first is there", || outcomes(&proxy, "accepted") == 1.0);
    let mut second = proxy.connect();
    second.send(LINE);
    assert_eq!(second.end(), End::Reset);
    let refused = proxy.metric("forebay_downstream_refused_total", &["per-client-limit"]);
    assert_eq!(refused, 1.0);
}

#[test]
fn curl() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let proxy = over_tls(&endpoint, &certificate, "required");
    let url = format!("https://127.0.0.1:{}/", proxy.address().port());
    for protocol in ["--http1.1", "--http2"] {
        let arguments = ["--insecure", "--haproxy-protocol", protocol, &url];
        assert_eq!(tools::curl(&arguments), (0, "x".to_owned()));
    }
    assert_ne!(tools::curl(&["--insecure", &url]).0, 0);
}

/// HAProxy passes connections on with `how`, its words for the header.
fn haproxy(how: &str, to: SocketAddr) -> (Tool, SocketAddr, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for _ in 0..5 {
        let address = SocketAddr::from(([127, 0, 0, 1], tools::free_port()));
        let config = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 15s\n timeout server 15s\n\
             listen l\n bind {address}\n server s {to} source 127.0.0.9 {how}\n"
        );
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, config).expect("a file can be written");
        let mut haproxy = Tool::start(Command::new("haproxy").args(["-db", "-f"]).arg(&file));
        let mut is_up = false;
        eventually("HAProxy is up or has given up", || {
            is_up = TcpStream::connect(address).is_ok();
            is_up || !haproxy.is_running()
        });
        if is_up && haproxy.is_running() {
            return (haproxy, address, directory);
        }
        eprintln!("HAProxy did not start: {:?}", haproxy.stderr.all());
    }
    panic!("HAProxy does not start");
}

#[test]
fn haproxy_in_front() {
    if !tools::needs("haproxy") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let proxy = Proxy::in_front_of(&endpoint)
        .listener("proxy_protocol = { from = [\"127.0.0.9\"] }")
        .start();
    for how in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ] {
        let (_haproxy, address, _directory) = haproxy(how, proxy.address());
        let mut client = crate::support::Client::connect_from("127.0.0.77", address);
        assert_eq!(client.get("/").status, 200, "{how}");
        assert_eq!(last_told(&endpoint), "127.0.0.77", "{how}");
    }
    // Its health checks speak for themselves.
    let (_haproxy, _, _directory) = haproxy("send-proxy-v2 check inter 100ms", proxy.address());
    eventually("a health check has come", || outcomes(&proxy, "local") > 0.0);
}
