//! The kept connections of one endpoint.
//!
//! # Which connection does a request get?
//! The most recently used idle one of its own worker; failing that, one of a sibling worker; failing that, the right to
//! open one (a [`Permit`]), of which there are exactly `max_connections` over all workers. When all are in use the
//! request waits in order, and gets the first connection that comes back or the first permit, whichever is earlier.
//!
//! # How does a connection come back?
//! By [`Pooled::check_in`], which only the end of an exchange at its exact border may call. A [`Pooled`] that is dropped
//! otherwise is closed: what state it is in, nobody knows.
//!
//! # What does it cost?
//! A checkout on the own shard is one uncontended lock and no system call: an idle socket stays registered with its
//! worker's reactor, whose readiness tells whether the endpoint has closed it or sent something.
//!
//! The pool is generic over its connection and opens none itself.

mod idle;
mod limit;
mod pooled;
mod reason;

use std::{
    future::Future,
    mem,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
};

use idle::{Evicted, Idle, IdleSet};
use limit::{Grant, Limit};
use tokio::time::Instant;

pub use limit::Permit;
pub use pooled::{Pooled, Reused};
pub use reason::{CloseReason, OpenReason};

use crate::config;

/// What the pool asks of what it keeps.
pub trait Connection: Send + 'static {
    /// The state of an idle connection as the reactor of its worker last saw it, without a system call.
    fn liveness(&self) -> Liveness;

    /// Moves it to the calling worker's reactor and looks at the socket itself.
    ///
    /// # Errors
    /// Why it cannot be used, once it has been closed for that.
    fn adopt(self) -> Result<Self, CloseReason>
    where
        Self: Sized;

    /// Ends it in the way that the reason demands.
    fn close(self, reason: CloseReason);
}

/// What an idle connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    Silent,
    Closed,
    Reset,
    /// Bytes that no request asked for.
    Readable,
}

/// The pool of one endpoint.
#[derive(Debug)]
pub struct Pool<C: Connection> {
    /// One per worker. A shard's lock is contended only while a sibling looks for a connection to take.
    shards: Box<[Shard<C>]>,
    limit: Arc<Limit<C>>,
    idle: AtomicUsize,
    max_idle: AtomicUsize,
    /// Once set, what comes back is closed for this reason.
    closed: OnceLock<CloseReason>,
    counts: Counts,
}

/// Keeps neighbours off each other's cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<C>(Mutex<ShardState<C>>);

#[derive(Debug)]
struct ShardState<C> {
    idle: IdleSet<C>,
    policy: config::Pool,
    reused: u64,
}

#[derive(Debug)]
struct Counts {
    opened: [AtomicU64; OpenReason::ALL.len()],
    closed: [AtomicU64; CloseReason::ALL.len()],
    stolen: AtomicU64,
    waited: AtomicU64,
    wait_timeouts: AtomicU64,
    queue_full: AtomicU64,
}

/// What the pool looks like at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Connections that exist, idle ones included.
    pub connections: usize,
    pub idle: usize,
    pub waiting: usize,
    pub reused: u64,
    pub stolen: u64,
    pub waited: u64,
    pub wait_timeouts: u64,
    pub queue_full: u64,
    pub opened: Vec<(OpenReason, u64)>,
    pub closed: Vec<(CloseReason, u64)>,
}

/// The answer to a checkout.
#[derive(Debug)]
pub enum Checkout<C: Connection> {
    Reused(Pooled<C>),
    /// The caller opens a connection and hands it to [`Pool::opened`].
    Open(Permit<C>, OpenReason),
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    #[error("all connections are in use and the queue is full")]
    QueueFull,
    #[error("all connections are in use and none became free in time")]
    TimedOut,
}

impl<C: Connection> Pool<C> {
    pub fn new(policy: &config::Pool, workers: usize) -> Arc<Self> {
        let shard = || {
            Shard(Mutex::new(ShardState {
                idle: IdleSet::new(),
                policy: *policy,
                reused: 0,
            }))
        };
        Arc::new(Self {
            shards: (0..workers.max(1)).map(|_| shard()).collect(),
            limit: Limit::new(policy.max_connections),
            idle: AtomicUsize::new(0),
            max_idle: AtomicUsize::new(policy.max_idle),
            closed: OnceLock::new(),
            counts: Counts {
                opened: Default::default(),
                closed: Default::default(),
                stolen: AtomicU64::new(0),
                waited: AtomicU64::new(0),
                wait_timeouts: AtomicU64::new(0),
                queue_full: AtomicU64::new(0),
            },
        })
    }

    /// Puts a reloaded policy in force; kept connections stay, as far as it lets them.
    pub fn set_policy(&self, policy: &config::Pool) {
        for shard in &self.shards {
            shard.lock().policy = *policy;
        }
        self.max_idle.store(policy.max_idle, Relaxed);
        self.limit.set_max(policy.max_connections);
    }

    /// Finds a connection for a request on `worker`, or the right to open one; waits for either at most until
    /// `deadline` is ready.
    ///
    /// Cancellation: the place in the queue is given up, and what was granted in the same moment goes back.
    pub async fn checkout(
        self: &Arc<Self>,
        worker: usize,
        now: Instant,
        deadline: impl Future<Output = ()>,
    ) -> Result<Checkout<C>, CheckoutError> {
        if let Some(found) = self.try_checkout(worker, now) {
            return Ok(found);
        }
        self.wait(worker, now, deadline).await
    }

    /// As [`Pool::checkout`], without waiting.
    pub fn try_checkout(self: &Arc<Self>, worker: usize, now: Instant) -> Option<Checkout<C>> {
        if self.max_idle.load(Relaxed) == 0 {
            return Some(Checkout::Open(self.limit.try_acquire()?, OpenReason::PoolingOff));
        }
        let mut evicted = Evicted::new();
        let found = match self.take_own(worker, now, &mut evicted) {
            Some(idle) => Ok(idle),
            None => self.steal(worker, now, &mut evicted),
        };
        self.close_evicted(evicted);
        match found {
            Ok(idle) => Some(Checkout::Reused(self.pooled(idle, Reused::Yes))),
            Err(reason) => Some(Checkout::Open(self.limit.try_acquire()?, reason)),
        }
    }

    /// Takes charge of a connection that was opened with `permit`.
    pub fn opened(
        self: &Arc<Self>,
        connection: C,
        permit: Permit<C>,
        reason: OpenReason,
        now: Instant,
        max_lifetime: std::time::Duration,
    ) -> Pooled<C> {
        self.counts.opened[reason as usize].fetch_add(1, Relaxed);
        let retires = idle::retirement(now, max_lifetime, fastrand::f64());
        let idle = Idle {
            connection,
            permit,
            opened: now,
            idle_since: now,
            retires,
            requests: 0,
        };
        self.pooled(Box::new(idle), Reused::No)
    }

    /// Closes what `worker` keeps and should not: dead, too old, idle for too long. To be called every 250 ms or so, so
    /// that a socket which the endpoint has closed never stays (CLOSE_WAIT).
    pub fn sweep(&self, worker: usize, now: Instant) {
        let mut evicted = Evicted::new();
        {
            let mut state = self.shards[worker].lock();
            let policy = state.policy;
            state.idle.evict(&policy, now, &mut evicted);
            // More than there may be are left only by a reload that lowered the limit.
            let surplus = self.idle.load(Relaxed).saturating_sub(evicted.len() + policy.max_idle);
            state.idle.evict_oldest(surplus, &mut evicted);
        }
        self.idle.fetch_sub(evicted.len(), Relaxed);
        self.close_evicted(evicted);
    }

    /// Closes everything idle, and everything that comes back from now on.
    /// The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let _ = self.closed.set(reason);
        for shard in &self.shards {
            let idle = shard.lock().idle.clear();
            self.idle.fetch_sub(idle.len(), Relaxed);
            self.close_evicted(idle.into_iter().map(|idle| (idle, reason)).collect());
        }
    }

    pub fn status(&self) -> Status {
        let counts = &self.counts;
        Status {
            connections: self.limit.held(),
            idle: self.idle.load(Relaxed),
            waiting: self.limit.waiting(),
            reused: self.shards.iter().map(|shard| shard.lock().reused).sum(),
            stolen: counts.stolen.load(Relaxed),
            waited: counts.waited.load(Relaxed),
            wait_timeouts: counts.wait_timeouts.load(Relaxed),
            queue_full: counts.queue_full.load(Relaxed),
            opened: OpenReason::ALL
                .iter()
                .map(|r| (*r, counts.opened[*r as usize].load(Relaxed)))
                .collect(),
            closed: CloseReason::ALL
                .iter()
                .map(|r| (*r, counts.closed[*r as usize].load(Relaxed)))
                .collect(),
        }
    }

    fn take_own(&self, worker: usize, now: Instant, evicted: &mut Evicted<C>) -> Option<Box<Idle<C>>> {
        let mut state = self.shards[worker].lock();
        let policy = state.policy;
        let before = state.idle.len();
        let idle = state.idle.take(&policy, now, evicted);
        state.reused += u64::from(idle.is_some());
        let taken = before - state.idle.len();
        drop(state);
        self.idle.fetch_sub(taken, Relaxed);
        idle
    }

    /// Takes an idle connection from a sibling: two system calls to move it and one to look at it, which is less than a
    /// new connection costs, and keeps their number at what one worker would need. Else says why one must be opened.
    fn steal(&self, worker: usize, now: Instant, evicted: &mut Evicted<C>) -> Result<Box<Idle<C>>, OpenReason> {
        let mut open_reason = match evicted.len() {
            0 => OpenReason::NoneIdle,
            _ => OpenReason::AllExpired,
        };
        for step in 1..self.shards.len() {
            // In one order with `join`: a waiter that sees nothing here is seen by whoever checks in.
            while self.idle.load(SeqCst) > 0 {
                let sibling = &self.shards[(worker + step) % self.shards.len()];
                let (stolen, policy) = {
                    let mut state = sibling.lock();
                    (state.idle.steal(), state.policy)
                };
                let Some(idle) = stolen else { break };
                self.idle.fetch_sub(1, Relaxed);
                if let Some(reason) = idle::too_old(&idle, &policy, now) {
                    evicted.push((idle, reason));
                } else if let Ok(idle) = self.adopt(idle) {
                    self.counts.stolen.fetch_add(1, Relaxed);
                    self.shards[worker].lock().reused += 1;
                    return Ok(idle);
                }
                open_reason = OpenReason::AllExpired;
            }
        }
        Err(open_reason)
    }

    /// Brings a connection of another worker over to this one; what is left of one that cannot be used is its permit.
    #[allow(
        clippy::boxed_local,
        reason = "it comes in its box and is most often handed on in it"
    )]
    fn adopt(&self, idle: Box<Idle<C>>) -> Result<Box<Idle<C>>, Permit<C>> {
        let Idle {
            connection,
            permit,
            opened,
            idle_since,
            retires,
            requests,
        } = *idle;
        match connection.adopt() {
            Ok(connection) => Ok(Box::new(Idle {
                connection,
                permit,
                opened,
                idle_since,
                retires,
                requests,
            })),
            Err(reason) => {
                self.counts.closed[reason as usize].fetch_add(1, Relaxed);
                Err(permit)
            }
        }
    }

    async fn wait(
        self: &Arc<Self>,
        worker: usize,
        now: Instant,
        deadline: impl Future<Output = ()>,
    ) -> Result<Checkout<C>, CheckoutError> {
        let length = self.shards[worker].lock().policy.wait.queue;
        let Some(waiter) = self.limit.join(length) else {
            self.counts.queue_full.fetch_add(1, Relaxed);
            return Err(CheckoutError::QueueFull);
        };
        let mut waiting = Waiting { pool: self, waiter };
        // By the invariant of `join`.
        if let Some(found) = self.try_checkout(worker, now) {
            return Ok(found);
        }
        self.counts.waited.fetch_add(1, Relaxed);
        tokio::select! {
            biased;
            granted = &mut waiting.waiter.granted => match granted {
                Ok(grant) => Ok(self.take_up(worker, grant)),
                Err(_) => Err(CheckoutError::TimedOut),
            },
            () = deadline => {
                self.counts.wait_timeouts.fetch_add(1, Relaxed);
                Err(CheckoutError::TimedOut)
            }
        }
    }

    fn take_up(self: &Arc<Self>, worker: usize, grant: Grant<C>) -> Checkout<C> {
        match grant {
            Grant::Permit(permit) => Checkout::Open(permit, OpenReason::NoneIdle),
            Grant::Connection(idle) => match self.adopt(idle) {
                Ok(idle) => {
                    self.shards[worker].lock().reused += 1;
                    Checkout::Reused(self.pooled(idle, Reused::Yes))
                }
                Err(permit) => Checkout::Open(permit, OpenReason::AllExpired),
            },
        }
    }

    fn check_in(&self, worker: usize, mut idle: Box<Idle<C>>, now: Instant) {
        idle.requests += 1;
        idle.idle_since = now;
        let shard = &self.shards[worker];
        loop {
            let mut state = shard.lock();
            if let Some(reason) = self.unwelcome(&idle, &state.policy, now) {
                drop(state);
                return self.end(idle, reason);
            }
            if self.limit.waiting() > 0 {
                drop(state);
                match self.limit.hand_over(idle) {
                    Some(back) => idle = back,
                    None => return,
                }
                state = shard.lock();
            }
            // Counted first, so that two workers cannot both take the last place.
            if self.idle.fetch_add(1, SeqCst) >= state.policy.max_idle {
                self.idle.fetch_sub(1, SeqCst);
                drop(state);
                return self.end(idle, CloseReason::Surplus);
            }
            state.idle.push(idle);
            drop(state);
            if self.limit.waiting() == 0 && self.closed.get().is_none() {
                return;
            }
            // A waiter joined, or the pool was closed, while the connection was being put back. It comes back once more,
            // since the same may happen again meanwhile.
            let Some(newest) = shard.lock().idle.steal() else {
                return;
            };
            self.idle.fetch_sub(1, Relaxed);
            idle = newest;
        }
    }

    /// Why a connection that comes back is not kept.
    fn unwelcome(&self, idle: &Idle<C>, policy: &config::Pool, now: Instant) -> Option<CloseReason> {
        if let Some(reason) = self.closed.get() {
            return Some(*reason);
        }
        // Without pooling, no waiter gets a used connection either.
        idle::unfit(idle, policy, now).or((policy.max_idle == 0).then_some(CloseReason::Surplus))
    }

    fn pooled(self: &Arc<Self>, idle: Box<Idle<C>>, reused: Reused) -> Pooled<C> {
        Pooled {
            slot: Some(idle),
            pool: Arc::clone(self),
            reused,
        }
    }

    fn close_evicted(&self, evicted: Evicted<C>) {
        for (idle, reason) in evicted {
            self.end(idle, reason);
        }
    }

    #[allow(clippy::boxed_local, reason = "it comes in its box")]
    fn end(&self, idle: Box<Idle<C>>, reason: CloseReason) {
        self.counts.closed[reason as usize].fetch_add(1, Relaxed);
        let Idle { connection, permit, .. } = *idle;
        connection.close(reason);
        drop(permit);
    }
}

impl<C> Shard<C> {
    fn lock(&self) -> std::sync::MutexGuard<'_, ShardState<C>> {
        self.0.lock().expect("no panic under this lock")
    }
}

/// A wait that gives back what came too late.
struct Waiting<'a, C: Connection> {
    pool: &'a Arc<Pool<C>>,
    waiter: limit::Waiter<C>,
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

impl<C: Connection> Drop for Pool<C> {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            let state = shard.0.get_mut().expect("no panic under this lock");
            for idle in mem::replace(&mut state.idle, IdleSet::new()).clear() {
                idle.connection.close(CloseReason::EndpointRemoved);
            }
        }
    }
}

#[cfg(test)]
mod tests;
