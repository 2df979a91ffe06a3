//! One connection as its requests see it, and the right to one stream of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use tokio::time::Instant;

use super::{Connections, driver::Life};
use crate::pool::{CloseReason, Identity, Reused};

/// One connection as requests see it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) life: Arc<Life>,
    pub(super) worker: usize,
    pub(super) identity: Option<Identity>,
    /// What the endpoint allows; the driver keeps it up to date.
    pub(super) allowed: AtomicUsize,
    pub(super) served: AtomicU64,
    pub(super) idle_since: Mutex<Instant>,
    /// When it takes no further request; `None`: never.
    pub(super) retires: Option<Instant>,
}

/// The right to one stream of a connection.
#[derive(Debug)]
pub(super) struct StreamPermit {
    pub(super) shared: Arc<Shared>,
    pub(super) connections: Arc<Connections>,
    pub(super) reused: Reused,
}

impl Shared {
    pub(super) fn idle_since(&self) -> MutexGuard<'_, Instant> {
        self.idle_since.lock().expect("no panic under this lock")
    }

    /// Whether the endpoint takes nothing more on this connection.
    pub(super) fn is_over(&self) -> bool {
        let ready = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Err(_)))
    }
}

impl StreamPermit {
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.shared.sender.clone()
    }

    /// See [`Life::let_end`].
    pub(super) fn let_end(&self, stream: RecvStream) {
        self.shared.life.let_end(stream);
    }

    /// Why its connection has ended or is to end; `None`: not yet.
    pub(super) fn ends(&self) -> Option<CloseReason> {
        self.shared.life.ends.get().copied()
    }

    /// Whether the endpoint takes nothing more on this connection.
    pub(super) fn is_over(&self) -> bool {
        self.shared.is_over()
    }

    /// No further request goes onto this connection.
    pub(super) fn retire(&self) {
        self.connections.forget(&self.shared.life);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        // Before the count, so that no sweep sees an idle connection with an old date.
        *self.shared.idle_since() = Instant::now();
        self.shared.life.streams.fetch_sub(1, SeqCst);
        self.connections.serve_waiters(self.shared.worker);
    }
}
