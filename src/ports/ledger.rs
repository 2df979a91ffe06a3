//! Which source address the next connection takes, and the port that it holds.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{Ports, pair::Pair};
use crate::net::{self, Reach};

/// How long an endpoint counts as silent that last let a connection attempt time out.
const SILENCE: Duration = Duration::from_secs(30);

/// The sources of one cluster towards one destination.
#[derive(Debug)]
pub struct Ledger {
    ports: Arc<Ports>,
    destination: SocketAddr,
    sources: Box<[Source]>,
    max_fill: Option<f64>,
    epoch: Instant,
    /// Milliseconds after `epoch` until which the destination counts as silent.
    silent_until: AtomicU64,
}

#[derive(Debug)]
struct Source {
    /// `None`: the kernel's choice.
    bind: Option<IpAddr>,
    /// Changes when the kernel changes its choice.
    pair: ArcSwap<Pair>,
}

/// A port on one source address, held from before `connect()` to the end; gives itself back when dropped.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    source: usize,
    pair: Arc<Pair>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Open,
    Closing,
}

impl Ledger {
    /// The addresses of the destination's own family; none is the kernel's choice.
    pub fn new(
        ports: &Arc<Ports>,
        sources: impl IntoIterator<Item = IpAddr>,
        max_fill: Option<f64>,
        destination: SocketAddr,
    ) -> Arc<Self> {
        let own_family = |address: &IpAddr| address.is_ipv4() == destination.is_ipv4();
        let named = |address: IpAddr| Source {
            bind: Some(address),
            pair: ArcSwap::new(ports.named_pair(address, destination)),
        };
        let mut sources: Vec<_> = sources.into_iter().filter(own_family).map(named).collect();
        if sources.is_empty() {
            let chosen = net::source_towards(destination.ip());
            sources.push(Source {
                bind: None,
                pair: ArcSwap::new(ports.pair(chosen, destination)),
            });
        }
        Arc::new(Self {
            ports: Arc::clone(ports),
            destination,
            sources: sources.into(),
            max_fill,
            epoch: Instant::now(),
            silent_until: AtomicU64::new(0),
        })
    }

    /// The kernel's range of source ports, both ends included.
    pub fn range(&self) -> Option<(u16, u16)> {
        self.ports.range()
    }

    /// A port on the least used source that is on this machine, not resting, and not among `tried`.
    ///
    /// It is held before `connect()`: when it was counted afterwards, one of four sources stayed unused.
    pub fn reserve(self: &Arc<Self>, tried: &[usize], now: Instant) -> Option<Reservation> {
        let limit = self.limit();
        let usable = |index: usize, pair: &Pair| !tried.contains(&index) && pair.is_present() && !pair.is_resting(now);
        loop {
            let with_room = |(index, source): (usize, &Source)| {
                let pair = source.pair.load();
                let used = pair.used(now);
                (usable(index, &pair) && used < pair.most(limit)).then_some((used, index))
            };
            let Some((_, index)) = self.sources.iter().enumerate().filter_map(with_room).min() else {
                break;
            };
            let pair = self.sources[index].pair.load_full();
            // Another worker may have been faster.
            if pair.take(limit, now) {
                return Some(Reservation {
                    ledger: Arc::clone(self),
                    source: index,
                    pair,
                    stage: Stage::Connecting,
                });
            }
        }
        // Only where the limit is the cause; a pair at rest has been counted when the kernel refused.
        let all = self.sources.iter().enumerate();
        let mut full = all.map(|(index, source)| (index, source.pair.load_full()));
        if let Some((_, pair)) = full.find(|(index, pair)| usable(*index, pair)) {
            pair.note_refused(limit, now);
        }
        None
    }

    /// The destination let a connection attempt time out, or acknowledges nothing.
    pub fn note_silence(&self, now: Instant) {
        self.silent_until.store(self.millis(now + SILENCE), Relaxed);
    }

    /// The destination has been heard of.
    pub fn note_answer(&self) {
        if self.silent_until.load(Relaxed) != 0 {
            self.silent_until.store(0, Relaxed);
        }
    }

    /// Whether the destination may be dead: a FIN would wait for it, and hold its port meanwhile.
    pub fn is_silent(&self, now: Instant) -> bool {
        let until = self.silent_until.load(Relaxed);
        until != 0 && until > self.millis(now)
    }

    /// How many connections may go to the destination from each source address.
    pub fn limit(&self) -> usize {
        self.ports.limit(self.max_fill)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Reservation {
    /// Which of the ledger's sources it is on, for [`Ledger::reserve`].
    pub fn source(&self) -> usize {
        self.source
    }

    /// The address to bind to; `None`: the kernel's choice.
    pub fn address(&self) -> Option<IpAddr> {
        self.ledger.sources[self.source].bind
    }

    /// How the address is this machine's.
    pub fn reach(&self) -> Reach {
        self.pair.reach()
    }

    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Whether its source address is on this machine.
    pub fn is_present(&self) -> bool {
        self.pair.is_present()
    }

    /// The source address, as far as it is known.
    pub fn source_address(&self) -> Option<IpAddr> {
        self.pair.source
    }

    pub fn destination(&self) -> SocketAddr {
        self.ledger.destination
    }

    /// Whether more than half of what may be in use on this source is.
    pub fn is_crowded(&self, now: Instant) -> bool {
        self.pair.used(now) > self.ledger.limit() / 2
    }

    /// The connection is open, and `local` its own address.
    pub fn connected(&mut self, local: IpAddr) {
        if self.pair.source != Some(local) {
            self.move_to(local);
        }
        self.pair.connected();
        self.stage = Stage::Open;
        self.ledger.note_answer();
    }

    /// The connection is closed, and its port is not free yet.
    pub fn closing(&mut self) {
        if self.stage == Stage::Open {
            self.pair.closing();
            self.stage = Stage::Closing;
        }
    }

    /// The connection ends by a FIN of ours that the endpoint has not come before: its port is not free for a minute.
    pub fn left_time_wait(self, now: Instant) {
        self.pair.left_time_wait(now);
    }

    /// The connection ends by a FIN of ours without TIME_WAIT: its port is free once that is acknowledged.
    pub fn left_fin(self, now: Instant) {
        self.pair.left_fin(now);
    }

    /// The kernel had no free port here.
    pub fn exhausted(self, now: Instant) {
        self.pair.note_exhausted(now);
    }

    /// The source address turned out not to be on this machine any more.
    pub fn absent(self) {
        if let Some(address) = self.address() {
            self.ledger.ports.note_absent(address);
        }
    }

    /// The kernel has chosen another address than it did before.
    fn move_to(&mut self, local: IpAddr) {
        let pair = self.ledger.ports.pair(Some(local), self.ledger.destination);
        pair.take_over_connecting();
        self.pair.free_connecting();
        self.pair = Arc::clone(&pair);
        self.ledger.sources[self.source].pair.store(pair);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.stage {
            Stage::Connecting => self.pair.free_connecting(),
            Stage::Open => self.pair.free_open(),
            Stage::Closing => self.pair.free_closing(),
        }
    }
}

#[cfg(test)]
mod tests;
