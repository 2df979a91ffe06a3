//! Clients that prove who they are, and what endpoints are told of it.

use std::process::Command;

use rcgen::{DnType, DnValue};

use crate::support::{
    Client, Endpoint, Proxy,
    authority::{Authority, Issued, Request},
    certificate::Certificate,
    chunk, eventually,
    h2::H2Client,
    tls_client::TlsSetup,
    tools,
};

const FIELDS: &str = "subject_field = \"x-client-subject\", sans_field = \"x-client-sans\", \
                      fingerprint_field = \"x-client-fingerprint\", serial_field = \"x-client-serial\", \
                      certificate_field = \"client-cert\"";

/// TLS with `own` that asks for certificates of `authority`.
fn asking(mode: &str, own: &Certificate, authority: &Authority) -> String {
    let (certificate, ca) = (own.toml(), authority.chain());
    format!(
        "tls = {{ certificates = [{certificate}], client_certificates = {{ mode = {mode:?}, ca = {ca:?}, {FIELDS} }} }}"
    )
}

fn own() -> Certificate {
    Certificate::of(&["a.example"])
}

fn alice(authority: &Authority) -> Issued {
    let request = Request::of(&["alice.example"])
        .named(DnType::CommonName, "alice")
        .named(DnType::OrganizationName, "Example, Inc.");
    authority.issue(request)
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn an_endpoint_is_told_who_the_client_is() {
    if !tools::needs("openssl") {
        return;
    }
    let (endpoint, own) = (Endpoint::answering("x"), own());
    let authority = Authority::new("clients");
    let alice = authority.issue(
        Request::of(&["alice.example", "*.alice.example"])
            .named(DnType::CountryName, "DE")
            .named(DnType::OrganizationName, "Müller, \"Söhne\" + Co; <x> \\ #1")
            .named(DnType::CommonName, " alice=1 ")
            .named(DnType::OrganizationalUnitName, "#unit\r\nX-Forged: 1")
            .named(DnType::CustomDnType(vec![1, 2, 3, 4]), "custom")
            .named(
                DnType::LocalityName,
                DnValue::BmpString("Straße, 日本".try_into().expect("in the BMP")),
            )
            .named(
                DnType::StateOrProvinceName,
                DnValue::UniversalString("𝄞 #".try_into().expect("Unicode")),
            )
            .named(
                DnType::CustomDnType(vec![2, 5, 4, 12]),
                DnValue::TeletexString("Dr. ".try_into().expect("ASCII")),
            )
            .named(
                DnType::CustomDnType(vec![2, 5, 4, 5]),
                DnValue::Ia5String("#7".try_into().expect("ASCII")),
            )
            .uri("spiffe://example/alice,DNS:root")
            .ip("192.0.2.1")
            .ip("2001:db8::1")
            .mailbox("alice@example.com")
            .serial(&[0xab, 0xcd, 0x01]),
    );
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&asking("required", &own, &authority))
        .start();
    let (head, body) = TlsSetup::holding("a.example", &alice)
        .get(proxy.address())
        .expect("an answer");
    assert_eq!((head.start.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "x"));
    let told = endpoint.requests().remove(0).head;
    let chain = alice.chain().display().to_string();
    let subject = openssl(&["x509", "-in", &chain, "-noout", "-subject", "-nameopt", "RFC2253"]);
    assert_eq!(
        Some(told.all("x-client-subject")),
        subject.strip_prefix("subject=").map(|it| vec![it])
    );
    assert_eq!(
        told.all("x-client-sans"),
        [
            "DNS:alice.example, DNS:*.alice.example, URI:spiffe://example/alice\\2CDNS:root, IP:192.0.2.1, \
          IP:2001:db8::1, email:alice@example.com"
        ]
    );
    assert_eq!(told.all("x-client-serial"), ["abcd01"]);
    let fingerprint = openssl(&["x509", "-in", &chain, "-noout", "-fingerprint", "-sha256"]);
    let fingerprint = fingerprint
        .split('=')
        .nth(1)
        .expect("it has a value")
        .replace(':', "")
        .to_lowercase();
    assert_eq!(told.all("x-client-fingerprint"), [fingerprint]);
    let pem = openssl(&["x509", "-in", &chain]);
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(told.all("client-cert"), [format!(":{base64}:")]);
    assert_eq!(told.all("x-forged"), [""; 0]);
}

#[test]
fn nobody_comes_without_a_certificate_where_one_is_required() {
    let (endpoint, own) = (Endpoint::answering("x"), own());
    let (authority, other) = (Authority::new("clients"), Authority::new("clients"));
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&asking("required", &own, &authority))
        .start();
    let stranger = alice(&other);
    let over = authority.issue(Request::of(&["a.example"]).until(2020));
    assert!(TlsSetup::new("a.example").get(proxy.address()).is_err());
    assert!(TlsSetup::holding("a.example", &stranger).get(proxy.address()).is_err());
    assert!(TlsSetup::holding("a.example", &over).get(proxy.address()).is_err());
    assert!(
        TlsSetup::holding("a.example", &alice(&authority))
            .get(proxy.address())
            .is_ok()
    );
    assert_eq!(endpoint.requests().len(), 1);
    for (reason, count) in [("no-certificate", 1.0), ("certificate", 2.0)] {
        let label = format!("reason=\"{reason}\"");
        proxy.wait_for_metric("forebay_downstream_tls_failures_total", &[&label], |found| {
            found == count
        });
    }
}

#[test]
fn a_client_may_come_without_a_certificate_where_it_is_optional_but_not_with_a_wrong_one() {
    let (endpoint, own) = (Endpoint::answering("x"), own());
    let (authority, other) = (Authority::new("clients"), Authority::new("others"));
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&asking("optional", &own, &authority))
        .start();
    assert!(TlsSetup::new("a.example").get(proxy.address()).is_ok());
    assert!(
        TlsSetup::holding("a.example", &alice(&authority))
            .get(proxy.address())
            .is_ok()
    );
    let stranger = alice(&other);
    assert!(TlsSetup::holding("a.example", &stranger).get(proxy.address()).is_err());
    let subjects: Vec<_> = endpoint
        .requests()
        .iter()
        .map(|request| request.head.all("x-client-subject").join("|"))
        .collect();
    assert_eq!(subjects, ["", "O=Example\\, Inc.,CN=alice"]);
}

#[test]
fn what_a_client_says_of_itself_is_taken_off_everywhere() {
    let (endpoint, own) = (Endpoint::answering("x"), own());
    let authority = Authority::new("clients");
    let plain = "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"";
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&asking("optional", &own, &authority))
        .with(plain)
        .with("[forwarding]\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .start();
    let forged = "X-Client-Subject: CN=root\r\nx_client_subject: CN=root\r\nX-CLIENT_SANS: DNS:root\r\n\
                  x.client.serial: 1\r\nClient-Cert: :AAAA:\r\nclient_cert: :AAAA:\r\nX-Client-Subject: CN=admin\r\n\
                  X-Client: kept\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{forged}\r\n");
    let mut client = Client::connect(proxy.listener("plain"));
    client.send(&request);
    assert_eq!(client.response().status, 200);
    let nobody = TlsSetup::new("a.example");
    nobody
        .connect(proxy.address())
        .expect("TLS")
        .request(&request)
        .expect("an answer");
    let known = TlsSetup::holding("a.example", &alice(&authority));
    known
        .connect(proxy.address())
        .expect("TLS")
        .request(&request)
        .expect("an answer");
    let mut streams = H2Client::connect(proxy.listener("plain"));
    let fields = [
        &crate::support::h2::get("/")[..],
        &[("x-client-subject", "CN=root"), ("x_client_sans", "DNS:root")],
    ];
    let stream = streams.open(&fields.concat(), crate::support::h2::END_STREAM);
    assert_eq!(streams.answer(stream).status, 200);
    for (place, request) in endpoint.requests().iter().enumerate() {
        let told: Vec<_> = request
            .head
            .fields
            .iter()
            .filter(|(name, _)| name.to_ascii_lowercase().contains("client"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
            .collect();
        let subject = told
            .iter()
            .filter(|(name, _)| name.contains("subject"))
            .collect::<Vec<_>>();
        if place == 2 {
            assert_eq!(
                subject,
                [&("x-client-subject".to_owned(), "O=Example\\, Inc.,CN=alice")]
            );
            assert_eq!(told.len(), 6, "{told:?}");
        } else {
            let expected: &[(String, &str)] = if place == 3 {
                &[]
            } else {
                &[("x-client".to_owned(), "kept")]
            };
            assert_eq!(told, expected, "request {place}");
        }
    }
    assert_eq!(endpoint.requests().len(), 4);
}

#[test]
fn trailers_and_connection_options_do_not_get_around_it() {
    let (endpoint, own) = (Endpoint::answering("x"), own());
    let authority = Authority::new("clients");
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&asking("required", &own, &authority))
        .with("[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"")
        .start();
    let mut client = Client::connect(proxy.listener("plain"));
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunk(b"body"));
    client.send("0\r\nX-Client-Subject: CN=root\r\nx_client_sans: DNS:root\r\nX-Checksum: 1\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let trailers = &endpoint.requests()[0].trailers;
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    assert!(trailers[0].0.eq_ignore_ascii_case("x-checksum"));
    // Who is somebody cannot have that hidden from the endpoint either.
    let known = TlsSetup::holding("a.example", &alice(&authority));
    for option in ["x-client-subject", "X_Client_Subject", "close, client-cert"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: {option}\r\n\r\n");
        let (head, _) = known
            .connect(proxy.address())
            .expect("TLS")
            .request(&request)
            .expect("an answer");
        assert!(head.start.contains(" 400 "), "{option}: {}", head.start);
    }
    assert_eq!(endpoint.requests().len(), 1);
}

#[test]
fn an_upgrade_is_told_of_the_client_too() {
    let (endpoint, own) = (Endpoint::answering("x"), own());
    let authority = Authority::new("clients");
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&asking("required", &own, &authority))
        .start();
    let known = TlsSetup::holding("a.example", &alice(&authority));
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   x_client_subject: CN=root\r\n\r\n";
    let mut connection = known.connect(proxy.address()).expect("TLS");
    assert_eq!(connection.request(request).expect("an answer").1, "x");
    let told = &endpoint.requests()[0].head;
    assert_eq!(told.all("upgrade"), ["websocket"]);
    assert_eq!(told.all("x-client-subject"), ["O=Example\\, Inc.,CN=alice"]);
    assert_eq!(told.all("x_client_subject"), [""; 0]);
}

#[test]
fn a_route_may_ask_for_what_was_proved() {
    let (endpoint, own) = (Endpoint::answering("x"), own());
    let authority = Authority::new("clients");
    let route = "[[route]]\npath = \"/alice\"\nheaders = { x-client-subject = \"O=Example\\\\, Inc.,CN=alice\" }\n\
                 respond = { body = \"it is you\" }";
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&asking("optional", &own, &authority))
        .with(route)
        .start();
    let known = TlsSetup::holding("a.example", &alice(&authority));
    let (_, body) = known
        .connect(proxy.address())
        .expect("TLS")
        .get("/alice")
        .expect("an answer");
    assert_eq!(body, "it is you");
    let request = "GET /alice HTTP/1.1\r\nHost: a.example\r\nX-Client-Subject: O=Example\\, Inc.,CN=alice\r\n\r\n";
    let nobody = TlsSetup::new("a.example");
    let (_, body) = nobody
        .connect(proxy.address())
        .expect("TLS")
        .request(request)
        .expect("an answer");
    assert_eq!(body, "x");
}

#[test]
fn a_revoked_certificate_is_refused_and_so_is_its_session() {
    let (endpoint, own) = (Endpoint::answering("x"), own());
    let authority = Authority::new("clients");
    let (alice, bob) = (alice(&authority), authority.issue(Request::of(&["bob.example"])));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let list = folder.path().join("revoked.pem");
    std::fs::write(&list, authority.revoke(&[])).expect("a file can be written");
    let tls = asking("required", &own, &authority).replace(FIELDS, &format!("{FIELDS}, crl = {list:?}"));
    let proxy = Proxy::in_front_of(&endpoint).listener(&tls).start();
    let alices = TlsSetup::holding("a.example", &alice);
    let bobs = TlsSetup::holding("a.example", &bob);
    for client in [&alices, &bobs] {
        assert!(client.get(proxy.address()).is_ok());
        let mut again = client.connect(proxy.address()).expect("TLS");
        assert!(again.is_resumed() && again.get("/").is_ok());
    }
    std::fs::write(&list, authority.revoke(&[&bob])).expect("a file can be written");
    proxy.wait_for_log("the changed files of TLS are in force");
    eventually("the workers know", || bobs.get(proxy.address()).is_err());
    let mut again = alices.connect(proxy.address()).expect("TLS");
    assert!(
        !again.is_resumed() && again.get("/").is_ok(),
        "whoever is not on the list begins anew"
    );
}
