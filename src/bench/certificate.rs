//! A certificate that lives as long as the experiment.

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path};

use crate::config::Certificate;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("a certificate cannot be made")]
    Make(#[source] rcgen::Error),
    #[error("a certificate cannot be written")]
    Write(#[source] io::Error),
}

/// Makes a self-signed certificate for `name` with an ECDSA key (P-256), as most servers have one today, in files of
/// `folder`.
///
/// # Errors
/// The files cannot be written.
pub fn make(name: &str, folder: &Path) -> Result<Certificate, CertificateError> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).map_err(CertificateError::Make)?;
    let pair = Certificate {
        chain: folder.join("chain.pem"),
        key: folder.join("key.pem"),
    };
    write(&pair.chain, &made.cert.pem()).map_err(CertificateError::Write)?;
    write(&pair.key, &made.signing_key.serialize_pem()).map_err(CertificateError::Write)?;
    Ok(pair)
}

/// For nobody else to read.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Tls, tls::ServerTls};

    #[test]
    fn a_listener_can_use_it() {
        let folder = tempfile::tempdir().unwrap();
        let pair = make("localhost", folder.path()).unwrap();
        assert!(ServerTls::new(&Tls::new(vec![pair]), None).is_ok());
    }
}
