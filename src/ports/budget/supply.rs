//! The ports that a machine has, and how long each close keeps one of them.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use crate::{config::Close, net::Kernel, ports::TIME_WAIT_SECONDS};

/// The range of source ports of a Linux that nobody has told otherwise (`ip_local_port_range`).
pub const DEFAULT_RANGE: (u16, u16) = (32_768, 60_999);

/// How long TIME_WAIT keeps a port from `connect()` where the kernel may take it over (`tcp_tw_reuse`): by default of
/// `tcp_tw_reuse_delay`, which older kernels have no name for.
const TIME_WAIT_TAKEN_OVER: Duration = Duration::from_secs(1);

/// How long an endpoint that does not close in turn takes to acknowledge a FIN, as measured (delayed acknowledgements).
const ACKNOWLEDGEMENT: Duration = Duration::from_millis(40);

/// How long an endpoint that was asked to close may take.
const ASKED_TO_CLOSE: Duration = Duration::from_millis(50);

/// What a free port costs to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Little, up to the last ports: `IP_LOCAL_PORT_RANGE` (Linux 6.3).
    Even,
    /// Up to 3.7 ms of processor time for each connection once half of the ports are in use: the kernel tries all even
    /// ports before any odd one.
    CliffAtHalf,
}

impl Search {
    /// What it is on this kernel.
    pub fn of(kernel: &Kernel) -> Self {
        if kernel.local_port_range_option {
            Self::Even
        } else {
            Self::CliffAtHalf
        }
    }

    /// The share of the ports that is used where the operator names none.
    pub fn max_fill(self) -> f64 {
        match self {
            Self::Even => 0.95,
            Self::CliffAtHalf => 0.5,
        }
    }
}

/// The ports that there are towards one destination.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Supply {
    /// Source addresses.
    pub sources: usize,
    /// Ports of each one that the kernel gives away, from [`usable_ports`].
    pub ports: usize,
    /// The share of them that may be in use; `None`: as much as is cheap.
    pub max_fill: Option<f64>,
    pub search: Search,
}

impl Supply {
    /// Ports that may be in use at once, over all source addresses.
    pub fn limit(&self) -> usize {
        let fill = self.max_fill.unwrap_or(self.search.max_fill());
        // Cut for each address, as each is counted by itself.
        self.sources * ((self.ports as f64 * fill) as usize).max(1)
    }
}

/// The ports of `range`, both ends included, without the `reserved` ones (`ip_local_reserved_ports`).
pub fn usable_ports((low, high): (u16, u16), reserved: &[RangeInclusive<u16>]) -> usize {
    let is_reserved = |port: &u16| reserved.iter().any(|range| range.contains(port));
    (low..=high).filter(|port| !is_reserved(port)).count()
}

/// The ports that `kernel` gives away to connections.
pub fn ports_of(kernel: &Kernel) -> usize {
    usable_ports(kernel.port_range.unwrap_or(DEFAULT_RANGE), &kernel.reserved_ports)
}

/// How long TIME_WAIT keeps a port towards `destination` (`None`: not known) from being used again.
///
/// `tcp_tw_reuse` = 1 lets `connect()` take such a port over after a second, and 2, the kernel's default, does so
/// towards loopback addresses; both only while `tcp_timestamps` are on, at both ends. `None` for a sysctl that cannot be
/// read is its default.
pub fn time_wait(tw_reuse: Option<u32>, timestamps: Option<u32>, destination: Option<IpAddr>) -> Duration {
    let is_loopback = destination.is_some_and(|address| address.is_loopback());
    let taken_over = match tw_reuse {
        Some(1) => true,
        Some(2) | None => is_loopback,
        Some(_) => false,
    };
    if taken_over && timestamps != Some(0) {
        TIME_WAIT_TAKEN_OVER
    } else {
        Duration::from_secs(TIME_WAIT_SECONDS)
    }
}

/// Whether a connection that we close first leaves a TIME_WAIT on our side.
pub fn leaves_time_wait(close: Close) -> bool {
    match close {
        Close::Fin => true,
        Close::FinNoTimeWait | Close::Rst | Close::AskEndpoint => false,
    }
}

/// How long a port stays taken after the end of its connection has begun, where TIME_WAIT lasts `time_wait`.
pub fn hold(close: Close, time_wait: Duration) -> Duration {
    match close {
        Close::Fin => time_wait,
        Close::FinNoTimeWait => ACKNOWLEDGEMENT,
        Close::Rst => Duration::ZERO,
        // If the endpoint does not close, we do.
        Close::AskEndpoint => ASKED_TO_CLOSE + ACKNOWLEDGEMENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPPLY: Supply = Supply {
        sources: 1,
        ports: 28_232,
        max_fill: None,
        search: Search::Even,
    };

    #[test]
    fn reserved_ports_are_not_given_away() {
        assert_eq!(usable_ports(DEFAULT_RANGE, &[]), 28_232);
        assert_eq!(usable_ports((1024, 65_535), &[]), 64_512);
        // One inside, one across the border, one outside, and one that says it twice.
        let reserved = [40_000..=40_009, 32_000..=32_768, 8_080..=8_080, 40_005..=40_009];
        assert_eq!(usable_ports(DEFAULT_RANGE, &reserved), 28_232 - 11);
        assert_eq!(usable_ports((5, 5), &[5..=5]), 0);
    }

    #[test]
    fn the_limit_is_what_is_cheap_unless_the_operator_says_otherwise() {
        assert_eq!(SUPPLY.limit(), 26_820);
        let with_cliff = Supply {
            search: Search::CliffAtHalf,
            ..SUPPLY
        };
        assert_eq!(with_cliff.limit(), 14_116);
        let full = Supply {
            max_fill: Some(1.0),
            ..with_cliff
        };
        assert_eq!(full.limit(), 28_232);
    }

    #[test]
    fn the_limit_counts_each_source_address_by_itself() {
        let of = |sources, ports, max_fill| Supply {
            sources,
            ports,
            max_fill: Some(max_fill),
            ..SUPPLY
        };
        assert_eq!(of(4, 50, 0.95).limit(), 4 * 47);
        assert_eq!(of(2, 3, 0.01).limit(), 2, "one of each, at the least");
    }

    #[test]
    fn a_time_wait_is_waited_for_unless_the_kernel_may_take_it_over() {
        let (far, here) = (Some([10, 0, 0, 1].into()), Some([127, 0, 0, 2].into()));
        let (long, short) = (Duration::from_secs(61), Duration::from_secs(1));
        for (tw_reuse, timestamps, destination, life) in [
            (Some(0), Some(1), far, long),
            (Some(0), Some(1), here, long),
            (Some(1), Some(1), far, short),
            (Some(1), Some(1), None, short),
            (Some(1), None, far, short),
            (Some(1), Some(0), far, long),
            (Some(2), Some(1), far, long),
            (Some(2), Some(1), None, long),
            (Some(2), Some(1), here, short),
            (Some(2), Some(0), here, long),
            (None, None, far, long),
            (None, None, Some("::1".parse().unwrap()), short),
        ] {
            let found = time_wait(tw_reuse, timestamps, destination);
            assert_eq!(found, life, "{tw_reuse:?} {timestamps:?} {destination:?}");
        }
    }

    #[test]
    fn only_a_plain_fin_holds_its_port_for_a_minute() {
        let minute = Duration::from_secs(61);
        for close in [Close::FinNoTimeWait, Close::Rst, Close::Fin, Close::AskEndpoint] {
            let hold = hold(close, minute);
            assert_eq!(hold >= minute, leaves_time_wait(close), "{close:?}");
            assert!(
                leaves_time_wait(close) || hold <= Duration::from_millis(90),
                "{close:?}"
            );
        }
        assert_eq!(hold(Close::Rst, minute), Duration::ZERO);
    }
}
