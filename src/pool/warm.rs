//! Connections that are opened ahead of need, so that `min_idle` of them are always ready.

use std::sync::{
    Arc,
    atomic::Ordering::{Relaxed, SeqCst},
};

use tokio::time::Instant;

use super::{Connection, OpenReason, Permit, Pool};

/// In how many looks `min_idle` connections are opened when none is there: spread over two seconds, so that neither a
/// start nor a reload is a burst at the endpoint.
const STEPS: usize = 8;

/// The right to open one connection ahead of need.
#[derive(Debug)]
pub struct Warming<C: Connection> {
    pool: Arc<Pool<C>>,
    permit: Option<Permit<C>>,
}

impl<C: Connection> Pool<C> {
    /// What one worker may open now towards `min_idle`; to be called with each sweep.
    pub fn warm(self: &Arc<Self>, now: Instant) -> Vec<Warming<C>> {
        let policy = self.policy();
        if policy.min_idle == 0 || self.closed.get().is_some() || self.warm_resumes().is_some_and(|at| now < at) {
            return Vec::new();
        }
        let share = policy.min_idle.div_ceil(STEPS * self.shards.len());
        let one = |_| {
            // Counted first, so that two workers do not both open the last one.
            let coming = self.warming.fetch_add(1, SeqCst) + self.idle.load(SeqCst);
            let permit = (coming < policy.min_idle).then(|| self.limit.try_acquire()).flatten();
            if permit.is_none() {
                self.warming.fetch_sub(1, SeqCst);
            }
            permit.map(|permit| Warming {
                pool: Arc::clone(self),
                permit: Some(permit),
            })
        };
        (0..share).map_while(one).collect()
    }
}

impl<C: Connection> Warming<C> {
    /// The connection is open: it waits for its first request on `worker`.
    pub fn opened(mut self, connection: C, worker: usize, now: Instant) {
        if let Some(permit) = self.permit.take() {
            let pooled = self.pool.opened(connection, permit, OpenReason::MinIdle, now);
            pooled.keep(worker, now);
        }
    }

    /// It could not be opened: nobody tries again for a while.
    pub fn failed(self, now: Instant) {
        self.pool.rest_warming(now);
    }
}

impl<C: Connection> Drop for Warming<C> {
    fn drop(&mut self) {
        self.pool.warming.fetch_sub(1, Relaxed);
    }
}
