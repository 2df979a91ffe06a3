//! How many source ports a load needs, on paper. Pure: the numbers of the machine come in.
//!
//! A port is held from `connect()` until the kernel forgets the connection. So one destination, at a steady rate, holds
//! (Little's law)
//!
//! ```text
//! ports = connections open at once + connections closed per second x time that a close holds the port
//! ```
//!
//! and the rate of closes that can go on for ever is what the limit leaves, divided by that time: (S x R - A) / T, with
//! S source addresses of R ports each, A connections at once, and T = 60 s of TIME_WAIT. Each destination has all S x R
//! ports to itself, since the port is chosen by `connect()`.
//!
//! # Which 60 seconds?
//! Linux keeps a TIME_WAIT for `TCP_TIMEWAIT_LEN`, 60 s and up to one more of timer slack, and no sysctl changes that:
//! `tcp_fin_timeout` is the time of FIN_WAIT2. The 4 minutes of RFC 793 (twice a segment lifetime of 2 minutes), from
//! which the figure "60,000 ports last for 250 connections per second" comes, are not Linux's: it is 1000 per second, or
//! 463 with the 28,232 ports that Linux has by default.

mod supply;

use std::time::Duration;

pub use supply::{DEFAULT_RANGE, Search, Supply, hold, leaves_time_wait, ports_of, time_wait, usable_ports};

use crate::config::Close;

/// Above this share of the limit there is little left for a burst.
const TIGHT: f64 = 0.8;

/// Beyond every machine.
const MANY_REQUESTS: f64 = 1e9;

/// How many connections can be closed per second for ever, while `open` others hold a port: (S x R - A) / T.
///
/// `limit` are the ports that may be in use. `None`: any number, since a close frees the port at once.
pub fn closes_per_second(limit: usize, open: usize, hold: Duration) -> Option<f64> {
    (!hold.is_zero()).then(|| limit.saturating_sub(open) as f64 / hold.as_secs_f64())
}

/// What one destination has to bear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// To this destination.
    pub requests_per_second: f64,
    /// From a request to the end of its answer, on average.
    pub response_time: Duration,
    /// Connections at once, at the most.
    pub max_connections: usize,
    pub pooling: Pooling,
    pub close: Close,
    /// How long TIME_WAIT holds a port, from [`time_wait`].
    pub time_wait: Duration,
}

/// What happens to a connection after its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Each request has a connection of its own.
    Off,
    On {
        idle_timeout: Duration,
        /// Zero: no limit.
        max_lifetime: Duration,
        /// Zero: no limit.
        max_requests: u64,
        min_idle: usize,
    },
}

/// What the load comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Ports that may be in use at once.
    pub limit: usize,
    /// Connections open at once at the peaks, idle ones included: the ports that are needed from the start.
    pub open: usize,
    /// Ports of closed connections, once as many come free as are taken.
    pub closing: usize,
    /// How long a close holds its port.
    pub hold: Duration,
    /// New connections per second, which is also how many are closed.
    pub connections_per_second: f64,
    /// New connections per second that the limit bears for ever; `None`: any number.
    pub max_connections_per_second: Option<f64>,
    /// Requests per second that can go on for ever; `None`: beyond every machine.
    pub ceiling: Option<Ceiling>,
    pub verdict: Verdict,
}

/// The highest rate that can go on for ever.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    pub requests_per_second: f64,
    /// What there is not enough of above it.
    pub scarce: Scarce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scarce {
    Ports,
    /// What `max_connections` allows.
    Connections,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    Fine,
    /// More than 80 % of the limit is needed.
    Tight,
    /// `wanted` connections at once would be needed, and `max_connections` does not allow them: requests wait.
    Waits {
        wanted: usize,
    },
    /// More than half of the ports are needed where that makes each connection expensive ([`Search::CliffAtHalf`]).
    Expensive,
    /// No port is left `after` this time; zero if the open connections alone are too many.
    RunsOut {
        after: Duration,
    },
}

impl Budget {
    /// Ports that are needed in the long run.
    pub fn needed(&self) -> usize {
        self.open + self.closing
    }

    /// Ports in use so long after the load has begun, if the peaks come at once: none is free again before `hold` is
    /// over, and more than the limit there are not.
    pub fn ports_after(&self, elapsed: Duration) -> f64 {
        let closing = self.connections_per_second * elapsed.min(self.hold).as_secs_f64();
        (self.open as f64 + closing).min(self.limit as f64)
    }

    pub fn of(supply: &Supply, demand: &Demand) -> Self {
        let limit = supply.limit();
        let wanted = demand.open(demand.requests_per_second);
        let open = wanted.min(demand.max_connections as f64);
        let hold = hold(demand.close, demand.time_wait);
        let connections_per_second = demand.opened(demand.requests_per_second);
        let closing = connections_per_second * hold.as_secs_f64();
        let needed = open + closing;
        let verdict = if needed > limit as f64 {
            Verdict::RunsOut {
                after: time_to_use(limit as f64 - open, connections_per_second),
            }
        } else if supply.search == Search::CliffAtHalf && needed > (supply.sources * supply.ports) as f64 / 2.0 {
            Verdict::Expensive
        } else if wanted > open {
            Verdict::Waits {
                wanted: wanted.ceil() as usize,
            }
        } else if needed > limit as f64 * TIGHT {
            Verdict::Tight
        } else {
            Verdict::Fine
        };
        let open = open.ceil() as usize;
        Self {
            limit,
            open,
            closing: closing.ceil() as usize,
            hold,
            connections_per_second,
            max_connections_per_second: closes_per_second(limit, open, hold),
            ceiling: demand.ceiling(limit),
            verdict,
        }
    }
}

impl Demand {
    /// Requests in flight on average: rate times duration (Little's law).
    fn active(&self, rate: f64) -> f64 {
        rate * self.response_time.as_secs_f64()
    }

    /// Connections that are wanted at once at the peaks: requests that come independently of each other are fewer than
    /// three standard deviations above their average for 99.9 % of the time, and the variance of their number is its
    /// average (Poisson).
    fn open(&self, rate: f64) -> f64 {
        let active = self.active(rate);
        let spare = match self.pooling {
            Pooling::Off => 0,
            Pooling::On { min_idle, .. } => min_idle,
        };
        active + (3.0 * active.sqrt()).max(spare as f64)
    }

    /// New connections per second. A pool replaces those that grow old, and at worst lets those that a peak has opened
    /// idle out again and again.
    fn opened(&self, rate: f64) -> f64 {
        // What is held up by `max_connections` is not opened.
        let served = match self.response_time.as_secs_f64() {
            0.0 => rate,
            each => rate.min(self.max_connections as f64 / each),
        };
        let Pooling::On {
            idle_timeout,
            max_lifetime,
            max_requests,
            ..
        } = self.pooling
        else {
            return served;
        };
        let open = self.open(served);
        let of_peaks = 3.0 * self.active(served).sqrt() / idle_timeout.as_secs_f64();
        let of_age = match max_lifetime.as_secs_f64() {
            0.0 => 0.0,
            age => open / age,
        };
        let of_use = match max_requests {
            0 => 0.0,
            requests => served / requests as f64,
        };
        (of_peaks + of_age + of_use).min(served)
    }

    /// Ports held for ever at this rate.
    fn needed(&self, rate: f64) -> f64 {
        self.open(rate) + self.opened(rate) * hold(self.close, self.time_wait).as_secs_f64()
    }

    fn ceiling(&self, limit: usize) -> Option<Ceiling> {
        let ports = highest(|rate| self.needed(rate) <= limit as f64);
        let connections = highest(|rate| self.open(rate) <= self.max_connections as f64);
        let of_ports = ports.map(|rate| (rate, Scarce::Ports));
        let of_connections = connections.map(|rate| (rate, Scarce::Connections));
        let lowest = of_ports
            .into_iter()
            .chain(of_connections)
            .min_by(|(one, _), (other, _)| one.total_cmp(other));
        lowest.map(|(requests_per_second, scarce)| Ceiling {
            requests_per_second,
            scarce,
        })
    }
}

/// How long `ports` last if that many are taken per second. There is a rate where there are ports left.
fn time_to_use(ports: f64, per_second: f64) -> Duration {
    if ports <= 0.0 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(ports / per_second).unwrap_or(Duration::MAX)
}

/// The highest rate that fits, if not all do; what fits at one rate has to fit at all lower ones.
fn highest(fits: impl Fn(f64) -> bool) -> Option<f64> {
    let (mut low, mut high) = (0.0, MANY_REQUESTS);
    if fits(high) {
        return None;
    }
    // Halves an interval of 10^9 down to less than 10^-6.
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

#[cfg(test)]
mod tests;
