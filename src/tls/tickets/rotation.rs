//! Secrets that are replaced by themselves.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::error::Unspecified;
use tokio::time::Instant;

use super::{
    ROTATION,
    secret::{NAME, Secret},
};

/// How long the tickets of a secret are taken, from when it was made: one that was sealed last lives as long as clients
/// were told.
const ACCEPTED: Duration = ROTATION.saturating_mul(2);

/// The secrets of one listener.
#[derive(Debug)]
pub(in crate::tls) struct Rotation {
    /// The newest first; never empty.
    secrets: ArcSwap<Vec<Arc<Dated>>>,
}

/// A secret and when it was made.
#[derive(Debug)]
pub(super) struct Dated {
    pub(super) secret: Secret,
    made: Instant,
}

impl Rotation {
    /// # Errors
    /// When the system has no random bytes.
    pub(in crate::tls) fn start(now: Instant) -> Result<Self, Unspecified> {
        let secrets = ArcSwap::from_pointee(vec![Dated::new(now)?]);
        Ok(Self { secrets })
    }

    /// The secret to seal with.
    pub(super) fn newest(&self, now: Instant) -> Arc<Dated> {
        let secrets = self.secrets.load();
        let newest = &secrets[0];
        if now.saturating_duration_since(newest.made) < ROTATION {
            return Arc::clone(newest);
        }
        // Without random bytes the old one has to do.
        let Ok(fresh) = Dated::new(now) else {
            return Arc::clone(newest);
        };
        let kept = secrets.iter().filter(|dated| dated.is_accepted(now)).cloned();
        let rotated = [Arc::clone(&fresh)].into_iter().chain(kept).collect();
        let before = self.secrets.compare_and_swap(&*secrets, Arc::new(rotated));
        if Arc::ptr_eq(&before, &secrets) {
            fresh
        } else {
            // Another worker was quicker.
            Arc::clone(&self.secrets.load()[0])
        }
    }

    pub(super) fn find(&self, name: [u8; NAME], now: Instant) -> Option<Arc<Dated>> {
        let secrets = self.secrets.load();
        let named = secrets.iter().find(|dated| dated.secret.is_named(name))?;
        named.is_accepted(now).then(|| Arc::clone(named))
    }
}

impl Dated {
    fn new(now: Instant) -> Result<Arc<Self>, Unspecified> {
        let secret = Secret::random()?;
        Ok(Arc::new(Self { secret, made: now }))
    }

    fn is_accepted(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.made) < ACCEPTED
    }
}
