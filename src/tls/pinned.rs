//! Certificates that vouch for themselves: those that stand in the file of the roots as they are.
//!
//! `openssl req -x509` makes certificates that are authorities as well (RFC 5280 4.2.1.9, `CA:TRUE`), and the library
//! takes none of these for a server's own, whoever vouches for it. Where exactly this certificate was written down as
//! trusted, there is nobody else to ask.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// Asks the authorities among `pinned`, and takes each of them at its own word.
#[derive(Debug)]
pub(super) struct Pinned {
    authorities: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl Pinned {
    /// `roots` are made of `pinned`.
    pub(super) fn new(
        roots: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
    ) -> Result<Self, VerifierBuilderError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Self {
            authorities: WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
            pinned,
        })
    }
}

/// Whether an authority's certificate was shown as a server's. The dates have been found right then: the library looks at
/// them before (held by a test).
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = error else {
        return false;
    };
    other.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self
            .authorities
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Err(error) if is_authority(&error) && self.pinned.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// As plain `openssl req -x509` makes them, for `a.example` and the years 2020 and 2021.
    fn self_signed() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2022, 1, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("it can sign").into()
    }

    fn verifier(pinned: &CertificateDer<'static>) -> Pinned {
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone()).expect("a root");
        Pinned::new(roots, vec![pinned.clone()]).expect("there is a root")
    }

    /// In 2021, unless told otherwise.
    const THEN: u64 = 1_620_000_000;

    fn verify(verifier: &Pinned, shown: &CertificateDer<'_>, name: &str, seconds: u64) -> Result<(), CertificateError> {
        let name = ServerName::try_from(name).expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        match verifier.verify_server_cert(shown, &[], &name, &[], now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_pinned_certificate_is_its_own_authority() {
        let certificate = self_signed();
        assert_eq!(verify(&verifier(&certificate), &certificate, "a.example", THEN), Ok(()));
    }

    #[test]
    fn the_name_and_the_dates_count_nevertheless() {
        let certificate = self_signed();
        let verifier = verifier(&certificate);
        let refused = |name, seconds| verify(&verifier, &certificate, name, seconds).expect_err("refused");
        assert!(matches!(
            refused("b.example", THEN),
            CertificateError::NotValidForNameContext { .. }
        ));
        assert!(matches!(
            refused("a.example", 1_500_000_000),
            CertificateError::NotValidYetContext { .. }
        ));
        assert!(matches!(
            refused("a.example", 1_800_000_000),
            CertificateError::ExpiredContext { .. }
        ));
    }

    #[test]
    fn another_certificate_of_the_same_make_is_refused() {
        let verifier = verifier(&self_signed());
        assert!(verify(&verifier, &self_signed(), "a.example", THEN).is_err());
    }
}
