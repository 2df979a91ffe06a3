//! What is told of a run, and of several together.

use std::time::Duration;

use super::{counters::Counters, load::Errors};

/// What came of one run, or of the part of it before an interruption.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    pub elapsed: Duration,
    pub answered: u64,
    pub errors: Errors,
    /// Due at the constant rate, and never sent, since no client was free.
    pub unsent: u64,
    /// Of the answered requests: at 50, 90, 99 and 99.9 %, and the longest.
    pub latency: Latency,
    /// Bytes of the answers' bodies.
    pub bytes: u64,
    /// Connections that clients opened.
    pub client_connections: u64,
    /// CPU time of each side; `None` where it cannot be known, as of endpoints elsewhere.
    pub proxy_cpu: Option<Duration>,
    pub endpoint_cpu: Option<Duration>,
    pub load_cpu: Option<Duration>,
    /// What the proxy has counted; `None` without one.
    pub proxy: Option<Counters>,
    /// The most at any look; `None` where the kernel could not be asked.
    pub time_wait_proxy: Option<usize>,
    pub time_wait_endpoint: Option<usize>,
    pub ports: Option<usize>,
}

/// Microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub longest: u64,
}

/// One figure: how it is called in the JSON, what it means, and how it is read.
#[derive(Debug)]
pub struct Measure {
    /// Ends in its unit; never changes.
    pub key: &'static str,
    pub about: &'static str,
    pub of: fn(&Figures) -> Option<f64>,
}

/// A figure over several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

const fn measure(key: &'static str, about: &'static str, of: fn(&Figures) -> Option<f64>) -> Measure {
    Measure { key, about, of }
}

pub const REQUESTS: Measure = measure(
    "requests_per_second",
    "requests answered whole with a status below 400, per second",
    |figures| Some(figures.answered as f64 / figures.elapsed.as_secs_f64()).filter(|rate| rate.is_finite()),
);
pub const P50: Measure = measure("latency_p50_us", "half of the answers came within this", |figures| {
    figures.latency(|latency| latency.p50)
});
pub const P90: Measure = measure("latency_p90_us", "90 % of the answers came within this", |figures| {
    figures.latency(|latency| latency.p90)
});
pub const P99: Measure = measure("latency_p99_us", "99 % of the answers came within this", |figures| {
    figures.latency(|latency| latency.p99)
});
pub const P999: Measure = measure("latency_p999_us", "99.9 % of the answers came within this", |figures| {
    figures.latency(|latency| latency.p999)
});
pub const LONGEST: Measure = measure("latency_max_us", "the slowest answer", |figures| {
    figures.latency(|latency| latency.longest)
});
pub const PROXY_CPU: Measure = measure(
    "proxy_cpu_us_per_request",
    "CPU time of the proxy per answered request",
    |figures| figures.per_request(figures.proxy_cpu),
);
pub const ENDPOINT_CPU: Measure = measure(
    "endpoint_cpu_us_per_request",
    "CPU time of the endpoints per answered request",
    |figures| figures.per_request(figures.endpoint_cpu),
);
pub const LOAD_CPU: Measure = measure(
    "load_cpu_us_per_request",
    "CPU time of the load generator per answered request",
    |figures| figures.per_request(figures.load_cpu),
);
pub const OPENED: Measure = measure(
    "upstream_connections_opened",
    "connections opened to the endpoints",
    |figures| {
        let proxied = figures.proxy.map(|proxy| proxy.opened);
        Some(proxied.unwrap_or(figures.client_connections) as f64)
    },
);
pub const REUSE: Measure = measure(
    "reuse_ratio",
    "share, 0 to 1, of the requests that the proxy sent onto a connection that was there",
    |figures| {
        let proxy = figures.proxy?;
        Some(proxy.reused as f64 / (proxy.reused + proxy.opened) as f64).filter(|ratio| ratio.is_finite())
    },
);
pub const PORTS: Measure = measure(
    "source_ports_in_use_max",
    "source ports held towards the endpoints, in any state, at most",
    |figures| figures.ports.map(|count| count as f64),
);
pub const TIME_WAIT_PROXY: Measure = measure(
    "time_wait_proxy_max",
    "of these in TIME_WAIT, at most: the proxy has closed first",
    |figures| figures.time_wait_proxy.map(|count| count as f64),
);
pub const TIME_WAIT_ENDPOINT: Measure = measure(
    "time_wait_endpoint_max",
    "sockets in TIME_WAIT at the endpoints' end, at most: the endpoint has closed first",
    |figures| figures.time_wait_endpoint.map(|count| count as f64),
);
pub const NO_PORT: Measure = measure(
    "address_not_available",
    "times that the proxy got no source port from the kernel (EADDRNOTAVAIL)",
    |figures| figures.proxy.map(|proxy| proxy.no_port as f64),
);
pub const HELD_BACK: Measure = measure(
    "connects_held_back",
    "times that the proxy did not ask the kernel, since all source ports were in use",
    |figures| figures.proxy.map(|proxy| proxy.held_back as f64),
);
pub const ERRORS: Measure = measure(
    "client_errors",
    "requests of clients that were not answered, or with a status from 400 on",
    |figures| Some(figures.failed() as f64),
);

pub const UNSENT: Measure = measure(
    "requests_never_sent",
    "with a constant rate: requests that were due and never sent, since no client was free",
    |figures| Some(figures.unsent as f64),
);

/// All of them, in the order of the JSON.
pub const MEASURES: [Measure; 26] = [
    REQUESTS,
    P50,
    P90,
    P99,
    P999,
    LONGEST,
    PROXY_CPU,
    ENDPOINT_CPU,
    LOAD_CPU,
    OPENED,
    REUSE,
    PORTS,
    TIME_WAIT_PROXY,
    TIME_WAIT_ENDPOINT,
    NO_PORT,
    HELD_BACK,
    measure(
        "answered",
        "requests answered whole with a status below 400",
        |figures| Some(figures.answered as f64),
    ),
    measure(
        "client_connections_opened",
        "connections that clients opened",
        |figures| Some(figures.client_connections as f64),
    ),
    UNSENT,
    ERRORS,
    measure("client_errors_connect", "of these: no connection", |figures| {
        Some(figures.errors.connect as f64)
    }),
    measure(
        "client_errors_no_port",
        "of these: no source port left on the clients' side",
        |figures| Some(figures.errors.no_port as f64),
    ),
    measure(
        "client_errors_broken",
        "of these: the connection ended, or what came was no answer",
        |figures| Some(figures.errors.broken as f64),
    ),
    measure("client_errors_timeout", "of these: no answer in time", |figures| {
        Some(figures.errors.timeout as f64)
    }),
    measure(
        "client_errors_status_4xx",
        "of these: a status from 400 to 499",
        |figures| Some(figures.errors.status_4xx as f64),
    ),
    measure(
        "client_errors_status_5xx",
        "of these: a status from 500 to 599",
        |figures| Some(figures.errors.status_5xx as f64),
    ),
];

impl Figures {
    pub fn failed(&self) -> u64 {
        self.errors.total()
    }

    /// Microseconds; without an answer there is no latency.
    fn latency(&self, of: fn(&Latency) -> u64) -> Option<f64> {
        (self.answered > 0).then(|| of(&self.latency) as f64)
    }

    /// Microseconds.
    fn per_request(&self, time: Option<Duration>) -> Option<f64> {
        (self.answered > 0).then(|| Some(time?.as_secs_f64() * 1e6 / self.answered as f64))?
    }
}

impl Measure {
    /// Over those of the runs that have the figure; `None` where none has.
    pub fn over<'a>(&self, runs: impl IntoIterator<Item = &'a Figures>) -> Option<Spread> {
        Spread::of(runs.into_iter().filter_map(self.of).collect())
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, low, high })
    }

    /// How far the farthest run is from the median, as a share of it.
    pub fn width(&self) -> f64 {
        let farthest = (self.high - self.median).max(self.median - self.low);
        if farthest == 0.0 { 0.0 } else { farthest / self.median }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn spread(values: &[f64]) -> Spread {
        Spread::of(values.to_vec()).unwrap()
    }

    fn figures() -> Figures {
        Figures {
            elapsed: Duration::from_secs(2),
            answered: 1000,
            errors: Errors {
                connect: 1,
                no_port: 2,
                broken: 3,
                timeout: 4,
                status_4xx: 5,
                status_5xx: 6,
            },
            proxy_cpu: Some(Duration::from_millis(30)),
            proxy: Some(Counters {
                opened: 10,
                reused: 990,
                ..Counters::default()
            }),
            ..Figures::default()
        }
    }

    #[test]
    fn the_median_is_the_middle_one_or_between_the_middle_two() {
        assert_eq!(
            spread(&[3.0, 1.0, 10.0]),
            Spread {
                median: 3.0,
                low: 1.0,
                high: 10.0
            }
        );
        assert_eq!(spread(&[4.0, 1.0, 2.0, 100.0]).median, 3.0);
        assert_eq!(spread(&[7.0]).median, 7.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn the_width_is_the_farthest_from_the_median() {
        assert_eq!(spread(&[90.0, 100.0, 120.0]).width(), 0.2);
        assert_eq!(spread(&[70.0, 100.0, 120.0]).width(), 0.3);
        assert_eq!(spread(&[0.0, 0.0]).width(), 0.0);
    }

    #[test]
    fn figures_are_per_second_and_per_request() {
        let figures = figures();
        assert_eq!((REQUESTS.of)(&figures), Some(500.0));
        assert_eq!((PROXY_CPU.of)(&figures), Some(30.0));
        assert_eq!((ENDPOINT_CPU.of)(&figures), None);
        assert_eq!((REUSE.of)(&figures), Some(0.99));
        assert_eq!((ERRORS.of)(&figures), Some(21.0));
    }

    #[test]
    fn nothing_answered_has_no_latency_and_no_cost_per_request() {
        let figures = Figures {
            answered: 0,
            elapsed: Duration::ZERO,
            ..figures()
        };
        for measure in [&REQUESTS, &P50, &LONGEST, &PROXY_CPU] {
            assert_eq!((measure.of)(&figures), None, "{}", measure.key);
        }
    }

    #[test]
    fn without_a_proxy_the_clients_open_the_connections() {
        let figures = Figures {
            proxy: None,
            client_connections: 64,
            ..figures()
        };
        assert_eq!((OPENED.of)(&figures), Some(64.0));
        assert_eq!((REUSE.of)(&figures), None);
    }

    #[test]
    fn no_two_measures_have_one_name() {
        let keys: HashSet<_> = MEASURES.iter().map(|measure| measure.key).collect();
        assert_eq!(keys.len(), MEASURES.len());
    }
}
