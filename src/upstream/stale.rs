//! Requests that met a kept connection just as the endpoint closed it, counted by method and by what became of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::Method;

/// What became of a request that was lost to a stale connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleOutcome {
    /// It went once more, on a fresh connection.
    Replaced,
    /// It must not be sent twice.
    NotIdempotent,
    /// More of its body had been sent than is kept for a second time.
    BodyTooLarge,
    /// Each endpoint had its turn.
    GaveUp,
}

impl StaleOutcome {
    pub const ALL: [Self; 4] = [Self::Replaced, Self::NotIdempotent, Self::BodyTooLarge, Self::GaveUp];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::NotIdempotent => "not-idempotent",
            Self::BodyTooLarge => "body-too-large",
            Self::GaveUp => "gave-up",
        }
    }
}

/// The methods that are told apart; clients may invent any others.
const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
    Method::TRACE,
];

/// Their counts.
#[derive(Debug, Default)]
pub struct Stale([[AtomicU64; StaleOutcome::ALL.len()]; METHODS.len() + 1]);

impl Stale {
    pub(super) fn add(&self, method: &Method, outcome: StaleOutcome) {
        let row = METHODS
            .iter()
            .position(|known| known == method)
            .unwrap_or(METHODS.len());
        self.0[row][outcome as usize].fetch_add(1, Relaxed);
    }

    /// Those that occurred, with the method's name or `other`.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, StaleOutcome, u64)> {
        let names = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "other",
        ];
        let rows = names.into_iter().zip(&self.0);
        rows.flat_map(|(method, row)| {
            StaleOutcome::ALL.map(|outcome| (method, outcome, row[outcome as usize].load(Relaxed)))
        })
        .filter(|(.., count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_and_outcome_has_its_own_count() {
        let stale = Stale::default();
        stale.add(&Method::POST, StaleOutcome::NotIdempotent);
        stale.add(&Method::GET, StaleOutcome::Replaced);
        stale.add(&Method::GET, StaleOutcome::Replaced);
        stale.add(&Method::from_bytes(b"BREW").expect("a token"), StaleOutcome::GaveUp);
        let all: Vec<_> = stale.all().collect();
        assert_eq!(
            all,
            [
                ("GET", StaleOutcome::Replaced, 2),
                ("POST", StaleOutcome::NotIdempotent, 1),
                ("other", StaleOutcome::GaveUp, 1),
            ]
        );
    }

    #[test]
    fn the_names_are_those_of_the_methods() {
        let stale = Stale::default();
        for method in &METHODS {
            stale.add(method, StaleOutcome::Replaced);
        }
        let names: Vec<_> = stale.all().map(|(name, ..)| name).collect();
        assert_eq!(names, METHODS.iter().map(Method::as_str).collect::<Vec<_>>());
    }
}
