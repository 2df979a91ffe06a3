//! The kept connections of one endpoint.
//!
//! # Which connection does a request get?
//! One of its own worker's idle ones (which one: [`config::Order`]); failing that, one of a sibling worker; failing that,
//! the right to open one (a [`Permit`]), of which there are exactly `max_connections` over all workers. When all are in
//! use the request waits in order, and gets the first connection that comes back or the first permit, whichever is
//! earlier. A request that must not be sent twice may ask for a connection that was in use a moment ago ([`Wanted`]).
//!
//! # How does a connection come back?
//! By [`Pooled::check_in`], which only the end of an exchange at its exact border may call. A [`Pooled`] that is dropped
//! otherwise is closed: what state it is in, nobody knows.
//!
//! # How does a connection end?
//! By [`Connection::close`], with an [`End`] that says why and in which manner; who closed first comes back with it. The
//! permit is free once the connection is gone, so that there are never more than `max_connections`.
//!
//! # What does it cost?
//! A checkout on the own shard is one uncontended lock and no system call: an idle socket stays registered with its
//! worker's reactor, whose readiness tells whether the endpoint has closed it or sent something.
//!
//! The pool is generic over its connection and opens none itself. One pool serves connections that are opened in one
//! way; where a single request can make a difference, connections have an [`Identity`].

mod connection;
mod counts;
mod identity;
mod idle;
mod learn;
mod limit;
mod pooled;
mod reason;
mod steal;
mod wait;
mod warm;

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    task::{Context, Waker},
    time::Duration,
};

use counts::Counts;
use idle::{Evicted, Idle, IdleSet, Terms};
use limit::Limit;
use tokio::time::Instant;

pub use connection::{Connection, Liveness};
pub use counts::{End, Reuse, Status};
pub use identity::{Identity, OneClient};
pub use idle::Wanted;
pub use learn::Learning;
pub use limit::Permit;
pub use pooled::{Pooled, Reused};
pub use reason::{CloseReason, FirstClose, OpenReason};
pub use warm::Warming;

use crate::config;

/// How often [`Pool::sweep`] is to be called on each worker.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// How long nothing is opened ahead of need after that has failed.
const WARM_REST: Duration = Duration::from_secs(1);

/// The pool of one endpoint.
#[derive(Debug)]
pub struct Pool<C: Connection> {
    /// One per worker. A shard's lock is contended only while a sibling looks for a connection to take.
    shards: Box<[Shard<C>]>,
    limit: Arc<Limit<C>>,
    idle: AtomicUsize,
    max_idle: AtomicUsize,
    /// For what is rare; the shards have it too.
    policy: RwLock<config::Pool>,
    learning: Arc<Mutex<Learning>>,
    /// Seconds of the last `Keep-Alive: timeout=N`, so that the same again costs one load.
    stated: AtomicU64,
    /// Connections that are being opened ahead of need.
    warming: AtomicUsize,
    warm_resumes: Mutex<Option<Instant>>,
    /// Once set, what comes back is closed for this reason.
    closed: OnceLock<CloseReason>,
    counts: Arc<Counts>,
}

/// Keeps neighbours off each other's cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<C>(Mutex<ShardState<C>>);

#[derive(Debug)]
struct ShardState<C> {
    idle: IdleSet<C>,
    terms: Terms,
    /// Woken when an idle connection of this worker shows anything, so that a sweep follows.
    alarm: Waker,
    reused: u64,
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
    #[error("no source port is free towards the endpoint and no connection became free in time")]
    NoPort,
}

impl<C: Connection> Pool<C> {
    /// A pool for `workers` workers. `learning` is what another pool has learned of the same endpoint.
    pub fn new(policy: &config::Pool, workers: usize, learning: Arc<Mutex<Learning>>) -> Arc<Self> {
        let terms = Terms {
            idle_timeout: lock(&learning).idle_timeout(policy.idle_timeout),
            policy: *policy,
        };
        let shard = || {
            Shard(Mutex::new(ShardState {
                idle: IdleSet::new(),
                terms,
                alarm: Waker::noop().clone(),
                reused: 0,
            }))
        };
        Arc::new(Self {
            shards: (0..workers.max(1)).map(|_| shard()).collect(),
            limit: Limit::new(policy.max_connections),
            idle: AtomicUsize::new(0),
            max_idle: AtomicUsize::new(policy.max_idle),
            policy: RwLock::new(*policy),
            learning,
            stated: AtomicU64::new(u64::MAX),
            warming: AtomicUsize::new(0),
            warm_resumes: Mutex::new(None),
            closed: OnceLock::new(),
            counts: Arc::default(),
        })
    }

    /// Puts a reloaded policy in force; kept connections stay, as far as it lets them.
    pub fn set_policy(&self, policy: &config::Pool) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = *policy;
        self.set_terms();
        self.max_idle.store(policy.max_idle, Relaxed);
        self.limit.set_max(policy.max_connections);
    }

    /// Finds an idle connection for a request on `worker`, or the right to open one, without waiting.
    pub fn try_checkout(self: &Arc<Self>, worker: usize, wanted: Wanted<'_>, now: Instant) -> Option<Checkout<C>> {
        if self.max_idle.load(Relaxed) == 0 {
            return Some(Checkout::Open(self.limit.try_acquire()?, OpenReason::PoolingOff));
        }
        let mut evicted = Evicted::new();
        let found = match self.take_own(worker, wanted, now, &mut evicted) {
            Some(idle) => Ok(idle),
            None => self.steal(worker, wanted, now, &mut evicted),
        };
        if !evicted.is_empty() {
            self.close_evicted(evicted, now);
        }
        let reason = match found {
            Ok(idle) => return Some(Checkout::Reused(self.pooled(idle, Reused::Yes))),
            Err(reason) => reason,
        };
        let permit = self.limit.try_acquire();
        let permit = permit.or_else(|| self.permit_of_idle(worker, reason, now))?;
        Some(Checkout::Open(permit, reason))
    }

    /// Takes charge of a connection that was opened with `permit`.
    pub fn opened(self: &Arc<Self>, connection: C, permit: Permit<C>, reason: OpenReason, now: Instant) -> Pooled<C> {
        self.counts.opened(reason);
        self.limit.note_opened();
        let idle = Idle {
            connection,
            permit,
            opened: now,
            idle_since: now,
            retires: self.retirement(now),
            requests: 0,
        };
        self.pooled(Box::new(idle), Reused::No)
    }

    /// Whether another connection may be opened.
    pub fn has_room(&self) -> bool {
        self.limit.has_room()
    }

    /// How long a connection may be idle, as things stand.
    pub fn idle_timeout(&self) -> Duration {
        self.shards[0].lock().terms.idle_timeout
    }

    /// When a connection that is opened now takes no further request; `None`: never.
    pub fn retirement(&self, now: Instant) -> Option<Instant> {
        idle::retirement(now, self.policy().max_lifetime, fastrand::f64())
    }

    /// Counts a request on `worker` for which a connection was at hand that it shares with others.
    pub fn count_shared(&self, worker: usize) {
        self.shards[worker].lock().reused += 1;
    }

    /// Counts a connection to the same endpoint that is not of the pool, and gives what its end is to be told with.
    pub fn count_opened(&self, reason: OpenReason) {
        self.counts.opened(reason);
    }

    /// The end of a connection that is not of the pool.
    pub fn end_of_other(&self, reason: CloseReason) -> End<C> {
        End::new(reason, self.policy().close, &self.counts, None)
    }

    /// Closes what `worker` keeps and should not: dead, too old, idle for too long. To be called every
    /// [`SWEEP_INTERVAL`], and when `alarm` is woken: an idle connection has shown something then. So a socket that the
    /// endpoint has closed does not stay (CLOSE_WAIT).
    pub fn sweep(&self, worker: usize, now: Instant, alarm: &Waker) {
        let mut evicted = Evicted::new();
        {
            let mut state = self.shards[worker].lock();
            state.set_alarm(alarm);
            let terms = state.terms;
            state.idle.evict(&terms, now, &mut evicted);
            // More than there may be are left only by a reload that lowered the limit.
            let surplus = self
                .idle
                .load(Relaxed)
                .saturating_sub(evicted.len() + terms.policy.max_idle);
            state.idle.evict_oldest(surplus, &mut evicted);
        }
        self.idle.fetch_sub(evicted.len(), Relaxed);
        self.close_evicted(evicted, now);
        if worker == 0 {
            self.forget_slowly(now);
            self.limit.tick(now);
        }
    }

    /// Closes everything idle, and everything that comes back from now on.
    /// The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let _ = self.closed.set(reason);
        for shard in &self.shards {
            let idle = shard.lock().idle.clear();
            self.idle.fetch_sub(idle.len(), Relaxed);
            self.end_all(idle, reason);
        }
    }

    pub fn status(&self) -> Status {
        let counts = &self.counts;
        // A guard in the literal below would live to its end.
        let idle_timeout = self.idle_timeout();
        Status {
            connections: self.limit.held(),
            idle: self.idle.load(Relaxed),
            waiting: self.limit.waiting(),
            idle_timeout,
            reused: self.shards.iter().map(|shard| shard.lock().reused).sum(),
            stolen: counts.stolen.load(Relaxed),
            waited: counts.waited.load(Relaxed),
            wait_timeouts: counts.wait_timeouts.load(Relaxed),
            queue_full: counts.queue_full.load(Relaxed),
            opened: counts.by_open_reason(),
            closed: counts.by_close_reason(),
        }
    }

    /// Calls `visit` for every idle connection.
    pub fn for_each_idle(&self, mut visit: impl FnMut(&C)) {
        for shard in &self.shards {
            shard.lock().idle.iter().for_each(&mut visit);
        }
    }

    /// What has been learned of the endpoint, for a pool that takes this one's place.
    pub fn learning(&self) -> Arc<Mutex<Learning>> {
        Arc::clone(&self.learning)
    }

    fn take_own(
        &self,
        worker: usize,
        wanted: Wanted<'_>,
        now: Instant,
        evicted: &mut Evicted<C>,
    ) -> Option<Box<Idle<C>>> {
        let mut state = self.shards[worker].lock();
        let ShardState {
            idle, terms, reused, ..
        } = &mut *state;
        let before = idle.len();
        let found = idle.take(terms, wanted, now, evicted);
        *reused += u64::from(found.is_some());
        let taken = before - idle.len();
        drop(state);
        self.idle.fetch_sub(taken, Relaxed);
        found
    }

    fn last_use(&self, idle: &Idle<C>, worker: usize, now: Instant) -> Option<CloseReason> {
        idle::last_use(idle, &self.shards[worker].lock().terms, now)
    }

    fn check_in(&self, worker: usize, mut idle: Box<Idle<C>>, now: Instant) {
        let shard = &self.shards[worker];
        loop {
            let mut state = shard.lock();
            if let Some(reason) = self.unwelcome(&mut idle, &state.terms, now) {
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
            if self.idle.fetch_add(1, SeqCst) >= state.terms.policy.max_idle {
                self.idle.fetch_sub(1, SeqCst);
                drop(state);
                // What serves one name or one client alone is the less likely to be asked for, the longer it was not.
                if idle.connection.identity().is_some()
                    && let Some(oldest) = self.take_oldest(worker, now)
                {
                    self.end(oldest, CloseReason::Surplus);
                    continue;
                }
                return self.end(idle, CloseReason::Surplus);
            }
            // 50 ns, without which a socket that the endpoint closes stays in CLOSE_WAIT until the next sweep.
            idle.connection.watch(&mut Context::from_waker(&state.alarm));
            state.idle.push(idle);
            drop(state);
            if self.limit.waiting() == 0 && self.closed.get().is_none() {
                return;
            }
            // A waiter joined, or the pool was closed, while the connection was being put back. It comes back once more,
            // since the same may happen again meanwhile.
            let Some(newest) = shard.lock().idle.pop_newest() else {
                return;
            };
            self.idle.fetch_sub(1, Relaxed);
            idle = newest;
        }
    }

    /// Why a connection that comes back is not kept.
    fn unwelcome(&self, idle: &mut Idle<C>, terms: &Terms, now: Instant) -> Option<CloseReason> {
        if let Some(reason) = self.closed.get() {
            return Some(*reason);
        }
        // Without pooling, no waiter gets a used connection either.
        idle::unfit(idle, terms, now).or((terms.policy.max_idle == 0).then_some(CloseReason::PoolingOff))
    }

    fn pooled(self: &Arc<Self>, idle: Box<Idle<C>>, reused: Reused) -> Pooled<C> {
        Pooled {
            slot: Some(idle),
            pool: Arc::clone(self),
            reused,
        }
    }

    fn close_evicted(&self, evicted: Evicted<C>, now: Instant) {
        self.learn_from(&evicted, now);
        for (idle, reason) in evicted {
            self.end(idle, reason);
        }
    }

    /// Notes at which idle ages the endpoint has closed connections.
    fn learn_from(&self, evicted: &Evicted<C>, now: Instant) {
        let by_endpoint =
            |reason: CloseReason| matches!(reason, CloseReason::ClosedByEndpoint | CloseReason::ResetByEndpoint);
        let closed = evicted.iter().filter(|(_, reason)| by_endpoint(*reason));
        let ages: Vec<_> = closed
            .map(|(idle, _)| now.saturating_duration_since(idle.idle_since))
            .collect();
        if !ages.is_empty() {
            lock(&self.learning).note_closed(&ages, now);
            self.set_terms();
        }
    }

    fn note_stated_timeout(&self, timeout: Duration) {
        if self.stated.swap(timeout.as_secs(), Relaxed) != timeout.as_secs() {
            lock(&self.learning).note_stated(timeout);
            self.set_terms();
        }
    }

    fn forget_slowly(&self, now: Instant) {
        let in_force = self.shards[0].lock().terms;
        let idle_timeout = {
            let mut learning = lock(&self.learning);
            learning.note_time(now);
            learning.idle_timeout(in_force.policy.idle_timeout)
        };
        if idle_timeout != in_force.idle_timeout {
            self.set_terms();
        }
    }

    /// Tells the shards what is in force now.
    fn set_terms(&self) {
        let policy = self.policy();
        let terms = Terms {
            idle_timeout: lock(&self.learning).idle_timeout(policy.idle_timeout),
            policy,
        };
        for shard in &self.shards {
            shard.lock().terms = terms;
        }
    }

    /// What is in force.
    pub fn policy(&self) -> config::Pool {
        *self.policy.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn warm_resumes(&self) -> Option<Instant> {
        *lock(&self.warm_resumes)
    }

    fn rest_warming(&self, now: Instant) {
        *lock(&self.warm_resumes) = Some(now + WARM_REST);
    }

    #[allow(clippy::boxed_local, reason = "it comes in its box")]
    fn end(&self, idle: Box<Idle<C>>, reason: CloseReason) {
        let Idle { connection, permit, .. } = *idle;
        connection.close(End::new(reason, self.policy().close, &self.counts, Some(permit)));
    }

    #[allow(clippy::boxed_local, reason = "it comes in its box")]
    fn end_but_permit(&self, idle: Box<Idle<C>>, reason: CloseReason) -> Permit<C> {
        let Idle { connection, permit, .. } = *idle;
        connection.close(End::new(reason, self.policy().close, &self.counts, None));
        permit
    }

    fn end_all(&self, all: VecDeque<Box<Idle<C>>>, reason: CloseReason) {
        for idle in all {
            self.end(idle, reason);
        }
    }
}

impl<C: Connection> ShardState<C> {
    fn set_alarm(&mut self, alarm: &Waker) {
        if !self.alarm.will_wake(alarm) {
            self.alarm = alarm.clone();
            let mut context = Context::from_waker(alarm);
            self.idle.iter().for_each(|connection| connection.watch(&mut context));
        }
    }
}

impl<C> Shard<C> {
    fn lock(&self) -> MutexGuard<'_, ShardState<C>> {
        self.0.lock().expect("no panic under this lock")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic under this lock")
}

impl<C: Connection> Drop for Pool<C> {
    fn drop(&mut self) {
        for index in 0..self.shards.len() {
            let idle = mem::replace(&mut self.shards[index].lock().idle, IdleSet::new()).clear();
            self.end_all(idle, CloseReason::EndpointRemoved);
        }
    }
}

#[cfg(test)]
mod tests;
