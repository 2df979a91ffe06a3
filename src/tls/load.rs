//! One certificate from its two files.

use std::{fs, path::Path};

use rustls::{
    Error, InconsistentKeys,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

use super::{TlsError, validity::Span};
use crate::config;

/// A certificate that is known to fit its key.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: CertifiedKey,
    /// The DNS names that it holds, in lower case; wildcards with their `*`.
    pub(super) names: Vec<String>,
    pub(super) span: Option<Span>,
    /// As it stands in the certificate.
    pub(super) serial: Vec<u8>,
}

pub(super) fn load(files: &config::Certificate) -> Result<Loaded, TlsError> {
    let chain = certificates(&files.chain)?;
    let bad = |source| TlsError::BadCertificate {
        path: files.chain.clone(),
        source,
    };
    let parsed = EndEntityCert::try_from(&chain[0]).map_err(bad)?;
    let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
    let serial = parsed.serial().to_vec();
    let span = Span::of(&chain[0]);
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey {
            path: files.key.clone(),
        },
        source => TlsError::BadPem {
            path: files.key.clone(),
            source,
        },
    })?;
    let key = any_supported_type(&key).map_err(|source| TlsError::BadKey {
        path: files.key.clone(),
        source,
    })?;
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        // A key that cannot show its public half cannot be compared.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Loaded {
            key,
            names,
            span,
            serial,
        }),
        Err(Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch {
            chain: files.chain.clone(),
            key: files.key.clone(),
        }),
        Err(other) => Err(TlsError::Library(other)),
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// The certificates in a PEM file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|source| TlsError::BadPem {
        path: path.to_owned(),
        source,
    })?;
    if all.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(all)
}
