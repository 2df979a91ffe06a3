//! What is wrong with an endpoint, said loudly now and then and softly in between.

use std::{
    error::Error,
    fmt::Write,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How often one endpoint is warned of, at most.
const INTERVAL: Duration = Duration::from_secs(10);

/// The complaints about one endpoint.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    /// Logs an error with its causes.
    pub(super) fn log(&self, endpoint: SocketAddr, error: &dyn Error, now: Instant) {
        let text = chain(error);
        if self.is_due(now) {
            tracing::warn!(%endpoint, "{text}");
        } else {
            tracing::debug!(%endpoint, "{text}");
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// The error and what caused it, in one line. Some errors repeat what caused them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_seconds_is_loud() {
        let (complaints, start) = (Complaints::default(), Instant::now());
        let due = [0, 1, 9, 10, 11, 19, 21].map(|seconds| complaints.is_due(start + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn causes_are_told_once_each() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = super::super::ConnectError::Certificate(std::io::Error::other(refused));
        let expected = "the endpoint's certificate is not accepted: invalid peer certificate: UnknownIssuer";
        assert_eq!(chain(&error), expected);
    }
}
