//! Session tickets (RFC 8446 4.6.1, RFC 5077), sealed and opened by ourselves.
//!
//! # What does a ticket resume?
//! A session of the same server name, which the TLS library compares, at a listener with the same policy on client
//! certificates: the key of a ticket is derived from a secret *and* that policy ([`Policy`]), so that a session in which
//! no certificate was asked for is worth nothing where one is required (CVE-2025-23419), nor is one whose issuer has
//! been taken off the list. That holds on every machine that has the secret.
//!
//! # How long?
//! A listener makes a secret of its own every [`ROTATION`] and takes the tickets of the one before for as long. With a
//! file of keys, for as long as the key stands in it.
//!
//! A ticket is the name of its secret, a nonce, and the session under AES-256-GCM-SIV (RFC 8452): nonces are drawn at
//! random on machines that know nothing of each other, which the plain GCM would forgive only so often.

mod file;
mod rotation;
mod secret;

use std::{sync::Arc, time::Duration};

use rustls::server::ProducesTickets;
use tokio::time::Instant;

pub use self::file::TicketKeysError;
pub(super) use self::{file::parse, rotation::Rotation, secret::Secret};

/// How often a listener makes a new secret, and how long clients are told to keep a ticket.
pub(super) const ROTATION: Duration = Duration::from_secs(6 * 3600);

/// What clients have to prove, as a digest of everything that decides on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy(pub(super) [u8; 32]);

/// The tickets of one listener.
#[derive(Debug)]
pub(super) struct Tickets {
    pub(super) keys: Keys,
    pub(super) policy: Policy,
}

/// Where the secrets come from.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    /// From here, until the end of the process.
    Own(Arc<Rotation>),
    /// From a file. Invariant: not empty; the first one seals.
    Shared(Arc<[Secret]>),
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(ROTATION.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Own(rotation) => rotation.newest(Instant::now()).secret.seal(self.policy, plain),
            Keys::Shared(secrets) => secrets.first()?.seal(self.policy, plain),
        }
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let name = secret::name_of(ticket)?;
        match &self.keys {
            Keys::Own(rotation) => rotation.find(name, Instant::now())?.secret.open(self.policy, ticket),
            Keys::Shared(secrets) => {
                let secret = secrets.iter().find(|secret| secret.is_named(name))?;
                secret.open(self.policy, ticket)
            }
        }
    }
}

#[cfg(test)]
mod tests;
