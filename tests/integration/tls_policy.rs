//! What a listener with TLS agrees on with its clients, and tells them.

use std::process::Command;

use rcgen::DnType;

use crate::support::{
    Client, Endpoint, Proxy,
    authority::{Authority, Request},
    certificate::Certificate,
    eventually,
    tls_client::TlsSetup,
    tools,
};

fn proxy(endpoint: &Endpoint, own: &Certificate, more: &str) -> Proxy {
    let tls = format!("tls = {{ certificates = [{}], {more} }}", own.toml());
    let plain = "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n\
                 [[route]]\npath = \"/own\"\nrespond = { body = \"own\" }";
    Proxy::in_front_of(endpoint).listener(&tls).with(plain).start()
}

/// What a client that offers these protocols gets.
fn agreed(proxy: &Proxy, offered: &[&str]) -> Result<Option<String>, String> {
    let client = TlsSetup::new("a.example").alpn(offered).connect(proxy.address());
    client
        .map(|client| client.protocol())
        .map_err(|error| error.to_string())
}

#[test]
fn the_order_of_the_config_decides_on_the_protocol() {
    let (endpoint, own) = (Endpoint::answering("x"), Certificate::of(&["a.example"]));
    let both = ["http/1.1", "h2"];
    let word = |word: &str| Ok(Some(word.to_owned()));
    let proxy = proxy(&endpoint, &own, "alpn = [\"http/1.1\", \"h2\"]");
    assert_eq!(agreed(&proxy, &both), word("http/1.1"));
    assert_eq!(agreed(&proxy, &["h2"]), word("h2"));
    assert_eq!(agreed(&proxy, &[]), Ok(None));
    assert_eq!(agreed(&proxy, &["http/1.0"]), word("http/1.0"));
    assert_eq!(agreed(&self::proxy(&endpoint, &own, ""), &both), word("h2"));
}

#[test]
fn a_listener_may_do_without_http_2() {
    let (endpoint, own) = (Endpoint::answering("x"), Certificate::of(&["a.example"]));
    let proxy = proxy(&endpoint, &own, "alpn = [\"http/1.1\"]");
    assert_eq!(agreed(&proxy, &["h2", "http/1.1"]), Ok(Some("http/1.1".to_owned())));
    for unknown in [&["h2"][..], &["spdy/1", "acme-tls/1"]] {
        let refused = agreed(&proxy, unknown).expect_err("no protocol in common");
        assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    }
    let mut client = TlsSetup::new("a.example").connect(proxy.address()).expect("TLS");
    assert!(
        client
            .get("/")
            .expect("HTTP/1.1 without ALPN")
            .0
            .start
            .starts_with("HTTP/1.1 200")
    );
    proxy.wait_for_metric(
        "forebay_downstream_tls_failures_total",
        &["reason=\"no-protocol\""],
        |count| count == 2.0,
    );
}

#[test]
fn every_answer_over_tls_says_that_there_is_only_tls() {
    let endpoint = Endpoint::start(|exchange| {
        if exchange.head.target() == "/strict" {
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: max-age=1\r\n\r\n");
        } else {
            exchange.respond("x");
        }
    });
    let own = Certificate::of(&["a.example"]);
    let hsts = "hsts = { max_age = \"365d\", include_subdomains = true }";
    let proxy = proxy(&endpoint, &own, hsts);
    let said = |request: &str| {
        let mut client = TlsSetup::new("a.example").connect(proxy.address()).expect("TLS");
        let (head, _) = client.request(request).expect("an answer");
        let status = head.start.split(' ').nth(1).expect("a status").to_owned();
        let said = head.all("strict-transport-security").join("|");
        (status, said)
    };
    let get = |target: &str| said(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
    let ours = "max-age=31536000; includeSubDomains".to_owned();
    assert_eq!(get("/"), ("200".to_owned(), ours.clone()));
    assert_eq!(get("/own"), ("200".to_owned(), ours.clone()));
    assert_eq!(
        get("/strict"),
        ("200".to_owned(), "max-age=1".to_owned()),
        "an endpoint knows better"
    );
    assert_eq!(get("/../x"), ("400".to_owned(), ours.clone()));
    assert_eq!(
        said("GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("400".to_owned(), ours.clone())
    );
    assert_eq!(said("GARBAGE\r\n\r\n"), ("400".to_owned(), ours));
    for target in ["/", "/own"] {
        let answer = Client::connect(proxy.listener("plain")).get(target);
        assert_eq!(answer.field("strict-transport-security"), None, "never without TLS");
    }
}

#[test]
fn what_the_issuer_says_of_a_certificate_is_shown_with_it() {
    if !tools::needs("openssl") {
        return;
    }
    let (endpoint, authority) = (Endpoint::answering("x"), Authority::new("ca"));
    let request = || Request::of(&["a.example"]).named(DnType::CommonName, "a.example");
    let (own, other) = (authority.issue(request()), authority.issue(request()));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let answer = |of: &crate::support::authority::Issued, days: &str| {
        let at = |name: &str| folder.path().join(name).display().to_string();
        let serial: String = of.serial().iter().map(|byte| format!("{byte:02X}")).collect();
        std::fs::write(at("index"), format!("V\t40960101000000Z\t\t{serial}\tunknown\t/CN=a\n")).expect("writable");
        let (ca, key) = (
            authority.chain().display().to_string(),
            authority.key().display().to_string(),
        );
        let chain = of.chain().display().to_string();
        let asked = [
            "ocsp",
            "-issuer",
            &ca,
            "-cert",
            &chain,
            "-no_nonce",
            "-reqout",
            &at("request"),
        ];
        openssl(&asked);
        openssl(&[
            "ocsp",
            "-index",
            &at("index"),
            "-CA",
            &ca,
            "-rsigner",
            &ca,
            "-rkey",
            &key,
            "-reqin",
            &at("request"),
            "-respout",
            &at("answer"),
            "-ndays",
            days,
        ]);
        std::fs::rename(at("answer"), at("shop.ocsp")).expect("a file can be renamed");
    };
    answer(&own, "7");
    let ocsp = folder.path().join("shop.ocsp");
    let certificate = own.toml().replace(" }", &format!(", ocsp = {ocsp:?} }}"));
    let tls = format!("tls = {{ certificates = [{certificate}] }}");
    let proxy = Proxy::in_front_of(&endpoint).listener(&tls).start();
    let ca = authority.chain().display().to_string();
    let shown = || {
        let options = ["-servername", "a.example", "-status", "-CAfile", &ca];
        tools::s_client(proxy.address(), &options)
    };
    let first = shown();
    assert!(
        first.contains("OCSP Response Status: successful") && first.contains("Cert Status: good"),
        "{first}"
    );
    answer(&other, "7");
    proxy.wait_for_log("is the answer for another certificate");
    eventually("it is not shown", || {
        shown().contains("OCSP response: no response sent")
    });
    std::fs::write(&ocsp, "nothing").expect("writable");
    proxy.wait_for_log("not an OCSP response");
    answer(&own, "7");
    eventually("it is shown again", || shown().contains("Cert Status: good"));
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
