//! Until when a certificate is good.

use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

const DAY: i64 = 86_400;
/// Who renews by machine has done so long before, and a person still has time.
const NEAR: i64 = 14 * DAY;

/// From when to when a certificate is good, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// Until when the certificate of a listener is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// The file that the certificate is in.
    pub chain: PathBuf,
    span: Span,
}

/// What is to be done about a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValidityWarning {
    #[error("the certificate in {chain} is over for {days} days, so that clients refuse it: renew it", chain = chain.display())]
    Over { chain: PathBuf, days: i64 },
    #[error("the certificate in {chain} is good for only {days} more days: renew it", chain = chain.display())]
    Near { chain: PathBuf, days: i64 },
    #[error("the certificate in {chain} is not good yet, so that clients refuse it", chain = chain.display())]
    NotYet { chain: PathBuf },
}

impl Span {
    /// `None` where it cannot be read.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self {
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }
}

impl Validity {
    pub(super) fn new(chain: &Path, span: Span) -> Self {
        Self {
            chain: chain.to_owned(),
            span,
        }
    }

    /// In seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.span.not_after
    }

    pub(super) fn warning(&self, now: UnixTime) -> Option<ValidityWarning> {
        let Span { not_before, not_after } = self.span;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let left = not_after.saturating_sub(now);
        let chain = || self.chain.clone();
        if left < 0 {
            let days = -left / DAY;
            Some(ValidityWarning::Over { chain: chain(), days })
        } else if now < not_before {
            Some(ValidityWarning::NotYet { chain: chain() })
        } else if left < NEAR {
            let days = left / DAY;
            Some(ValidityWarning::Near { chain: chain(), days })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_certificate_is_warned_of_when_it_should_have_been_renewed() {
        let warning = |days: i64, now: u64| {
            let span = Span {
                not_before: 100 * DAY,
                not_after: (100 + days) * DAY,
            };
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now * 86_400));
            let warning = Validity::new(Path::new("a.pem"), span).warning(now);
            warning.map(|warning| warning.to_string()).unwrap_or_default()
        };
        assert_eq!(warning(90, 100), "");
        assert_eq!(warning(90, 176), "");
        assert!(warning(90, 177).contains("a.pem is good for only 13 more days"));
        assert!(warning(90, 193).contains("over for 3 days"));
        assert!(warning(90, 99).contains("not good yet"));
        assert!(warning(7, 106).contains("only 1 more days"));
    }
}
