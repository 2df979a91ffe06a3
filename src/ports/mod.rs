//! The source ports towards one destination: which source address the next connection takes, and what is known to be
//! used up.
//!
//! A port is a matter of (source address, destination), so there is one [`Ledger`] per endpoint. A connection reserves
//! its place *before* `connect()`: when it was counted afterwards, one of four sources stayed unused.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long a source address that had no free port is left alone. A failing `connect()` on a full range costs 6 to
/// 8 ms of processor time, so asking again at once would eat a core.
pub const BACK_OFF: Duration = Duration::from_secs(1);

/// The sources of one endpoint.
#[derive(Debug)]
pub struct Ledger {
    sources: Box<[Source]>,
    epoch: Instant,
}

#[derive(Debug)]
struct Source {
    /// `None`: the kernel's choice.
    address: Option<IpAddr>,
    in_use: AtomicUsize,
    exhausted: AtomicU64,
    /// Milliseconds after `epoch` until which it is left alone.
    resumes: AtomicU64,
}

/// A reserved place on one source address; gives itself back when dropped.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    source: usize,
}

/// One source address as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    pub address: Option<IpAddr>,
    /// Connections that hold a port now.
    pub in_use: usize,
    /// Times that the kernel had no free port.
    pub exhausted: u64,
}

impl Ledger {
    /// The addresses of the destination's own family; an empty list is the kernel's choice.
    pub fn new(addresses: &[IpAddr], destination: IpAddr) -> Arc<Self> {
        let own_family = addresses
            .iter()
            .filter(|address| address.is_ipv4() == destination.is_ipv4());
        let mut sources: Vec<_> = own_family.map(|address| Source::new(Some(*address))).collect();
        if sources.is_empty() {
            sources.push(Source::new(None));
        }
        Arc::new(Self {
            sources: sources.into(),
            epoch: Instant::now(),
        })
    }

    /// A place on the least used source that is not backing off and not in `tried`.
    pub fn reserve(self: &Arc<Self>, tried: &[Option<IpAddr>], now: Instant) -> Option<Reservation> {
        let millis = self.millis(now);
        let usable = |source: &Source| source.resumes.load(Relaxed) <= millis && !tried.contains(&source.address);
        let (index, source) = self
            .sources
            .iter()
            .enumerate()
            .filter(|(_, source)| usable(source))
            .min_by_key(|(_, source)| source.in_use.load(Relaxed))?;
        source.in_use.fetch_add(1, Relaxed);
        Some(Reservation {
            ledger: Arc::clone(self),
            source: index,
        })
    }

    pub fn status(&self) -> Vec<SourceStatus> {
        let status = |source: &Source| SourceStatus {
            address: source.address,
            in_use: source.in_use.load(Relaxed),
            exhausted: source.exhausted.load(Relaxed),
        };
        self.sources.iter().map(status).collect()
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Source {
    fn new(address: Option<IpAddr>) -> Self {
        Self {
            address,
            in_use: AtomicUsize::new(0),
            exhausted: AtomicU64::new(0),
            resumes: AtomicU64::new(0),
        }
    }
}

impl Reservation {
    pub fn address(&self) -> Option<IpAddr> {
        self.ledger.sources[self.source].address
    }

    /// Notes that the kernel had no free port here: the source rests for [`BACK_OFF`].
    pub fn exhausted(self, now: Instant) {
        let source = &self.ledger.sources[self.source];
        source.exhausted.fetch_add(1, Relaxed);
        source.resumes.store(self.ledger.millis(now + BACK_OFF), Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.sources[self.source].in_use.fetch_sub(1, Relaxed);
    }
}

/// Whether a failed `connect()` or `bind()` says that this machine has no source port left, which is never the
/// endpoint's fault.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESTINATION: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("address")).collect()
    }

    #[test]
    fn connections_spread_evenly_over_the_sources() {
        let ledger = Ledger::new(&addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), DESTINATION);
        let now = Instant::now();
        let held: Vec<_> = (0..9).map(|_| ledger.reserve(&[], now).expect("free")).collect();
        assert!(ledger.status().iter().all(|source| source.in_use == 3));
        drop(held);
        assert!(ledger.status().iter().all(|source| source.in_use == 0));
    }

    #[test]
    fn an_exhausted_source_rests_and_the_others_are_tried_once_each() {
        let ledger = Ledger::new(&addresses(&["10.0.0.1", "10.0.0.2"]), DESTINATION);
        let now = Instant::now();
        let first = ledger.reserve(&[], now).expect("free");
        let address = first.address();
        first.exhausted(now);
        let second = ledger.reserve(&[address], now).expect("the other one");
        assert_ne!(second.address(), address);
        assert!(ledger.reserve(&[address, second.address()], now).is_none());
        second.exhausted(now);
        assert!(ledger.reserve(&[], now).is_none());
        assert!(ledger.reserve(&[], now + BACK_OFF).is_some());
    }

    #[test]
    fn sources_of_the_other_family_are_left_out() {
        let ledger = Ledger::new(&addresses(&["fd00::1"]), DESTINATION);
        assert_eq!(
            ledger
                .reserve(&[], Instant::now())
                .expect("the kernel's choice")
                .address(),
            None
        );
    }
}
