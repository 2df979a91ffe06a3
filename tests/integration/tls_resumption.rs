//! Which sessions are resumed, where, and which are not.

use crate::support::{
    Endpoint, Proxy,
    authority::{Authority, Request},
    certificate::Certificate,
    eventually,
    tls_client::TlsSetup,
    tools,
};

const ONE: &str = "8f2a1c0b9e7d6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a";
const TWO: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8BI0VniavN7wEjRWeJ";

/// A file of keys, and the folder that it is in.
struct Keys(tempfile::TempDir);

impl Keys {
    fn of(content: &str) -> Keys {
        let keys = Keys(tempfile::tempdir().expect("a temporary directory"));
        keys.write(content);
        keys
    }

    fn write(&self, content: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, content).expect("a file can be written");
        std::fs::rename(new, self.0.path().join("tickets.keys")).expect("a file can be renamed");
    }

    fn toml(&self) -> String {
        format!("ticket_keys = {:?}", self.0.path().join("tickets.keys"))
    }
}

fn proxy(endpoint: &Endpoint, own: &Certificate, more: &str) -> Proxy {
    let tls = format!("tls = {{ certificates = [{}], {more} }}", own.toml());
    Proxy::in_front_of(endpoint).listener(&tls).start()
}

/// Whether `client` resumes at `proxy`, which answers it in any case.
fn resumes(client: &TlsSetup, proxy: &Proxy) -> bool {
    let mut connection = client.connect(proxy.address()).expect("TLS");
    assert!(connection.get("/").expect("an answer").0.start.contains(" 200 "));
    connection.is_resumed()
}

#[test]
fn two_machines_with_the_same_keys_resume_each_others_sessions() {
    let (endpoint, own) = (Endpoint::answering("x"), Certificate::of(&["a.example"]));
    let (keys, same) = (Keys::of(ONE), Keys::of(&format!("# rotated\n{TWO}\n{ONE}\n")));
    let (one, two) = (
        proxy(&endpoint, &own, &keys.toml()),
        proxy(&endpoint, &own, &same.toml()),
    );
    let other = proxy(&endpoint, &own, &Keys::of(TWO).toml());
    let alone = proxy(&endpoint, &own, "");
    let client = TlsSetup::new("a.example");
    assert!(!resumes(&client, &one));
    assert!(resumes(&client, &one));
    assert!(resumes(&client, &two));
    // The last ticket is one of the second machine's, sealed with its first key.
    assert!(!resumes(&client, &alone));
    let client = TlsSetup::new("a.example");
    assert!(!resumes(&client, &one));
    assert!(!resumes(&client, &other));
}

#[test]
fn openssl_resumes_on_another_machine_and_for_no_other_name() {
    if !tools::needs("openssl") {
        return;
    }
    let endpoint = Endpoint::answering("x");
    let own = Certificate::of(&["a.example", "b.example"]);
    let keys = Keys::of(ONE);
    let (one, two) = (
        proxy(&endpoint, &own, &keys.toml()),
        proxy(&endpoint, &own, &keys.toml()),
    );
    for version in ["-tls1_2", "-tls1_3"] {
        let session = one.directory().join(version).display().to_string();
        let first = tools::s_client(
            one.address(),
            &["-servername", "a.example", version, "-sess_out", &session],
        );
        assert!(first.contains("New, "), "{first}");
        let at = |name| tools::s_client(two.address(), &["-servername", name, version, "-sess_in", &session]);
        assert!(at("a.example").contains("Reused, "), "{version}");
        assert!(at("b.example").contains("New, "), "{version}");
    }
}

#[test]
fn a_new_file_of_keys_is_in_force_without_a_restart() {
    let (endpoint, own) = (Endpoint::answering("x"), Certificate::of(&["a.example"]));
    let keys = Keys::of(ONE);
    let proxy = proxy(&endpoint, &own, &keys.toml());
    let client = TlsSetup::new("a.example");
    assert!(!resumes(&client, &proxy));
    keys.write(&format!("{TWO}\n{ONE}"));
    proxy.wait_for_log("the changed files of TLS are in force");
    assert!(resumes(&client, &proxy), "old tickets are taken");
    keys.write(TWO);
    let fresh = |client: &TlsSetup| !resumes(client, &proxy);
    let old = client.clone();
    assert!(!fresh(&old), "and new ones are sealed with the new key");
    keys.write("nonsense");
    proxy.wait_for_log("line 1 is no key");
    assert!(resumes(&client, &proxy), "the keys before stay in force");
    assert!(
        !proxy
            .log()
            .iter()
            .any(|line| line.contains("nonsense") || line.contains(&TWO[..9])),
        "keys never show"
    );
}

#[test]
fn sessions_outlive_a_renewed_certificate() {
    let (endpoint, own) = (Endpoint::answering("x"), Certificate::of(&["a.example"]));
    let proxy = proxy(&endpoint, &own, "");
    let client = TlsSetup::new("a.example");
    assert!(!resumes(&client, &proxy));
    let renewed = Certificate::of(&["a.example"]);
    for (from, to) in [(renewed.chain(), own.chain()), (renewed.key(), own.key())] {
        std::fs::copy(from, to).expect("a file can be written");
    }
    proxy.wait_for_log("the changed files of TLS are in force");
    assert!(resumes(&client, &proxy));
}

/// CVE-2025-23419: who was let in without a certificate is not let in where one is required, though the name, the key of
/// the ticket and the process are the same.
#[test]
fn a_session_without_a_certificate_is_worth_nothing_where_one_is_required() {
    if !tools::needs("openssl") {
        return;
    }
    let (endpoint, own) = (Endpoint::answering("x"), Certificate::of(&["a.example"]));
    let authority = Authority::new("clients");
    let keys = Keys::of(ONE).0.keep().join("tickets.keys");
    let tls = |clients: &str| {
        let certificate = own.toml();
        format!("tls = {{ certificates = [{certificate}], ticket_keys = {keys:?}{clients} }}")
    };
    let asked = |mode: &str| {
        let ca = authority.chain();
        format!(", client_certificates = {{ mode = {mode:?}, ca = {ca:?}, subject_field = \"x-subject\" }}")
    };
    let listener = |name: &str, tls: &str| format!("[[listener]]\nname = {name:?}\naddress = \"127.0.0.1:0\"\n{tls}");
    let proxy = Proxy::in_front_of(&endpoint)
        .listener(&tls(""))
        .with(&listener("optional", &tls(&asked("optional"))))
        .with(&listener("required", &tls(&asked("required"))))
        .start();
    for version in ["-tls1_2", "-tls1_3"] {
        for from in ["public", "optional"] {
            let session = proxy.directory().join(format!("{from}{version}")).display().to_string();
            let options = ["-servername", "a.example", version];
            let first = tools::s_client(proxy.listener(from), &[&options[..], &["-sess_out", &session]].concat());
            assert!(first.contains("200 OK"), "{first}");
            let with_session = [&options[..], &["-sess_in", &session]].concat();
            assert!(tools::s_client(proxy.listener(from), &with_session).contains("Reused, "));
            let before = endpoint.requests().len();
            let refused = tools::s_client(proxy.listener("required"), &with_session);
            assert!(
                !refused.contains("200 OK") && !refused.contains("Reused, "),
                "{refused}"
            );
            assert_eq!(endpoint.requests().len(), before);
        }
    }
    let known = authority.issue(Request::of(&["a.example"]).named(rcgen::DnType::CommonName, "alice"));
    let known = TlsSetup::holding("a.example", &known);
    for expected in [false, true] {
        let mut connection = known.connect(proxy.listener("required")).expect("TLS");
        assert!(connection.get("/").expect("an answer").0.start.contains(" 200 "));
        assert_eq!(connection.is_resumed(), expected);
    }
    eventually("the endpoint knows whose session was resumed", || {
        let requests = endpoint.requests();
        requests
            .last()
            .is_some_and(|last| last.head.all("x-subject") == ["CN=alice"])
    });
}
