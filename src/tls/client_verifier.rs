//! Who may vouch for clients.

use std::{path::Path, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{TlsError, load, tickets::Policy};
use crate::config::{ClientCertificateMode, ClientCertificates};

/// Of a listener that asks for no certificate.
pub(super) const NO_CERTIFICATES: Policy = Policy([0; 32]);

/// What is asked of clients, and a digest of it.
pub(super) struct Asked {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) policy: Policy,
}

/// Reads the files that `clients` names.
///
/// A revocation list has to cover every issuer of a chain and be in date: a list that is missing or old is no sign that
/// nothing was revoked.
pub(super) fn ask(clients: &ClientCertificates, provider: Arc<CryptoProvider>) -> Result<Asked, TlsError> {
    let roots = load::certificates(&clients.ca)?;
    let revoked = clients.crl.as_deref().map(revocation_lists).transpose()?;
    let revoked = revoked.unwrap_or_default();
    let policy = digest(clients.mode, &roots, &revoked);
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).map_err(|source| TlsError::BadRoot {
            path: clients.ca.clone(),
            source,
        })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    if !revoked.is_empty() {
        builder = builder.with_crls(revoked).enforce_revocation_expiration();
    }
    if clients.mode == ClientCertificateMode::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|source| TlsError::BadCrl {
        path: clients.crl.clone().unwrap_or_else(|| clients.ca.clone()),
        source,
    })?;
    Ok(Asked { verifier, policy })
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let all = CertificateRevocationListDer::pem_slice_iter(&load::read(path)?).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|source| TlsError::BadPem {
        path: path.to_owned(),
        source,
    })?;
    if all.is_empty() {
        return Err(TlsError::NoCrl { path: path.to_owned() });
    }
    Ok(all)
}

/// The same on every machine with the same certificates and lists, in whichever order they stand.
fn digest(
    mode: ClientCertificateMode,
    roots: &[CertificateDer<'_>],
    revoked: &[CertificateRevocationListDer<'_>],
) -> Policy {
    let mut context = Context::new(&SHA256);
    context.update(match mode {
        ClientCertificateMode::Optional => b"optional",
        ClientCertificateMode::Required => b"required",
    });
    let roots: Vec<&[u8]> = roots.iter().map(AsRef::as_ref).collect();
    let revoked: Vec<&[u8]> = revoked.iter().map(AsRef::as_ref).collect();
    for mut set in [roots, revoked] {
        set.sort_unstable();
        set.dedup();
        context.update(&(set.len() as u64).to_be_bytes());
        for each in set {
            context.update(&(each.len() as u64).to_be_bytes());
            context.update(each);
        }
    }
    let mut policy = [0; 32];
    policy.copy_from_slice(context.finish().as_ref());
    Policy(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_told_by_everything_that_decides_but_not_by_the_order() {
        use ClientCertificateMode::{Optional, Required};
        let root = |byte| CertificateDer::from(vec![byte]);
        let list = |byte| CertificateRevocationListDer::from(vec![byte]);
        let one = digest(Required, &[root(1), root(2)], &[]);
        assert_eq!(one, digest(Required, &[root(2), root(1), root(2)], &[]));
        for other in [
            digest(Optional, &[root(1), root(2)], &[]),
            digest(Required, &[root(1)], &[]),
            digest(Required, &[root(1), root(3)], &[]),
            digest(Required, &[root(1)], &[list(2)]),
            digest(Required, &[root(1), root(2)], &[list(3)]),
            NO_CERTIFICATES,
        ] {
            assert_ne!(one, other);
        }
    }
}
