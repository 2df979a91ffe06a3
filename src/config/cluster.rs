//! `[cluster.NAME]`: endpoints and where connections to them come from.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{
    listener::parse_name,
    pool::{ClusterTimeouts, Pool, Retry},
    probe::{Probe, read_probe, write_probe},
    problem::Wrong,
    reader::{Table, Value},
    tcp::{TcpKeepalive, read_user_timeout},
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
    pub tcp_keepalive: TcpKeepalive,
    /// Time that sent data may stay unacknowledged; longer than any upload stall that shall be tolerated.
    pub tcp_user_timeout: Duration,
    pub retry: Retry,
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

/// `[cluster.NAME.source]`: our end of upstream connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Empty: the kernel's choice.
    pub addresses: Vec<IpAddr>,
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
            tcp_keepalive: DEFAULT_TCP_KEEPALIVE,
            tcp_user_timeout: DEFAULT_TCP_USER_TIMEOUT,
            retry: Retry::default(),
        }
    }

    fn read(table: &mut Table<'_>) -> Self {
        let endpoints = read_endpoints(table);
        Self {
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
            endpoints,
        }
    }

    pub(super) fn write(&self, name: &str) -> String {
        let name = key(name);
        let endpoints: Vec<_> = self.endpoints.iter().map(Endpoint::toml).collect();
        let mut entries = Entries::default();
        entries.put_raw("endpoints", format!("[{}]", endpoints.join(", ")));
        entries.changed_choice("balance", &self.balance, &DEFAULT_BALANCE, &BALANCES);
        entries.put_table("tcp_keepalive", &self.tcp_keepalive.entries(&DEFAULT_TCP_KEEPALIVE));
        entries.changed("tcp_user_timeout", &self.tcp_user_timeout, &DEFAULT_TCP_USER_TIMEOUT);
        let mut source = Entries::default();
        source.changed("addresses", &self.source.addresses, &Vec::new());
        [
            entries.section(&format!("[cluster.{name}]")),
            self.pool.entries().section(&format!("[cluster.{name}.pool]")),
            source.section(&format!("[cluster.{name}.source]")),
            write_probe(self.probe.as_ref()).section(&format!("[cluster.{name}.health]")),
            self.timeouts.entries().section(&format!("[cluster.{name}.timeouts]")),
            self.retry.entries().section(&format!("[cluster.{name}.retry]")),
        ]
        .concat()
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

impl Source {
    fn read(table: &mut Table<'_>, endpoints: &[Endpoint]) -> Self {
        let mut addresses: Vec<IpAddr> = Vec::new();
        let Some(value) = table.value("addresses") else {
            return Self { addresses };
        };
        for item in value.items("[\"10.0.1.1\", \"10.0.1.2\"]").unwrap_or_default() {
            let Some(address) = item.parse("an IP address of this machine", parse_source_address) else {
                continue;
            };
            if addresses.contains(&address) {
                item.report(Wrong::new(format!("{address} is there twice")).help("leave it out"));
            } else if is_useless(address, endpoints) {
                let wrong = Wrong::new(format!(
                    "no endpoint can be reached from {address}: all are {}",
                    family(!address.is_ipv6())
                ));
                item.report(wrong.help(format!(
                    "write an {} address of this machine",
                    family(!address.is_ipv6())
                )));
            } else {
                addresses.push(address);
            }
        }
        let reached = |endpoint: &&Endpoint| match endpoint.ip() {
            Some(ip) => addresses.iter().any(|address| address.is_ipv6() == ip.is_ipv6()),
            None => true,
        };
        if !addresses.is_empty()
            && let Some(endpoint) = endpoints.iter().find(|endpoint| !reached(endpoint))
        {
            let wanted = family(endpoint.ip().is_some_and(|ip| ip.is_ipv6()));
            let wrong = Wrong::new(format!("no source address leads to {endpoint}"));
            value.report(wrong.help(format!("add an {wanted} address of this machine")));
        }
        Self { addresses }
    }
}

/// Whether every endpoint is known to be of the other family.
fn is_useless(address: IpAddr, endpoints: &[Endpoint]) -> bool {
    let other = |endpoint: &Endpoint| endpoint.ip().is_some_and(|ip| ip.is_ipv6() != address.is_ipv6());
    !endpoints.is_empty() && endpoints.iter().all(other)
}

fn family(is_ipv6: bool) -> &'static str {
    if is_ipv6 { "IPv6" } else { "IPv4" }
}

fn parse_source_address(text: &str) -> Result<IpAddr, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is not a source address"));
    let address: IpAddr = text
        .parse()
        .map_err(|_| wrong().help("write an IP address without port: \"10.0.1.1\""))?;
    if address.is_unspecified() {
        return Err(wrong().help("leave `addresses` out, and the kernel chooses"));
    }
    if address.is_multicast() || address == IpAddr::from([255, 255, 255, 255]) {
        return Err(wrong().help("write an address of this machine"));
    }
    Ok(address)
}
