//! Whom the proxy takes for the endpoint that was meant.

use std::process::Command;

use rustls::version::{TLS12, TLS13};

use super::{Trust, echo_target};
use crate::support::{
    Endpoint, Proxy, Response,
    authority::{Authority, Issued, Request},
    certificate::Certificate,
    proxy::run,
    tls_session::EndpointTls,
    tools,
};

fn endpoint_with(certificate: &Issued) -> Endpoint {
    Endpoint::start_tls(&EndpointTls::new(certificate), echo_target)
}

/// Nothing but a handshake reached the endpoint, and the client was told why.
fn check_refused(endpoint: &Endpoint, response: &Response) {
    let error = response.error();
    assert_eq!((response.status, error), (502, "tls_certificate_error"), "{response:?}");
    let connections = endpoint.wait_closed(1);
    assert!(
        connections.iter().all(|connection| connection.received == 0),
        "{connections:?}"
    );
    assert_eq!(endpoint.requests().len(), 0);
    let refusals: Vec<_> = connections
        .iter()
        .filter_map(|connection| connection.refusal.clone())
        .collect();
    assert!(refusals.iter().all(|refusal| refusal.contains("alert")), "{refusals:?}");
}

#[test]
fn an_endpoint_that_a_known_authority_vouches_for_is_spoken_to() {
    let trust = Trust::of(&[]);
    let endpoint = trust.endpoint(echo_target);
    let proxy = trust.in_front_of(&endpoint).start();
    let mut client = proxy.connect();
    for target in ["/1", "/2"] {
        assert_eq!(client.get(target).text(), target);
    }
    let connections = endpoint.connections();
    let handshake = connections[0].handshake.as_ref().expect("it is over");
    assert_eq!(handshake.protocol.as_deref(), None, "the endpoint has chosen none");
    assert_eq!(endpoint.opened(), 1);
}

#[test]
fn whoever_cannot_prove_that_he_is_the_endpoint_gets_nothing_of_a_request() {
    let (authority, other) = (Authority::new("Known"), Authority::new("Unknown"));
    let here = || Request::of(&[]).ip("127.0.0.1");
    for (what, certificate) in [
        ("an unknown authority", other.issue(here())),
        (
            "another name",
            authority.issue(Request::of(&["a.example"]).ip("127.0.0.2")),
        ),
        ("an expired certificate", authority.issue(here().until(2021))),
    ] {
        let endpoint = endpoint_with(&certificate);
        let roots = format!("[cluster.main.tls]\nroots = {:?}\n", authority.chain());
        let proxy = Proxy::in_front_of(&endpoint).with(&roots).start();
        let response = proxy.connect().post("/secret", "body");
        eprintln!("{what}: {}", response.text());
        check_refused(&endpoint, &response);
        let failed = proxy.metric("forebay_upstream_tls_handshakes_total", &["kind=\"failed\""]);
        assert_eq!(failed, 1.0, "{what}");
        let counted = proxy.metric("forebay_proxy_failures_total", &["reason=\"certificate-refused\""]);
        assert_eq!(counted, 1.0, "{what}");
    }
}

#[test]
fn the_roots_of_the_platform_and_of_the_build_vouch_for_nobody_of_ours() {
    let trust = Trust::of(&[]);
    for roots in ["", "roots = \"webpki\""] {
        let endpoint = trust.endpoint(echo_target);
        let proxy = Proxy::in_front_of(&endpoint)
            .with(&format!("[cluster.main.tls]\n{roots}\n"))
            .start();
        check_refused(&endpoint, &proxy.get("/"));
    }
}

#[test]
fn the_platform_is_told_whom_to_trust_by_its_environment() {
    let trust = Trust::of(&[]);
    let endpoint = trust.endpoint(echo_target);
    let roots = format!("SSL_CERT_FILE={}", trust.authority.chain().display());
    let setup = Proxy::in_front_of(&endpoint).with("[cluster.main.tls]\n");
    let proxy = setup.under(&["env", &roots]).start();
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn without_verification_anybody_is_spoken_to_and_that_is_said() {
    let stranger = Authority::new("Unknown").issue(Request::of(&["a.example"]).until(2021));
    let endpoint = endpoint_with(&stranger);
    let setup = Proxy::in_front_of(&endpoint).with("[cluster.main.tls]\nverify = \"none\"\n");
    let proxy = setup.start();
    assert_eq!(proxy.get("/").status, 200);
    proxy.wait_for_log("are not verified (`verify = \"none\"`)");
    let path = proxy.config_path();
    let (_, output, errors) = run(&["check", &path.display().to_string()]);
    let said = output + &errors;
    assert!(said.contains("are not verified (`verify = \"none\"`)"), "{said}");
}

#[test]
fn a_self_signed_certificate_is_its_own_root() {
    // rcgen makes no authority of it.
    let certificate = Certificate::of(&["a.example", "127.0.0.1"]);
    let tls = EndpointTls::with(&certificate.chain(), &certificate.key(), &[&TLS13, &TLS12], None);
    let endpoint = Endpoint::start_tls(&tls, echo_target);
    let roots = format!("[cluster.main.tls]\nroots = {:?}\n", certificate.chain());
    assert_eq!(Proxy::in_front_of(&endpoint).with(&roots).start().get("/").status, 200);
}

#[test]
fn so_is_one_that_openssl_has_made_which_is_an_authority_too() {
    if !tools::needs("openssl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let make = |name: &str, subject: &str| {
        let (chain, key) = (
            folder.path().join(format!("{name}.pem")),
            folder.path().join(format!("{name}.key")),
        );
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]);
        command
            .args(["-subj", "/CN=endpoint", "-addext", subject])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&chain);
        assert!(command.output().expect("openssl runs").status.success());
        (chain, key)
    };
    let (right, wrong) = (
        make("right", "subjectAltName=IP:127.0.0.1"),
        make("wrong", "subjectAltName=IP:127.0.0.2"),
    );
    let roots = folder.path().join("roots.pem");
    let both = [&right.0, &wrong.0].map(|path| std::fs::read_to_string(path).expect("it is there"));
    std::fs::write(&roots, both.concat()).expect("it can be written");
    let section = |roots: &std::path::Path| format!("[cluster.main.tls]\nroots = {roots:?}\n");
    let endpoint = |(chain, key): &(std::path::PathBuf, std::path::PathBuf)| {
        Endpoint::start_tls(&EndpointTls::with(chain, key, &[&TLS13, &TLS12], None), echo_target)
    };
    let pinned = endpoint(&right);
    assert_eq!(
        Proxy::in_front_of(&pinned)
            .with(&section(&roots))
            .start()
            .get("/")
            .status,
        200
    );
    for (shown, roots) in [(&right, &wrong.0), (&wrong, &roots)] {
        let endpoint = endpoint(shown);
        let proxy = Proxy::in_front_of(&endpoint).with(&section(roots)).start();
        check_refused(&endpoint, &proxy.get("/"));
    }
}

#[test]
fn each_version_is_spoken_and_an_old_one_refused_where_the_config_says_so() {
    let trust = Trust::of(&[]);
    for version in [&TLS12, &TLS13] {
        let endpoint = Endpoint::start_tls(&EndpointTls::only(&trust.certificate, version), echo_target);
        let proxy = trust.in_front_of(&endpoint).start();
        assert_eq!(proxy.get("/").status, 200);
        let handshake = endpoint.connections()[0].handshake.clone().expect("it is over");
        assert_eq!(handshake.version, Some(version.version));
    }
    let endpoint = Endpoint::start_tls(&EndpointTls::only(&trust.certificate, &TLS12), echo_target);
    let proxy = trust.in_front_of(&endpoint).with("min_version = \"1.3\"").start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.error()), (502, "tls_protocol_error"));
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn an_endpoint_that_asks_for_a_certificate_gets_it() {
    let trust = Trust::of(&[]);
    let clients = Authority::new("The clients' authority");
    let own = clients.issue(Request::of(&["proxy.example"]));
    for version in [&TLS12, &TLS13] {
        let tls = EndpointTls::asking(&trust.certificate, version, &clients);
        let endpoint = Endpoint::start_tls(&tls, echo_target);
        let holding = format!("certificate = {}", own.toml());
        let proxy = trust.in_front_of(&endpoint).with(&holding).start();
        assert_eq!(proxy.get("/").status, 200);
        let handshake = endpoint.connections()[0].handshake.clone().expect("it is over");
        assert_eq!(handshake.certificates.len(), 1);

        let endpoint = Endpoint::start_tls(&tls, echo_target);
        let proxy = trust.in_front_of(&endpoint).start();
        let response = proxy.connect().post("/", "x");
        assert_eq!(
            (response.status, response.error()),
            (502, "tls_protocol_error"),
            "{:?}",
            version.version
        );
        assert_eq!(endpoint.requests().len(), 0);
        proxy.wait_for_log("CertificateRequired");
    }
}

#[test]
fn http_1_is_offered_and_nothing_else() {
    let trust = Trust::of(&[]);
    let choosing = |protocols: &[&str]| EndpointTls::new(&trust.certificate).alpn(protocols);
    let endpoint = Endpoint::start_tls(&choosing(&["h2", "http/1.1"]), echo_target);
    assert_eq!(trust.in_front_of(&endpoint).start().get("/").status, 200);
    let handshake = endpoint.connections()[0].handshake.clone().expect("it is over");
    assert_eq!(handshake.protocol.as_deref(), Some("http/1.1"));

    let endpoint = Endpoint::start_tls(&choosing(&["h2"]), echo_target);
    let proxy = trust.in_front_of(&endpoint).start();
    let response = proxy.get("/");
    assert_eq!((response.status, response.error()), (502, "tls_protocol_error"));
    proxy.wait_for_log("NoApplicationProtocol");
}
