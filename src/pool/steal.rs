//! What a worker takes from its siblings: connections, and in need their places.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use tokio::time::Instant;

use super::{
    CloseReason, Connection, OpenReason, Permit, Pool, Wanted,
    idle::{self, Evicted, Idle},
};
use crate::config::Order;

impl<C: Connection> Pool<C> {
    /// Takes an idle connection from a sibling: two system calls to move it and one to look at it, which is less than a
    /// new connection costs, and keeps their number at what one worker would need. Else says why one must be opened.
    pub(super) fn steal(
        &self,
        worker: usize,
        wanted: Wanted<'_>,
        now: Instant,
        evicted: &mut Evicted<C>,
    ) -> Result<Box<Idle<C>>, OpenReason> {
        let mut reason = match evicted.len() {
            0 => OpenReason::NoneIdle,
            _ => OpenReason::AllExpired,
        };
        for step in 1..self.shards.len() {
            // In one order with `join`: a waiter that sees nothing here is seen by whoever checks in.
            while self.idle.load(SeqCst) > 0 {
                let sibling = &self.shards[(worker + step) % self.shards.len()];
                let (stolen, terms) = {
                    let mut state = sibling.lock();
                    let order = state.terms.policy.order;
                    (state.idle.steal(order, wanted, now), state.terms)
                };
                let Some(idle) = stolen else { break };
                self.idle.fetch_sub(1, Relaxed);
                if let Some(too_old) = idle::too_old(&idle, &terms, now) {
                    evicted.push((idle, too_old));
                    reason = OpenReason::AllExpired;
                } else if let Ok(idle) = self.adopt(idle) {
                    self.counts.stolen.fetch_add(1, Relaxed);
                    self.shards[worker].lock().reused += 1;
                    return Ok(idle);
                } else {
                    reason = OpenReason::StealMiss;
                }
            }
        }
        if !wanted.is_any() && self.idle.load(SeqCst) > 0 {
            reason = if wanted.idle_under.is_some() && self.has_idle_of(wanted) {
                OpenReason::WriteNeedsFresh
            } else {
                OpenReason::IdentityDiffers
            };
        }
        Err(reason)
    }

    /// Whether a connection would suit if only it were fresher.
    fn has_idle_of(&self, wanted: Wanted<'_>) -> bool {
        wanted.identity.is_none()
            || self
                .shards
                .iter()
                .any(|shard| shard.lock().idle.iter().any(|idle| wanted.accepts_identity(idle)))
    }

    /// Brings a connection of another worker over to this one; what is left of one that cannot be used is its permit.
    #[allow(
        clippy::boxed_local,
        reason = "it comes in its box and is most often handed on in it"
    )]
    pub(super) fn adopt(&self, idle: Box<Idle<C>>) -> Result<Box<Idle<C>>, Permit<C>> {
        let mut idle = *idle;
        idle.connection = match idle.connection.adopt() {
            Ok(connection) => connection,
            Err((reason, first)) => {
                self.counts.closed(reason, first);
                return Err(idle.permit);
            }
        };
        Ok(Box::new(idle))
    }

    /// At the limit, a request that none of the idle connections suits takes the place of one: to let it wait beside
    /// idle connections would help nobody.
    pub(super) fn permit_of_idle(&self, worker: usize, reason: OpenReason, now: Instant) -> Option<Permit<C>> {
        let unsuited = matches!(reason, OpenReason::WriteNeedsFresh | OpenReason::IdentityDiffers);
        if !unsuited || self.lacks_ports() {
            return None;
        }
        let idle = self.take_oldest(worker, now)?;
        Some(self.end_but_permit(idle, CloseReason::GaveWay))
    }

    /// Ends an idle connection for the sake of its source port. Its permit comes back with the port, and with it whoever
    /// waits first may try.
    pub(super) fn let_idle_give_way(&self, worker: usize, now: Instant) {
        if let Some(idle) = self.take_oldest(worker, now) {
            self.end(idle, CloseReason::GaveWay);
        }
    }

    pub(super) fn take_oldest(&self, worker: usize, now: Instant) -> Option<Box<Idle<C>>> {
        let workers = self.shards.len();
        let idle = (0..workers).find_map(|step| {
            let shard = &self.shards[(worker + step) % workers];
            shard.lock().idle.steal(Order::OldestFirst, Wanted::ANY, now)
        })?;
        self.idle.fetch_sub(1, Relaxed);
        Some(idle)
    }
}
