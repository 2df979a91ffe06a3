//! One listener: what all workers share of it, and what each worker has of its own.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};

use super::{
    http2::{Http2Ends, Streams},
    idle::IdleClients,
    per_client::{Counted, PerClient},
    proxy_protocol::ProxyOutcomes,
    tls_failure::TlsFailures,
};
use crate::{config, tls::ServerTls, worker::Timers};

/// What all workers share of one listener. It outlives a reload that keeps its address.
#[derive(Debug)]
pub struct Listener {
    pub name: String,
    /// As bound, so with a real port.
    pub address: SocketAddr,
    pub counts: ListenerCounts,
    connections: AtomicUsize,
    per_client: Arc<PerClient>,
    /// For each worker, since when its longest-idle client has been idle: milliseconds after `epoch`, `u64::MAX` for
    /// none. As of the last tick.
    oldest_idle: Box<[AtomicU64]>,
    /// For each worker, how many clients are parked. As of the last tick.
    parked: Box<[AtomicUsize]>,
    /// Whether anybody asks which of our addresses a client has connected to.
    asked: AtomicBool,
    epoch: Instant,
}

/// What happened at one listener.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    pub accepted: AtomicU64,
    /// Handed to a less busy worker.
    pub handed_over: AtomicU64,
    /// Turned away at `max_connections`.
    pub refused_max: AtomicU64,
    /// Turned away at `per_client`.
    pub refused_client: AtomicU64,
    /// Idle clients that gave way.
    pub shed: AtomicU64,
    pub tls_failures: TlsFailures,
    pub accept_errors: AtomicU64,
    pub proxy_protocol: ProxyOutcomes,
    pub http2_ends: Http2Ends,
}

/// A client that was let in; its places are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    listener: Arc<Listener>,
    counted: Option<Counted>,
}

/// Why a client was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejected {
    MaxConnections,
    PerClient,
}

/// What a full listener does for a new client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yield {
    /// The longest-idle client of this worker gives way.
    Own,
    /// The longest-idle client of that worker gives way.
    Sibling(usize),
    Nobody,
}

impl Listener {
    pub fn new(name: String, address: SocketAddr, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            address,
            counts: ListenerCounts::default(),
            connections: AtomicUsize::new(0),
            per_client: Arc::default(),
            oldest_idle: (0..workers).map(|_| AtomicU64::new(u64::MAX)).collect(),
            parked: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            asked: AtomicBool::new(false),
            epoch: Instant::now(),
        })
    }

    /// From now on it is found out of each client that comes which address it has connected to: a system call where the
    /// listener has many.
    pub fn ask_for_arrivals(&self) {
        self.asked.store(true, Relaxed);
    }

    /// Where a client has connected to, `named` if a header has told; `None` as long as nobody asks.
    pub(super) fn arrival(&self, stream: &TcpStream, named: Option<SocketAddr>) -> Option<Arc<SocketAddr>> {
        if !self.asked.load(Relaxed) {
            return None;
        }
        let own = || {
            let is_one_of_many = self.address.ip().is_unspecified();
            is_one_of_many.then(|| stream.local_addr().ok()).flatten()
        };
        Some(Arc::new(named.or_else(own).unwrap_or(self.address)))
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Clients that cost no more than a socket at the moment.
    pub fn parked(&self) -> usize {
        self.parked.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Lets a client in, over the limit if `yields` finds somebody to give way. Where it is not yet known who the client
    /// is, [`Admission::count`] must follow.
    pub(super) fn admit(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        config: &config::Listener,
        yields: impl FnOnce() -> Yield,
    ) -> Result<(Admission, Yield), Rejected> {
        let counted = match client {
            Some(client) => self.count(client, config)?,
            None => None,
        };
        let before = self.connections.fetch_add(1, Relaxed);
        let admission = Admission {
            listener: Arc::clone(self),
            counted,
        };
        if before < config.max_connections {
            return Ok((admission, Yield::Nobody));
        }
        match yields() {
            Yield::Nobody => {
                self.counts.refused_max.fetch_add(1, Relaxed);
                Err(Rejected::MaxConnections)
            }
            who => {
                self.counts.shed.fetch_add(1, Relaxed);
                Ok((admission, who))
            }
        }
    }

    fn count(&self, client: IpAddr, config: &config::Listener) -> Result<Option<Counted>, Rejected> {
        self.per_client.admit(client, &config.keep_alive).map_err(|_| {
            self.counts.refused_client.fetch_add(1, Relaxed);
            Rejected::PerClient
        })
    }

    /// Whose longest-idle client has been idle for the longest.
    pub(super) fn longest_idle(&self, worker: usize, own: Option<Instant>) -> Yield {
        let own = own.map_or(u64::MAX, |since| self.millis(since));
        let others = self.oldest_idle.iter().map(|oldest| oldest.load(Relaxed)).enumerate();
        let sibling = others
            .filter(|(other, _)| *other != worker)
            .min_by_key(|(_, oldest)| *oldest);
        match sibling {
            Some((other, oldest)) if oldest < own => Yield::Sibling(other),
            _ if own < u64::MAX => Yield::Own,
            _ => Yield::Nobody,
        }
    }

    pub(super) fn note_idle(&self, worker: usize, idle: &IdleClients) {
        self.parked[worker].store(idle.parked(), Relaxed);
        self.note_oldest_idle(worker, idle.oldest());
    }

    fn note_oldest_idle(&self, worker: usize, oldest: Option<Instant>) {
        let millis = oldest.map_or(u64::MAX, |since| self.millis(since));
        self.oldest_idle[worker].store(millis, Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX - 1)
    }
}

impl Admission {
    /// Counts the client, of whom a header has said who it is.
    pub(super) fn count(&mut self, client: IpAddr, config: &config::Listener) -> Result<(), Rejected> {
        self.counted = self.listener.count(client, config)?;
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Relaxed);
    }
}

/// What one worker has of a listener, under one config. A reload that changes the config makes a new one; clients that
/// are there already keep theirs.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) listener: Arc<Listener>,
    pub(super) config: Arc<config::Listener>,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) timers: Timers,
    pub(super) idle: Rc<IdleClients>,
    pub(super) draining: Rc<Cell<Draining>>,
    /// Of clients over HTTP/2.
    pub(super) streams: Rc<Streams>,
    pub(super) said: Cell<Said>,
}

/// How often the log has said something since when that clients cause.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    since: Option<Instant>,
    times: u32,
}

/// What clients cause is said so often per second, by each worker of a listener.
const SAID_PER_SECOND: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draining {
    No,
    Yes,
    /// The time for it is over: what cannot end by itself is cut.
    Cut,
}

impl Local {
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get() != Draining::No
    }

    pub(super) fn is_cut(&self) -> bool {
        self.draining.get() == Draining::Cut
    }

    /// Whether the log may say something that clients can cause as often as they like.
    pub(super) fn may_say(&self, now: Instant) -> bool {
        let mut said = self.said.get();
        if said
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1))
        {
            said = Said {
                since: Some(now),
                times: 0,
            };
        }
        said.times += 1;
        self.said.set(said);
        said.times <= SAID_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(workers: usize) -> Arc<Listener> {
        Listener::new("test".into(), ([127, 0, 0, 1], 1).into(), workers)
    }

    fn config(max_connections: usize) -> config::Listener {
        let mut config = config::Listener::new("test", ([127, 0, 0, 1], 1).into());
        config.max_connections = max_connections;
        config
    }

    #[test]
    fn a_full_listener_refuses_unless_somebody_gives_way() {
        let (listener, client) = (listener(1), Some(IpAddr::from([192, 0, 2, 1])));
        let first = listener.admit(client, &config(1), || Yield::Nobody).expect("room");
        assert_eq!(
            listener.admit(client, &config(1), || Yield::Nobody).err(),
            Some(Rejected::MaxConnections)
        );
        assert_eq!(listener.connections(), 1);
        assert!(listener.admit(client, &config(1), || Yield::Own).is_ok());
        drop(first);
        assert_eq!(listener.connections(), 0);
    }

    #[test]
    fn the_longest_idle_client_of_all_workers_gives_way() {
        let listener = listener(3);
        let start = listener.epoch;
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        assert_eq!(listener.longest_idle(0, None), Yield::Nobody);
        assert_eq!(listener.longest_idle(0, at(5)), Yield::Own);
        listener.note_oldest_idle(2, at(3));
        assert_eq!(listener.longest_idle(0, at(5)), Yield::Sibling(2));
        assert_eq!(listener.longest_idle(0, at(2)), Yield::Own);
        listener.note_oldest_idle(2, None);
        assert_eq!(listener.longest_idle(0, None), Yield::Nobody);
    }
}
