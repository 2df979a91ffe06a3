//! TLS on the clients' side: one configuration for a listener, made from its certificates. Towards endpoints: [`ClientTls`].
//!
//! # Which certificate does a client get?
//!
//! The one whose subject alternative names (RFC 6125 6.4, DNS names only) hold the server name that the client asks
//! for: an exact name before a wildcard, a wildcard for exactly one label. Clients that name no server, or an unknown
//! one, get the first certificate of the listener. Where two certificates hold the same name, the first one has it.
//!
//! # What is refused?
//!
//! Versions below TLS 1.2, and TLS 1.2 where the listener asks for more. Early data, because it can be replayed
//! (RFC 8446 8). A ticket is taken back only for the server name for which it was given, and only by the listener
//! that gave it: its key lives in the [`ServerTls`] and nowhere else.

mod choice;
mod client;
mod load;

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion, crypto::aws_lc_rs, pki_types::pem, server::NoServerSessionStorage,
    version::TLS13,
};
use thiserror::Error;

pub use self::client::ClientTls;

use self::choice::Certificates;
use crate::config;

/// What a listener needs to speak TLS.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// Why a listener cannot have TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("a listener with TLS needs a certificate")]
    NoCertificates,
    #[error("{path} cannot be read", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} is not valid PEM", path = path.display())]
    BadPem { path: PathBuf, source: pem::Error },
    #[error("{path} holds no certificate", path = path.display())]
    NoCertificate { path: PathBuf },
    #[error("{path} holds no private key", path = path.display())]
    NoKey { path: PathBuf },
    #[error("the first certificate in {path} is malformed", path = path.display())]
    BadCertificate { path: PathBuf, source: webpki::Error },
    #[error("the private key in {path} is of no supported kind", path = path.display())]
    BadKey { path: PathBuf, source: rustls::Error },
    #[error("the private key in {key} does not belong to the certificate in {chain}", key = key.display(), chain = chain.display())]
    KeyMismatch { chain: PathBuf, key: PathBuf },
    #[error("a certificate in {path} can vouch for nobody", path = path.display())]
    BadRoot { path: PathBuf, source: rustls::Error },
    #[error("the certificates that the operating system trusts cannot be read")]
    PlatformRoots(#[source] rustls::Error),
    #[error("the TLS library refuses the configuration")]
    Library(#[source] rustls::Error),
}

impl ServerTls {
    /// Whether `host` may be asked for on a connection whose client named `server_name` in its handshake: both lead
    /// to the same certificate, or the one that the client was shown holds `host` too.
    ///
    /// Where this is false, the answer is 421 (RFC 9110 15.5.20): the request was sent on a connection that was
    /// opened, and perhaps checked, for another server. `host` is without port; both may be in any case. A client
    /// that named no server was promised nothing, so there is nothing to ask then.
    pub fn same_certificate(&self, server_name: &str, host: &str) -> bool {
        self.certificates.same(server_name, host)
    }
}

/// The TLS side of a listener: reads every file that `tls` names.
///
/// `alpn` are the protocols offered, the preferred first (`h2`, `http/1.1`).
///
/// # Errors
///
/// The first file that cannot be used, by name; see [`TlsError`].
pub fn server_config(tls: &config::Tls, alpn: &[&[u8]]) -> Result<ServerTls, TlsError> {
    let loaded = tls.certificates.iter().map(load::load).collect::<Result<Vec<_>, _>>()?;
    let certificates = Arc::new(Certificates::new(loaded).ok_or(TlsError::NoCertificates)?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions(tls.min_version))
        .map_err(TlsError::Library)?
        .with_no_client_auth()
        .with_cert_resolver(certificates.clone());
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Library)?;
    // Tickets carry the session, so no core has to ask a table that all cores share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(ServerTls {
        config: Arc::new(config),
        certificates,
    })
}

fn versions(min: config::TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];
    match min {
        config::TlsVersion::Tls12 => rustls::ALL_VERSIONS,
        config::TlsVersion::Tls13 => &NEWEST,
    }
}

#[cfg(test)]
mod tests;
