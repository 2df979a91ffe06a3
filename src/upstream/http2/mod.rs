//! HTTP/2 towards one endpoint: a few connections, which the requests of all workers share.
//!
//! # Which connection does a request get?
//! One that carries fewer requests than `http2.streams` and than the endpoint allows, of the own worker if there is one,
//! else the least busy. When all are full another one is opened, within the pool's limit; at the limit they carry as
//! many as the endpoint allows, and then requests wait in order. How long a connection has been idle makes no difference
//! to requests that must not be sent twice: an endpoint that closes says which ones it has not processed.
//!
//! # How does a connection end?
//! As in the pool, idle, old or worn out: it takes no further request, ends those that it has, says GOAWAY and closes.
//! An endpoint that says GOAWAY ([`driver`]) gets no further request on that connection either; what it has not
//! processed goes elsewhere (RFC 9113 6.8, [`send()`]).
//!
//! # Who holds the permit?
//! The connection, as every other: one permit of the pool, one place in the ledger of ports, a reason for its opening
//! and one for its end.

mod body;
mod choice;
mod driver;
mod exchange;
mod io;
mod open;
mod send;
mod stream;
mod upload;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{
            AtomicU8,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

pub use self::driver::drives_streams;
pub(super) use self::{body::Http2Body, send::send};
use self::{
    choice::{Load, pick},
    driver::Life,
    open::Opening,
    stream::{Shared, StreamPermit},
};
use super::{
    answer::SendError,
    connection::Connection,
    connector::{ConnectError, Connector},
    endpoint::EndpointCounts,
    handshake::Offer,
};
use crate::{
    config::{self, Protocol},
    pool::{self, CheckoutError, CloseReason, Identity, OpenReason, Pool, Reused},
    worker::Timers,
};

/// The HTTP/2 connections of one endpoint.
#[derive(Debug)]
pub struct Connections {
    pool: Arc<Pool<Connection>>,
    connector: Arc<Connector>,
    counts: Arc<EndpointCounts>,
    http2: config::UpstreamHttp2,
    /// What the endpoint has chosen, where it may.
    chosen: AtomicU8,
    offer: Offer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Arc<Shared>>,
    /// What the connections that are being opened are for.
    opening: Vec<Option<Identity>>,
    waiters: VecDeque<Waiter>,
    /// Once set, no further connection is kept.
    closed: Option<CloseReason>,
}

#[derive(Debug)]
struct Waiter {
    identity: Option<Identity>,
    grant: oneshot::Sender<Grant>,
}

type Grant = Result<Found, NoStream>;

/// Why there is no stream.
#[derive(Debug, Clone, thiserror::Error)]
enum NoStream {
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    #[error(transparent)]
    Connect(#[from] Arc<ConnectError>),
}

impl From<NoStream> for SendError {
    fn from(error: NoStream) -> Self {
        match error {
            NoStream::Checkout(error) => error.into(),
            NoStream::Connect(error) => Self::Connect(error),
        }
    }
}

/// What a checkout gives.
#[derive(Debug)]
enum Found {
    Stream(StreamPermit),
    /// The endpoint has chosen HTTP/1.1.
    Http1,
}

/// What [`Connections::chosen`] holds.
const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

/// For whom a stream is.
#[derive(Debug, Clone, Copy)]
struct Asking<'a> {
    worker: usize,
    identity: Option<&'a Identity>,
}

/// What opening a connection takes.
#[derive(Debug, Clone, Copy)]
struct Means<'a> {
    worker: usize,
    timers: &'a Timers,
    connect: Duration,
}

impl Connections {
    /// `None` where the endpoints of the cluster are spoken to over HTTP/1 only.
    pub fn new(
        cluster: &config::Cluster,
        pool: &Arc<Pool<Connection>>,
        connector: &Arc<Connector>,
        counts: &Arc<EndpointCounts>,
    ) -> Option<Arc<Self>> {
        let (chosen, offer) = match cluster.protocol {
            Protocol::Http1 => return None,
            Protocol::Http2 => (HTTP2, Offer::Http2),
            Protocol::Auto => (UNKNOWN, Offer::Either),
        };
        Some(Arc::new(Self {
            pool: Arc::clone(pool),
            connector: Arc::clone(connector),
            counts: Arc::clone(counts),
            http2: cluster.http2,
            chosen: AtomicU8::new(chosen),
            offer,
            state: Mutex::default(),
        }))
    }

    /// Retires what has been idle for too long or is too old. To be called now and then.
    pub fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        if state.open.is_empty() {
            return;
        }
        let idle_timeout = self.pool.idle_timeout();
        let retired = take(&mut state.open, |shared| {
            let idle = shared.life.streams.load(SeqCst) == 0;
            let reason = if shared.retires.is_some_and(|at| now >= at) {
                CloseReason::MaxLifetime
            } else if idle && now.saturating_duration_since(*shared.idle_since()) >= idle_timeout {
                CloseReason::IdleTimeout
            } else {
                return false;
            };
            let _ = shared.life.ends.set(reason);
            true
        });
        drop(state);
        // Outside the lock: the last handle ends the connection.
        drop(retired);
    }

    /// Ends everything as soon as it is idle, also what is opened from now on.
    pub fn close(&self, reason: CloseReason) {
        let mut state = self.lock();
        state.closed = Some(reason);
        let retired = std::mem::take(&mut state.open);
        drop(state);
        for shared in &retired {
            let _ = shared.life.ends.set(reason);
        }
    }

    /// Requests in flight, and what may be seen of the connections.
    pub fn streams(&self) -> usize {
        let state = self.lock();
        state.open.iter().map(|shared| shared.life.streams.load(SeqCst)).sum()
    }

    /// What the pool's own counts do not know: the connections without a request, and the requests that wait.
    pub fn add_to(&self, status: &mut pool::Status) {
        let mut state = self.lock();
        state.forget_gone();
        let idle = |shared: &&Arc<Shared>| shared.life.streams.load(SeqCst) == 0;
        status.idle += state.open.iter().filter(idle).count();
        // A connection on its way that waits in the pool is for some of those who wait here.
        status.waiting = status.waiting.max(state.waiters.len());
    }

    /// A stream for a request, at once or after a wait.
    ///
    /// Cancellation: the place in the queue is given up, and a stream that was granted in the same moment goes back.
    async fn checkout(self: &Arc<Self>, identity: Option<&Identity>, means: Means<'_>) -> Grant {
        if self.chosen.load(Relaxed) == HTTP1 {
            return Ok(Found::Http1);
        }
        let asking = Asking {
            worker: means.worker,
            identity,
        };
        let (granted, patience) = {
            let mut state = self.lock();
            if let Some(permit) = self.find(&mut state, asking) {
                drop(state);
                self.pool.count_shared(means.worker);
                return Ok(Found::Stream(permit));
            }
            let policy = self.pool.policy();
            state.forget_gone();
            if state.waiters.len() >= policy.wait.queue.max(self.target(&policy)) {
                self.pool.count_without(CheckoutError::QueueFull);
                return Err(CheckoutError::QueueFull.into());
            }
            let (grant, granted) = oneshot::channel();
            state.waiters.push_back(Waiter {
                identity: identity.cloned(),
                grant,
            });
            self.grow(&mut state, identity, means);
            let opens = state.opening.iter().any(|of| of.as_ref() == identity);
            // Who only waits for the handshake of the first one does not wait for others to end.
            if !state.open.is_empty() && !self.pool.has_room() {
                self.pool.count_waited();
            }
            let connect = if opens { means.connect } else { Duration::ZERO };
            (granted, policy.wait.timeout + connect)
        };
        let late = means.timers.sleep_until(Instant::now() + patience);
        let grant = tokio::select! {
            biased;
            granted = granted => granted.unwrap_or_else(|_| Err(CheckoutError::TimedOut.into())),
            () = late => Err(CheckoutError::TimedOut.into()),
        };
        if let Err(NoStream::Checkout(error)) = grant {
            self.pool.count_without(error);
        }
        grant
    }

    /// Requests that one connection is to carry.
    fn target(&self, policy: &config::Pool) -> usize {
        if policy.max_idle == 0 {
            return 1;
        }
        self.http2.streams as usize
    }

    /// A stream of one of the open connections.
    fn find(self: &Arc<Self>, state: &mut State, asking: Asking<'_>) -> Option<StreamPermit> {
        let policy = self.pool.policy();
        let target = self.target(&policy);
        let load = |shared: &Arc<Shared>| Load {
            streams: shared.life.streams.load(SeqCst),
            allowed: shared.allowed.load(Relaxed),
            own: shared.worker == asking.worker,
            fits: shared.identity.as_ref() == asking.identity,
        };
        let index = pick(state.open.iter().map(load), target)
            .or_else(|| (!self.pool.has_room()).then(|| pick(state.open.iter().map(load), usize::MAX))?)?;
        let shared = Arc::clone(&state.open[index]);
        shared.life.streams.fetch_add(1, SeqCst);
        let served = shared.served.fetch_add(1, Relaxed) + 1;
        let worn_out = if policy.max_idle == 0 {
            Some(CloseReason::PoolingOff)
        } else {
            (policy.max_requests > 0 && served >= policy.max_requests).then_some(CloseReason::MaxRequests)
        };
        if let Some(reason) = worn_out {
            let _ = shared.life.ends.set(reason);
            state.open.swap_remove(index);
        }
        Some(StreamPermit {
            shared,
            connections: Arc::clone(self),
            reused: if served > 1 { Reused::Yes } else { Reused::No },
        })
    }

    /// Opens another connection, unless those on their way will do for all who wait.
    fn grow(self: &Arc<Self>, state: &mut State, identity: Option<&Identity>, means: Means<'_>) {
        let same = |of: &Option<Identity>| of.as_ref() == identity;
        let waiting = state.waiters.iter().filter(|waiter| same(&waiter.identity)).count();
        let coming = state.opening.iter().filter(|of| same(of)).count();
        // At the limit those that are open will serve them, as requests end.
        if !self.pool.has_room() && state.open.iter().any(|shared| same(&shared.identity)) {
            return;
        }
        let policy = self.pool.policy();
        let allowed = state.open.iter().filter(|shared| same(&shared.identity));
        let allowed = allowed.map(|shared| shared.allowed.load(Relaxed)).min();
        let each = self.target(&policy).min(allowed.unwrap_or(usize::MAX)).max(1);
        if waiting <= coming.saturating_mul(each) {
            return;
        }
        let reason = if policy.max_idle == 0 {
            OpenReason::PoolingOff
        } else if allowed.is_none() {
            OpenReason::NoneIdle
        } else {
            OpenReason::StreamsFull
        };
        state.opening.push(identity.cloned());
        self.let_idle_give_way(state, identity);
        Opening::new(self, identity, reason, means).start();
    }

    /// At the limit, an idle connection for another server name makes room.
    fn let_idle_give_way(&self, state: &mut State, identity: Option<&Identity>) {
        if identity.is_none() || self.pool.has_room() {
            return;
        }
        let idle = |shared: &Arc<Shared>| shared.life.streams.load(SeqCst) == 0;
        if let Some(index) = state.open.iter().position(idle) {
            let _ = state.open[index].life.ends.set(CloseReason::GaveWay);
            state.open.swap_remove(index);
        }
    }

    /// Gives streams to those who wait, as far as there are any.
    fn serve_waiters(self: &Arc<Self>, worker: usize) {
        loop {
            let mut state = self.lock();
            // One that is served in vain would serve the next within its own end, and so on, ever deeper.
            state.forget_gone();
            let served = (0..state.waiters.len()).find_map(|index| {
                let identity = state.waiters[index].identity.clone();
                let asking = Asking {
                    worker,
                    identity: identity.as_ref(),
                };
                let permit = self.find(&mut state, asking)?;
                Some((state.waiters.remove(index)?, permit))
            });
            drop(state);
            let Some((waiter, permit)) = served else { return };
            if permit.reused == Reused::Yes {
                self.pool.count_shared(worker);
            }
            // Whoever has gone gives it back, and the next one is served.
            let _ = waiter.grant.send(Ok(Found::Stream(permit)));
        }
    }

    /// Opens connections for those who wait: for one that has ended, or because those that are open are full.
    fn regrow(self: &Arc<Self>, means: Means<'_>) {
        let mut state = self.lock();
        let waiting: Vec<_> = state.waiters.iter().map(|waiter| waiter.identity.clone()).collect();
        for identity in waiting {
            self.grow(&mut state, identity.as_ref(), means);
        }
    }

    /// A connection of `life` takes no further request.
    fn forget(&self, life: &Arc<Life>) {
        let gone = take(&mut self.lock().open, |shared| Arc::ptr_eq(&shared.life, life));
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }
}

impl State {
    /// Leaves out who has given up waiting.
    fn forget_gone(&mut self) {
        self.waiters.retain(|waiter| !waiter.grant.is_closed());
    }
}

/// Takes out what `goes`.
fn take<T>(all: &mut Vec<T>, mut goes: impl FnMut(&T) -> bool) -> Vec<T> {
    let (gone, kept) = std::mem::take(all).into_iter().partition(|one| goes(one));
    *all = kept;
    gone
}
