//! What happened in a pool, and what it looks like.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{CloseReason, FirstClose, OpenReason, Permit};
use crate::config;

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) opened: [AtomicU64; OpenReason::ALL.len()],
    pub(super) closed: [[AtomicU64; FirstClose::ALL.len()]; CloseReason::ALL.len()],
    pub(super) stolen: AtomicU64,
    pub(super) waited: AtomicU64,
    pub(super) wait_timeouts: AtomicU64,
    pub(super) queue_full: AtomicU64,
}

/// What the pool looks like at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Connections that exist, idle ones included.
    pub connections: usize,
    pub idle: usize,
    pub waiting: usize,
    /// How long a connection may be idle, as things stand.
    pub idle_timeout: Duration,
    pub reused: u64,
    pub stolen: u64,
    pub waited: u64,
    pub wait_timeouts: u64,
    pub queue_full: u64,
    pub opened: Vec<(OpenReason, u64)>,
    pub closed: Vec<(CloseReason, FirstClose, u64)>,
}

/// Requests by whether a kept connection carried them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reuse {
    pub on_kept: u64,
    pub on_new: u64,
}

impl Reuse {
    /// The share of requests that a kept connection carried; `None` before the first.
    pub fn ratio(self) -> Option<f64> {
        let all = self.on_kept + self.on_new;
        (all > 0).then(|| self.on_kept as f64 / all as f64)
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            on_kept: self.on_kept + other.on_kept,
            on_new: self.on_new + other.on_new,
        }
    }
}

impl Status {
    /// A request whose kept connection was stale counts as one on a new connection.
    pub fn reuse(&self) -> Reuse {
        let opened = |wanted: fn(OpenReason) -> bool| {
            let of = self.opened.iter().filter(|(reason, _)| wanted(*reason));
            of.map(|(_, count)| count).sum::<u64>()
        };
        let replaced = opened(|reason| reason == OpenReason::ReplacedStale);
        Reuse {
            on_kept: self.reused.saturating_sub(replaced),
            on_new: opened(OpenReason::is_miss) + replaced,
        }
    }
}

impl Counts {
    pub(super) fn opened(&self, reason: OpenReason) {
        self.opened[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self, reason: CloseReason, first: FirstClose) {
        self.closed[reason as usize][first as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn by_open_reason(&self) -> Vec<(OpenReason, u64)> {
        let count = |reason: OpenReason| (reason, self.opened[reason as usize].load(Relaxed));
        OpenReason::ALL.into_iter().map(count).collect()
    }

    /// Only what occurred: most combinations never do.
    pub(super) fn by_close_reason(&self) -> Vec<(CloseReason, FirstClose, u64)> {
        let all = CloseReason::ALL
            .into_iter()
            .flat_map(|reason| FirstClose::ALL.into_iter().map(move |first| (reason, first)));
        let count = |(reason, first)| {
            let count = self.closed[reason as usize][first as usize].load(Relaxed);
            (count > 0).then_some((reason, first, count))
        };
        all.filter_map(count).collect()
    }
}

/// The end of a connection: why and in which manner. It counts the close, and holds the connection's permit until the
/// connection is really gone.
#[derive(Debug)]
pub struct End<C> {
    pub reason: CloseReason,
    pub manner: config::Close,
    counts: Arc<Counts>,
    _permit: Option<Permit<C>>,
}

impl<C> End<C> {
    pub(super) fn new(
        reason: CloseReason,
        manner: config::Close,
        counts: &Arc<Counts>,
        permit: Option<Permit<C>>,
    ) -> Self {
        Self {
            reason,
            manner,
            counts: Arc::clone(counts),
            _permit: permit,
        }
    }

    /// To be called once the connection is closed.
    pub fn done(self, first: FirstClose) {
        self.counts.closed(self.reason, first);
    }
}
