//! Which cipher suites come first.

use rustls::{
    CipherSuite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256,
    },
    crypto::{CryptoProvider, aws_lc_rs},
};

/// All suites of the library, those of AES-128-GCM with SHA-256 first.
///
/// Nobody breaks either AES, and processors have instructions for SHA-256 that they mostly lack for the SHA-384 of
/// AES-256-GCM: it took a sixth of the time of a handshake, whose keys all come out of that hash.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            TLS13_AES_128_GCM_SHA256 | TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 | TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    provider
}
