//! What a reload does to connections over TLS.

use std::fs;

use super::{Trust, echo_target};
use crate::support::{
    End, Endpoint, Proxy,
    authority::{Authority, Issued, Request},
    eventually,
    proxy::Setup,
    tls_session::EndpointTls,
};

/// A copy of `file` that a test may change.
fn copied(folder: &tempfile::TempDir, name: &str, file: &std::path::Path) -> std::path::PathBuf {
    let copy = folder.path().join(name);
    fs::copy(file, &copy).expect("it can be copied");
    copy
}

#[test]
fn connections_live_on_as_long_as_nothing_about_them_changes() {
    let trust = Trust::of(&[]);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let roots = copied(&folder, "roots.pem", &trust.authority.chain());
    let endpoint = trust.endpoint(echo_target);
    let setup = || {
        let section = format!("[cluster.main.tls]\nroots = {roots:?}\n");
        let patient = "[cluster.main.pool]\nidle_timeout = \"1m\"\n";
        Proxy::in_front_of(&endpoint)
            .process("watch = false")
            .workers(1)
            .with(patient)
            .with(&section)
    };
    let proxy = setup().start();
    assert_eq!(proxy.get("/").status, 200);
    // Written anew, with the same in it.
    fs::copy(trust.authority.chain(), &roots).expect("it can be copied");
    proxy.reload(&setup().toml());
    let route = "[[route]]\npath = \"/new\"\nrespond = { body = \"new\" }\n";
    proxy.reload(&(setup().toml() + route));
    assert_eq!((proxy.get("/").status, proxy.get("/new").text().as_str()), (200, "new"));
    assert_eq!(
        (endpoint.opened(), endpoint.closed(), endpoint.handshakes()),
        (1, 0, (1, 0))
    );

    let other = Authority::new("Another");
    fs::write(
        &roots,
        [&trust.authority, &other]
            .map(|of| fs::read_to_string(of.chain()).expect("it is there"))
            .concat(),
    )
    .expect("it can be written");
    proxy.reload(&setup().toml());
    let ended = endpoint.wait_closed(1)[0].clone();
    assert_eq!((ended.end, ended.notified), (Some(End::Fin), true));
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(
        endpoint.handshakes(),
        (2, 0),
        "no session goes on that was opened under other roots"
    );
    let removed = ["reason=\"endpoint-removed\""];
    assert_eq!(
        proxy.metric("forebay_pool_closed_total", &removed),
        0.0,
        "the new pool counts from zero"
    );
}

#[test]
fn a_changed_file_is_noticed() {
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let roots = copied(&folder, "roots.pem", &old.chain());
    let section = format!("[cluster.main.tls]\nroots = {roots:?}\n");
    let endpoint = Endpoint::start_tls(
        &EndpointTls::new(&new.issue(Request::of(&[]).ip("127.0.0.1"))),
        echo_target,
    );
    let proxy = Proxy::in_front_of(&endpoint).with(&section).start();
    assert_eq!(proxy.get("/").error(), "tls_certificate_error");
    fs::copy(new.chain(), &roots).expect("it can be copied");
    eventually("the new authority is believed", || proxy.get("/").status == 200);
}

#[test]
fn a_bad_file_is_said_once_until_something_changes() {
    let trust = Trust::of(&[]);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let roots = copied(&folder, "roots.pem", &trust.authority.chain());
    let good = fs::read(&roots).expect("it is there");
    let endpoint = trust.endpoint(echo_target);
    // Whenever the clusters are made anew, it is said that this one has no address.
    let unknown = "[cluster.first]\nendpoints = [\"nowhere.invalid:80\"]\n";
    let proxy = Proxy::in_front_of(&endpoint)
        .with(&format!("[cluster.main.tls]\nroots = {roots:?}\n{unknown}"))
        .start();
    let said = |text: &str| proxy.log().iter().filter(|line| line.contains(text)).count();
    let complaints = || said("the endpoints stay as they were");
    let put = |name: &str, text: &[u8]| {
        let before = said("cannot be looked up");
        fs::write(folder.path().join(name), text).expect("it can be written");
        eventually("it was looked at", || said("cannot be looked up") > before);
    };
    let said_once = |text: &[u8], expected| {
        put("roots.pem", text);
        eventually("it is said", || complaints() == expected);
        // The last one begins after the one before has said what it had to say.
        put("unrelated", b"1");
        put("unrelated", b"2");
        assert_eq!(complaints(), expected);
    };
    let bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    said_once(b"", 1);
    said_once(bad, 2);
    put("roots.pem", &[&good[..], b"\n"].concat());
    proxy.wait_for_log("the addresses of endpoints have changed");
    said_once(bad, 3);
}

fn asking(trust: &Trust, clients: &Authority, own: &str) -> (Endpoint, Setup) {
    let tls = EndpointTls::asking(&trust.certificate, &rustls::version::TLS13, clients);
    let endpoint = Endpoint::start_tls(&tls, echo_target);
    let setup = trust.in_front_of(&endpoint).process("watch = false").workers(1);
    let setup = setup.with(own).with("[cluster.main.pool]\nidle_timeout = \"1m\"\n");
    (endpoint, setup)
}

#[test]
fn a_renewed_certificate_is_shown_on_new_connections() {
    let (trust, clients) = (Trust::of(&[]), Authority::new("The clients' authority"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let issue = || clients.issue(Request::of(&["proxy.example"]));
    let put = |issued: &Issued| {
        let chain = copied(&folder, "chain.pem", &issued.chain());
        (chain, copied(&folder, "key.pem", &issued.key()))
    };
    let (chain, key) = put(&issue());
    let own = format!("certificate = {{ chain = {chain:?}, key = {key:?} }}");
    let (endpoint, setup) = asking(&trust, &clients, &own);
    let toml = setup.toml();
    let proxy = setup.start();
    assert_eq!(proxy.get("/").status, 200);
    put(&issue());
    proxy.reload(&toml);
    assert_eq!(proxy.get("/").status, 200);
    let connections = endpoint.connections();
    let shown = |index: usize| connections[index].handshake.clone().expect("it is over").certificates;
    assert_ne!(shown(0), shown(1));
}

#[test]
fn what_cannot_be_used_refuses_the_reload() {
    let trust = Trust::of(&[]);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let roots = copied(&folder, "roots.pem", &trust.authority.chain());
    let endpoint = trust.endpoint(echo_target);
    let section = format!("[cluster.main.tls]\nroots = {roots:?}\n");
    let setup = Proxy::in_front_of(&endpoint)
        .process("watch = false")
        .workers(1)
        .with(&section);
    let toml = setup.toml();
    let proxy = setup.start();
    assert_eq!(proxy.get("/1").status, 200);
    fs::write(&roots, "nothing").expect("it can be written");
    proxy.write_config(&toml);
    proxy.signal("HUP");
    proxy.wait_for_log("reload refused");
    proxy.wait_for_log("holds no certificate");
    assert_eq!(proxy.get("/2").status, 200);
    assert_eq!(endpoint.opened(), 1);
}
