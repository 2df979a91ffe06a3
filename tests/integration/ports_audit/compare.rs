//! Whether the proxy's numbers are true: `/metrics` against the kernel's own list, pair by pair.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use super::scene::{Pause, Scene};
use crate::support::{eventually, proxy::sum_of_samples};

/// How often it is looked; once a second would miss the shorter stories.
const INTERVAL: Duration = Duration::from_millis(200);
/// By how much a number may be wrong.
const TOLERANCE: f64 = 2.0;

/// (source address, endpoint), as both sides write them.
type Pair = (String, String);

/// Of one pair.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Numbers {
    established: f64,
    time_wait: f64,
}

impl Scene<'_> {
    /// Tells the story, and compares the numbers again and again meanwhile and at the end. The clients pause for it: while
    /// connections come and go, two looks at two moments say nothing about each other.
    pub fn audited<T>(&self, story: impl FnOnce(&Pause) -> T) -> T {
        let pause = Pause::default();
        let told = thread::scope(|scope| {
            let (over, watched) = mpsc::channel::<()>();
            let pause = &pause;
            let audit = scope.spawn(move || {
                while watched.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let _held = pause.hold();
                    self.compare();
                }
            });
            let told = story(pause);
            drop(over);
            audit.join().expect("the numbers are true");
            told
        });
        self.compare();
        self.compare_exhaustion();
        told
    }

    /// Compares at once; for a story whose requests are all held.
    pub fn compare(&self) {
        let (mut before, mut seen, mut after) = Default::default();
        eventually("no connection comes or goes for a moment", || {
            before = self.page();
            seen = self.seen();
            after = self.page();
            events(&before) == events(&after) && under_way(&before) == 0.0 && under_way(&after) == 0.0
        });
        let (before, after) = (own(&before), own(&after));
        let pairs: BTreeSet<&Pair> = before.keys().chain(seen.keys()).chain(after.keys()).collect();
        for pair in pairs {
            let of = |numbers: &BTreeMap<Pair, Numbers>| numbers.get(pair).copied().unwrap_or_default();
            let (before, seen, after) = (of(&before), of(&seen), of(&after));
            let is_true = |number: fn(Numbers) -> f64| {
                let (low, high) = (number(before).min(number(after)), number(before).max(number(after)));
                (low - TOLERANCE..=high + TOLERANCE).contains(&number(seen))
            };
            assert!(
                is_true(|numbers| numbers.established) && is_true(|numbers| numbers.time_wait),
                "{pair:?}: the proxy has {before:?} and then {after:?}, the kernel {seen:?}"
            );
        }
    }

    /// Each answer of the kernel that no port is free has been counted, and nothing else.
    fn compare_exhaustion(&self) {
        let Some(trace) = &self.trace else { return };
        let counted = || self.proxy.metric("forebay_ports_exhausted_total", &[]) as usize;
        let (mut before, mut answered) = (0, 0);
        eventually("no connection is tried for a moment", || {
            before = counted();
            answered = trace.without_port();
            before == counted()
        });
        assert!(trace.tried() > 0, "the trace has missed the connections");
        assert_eq!(before, answered, "the kernel had no port {answered} times");
    }

    fn page(&self) -> String {
        self.proxy.admin_get("/metrics").text()
    }

    /// What the kernel lists.
    fn seen(&self) -> BTreeMap<Pair, Numbers> {
        let mut seen: BTreeMap<Pair, Numbers> = BTreeMap::new();
        for port in &self.endpoints {
            for line in self.namespace.list(&format!("dport = :{port}")) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let [state, _, _, local, peer, ..] = words[..] else {
                    panic!("not a line of `ss`: {line:?}");
                };
                let (source, _) = local.rsplit_once(':').expect("an address with a port");
                let numbers = seen.entry((source.to_owned(), peer.to_owned())).or_default();
                match state {
                    "ESTAB" => numbers.established += 1.0,
                    "TIME-WAIT" => numbers.time_wait += 1.0,
                    _ => {}
                }
            }
        }
        seen
    }
}

/// All connections that were ever opened and closed.
fn events(page: &str) -> [f64; 2] {
    ["forebay_pool_opened_total", "forebay_pool_closed_total"].map(|name| sum_of_samples(page, name, &[]))
}

/// Connections that are in none of the kernel's lasting states: one that is closing is established for the kernel as
/// long as the proxy waits for the endpoint's FIN.
fn under_way(page: &str) -> f64 {
    ["state=\"connecting\"", "state=\"closing\""]
        .map(|state| sum_of_samples(page, "forebay_ports_connections", &[state]))
        .iter()
        .sum()
}

/// What the proxy says.
fn own(page: &str) -> BTreeMap<Pair, Numbers> {
    let lines = page.lines().filter(|line| line.starts_with("forebay_ports_time_wait{"));
    let pairs = lines.map(|line| (label(line, "source"), label(line, "endpoint")));
    let numbers = |(source, endpoint): Pair| {
        let labels = [format!("source=\"{source}\""), format!("endpoint=\"{endpoint}\"")];
        let sum = |name, state: &str| sum_of_samples(page, name, &[&labels[0], &labels[1], state]);
        let established = ["state=\"active\"", "state=\"idle\""].map(|state| sum("forebay_ports_connections", state));
        let numbers = Numbers {
            established: established.iter().sum(),
            time_wait: sum("forebay_ports_time_wait", ""),
        };
        ((source, endpoint), numbers)
    };
    pairs.map(numbers).collect()
}

fn label(line: &str, name: &str) -> String {
    let rest = line.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
    let value = rest.and_then(|rest| rest.split_once('"')).map(|(value, _)| value);
    value.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
}

#[test]
fn a_page_is_read_pair_by_pair() {
    let page = "forebay_ports_connections{endpoint=\"10.0.0.2:1\",source=\"10.0.0.1\",state=\"active\"} 3\n\
                forebay_ports_connections{endpoint=\"10.0.0.2:1\",source=\"10.0.0.1\",state=\"idle\"} 4\n\
                forebay_ports_connections{endpoint=\"10.0.0.2:1\",source=\"10.0.0.1\",state=\"closing\"} 5\n\
                forebay_ports_connections{endpoint=\"10.0.0.2:11\",source=\"10.0.0.1\",state=\"idle\"} 6\n\
                forebay_ports_time_wait{endpoint=\"10.0.0.2:1\",source=\"10.0.0.1\"} 7\n";
    let numbers = Numbers {
        established: 7.0,
        time_wait: 7.0,
    };
    let pair = ("10.0.0.1".to_owned(), "10.0.0.2:1".to_owned());
    assert_eq!(own(page), BTreeMap::from([(pair, numbers)]));
}
