//! Opens one more HTTP/2 connection, for all who wait for it; then drives it.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::client;
use tokio::time::Instant;

use super::{
    Connections, Found, HTTP1, HTTP2, Means, NoStream, Shared,
    driver::{Driver, Life, Listed},
    io::Io,
};
use crate::{
    http1,
    pool::{CloseReason, Identity, OpenReason, Permit},
    upstream::{
        connection::Connection,
        connector::{ConnectError, Purpose},
        handshake::Offer,
    },
    worker::Timers,
};

/// Streams of ours that may end by reset within [`RESET_MEMORY`] and still get late frames that are passed over.
const MAX_RESETS: usize = 1000;
const RESET_MEMORY: Duration = Duration::from_secs(5);

/// Streams that are allowed while the endpoint has not said how many.
const NONE_YET: usize = 0;

/// A connection that is being opened. A task of its own, so that it goes on when the request that began it is gone.
pub(super) struct Opening {
    coming: Coming,
    reason: OpenReason,
    worker: usize,
    timers: Timers,
    connect: Duration,
}

/// Counted among those that are being opened until it is dropped.
struct Coming {
    connections: Arc<Connections>,
    identity: Option<Identity>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        if let Some(index) = state.opening.iter().position(|of| *of == self.identity) {
            state.opening.swap_remove(index);
        }
    }
}

impl Opening {
    pub(super) fn new(
        connections: &Arc<Connections>,
        identity: Option<&Identity>,
        reason: OpenReason,
        means: Means<'_>,
    ) -> Self {
        Self {
            coming: Coming {
                connections: Arc::clone(connections),
                identity: identity.cloned(),
            },
            reason,
            worker: means.worker,
            timers: means.timers.clone(),
            connect: means.connect,
        }
    }

    pub(super) fn start(self) {
        tokio::task::spawn_local(self.run());
    }

    /// Cancellation: the socket closes, and its permit and its port come free.
    async fn run(self) {
        let connections = Arc::clone(&self.coming.connections);
        let (worker, timers, connect) = (self.worker, self.timers.clone(), self.connect);
        match self.open().await {
            Ok(Some(driver)) => {
                connections.serve_waiters(worker);
                // The endpoint may allow fewer streams than one connection was to carry.
                connections.regrow(Means {
                    worker,
                    timers: &timers,
                    connect,
                });
                // What it is one of may go while it lives.
                let connections = weak(connections);
                driver.run().await;
                if let Some(connections) = connections.upgrade() {
                    connections.regrow(Means {
                        worker,
                        timers: &timers,
                        connect,
                    });
                }
            }
            Ok(None) => {}
            Err((error, coming)) => connections.fail(error, coming),
        }
    }

    /// `None` if the endpoint has chosen HTTP/1.1; whoever waits knows then.
    async fn open(self) -> Result<Option<Driver>, (NoStream, Coming)> {
        let (connection, permit) = match self.connected().await {
            Ok(both) => both,
            Err(error) => return Err((error, self.coming)),
        };
        let Self {
            coming,
            reason,
            worker,
            timers,
            connect,
        } = self;
        let connections = Arc::clone(&coming.connections);
        let is_http1 = connections.offer == Offer::Either && !connection.wire.is_http2();
        let pooled = connections.pool.opened(connection, permit, reason, Instant::now());
        if is_http1 {
            connections.chosen.store(HTTP1, Relaxed);
            pooled.keep(worker, Instant::now());
            drop(coming);
            connections.tell_http1();
            return Ok(None);
        }
        connections.chosen.store(HTTP2, Relaxed);
        let io = Io::new(pooled);
        let late = timers.sleep_until(Instant::now() + connect);
        let begun = tokio::select! {
            biased;
            begun = begin(&connections, io.clone()) => begun,
            () = late => Err(ConnectError::TimedOut),
        };
        let (sender, engine) = match begun {
            Ok(both) => both,
            Err(error) => {
                io.close(CloseReason::ProtocolError);
                return Err((Arc::new(error).into(), coming));
            }
        };
        let life = Arc::new(Life::default());
        let shared = Arc::new(Shared {
            allowed: AtomicUsize::new(sender.current_max_send_streams()),
            sender,
            life: Arc::clone(&life),
            worker,
            identity: coming.identity.clone(),
            served: AtomicU64::new(0),
            idle_since: Mutex::new(Instant::now()),
            retires: connections.pool.retirement(Instant::now()),
        });
        let seen = Arc::downgrade(&shared);
        connections.enter(shared);
        drop(coming);
        let listed = Listed {
            connections: Arc::downgrade(&connections),
            life: Arc::clone(&life),
            shared: seen,
            worker,
            timers: timers.clone(),
            connect,
        };
        let times = (&connections.http2, connect);
        Ok(Some(Driver::new(io, life, engine, listed, &timers, times)))
    }

    async fn connected(&self) -> Result<(Connection, Permit<Connection>), NoStream> {
        let connections = &self.coming.connections;
        let pool = &connections.pool;
        let now = Instant::now();
        let late = self.timers.sleep_until(now + pool.policy().wait.timeout);
        let permit = pool.permit_to_share(self.worker, now, late).await?;
        let purpose = Purpose {
            identity: self.coming.identity.as_ref(),
            offer: connections.offer,
        };
        match connections.connector.connect(purpose, &self.timers, self.connect).await {
            Ok(connection) => Ok((connection, permit)),
            Err(error) => {
                error.note(pool, permit, &connections.counts);
                Err(Arc::new(error).into())
            }
        }
    }
}

type Engine = client::Connection<Io, Bytes>;

/// Exchanges the first SETTINGS (RFC 9113 3.4): before they have come, nobody knows how many streams the endpoint allows,
/// nor whether it speaks HTTP/2 at all.
///
/// Cancellation: the engine is dropped, and the caller closes the connection.
async fn begin(connections: &Connections, io: Io) -> Result<(client::SendRequest<Bytes>, Engine), ConnectError> {
    let broken = |error: h2::Error| match error.is_io() {
        true => ConnectError::Unreachable(std::io::Error::other(error)),
        false => ConnectError::NoHttp2,
    };
    let (sender, mut engine) = builder(connections).handshake(io).await.map_err(broken)?;
    poll_fn(|context| match Pin::new(&mut engine).poll(context) {
        Poll::Ready(ended) => Poll::Ready(Err(ended.map_or_else(broken, |()| ConnectError::NoHttp2))),
        Poll::Pending if sender.current_max_send_streams() > NONE_YET => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((sender, engine))
}

fn weak(connections: Arc<Connections>) -> Weak<Connections> {
    Arc::downgrade(&connections)
}

fn builder(connections: &Connections) -> client::Builder {
    let http2 = &connections.http2;
    let limits = http1::Limits::default();
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(NONE_YET)
        .initial_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .max_header_list_size(u32::try_from(limits.max_head_size).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(MAX_RESETS)
        .reset_stream_duration(RESET_MEMORY);
    builder
}

impl Connections {
    /// A connection is open, for whoever comes.
    fn enter(&self, shared: Arc<Shared>) {
        let mut state = self.lock();
        match state.closed {
            None => state.open.push(shared),
            // Those who wait still get their answers.
            Some(reason) if !state.waiters.is_empty() => {
                let _ = shared.life.ends.set(reason);
                state.open.push(shared);
            }
            Some(reason) => {
                let _ = shared.life.ends.set(reason);
            }
        }
    }

    /// No connection could be opened: that is the answer for all who wait, unless others may still serve them.
    fn fail(&self, error: NoStream, coming: Coming) {
        let identity = coming.identity.clone();
        drop(coming);
        let mut state = self.lock();
        let same = |of: &Option<Identity>| *of == identity;
        if state.opening.iter().any(same) || state.open.iter().any(|shared| same(&shared.identity)) {
            return;
        }
        let (failed, others): (VecDeque<_>, _) = std::mem::take(&mut state.waiters)
            .into_iter()
            .partition(|waiter| same(&waiter.identity));
        state.waiters = others;
        drop(state);
        for waiter in failed {
            let _ = waiter.grant.send(Err(error.clone()));
        }
    }

    fn tell_http1(&self) {
        let waiters = std::mem::take(&mut self.lock().waiters);
        for waiter in waiters {
            let _ = waiter.grant.send(Ok(Found::Http1));
        }
    }
}
