//! TLS on the clients' side: [`ServerTls`], made of the files of one listener. Towards endpoints: [`ClientTls`].
//!
//! # Which certificate does a client get?
//!
//! The one whose subject alternative names (RFC 6125 6.4, DNS names only) hold the server name that the client asks
//! for: an exact name before a wildcard, a wildcard for exactly one label. Clients that name no server, or an unknown
//! one, get the first certificate of the listener. Where two certificates hold the same name, the first one has it.
//!
//! # What is refused?
//!
//! Versions below TLS 1.2, and TLS 1.2 where the listener asks for more. Clients that offer only protocols (RFC 7301)
//! which the listener does not speak. Early data, because it can be replayed (RFC 8446 8). Certificates of clients that
//! do not lead to those who may vouch for them, also where a client may come without one.
//!
//! # Which cipher suite is taken?
//!
//! The first that both sides have, in our order ([`suites`]): clients mostly ask for AES-256 first, which is slower and
//! protects nothing better in practice.
//!
//! # What is resumed?
//!
//! A session of the same server name under the same policy on client certificates; see `tickets`.

mod alternative_names;
mod choice;
mod client;
mod client_certificate;
mod client_verifier;
mod distinguished_name;
mod load;
mod ocsp;
mod pinned;
mod server;
mod suites;
mod tickets;
mod validity;

use std::{io, path::PathBuf};

use rustls::{SupportedProtocolVersion, pki_types::pem, server::VerifierBuilderError, version::TLS13};
use thiserror::Error;

pub use self::{
    client::{ClientTls, server_name},
    client_certificate::{ClientCertificateError, ClientFields},
    ocsp::OcspError,
    server::ServerTls,
    tickets::TicketKeysError,
    validity::Validity,
};
use crate::config;

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
    #[error("{path} holds no revocation list", path = path.display())]
    NoCrl { path: PathBuf },
    #[error("a revocation list in {path} is malformed", path = path.display())]
    BadCrl {
        path: PathBuf,
        source: VerifierBuilderError,
    },
    #[error("{path} cannot be shown beside the certificate", path = path.display())]
    BadOcsp { path: PathBuf, source: OcspError },
    #[error("the keys of session tickets in {path} cannot be used", path = path.display())]
    BadTicketKeys { path: PathBuf, source: TicketKeysError },
    #[error("the system has no random bytes for session tickets")]
    NoRandomBytes,
    #[error("the certificates in {path} cannot be used", path = path.display())]
    BadRoots {
        path: PathBuf,
        source: VerifierBuilderError,
    },
    #[error("the TLS library refuses the configuration")]
    Library(#[source] rustls::Error),
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
