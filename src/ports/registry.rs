//! All pairs of the process, and what the machine says about them.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    PairStatus,
    budget::{Search, time_wait, usable_ports},
    pair::{Observed, Pair, Presence},
};
use crate::net::{self, Reach, TcpSocketRow, TcpState};

/// The source ports of this process towards all destinations.
#[derive(Debug)]
pub struct Ports {
    epoch: Instant,
    pairs: Mutex<HashMap<Key, Arc<Pair>>>,
    /// Source addresses that a config names, which may leave the machine and come back; `None`: not on the machine, when
    /// last looked at.
    watched: Mutex<HashMap<IpAddr, Option<Reach>>>,
    /// As of the last look.
    kernel: Mutex<net::Kernel>,
    /// `low << 16 | high`; 0: unknown.
    range: AtomicU32,
    /// How many ports of the range may be given away.
    usable: AtomicUsize,
    search: Search,
    /// TIME_WAIT sockets of the whole machine, as of the last look; `u64::MAX`: unknown.
    time_wait_total: AtomicU64,
}

type Key = (Option<IpAddr>, SocketAddr);

impl Ports {
    pub fn new() -> Arc<Self> {
        let search = if net::supports_local_port_range() {
            Search::Even
        } else {
            Search::CliffAtHalf
        };
        let ports = Self {
            epoch: Instant::now(),
            pairs: Mutex::default(),
            watched: Mutex::default(),
            kernel: Mutex::default(),
            range: AtomicU32::new(0),
            usable: AtomicUsize::new(0),
            search,
            time_wait_total: AtomicU64::new(u64::MAX),
        };
        ports.read_kernel();
        Arc::new(ports)
    }

    /// The pair from `source` to `destination`.
    pub(super) fn pair(&self, source: Option<IpAddr>, destination: SocketAddr) -> Arc<Pair> {
        let pair = || {
            let pair = Pair::new(source, destination, self.epoch);
            pair.set_time_wait(time_wait_towards(&self.kernel(), destination));
            Arc::new(pair)
        };
        Arc::clone(self.pairs().entry((source, destination)).or_insert_with(pair))
    }

    /// The pair from an address of this machine that a config names, on which an eye is kept from now on.
    pub(super) fn named_pair(&self, source: IpAddr, destination: SocketAddr) -> Arc<Pair> {
        let pair = self.pair(Some(source), destination);
        let mut watched = self.watched();
        let reach = watched.entry(source).or_insert_with(|| net::check_source(source).ok());
        if let Some(reach) = *reach {
            pair.set_reach(reach);
        }
        drop(watched);
        pair
    }

    /// The kernel's range of source ports, both ends included; `None` where it cannot be read.
    pub fn range(&self) -> Option<(u16, u16)> {
        let range = self.range.load(Relaxed);
        (range != 0).then_some(((range >> 16) as u16, range as u16))
    }

    /// How many connections may go from one address to one destination: `fill`, or what is cheap on this kernel, of the
    /// ports that it gives away.
    pub fn limit(&self, fill: Option<f64>) -> usize {
        if self.range().is_none() {
            return usize::MAX;
        }
        let fill = fill.unwrap_or_else(|| self.search.max_fill());
        ((self.usable.load(Relaxed) as f64 * fill) as usize).max(1)
    }

    /// Looks whether the named source addresses are on this machine, and what the range of ports is now; lets pairs
    /// that had no free port try one more. Without anything to wait for; to be called every second.
    pub fn look_around(&self) {
        self.read_kernel();
        let most = self.limit(Some(1.0));
        let sources: Vec<IpAddr> = self.watched().keys().copied().collect();
        let found: HashMap<IpAddr, Option<Reach>> = sources
            .into_iter()
            .map(|source| (source, net::check_source(source).ok()))
            .collect();
        let mut news = HashMap::new();
        for pair in self.pairs().values() {
            pair.raise_ceiling(most);
            let Some(source) = pair.source else { continue };
            let presence = match found.get(&source) {
                Some(Some(reach)) => {
                    pair.set_reach(*reach);
                    Presence::Present
                }
                Some(None) => Presence::Absent,
                None => continue,
            };
            if pair.set_present(presence) {
                news.insert(source, presence);
            }
        }
        self.watched().extend(found);
        news.into_iter().for_each(|(source, presence)| tell(source, presence));
    }

    /// A connection could not be opened from `source`: it is not on this machine any more.
    pub(super) fn note_absent(&self, source: IpAddr) {
        let pairs = self.pairs();
        let of_source = pairs.values().filter(|pair| pair.source == Some(source));
        // Each is to be told, so no `any`.
        if of_source.filter(|pair| pair.set_present(Presence::Absent)).count() > 0 {
            tell(source, Presence::Absent);
        }
    }

    /// Compares our counts with the kernel's list of sockets, and forgets pairs that nobody uses any more. Takes some
    /// 17 ms of processor time for 30,000 sockets, so: off the data path, every 5 s.
    pub fn reconcile(&self, now: Instant) {
        self.pairs()
            .retain(|_, pair| Arc::strong_count(pair) > 1 || !pair.is_quiet(now));
        self.forget_unused_sources();
        let pairs: HashMap<Key, Arc<Pair>> = self.pairs().clone();
        let mut seen: HashMap<Key, Observed> = HashMap::with_capacity(pairs.len());
        let key = |row: &TcpSocketRow| (Some(row.source.ip()), row.destination);
        let listed = net::tcp_sockets(|row| pairs.contains_key(&key(row)));
        let listed = listed.inspect_err(|error| tracing::debug!(%error, "the kernel does not list its sockets"));
        for row in listed.iter().flatten() {
            seen.entry(key(row)).or_default().count(row.state);
        }
        for (key, pair) in &pairs {
            let observed = listed.is_ok().then(|| seen.remove(key).unwrap_or_default());
            pair.observe(observed, now);
        }
        self.time_wait_total
            .store(net::time_wait_total().unwrap_or(u64::MAX), Relaxed);
    }

    /// TIME_WAIT sockets of the whole machine (its network name space), ours and others', as of the last look.
    pub fn time_wait_total(&self) -> Option<u64> {
        Some(self.time_wait_total.load(Relaxed)).filter(|total| *total != u64::MAX)
    }

    /// All pairs, in order, as they stand. Their limit is what `limit_of` says of their destination, or the common one.
    pub fn status(&self, now: Instant, limit_of: impl Fn(SocketAddr) -> Option<usize>) -> Vec<PairStatus> {
        let common = self.limit(None);
        let status = |pair: &Arc<Pair>| pair.status(now, limit_of(pair.destination).unwrap_or(common));
        let mut all: Vec<_> = self.pairs().values().map(status).collect();
        all.sort_unstable_by_key(|pair| (pair.destination, pair.source));
        all
    }

    fn forget_unused_sources(&self) {
        let pairs = self.pairs();
        self.watched()
            .retain(|source, _| pairs.values().any(|pair| pair.source == Some(*source)));
    }

    fn read_kernel(&self) {
        let kernel = net::Kernel::read();
        let before = std::mem::replace(&mut *self.kernel(), kernel.clone());
        if (before.tw_reuse, before.timestamps) != (kernel.tw_reuse, kernel.timestamps) {
            for pair in self.pairs().values() {
                pair.set_time_wait(time_wait_towards(&kernel, pair.destination));
            }
        }
        if let Some(range) = kernel.port_range {
            let (low, high) = range;
            self.range.store(u32::from(low) << 16 | u32::from(high), Relaxed);
            self.usable.store(usable_ports(range, &kernel.reserved_ports), Relaxed);
        }
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<Key, Arc<Pair>>> {
        self.pairs.lock().expect("no panic under this lock")
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<IpAddr, Option<Reach>>> {
        self.watched.lock().expect("no panic under this lock")
    }

    fn kernel(&self) -> MutexGuard<'_, net::Kernel> {
        self.kernel.lock().expect("no panic under this lock")
    }
}

fn tell(source: IpAddr, presence: Presence) {
    match presence {
        Presence::Absent => {
            tracing::warn!(%source, "the source address is no longer on this machine and is not used");
        }
        Presence::Present => tracing::info!(%source, "the source address is on this machine again and is used"),
    }
}

fn time_wait_towards(kernel: &net::Kernel, destination: SocketAddr) -> Duration {
    time_wait(kernel.tw_reuse, kernel.timestamps, Some(destination.ip()))
}

impl Observed {
    fn count(&mut self, state: TcpState) {
        let count = match state {
            TcpState::Established => &mut self.established,
            TcpState::SynSent => &mut self.syn_sent,
            TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => &mut self.closing,
            TcpState::CloseWait => &mut self.close_wait,
            TcpState::TimeWait => &mut self.time_wait,
        };
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Ledger, *};

    const DESTINATION: ([u8; 4], u16) = ([192, 0, 2, 9], 80);

    fn ledger(ports: &Arc<Ports>, last: u8) -> Arc<Ledger> {
        Ledger::new(ports, [[127, 0, 0, last].into()], None, DESTINATION.into())
    }

    fn sources(ports: &Ports, now: Instant) -> Vec<String> {
        let all = ports.status(now, |_| None).into_iter();
        all.map(|pair| pair.source.expect("named").to_string()).collect()
    }

    #[test]
    fn clusters_that_use_the_same_ports_count_them_together() {
        let (ports, now) = (Ports::new(), Instant::now());
        let (one, other) = (ledger(&ports, 11), ledger(&ports, 11));
        let held = [one.reserve(&[], now), other.reserve(&[], now)];
        let status = ports.status(now, |_| Some(7));
        let [pair] = status.as_slice() else {
            panic!("one pair: {status:?}")
        };
        assert_eq!((pair.connecting, pair.used, pair.limit), (2, 2, 7));
        drop(held);
        assert_eq!(ports.status(now, |_| None)[0].used, 0);
    }

    #[test]
    fn all_pairs_are_shown_in_order() {
        let (ports, now) = (Ports::new(), Instant::now());
        let _ledgers = [13, 11, 12].map(|last| ledger(&ports, last));
        assert_eq!(sources(&ports, now), ["127.0.0.11", "127.0.0.12", "127.0.0.13"]);
    }

    #[test]
    fn a_pair_is_forgotten_when_nobody_uses_it_and_nothing_is_left_of_it() {
        let (ports, now) = (Ports::new(), Instant::now());
        let kept = ledger(&ports, 11);
        drop(ledger(&ports, 12));
        let closing = ledger(&ports, 13);
        ports
            .pair(Some([127, 0, 0, 13].into()), DESTINATION.into())
            .set_time_wait(Duration::from_secs(60));
        closing.reserve(&[], now).expect("free").left_time_wait(now);
        drop(closing);
        ports.reconcile(now);
        assert_eq!(sources(&ports, now), ["127.0.0.11", "127.0.0.13"]);
        assert_eq!(ports.watched().len(), 2);
        ports.reconcile(now + Duration::from_secs(62));
        assert_eq!(sources(&ports, now), ["127.0.0.11"]);
        drop(kept);
        ports.reconcile(now);
        assert_eq!((sources(&ports, now).len(), ports.watched().len()), (0, 0));
    }

    #[test]
    fn a_pair_outlives_its_ledger_while_a_connection_holds_a_port() {
        let (ports, now) = (Ports::new(), Instant::now());
        let held = ledger(&ports, 11).reserve(&[], now).expect("free");
        ports.reconcile(now);
        assert_eq!(sources(&ports, now), ["127.0.0.11"]);
        assert_eq!(
            ledger(&ports, 11).reserve(&[], now).map(|two| two.is_present()),
            Some(true)
        );
        assert_eq!(ports.status(now, |_| None)[0].used, 1);
        drop(held);
        ports.reconcile(now);
        assert!(sources(&ports, now).is_empty());
    }

    #[test]
    fn a_named_source_that_is_not_here_is_found_out() {
        let (ports, now) = (Ports::new(), Instant::now());
        let elsewhere = IpAddr::from([192, 0, 2, 1]);
        let both = [elsewhere, [127, 0, 0, 11].into()];
        let ledger = Ledger::new(&ports, both, None, DESTINATION.into());
        ports.look_around();
        let present: Vec<_> = ports.status(now, |_| None).iter().map(|pair| pair.present).collect();
        assert_eq!(present, [true, false]);
        let reservation = ledger.reserve(&[], now).expect("the other");
        assert_eq!(reservation.address(), Some(both[1]));
        assert!(ledger.reserve(&[1], now).is_none());
    }

    #[test]
    fn the_limit_is_a_share_of_the_kernels_range() {
        let ports = Ports::new();
        let (low, high) = ports.range().expect("this is Linux");
        assert!(low <= high);
        let all = ports.limit(Some(1.0));
        assert!((1..=usize::from(high - low) + 1).contains(&all), "{all}");
        assert_eq!(ports.limit(Some(0.5)), all / 2);
        assert_eq!(ports.limit(Some(0.0)), 1, "never none");
        assert_eq!(ports.limit(None), (all as f64 * ports.search.max_fill()) as usize);
    }

    #[test]
    fn a_look_at_the_kernel_sees_our_own_connection() {
        let (ports, now) = (Ports::new(), Instant::now());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let destination = listener.local_addr().expect("bound");
        let ledger = Ledger::new(&ports, [], None, destination);
        let stream = std::net::TcpStream::connect(destination).expect("it listens");
        let mut reservation = ledger.reserve(&[], now).expect("free");
        reservation.connected(stream.local_addr().expect("connected").ip());
        let stranger = std::net::TcpStream::connect(destination).expect("it listens");
        ports.reconcile(now);
        let status = ports.status(now, |_| None).remove(0);
        let seen = status.observed.expect("the kernel lists its sockets");
        assert_eq!((seen.established, status.difference, status.foreign), (2, Some(-1), 1));
        assert_eq!((status.established, status.used), (1, 2));
        drop(stranger);
    }

    #[test]
    fn each_state_of_a_socket_counts_in_its_place() {
        let mut seen = Observed::default();
        for state in [
            TcpState::Established,
            TcpState::SynSent,
            TcpState::FinWait1,
            TcpState::FinWait2,
            TcpState::Closing,
            TcpState::LastAck,
            TcpState::CloseWait,
            TcpState::TimeWait,
        ] {
            seen.count(state);
        }
        let expected = Observed {
            established: 1,
            syn_sent: 1,
            closing: 4,
            close_wait: 1,
            time_wait: 1,
        };
        assert_eq!(seen, expected);
    }
}
