//! Files of TLS that change while the proxy runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use crate::support::{
    Endpoint, Proxy,
    authority::{Authority, Issued, Request},
    eventually,
    proxy::{Setup, run},
    tls_client::TlsSetup,
};

const IN_FORCE: &str = "the changed files of TLS are in force";

/// A folder with a certificate in `chain.pem` and `key.pem`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(issued: &Issued) -> Folder {
        let folder = Folder(tempfile::tempdir().expect("a temporary directory"));
        folder.put(issued);
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// In one step each, as deployers do.
    fn put(&self, issued: &Issued) {
        for (from, name) in [(issued.chain(), "chain.pem"), (issued.key(), "key.pem")] {
            fs::copy(from, self.path().join("new")).expect("a file can be written");
            fs::rename(self.path().join("new"), self.path().join(name)).expect("a file can be renamed");
        }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).expect("a file can be written");
    }

    fn tls(&self) -> String {
        tls_in(self.path())
    }
}

fn tls_in(folder: &Path) -> String {
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    format!("tls = {{ certificates = [{{ chain = {chain:?}, key = {key:?} }}] }}")
}

fn issued(authority: &Authority) -> Issued {
    authority.issue(Request::of(&["a.example"]))
}

fn der(issued: &Issued) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_file(issued.chain())
        .expect("a certificate")
        .to_vec()
}

fn shown(proxy: &Proxy) -> Vec<u8> {
    TlsSetup::new("a.example")
        .connect(proxy.address())
        .expect("TLS")
        .shown()
}

fn setup(endpoint: &Endpoint, tls: &str) -> Setup {
    Proxy::in_front_of(endpoint).listener(tls)
}

fn wait_until_shown(proxy: &Proxy, issued: &Issued) {
    let expected = der(issued);
    eventually("new clients get the new certificate", || shown(proxy) == expected);
}

#[test]
fn a_renewed_certificate_is_shown_to_new_clients_while_the_old_ones_go_on() {
    let (endpoint, authority) = (Endpoint::answering("x"), Authority::new("ca"));
    let (old, new) = (issued(&authority), issued(&authority));
    let folder = Folder::with(&old);
    let proxy = setup(&endpoint, &folder.tls()).start();
    let mut before = TlsSetup::new("a.example").connect(proxy.address()).expect("TLS");
    assert_eq!(before.shown(), der(&old));
    assert!(before.get("/").is_ok());
    folder.put(&new);
    wait_until_shown(&proxy, &new);
    assert!(before.get("/").is_ok(), "whoever was there goes on");
    let listener = "listener=\"public\"";
    proxy.wait_for_metric(
        "forebay_tls_reload_total",
        &[listener, "outcome=\"applied\""],
        |count| count >= 1.0,
    );
    assert_eq!(
        proxy.metric("forebay_tls_reload_total", &[listener, "outcome=\"refused\""]),
        0.0
    );
}

#[test]
fn a_bad_file_is_said_once_and_changes_nothing() {
    let (endpoint, authority) = (Endpoint::answering("x"), Authority::new("ca"));
    let (old, new) = (issued(&authority), issued(&authority));
    let folder = Folder::with(&old);
    let proxy = setup(&endpoint, &folder.tls()).start();
    let refused = || proxy.metric("forebay_tls_reload_total", &["outcome=\"refused\""]);
    let complaints = || {
        proxy
            .log()
            .iter()
            .filter(|line| line.contains("changed files refused"))
            .count()
    };
    for (place, (bad, why)) in [
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "is not valid PEM"),
    ]
    .into_iter()
    .enumerate()
    {
        folder.write("chain.pem", bad);
        proxy.wait_for_log(why);
        assert_eq!(shown(&proxy), der(&old));
        folder.write("unrelated", "");
        eventually("it is counted", || refused() == (place + 1) as f64);
        assert_eq!(complaints(), place + 1);
    }
    // A key that does not fit yet: the chain came first.
    fs::copy(new.chain(), folder.path().join("chain.pem")).expect("a file can be written");
    proxy.wait_for_log("does not belong to the certificate");
    assert_eq!(shown(&proxy), der(&old));
    fs::remove_file(folder.path().join("key.pem")).expect("it is there");
    proxy.wait_for_log("cannot be read");
    assert!(TlsSetup::new("a.example").get(proxy.address()).is_ok());
    folder.put(&new);
    wait_until_shown(&proxy, &new);
    folder.write("chain.pem", "");
    eventually("what was right in between is wrong anew", || complaints() == 5);
}

#[test]
fn a_folder_that_is_swapped_by_a_link_is_noticed() {
    let (endpoint, authority) = (Endpoint::answering("x"), Authority::new("ca"));
    let issued: Vec<_> = (0..3).map(|_| issued(&authority)).collect();
    let folders: Vec<_> = issued.iter().map(Folder::with).collect();
    let mount = tempfile::tempdir().expect("a temporary directory");
    let swap = |folder: &Folder| {
        symlink(folder.path(), mount.path().join("new")).expect("a link can be made");
        fs::rename(mount.path().join("new"), mount.path().join("..data")).expect("a link can be renamed");
    };
    swap(&folders[0]);
    for name in ["chain.pem", "key.pem"] {
        symlink(Path::new("..data").join(name), mount.path().join(name)).expect("a link can be made");
    }
    let proxy = setup(&endpoint, &tls_in(mount.path())).start();
    assert_eq!(shown(&proxy), der(&issued[0]));
    for place in [1, 2] {
        swap(&folders[place]);
        wait_until_shown(&proxy, &issued[place]);
    }
    // What the link leads to may also be written in place.
    folders[2].put(&issued[0]);
    wait_until_shown(&proxy, &issued[0]);
}

#[test]
fn nothing_fails_while_certificates_change_under_load() {
    let (endpoint, authority) = (Endpoint::answering("x"), Authority::new("ca"));
    let certificates: Vec<_> = (0..6).map(|_| issued(&authority)).collect();
    let folder = Folder::with(&certificates[0]);
    let proxy = setup(&endpoint, &folder.tls()).start();
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..4 {
            let (stop, done, proxy) = (&stop, &done, &proxy);
            scope.spawn(move || {
                let client = TlsSetup::new("a.example");
                let mut kept = client.connect(proxy.address()).expect("TLS");
                while !stop.load(Relaxed) {
                    if worker % 2 == 0 {
                        kept.get("/").expect("an answer on a kept connection");
                    } else {
                        client.get(proxy.address()).expect("an answer on a new connection");
                    }
                    done.fetch_add(1, Relaxed);
                }
            });
        }
        for certificate in &certificates[1..] {
            let before = done.load(Relaxed);
            folder.put(certificate);
            wait_until_shown(&proxy, certificate);
            eventually("requests go on", || done.load(Relaxed) > before + 50);
        }
        stop.store(true, Relaxed);
    });
    let failures = proxy.metric("forebay_downstream_tls_failures_total", &[]);
    assert_eq!(failures, 0.0);
}

#[test]
fn without_watching_a_signal_brings_new_files_into_force() {
    let (endpoint, authority) = (Endpoint::answering("x"), Authority::new("ca"));
    let (old, new) = (issued(&authority), issued(&authority));
    let folder = Folder::with(&old);
    let proxy = setup(&endpoint, &folder.tls()).process("watch = false").start();
    folder.put(&new);
    proxy.signal("HUP");
    proxy.wait_for_log("reloaded");
    wait_until_shown(&proxy, &new);
    assert!(!proxy.log().iter().any(|line| line.contains(IN_FORCE)));
}

#[test]
fn a_proxy_without_a_config_file_watches_too() {
    let (endpoint, authority) = (Endpoint::answering("x"), Authority::new("ca"));
    let (old, new) = (issued(&authority), issued(&authority));
    let folder = Folder::with(&old);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let to = endpoint.address().to_string();
    let (chain, key) = (path("chain.pem"), path("key.pem"));
    let arguments = [
        "proxy",
        "--tls-listen",
        "127.0.0.1:0",
        "--cert",
        &chain,
        "--key",
        &key,
        "--to",
        &to,
    ];
    let proxy = Proxy::command(&[&arguments[..], &["--admin", "off"]].concat());
    folder.put(&new);
    wait_until_shown(&proxy, &new);
}

#[test]
fn the_end_of_a_certificate_is_told() {
    let (endpoint, authority) = (Endpoint::answering("x"), Authority::new("ca"));
    let over = authority.issue(Request::of(&["a.example"]).until(2020));
    let folder = Folder::with(&over);
    let proxy = setup(&endpoint, &folder.tls()).start();
    proxy.wait_for_log("so that clients refuse it: renew it");
    let end = |proxy: &Proxy| {
        let labels = ["listener=\"public\"", "chain.pem\""];
        proxy.metric("forebay_tls_certificate_expiry_timestamp_seconds", &labels)
    };
    assert_eq!(end(&proxy), 1_577_836_800.0);
    folder.put(&authority.issue(Request::of(&["a.example"]).until(3000)));
    eventually("the new end is told", || end(&proxy) == 32_503_680_000.0);
}

#[test]
fn files_that_do_not_fit_keep_a_proxy_from_starting_and_are_named_by_check() {
    let authority = Authority::new("ca");
    let folder = Folder::with(&issued(&authority));
    fs::copy(issued(&authority).key(), folder.path().join("key.pem")).expect("a file can be written");
    let rest = "[[route]]\nrespond = {}\n";
    let config =
        |tls: &str| format!("[admin]\naddress = \"off\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{tls}\n{rest}");
    let file = folder.path().join("forebay.toml");
    let path = file.display().to_string();
    let commands = [vec!["check", &path], vec!["run", "--config", &path]];
    let expect = |tls: &str, text: &str| {
        fs::write(&file, config(tls)).expect("a file can be written");
        for command in &commands {
            let (code, _, said) = run(command);
            assert_eq!(code, 2, "{command:?}: {said}");
            assert!(said.contains(text), "{text:?} is not in {said}");
        }
    };
    expect(&folder.tls(), "does not belong to the certificate");
    let pair = "chain = \"chain.pem\", key = \"key.pem\"";
    expect(
        &format!("tls = {{ certificates = [{{ {pair}, ocsp = \"none\" }}] }}"),
        ":5:",
    );
    expect(
        &format!("tls = {{ certificates = [{{ {pair} }}], ticket_keys = \".\" }}"),
        "cannot be read: Is a directory",
    );
    folder.put(&issued(&authority));
    folder.write("keys", "short\n");
    expect(
        &format!("tls = {{ certificates = [{{ {pair} }}], ticket_keys = \"keys\" }}"),
        "line 1 is no key",
    );
    expect(
        &format!("tls = {{ certificates = [{{ {pair}, ocsp = \"keys\" }}] }}"),
        "not an OCSP response",
    );
    let clients = |keys: &str| format!("tls = {{ certificates = [{{ {pair} }}], client_certificates = {{ {keys} }} }}");
    expect(
        &clients("mode = \"required\", ca = \"keys\""),
        "keys holds no certificate",
    );
    expect(
        &clients("mode = \"required\", ca = \"chain.pem\", crl = \"keys\""),
        "keys holds no revocation list",
    );
}
