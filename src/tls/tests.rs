//! Certificates made on the spot, and handshakes in memory.

use std::{fs, path::Path, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection, SupportedProtocolVersion,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;

use super::{ServerTls, TlsError};
use crate::config::{self, TlsVersion};

/// A folder with a certificate per list of names.
struct Files {
    folder: TempDir,
    made: Vec<CertificateDer<'static>>,
    config: config::Tls,
}

impl Files {
    fn new(certificates: &[&[&str]]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut files = Self {
            folder,
            made: Vec::new(),
            config: config::Tls::new(Vec::new()),
        };
        for (number, names) in certificates.iter().enumerate() {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a certificate");
            let chain = files.write(&format!("{number}.pem"), &cert.pem());
            let key = files.write(&format!("{number}.key"), &signing_key.serialize_pem());
            files.made.push(cert.der().clone());
            let pair = config::Certificate { chain, key };
            files
                .config
                .certificates
                .push(config::ServerCertificate { pair, ocsp: None });
        }
        files
    }

    fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file in a temporary folder");
        path
    }

    fn load(&self) -> Result<ServerTls, TlsError> {
        ServerTls::new(&self.config, None)
    }

    fn server(&self) -> ServerTls {
        self.load().expect("the files are good")
    }

    /// A client that trusts every certificate here.
    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in &self.made {
            roots.add(certificate.clone()).expect("our own certificate");
        }
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("supported versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// Runs a handshake to its end in memory; the error is the first one on either side.
fn handshake(
    server: &ServerTls,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name).expect("a valid name");
    let mut client = ClientConnection::new(client.clone(), name)?;
    let mut server = ServerConnection::new(server.config.clone())?;
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory takes all");
        }
        feed(&wire, |bytes| server.read_tls(bytes));
        server.process_new_packets()?;
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).expect("memory takes all");
        }
        if wire.is_empty() && answer.is_empty() {
            return Ok((client, server));
        }
        feed(&answer, |bytes| client.read_tls(bytes));
        client.process_new_packets()?;
    }
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&mut dyn std::io::Read) -> std::io::Result<usize>) {
    while !wire.is_empty() {
        read(&mut wire).expect("a handshake fits into the buffer");
    }
}

/// The position of the certificate that a client gets for `name`.
fn shown(files: &Files, server: &ServerTls, name: &'static str) -> Option<usize> {
    // The client would refuse a certificate that is not for its name: what the server chose shows all the same.
    #[derive(Debug)]
    struct TakesAll;
    impl rustls::client::danger::ServerCertVerifier for TakesAll {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
    let mut client = files.client(&[&TLS13]);
    client.dangerous().set_certificate_verifier(Arc::new(TakesAll));
    let (client, _) = handshake(server, &Arc::new(client), name).expect("the handshake succeeds");
    let shown = client.peer_certificates()?.first()?;
    files.made.iter().position(|made| made == shown)
}

#[test]
fn the_certificate_is_chosen_by_server_name() {
    let files = Files::new(&[
        &["default.example"],
        &["*.example.org", "example.org"],
        &["exact.example.org", "MIXED.example.net", "example.org"],
    ]);
    let server = files.server();
    for (name, expected) in [
        ("default.example", 0),
        ("unknown.example", 0),
        // No server name is sent for an address.
        ("192.0.2.1", 0),
        ("a.example.org", 1),
        ("exact.example.org", 2),
        ("EXACT.Example.org", 2),
        ("mixed.example.net", 2),
        // Both hold it: the first has it.
        ("example.org", 1),
        // A wildcard is for one label.
        ("a.b.example.org", 0),
    ] {
        assert_eq!(shown(&files, &server, name), Some(expected), "{name}");
    }
}

#[test]
fn a_client_that_verifies_is_content_and_agrees_on_a_protocol() {
    let files = Files::new(&[&["a.example"], &["b.example"]]);
    for versions in [[&TLS13].as_slice(), &[&TLS12]] {
        let mut client = files.client(versions);
        client.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let (_, server) = handshake(&files.server(), &Arc::new(client), "b.example").expect("a valid certificate");
        assert_eq!(server.alpn_protocol(), Some(b"h2".as_slice()));
        assert_eq!(server.server_name(), Some("b.example"));
    }
}

#[test]
fn another_host_on_the_same_connection_needs_the_same_certificate() {
    let files = Files::new(&[
        &["default.example"],
        &["a.example.org", "b.example.org", "*.wild.example"],
        &["c.example.org", "b.example.org"],
    ]);
    let server = files.server();
    for (server_name, host, same) in [
        ("a.example.org", "a.example.org", true),
        ("a.example.org", "A.Example.ORG.", true),
        ("a.example.org", "b.example.org", true),
        ("a.example.org", "x.wild.example", true),
        ("a.example.org", "x.y.wild.example", false),
        ("a.example.org", "c.example.org", false),
        ("a.example.org", "default.example", false),
        ("a.example.org", "unknown.example", false),
        // b leads to the first certificate that holds it, but the one that was shown holds it too.
        ("c.example.org", "b.example.org", true),
        ("b.example.org", "c.example.org", false),
        ("default.example", "unknown.example", true),
        ("unknown.example", "192.0.2.1", true),
        ("unknown.example", "a.example.org", false),
    ] {
        assert_eq!(server.same_certificate(server_name, host), same, "{server_name} {host}");
    }
}

#[test]
fn a_client_with_tls_1_2_only_is_refused_where_1_3_is_asked_for() {
    let mut files = Files::new(&[&["a.example"]]);
    let client = Arc::new(files.client(&[&TLS12]));
    assert!(handshake(&files.server(), &client, "a.example").is_ok());
    files.config.min_version = TlsVersion::Tls13;
    let refused = handshake(&files.server(), &client, "a.example").err();
    assert!(
        matches!(refused, Some(rustls::Error::PeerIncompatible(_))),
        "{refused:?}"
    );
    assert!(handshake(&files.server(), &Arc::new(files.client(&[&TLS12, &TLS13])), "a.example").is_ok());
}

#[test]
fn early_data_is_off() {
    assert_eq!(Files::new(&[&["a.example"]]).server().config.max_early_data_size, 0);
}

#[test]
fn tickets_resume_a_session_at_the_listener_that_gave_them() {
    let files = Files::new(&[&["a.example", "b.example"]]);
    let server = files.server();
    for versions in [[&TLS13].as_slice(), &[&TLS12]] {
        let mut client = files.client(versions);
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        let kind = |server: &ServerTls| {
            let (_, connection) = handshake(server, &client, "a.example").expect("the handshake succeeds");
            connection.handshake_kind()
        };
        assert_eq!(kind(&server), Some(HandshakeKind::Full));
        assert_eq!(kind(&server), Some(HandshakeKind::Resumed));
        // Another listener does not know the ticket.
        assert_eq!(kind(&files.server()), Some(HandshakeKind::Full));
    }
}

fn error(files: &Files) -> TlsError {
    files.load().expect_err("a file is bad")
}

fn names(error: &TlsError, path: &Path) -> bool {
    error.to_string().contains(&path.display().to_string())
}

#[test]
fn a_key_of_another_certificate_is_refused_by_both_names() {
    let mut files = Files::new(&[&["a.example"], &["b.example"]]);
    files.config.certificates[0].pair.key = files.config.certificates[1].pair.key.clone();
    let error = error(&files);
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error:?}");
    assert!(
        names(&error, &files.config.certificates[0].pair.chain)
            && names(&error, &files.config.certificates[0].pair.key)
    );
}

#[test]
fn a_bad_file_is_refused_by_name() {
    type Check = fn(&TlsError) -> bool;
    let half = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let chains: [(Option<&str>, Check); 4] = [
        (None, |error| matches!(error, TlsError::Unreadable { .. })),
        (Some(""), |error| matches!(error, TlsError::NoCertificate { .. })),
        (Some(half), |error| matches!(error, TlsError::BadPem { .. })),
        (Some(not_der), |error| matches!(error, TlsError::BadCertificate { .. })),
    ];
    let keys: [(Option<&str>, Check); 4] = [
        (None, |error| matches!(error, TlsError::Unreadable { .. })),
        (Some(not_der), |error| matches!(error, TlsError::NoKey { .. })),
        (Some("-----BEGIN PRIVATE KEY-----\nAAAA\n"), |error| {
            matches!(error, TlsError::BadPem { .. })
        }),
        (Some(not_a_key), |error| matches!(error, TlsError::BadKey { .. })),
    ];
    for (text, check) in chains {
        let mut files = Files::new(&[&["a.example"]]);
        let path = files.folder.path().join("bad.pem");
        text.inspect(|text| _ = files.write("bad.pem", text));
        files.config.certificates[0].pair.chain = path.clone();
        let error = error(&files);
        assert!(check(&error) && names(&error, &path), "{text:?}: {error:?}");
    }
    for (text, check) in keys {
        let mut files = Files::new(&[&["a.example"]]);
        let path = files.folder.path().join("bad.key");
        text.inspect(|text| _ = files.write("bad.key", text));
        files.config.certificates[0].pair.key = path.clone();
        let error = error(&files);
        assert!(check(&error) && names(&error, &path), "{text:?}: {error:?}");
    }
    assert!(matches!(error(&Files::new(&[])), TlsError::NoCertificates));
}

#[test]
fn the_suite_that_costs_the_least_is_taken_whatever_the_client_prefers() {
    let files = Files::new(&[&["a.example"]]);
    let server = files.server();
    for (version, expected) in [
        (&TLS13, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256),
        (&TLS12, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ] {
        // The library's own order has AES-256 first.
        let (_, connection) =
            handshake(&server, &Arc::new(files.client(&[version])), "a.example").expect("a handshake");
        let suite = connection.negotiated_cipher_suite().expect("the handshake is over");
        assert_eq!(suite.suite(), expected);
    }
}
