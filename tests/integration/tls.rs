//! Clients over TLS.

use crate::support::{Client, End, Endpoint, Proxy, certificate::Certificate, tools};

/// A proxy with these certificates in front of an endpoint.
fn proxy(endpoint: &Endpoint, certificates: &[&Certificate], more: &str) -> Proxy {
    let certificates: Vec<String> = certificates.iter().map(|certificate| certificate.toml()).collect();
    let tls = format!("tls = {{ certificates = [{}] {more} }}", certificates.join(", "));
    Proxy::in_front_of(endpoint).listener(&tls).start()
}

/// Asks for `https://name/` with `certificate` as the only trusted one.
fn ask(proxy: &Proxy, name: &str, certificate: &Certificate, more: &[&str]) -> (i32, String) {
    let port = proxy.address().port();
    let (url, resolve) = (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1"));
    let chain = certificate.chain().display().to_string();
    let mut arguments = vec![
        "--resolve",
        &resolve,
        "--cacert",
        &chain,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{http_version}",
        &url,
    ];
    arguments.extend(more);
    tools::curl(&arguments)
}

#[test]
fn the_certificate_follows_the_server_name() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let (one, two) = (
        Certificate::of(&["one.example"]),
        Certificate::of(&["two.example", "*.two.example"]),
    );
    let proxy = proxy(&endpoint, &[&one, &two], "");
    assert_eq!(ask(&proxy, "one.example", &one, &[]).0, 0);
    assert_eq!(ask(&proxy, "two.example", &two, &[]).0, 0);
    assert_eq!(ask(&proxy, "a.two.example", &two, &[]).0, 0);
    assert_ne!(
        ask(&proxy, "two.example", &one, &[]).0,
        0,
        "the other certificate is not trusted"
    );
    assert_eq!(
        ask(&proxy, "unknown.example", &one, &["--insecure"]).0,
        0,
        "the first one serves unknown names"
    );
}

#[test]
fn clients_choose_the_protocol() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let proxy = proxy(&endpoint, &[&certificate], "");
    assert_eq!(
        ask(&proxy, "a.example", &certificate, &["--http1.1"]),
        (0, "200 1.1".to_owned())
    );
    assert_eq!(
        ask(&proxy, "a.example", &certificate, &["--http2"]),
        (0, "200 2".to_owned())
    );
    assert_eq!(
        ask(&proxy, "a.example", &certificate, &["--tls-max", "1.2"]),
        (0, "200 2".to_owned())
    );
    assert_eq!(
        ask(&proxy, "a.example", &certificate, &["--tlsv1.3", "--no-alpn"]),
        (0, "200 1.1".to_owned())
    );
    let schemes: Vec<_> = endpoint
        .requests()
        .iter()
        .map(|request| request.head.all("x-forwarded-proto").join(""))
        .collect();
    assert_eq!(schemes, ["https"; 4]);
}

#[test]
fn an_old_version_is_refused_where_the_config_says_so() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let proxy = proxy(&endpoint, &[&certificate], ", min_version = \"1.3\"");
    assert_ne!(ask(&proxy, "a.example", &certificate, &["--tls-max", "1.2"]).0, 0);
    assert_eq!(ask(&proxy, "a.example", &certificate, &[]).0, 0);
}

#[test]
fn a_request_for_another_name_than_that_of_the_connection_is_misdirected() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let (one, two) = (Certificate::of(&["one.example"]), Certificate::of(&["two.example"]));
    let proxy = proxy(&endpoint, &[&one, &two], "");
    for protocol in ["--http1.1", "--http2"] {
        let (code, said) = ask(&proxy, "one.example", &one, &[protocol, "-H", "Host: two.example"]);
        assert_eq!((code, &said[..3]), (0, "421"), "{protocol}");
    }
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn big_bodies_and_many_requests_pass() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::echoing();
    let certificate = Certificate::of(&["a.example"]);
    let proxy = proxy(&endpoint, &[&certificate], "");
    let sent = proxy.directory().join("sent");
    std::fs::write(&sent, crate::support::pattern(8 << 20)).expect("a file can be written");
    let (upload, received) = (format!("@{}", sent.display()), proxy.directory().join("received"));
    let output = received.display().to_string();
    for protocol in ["--http1.1", "--http2"] {
        let (code, _) = ask(
            &proxy,
            "a.example",
            &certificate,
            &[protocol, "--data-binary", &upload, "-o", &output],
        );
        assert_eq!(code, 0, "{protocol}");
    }
    let port = proxy.address().port();
    let url = format!("https://127.0.0.1:{port}/[1-50]");
    assert_eq!(tools::curl(&["--insecure", "--data", "x", &url]), (0, "x".repeat(50)));
}

#[test]
fn a_cut_answer_does_not_look_complete() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        exchange.close();
    });
    let certificate = Certificate::of(&["a.example"]);
    let proxy = proxy(&endpoint, &[&certificate], "");
    for protocol in ["--http1.1", "--http2"] {
        assert_ne!(ask(&proxy, "a.example", &certificate, &[protocol]).0, 0, "{protocol}");
    }
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_sent_off() {
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let setup = format!("tls = {{ certificates = [{}] }}", certificate.toml());
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&setup)
        .with("[timeouts]\ntls_handshake = \"200ms\"")
        .start();
    let mut silent = Client::connect(proxy.address());
    assert_ne!(silent.read_to_end().1, End::Deadline);
}

#[test]
fn plain_text_on_a_listener_for_tls_reaches_nobody() {
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let proxy = proxy(&endpoint, &[&certificate], "");
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_ne!(client.read_to_end().1, End::Deadline);
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn a_renewed_certificate_is_served_after_a_reload() {
    if !tools::needs("curl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let (served, renewed) = (Certificate::of(&["a.example"]), Certificate::of(&["a.example"]));
    let proxy = proxy(&endpoint, &[&served], "");
    assert_ne!(ask(&proxy, "a.example", &renewed, &[]).0, 0);
    for (from, to) in [(renewed.chain(), served.chain()), (renewed.key(), served.key())] {
        std::fs::copy(from, to).expect("a file can be written");
    }
    let config = std::fs::read_to_string(proxy.config_path()).expect("the config is there");
    proxy.reload(&config);
    assert_eq!(ask(&proxy, "a.example", &renewed, &[]).0, 0);
}

#[test]
fn a_session_is_resumed() {
    if !tools::needs("openssl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let certificate = Certificate::of(&["a.example"]);
    let proxy = proxy(&endpoint, &[&certificate], "");
    for version in ["-tls1_2", "-tls1_3"] {
        let session = proxy
            .directory()
            .join(format!("session{version}"))
            .display()
            .to_string();
        let options = ["-servername", "a.example", version];
        let first = tools::s_client(proxy.address(), &[&options[..], &["-sess_out", &session]].concat());
        assert!(first.contains("New, "), "{first}");
        let second = tools::s_client(proxy.address(), &[&options[..], &["-sess_in", &session]].concat());
        assert!(second.contains("Reused, "), "{second}");
    }
}
