//! The proxy's count of its source ports beside the kernel's.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::support::{Proxy, eventually, netns::Namespace, proxy::sum_of_samples};

/// How far the two may lie apart.
const TOLERANCE: usize = 2;

/// Between two looks: once a second would miss the shorter stories.
const INTERVAL: Duration = Duration::from_millis(200);

/// How often a look under load is tried: between the kernel's list and a page of ours, connections come and go.
const TRIES: usize = 20;

/// Compares the two, pair by pair: (source address, endpoint).
pub(super) struct Watch<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) proxy: &'a Proxy,
    pub(super) endpoints: Vec<SocketAddr>,
    pub(super) sources: Vec<IpAddr>,
}

/// What the proxy says of one pair.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// Active and idle.
    open: usize,
    /// Connecting and closing: for the kernel, these may be established.
    changing: usize,
    time_wait: usize,
}

/// What the kernel says of one pair.
#[derive(Debug, Clone, Copy, Default)]
struct Kernel {
    established: usize,
    time_wait: usize,
}

impl Watch<'_> {
    /// Compares again and again while `story` runs, and strictly when it is over.
    pub(super) fn during<T>(&self, story: impl FnOnce() -> T) -> T {
        let (over, running) = mpsc::channel::<()>();
        let told = thread::scope(|scope| {
            scope.spawn(move || {
                while running.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    self.look();
                }
            });
            let told = story();
            drop(over);
            told
        });
        self.look_closely();
        told
    }

    /// For moments at which connections come and go.
    fn look(&self) {
        let mut apart = Vec::new();
        let agree = (0..TRIES).any(|_| {
            apart = self.differences(|own| own.changing);
            apart.is_empty()
        });
        assert!(agree, "under load, the proxy and the kernel never agree: {apart:#?}");
    }

    /// For moments at which nothing is under way, or is about to come to rest.
    pub(super) fn look_closely(&self) {
        eventually("the proxy and the kernel agree", || {
            self.differences(|_| 0).is_empty() && self.pairs().all(|pair| self.own(&self.page(), pair).changing == 0)
        });
    }

    fn page(&self) -> String {
        self.proxy.admin_get("/metrics").text()
    }

    fn pairs(&self) -> impl Iterator<Item = (IpAddr, SocketAddr)> {
        let of_source = |source: IpAddr| self.endpoints.iter().map(move |endpoint| (source, *endpoint));
        self.sources.iter().copied().flat_map(of_source)
    }

    fn own(&self, page: &str, (source, endpoint): (IpAddr, SocketAddr)) -> Own {
        let (source, endpoint) = (format!("source=\"{source}\""), format!("endpoint=\"{endpoint}\""));
        let of_pair = |metric: &str, label: &str| sum_of_samples(page, metric, &[&source, &endpoint, label]) as usize;
        let connections = |state: &str| of_pair("forebay_ports_connections", &format!("state=\"{state}\""));
        Own {
            open: connections("active") + connections("idle"),
            changing: connections("connecting") + connections("closing"),
            time_wait: of_pair("forebay_ports_time_wait", ""),
        }
    }

    fn kernel(&self) -> HashMap<(IpAddr, SocketAddr), Kernel> {
        let mut pairs: HashMap<_, Kernel> = HashMap::new();
        for line in self.namespace.list("") {
            let words: Vec<&str> = line.split_whitespace().collect();
            let address = |word: &str| word.parse::<SocketAddr>().ok();
            let (Some(local), Some(peer)) = (address(words[3]), address(words[4])) else {
                continue;
            };
            let pair = pairs.entry((local.ip(), peer)).or_default();
            match words[0] {
                "ESTAB" => pair.established += 1,
                "TIME-WAIT" => pair.time_wait += 1,
                _ => {}
            }
        }
        pairs
    }

    /// A page, the kernel's list, another page: the list has to lie where the two pages do.
    fn differences(&self, established_besides: impl Fn(&Own) -> usize) -> Vec<String> {
        let (before, kernel, after) = (self.page(), self.kernel(), self.page());
        let of_pair = |pair| {
            let pages = [self.own(&before, pair), self.own(&after, pair)];
            let seen = kernel.get(&pair).copied().unwrap_or_default();
            let open = range(
                pages.map(|own| own.open),
                pages.map(|own| own.open + established_besides(&own)),
            );
            let time_wait = range(pages.map(|own| own.time_wait), pages.map(|own| own.time_wait));
            let agree = open.contains(&seen.established) && time_wait.contains(&seen.time_wait);
            (!agree).then(|| format!("{pair:?}: {pages:?} {seen:?}"))
        };
        self.pairs().filter_map(of_pair).collect()
    }
}

fn range(low: [usize; 2], high: [usize; 2]) -> RangeInclusive<usize> {
    low[0].min(low[1]).saturating_sub(TOLERANCE)..=high[0].max(high[1]) + TOLERANCE
}
