//! A checkout that finds neither a connection nor a permit waits in order, with a deadline.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Checkout, CheckoutError, CloseReason, Connection, OpenReason, Permit, Pool, Reused, Wanted,
    limit::{Grant, Waiter},
};

/// Whether the waits of a checkout count as those of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Count,
    /// Those whom the connection is for count their own.
    ElseCounted,
}

impl<C: Connection> Pool<C> {
    /// Finds a connection for a request on `worker`, or the right to open one; waits for either at most until
    /// `deadline` is ready.
    ///
    /// # Errors
    /// See [`CheckoutError`].
    ///
    /// Cancellation: the place in the queue is given up, and what was granted in the same moment goes back.
    pub async fn checkout(
        self: &Arc<Self>,
        worker: usize,
        wanted: Wanted<'_>,
        now: Instant,
        deadline: impl Future<Output = ()>,
    ) -> Result<Checkout<C>, CheckoutError> {
        self.wait(worker, wanted, now, deadline, Waits::Count).await
    }

    /// As [`Self::checkout`], for the right to open a connection that requests will share: they wait elsewhere, and are
    /// counted there ([`Self::count_waited`], [`Self::count_without`]).
    pub async fn permit_to_share(
        self: &Arc<Self>,
        worker: usize,
        now: Instant,
        deadline: impl Future<Output = ()>,
    ) -> Result<Permit<C>, CheckoutError> {
        // What is kept is for those who share nothing.
        let wanted = Wanted::idle_under(Duration::ZERO);
        match self.wait(worker, wanted, now, deadline, Waits::ElseCounted).await? {
            Checkout::Open(permit, _) => Ok(permit),
            Checkout::Reused(pooled) => Ok(pooled.replace(CloseReason::GaveWay)),
        }
    }

    async fn wait(
        self: &Arc<Self>,
        worker: usize,
        wanted: Wanted<'_>,
        now: Instant,
        deadline: impl Future<Output = ()>,
        waits: Waits,
    ) -> Result<Checkout<C>, CheckoutError> {
        if let Some(found) = self.try_checkout(worker, wanted, now) {
            return Ok(found);
        }
        let length = self.shards[worker].lock().terms.policy.wait.queue;
        let Some(waiter) = self.limit.join(length) else {
            if waits == Waits::Count {
                self.count_without(CheckoutError::QueueFull);
            }
            return Err(self.want_of(CheckoutError::QueueFull));
        };
        let mut waiting = Waiting { pool: self, waiter };
        // By the invariant of `join`.
        if let Some(found) = self.try_checkout(worker, wanted, now) {
            return Ok(found);
        }
        if !wanted.is_any() && self.lacks_ports() {
            self.let_idle_give_way(worker, now);
        }
        if waits == Waits::Count {
            self.count_waited();
        }
        tokio::select! {
            biased;
            granted = &mut waiting.waiter.granted => match granted {
                Ok(grant) => Ok(self.take_up(worker, wanted, grant)),
                Err(_) => Err(CheckoutError::TimedOut),
            },
            () = deadline => {
                if waits == Waits::Count {
                    self.count_without(CheckoutError::TimedOut);
                }
                Err(self.want_of(CheckoutError::TimedOut))
            }
        }
    }

    /// A request waits because all that there may be is in use.
    pub fn count_waited(&self) {
        self.counts.waited.fetch_add(1, Relaxed);
    }

    /// A request got no connection.
    pub fn count_without(&self, error: CheckoutError) {
        let count = match error {
            CheckoutError::QueueFull => &self.counts.queue_full,
            CheckoutError::TimedOut | CheckoutError::NoPort => &self.counts.wait_timeouts,
        };
        count.fetch_add(1, Relaxed);
    }

    /// No connection could be opened with `permit`, for want of source ports: until a connection ends, or a second has
    /// passed, nobody is let try again, and requests wait for connections that come back.
    pub fn note_no_port(&self, permit: Permit<C>, now: Instant) {
        self.limit.lower_ceiling(permit, now);
    }

    /// Whether requests wait for want of source ports, rather than because of `max_connections`.
    pub fn lacks_ports(&self) -> bool {
        self.limit.is_under_ceiling()
    }

    fn want_of(&self, error: CheckoutError) -> CheckoutError {
        if self.lacks_ports() {
            CheckoutError::NoPort
        } else {
            error
        }
    }

    fn take_up(self: &Arc<Self>, worker: usize, wanted: Wanted<'_>, grant: Grant<C>) -> Checkout<C> {
        match grant {
            Grant::Permit(permit) => Checkout::Open(permit, OpenReason::NoneIdle),
            // It has just come back; so this is a request that wants a new one.
            Grant::Connection(idle) if wanted.idle_under == Some(Duration::ZERO) => {
                let permit = self.end_but_permit(idle, CloseReason::GaveWay);
                Checkout::Open(permit, OpenReason::WriteNeedsFresh)
            }
            Grant::Connection(idle) if !wanted.accepts_identity(&idle.connection) => {
                let permit = self.end_but_permit(idle, CloseReason::GaveWay);
                Checkout::Open(permit, OpenReason::IdentityDiffers)
            }
            Grant::Connection(idle) => match self.adopt(idle) {
                Ok(idle) => {
                    self.shards[worker].lock().reused += 1;
                    Checkout::Reused(self.pooled(idle, Reused::Yes))
                }
                Err(permit) => Checkout::Open(permit, OpenReason::StealMiss),
            },
        }
    }
}

/// A wait that gives back what came too late.
struct Waiting<'a, C: Connection> {
    pool: &'a Arc<Pool<C>>,
    waiter: Waiter<C>,
}

impl<C: Connection> Drop for Waiting<'_, C> {
    fn drop(&mut self) {
        match self.waiter.abandon() {
            Some(Grant::Connection(idle)) => {
                if let Some(idle) = self.pool.limit.hand_over(idle) {
                    self.pool.end(idle, CloseReason::Surplus);
                }
            }
            Some(Grant::Permit(permit)) => drop(permit),
            None => {}
        }
    }
}
