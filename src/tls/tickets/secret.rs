//! What seals tickets.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
    rand,
};

use super::Policy;

/// How long a name is.
pub(super) const NAME: usize = 16;
/// So that what is derived here is good for nothing else, nor for tickets of another form.
const PURPOSE: &[u8] = b"forebay session tickets 1";

/// A secret, of which the keys of tickets are derived; it never shows.
pub(in crate::tls) struct Secret {
    name: [u8; NAME],
    root: Prk,
}

impl Secret {
    /// `material` is at least as hard to guess as 32 random bytes.
    pub(in crate::tls) fn new(material: &[u8]) -> Self {
        let root = Salt::new(HKDF_SHA256, PURPOSE).extract(material);
        let mut name = [0; NAME];
        root.expand(&[b"name"], NameLength)
            .and_then(|derived| derived.fill(&mut name))
            .expect("a name is shorter than what HKDF can derive");
        Self { name, root }
    }

    /// # Errors
    /// When the system has no random bytes.
    pub(in crate::tls) fn random() -> Result<Self, Unspecified> {
        let mut material = [0; 32];
        rand::fill(&mut material)?;
        let secret = Self::new(&material);
        material.fill(0);
        Ok(secret)
    }

    pub(super) fn is_named(&self, name: [u8; NAME]) -> bool {
        self.name == name
    }

    pub(super) fn seal(&self, policy: Policy, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let key = self.key(policy);
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + plain.len() + AES_256_GCM_SIV.tag_len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let (head, sealed) = ticket.split_at_mut(NAME + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&*head), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// The session in `ticket`, if it was sealed with this secret under this policy and is as it was.
    pub(super) fn open(&self, policy: Policy, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(NAME + NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(&head[NAME..]).ok()?;
        let mut sealed = sealed.to_vec();
        let length = self
            .key(policy)
            .open_in_place(nonce, Aad::from(head), &mut sealed)
            .ok()?
            .len();
        sealed.truncate(length);
        Some(sealed)
    }

    fn key(&self, policy: Policy) -> LessSafeKey {
        let key = self
            .root
            .expand(&[b"key", &policy.0], &AES_256_GCM_SIV)
            .map(UnboundKey::from)
            .expect("a key is shorter than what HKDF can derive");
        LessSafeKey::new(key)
    }
}

/// The name of the secret that a ticket was sealed with, if it is long enough to have one.
pub(super) fn name_of(ticket: &[u8]) -> Option<[u8; NAME]> {
    ticket.first_chunk().copied()
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Secret").finish_non_exhaustive()
    }
}

struct NameLength;

impl KeyType for NameLength {
    fn len(&self) -> usize {
        NAME
    }
}
