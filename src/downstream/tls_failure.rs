//! Why a client's TLS handshake came to nothing.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rustls::Error;

use crate::tls::ClientCertificateError;

/// One word for log and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// The handshake took longer than `tls_handshake`.
    Timeout,
    /// The client went away.
    Closed,
    /// The client refused to go on, perhaps because it does not trust the certificate.
    RefusedByClient,
    /// The client offers only protocols that the listener does not speak.
    NoProtocol,
    /// The client has no version or method of TLS that the listener takes.
    Incompatible,
    /// The client has no certificate where one is required.
    NoCertificate,
    /// The client's certificate is not taken.
    Certificate,
    /// What came is no TLS, or is wrong.
    Malformed,
}

impl TlsFailure {
    const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Closed,
        Self::RefusedByClient,
        Self::NoProtocol,
        Self::Incompatible,
        Self::NoCertificate,
        Self::Certificate,
        Self::Malformed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::RefusedByClient => "refused-by-client",
            Self::NoProtocol => "no-protocol",
            Self::Incompatible => "incompatible",
            Self::NoCertificate => "no-certificate",
            Self::Certificate => "certificate",
            Self::Malformed => "malformed",
        }
    }
}

impl From<&io::Error> for TlsFailure {
    fn from(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
        match tls {
            None if error.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            None => Self::Closed,
            Some(Error::AlertReceived(_)) => Self::RefusedByClient,
            Some(Error::NoApplicationProtocol) => Self::NoProtocol,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_)) => Self::Certificate,
            Some(Error::PeerIncompatible(_)) => Self::Incompatible,
            Some(_) => Self::Malformed,
        }
    }
}

impl From<ClientCertificateError> for TlsFailure {
    fn from(error: ClientCertificateError) -> Self {
        match error {
            ClientCertificateError::Missing => Self::NoCertificate,
            ClientCertificateError::Expired | ClientCertificateError::Unreadable => Self::Certificate,
        }
    }
}

/// How often handshakes came to nothing at one listener.
#[derive(Debug, Default)]
pub struct TlsFailures([AtomicU64; TlsFailure::ALL.len()]);

impl TlsFailures {
    pub(super) fn add(&self, failure: TlsFailure) {
        self.0[failure as usize].fetch_add(1, Relaxed);
    }

    pub fn all(&self) -> impl Iterator<Item = (TlsFailure, u64)> {
        TlsFailure::ALL
            .into_iter()
            .map(|failure| (failure, self.0[failure as usize].load(Relaxed)))
    }

    pub fn total(&self) -> u64 {
        self.all().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_stands_at_its_own_place() {
        for (index, failure) in TlsFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, index);
        }
    }

    #[test]
    fn failures_of_the_library_are_told_apart() {
        let wrapped = |error| TlsFailure::from(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(wrapped(Error::NoApplicationProtocol), TlsFailure::NoProtocol);
        assert_eq!(wrapped(Error::NoCertificatesPresented), TlsFailure::NoCertificate);
        assert_eq!(wrapped(Error::HandshakeNotComplete), TlsFailure::Malformed);
        assert_eq!(TlsFailure::from(&io::ErrorKind::TimedOut.into()), TlsFailure::Timeout);
        assert_eq!(
            TlsFailure::from(&io::ErrorKind::UnexpectedEof.into()),
            TlsFailure::Closed
        );
    }
}
