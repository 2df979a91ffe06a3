//! TLS towards endpoints: one configuration for the connections of a cluster.
//!
//! # Who is believed?
//!
//! An endpoint whose chain leads to one of the configured roots and whose certificate holds the server name
//! (RFC 9525). With `verify = "none"` anybody who holds the key to the certificate that he shows.
//!
//! # When is a session resumed?
//!
//! Whenever the endpoint has given a ticket for the server name: sessions are kept in memory, for each endpoint its own,
//! until a reload changes how they are opened. Early data is never sent, since it could be replayed.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::Arc,
};

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, WantsVerifier,
    client::{
        Resumption, WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::BuilderVerifierExt;

use super::{TlsError, load, pinned::Pinned, suites, versions};
use crate::config::{self, Roots, UpstreamTls, Verify};

/// How the endpoints of a cluster are spoken to over TLS.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    pub server_name: config::ServerName,
    /// Of the settings and of what the files hold.
    fingerprint: u64,
}

impl ClientTls {
    /// Reads every file that `tls` names.
    ///
    /// # Errors
    /// The first file that cannot be used, by name; see [`TlsError`].
    pub fn new(tls: &UpstreamTls) -> Result<Self, TlsError> {
        // Taken first: what changes while it is read is a change at the next reload.
        let fingerprint = fingerprint(tls);
        let builder = ClientConfig::builder_with_provider(Arc::new(suites::provider()))
            .with_protocol_versions(versions(tls.min_version))
            .map_err(TlsError::Library)?;
        let builder = verified(builder, tls)?;
        let mut config = match &tls.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let own = load::load(files)?.key;
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)))
            }
        };
        config.enable_early_data = false;
        Ok(Self {
            config: Arc::new(config),
            server_name: tls.server_name.clone(),
            fingerprint,
        })
    }

    /// The configuration of a handshake that offers these protocols (RFC 7301), the preferred first. `sessions` are those
    /// that may go on.
    pub fn offering(&self, protocols: &[&[u8]], sessions: &Resumption) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = sessions.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// Whether the connections of one can stand in for those of the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    /// Whether `tls`, with what its files hold now, makes the same connections.
    pub fn is_made_of(&self, tls: &UpstreamTls) -> bool {
        self.fingerprint == fingerprint(tls)
    }
}

/// The server name that a request for `host` leads to, where there can be one: neither in brackets nor with the dot of
/// the root (RFC 6066 3), in lower case.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let name = unbracketed.unwrap_or_else(|| host.strip_suffix('.').unwrap_or(host));
    ServerName::try_from(name.to_ascii_lowercase()).ok()
}

fn verified(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    tls: &UpstreamTls,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    if tls.verify == Verify::None {
        let anybody = Arc::new(Anybody(aws_lc_rs::default_provider()));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anybody));
    }
    match &tls.roots {
        Roots::Platform => builder.with_platform_verifier().map_err(TlsError::PlatformRoots),
        Roots::Webpki => {
            let roots = webpki_roots::TLS_SERVER_ROOTS
                .iter()
                .cloned()
                .collect::<RootCertStore>();
            Ok(builder.with_root_certificates(roots))
        }
        Roots::File(path) => {
            let mut roots = RootCertStore::empty();
            let certificates = load::certificates(path)?;
            for certificate in &certificates {
                roots.add(certificate.clone()).map_err(|source| TlsError::BadRoot {
                    path: path.clone(),
                    source,
                })?;
            }
            let pinned = Pinned::new(roots, certificates).map_err(|source| TlsError::BadRoots {
                path: path.clone(),
                source,
            })?;
            Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned)))
        }
    }
}

fn fingerprint(tls: &UpstreamTls) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{tls:?}").hash(&mut hasher);
    for path in tls.files() {
        std::fs::read(path).unwrap_or_default().hash(&mut hasher);
    }
    if tls.roots == Roots::Platform && tls.verify == Verify::Full {
        platform_bundle().hash(&mut hasher);
    }
    hasher.finish()
}

/// What the platform trusts, as far as it stands in one file; where that is differs from one distribution to the next.
/// Reading a whole folder of certificates each time would cost more than it tells.
fn platform_bundle() -> Option<Vec<u8>> {
    const BUNDLES: [&str; 5] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let told = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let mut places = told.into_iter().chain(BUNDLES.map(PathBuf::from));
    places.find_map(|path| std::fs::read(path).ok())
}

/// Believes every certificate; its holder still has to prove that he has the key.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("roots.pem");
        std::fs::write(&path, "nothing\n").expect("writable");
        let tls = UpstreamTls {
            roots: Roots::File(path),
            ..UpstreamTls::default()
        };
        let error = ClientTls::new(&tls).expect_err("no certificate").to_string();
        assert!(error.contains("holds no certificate"), "{error}");
    }

    #[test]
    fn a_file_that_changes_makes_other_connections() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("roots.pem");
        let root = || rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        std::fs::write(&path, root().cert.pem()).expect("writable");
        let tls = UpstreamTls {
            roots: Roots::File(path.clone()),
            ..UpstreamTls::default()
        };
        let client = ClientTls::new(&tls).expect("a root");
        assert!(client.is_made_of(&tls));
        std::fs::write(&path, root().cert.pem()).expect("writable");
        assert!(!client.is_made_of(&tls));
    }

    #[test]
    fn every_kind_of_roots_can_be_had() {
        for (verify, roots) in [
            (Verify::Full, Roots::Webpki),
            (Verify::Full, Roots::Platform),
            (Verify::None, Roots::Platform),
        ] {
            let tls = UpstreamTls {
                verify,
                roots,
                ..UpstreamTls::default()
            };
            let client = ClientTls::new(&tls).expect("roots");
            assert_eq!(
                client.offering(&[b"h2"], &Resumption::disabled()).alpn_protocols,
                [b"h2".to_vec()]
            );
        }
    }
}
