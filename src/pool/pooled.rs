//! A connection while a request has it.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{CloseReason, Connection, Permit, Pool, idle::Idle};

/// A connection checked out for one request.
#[derive(Debug)]
pub struct Pooled<C: Connection> {
    /// Invariant: `Some` until `check_in`, `close` or the drop takes it.
    pub(super) slot: Option<Box<Idle<C>>>,
    pub(super) pool: Arc<Pool<C>>,
    pub(super) reused: Reused,
}

/// Whether a connection has carried a request before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reused {
    Yes,
    #[default]
    No,
}

impl<C: Connection> Pooled<C> {
    pub fn reused(&self) -> Reused {
        self.reused
    }

    /// How long it had been idle before this request.
    pub fn idle_for(&self, now: Instant) -> Duration {
        self.slot
            .as_ref()
            .map_or_else(Default::default, |idle| now.saturating_duration_since(idle.idle_since))
    }

    /// How long ago it was opened.
    pub fn age(&self, now: Instant) -> Duration {
        self.slot
            .as_ref()
            .map_or_else(Default::default, |idle| now.saturating_duration_since(idle.opened))
    }

    /// Why this is the last request that it may carry; `None`: it may carry more.
    pub fn last_use(&self, worker: usize, now: Instant) -> Option<CloseReason> {
        self.pool.last_use(self.slot.as_ref()?, worker, now)
    }

    /// The endpoint has said how long it keeps idle connections.
    pub fn note_stated_timeout(&self, timeout: Duration) {
        self.pool.note_stated_timeout(timeout);
    }

    /// Gives it back for the next request. Only for an exchange that ended exactly at its border on both sides.
    pub fn check_in(mut self, worker: usize, now: Instant) {
        if let Some(mut idle) = self.slot.take() {
            idle.requests += 1;
            idle.idle_since = now;
            self.pool.check_in(worker, idle, now);
        }
    }

    /// Puts it with the idle ones although it has carried nothing yet.
    pub fn keep(mut self, worker: usize, now: Instant) {
        if let Some(idle) = self.slot.take() {
            self.pool.check_in(worker, idle, now);
        }
    }

    /// Ends it.
    pub fn close(mut self, reason: CloseReason) {
        if let Some(idle) = self.slot.take() {
            self.pool.end(idle, reason);
        }
    }

    /// Ends it and keeps its permit, to open another in its place at once.
    pub fn replace(mut self, reason: CloseReason) -> Permit<C> {
        let idle = self
            .slot
            .take()
            .expect("only an ending takes it, and that consumes self");
        self.pool.end_but_permit(idle, reason)
    }
}

impl<C: Connection> Deref for Pooled<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self
            .slot
            .as_ref()
            .expect("only an ending takes it, and that consumes self")
            .connection
    }
}

impl<C: Connection> DerefMut for Pooled<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self
            .slot
            .as_mut()
            .expect("only an ending takes it, and that consumes self")
            .connection
    }
}

impl<C: Connection> Drop for Pooled<C> {
    fn drop(&mut self) {
        if let Some(idle) = self.slot.take() {
            self.pool.end(idle, CloseReason::ClientGone);
        }
    }
}
