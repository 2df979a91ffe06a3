//! `[cluster.NAME]`: endpoints and what is expected of them.

use std::{collections::BTreeMap, time::Duration};

use super::{
    MANY,
    listener::parse_name,
    pool::{ClusterTimeouts, Pool, Retry},
    probe::{Probe, read_probe, write_probe},
    problem::Wrong,
    protocol::{PROTOCOLS, PROXY_HEADERS, Protocol, ProxyHeader, UpstreamHttp2, report_contradictions},
    reader::{Table, Value},
    source::Source,
    tcp::{TcpKeepalive, read_user_timeout},
    upstream_tls::UpstreamTls,
    write::{Entries, ToToml, key},
};

/// `[cluster.NAME]`: equivalent endpoints and their policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    pub endpoints: Vec<Endpoint>,
    pub balance: Balance,
    pub pool: Pool,
    pub source: Source,
    /// `None`: no probes, every endpoint counts as healthy.
    pub probe: Option<Probe>,
    pub timeouts: ClusterTimeouts,
    pub protocol: Protocol,
    /// `None`: the endpoints are spoken to in the clear.
    pub tls: Option<UpstreamTls>,
    pub http2: UpstreamHttp2,
    /// `None`: no PROXY header.
    pub proxy_header: Option<ProxyHeader>,
    pub tcp_keepalive: TcpKeepalive,
    /// Time that sent data may stay unacknowledged; longer than any upload stall that shall be tolerated.
    pub tcp_user_timeout: Duration,
    pub retry: Retry,
    /// What the operator knows of the traffic and of the endpoints; only `check` and warnings use it.
    pub expect: Option<Expect>,
}

/// `[cluster.NAME] expect = {...}`: traffic for which `check` does the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expect {
    /// To the whole cluster; above 0 and at most 1 000 000 000.
    pub requests_per_second: f64,
    /// From a request to the end of its answer, on average.
    pub response_time: Duration,
    /// After how long the endpoints close idle connections; `None`: not known.
    pub endpoint_idle_timeout: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A host name or an IP address (IPv6 without brackets), in lower case.
    pub host: String,
    pub port: u16,
    /// Share of the requests, 1 to 1000.
    pub weight: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    /// The less loaded of two endpoints drawn at random.
    LeastLoaded,
}

const BALANCES: [(&str, Balance); 2] = [
    ("round-robin", Balance::RoundRobin),
    ("least-loaded", Balance::LeastLoaded),
];
const DEFAULT_WEIGHT: u32 = 1;
const DEFAULT_BALANCE: Balance = Balance::LeastLoaded;
const DEFAULT_TCP_KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(15),
    interval: Duration::from_secs(5),
    count: 3,
};
const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_secs(75);
const DEFAULT_RESPONSE_TIME: Duration = Duration::from_millis(100);

impl Cluster {
    /// A cluster of these endpoints with everything else by default.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            balance: DEFAULT_BALANCE,
            pool: Pool::default(),
            source: Source::default(),
            probe: None,
            timeouts: ClusterTimeouts::default(),
            protocol: Protocol::default(),
            tls: None,
            http2: UpstreamHttp2::default(),
            proxy_header: None,
            tcp_keepalive: DEFAULT_TCP_KEEPALIVE,
            tcp_user_timeout: DEFAULT_TCP_USER_TIMEOUT,
            retry: Retry::default(),
            expect: None,
        }
    }

    fn read(table: &mut Table<'_>) -> Self {
        let endpoints = read_endpoints(table);
        let protocol = table.choice("protocol", Protocol::default(), &PROTOCOLS);
        let proxy_header = table.choice("proxy_protocol", None, &PROXY_HEADERS);
        report_contradictions(table, protocol, proxy_header);
        Self {
            protocol,
            tls: table.section("tls", None, |table| Some(UpstreamTls::read(table))),
            http2: table.section("http2", UpstreamHttp2::default(), UpstreamHttp2::read),
            proxy_header,
            balance: table.choice("balance", DEFAULT_BALANCE, &BALANCES),
            pool: table.section("pool", Pool::default(), Pool::read),
            source: table.section("source", Source::default(), |table| Source::read(table, &endpoints)),
            probe: table.section("health", None, read_probe),
            timeouts: table.section("timeouts", ClusterTimeouts::default(), ClusterTimeouts::read),
            tcp_keepalive: table.section("tcp_keepalive", DEFAULT_TCP_KEEPALIVE, |table| {
                TcpKeepalive::read(table, DEFAULT_TCP_KEEPALIVE)
            }),
            tcp_user_timeout: read_user_timeout(table, DEFAULT_TCP_USER_TIMEOUT),
            retry: table.section("retry", Retry::default(), Retry::read),
            expect: table.section("expect", None, Expect::read),
            endpoints,
        }
    }

    pub(super) fn write(&self, name: &str) -> String {
        let name = key(name);
        let endpoints: Vec<_> = self.endpoints.iter().map(Endpoint::toml).collect();
        let mut entries = Entries::default();
        entries.put_raw("endpoints", format!("[{}]", endpoints.join(", ")));
        entries.changed_choice("balance", &self.balance, &DEFAULT_BALANCE, &BALANCES);
        entries.changed_choice("protocol", &self.protocol, &Protocol::default(), &PROTOCOLS);
        entries.changed_choice("proxy_protocol", &self.proxy_header, &None, &PROXY_HEADERS);
        if let Some(tls) = &self.tls {
            entries.put_raw("tls", tls.entries().inline());
        }
        entries.put_table("http2", &self.http2.entries());
        entries.put_table("tcp_keepalive", &self.tcp_keepalive.entries(&DEFAULT_TCP_KEEPALIVE));
        entries.changed("tcp_user_timeout", &self.tcp_user_timeout, &DEFAULT_TCP_USER_TIMEOUT);
        if let Some(expect) = &self.expect {
            entries.put_table("expect", &expect.entries());
        }
        [
            entries.section(&format!("[cluster.{name}]")),
            self.pool.entries().section(&format!("[cluster.{name}.pool]")),
            self.source.entries().section(&format!("[cluster.{name}.source]")),
            write_probe(self.probe.as_ref()).section(&format!("[cluster.{name}.health]")),
            self.timeouts.entries().section(&format!("[cluster.{name}.timeouts]")),
            self.retry.entries().section(&format!("[cluster.{name}.retry]")),
        ]
        .concat()
    }
}

impl Expect {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let example = "a number above 0, such as 800";
        let rate = table.value("requests_per_second");
        if rate.is_none() {
            let wrong = Wrong::new("`expect` says no `requests_per_second`");
            table.report_absence(wrong.help("write for example `expect = { requests_per_second = 800 }`"));
        }
        let response_time =
            table.positive_duration("response_time", DEFAULT_RESPONSE_TIME, "write for example \"5ms\"");
        let endpoint_idle_timeout = table.or("endpoint_idle_timeout", None, |value| {
            value.positive_duration("write for example \"75s\"").map(Some)
        });
        Some(Self {
            requests_per_second: rate?.number(f64::MIN_POSITIVE..=MANY as f64, example)?,
            response_time,
            endpoint_idle_timeout,
        })
    }

    fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        entries.put("requests_per_second", &self.requests_per_second);
        entries.changed("response_time", &self.response_time, &DEFAULT_RESPONSE_TIME);
        if let Some(timeout) = &self.endpoint_idle_timeout {
            entries.put("endpoint_idle_timeout", timeout);
        }
        entries
    }
}

/// The names under `[cluster]`, also of clusters that turn out to be wrong.
pub(super) fn read_clusters(table: &mut Table<'_>) -> (Vec<String>, BTreeMap<String, Cluster>) {
    let example = "each cluster under a line with its name, such as `[cluster.api]`";
    let entries = table
        .value("cluster")
        .and_then(|value| value.entries(example))
        .unwrap_or_default();
    let mut names = Vec::new();
    let mut clusters = BTreeMap::new();
    for (value, name) in entries {
        names.push(name.to_owned());
        if value.accept(parse_name(name)).is_some()
            && let Some(cluster) = value.table(example, Cluster::read)
        {
            clusters.insert(name.to_owned(), cluster);
        }
    }
    (names, clusters)
}

fn read_endpoints(table: &mut Table<'_>) -> Vec<Endpoint> {
    let example = "[\"10.0.0.11:9000\", \"10.0.0.12:9000\"]";
    let Some(value) = table.value("endpoints") else {
        let wrong = Wrong::new("this cluster has no endpoints");
        table.report_absence(wrong.help(format!("write for example `endpoints = {example}`")));
        return Vec::new();
    };
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for item in value.items(example).unwrap_or_default() {
        let Some(endpoint) = read_endpoint(&item) else { continue };
        if endpoints
            .iter()
            .any(|known| known.host == endpoint.host && known.port == endpoint.port)
        {
            let wrong = Wrong::new(format!("{endpoint} is there twice"));
            item.report(wrong.help(format!(
                "write it once, with its share: {{ address = \"{endpoint}\", weight = 2 }}"
            )));
        } else {
            endpoints.push(endpoint);
        }
    }
    if value.is_empty_array() {
        let wrong = Wrong::new("this cluster has no endpoints");
        value.report(wrong.help(format!("write for example `endpoints = {example}`")));
    }
    endpoints
}

fn read_endpoint(value: &Value<'_>) -> Option<Endpoint> {
    let example = "\"10.0.0.11:9000\" or { address = \"10.0.0.11:9000\", weight = 2 }";
    if !value.is_table() {
        return value.parse(example, str::parse);
    }
    let read = |table: &mut Table<'_>| {
        let address = table.value("address");
        if address.is_none() {
            table.report_absence(Wrong::new("this endpoint has no address").help(format!("write {example}")));
        }
        let weight = table.integer("weight", DEFAULT_WEIGHT, 1..=1000);
        let endpoint: Endpoint = address?.parse("\"10.0.0.11:9000\"", str::parse)?;
        Some(Endpoint { weight, ..endpoint })
    };
    value.table(example, read).flatten()
}

impl Endpoint {
    fn toml(&self) -> String {
        let address = self.to_string();
        if self.weight == DEFAULT_WEIGHT {
            return address.to_toml();
        }
        let mut entries = Entries::default();
        entries.put("address", &address);
        entries.put("weight", &self.weight);
        entries.inline()
    }
}
